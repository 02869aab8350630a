"""The lake by the hour: which objects hold an hour's verdicts, clicks and published corrections."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from slidr.replay import APPLIED, CORRECTIONS, Applied
from training.replay.decide import HourRecords
from training.replay.read import hour_records

HOUR: Final = dt.timedelta(hours=1)
_PARTITION: Final = re.compile(r"date=(\d{4}-\d{2}-\d{2})/hour=(\d{2})/")


class LakeFiles(Protocol):
    """A bucket, or a folder of the same form."""

    def keys(self, prefix: str) -> list[str]:
        """All keys under a prefix."""
        ...

    def read(self, key: str) -> bytes:
        """An object's content."""
        ...

    def find(self, key: str) -> bytes | None:
        """An object's content; None where there is none."""
        ...

    def write(self, key: str, content: bytes, *, content_type: str = ...) -> None:
        """Write an object; what was there is replaced."""
        ...


def hour_of(at: dt.datetime) -> dt.datetime:
    """The beginning of the hour that a time lies in, UTC."""
    return at.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)


def partition(hour: dt.datetime) -> str:
    """The partition of an hour, as the lake's deliveries name it.

    >>> partition(dt.datetime(2026, 3, 4, 5, tzinfo=dt.UTC))
    'date=2026-03-04/hour=05/'
    """
    return f"date={hour:%Y-%m-%d}/hour={hour:%H}/"


class LakeHours:
    """The hours of a lake; each date is listed once."""

    def __init__(self, lake: LakeFiles) -> None:
        self.lake = lake
        self._dates: dict[str, list[str]] = {}

    def of(self, table: str, hour: dt.datetime) -> list[str]:
        """The keys of a table's hour."""
        date = f"{table}date={hour:%Y-%m-%d}/"
        if date not in self._dates:
            self._dates[date] = self.lake.keys(date)
        return [key for key in self._dates[date] if key.startswith(f"{table}{partition(hour)}")]

    def hours(self, table: str) -> list[dt.datetime]:
        """The hours that a table has objects of, in order; the whole table is listed."""
        found = {
            match.groups() for key in self.lake.keys(table) if (match := _PARTITION.match(key.removeprefix(table)))
        }
        return [dt.datetime.fromisoformat(f"{date}T{hour}:00+00:00") for date, hour in sorted(found)]

    def published(self, hour: dt.datetime) -> list[str]:
        """The keys of the corrections of an hour that were all published, whether or not the lake has them yet."""
        done = [key for key in self.of(APPLIED, hour) if msgspec.json.decode(self.lake.read(key), type=Applied).is_done]
        return [f"{CORRECTIONS}{key.removeprefix(APPLIED).removesuffix('.json')}.jsonl.gz" for key in done]

    def records(self, hour: dt.datetime) -> HourRecords:
        """All records of the hour's clicks."""
        return hour_records(self.bodies(self.of("verdicts/", hour)), self.bodies(self.published(hour)))

    def bodies(self, keys: Sequence[str]) -> list[bytes]:
        """The objects' contents."""
        return [self.lake.read(key) for key in keys]
