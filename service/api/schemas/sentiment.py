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
    attributions: bool = Field(
        default=False, description="Also answers with what each token adds to the label."
    )
    attribution_label: str | None = Field(
        None, description="To which label; null: to the one that is answered."
    )

    @model_validator(mode="after")
    def _either(self) -> "SentimentRequest":
        if (self.text is None) == (self.texts is None):
            raise ValueError("give either text or texts")
        if self.attribution_label is not None and not self.attributions:
            raise ValueError("attribution_label is for attributions")
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
    known_share: float = Field(description="Share of the text's tokens that the model knows.")
    low_confidence: bool = Field(description="The model knows too little of the text to judge it.")


class TokenAttribution(View):
    """A token that was read of the text."""

    start: int = Field(description="Its first character, counted from 0 in Unicode code points.")
    end: int = Field(description="The one after its last.")
    text: str = Field(description="These characters of the text, as it was sent.")
    attribution: float = Field(description="What it adds to the log-odds of the label.")


class TextAttributions(View):
    """Log-odds are ln(p / (1 - p)) of the label's probability p, of the network in float32."""

    label: str
    log_odds: float
    baseline: float = Field(description="The log-odds of as many zero vectors in place of words.")
    gap: float = Field(description="log_odds - baseline - the sum of all attributions.")
    tokens: list[TokenAttribution] = Field(description="Those that were read, in their order.")


class AttributedSentiment(TextSentiment):
    attributions: TextAttributions | None = None


class SentimentAnswer(View):
    model: AnsweringModel
    results: list[AttributedSentiment] = Field(description="In the order of the texts.")
