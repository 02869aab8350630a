"""Objects of the lake by event hour, as the deliveries write them, under names that tell a second run what is there."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from infra.glue_columns import glue_columns
from slidr.archive import ArchivedClick, ArchivedPurchase
from slidr.contract import from_epoch_ms
from slidr.counters import HOUR_MS
from slidr.verdict import Verdict

if TYPE_CHECKING:
    import polars as pl
    from mypy_boto3_s3 import S3Client

OBJECT_ROWS: Final = 200_000
"""The most rows of one object; a fuller hour has several."""
_MARK: Final = "/backfill-"
_UPLOADS: Final = 4
"""Objects that are encoded and written at a time."""
_DISTINCT: Final = ("click_id", "order_id", "features.list.element")
"""Columns whose values hardly repeat: a dictionary of them costs five times the time of writing and saves nothing."""


class Table(StrEnum):
    """A table of the lake, named as its prefix."""

    CLICKS = "clicks"
    PURCHASES = "purchases"
    VERDICTS = "verdicts"


_RECORDS: Final[Mapping[Table, type[msgspec.Struct]]] = {
    Table.CLICKS: ArchivedClick,
    Table.PURCHASES: ArchivedPurchase,
    Table.VERDICTS: Verdict,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """Rows of a table, by time, that make one object."""

    table: Table
    hour: int
    """UTC hours since 1970."""
    start: int
    stop: int
    key: str

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.stop - self.start


def partitions_of(table: Table, at: pl.Series, *, source: str, object_rows: int = OBJECT_ROWS) -> Iterator[Partition]:
    """The objects of rows with these times.

    Args:
        table: where they go.
        at: event times, ascending; whole hours of the source, so that the same source makes the same objects.
        source: 12 hex digits that stand for the source's content.
        object_rows: the most rows of one object.

    >>> import datetime as dt, polars as pl
    >>> at = pl.Series([dt.datetime(2026, 3, 4, hour, tzinfo=dt.UTC) for hour in (5, 5, 5, 7)], dtype=pl.Datetime("ms"))
    >>> for part in partitions_of(Table.CLICKS, at, source="0123456789ab", object_rows=2):
    ...     print(part.start, part.stop, part.key)
    0 2 clicks/date=2026-03-04/hour=05/backfill-0123456789ab-0.parquet
    2 3 clicks/date=2026-03-04/hour=05/backfill-0123456789ab-1.parquet
    3 4 clicks/date=2026-03-04/hour=07/backfill-0123456789ab-0.parquet
    """
    hours = at.to_physical() // HOUR_MS
    start = 0
    for hour, rows in hours.rle().struct.unnest().select("value", "len").iter_rows():
        folder = f"{date_prefix(table, hour)}hour={from_epoch_ms(hour * HOUR_MS):%H}"
        for number, first in enumerate(range(start, start + rows, object_rows)):
            stop = min(first + object_rows, start + rows)
            key = f"{folder}{_MARK}{source}-{number}.parquet"
            yield Partition(table=table, hour=hour, start=first, stop=stop, key=key)
        start += rows


def date_prefix(table: Table, hour: int) -> str:
    """The prefix of the date that an hour lies in.

    >>> date_prefix(Table.VERDICTS, 0)
    'verdicts/date=1970-01-01/'
    """
    return f"{table}/date={from_epoch_ms(hour * HOUR_MS):%Y-%m-%d}/"


def is_backfilled(key: str) -> bool:
    """Whether a backfill wrote the object with this key.

    >>> is_backfilled("verdicts/date=2026-03-04/hour=05/backfill-0123456789ab-0.parquet")
    True
    """
    return _MARK in key


def parquet_of(table: Table, rows: pl.DataFrame) -> bytes:
    """The rows as one Parquet file with the columns and types that the table's deliveries write."""
    import pyarrow as pa  # noqa: PLC0415 - 0.2 s that other commands should not pay
    import pyarrow.parquet as pq  # noqa: PLC0415

    schema = _schema(table)
    columns = [_column(rows[field.name], field.type) for field in schema]
    buffer = io.BytesIO()
    pq.write_table(
        pa.Table.from_arrays(columns, schema=schema), buffer, compression="snappy", use_dictionary=_repeating(table)
    )
    return buffer.getvalue()


def _column(values: pl.Series, kind: Any) -> Any:
    import polars as pl  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    if values.dtype == pl.Null:
        return pa.nulls(len(values), kind)  # Arrow casts its null type to no map
    if values.dtype == pl.Array:
        flat = pa.array(values.explode().to_numpy(), kind.value_type)
        return pa.ListArray.from_arrays(range(0, len(flat) + 1, values.dtype.shape[0]), flat, type=kind)  # type: ignore[attr-defined]
    return values.to_arrow().cast(kind)


@cache
def _schema(table: Table) -> Any:
    from local.cloud.parquet import Column, schema_of  # noqa: PLC0415

    return schema_of(Column(name, kind) for name, kind in glue_columns(_RECORDS[table]))


@cache
def _repeating(table: Table) -> list[str]:
    import pyarrow.parquet as pq  # noqa: PLC0415

    sink = io.BytesIO()
    pq.write_table(_schema(table).empty_table(), sink)
    paths = [column.path for column in pq.ParquetFile(sink).schema]
    return [path for path in paths if path not in _DISTINCT]


class LakePartitions:
    """Writes the objects that are missing, several at a time. A context manager.

    An object is there whole or not at all, so what is there needs no second look.
    """

    def __init__(self, s3: S3Client, bucket: str, *, dry_run: bool = False) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._dry_run = dry_run
        self._keys: dict[str, set[str]] = {}
        self._pool = ThreadPoolExecutor(_UPLOADS, thread_name_prefix="lake")
        self.written: Counter[Table] = Counter()
        """Objects by table; in a dry run those that would be written."""
        self.known: Counter[Table] = Counter()
        """Objects that were there."""
        self.bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def missing(self, partitions: Iterable[Partition]) -> list[Partition]:
        """Those that are to be written: what is not in the lake; in a dry run none, only counted."""
        wanted = list(partitions)
        missing = [partition for partition in wanted if not self._is_there(partition)]
        self.written.update(partition.table for partition in missing)
        self.known.update(partition.table for partition in wanted)
        self.known.subtract(partition.table for partition in missing)
        return [] if self._dry_run else missing

    def write(self, missing: Iterable[Partition], rows: Callable[[Partition], pl.DataFrame]) -> None:
        """Write objects.

        Args:
            missing: what to write.
            rows: the rows of one; asked by several threads.

        Raises:
            ClientError: one could not be written; others may be there.
        """
        sizes = [self._pool.submit(self._put, partition, rows) for partition in missing]
        self.bytes += sum(size.result() for size in sizes)

    def _is_there(self, partition: Partition) -> bool:
        prefix = date_prefix(partition.table, partition.hour)
        if prefix not in self._keys:
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            keys = {item["Key"] for page in pages for item in page.get("Contents", [])}
            self._keys[prefix] = {key for key in keys if is_backfilled(key)}
        return partition.key in self._keys[prefix]

    def _put(self, partition: Partition, rows: Callable[[Partition], pl.DataFrame]) -> int:
        body = parquet_of(partition.table, rows(partition))
        self._s3.put_object(Bucket=self._bucket, Key=partition.key, Body=body)
        return len(body)
