from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.alarms.disk import DiskWatch
from service.alarms.kinds import AlarmKind

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_enough_room_is_no_alarm(tmp_path: Path) -> None:
    assert DiskWatch(tmp_path, 1).look(NOW) == []


def test_since_is_when_it_was_first_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 100

    def usage(_folder: Path) -> object:
        return type("Usage", (), {"free": free, "total": 10**12})

    monkeypatch.setattr("service.alarms.disk.shutil.disk_usage", usage)
    watch = DiskWatch(tmp_path, 200)
    later, latest = NOW + timedelta(minutes=1), NOW + timedelta(minutes=2)
    assert [alarm.since for alarm in watch.look(NOW)] == [NOW]
    (alarm,) = watch.look(later)
    assert (alarm.kind, alarm.since) == (AlarmKind.DISK_LOW, NOW)
    free = 200
    assert watch.look(later) == []
    free = 199
    assert [alarm.since for alarm in watch.look(latest)] == [latest]


def test_a_folder_that_is_not_there_is_the_same_alarm(tmp_path: Path) -> None:
    (alarm,) = DiskWatch(tmp_path / "unmounted", 0).look(NOW)
    assert "No such file" in alarm.message
