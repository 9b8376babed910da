"""Ends a text at a stop string without ever letting a part of one out."""

from collections.abc import Sequence


class StopFilter:
    """Fed pieces of a text, gives back what is sure to come before any stop string."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self.stopped = False

    def push(self, piece: str) -> str:
        """The text that can be let out now; `stopped` is set when a stop string is complete."""
        if not self._stops:
            return piece
        text = self._held + piece
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            self._held = ""
            return text[: min(found)]
        keep = self._begun(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """The text held back, once no more comes."""
        held, self._held = self._held, ""
        return held

    def _begun(self, text: str) -> int:
        """How many last characters may be the beginning of a stop string."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            end = text[-length:]
            if any(stop.startswith(end) for stop in self._stops):
                return length
        return 0
