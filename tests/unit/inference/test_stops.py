import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.inference.stops import StopFilter


def run(pieces: list[str], stops: list[str]) -> tuple[list[str], bool]:
    stop_filter = StopFilter(stops)
    out = []
    for piece in pieces:
        out.append(stop_filter.push(piece))
        if stop_filter.stopped:
            return out, True
    out.append(stop_filter.finish())
    return out, False


def test_without_stops_everything_passes_at_once() -> None:
    assert run(["a", "b"], []) == (["a", "b", ""], False)


def test_a_stop_across_pieces_is_never_let_out() -> None:
    assert run(["one E", "N", "D two"], ["END"]) == (["one ", "", ""], True)


def test_what_only_began_like_a_stop_comes_out_later() -> None:
    assert run(["E", "N", "X"], ["END"]) == (["", "", "ENX", ""], False)


def test_what_is_held_at_the_end_comes_out() -> None:
    assert run(["ab", "E"], ["END"]) == (["ab", "", "E"], False)


def test_the_earliest_stop_wins() -> None:
    assert run(["xx--yy++"], ["++", "--"]) == (["xx"], True)


def test_a_stop_inside_a_repetition_is_found() -> None:
    assert run(list("aaab"), ["aab"])[0] == ["", "", "a", ""]


def test_of_stops_that_are_complete_together_the_longest_counts() -> None:
    assert run(["xabc"], ["bc", "abc"]) == (["x"], True)


@given(
    st.lists(st.text(alphabet="ab", max_size=4), max_size=12),
    st.lists(st.text(alphabet="ab", min_size=1, max_size=5), min_size=1, max_size=3),
)
def test_any_cut_into_pieces_gives_the_same_text(pieces: list[str], stops: list[str]) -> None:
    """Which stop counts was once decided by where the pieces ended."""
    text = "".join(pieces)
    ends = [end for end in range(len(text) + 1) if text[:end].endswith(tuple(stops))]
    out, stopped = run(pieces, stops)
    assert stopped == bool(ends)
    if stopped:
        longest = max(len(stop) for stop in stops if text[: ends[0]].endswith(stop))
        text = text[: ends[0] - longest]
    assert "".join(out) == text


@pytest.mark.parametrize("stop", ["\n\n", "é", "end"])
def test_one_character_at_a_time_equals_the_whole(stop: str) -> None:
    text = f"some té xt{stop} and more"
    out, stopped = run(list(text), [stop])
    assert stopped
    assert "".join(out) == text[: text.index(stop)]
