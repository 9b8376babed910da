import json

import numpy as np

from benchmarks.quality.series import LongSeries

SERIES = LongSeries(["a", "b"], np.stack([np.arange(10.0), -np.arange(10.0)], axis=1), 4, 7, 2)


def test_upload_ends_where_the_test_part_begins() -> None:
    rows = [json.loads(line) for line in SERIES.upload().splitlines()]
    assert [row["id"] for row in rows] == ["a", "b"]
    assert rows[0]["target"] == [0, 1, 2, 3, 4, 5, 6]


def test_test_windows_fill_the_test_part_and_see_no_more_than_the_context() -> None:
    known, truth_bh = SERIES.test_windows(2, 3)
    assert [values.tolist() for values in known[:2]] == [[4, 5, 6], [5, 6, 7]]
    assert truth_bh.tolist() == [[7, 8], [8, 9], [-7, -8], [-8, -9]]
    assert SERIES.naive(known, 2)[0].tolist() == [5, 6]
