from pathlib import Path

from benchmarks.quality.rows import Place
from benchmarks.serving.answers import BARE
from benchmarks.serving.candidates import OURS, PEERS
from benchmarks.serving.page import render
from benchmarks.serving.rows import Kept, Row, Section, times_as_good

PLACE = Place("a processor", 2, "abc1234", "2026-01-02")
MOSEC, RAY = PEERS["mosec"].title, PEERS["ray"].title
ROWS = [
    Row("1 client", OURS, [{"requests/s": 900.0, "p50 ms": 1.0, "p99 ms": 2.0}]),
    Row("1 client", BARE, [{"p50 ms": 0.7, "p99 ms": 1.0}]),
    Row(
        "64 clients",
        OURS,
        [
            {"requests/s": 1_000.0, "p50 ms": 60.0, "p99 ms": 70.0, "errors": 0},
            {"requests/s": 1_200.0, "p50 ms": 50.0, "p99 ms": 90.0, "errors": 0},
            {"requests/s": 1_100.0, "p50 ms": 55.0, "p99 ms": 80.0, "errors": 0},
        ],
    ),
    Row("64 clients", MOSEC, [{"requests/s": 440.0, "p50 ms": 140.0, "p99 ms": 200.0}]),
    Row("64 clients", RAY, [], note="ended with 1."),
]


def section(rows: list[Row], others: float | None = 0.01, load: float = 0.2) -> Section:
    return Section(PLACE, 2, 10.0, others, load, rows)


def lines_of(kept: Kept) -> list[str]:
    return render(kept).splitlines()


def test_page_shows_medians_of_the_turns_and_how_much_better_we_are() -> None:
    lines = lines_of(Kept({"sentiment": section(ROWS)}))
    assert "| 64 clients | **Reprise** | 1,100 (1,000..1,200) | 55 (50..60) |" in "".join(
        line for line in lines if "1,200" in line
    )
    assert f"|  | {MOSEC} | 440 | 140 | 200 | 2.5x |" in lines


def test_targets_are_judged_and_those_of_absent_peers_are_not_measured() -> None:
    lines = lines_of(Kept({"sentiment": section(ROWS)}))
    assert f"| 64 clients: 2 times as good as {MOSEC} in requests/s | 2.5 | reached |" in lines
    litserve = PEERS["litserve"].title
    missing = f"| 64 clients: 3 times as good as {litserve} in requests/s |  | not measured |"
    assert missing in lines
    over = "| 1 client: ms at p50 over the predictor alone under 0.6 | 0.3 | reached |"
    assert over in lines


def test_a_missed_target_says_so() -> None:
    slow = [Row("64 streams", OURS, [{"tokens/s": 100.0, "first p50 ms": 50.0}])]
    page = render(Kept({"streams": section(slow)}))
    assert "| 64 streams: at least 25,000 tokens/s | 100 | **missed** |" in page
    assert "| 64 streams: first p50 ms under 10 | 50 | **missed** |" in page


def test_a_peer_without_figures_has_a_row_that_says_why() -> None:
    lines = lines_of(Kept({"sentiment": section(ROWS)}))
    assert f"|  | {RAY} |  |  |  |  |" in lines
    assert f"- {RAY} at 64 clients: ended with 1." in lines


def test_page_says_when_others_or_the_load_generator_were_busy() -> None:
    assert "Disturbed" not in render(Kept({"sentiment": section(ROWS)}))
    busy = render(Kept({"sentiment": section(ROWS, others=0.7, load=0.97)}))
    assert "**Disturbed: others took 0.70 of these cores meanwhile.**" in busy
    assert "The load generator took up to 0.97 of a core." in busy
    assert "What else ran is unknown." in render(Kept({"sentiment": section(ROWS, others=None)}))


def test_sections_that_were_not_measured_are_not_on_the_page() -> None:
    page = render(Kept({"sentiment": section(ROWS)}))
    assert "## Sentiment" in page
    assert "## Forecasts" not in page


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    kept = Kept({"sentiment": section(ROWS)}, {"torch": "2.13.0"})
    kept.write(tmp_path / "kept.json")
    assert Kept.read(tmp_path / "kept.json") == kept
    assert Kept.read(tmp_path / "nothing.json") == Kept()


def test_lower_is_better_in_milliseconds_alone() -> None:
    assert times_as_good("p99 ms", 10.0, 40.0) == 4
    assert times_as_good("tokens/s", 10.0, 40.0) == 0.25
