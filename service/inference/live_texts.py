"""A step of a text that a language model reads and goes on with."""

from collections.abc import Generator
from dataclasses import replace

import torch

from rnn.generation import live
from rnn.generation.predictor import Generator as LanguageModel
from rnn.generation.sampling import SamplingSettings
from service.inference.live_requests import (
    HiddenLayers,
    HiddenLook,
    TextAnswer,
    TextStep,
)
from service.inference.prefix_cache import PrefixCache, Snapshot, state_key
from service.inference.requests import FinishReason, LikelyToken
from service.inference.stops import StopFilter
from service.inference.texts import likely_tokens

TOKENS_PER_TURN = 16  # drawn before others are served


def advance(
    model: LanguageModel, request: TextStep, cache: PrefixCache
) -> Generator[None, None, TextAnswer]:
    """Raises as `service.inference.live.advance_in_turns`."""
    network = request.network
    text = yield from live.read(model, _begun(model, request, cache), request.text)
    drawn = _Drawn(model, text, request) if request.max_new_tokens else None
    if drawn is not None:
        while not drawn.finish_reason:
            yield
            drawn.go_on(TOKENS_PER_TURN)
        text = drawn.text_so_far()
    state = live.to_bytes(text, network)
    if request.top:
        text = live.looked_ahead(model, text)
    if text.ahead is not None:
        cache.store(model, state_key(state), Snapshot(text.ahead.scores_v, text.ahead.state))
    return TextAnswer(
        state,
        live.count(model, text),
        request.text + (drawn.said if drawn else ""),
        "".join(drawn.pieces) if drawn else "",
        drawn.finish_reason if drawn else None,
        tuple(drawn.tokens) if drawn else (),
        tuple(drawn.logprobs) if drawn else (),
        tuple(drawn.likeliest) if drawn else (),
        _next_tokens(model, text, request.top) if request.top else (),
    )


def _begun(model: LanguageModel, request: TextStep, cache: PrefixCache) -> live.LiveText:
    if not request.state:
        return live.begin(model, request.first_seed)
    text = live.from_bytes(model, request.state, request.network)
    known = cache.take(model, state_key(request.state))
    return text if known is None else replace(text, ahead=live.Ahead(known.logits_v, known.state))


def look(model: LanguageModel, request: HiddenLook) -> HiddenLayers:
    """Raises as `service.inference.live.advance_in_turns`."""
    text = live.from_bytes(model, request.state, request.network)
    hidden_lbh = live.hidden(model, text).hidden_lbh
    return HiddenLayers(live.count(model, text), hidden_lbh[:, 0].float().cpu().numpy())


class _Drawn:
    """What a step draws, a piece at a time.

    A stop string is no part of the text, but of what the network has read. Half a character at the
    end comes with the next step, if that goes on.
    """

    def __init__(self, model: LanguageModel, text: live.LiveText, request: TextStep) -> None:
        settings = SamplingSettings(
            temperature=request.temperature,
            top_k=request.top_k,
            top_p=request.top_p,
            min_p=request.min_p,
            repetition_penalty=request.repetition_penalty,
            presence_penalty=request.presence_penalty,
            frequency_penalty=request.frequency_penalty,
            logprobs=request.logprobs,
        )
        self.finish_reason: FinishReason | None = None
        self.said = ""
        self.pieces: list[str] = []
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.likeliest: list[tuple[LikelyToken, ...]] = []
        self._continuation = live.Continuation(model, text, settings, request.seed)
        self._decoder = live.decoder(model, text)
        self._stops = StopFilter(request.stop)
        self._max_tokens = request.max_new_tokens

    def go_on(self, tokens: int) -> None:
        """Draws so many tokens, or until the end of what was asked for."""
        for _ in range(tokens):
            token, logprobs = self._continuation.draw()
            self.tokens.append(token)
            self.logprobs.append(logprobs.chosen)
            self.likeliest.append(likely_tokens(self._decoder, logprobs.likeliest))
            piece = self._decoder.push(token)
            self.said += piece
            self.pieces.append(self._stops.push(piece))
            if self._stops.stopped:
                self.finish_reason = "stop"
                return
            if len(self.tokens) == self._max_tokens:
                self.pieces.append(self._stops.finish())
                self.finish_reason = "length"
                return

    def text_so_far(self) -> live.LiveText:
        return self._continuation.text()


def _next_tokens(model: LanguageModel, text: live.LiveText, top: int) -> tuple[LikelyToken, ...]:
    """The likeliest first; of equally likely ones the lower number."""
    scores_v, _, _ = live.next_scores(model, text)
    logprobs_v = torch.log_softmax(scores_v.float(), dim=0)
    best = torch.sort(logprobs_v, descending=True, stable=True)
    tokens, logprobs = best.indices[:top].tolist(), best.values[:top].tolist()
    return likely_tokens(live.decoder(model, text), zip(tokens, logprobs, strict=True))
