"""BentoML, which gathers requests into batches behind a service of its own: POST /predict."""

import bentoml
from networks import MOST_ROWS, TASK, Body, served

TRAFFIC = {"timeout": 60, "max_concurrency": 1000}


@bentoml.service(workers=1, traffic=TRAFFIC)
class Batches:
    def __init__(self) -> None:
        self.model = served()

    @bentoml.api(batchable=True, max_batch_size=MOST_ROWS, max_latency_ms=60_000)
    def infer(self, bodies: list[dict]) -> list[dict]:
        answers: list[Body] = self.model.answers(bodies)
        return answers


@bentoml.service(workers=1, traffic=TRAFFIC)
class Front:
    batches = bentoml.depends(Batches)

    if TASK == "sentiment":

        @bentoml.api(route="/predict")
        async def predict(self, text: str) -> dict:
            return (await self.batches.to_async.infer([{"text": text}]))[0]

    else:

        @bentoml.api(route="/predict")
        async def predict(self, series: list[list[float]]) -> dict:
            return (await self.batches.to_async.infer([{"series": series}]))[0]
