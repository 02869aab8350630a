"""From a log of the past to the lake: read and stage, then write by the hour what the online path would have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from functions.adapters.reject_store import RejectStore
from functions.adapters.secrets import Secrets
from local.backfill_source import (
    LakeForm,
    Rejected,
    checked_records,
    file_digest,
    simulated_records,
    simulation_digest,
)
from local.lake_partitions import LakePartitions, Partition, Table, partitions_of
from local.session import Session
from local.sources.event import Kind
from local.sources.formats import format_of
from local.sources.mapped_csv import mapping_of
from local.staged_log import PART_ROWS, StagedLog
from slidr.givt import packaged_crawlers

if TYPE_CHECKING:
    import polars as pl

    from training.backfill import Stretch, StretchFeatures
    from training.simulator import Traffic

Count = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Records of one origin, read once."""

    digest: str
    """Stands for their content; their objects are named by it."""
    read: Callable[[LakeForm, Rejected, Count], Iterator[tuple[Kind, pl.DataFrame]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A source that was read."""

    digest: str
    clicks: StagedLog
    purchases: StagedLog
    rejected: Counter[str]
    """Records by reason."""


@dataclass(slots=True, kw_only=True)
class Written:
    """What was written, or would be in a dry run."""

    clicks: int = 0
    """Distinct ones of the log, wherever they lie by now; so are the purchases."""
    purchases: int = 0
    repeated: int = 0
    """Records left out: their ids had come before."""
    objects: Counter[Table] = field(default_factory=Counter)
    known: Counter[Table] = field(default_factory=Counter)
    """Objects that were there before."""
    bytes: int = 0


def log_source(path: Path, *, kind: Kind, now_ms: int, mapping: Path | None = None) -> Source:
    """The records of a log, or of a file of purchases.

    Raises:
        LogUnreadable: it is in no known format.
        MappingUnusable: its mapping cannot be used.
    """
    log_format = format_of(path, mapping=mapping)

    def read(form: LakeForm, rejected: Rejected, count: Count) -> Iterator[tuple[Kind, pl.DataFrame]]:
        chunks = log_format.read(path, kind=kind)
        return checked_records(chunks, form=form, rejected=rejected, now_ms=now_ms, on_read=count)

    return Source(digest=file_digest(path, mapping_of(path, mapping)), read=read)


def simulated_source(traffic: Traffic, *, days: int, first: int) -> Source:
    """The records of simulated days."""

    def read(form: LakeForm, _: Rejected, count: Count) -> Iterator[tuple[Kind, pl.DataFrame]]:
        return simulated_records(traffic, days=days, first=first, form=form, on_read=count)

    return Source(digest=simulation_digest(traffic, days=days, first=first), read=read)


def read_sources(
    session: Session, sources: Iterable[Source], folder: Path, *, dry_run: bool = False, on_read: Count
) -> list[Staged]:
    """Read the sources to the end: what keeps its contract into `folder`, pseudonymised; what breaks it to quarantine.

    Raises:
        LogUnreadable: a file breaks its format.
        SecretUnavailable: the stage's pseudonym key cannot be read.
        PublishFailed: rejects could not be stored.
    """
    pseudonymiser = Secrets(session.client("secretsmanager")).pseudonymiser(session.outputs.pseudonym_secret)
    form = LakeForm(pseudonymiser=pseudonymiser, crawlers=packaged_crawlers())
    store = None if dry_run else RejectStore(session.client("s3"), session.outputs.quarantine_bucket)
    staged = []
    for source in sources:
        rejected = Rejected(source=source.digest, store=store)
        tables = {kind: StagedLog(folder / source.digest / kind) for kind in Kind}
        for kind, records in source.read(form, rejected, on_read):
            tables[kind].add(records)
        staged.append(
            Staged(
                digest=source.digest,
                clicks=tables[Kind.CLICK],
                purchases=tables[Kind.PURCHASE],
                rejected=rejected.reasons,
            )
        )
    return staged


def write_lake(
    session: Session,
    staged: Iterable[Staged],
    *,
    dry_run: bool = False,
    part_rows: int = PART_ROWS,
    on_write: Count = lambda _records: None,
) -> Written:
    """Write the objects that the lake lacks; a dry run only finds out which.

    Raises:
        ClientError: an object could not be written. Those that were are passed over the next time.
    """
    from training.backfill import StretchFeatures, each_once, stretches  # noqa: PLC0415 - numba, polars: seconds

    written = Written()
    with LakePartitions(session.client("s3"), session.outputs.lake_bucket, dry_run=dry_run) as lake:
        for source in staged:
            features = StretchFeatures()
            for stretch in stretches(source.clicks.parts(rows=part_rows)):
                _write_clicks(stretch, features, lake, source.digest)
                written.clicks += len(stretch.clicks)
                written.repeated += stretch.repeated
                on_write(len(stretch.clicks) + stretch.repeated)
            for purchases, repeated in each_once(source.purchases.parts(rows=part_rows), key="order_id"):
                wanted = partitions_of(Table.PURCHASES, purchases["at"], source=source.digest)
                lake.write(lake.missing(wanted), _slices(purchases))
                written.purchases += len(purchases)
                written.repeated += repeated
                on_write(len(purchases) + repeated)
        written.objects, written.known, written.bytes = lake.written, lake.known, lake.bytes
    return written


def _write_clicks(stretch: Stretch, features: StretchFeatures, lake: LakePartitions, source: str) -> None:
    """The archive and the feature log of a stretch."""
    from training.backfill import backfilled_verdicts  # noqa: PLC0415

    clicks = stretch.clicks
    lake.write(lake.missing(partitions_of(Table.CLICKS, clicks["at"], source=source)), _slices(clicks))
    missing = lake.missing(partitions_of(Table.VERDICTS, clicks["at"], source=source))
    if missing:  # counting is most of the work
        matrix = features.of(stretch)
        lake.write(missing, lambda of: backfilled_verdicts(clicks[of.start : of.stop], matrix[of.start : of.stop]))


def _slices(rows: pl.DataFrame) -> Callable[[Partition], pl.DataFrame]:
    return lambda of: rows[of.start : of.stop]
