"""mosec, which gathers requests into batches: POST /inference."""

import sys

from mosec import Server, Worker
from networks import MOST_ROWS, PORT, WAIT_SECONDS, Body, served


class Model(Worker):
    def __init__(self) -> None:
        super().__init__()
        self.model = served()

    def forward(self, data: list[Body]) -> list[Body]:
        answers: list[Body] = self.model.answers(data)
        return answers


if __name__ == "__main__":
    sys.argv[1:] = ["--address", "127.0.0.1", "--port", str(PORT), "--timeout", "60000"]
    server = Server()
    server.append_worker(
        Model, num=1, max_batch_size=MOST_ROWS, max_wait_time=round(1000 * WAIT_SECONDS)
    )
    server.run()
