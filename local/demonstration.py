"""The parts of the demo: its scale, the live traffic, the run itself, and what it must show."""

from __future__ import annotations

import datetime as dt
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from local.accounting import Accounting, SentRecord, sent_record
from local.console import percent
from local.decided_clicks import DecidedClicks
from local.judging import UNKNOWN, judged
from local.sending import clicks_in, place_of_click, play, playlist_of_log
from local.session import Session
from local.sources.event import Chunk, Event, Kind
from local.sources.ordering import Playlist
from local.sources.simulated import FIRST_DAY, simulated_chunks, span_of
from local.stream_writer import Sent, StreamWriter
from slidr.ledger import LedgerEntry, Tally, latency_percentiles, tally
from slidr.metrics import Rate

if TYPE_CHECKING:
    import polars as pl

    from training.judgement import Judgement
    from training.simulator import Traffic

PACED_RATE: Final = 200.0
"""Clicks a second of the last part of the live traffic, which nothing queues before: it shows the latency."""
PACED_CLICKS: Final = 1_500
RECALL_FLOOR: Final = 0.25
"""Of the clicks of robots that no list names. Models of shuffled labels stay under 15%, those of the demo near 50%."""
POINTER_CACHE_S: Final = 3.5
"""The function reads the pointer again at least so often (Settings.pointer_cache_s); verdicts before it may be old."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How big a demo is."""

    clicks_per_day: int
    """Of the training days and of the live day: another number is another world, with other shared addresses."""
    paced_clicks: int


FULL: Final = Scale(clicks_per_day=20_000, paced_clicks=PACED_CLICKS)
SHORT: Final = Scale(clicks_per_day=8_000, paced_clicks=500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """The live traffic: a playlist of known length, and the truth where it is simulated."""

    title: str
    playlist: Playlist
    clicks: int
    truth: pl.DataFrame | None


def simulated_traffic(seed: int, clicks_per_day: int) -> Traffic:
    """The demo's world; training and live days are of the same one."""
    from training.simulator import Traffic as Simulation  # noqa: PLC0415 - 0.4 s

    return Simulation(seed=seed, start=FIRST_DAY, clicks_per_day=clicks_per_day)


def simulated_live(traffic: Traffic, *, day: int) -> Live:
    """One simulated day, later than all training days."""
    simulated = traffic.day(day)
    first_ms, last_ms = span_of(traffic, days=1, first=day)
    clicks = len(simulated.clicks)
    return Live(
        title=f"simulated day {day}",
        playlist=Playlist(
            chunks=simulated_chunks(iter([simulated])), first_ms=first_ms, last_ms=last_ms, clicks=clicks
        ),
        clicks=clicks,
        truth=simulated.truth,
    )


def logged_live(path: Path, purchases: Path | None, *, limit: int | None, stack: ExitStack) -> Live:
    """A log of the user's."""
    playlist = playlist_of_log(path, purchases=purchases, stack=stack)
    clicks = playlist.clicks or 0
    return Live(title=path.name, playlist=playlist, clicks=clicks if limit is None else min(limit, clicks), truth=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What came of sending the live traffic."""

    sent: Sent
    send_s: float
    """Seconds of the part that was sent as fast as the stream takes it."""
    decided_s: float
    """Seconds from its first click sent to its last verdict read."""
    accounting: Accounting
    redelivered: int
    """Verdict records beyond one a click."""
    tally: Tally
    judgement: Judgement
    paced_latency_ms: tuple[float, float, float]
    """p50, p95, p99 at PACED_RATE, nothing queued before."""
    backlog_latency_ms: tuple[float, float, float]
    """The same of what was sent as fast as possible: time in the queue included."""
    bulk_clicks: int


def run_live(
    session: Session,
    live: Live,
    writer: StreamWriter,
    *,
    paced_clicks: int,
    on_sent: Callable[[int], None],
    on_decided: Callable[[int], None],
) -> Run:
    """Send the live traffic, most of it as fast as the stream takes it and the end at PACED_RATE; await every verdict.

    Raises:
        SendFailed: the streams cannot be written to.
    """
    events: list[Event] = []
    records: list[SentRecord] = []

    def put(chunk: Chunk) -> None:
        events.extend(chunk)
        records.extend(sent_record(event) for event in chunk if event.kind is Kind.CLICK)
        on_sent(clicks_in(chunk))

    began = dt.datetime.now(dt.UTC)
    fast = max(0, live.clicks - paced_clicks)
    chunks = _split_at(live.playlist.chunks, fast)
    with DecidedClicks(session, since=began) as decided:
        start_s = time.monotonic()
        play(replace(live.playlist, chunks=_until_marker(chunks)), writer, on_put=put)
        send_s = time.monotonic() - start_s
        accounting = decided.wait_for(records, on_progress=on_decided)
        decided_s = time.monotonic() - start_s
        paced_from = len(records)
        if not accounting.missing:
            play(replace(live.playlist, chunks=chunks), writer, rate=PACED_RATE, limit=live.clicks - fast, on_put=put)
            accounting = decided.wait_for(records, on_progress=on_decided)
        ledger = decided.ledger
        ours = [entry for key in dict.fromkeys(r.key for r in records) if (entry := ledger.get(key)) is not None]
        redelivered = decided.records - len(ledger)
    paced = {record.key for record in records[paced_from:]}
    return Run(
        sent=writer.sent,
        send_s=send_s,
        decided_s=decided_s,
        accounting=accounting,
        redelivered=redelivered,
        tally=tally(ours),
        judgement=judged(events, ours, truth=live.truth),
        paced_latency_ms=_latency([entry for entry in ours if entry.click_id in paced]),
        backlog_latency_ms=_latency([entry for entry in ours if entry.click_id not in paced]),
        bulk_clicks=paced_from,
    )


_MARKER: Final[Chunk] = []
"""Stands between what is sent fast and what is paced."""


def _split_at(chunks: Iterator[Chunk], clicks: int) -> Iterator[Chunk]:
    """The same events, with the marker after the first `clicks` clicks."""
    left, marked = clicks, False
    for chunk in chunks:
        if not marked and clicks_in(chunk) >= left:
            cut = place_of_click(chunk, left)
            yield chunk[:cut]
            yield _MARKER
            yield chunk[cut:]
            marked = True
        else:
            left -= clicks_in(chunk)
            yield chunk


def _until_marker(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    for chunk in chunks:
        if chunk is _MARKER:
            return
        yield chunk


def _latency(entries: list[LedgerEntry]) -> tuple[float, float, float]:
    return latency_percentiles([(e.decided_at - e.arrived_at).total_seconds() * 1000.0 for e in entries])


def failures(run: Run, *, fpr_bound: float) -> list[str]:
    """Everything that must hold and does not; empty when the demo showed what it must."""
    wrong = []
    if run.sent.failed:
        wrong.append(f"{len(run.sent.failed):,} records could not be put on the streams")
    if not run.accounting.holds:
        wrong.append(
            f"the accounting must add up: {run.accounting}. See slidr logs score-clicks for what failed, and "
            "slidr redrive --dry-run for batches that were given up"
        )
    if run.tally.undecided.count:
        wrong.append(
            f"every click must be decided, {run.tally.undecided.count:,} are UNDECIDED "
            f"({', '.join(sorted(reason.value for reason in run.tally.reasons))}): see slidr logs score-clicks"
        )
    if knows_the_truth(run.judgement) and exceeds(run.judgement.fpr, fpr_bound):
        wrong.append(f"the FPR on purchases must not lie above {fpr_bound:.2%}, it is {percent(run.judgement.fpr)}")
    if learned_too_little(run.judgement):
        wrong.append(
            f"at least {RECALL_FLOOR:.0%} of the clicks of robots that no list names must be found, found were "
            f"{run.judgement.recall.value:.1%}: see what the training job said, slidr logs training"
        )
    return wrong


def knows_the_truth(judgement: Judgement) -> bool:
    """Whether it is known who clicked; the model of the demo was trained for such traffic and promises nothing else."""
    return UNKNOWN not in judgement.families


def learned_too_little(judgement: Judgement) -> bool:
    """Whether, where the truth is known, the recall lies below its floor beyond doubt: its whole 95% interval does."""
    return knows_the_truth(judgement) and judgement.recall.interval[1] < RECALL_FLOOR


def exceeds(rate: Rate, bound: float) -> bool:
    """Whether a rate lies above a bound beyond doubt: its whole 95% interval does.

    >>> exceeds(Rate(count=2, total=100), 0.01), exceeds(Rate(count=9, total=100), 0.01)
    (False, True)
    """
    low, _ = rate.interval
    return not math.isnan(low) and low > bound
