"""Ray Serve, which gathers requests into batches: POST /predict."""

import os
import signal
import threading

import ray
from networks import MOST_ROWS, PORT, THREADS, WAIT_SECONDS, Body
from ray import serve
from starlette.requests import Request


@serve.deployment(max_ongoing_requests=256, ray_actor_options={"num_cpus": 1})
class Model:
    def __init__(self) -> None:
        from networks import served

        self.model = served()

    @serve.batch(max_batch_size=MOST_ROWS, batch_wait_timeout_s=WAIT_SECONDS)
    async def answer(self, bodies: list[Body]) -> list[Body]:
        answers: list[Body] = self.model.answers(bodies)
        return answers

    async def __call__(self, request: Request) -> Body:
        answer: Body = await self.answer(await request.json())
        return answer


if __name__ == "__main__":
    passed = {name: value for name, value in os.environ.items() if name.startswith("PEER_")}
    passed["PYTHONPATH"] = os.environ["PYTHONPATH"]
    ray.init(
        num_cpus=max(2, THREADS),
        include_dashboard=False,
        logging_level="ERROR",
        runtime_env={"env_vars": passed},
    )
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(Model.bind(), route_prefix="/predict")
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ended.wait()
    serve.shutdown()
    ray.shutdown()
