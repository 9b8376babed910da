import json

import numpy as np

from benchmarks.quality.catalogue import every_window
from benchmarks.quality.series import LongSeries
from rnn.forecasting.backtest import BackTest

SERIES = LongSeries(["a", "b"], np.stack([np.arange(10.0), -np.arange(10.0)], axis=1), 4, 7, 2)


def test_held_out_windows_fill_the_two_parts() -> None:
    rows = [json.loads(line) for line in SERIES.upload().splitlines()]
    assert [row["id"] for row in rows] == ["a", "b"]
    assert rows[0]["target"] == list(range(10))
    windows = every_window(SERIES.train_end, SERIES.validation_end, 10, 2)
    held_out = BackTest(
        2, windows["window_step"], windows["validation_windows"], windows["test_windows"]
    )
    assert held_out.validation_origins(10).tolist() == [4, 5]
    assert held_out.test_origins(10).tolist() == [7, 8]


def test_test_windows_fill_the_test_part_and_see_no_more_than_the_context() -> None:
    known, truth_bh = SERIES.test_windows(2, 3)
    assert [values.tolist() for values in known[:2]] == [[4, 5, 6], [5, 6, 7]]
    assert truth_bh.tolist() == [[7, 8], [8, 9], [-7, -8], [-8, -9]]
    assert SERIES.naive(known, 2)[0].tolist() == [5, 6]
