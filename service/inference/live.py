"""One step of a session on the engine's side: from a state to an answer with the next state."""

from collections.abc import Generator
from typing import cast

import numpy as np

from rnn.classification.predictor import Classifier
from rnn.errors import InputMismatchError
from rnn.forecasting.predictor import Forecaster
from rnn.generation.predictor import Generator as LanguageModel
from service.inference import live_labels, live_series, live_texts
from service.inference.live_requests import (
    HiddenLayers,
    HiddenLook,
    LabelStep,
    LiveAnswer,
    LiveRequest,
    SeriesStep,
    TextStep,
)
from service.inference.loaded import Model
from service.inference.prefix_cache import PrefixCache


def advance_in_turns(
    model: Model, request: LiveRequest | HiddenLook, cache: PrefixCache
) -> Generator[None, None, LiveAnswer | HiddenLayers]:
    """The answer's state is all that the next step needs; `cache` saves it a token of a text.

    Raises:
        InputMismatchError: an input that the network cannot read.
        LiveStateError: a state that is not one of this network.
    """
    match request:
        case TextStep():
            return (yield from live_texts.advance(cast(LanguageModel, model), request, cache))
        case LabelStep():
            return live_labels.advance(cast(Classifier, model), request)
        case SeriesStep():
            return live_series.advance(cast(Forecaster, model), request)
        case HiddenLook():
            found = _look(model, request)
            if not np.isfinite(found.hidden_lh).all():
                raise InputMismatchError("the hidden state is not finite: the input is too large")
            return found


def _look(model: Model, request: HiddenLook) -> HiddenLayers:
    match model:
        case LanguageModel():
            return live_texts.look(model, request)
        case Classifier():
            return live_labels.look(model, request)
        case Forecaster():
            return live_series.look(model, request)
