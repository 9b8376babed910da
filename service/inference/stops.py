"""Ends a text at a stop string without ever letting a part of one out."""

from collections.abc import Sequence
from functools import lru_cache


class StopFilter:
    """Fed pieces of a text, gives back what is sure to come before any stop string.

    The stop string that is complete first ends the text, of several the longest. The work grows
    with the characters that come, not with what is held back (Knuth, Morris and Pratt 1977). A copy
    goes on by itself.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._borders = tuple(map(_borders, self._stops))
        self._begun = (0,) * len(self._stops)  # how many of its characters the text ends with
        self._held = ""
        self.stopped = False

    def push(self, piece: str) -> str:
        """The text that can be let out now; `stopped` is set when a stop string is complete."""
        if not self._stops:
            return piece
        text = self._held + piece
        for end, character in enumerate(piece, len(self._held) + 1):
            complete = self._read(character)
            if complete:
                self.stopped = True
                self._held = ""
                return text[: end - complete]
        free = len(text) - max(self._begun)
        self._held = text[free:]
        return text[:free]

    def finish(self) -> str:
        """The text held back, once no more comes."""
        held, self._held = self._held, ""
        return held

    def _read(self, character: str) -> int:
        """How long the longest stop string is that this character completes; 0: none is."""
        self._begun = tuple(
            _advanced(stop, borders, begun, character)
            for stop, borders, begun in zip(self._stops, self._borders, self._begun, strict=True)
        )
        complete = [
            begun
            for stop, begun in zip(self._stops, self._begun, strict=True)
            if begun == len(stop)
        ]
        return max(complete, default=0)


@lru_cache(maxsize=256)
def _borders(stop: str) -> tuple[int, ...]:
    """For each beginning of a stop string, how much of it its own end begins again."""
    borders = [0]
    for character in stop[1:]:
        borders.append(_advanced(stop, borders, borders[-1], character))
    return tuple(borders)


def _advanced(stop: str, borders: Sequence[int], begun: int, character: str) -> int:
    """How much of a stop string is there with one more character, of so much before."""
    while begun and stop[begun] != character:
        begun = borders[begun - 1]
    return begun + (stop[begun] == character)
