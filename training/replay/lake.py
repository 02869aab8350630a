"""The lake by the hour: which objects hold an hour's verdicts, clicks and published corrections."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Protocol

import msgspec

from slidr.hours import hour_of_key, partition
from slidr.replay import APPLIED, CORRECTIONS, Applied
from training.replay.decide import HourRecords
from training.replay.read import hour_records


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
        return sorted({hour for key in self.lake.keys(table) if (hour := hour_of_key(key))})

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
