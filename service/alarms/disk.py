"""The alarm that does not come from rows: what is left of the disk under the artifacts."""

import shutil
from datetime import datetime
from pathlib import Path

from service.alarms.kinds import Alarm, AlarmKind

GIB = 2**30


class DiskWatch:
    """Looks when it is asked, and remembers since when it has found too little."""

    def __init__(self, folder: Path, min_free_bytes: int) -> None:
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._low_since: datetime | None = None

    def look(self, now: datetime) -> list[Alarm]:
        message = self._trouble()
        if message is None:
            self._low_since = None
            return []
        self._low_since = self._low_since or now
        return [
            Alarm(
                AlarmKind.DISK_LOW,
                since=self._low_since,
                count=1,
                message=message,
                remedy="Make room, or give the folder a larger disk. Trainings that find it full "
                "fail; their last checkpoint stays whole.",
            )
        ]

    def _trouble(self) -> str | None:
        try:
            usage = shutil.disk_usage(self._folder)
        except OSError as error:
            return f"The artifact folder cannot be read: {error.strerror}."
        if usage.free >= self._min_free_bytes:
            return None
        return (
            f"The artifact folder has {usage.free / GIB:.2f} of {usage.total / GIB:.2f} GiB left; "
            f"{self._min_free_bytes / GIB:.2f} are to be free."
        )
