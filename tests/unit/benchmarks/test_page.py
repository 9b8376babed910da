from pathlib import Path

from benchmarks.quality.page import render
from benchmarks.quality.rows import Kept, Measurement, Place

PLACE = Place("a processor", 2, "abc1234", "2026-01-02")


def measured(seed: int, mse: float) -> Measurement:
    figures = {"MSE": mse, "MAE": 0.4}
    return Measurement("etth1-96", "base", "cpu", seed, figures, 15, 90 * seed, 500, 1000, PLACE)


def test_page_shows_the_median_of_the_seeds_and_all_of_them() -> None:
    kept = Kept([measured(3, 0.4), measured(1, 0.36), measured(2, 0.3)], {"etth1-96": {"MSE": 0.5}})
    row = next(line for line in render(kept).splitlines() if "| MSE | 0.368" in line)
    assert "| 0.360 | 0.360, 0.300, 0.400 | reached | 3.0 (15) | 500 | 1,000 | A |" in row
    assert "| MSE | 0.5 | 0.36 | beaten |" in render(kept)


def test_a_new_row_takes_the_place_of_the_same_seed_alone(tmp_path: Path) -> None:
    kept = Kept([measured(1, 0.4), measured(2, 0.4)])
    kept.add(measured(2, 0.2))
    kept.write(tmp_path / "rows.json")
    read = Kept.read(tmp_path / "rows.json")
    assert [(row.seed, row.figures["MSE"]) for row in read.measurements] == [(1, 0.4), (2, 0.2)]
