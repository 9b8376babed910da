"""What every domain error must say of itself."""

from collections.abc import Iterator

import pytest

from service.errors import ServiceError


def kinds(error: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    for kind in error.__subclasses__():
        yield kind
        yield from kinds(kind)


@pytest.mark.parametrize("kind", [kind for kind in kinds() if kind.status in (429, 503)])
def test_who_is_sent_away_is_told_how_long(kind: type[ServiceError]) -> None:
    """A 503 had no Retry-After wherever the one place that raised it had not thought of it."""
    assert kind("Not now.").retry_after_seconds
    assert kind("Not now.", retry_after_seconds=7).retry_after_seconds == 7


def test_other_errors_do_not_get_better_by_waiting() -> None:
    assert ServiceError("Broken.").retry_after_seconds is None
