"""The kept rows as a Markdown page."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.kernels.machine import Machine
from benchmarks.quality.rows import Place
from benchmarks.training.forecasting import Fit
from benchmarks.training.presets import WORKS, Rates


@dataclass
class Kept:
    """What was measured so far. `peaks` are 10^9 operations a second by precision, of all cores."""

    rates: list[Rates] = field(default_factory=list)
    fits: list[Fit] = field(default_factory=list)
    peaks: dict[str, float] = field(default_factory=dict)
    place: Place | None = None
    software: str = ""

    @classmethod
    def read(cls, path: Path | None) -> "Kept":
        if path is None or not path.exists():
            return cls()
        values = json.loads(path.read_text(encoding="utf-8"))
        place = values["place"]
        return cls(
            [Rates(**{**row, "ours": tuple(row["ours"])}) for row in values["rates"]],
            [Fit(**row) for row in values["fits"]],
            values["peaks"],
            None if place is None else Place(**place),
            values["software"],
        )

    def write(self, path: Path | None) -> None:
        if path is not None:
            path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    def look(self, machine: Machine, threads: int) -> None:
        """Rows of another machine or commit are dropped: ratios are of one place."""
        here = Place.here("cpu")
        before = self.place
        if before is not None and (before.machine, before.commit) != (here.machine, here.commit):
            self.rates, self.fits = [], []
        self.place, self.peaks, self.software = here, machine.peaks[str(threads)], machine.software

    def add(self, new: Rates | Fit) -> None:
        """Takes the place of what was measured of the same before."""
        if isinstance(new, Fit):
            self.fits = [row for row in self.fits if row.name != new.name] + [new]
        else:
            key = (new.work, new.preset)
            self.rates = [row for row in self.rates if (row.work, row.preset) != key] + [new]


def render(kept: Kept) -> str:
    """The whole page, of what was measured and nothing else."""
    parts = ["# Training speed of the presets"]
    if kept.place is not None:
        place = kept.place
        parts[0] += (
            f"\n\nMade by `python -m benchmarks.training`. {place.machine}, {place.cores} cores; "
            f"{kept.software}; commit {place.commit}; {place.day}. Peak of all cores: "
            + ", ".join(f"{value:,.0f} in {name}" for name, value in kept.peaks.items())
            + " (10^9 operations a second)."
        )
    if kept.rates:
        parts += [
            "Tokens or series a second through forward, backward and update. Ours: a job over "
            "HTTP, with all that its preset does besides (regularisers, diagnostics), validations "
            "not counted; the median of what it reports, in brackets its lowest and highest "
            "tenth. Torch: `nn.Embedding`, `nn.LSTM` and `nn.Linear` of the same width and batch "
            "with the same update rule. Of the peak: products with recurrent and output weights "
            "alone, against the peak in bfloat16, or in float32 where the processor has no "
            "bfloat16.",
            _rates(kept),
        ]
    if kept.fits:
        parts += [
            "M4 Hourly, 414 series, horizon 48. Ours: from submission to the end of the job, then "
            "one request for all series.",
            _fits(kept.fits),
        ]
    return "\n\n".join(parts) + "\n"


def _rates(kept: Kept) -> str:
    heads = ("preset", "shape", "unit", "ours", "torch float32", "torch bfloat16", "of the peak")
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    peak = kept.peaks.get("bf16") or kept.peaks.get("f32", 0.0)
    for name in WORKS:
        for row in (row for row in kept.rates if row.work == name):
            ours, low, high = (rate / row.per_item for rate in row.ours)
            cells = [
                f"{WORKS[name].title}, {row.preset}",
                row.shape,
                "tokens/s" if row.per_item == 1 else "series/s",
                f"{ours:,.0f} ({low:,.0f}..{high:,.0f})",
                *(
                    f"{rate / row.per_item:,.0f} (ours {row.ours[0] / rate:.2g}x)"
                    for rate in row.plain.values()
                ),
                f"{row.share_of_peak(peak):.0%}" if peak else "",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _fits(fits: list[Fit]) -> str:
    peer = next((row for row in fits if row.name.startswith("NeuralForecast")), None)
    lines = ["| | fit, s | predict, s | MASE | as fast |", "| --- " * 5 + "|"]
    for row in fits:
        times = "" if peer is None or row is peer else f"{peer.seconds / row.seconds:.2g}x"
        lines.append(
            f"| {row.name} | {row.fit_seconds:.1f} | {row.predict_seconds:.2f} | {row.mase:.3f} | "
            f"{times} |"
        )
    return "\n".join(lines)
