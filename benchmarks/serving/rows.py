"""What was measured, and the file that keeps it section by section."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.quality.rows import Place


@dataclass(frozen=True)
class Row:
    """One candidate at one piece of work.

    Attributes:
        turns: figures by name, one for each repetition. A name that ends with "ms" is better when
            lower, one that ends with "/s" when higher.
        note: why there are no figures, or what else is to be said.
    """

    work: str
    candidate: str
    turns: list[dict[str, float]]
    note: str = ""

    def figure(self, name: str) -> float | None:
        """The median of the repetitions."""
        values = [turn[name] for turn in self.turns if name in turn]
        return median(values) if values else None


@dataclass(frozen=True)
class Section:
    """All candidates at one kind of work, measured in one run: what ratios are taken of.

    Attributes:
        place: where; its cores are those that all processes share, load generator and server.
        threads: that each candidate may compute with.
        seconds: of each figure, by the clock.
        others: cores of ours that other processes and the host took meanwhile; None: unknown.
        load: the largest share of a core that the load generator took.
    """

    place: Place
    threads: int
    seconds: float
    others: float | None
    load: float
    rows: list[Row]

    def row(self, work: str, candidate: str) -> Row | None:
        return next(
            (row for row in self.rows if (row.work, row.candidate) == (work, candidate)), None
        )


@dataclass
class Kept:
    """The newest run of each section; `software` has versions by name."""

    sections: dict[str, Section] = field(default_factory=dict)
    software: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None) -> "Kept":
        if path is None or not path.exists():
            return cls()
        values = json.loads(path.read_text(encoding="utf-8"))
        sections = {
            name: Section(
                **{
                    **section,
                    "place": Place(**section["place"]),
                    "rows": [Row(**row) for row in section["rows"]],
                }
            )
            for name, section in values["sections"].items()
        }
        return cls(sections, values["software"])

    def write(self, path: Path | None) -> None:
        if path is not None:
            path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def times_as_good(name: str, figure: float, other: float) -> float:
    """How many times as good a figure is as another of the same name."""
    return other / figure if name.endswith("ms") else figure / other
