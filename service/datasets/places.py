"""Says where in a file something is wrong: row, line, column and value.

Row 1 is the first row of data: the row after the header of a CSV file, the first line that is not
blank in JSON Lines. Line 1 is the first line of the file, as an editor counts.
"""

from dataclasses import dataclass

from service.errors import Fault, ServiceError

SHOWN_CHARS = 60


@dataclass(frozen=True)
class Place:
    row: int
    line: int
    column: str | None = None

    def __str__(self) -> str:
        where = f"row {self.row} (line {self.line})"
        return where if self.column is None else f"{where}, column {shown(self.column)}"

    def fault(self, message: str) -> Fault:
        column = () if self.column is None else (self.column,)
        return Fault(("body", "file", self.row, *column), message)


def shown(value: object) -> str:
    """A value as an error quotes it: in quotes, escaped and cut short."""
    text = str(value)
    if len(text) > SHOWN_CHARS:
        text = text[:SHOWN_CHARS] + "…"
    return '"' + text.encode("unicode_escape").decode("ascii").replace('"', '\\"') + '"'


def wrong(error: type[ServiceError], place: Place, message: str) -> ServiceError:
    """An error of the given kind about one place."""
    return error(f"{place}: {message}", faults=[place.fault(message)])
