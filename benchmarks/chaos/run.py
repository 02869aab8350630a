"""What happened in one trial: its clicks, and when the fault began and ended."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.chaos.adversarial import POISON
from benchmarks.chaos.ground import Ground
from local.sources.event import Event
from slidr.ledger import Ledger, LedgerEntry
from slidr.verdict import Decision

CLICKS: Final = 20_000
NEVER: Final = dt.datetime.max.replace(tzinfo=dt.UTC)


@dataclass(slots=True)
class Run:
    """What happened in one trial."""

    warming: list[Event]
    clicks: list[Event]
    further: list[Event]
    trickled: list[Event] = field(default_factory=list)
    odd: list[Event] = field(default_factory=list)
    """Adversarial records among the clicks."""
    first_record: int = 0
    began_at: dt.datetime = NEVER
    healed_at: dt.datetime = NEVER
    undecided_metric: float = 0.0
    """What CloudWatch had counted before."""
    environments: set[int] = field(default_factory=set)
    log_from: int = 0
    set_aside: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)


def mixed(clicks: Sequence[Event], odd: Sequence[Event]) -> list[Event]:
    """The odd records spread evenly among the clicks."""
    found = list(clicks)
    for position, event in enumerate(odd):
        found.insert((position + 1) * len(clicks) // (len(odd) + 1) + position, event)
    return found


def with_odd(run: Run, odd: Sequence[Event]) -> list[Event]:
    """The clicks in the order of the stream, with those odd records that were decided."""
    third = CLICKS // 3
    second = mixed(run.clicks[third : 2 * third], run.odd)
    kept = {event.key for event in odd}
    unwanted = {event.key for event in run.odd} - kept
    return [
        *run.clicks[:third],
        *(event for event in second if event.key not in unwanted),
        *run.clicks[2 * third :],
    ]


def poison_of(run: Run) -> list[Event]:
    """The clicks whose verdict the stream refuses."""
    return [event for event in run.odd if event.key.startswith(POISON)]


def fold(ground: Ground, run: Run) -> Ledger[LedgerEntry]:
    """The verdicts in force of the run."""
    return Ledger(ground.verdicts.since(run.first_record))


def first_decided_after(ground: Ground, run: Run) -> dt.datetime | None:
    """When the first click was decided after the fault had healed."""
    times = [
        entry.decided_at
        for entry in ground.verdicts.since(run.first_record)
        if entry.decided_at > run.healed_at and entry.decision is not Decision.UNDECIDED and not entry.givt
    ]
    return min(times, default=None)
