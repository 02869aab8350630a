"""Records on their way into the lake, by day on disk: a log of any size and order within bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import polars as pl

from slidr.contract import from_epoch_ms
from slidr.counters import DAY_MS, HOUR_MS

PART_ROWS: Final = 500_000
"""Rows that are in memory at a time, unless a single hour has more."""


class StagedLog:
    """One table of records in the lake's form, pseudonymised before they come here."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[int, list[Path]] = {}
        self.hours: Counter[int] = Counter()
        """Records by UTC hour since 1970."""

    def __len__(self) -> int:
        return self.hours.total()

    @property
    def days(self) -> int:
        """How many UTC days have records."""
        return len(self._files)

    def add(self, records: pl.DataFrame) -> None:
        """Keep more records, with times of any order. Every call brings the same columns."""
        whole = records.with_columns(pl.col(pl.Enum, pl.Categorical).cast(pl.String))
        at_ms = pl.col("at").to_physical()
        self.hours.update(dict(whole.group_by((at_ms // HOUR_MS).alias("hour")).len().iter_rows()))
        by_day = whole.with_columns((at_ms // DAY_MS).alias("day")).partition_by("day", include_key=False, as_dict=True)
        for (day,), part in by_day.items():
            files = self._files.setdefault(day, [])
            path = self._folder / f"{day}-{len(files)}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_parquet(path, compression="lz4")
            files.append(path)

    def parts(self, *, rows: int = PART_ROWS) -> Iterator[pl.DataFrame]:
        """All records in runs of whole hours, oldest first, unsorted within; at most `rows`, or one hour, at a time."""
        run: list[int] = []
        held = 0
        for hour in sorted(self.hours):
            if run and held + self.hours[hour] > rows:
                yield self._between(run[0], run[-1])
                run, held = [], 0
            run.append(hour)
            held += self.hours[hour]
        if run:
            yield self._between(run[0], run[-1])

    def _between(self, first: int, last: int) -> pl.DataFrame:
        """The records of the hours `first` to `last`, in the order in which they came."""
        days = range(first * HOUR_MS // DAY_MS, last * HOUR_MS // DAY_MS + 1)
        files = [path for day in days for path in self._files.get(day, [])]
        start, end = from_epoch_ms(first * HOUR_MS), from_epoch_ms((last + 1) * HOUR_MS)
        return pl.scan_parquet(files).filter((pl.col("at") >= start) & (pl.col("at") < end)).collect()
