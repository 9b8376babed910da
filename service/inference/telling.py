"""Telling callers their tokens beside the next call of the kernels.

What a token is to its caller (text, a stop string, a message) is Python's work; a step of many
texts is the kernels', which let go of the interpreter meanwhile. One after the other, a core would
wait for either.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from rnn.generation.sampling import TokenLogprobs
from service.inference.generation import Generation
from service.inference.requests import TokenDrawn
from service.inference.texts import Outbox, Text


class Drawn(NamedTuple):
    """A token that its text does not have yet."""

    text: Text
    token: int
    logprobs: TokenLogprobs | None


def fail(generation: Generation, error: Exception, outbox: Outbox) -> None:
    """Ends every text of a request: its rows leave at the next turn."""
    if not generation.cancelled:
        generation.cancelled = True
        outbox.append((generation, error))


def take(drawn: Iterable[Drawn], outbox: Outbox) -> set[Text]:
    """Appends each token to its text; returns the texts that are over."""
    over = set()
    for text, token, logprobs in drawn:
        generation = text.generation
        try:
            if generation.cancelled or not text.take(token, logprobs, outbox):
                over.add(text)
        except Exception as error:
            over.add(text)
            fail(generation, error, outbox)
    return over


class Teller:
    """Used by one thread; `say` is called by another one."""

    def __init__(self, say: Callable[[Outbox], None]) -> None:
        self._say = say
        self._thread = ThreadPoolExecutor(1, "tokens")
        self._drawn: list[Drawn] = []
        self._under_way: Future[tuple[set[Text], Outbox]] | None = None

    def add(self, drawn: Sequence[Drawn]) -> None:
        """To be told when `begin` is called next."""
        self._drawn.extend(drawn)

    def begin(self) -> None:
        """Right before the kernels are called: sooner, the caller would wait for the interpreter
        before it could call them."""
        if self._drawn and self._under_way is None:
            drawn, self._drawn = self._drawn, []
            self._under_way = self._thread.submit(self._tell, drawn)

    def end(self) -> tuple[set[Text], Outbox]:
        """Waits; returns the texts that are over since `begin`, and what is still to be told."""
        if self._under_way is None:
            return set(), []
        under_way, self._under_way = self._under_way, None
        return under_way.result()

    def forget(self) -> None:
        """Where nobody is left to be told: what waits here would keep networks in memory."""
        self._drawn.clear()

    def close(self) -> None:
        self._thread.shutdown()

    def _tell(self, drawn: list[Drawn]) -> tuple[set[Text], Outbox]:
        outbox: Outbox = []
        over = take(drawn, outbox)
        self._say([told for told in outbox if isinstance(told[1], TokenDrawn)])
        return over, [told for told in outbox if not isinstance(told[1], TokenDrawn)]
