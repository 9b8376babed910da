import pytest

from service.auth.limiter import Limiter
from service.errors import RateLimitedError


def test_one_too_many_is_refused_with_a_time_to_come_back() -> None:
    limiter = Limiter(3, "tries")
    for _ in range(3):
        limiter.hit("a")
    with pytest.raises(RateLimitedError) as refusal:
        limiter.hit("a")
    assert refusal.value.retry_after_seconds is not None
    assert 1 <= refusal.value.retry_after_seconds <= 120
    assert "More than 3 tries" in refusal.value.detail


def test_names_are_counted_apart() -> None:
    limiter = Limiter(1, "tries")
    limiter.hit("a")
    limiter.hit("b")
    with pytest.raises(RateLimitedError):
        limiter.hit("a")
