import pytest

from service.auth.limiter import Limiter
from service.errors import RateLimitedError


class Clock:
    now = 600.0

    def __call__(self) -> float:
        return self.now


def hits(limiter: Limiter, name: str, tries: int) -> int:
    """How many of the tries are let through."""
    passed = 0
    for _ in range(tries):
        try:
            limiter.hit(name)
        except RateLimitedError:
            continue
        passed += 1
    return passed


def test_one_too_many_is_refused_with_a_time_to_come_back() -> None:
    clock = Clock()
    limiter = Limiter(3, "tries", clock=clock)
    assert hits(limiter, "a", 3) == 3
    clock.now += 20
    with pytest.raises(RateLimitedError) as refusal:
        limiter.hit("a")
    assert refusal.value.retry_after_seconds == 40
    assert "More than 3 tries" in refusal.value.detail


def test_names_are_counted_apart() -> None:
    limiter = Limiter(1, "tries", clock=Clock())
    assert [hits(limiter, name, 2) for name in "ab"] == [1, 1]


def test_the_window_slides() -> None:
    clock = Clock()
    limiter = Limiter(100, "tries", clock=clock)
    assert hits(limiter, "a", 200) == 100
    clock.now += 60
    assert hits(limiter, "a", 200) == 0  # a full count was possible until this moment
    clock.now += 30
    assert hits(limiter, "a", 200) == 50
    clock.now += 120
    assert hits(limiter, "a", 200) == 100


def test_no_minute_lets_twice_as_many_through() -> None:
    """Where a fixed window would: at its edge."""
    clock = Clock()
    limiter = Limiter(100, "tries", clock=clock)
    clock.now += 59.9
    passed = hits(limiter, "a", 200)
    clock.now += 0.2
    assert passed + hits(limiter, "a", 200) <= 101


def test_nothing_is_kept_of_those_who_stay_away() -> None:
    clock = Clock()
    limiter = Limiter(5, "tries", clock=clock)
    for number in range(1_000):
        limiter.hit(str(number))
    for _ in range(2):
        clock.now += 60
        limiter.hit("a")
    assert len(limiter._counts) + len(limiter._counts_before) == 2
