"""Beam search for a request: its texts end at its stop strings."""

from copy import copy

from rnn.generation.beam import BeamSettings, Course, FoundText, beam_search
from rnn.tokenizers import TextDecoder
from service.errors import ValidationError
from service.inference.generation import Generation
from service.inference.prefix_cache import Snapshot
from service.inference.stops import StopFilter
from service.inference.texts import Outbox, Text


class Beams:
    """The search for the texts of a request whose prompt is read."""

    def __init__(self, generation: Generation, texts: list[Text], read: Snapshot) -> None:
        self.generation = generation
        self._texts = texts
        request = generation.request
        course: Course = _Endless()
        if request.stop:
            decoder = generation.model.decoder(request.prompt)
            course = _UntilStop(decoder, StopFilter(request.stop))
        settings = BeamSettings(
            request.num_beams, request.max_new_tokens, request.length_penalty, request.logprobs or 0
        )
        self._turns = beam_search(generation.model, read.logits_v, read.state, course, settings)

    def turn(self, outbox: Outbox) -> bool:
        """One more token of every beam; False when the texts are found, and all told at once.

        Raises ValidationError where there are fewer texts than were asked for.
        """
        try:
            next(self._turns)
        except StopIteration as end:
            self._tell(end.value, outbox)
            return False
        return True

    def _tell(self, found: list[FoundText], outbox: Outbox) -> None:
        request = self.generation.request
        if len(found) < len(self._texts):
            raise ValidationError(
                f"{len(self._texts)} texts are asked for; of at most {request.max_new_tokens} "
                f"tokens there are only {len(found)}."
            )
        for text, best in zip(self._texts, found, strict=False):
            for token, logprobs in zip(best.tokens, best.logprobs, strict=True):
                text.take(token, None if request.logprobs is None else logprobs, outbox)


class _Endless:
    """Any text without stop strings."""

    ended = False

    def then(self, token: int) -> "_Endless":  # noqa: ARG002  # one token is like another
        return self


class _UntilStop:
    """A text that a stop string may end."""

    def __init__(self, decoder: TextDecoder, stops: StopFilter) -> None:
        self._decoder = decoder
        self._stops = stops

    @property
    def ended(self) -> bool:
        return self._stops.stopped

    def then(self, token: int) -> "_UntilStop":
        longer = _UntilStop(copy(self._decoder), copy(self._stops))
        longer._stops.push(longer._decoder.push(token))
        return longer
