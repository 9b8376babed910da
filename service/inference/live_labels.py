"""A step of a text that is classified while its words arrive."""

from rnn.classification import live
from rnn.classification.predictor import Classifier
from service.inference.live_requests import HiddenLayers, HiddenLook, LabelAnswer, LabelStep


def advance(model: Classifier, request: LabelStep) -> LabelAnswer:
    """Raises as `service.inference.live.advance_in_turns`."""
    begun, network = request.state, request.network
    text = live.from_bytes(model, begun, network) if begun else live.LiveReading()
    text = live.read(model, text, request.text)
    found = live.classify(model, text)
    return LabelAnswer(
        live.to_bytes(text, network),
        live.count(model, text),
        tuple(model.labels),
        found.probabilities_bc[0],
        found.truncated[0],
        found.known_share[0],
    )


def look(model: Classifier, request: HiddenLook) -> HiddenLayers:
    """Raises as `service.inference.live.advance_in_turns`."""
    text = live.from_bytes(model, request.state, request.network)
    hidden_lbh = live.hidden(model, text).hidden_lbh
    return HiddenLayers(live.count(model, text), hidden_lbh[:, 0].float().cpu().numpy())
