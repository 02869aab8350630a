"""The project's own Parquet: columns named as the contract's fields; what is null is absent."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from local.sources.event import Chunk, Event, Kind, LogUnreadable
from slidr.contract import epoch_ms

_CHUNK: Final = 5_000
_MAGIC: Final = b"PAR1"


class ParquetRecords:
    """Parquet of the click (or purchase) contract. A timestamp without a zone is UTC."""

    name = "SLIDR Parquet"
    expects = 'a Parquet file with the contract\'s columns ("click_id", "at", "advertiser", "marketplace", ...)'

    def recognises(self, head: bytes) -> bool:
        """Whether the file is Parquet; its columns are checked when it is read."""
        return head.startswith(_MAGIC)

    def read(self, path: Path, *, kind: Kind) -> Iterator[Chunk]:
        """The rows as events.

        Raises:
            LogUnreadable: the id or the `at` column is missing, or a row has no usable event time.
        """
        from pyarrow import ArrowInvalid  # noqa: PLC0415 - 0.2 s that no other command should pay
        from pyarrow.parquet import ParquetFile  # noqa: PLC0415

        id_column = "click_id" if kind is Kind.CLICK else "order_id"
        try:
            file = ParquetFile(path)
        except ArrowInvalid as failure:
            raise LogUnreadable(f"{path} is not whole Parquet ({failure}): copy or write it again.") from failure
        names = file.schema_arrow.names
        if not {id_column, "at"} <= set(names):
            raise LogUnreadable(
                f"{path}: columns {id_column!r} and 'at' are required, came {', '.join(names)}. "
                "docs/data-contract.md lists the columns."
            )
        row = 0
        with file:
            for batch in file.iter_batches(batch_size=_CHUNK):
                chunk: Chunk = []
                for record in batch.to_pylist():
                    row += 1
                    chunk.append(_event(record, kind, id_column, where=f"{path}, row {row}"))
                yield chunk


def _event(record: dict[str, Any], kind: Kind, id_column: str, *, where: str) -> Event:
    at = record["at"]
    if isinstance(at, str):
        try:
            at = dt.datetime.fromisoformat(at)
        except ValueError:
            at = None
    if not isinstance(at, dt.datetime):
        raise LogUnreadable(f"{where}: an RFC 3339 time or a timestamp is required in 'at', came {record['at']!r}")
    record["at"] = at if at.tzinfo is not None else at.replace(tzinfo=dt.UTC)
    present = {name: value for name, value in record.items() if value is not None}
    key = str(record[id_column] or where)[:256]
    return Event(epoch_ms(record["at"]), kind, key, msgspec.json.encode(present))
