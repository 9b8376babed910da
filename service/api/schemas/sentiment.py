"""Text classification over HTTP."""

from typing import Annotated

from pydantic import Field, model_validator

from service.api.schemas.base import View
from service.api.schemas.models import AnsweringModel
from service.inference.options import ClassificationOptions
from service.registry.references import ModelReference

InputText = Annotated[str, Field(min_length=1)]


class SentimentRequest(ClassificationOptions):
    """One `text` or many `texts`."""

    model: ModelReference
    text: InputText | None = Field(None, examples=["A warm and funny film."])
    texts: list[InputText] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _either(self) -> "SentimentRequest":
        if (self.text is None) == (self.texts is None):
            raise ValueError("give either text or texts")
        return self

    def all_texts(self) -> list[str]:
        return self.texts or [self.text or ""]


class LabelScore(View):
    label: str
    score: float = Field(description="Probability of the label, between 0 and 1.")


class TextSentiment(LabelScore):
    """The most probable label of one text."""

    scores: list[LabelScore] | None = Field(None, description="Of all labels, the highest first.")
    truncated: bool = Field(description="The text was longer than the model reads.")
    known_share: float = Field(description="Share of the text's words that the model knows.")
    low_confidence: bool = Field(description="The model knows too little of the text to judge it.")


class SentimentAnswer(View):
    model: AnsweringModel
    results: list[TextSentiment] = Field(description="In the order of the texts.")
