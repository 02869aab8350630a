"""Whole real logs through the deployed local stack, a tenth of the batches delivered twice: one verdict a click.

`python -m benchmarks real_logs`. TalkingData, REES46 and Apache logs are looked for in shared/data beside the checkout;
they are never part of it. Every tenth batch of 500 records is put on the stream a second time, five batches later. The
model was trained on simulated days: its verdicts on these logs are no finding about that traffic.
"""

from __future__ import annotations

import datetime as dt
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.deployed import deployed
from benchmarks.harness import REPOSITORY, Measured
from local.accounting import Accounting, SentRecord, sent_record
from local.commands.send import writer_of
from local.decided_clicks import DecidedClicks
from local.sending import playlist_of_log
from local.sources.event import Chunk, Kind
from local.stream_writer import MAX_RECORDS
from slidr.errors import SlidrError
from slidr.ledger import Ledger, LedgerEntry
from slidr.verdict import Decision
from tests.cloud.journey import Journey

DATA: Final = REPOSITORY.parent / "shared" / "data"
LOGS: Final = {
    "Apache": "apache_semicomplete_201505.log.gz",
    "TalkingData": "talkingdata_dev_7-8nov_cst.csv.gz",
    "REES46": "rees46_20191001_0000_0250utc.csv.gz",
}
EVERY: Final = 10
"""One batch in so many is delivered again ..."""
LATER: Final = 5
"""... after so many others."""
APACHE_GIVT_SHARE: Final = 0.196
_IDLE_S: Final = 0.2
_STALL_S: Final = 30.0

FIGURES: Final = {
    "records_in": "click records of all logs, each counted once",
    "verdicts": "distinct clicks with a verdict",
    "rejects": "records in the reject store, each counted once",
    "undecided": "clicks whose verdict in force is UNDECIDED",
    "lost": "records with neither a verdict nor a reject",
    "redelivered": "click records that were put on the stream a second time",
    "double_counted": "clicks that a reader of the ledger counts twice, or by a later verdict than the first",
    "apache_givt_share": "known crawlers among the verdicts of the Apache log (by its own count 0.196)",
}


class RealLogsMissing(SlidrError):
    """The real logs are not on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """One log that went through."""

    accounting: Accounting
    redelivered: int
    seconds: float
    """From the first record sent to the last verdict read."""
    verdicts: list[LedgerEntry]
    """In force, one a click, as a reader that folds while it reads sees them."""
    records: list[LedgerEntry]
    """Every verdict record of these clicks, redelivered ones included."""

    @property
    def double_counted(self) -> int:
        """How many verdicts a reader counts beyond the first one of each click, found without the ledger's own fold."""
        first: dict[str, dt.datetime] = {}
        for record in self.records:
            first[record.click_id] = min(record.decided_at, first.get(record.click_id, record.decided_at))
        later = sum(verdict.decided_at != first[verdict.click_id] for verdict in self.verdicts)
        return len(self.verdicts) - len(first) + later


def measure() -> Measured:
    """Send each log through a stack of its own cloud and account for every record."""
    paths = {name: DATA / file for name, file in LOGS.items()}
    missing = [path.name for path in paths.values() if not path.exists()]
    if missing:
        raise RealLogsMissing(
            f"the logs {', '.join(LOGS.values())} are required in shared/data beside the checkout ({DATA}), missing: "
            f"{', '.join(missing)}. Put them there; they are not part of the project."
        )
    with deployed() as cloud:
        passed = {name: _through(cloud, path) for name, path in paths.items()}
    rows = [_row(name, log) for name, log in passed.items()]
    figures = {
        "records_in": sum(log.accounting.records_in for log in passed.values()),
        "verdicts": sum(log.accounting.verdicts for log in passed.values()),
        "rejects": sum(log.accounting.rejects for log in passed.values()),
        "undecided": sum(row["undecided"] for row in rows),
        "lost": sum(len(log.accounting.missing) for log in passed.values()),
        "redelivered": sum(log.redelivered for log in passed.values()),
        "double_counted": sum(log.double_counted for log in passed.values()),
        "apache_givt_share": _givt_share(passed["Apache"]),
    }
    return Measured(
        figures=figures,
        rows=rows,
        notes=[f"{name}: {log.accounting}; {log.seconds:.1f} s" for name, log in passed.items()],
        missed=[line for name, log in passed.items() for line in _missed(name, log)]
        + _missed_by_givt(figures["apache_givt_share"]),
    )


def _through(cloud: Journey, path: Path) -> Passed:
    """Send a log, some batches twice, and wait for all outcomes."""
    writer, sent, redelivered = writer_of(cloud.session), list[SentRecord](), 0
    with ExitStack() as stack, DecidedClicks(cloud.session, since=dt.datetime.now(dt.UTC)) as decided:
        playlist = playlist_of_log(path, purchases=None, stack=stack)
        began = time.monotonic()
        for batch, again in _with_redelivery(_batches(playlist.chunks)):
            writer.put(batch)
            clicks = [sent_record(event) for event in batch if event.kind is Kind.CLICK]
            if again:
                redelivered += len(clicks)
            else:
                sent += clicks
        accounting = decided.wait_for(sent, stall_s=_STALL_S)
        ended = _wait_for_records(decided, accounting.verdicts + redelivered)
        verdicts = list(decided.ledger)
    if writer.sent.failed:
        raise SlidrError(f"every record must be taken by the stream, refused were {writer.sent.failed[:5]}")
    keys = {record.key for record in sent}
    decoder = msgspec.json.Decoder(LedgerEntry)
    records = [entry for data in cloud.verdict_records() if (entry := decoder.decode(data)).click_id in keys]
    return Passed(
        accounting=accounting,
        redelivered=redelivered,
        seconds=ended - began,
        verdicts=[verdict for verdict in verdicts if verdict.click_id in keys],
        records=records,
    )


def _batches(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """The events in batches of what one PutRecords request takes."""
    for chunk in chunks:
        for start in range(0, len(chunk), MAX_RECORDS):
            yield chunk[start : start + MAX_RECORDS]


def _with_redelivery(batches: Iterator[Chunk]) -> Iterator[tuple[Chunk, bool]]:
    """Every batch, and every tenth once more, some batches later; whether it is that second time."""
    waiting: deque[tuple[int, Chunk]] = deque()
    for number, batch in enumerate(batches):
        yield batch, False
        if number % EVERY == 0:
            waiting.append((number + LATER, batch))
        if waiting and waiting[0][0] <= number:
            yield waiting.popleft()[1], True
    yield from ((batch, True) for _, batch in waiting)


def _wait_for_records(decided: DecidedClicks, records: int) -> float:
    """Wait for so many verdict records (rejected ones have none), or until no more come; when the last one came."""
    seen, last_s = decided.records, time.monotonic()
    while decided.records < records and time.monotonic() - last_s < _STALL_S / 3:
        time.sleep(_IDLE_S)
        if decided.records != seen:
            seen, last_s = decided.records, time.monotonic()
    return last_s


def _row(name: str, log: Passed) -> dict[str, Any]:
    return {
        "log": name,
        "records_in": log.accounting.records_in,
        "distinct_verdicts": len(log.verdicts),
        "rejects": log.accounting.rejects,
        "undecided": sum(verdict.decision is Decision.UNDECIDED for verdict in log.verdicts),
        "redelivered": log.redelivered,
        "verdict_records": len(log.records),
        "double_counted": log.double_counted,
        "givt_share": _givt_share(log),
        "clicks_per_s": (log.accounting.records_in + log.redelivered) / log.seconds,
    }


def _givt_share(log: Passed) -> float:
    return sum(verdict.givt for verdict in log.verdicts) / max(len(log.verdicts), 1)


def _missed(name: str, log: Passed) -> list[str]:
    row, found = _row(name, log), list[str]()
    if not log.accounting.holds or log.accounting.duplicates or len(log.verdicts) != log.accounting.verdicts:
        found.append(f"{name}: {log.accounting}")
    if len(Ledger(log.records)) != len(log.verdicts):
        found.append(
            f"{name}: a later reader must see {len(log.verdicts):,} verdicts, not {len(Ledger(log.records)):,}"
        )
    if len(log.records) <= len(log.verdicts):
        found.append(f"{name}: redelivered clicks must be decided again, {len(log.records):,} verdict records came")
    found += [f"{name}: {what} must be 0, it is {row[what]:,}" for what in ("undecided", "double_counted") if row[what]]
    return found


def _missed_by_givt(share: float) -> list[str]:
    if abs(share - APACHE_GIVT_SHARE) < 0.01:
        return []
    return [f"the crawlers' share of the Apache log must be within a point of {APACHE_GIVT_SHARE:.1%}: {share:.1%}"]
