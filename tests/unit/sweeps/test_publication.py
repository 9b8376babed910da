"""What comes before the best network of a sweep is published."""

from collections.abc import Callable

import pytest

from tests.sweep_records import Bench


def test_the_best_network_is_loaded_before_it_is_published(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    rolled: list[tuple[int, str]] = []

    def rolled_out(database_url: str, announce: Callable[[str], None]) -> None:
        assert database_url.startswith("postgresql+psycopg://")
        announce("7")
        rolled.append((len(bench.versions()), bench.row(sweep_id).sweep.state))

    monkeypatch.setattr("service.sweeps.controller.roll_out", rolled_out)
    sweep_id = bench.submit()
    bench.tick()
    for loss in (0.5, 0.2, 0.3, 0.4):
        assert not rolled
        bench.finish(bench.begin(), loss)
        bench.tick()
    assert rolled == [(0, "running")]
    assert (len(bench.versions()), bench.row(sweep_id).sweep.state) == (1, "succeeded")
