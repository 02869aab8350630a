"""What a backfill reads: records checked by their contract, or simulated days, in the lake's form before they are kept.

Nothing personal in clear leaves this module but to the reject store, as online.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from functions.adapters.reject_store import Reject, RejectStore
from local.sources.event import Chunk, Event, Kind, LogUnreadable
from slidr.click import Click, parse_click
from slidr.contract import epoch_ms, from_epoch_ms
from slidr.errors import InvalidRecord
from slidr.givt import CrawlerList
from slidr.pseudonym import Pseudonymiser
from slidr.purchase import Purchase, parse_purchase

if TYPE_CHECKING:
    import polars as pl

    from training.simulator import Traffic

_HELD: Final = 50_000
"""Parsed records that become one table: the most that is in memory in clear."""
_REJECTS: Final = 500
"""Rejects of one object."""
_DIGITS: Final = 12
_CLICK_FIELDS: Final = (
    "click_id", "user", "session", "ip", "user_agent", "device", "logged_in", "advertiser", "campaign", "ad",
    "placement", "marketplace", "time_zone", "cost_micros", "currency",
)  # fmt: skip
_PURCHASE_FIELDS: Final = (
    "order_id", "user", "session", "advertiser", "item", "amount_micros", "currency", "click_id",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LakeForm:
    """How records become the lake's."""

    pseudonymiser: Pseudonymiser
    crawlers: CrawlerList

    def of(self, kind: Kind, table: pl.DataFrame) -> pl.DataFrame:
        """The lake's form of a table in clear, in the columns of slidr/archive.py."""
        from training.backfill import arrived  # noqa: PLC0415 - numba, polars: seconds
        from training.lake_form import archived_clicks, archived_purchases  # noqa: PLC0415

        if kind is Kind.CLICK:
            return arrived(archived_clicks(table, pseudonymiser=self.pseudonymiser, crawlers=self.crawlers))
        return arrived(archived_purchases(table, pseudonymiser=self.pseudonymiser))


@dataclass(slots=True, kw_only=True)
class Rejected:
    """The records of one source that break their contract: counted, and stored as online unless `store` is None."""

    source: str
    store: RejectStore | None
    reasons: Counter[str] = field(default_factory=Counter)
    _held: list[Reject] = field(default_factory=list)

    def add(self, event: Event, failure: InvalidRecord, *, number: int, arrived_ms: int) -> None:
        """Take in the record that is `number`th of its source; a second run gives it the same place in the store."""
        self.reasons[failure.reason] += 1
        if self.store is None:
            return
        self._held.append(
            Reject(
                reason=failure.reason,
                detail=failure.detail,
                stream=f"backfill-{self.source}",
                shard=event.kind.value,
                sequence=f"{number:012d}",
                arrived_at=from_epoch_ms(arrived_ms),
                payload_base64=event.payload,
            )
        )
        if len(self._held) == _REJECTS:
            self.flush()

    def flush(self) -> None:
        """Store what is held.

        Raises:
            PublishFailed: it is not stored.
        """
        if self.store is not None:
            self.store.store(self._held)
        self._held = []


def file_digest(path: Path, *others: Path | None) -> str:
    """Twelve hex digits that stand for the content of a file, and of others that say how it is read.

    Raises:
        LogUnreadable: there is no such file.
    """
    digest = hashlib.sha256()
    for each in (path, *(other for other in others if other is not None)):
        try:
            with each.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as failure:
            raise LogUnreadable(
                f"a readable log file is required, came {each}: {failure.strerror}. Check the path."
            ) from failure
    return digest.hexdigest()[:_DIGITS]


def simulation_digest(traffic: Traffic, *, days: int, first: int) -> str:
    """Twelve hex digits that stand for simulated days. Other days are another source: counting begins with the first.

    >>> import datetime as dt
    >>> from training.simulator import Traffic
    >>> traffic = Traffic(seed=7, start=dt.datetime(2026, 6, 1, tzinfo=dt.UTC), clicks_per_day=9)
    >>> simulation_digest(traffic, days=2, first=0)
    '6142a3c9e571'
    """
    from training.simulator import Events  # noqa: PLC0415 - the simulator takes 0.4 s to import

    named = f"{traffic.seed} {epoch_ms(traffic.start)} {traffic.clicks_per_day} {sorted(traffic.mix.items())}"
    if traffic.events != Events():
        named += f" {traffic.events}"
    return hashlib.sha256(f"simulated {named} {first} {days}".encode()).hexdigest()[:_DIGITS]


def checked_records(
    chunks: Iterator[Chunk],
    *,
    form: LakeForm,
    rejected: Rejected,
    now_ms: int,
    on_read: Callable[[int], None] = lambda _records: None,
) -> Iterator[tuple[Kind, pl.DataFrame]]:
    """Tables in the lake's form of all records that keep their contract, in bounded memory.

    A log does not say when a record arrived: that is taken to be when it happened, but not after `now_ms`, so that
    what the future holds is rejected.
    """
    held: dict[Kind, list[Any]] = {kind: [] for kind in Kind}
    parse: dict[Kind, Callable[..., Any]] = {Kind.CLICK: parse_click, Kind.PURCHASE: parse_purchase}
    number = 0
    for chunk in chunks:
        on_read(len(chunk))
        for event in chunk:
            number += 1
            arrived_ms = min(event.at_ms, now_ms)
            try:
                record = parse[event.kind](event.payload, arrived_ms=arrived_ms)
            except InvalidRecord as failure:
                rejected.add(event, failure, number=number, arrived_ms=arrived_ms)
            else:
                held[event.kind].append(record)
        for kind, records in held.items():
            if len(records) >= _HELD:
                yield kind, form.of(kind, _table(kind, records))
                held[kind] = []
    for kind, records in held.items():
        if records:
            yield kind, form.of(kind, _table(kind, records))
    rejected.flush()


def simulated_records(
    traffic: Traffic,
    *,
    days: int,
    first: int,
    form: LakeForm,
    on_read: Callable[[int], None] = lambda _records: None,
) -> Iterator[tuple[Kind, pl.DataFrame]]:
    """Tables in the lake's form of simulated days, which keep their contract by construction."""
    for day in traffic.days(days, first=first):
        yield Kind.CLICK, form.of(Kind.CLICK, day.clicks)
        yield Kind.PURCHASE, form.of(Kind.PURCHASE, day.purchases)
        on_read(len(day.clicks) + len(day.purchases))


def _table(kind: Kind, records: list[Click] | list[Purchase]) -> pl.DataFrame:
    """Records as a table in clear, their times in whole milliseconds."""
    import polars as pl  # noqa: PLC0415

    numbers = {"cost_micros": pl.Int64, "amount_micros": pl.Int64, "logged_in": pl.Boolean}
    fields = _CLICK_FIELDS if kind is Kind.CLICK else _PURCHASE_FIELDS
    columns = {
        name: pl.Series(list(map(attrgetter(name), records)), dtype=numbers.get(name, pl.String)) for name in fields
    }
    at = pl.Series([epoch_ms(record.at) for record in records], dtype=pl.Int64).cast(pl.Datetime("ms", "UTC"))
    return pl.DataFrame({"at": at, **columns})
