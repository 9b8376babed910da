"""Both changes of the clocks of Europe/Berlin in 2026: 29 March, 25 October."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.schedules.times import check_cron, check_timezone, next_time

BERLIN = "Europe/Berlin"


def utc(month: int, day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def times(cron: str, after: datetime, count: int, timezone: str = BERLIN) -> list[datetime]:
    found = []
    for _ in range(count):
        after = next_time(cron, timezone, after)
        found.append(after)
    return found


def test_a_time_is_one_of_the_wall_clock() -> None:
    assert times("30 4 * * *", utc(3, 27, 12), 4) == [
        utc(3, 28, 3, 30),
        utc(3, 29, 2, 30),
        utc(3, 30, 2, 30),
        utc(3, 31, 2, 30),
    ]
    assert times("30 4 * * *", utc(10, 24, 12), 2) == [utc(10, 25, 3, 30), utc(10, 26, 3, 30)]


def test_a_time_that_is_left_out_comes_at_the_end_of_the_gap() -> None:
    assert times("30 2 * * *", utc(3, 27, 12), 3) == [
        utc(3, 28, 1, 30),
        utc(3, 29, 1, 0),
        utc(3, 30, 0, 30),
    ]


def test_a_time_that_comes_twice_counts_once() -> None:
    assert times("30 2 * * *", utc(10, 24, 12), 2) == [utc(10, 25, 0, 30), utc(10, 26, 1, 30)]


@pytest.mark.parametrize("minute", [0, 10, 30, 45])
def test_between_the_two_it_is_not_in_the_past(minute: int) -> None:
    """A schedule changed in the second hour at 2 o'clock was due at once, for the first hour."""
    assert next_time("30 2 * * *", BERLIN, utc(10, 25, 1, minute)) == utc(10, 26, 1, 30)


def test_an_interval_follows_the_time_that_passes() -> None:
    for month, day in ((3, 29), (10, 25)):
        found = times("*/30 * * * *", utc(month, day, 0), 6)
        assert found == [utc(month, day, 0) + timedelta(minutes=30 * n) for n in range(1, 7)]


def test_days_of_the_week_are_those_of_the_time_zone() -> None:
    sunday_noon = utc(1, 4, 12)
    assert next_time("0 1 * * MON", "Pacific/Auckland", sunday_noon) == utc(1, 11, 12)
    assert next_time("0 1 * * MON", "UTC", sunday_noon) == utc(1, 5, 1)


@pytest.mark.parametrize(
    "text",
    ["", "* * * *", "0 * * * * *", "60 * * * *", "* 24 * * *", "a b c d e", "@daily", "0 0 31 2 *"],
)
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"five fields|Bad"):
        check_cron(text)


def test_an_expression_that_never_comes_is_refused() -> None:
    with pytest.raises(ValueError, match="no day fits"):
        check_cron("0 0 */40 * MON#5")  # the first, and the fifth Monday


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "Europe", "a\0b"]
)
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a time zone"):
        check_timezone(name)


FIELDS = st.lists(
    st.text("0123456789*/-,#LWMONTUEJAN ", max_size=6).map(str.strip), min_size=5, max_size=5
)


@given(FIELDS.map(" ".join) | st.text(max_size=100))
def test_any_text_is_either_refused_or_comes_again(text: str) -> None:
    try:
        check_cron(text)
    except ValueError:
        return
    now = utc(10, 25, 1, 10)
    for timezone in (BERLIN, "UTC"):
        assert next_time(text, timezone, now) > now
