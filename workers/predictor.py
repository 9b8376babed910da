"""What a trainer needs of a published network to predict a data set with it. Needs no torch."""

from collections.abc import Generator, Iterator, Mapping
from typing import Any, Protocol, TypeAlias

from service.batches.rows import Chunk
from service.datasets.columns import ColumnType

Answer: TypeAlias = dict[str, Any]  # a row of the result; with `error`: there is no answer, and why
ERROR = "error"


class Predictor(Protocol):
    """A network, and the rows of the data set that it was loaded for.

    Attributes:
        total: how many rows there are.
        columns: all that an answer may have, with their types.
    """

    total: int
    columns: Mapping[str, ColumnType]

    def chunks(self, done: int) -> Iterator[Chunk[Any]]:
        """All rows but the first `done`, where a chunk ended before."""
        ...

    def answers(self, chunk: Chunk[Any]) -> Generator[None, None, list[Answer]]:
        """Returns one answer for each row, in turns that are short enough to wait for."""
        ...
