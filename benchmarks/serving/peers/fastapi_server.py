"""FastAPI endpoints that call the torch model, one request at a time: POST /predict."""

from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from networks import PORT, TASK, Body, served
from pydantic import BaseModel


class Text(BaseModel):
    text: str


class Series(BaseModel):
    series: list[list[float]]


class Prompt(BaseModel):
    prompt: str
    tokens: int


app = FastAPI()
model = served()

if TASK == "sentiment":

    @app.post("/predict")
    def sentiment(asked: Text) -> Body:
        answer: Body = model.answers([asked.model_dump()])[0]
        return answer

elif TASK == "forecasts":

    @app.post("/predict")
    def forecasts(asked: Series) -> Body:
        answer: Body = model.answers([asked.model_dump()])[0]
        return answer

else:

    @app.post("/predict")
    def generation(asked: Prompt) -> StreamingResponse:
        return StreamingResponse(_events(asked.model_dump()), media_type="text/event-stream")


def _events(asked: Body) -> Iterator[str]:
    for [token] in model.stream([asked]):
        yield model.event(token)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, access_log=False, log_level="error")
