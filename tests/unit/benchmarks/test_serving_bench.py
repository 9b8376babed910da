import json
from typing import Any

import httpx

from benchmarks.serving.answers import KNOWN, same_forecast, same_label, windows
from benchmarks.serving.bench import Cell, Table, begun_anew, in_turns
from benchmarks.serving.candidates import streamed
from benchmarks.serving.generation import same_text
from benchmarks.serving.load import Result, Times
from benchmarks.serving.watch import busy_seconds


def answers(*bodies: Any) -> list[httpx.Response]:
    return [httpx.Response(200, json=body) for body in bodies]


def test_every_second_turn_goes_backwards() -> None:
    turns = [("a", 0), ("b", 0), ("c", 0), ("c", 1), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    assert list(in_turns(["a", "b", "c"], 3))[:8] == turns


def test_texts_begun_anew_are_as_long_and_never_alike() -> None:
    text = "a" * 100
    made = {begun_anew(text) for _ in range(100)}
    assert len(made) == 100
    assert {len(one) for one in made} == {100}
    assert all(one.endswith("a" * 84) for one in made)
    assert len(begun_anew("short")) == 5


def test_another_label_or_score_is_seen() -> None:
    ours = answers({"results": [{"label": "good", "score": 0.75}]})
    assert same_label(ours, answers({"label": "good", "score": 0.7501})) == ""
    assert "text 0" in same_label(ours, answers({"label": "good", "score": 0.76}))
    assert "text 0" in same_label(ours, answers({"label": "bad", "score": 0.75}))


def test_another_forecast_is_seen() -> None:
    def forecast(last: float, low: float = 1.0) -> dict[str, Any]:
        return {"forecasts": [{"mean": [1.0, 2.0, last], "quantiles": {"0.1": [low, 1.0, 2.0]}}]}

    ours = answers(forecast(3.0))
    assert same_forecast(ours, answers(forecast(3.0001))) == ""
    assert "another mean of series 0" in same_forecast(ours, answers(forecast(3.5)))
    assert "another 0.1 of series 0" in same_forecast(ours, answers(forecast(3.0, low=0.5)))


def test_texts_of_both_kinds_of_streams_are_compared() -> None:
    tokens = [json.dumps({"index": 0, "text": letter}) for letter in "abc"]
    ours = "".join(f"event: token\ndata: {token}\n\n" for token in tokens)
    ours += 'event: done\ndata: {"choices": []}\n\n'
    theirs = "".join(f'data: {{"token": 1, "text": "{letter}"}}\n\n' for letter in "abc")
    assert streamed(httpx.Response(200, text=ours)) == "abc"
    assert same_text([httpx.Response(200, text=ours)], [httpx.Response(200, text=theirs)]) == ""
    other = [httpx.Response(200, text=theirs.replace('"c"', '"d"'))]
    assert "prompt 0" in same_text([httpx.Response(200, text=ours)], other)


def test_windows_are_all_different_and_of_one_length() -> None:
    series = [[float(10_000 * place + value) for value in range(KNOWN + 60)] for place in range(3)]
    found = windows(series, 9)
    assert {len(values) for values in found} == {KNOWN}
    assert len({tuple(values) for values in found}) == 9
    assert found[0] == series[0][:KNOWN]


def test_figures_of_answers_count_what_a_request_holds() -> None:
    cell = Cell("many", 1, [], [], unit="series", items=1_000)
    times = Times(250.0, 260.0)
    result = Result(2.0, 8, {"503": 2, "lost": 1}, times, 0, None, None, 0.1, 10, 0, 0.25, 1.5)
    figures = {
        "errors": 3,
        "others": 0.25,
        "processor ms": 150,
        "series/s": 4_000,
        "p50 ms": 250,
        "p99 ms": 260,
    }
    assert cell.figures(result) == figures


def test_figures_of_streams_count_tokens_and_leave_out_what_was_not_seen() -> None:
    cell = Cell("one", 1, [], [], tokens=1)
    result = Result(2.0, 8, {}, Times(9, 9), 8, Times(3, 5), None, 0.1, 9, 16, 0, 0.4)
    figures = {
        "errors": 0,
        "others": 0,
        "processor ms": 25,
        "tokens/s": 4,
        "first p50 ms": 3,
        "first p99 ms": 5,
    }
    assert cell.figures(result) == figures


def test_a_candidate_that_fails_later_keeps_what_it_showed() -> None:
    table = Table()
    table.add("work", "peer", {"requests/s": 5.0})
    table.miss(["work", "more work"], "peer", "ended with 1.")
    assert [(row.work, len(row.turns), row.note) for row in table.rows()] == [
        ("work", 1, "ended with 1."),
        ("more work", 0, "ended with 1."),
    ]


def test_the_load_of_other_cores_does_not_count() -> None:
    lines = [
        "cpu  900 0 90 0 0 0 0 9 0 0",
        "cpu0 100 20 30 999 999 4 6 7 0 0",
        "cpu1 800 0 60 999 999 0 0 2 0 0",
        "intr 5",
    ]
    assert busy_seconds(lines, {0}, 100) == (1.6, 0.07)
    assert busy_seconds(lines, {0, 1}, 100) == (1.6 + 8.6, 0.07 + 0.02)
