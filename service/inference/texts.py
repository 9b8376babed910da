"""One text being generated: from its tokens to what is told of them."""

from collections.abc import Iterable
from copy import copy

from rnn.generation.sampling import SamplingSettings, TokenLogprobs
from rnn.tokenizers import TextDecoder
from service.inference.generation import Generation
from service.inference.requests import (
    FinishReason,
    GenerationEvent,
    GenerationRequest,
    LikelyToken,
    TextFinished,
    TokenDrawn,
)
from service.inference.stops import StopFilter

Outbox = list[tuple[Generation, GenerationEvent | Exception]]


class Text:
    """Text `index` of a request."""

    def __init__(self, generation: Generation, index: int) -> None:
        request = generation.request
        self.generation = generation
        self.index = index
        self._decoder = generation.model.decoder(request.prompt)
        self._stops = StopFilter(request.stop)
        self._limit = request.max_new_tokens
        self._tokens = 0

    @property
    def ends_with_next(self) -> bool:
        """Whatever its next token is."""
        return self._tokens + 1 == self._limit

    def take(self, token: int, logprobs: TokenLogprobs | None, outbox: Outbox) -> bool:
        """Appends a token and says so; False when the text is complete."""
        self._tokens += 1
        stops = self._stops
        event = TokenDrawn(self.index, token, "")
        if logprobs is not None:
            event.logprob = logprobs.chosen
            event.likeliest = likely_tokens(self._decoder, logprobs.likeliest)
        event.text = stops.push(self._decoder.push(token))
        outbox.append((self.generation, event))
        if stops.stopped:
            self._finish("", "stop", outbox)
            return False
        if self._tokens == self._limit:
            rest = stops.push(self._decoder.finish()) + stops.finish()
            self._finish(rest, "stop" if stops.stopped else "length", outbox)
            return False
        return True

    def _finish(self, text: str, reason: FinishReason, outbox: Outbox) -> None:
        finished = TextFinished(self.index, text, reason, self._tokens)
        outbox.append((self.generation, finished))


def likely_tokens(
    decoder: TextDecoder, likeliest: Iterable[tuple[int, float]]
) -> tuple[LikelyToken, ...]:
    """Tokens and their log-probabilities, each with the text that it would add."""
    found = []
    for token, logprob in likeliest:
        then = copy(decoder)
        found.append(LikelyToken(token, then.push(token) + then.finish(), logprob))
    return tuple(found)


def sampling_settings(request: GenerationRequest, index: int) -> SamplingSettings:
    """How text `index` of a request is drawn."""
    return SamplingSettings(
        temperature=request.temperature,
        top_k=request.top_k,
        top_p=request.top_p,
        min_p=request.min_p,
        repetition_penalty=request.repetition_penalty,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        seed=request.seed + index,
        logprobs=request.logprobs,
    )
