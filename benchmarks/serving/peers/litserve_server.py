"""LitServe, which gathers requests into batches: POST /predict, an answer or a stream."""

from collections.abc import Iterator

import litserve
from networks import MOST_ROWS, PORT, TASK, WAIT_SECONDS, Body, served


class Answers(litserve.LitAPI):
    """Parameter names are LitServe's own; of a stream's answers it reads the annotation, and cannot
    take it."""

    def setup(self, _device: str) -> None:
        self.model = served()

    def decode_request(self, request: Body) -> Body:
        return request

    def batch(self, inputs: list[Body]) -> list[Body]:
        return inputs

    def predict(self, x: list[Body]) -> list[Body]:
        answers: list[Body] = self.model.answers(x)
        return answers

    def unbatch(self, output: list[Body]) -> list[Body]:
        return output

    def encode_response(self, output: Body) -> Body:
        return output


class Streams(Answers):
    def predict(self, x: list[Body]) -> Iterator[list[int | None]]:
        yield from self.model.stream(x)

    def unbatch(self, output: Iterator[list[int | None]]) -> Iterator[list[int | None]]:
        yield from output

    def encode_response(self, output: Iterator[list[int | None]]):
        for tokens in output:
            yield ["" if token is None else self.model.event(token) for token in tokens]


if __name__ == "__main__":
    streams = TASK in ("generation", "words")
    api = (Streams if streams else Answers)(
        max_batch_size=MOST_ROWS, batch_timeout=WAIT_SECONDS, stream=streams
    )
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=120)
    server.run(host="127.0.0.1", port=PORT, generate_client_file=False, log_level="error")
