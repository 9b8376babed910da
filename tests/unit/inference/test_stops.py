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


@given(
    st.lists(st.text(alphabet="ab", max_size=3), max_size=12),
    st.lists(st.text(alphabet="ab", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_any_cut_into_pieces_gives_the_same_text(pieces: list[str], stops: list[str]) -> None:
    text = "".join(pieces)
    out, stopped = run(pieces, stops)
    places = [text.find(stop) for stop in stops if stop in text]
    if not stopped:
        assert not places
        assert "".join(out) == text
    else:
        # The first stop to be complete, as pieces come; none is complete in what was let out.
        assert text.startswith("".join(out))
        assert not any(stop in "".join(out) for stop in stops)


@pytest.mark.parametrize("stop", ["\n\n", "é", "end"])
def test_one_character_at_a_time_equals_the_whole(stop: str) -> None:
    text = f"some té xt{stop} and more"
    out, stopped = run(list(text), [stop])
    assert stopped
    assert "".join(out) == text[: text.index(stop)]
