"""Whole hours, UTC: what the lake is partitioned by, and what replays and bills go by."""

from __future__ import annotations

import datetime as dt
import re
from typing import Final

HOUR: Final = dt.timedelta(hours=1)
_PARTITION: Final = re.compile(r"date=(\d{4}-\d{2}-\d{2})/hour=(\d{2})/")


def hour_of(at: dt.datetime) -> dt.datetime:
    """The beginning of the hour that a time lies in, UTC.

    >>> hour_of(dt.datetime(2026, 3, 4, 5, 59, tzinfo=dt.UTC)).isoformat()
    '2026-03-04T05:00:00+00:00'
    """
    return at.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)


def hours_between(start: dt.datetime, end: dt.datetime) -> list[dt.datetime]:
    """The hours that begin in start <= hour < end, in order; none where the end is not after the start.

    Args:
        start: the beginning of an hour, with its zone.
        end: the same.
    """
    count = int((end - start) / HOUR)
    return [start.astimezone(dt.UTC) + number * HOUR for number in range(count)]


def partition(hour: dt.datetime) -> str:
    """The partition of an hour, as the lake's deliveries name it.

    >>> partition(dt.datetime(2026, 3, 4, 5, tzinfo=dt.UTC))
    'date=2026-03-04/hour=05/'
    """
    return f"date={hour:%Y-%m-%d}/hour={hour:%H}/"


def hour_of_key(key: str) -> dt.datetime | None:
    """The hour of the partition that an object's key lies in; None where it lies in none.

    >>> hour_of_key("verdicts/date=2026-03-04/hour=05/one.parquet").isoformat()
    '2026-03-04T05:00:00+00:00'
    """
    found = _PARTITION.search(key)
    return dt.datetime.fromisoformat(f"{found[1]}T{found[2]}:00+00:00") if found else None
