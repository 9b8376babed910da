"""How large a data set and its parts may be."""

from dataclasses import dataclass
from typing import Self

from service.settings import Settings


@dataclass(frozen=True)
class Limits:
    """Caps that hold while a file streams, so that no input decides how much memory is used."""

    max_columns: int = 10_000
    max_cell_bytes: int = 2**20

    @property
    def max_row_bytes(self) -> int:
        """Of one row of a CSV file or one line of any file: what is held in memory at once."""
        return 16 * self.max_cell_bytes

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.max_columns, settings.max_cell_bytes)

    @classmethod
    def none(cls) -> Self:
        """For a file that was validated, under whatever limits held then."""
        return cls(max_columns=2**31, max_cell_bytes=2**40)
