"""The ledger of verdicts and its fold by click (rule 8): one verdict a click, whatever was delivered twice.

The fold takes verdicts in any order and any number of times and ends in the same state, so that a reader of the
stream, of the lake, or of both agrees with every other reader. The first original (by `decided_at`) of a click wins;
the last correction (by `decided_at`) supersedes it. A backfilled row is no decision: any that was made supersedes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

import msgspec
import numpy as np

from slidr.contract import Instant
from slidr.metrics import Rate
from slidr.verdict import Decision, Mode, Reason


class Recorded(Protocol):
    """What the fold needs of a verdict: `slidr.verdict.Verdict`, or `LedgerEntry` where memory matters."""

    @property
    def click_id(self) -> str:
        """The click that was decided."""

    @property
    def kind(self) -> Literal["original", "correction"]:
        """Whether this is a first decision or one that supersedes it."""

    @property
    def decided_at(self) -> Instant:
        """When it was decided."""

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why: a backfilled row says so here."""


RecordT = TypeVar("RecordT", bound=Recorded)


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A verdict without its feature vector: a tenth of the memory. Decode a verdict's JSON straight into it."""

    click_id: str
    kind: Literal["original", "correction"]
    at: Instant
    arrived_at: Instant
    decided_at: Instant
    decision: Decision
    mode: Mode
    billable: bool
    reasons: tuple[Reason, ...]
    score: float | None
    threshold: float | None
    slice: str
    release_id: str | None
    givt: bool
    late: bool
    marketplace: str
    advertiser: str
    cost_micros: int
    currency: str


class Ledger(Generic[RecordT]):
    """The fold: at most one verdict in force a click."""

    def __init__(self, verdicts: Iterable[RecordT] = ()) -> None:
        self._in_force: dict[str, RecordT] = {}
        self.add(verdicts)

    def add(self, verdicts: Iterable[RecordT]) -> int:
        """Fold in more verdicts; returns how many clicks were new."""
        before = len(self._in_force)
        for verdict in verdicts:
            known = self._in_force.get(verdict.click_id)
            if known is None or _supersedes(verdict, known):
                self._in_force[verdict.click_id] = verdict
        return len(self._in_force) - before

    def __len__(self) -> int:
        return len(self._in_force)

    def __contains__(self, click_id: object) -> bool:
        return click_id in self._in_force

    def __iter__(self) -> Iterator[RecordT]:
        return iter(self._in_force.values())

    def get(self, click_id: str) -> RecordT | None:
        """The verdict in force of a click, or None."""
        return self._in_force.get(click_id)


def _supersedes(verdict: Recorded, known: Recorded) -> bool:
    """Whether `verdict` takes the place of `known`. A total order, so that the order of arrival does not matter."""
    if _standing(verdict) != _standing(known):
        return _standing(verdict) > _standing(known)
    if verdict.decided_at == known.decided_at:  # the clock cannot tell: their content does
        ours, theirs = msgspec.json.encode(verdict), msgspec.json.encode(known)
        return ours > theirs if verdict.kind == "correction" else ours < theirs
    later = verdict.decided_at > known.decided_at
    return later if verdict.kind == "correction" else not later


def _standing(verdict: Recorded) -> int:
    """Which kind of record gives way to which: backfilled, original, correction."""
    if verdict.kind == "correction":
        return 2
    return 0 if Reason.BACKFILLED in verdict.reasons else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a set of verdicts adds up to."""

    clicks: int
    decisions: Counter[Decision]
    reasons: Counter[Reason]
    slices: dict[str, Rate]
    """IVR by slice."""
    releases: Counter[str]
    """Verdicts by the release that scored; "" where none did."""
    modes: Counter[Mode]
    not_billable: int
    cost_saved_micros: Counter[str]
    """Cost of the clicks that are not billed, by currency."""
    cost_invalid_micros: Counter[str]
    """Cost of the INVALID clicks, billed (observe mode) or not, by currency."""
    listed: int
    """Clicks on a GIVT list."""
    late: int
    latency_ms: tuple[float, float, float]
    """p50, p95, p99 of arrival to decision, milliseconds, backfilled rows left out; NaN without verdicts."""

    @property
    def ivr(self) -> Rate:
        """Invalidated clicks / clicks."""
        return Rate(count=self.decisions[Decision.INVALID], total=self.clicks)

    @property
    def undecided(self) -> Rate:
        """Undecided clicks / clicks."""
        return Rate(count=self.decisions[Decision.UNDECIDED], total=self.clicks)


def tally(entries: Iterable[LedgerEntry]) -> Tally:
    """Count verdicts that are in force (one a click)."""
    decisions: Counter[Decision] = Counter()
    reasons: Counter[Reason] = Counter()
    by_slice: dict[str, list[int]] = {}
    releases: Counter[str] = Counter()
    modes: Counter[Mode] = Counter()
    saved: Counter[str] = Counter()
    invalid_cost: Counter[str] = Counter()
    latencies: list[float] = []
    clicks = not_billable = listed = late = 0
    for entry in entries:
        clicks += 1
        invalid = entry.decision is Decision.INVALID
        decisions[entry.decision] += 1
        reasons.update(entry.reasons)
        counts = by_slice.setdefault(entry.slice, [0, 0])
        counts[0] += invalid
        counts[1] += 1
        releases[entry.release_id or ""] += 1
        modes[entry.mode] += 1
        if not entry.billable:
            not_billable += 1
            saved[entry.currency] += entry.cost_micros
        if invalid:
            invalid_cost[entry.currency] += entry.cost_micros
        listed += entry.givt
        late += entry.late
        if Reason.BACKFILLED not in entry.reasons:
            latencies.append((entry.decided_at - entry.arrived_at).total_seconds() * 1000.0)
    return Tally(
        clicks=clicks,
        decisions=decisions,
        reasons=reasons,
        slices={name: Rate(count=count, total=total) for name, (count, total) in sorted(by_slice.items())},
        releases=releases,
        modes=modes,
        not_billable=not_billable,
        cost_saved_micros=saved,
        cost_invalid_micros=invalid_cost,
        listed=listed,
        late=late,
        latency_ms=latency_percentiles(latencies),
    )


def latency_percentiles(latencies_ms: list[float]) -> tuple[float, float, float]:
    """p50, p95 and p99 of `latencies_ms`; NaN where it is empty.

    >>> latency_percentiles([1.0, 2.0, 3.0])[0]
    2.0
    """
    if not latencies_ms:
        return float("nan"), float("nan"), float("nan")
    p50, p95, p99 = np.percentile(np.asarray(latencies_ms), (50, 95, 99)).tolist()
    return p50, p95, p99
