"""FastAPI endpoints that step or run ONNX Runtime, one request at a time: POST /predict."""

from collections.abc import Iterator

import numpy as np
import onnx_graphs
import torch
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from networks import PORT, TASK, THREADS, Body, served
from pydantic import BaseModel


class Text(BaseModel):
    text: str


class Prompt(BaseModel):
    prompt: str
    tokens: int


app = FastAPI()
model = served()

if TASK == "sentiment":
    classifier = onnx_graphs.classifier(model, THREADS)

    @app.post("/predict")
    def sentiment(asked: Text) -> Body:
        tokens = model.tokens(asked.text)
        outputs = {
            "tokens": np.array(tokens)[:, None],
            "lengths": np.array([len(tokens)], np.int32),
        }
        [y_tbh] = classifier.run(None, outputs)
        y_th = y_tbh[:, 0]
        pooled_h = np.concatenate([y_th[-1], y_th.max(axis=0), y_th.mean(axis=0)])
        scores_c = torch.from_numpy(OUT_CH @ pooled_h + BIAS_C)
        answer: Body = model.said(torch.softmax(scores_c, dim=0)[None])[0]
        return answer

    OUT_CH, BIAS_C = (value.detach().numpy() for value in (model.out.weight, model.out.bias))
else:
    step = onnx_graphs.step(model, THREADS)
    LAYERS, HIDDEN = model.lstm.num_layers, model.lstm.hidden_size

    @app.post("/predict")
    def generation(asked: Prompt) -> StreamingResponse:
        return StreamingResponse(_events(asked), media_type="text/event-stream")


def _events(asked: Prompt) -> Iterator[str]:
    names = [f"{part}{layer}" for layer in range(LAYERS) for part in ("h", "c")]
    states = [np.zeros((1, 1, HIDDEN), np.float32) for _ in names]
    token_b, *states = step.run(
        None,
        {
            "tokens": np.array([model.tokens(asked.prompt)]).T,
            **dict(zip(names, states, strict=True)),
        },
    )
    for place in range(asked.tokens):
        yield model.event(int(token_b[0]))
        if place + 1 < asked.tokens:
            token_b, *states = step.run(
                None, {"tokens": token_b[None], **dict(zip(names, states, strict=True))}
            )


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, access_log=False, log_level="error")
