"""One request for texts on its way through the decoder."""

from dataclasses import dataclass

from rnn.generation.predictor import Generator
from service.inference.requests import GenerationRequest


@dataclass(eq=False)
class Generation:
    """`cancelled`: nobody listens or it failed; its rows leave before the next step."""

    request: GenerationRequest
    model: Generator
    id: int = 0
    cancelled: bool = False
