"""What became of a batch, and how it is reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from functions.score_clicks.roles import RoleTally
from slidr.shadow import ShadowTally
from slidr.verdict import Decision, Reason

if TYPE_CHECKING:
    from functions.observability import Telemetry


_VALUES: Final = 50
"""Latencies that one batch tells: its percentiles to a fiftieth. The service takes 100 values of a metric at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One batch: what was decided, what went wrong, and from where the stream must deliver it again."""

    records: int
    rejects: Counter[str]
    """Rejected records by reason."""
    retry_from: int | None
    """Index of the first record whose outcome is not durable; None where all are."""
    decisions: Counter[Decision] = field(default_factory=Counter)
    undecided: Counter[Reason] = field(default_factory=Counter)
    """UNDECIDED clicks by their first reason."""
    late: int = 0
    crawlers: int = 0
    unbilled: int = 0
    waited_ms: Sequence[int] = ()
    """From arrival to decision, of each click."""
    release_id: str | None = None
    """The release that scored."""
    asked_release_id: str | None = None
    shadow: Mapping[str, ShadowTally] = field(default_factory=dict)
    """By slice: what a challenger in shadow would have decided otherwise."""
    roles: Sequence[RoleTally] = ()
    problems: tuple[str, ...] = ()
    """What failed, in words without personal data."""


def report(outcome: Outcome, telemetry: Telemetry) -> None:
    """Log one line a batch and one a problem; publish the batch's metrics."""
    summary: dict[str, Any] = {
        "records": outcome.records,
        "decisions": {decision.value: count for decision, count in outcome.decisions.items()},
        "release_id": outcome.release_id,
    }
    if outcome.undecided:
        summary["undecided"] = {reason.value: count for reason, count in outcome.undecided.items()}
    if outcome.rejects:
        summary["rejects"] = dict(outcome.rejects)
    telemetry.logger.info("batch decided", extra=summary)
    for problem in outcome.problems:
        telemetry.logger.error("dependency failed", extra={"problem": problem})
    if outcome.release_id is not None and outcome.release_id != outcome.asked_release_id:
        telemetry.logger.warning(
            "release substituted", extra={"asked": outcome.asked_release_id, "release_id": outcome.release_id}
        )
    if outcome.retry_from is not None:
        telemetry.logger.error("batch returned", extra={"retry_from": outcome.retry_from, "records": outcome.records})
    counts: dict[str, float] = {
        "Records": outcome.records,
        "Rejects": outcome.rejects.total(),
        "Valid": outcome.decisions[Decision.VALID],
        "Invalid": outcome.decisions[Decision.INVALID],
        "Undecided": outcome.decisions[Decision.UNDECIDED],
        "KnownCrawlers": outcome.crawlers,
        "LateClicks": outcome.late,
        "Unbilled": outcome.unbilled,
        "ReturnedBatches": float(outcome.retry_from is not None),
    }
    for name, value in counts.items():
        telemetry.metrics.add_metric(name=name, unit="Count", value=value)
    for name, tally in outcome.shadow.items():
        telemetry.tell({"slice": name}, {"ShadowClicks": tally.clicks, "ShadowFlips": tally.flipped})
    for of in outcome.roles:
        telemetry.tell({"role": of.role.value}, of.counts(), within={"slice": of.slice}, release_id=of.release_id)
    for waited_ms in _sample(outcome.waited_ms):
        telemetry.metrics.add_metric(name="ArrivalToVerdict", unit="Milliseconds", value=waited_ms)


def _sample(values: Sequence[int]) -> list[float]:
    """At most _VALUES of them, evenly spread by rank, the least and the greatest among them."""
    if len(values) <= _VALUES:
        return [float(value) for value in values]
    ordered = sorted(values)
    return [float(ordered[round(rank * (len(ordered) - 1) / (_VALUES - 1))]) for rank in range(_VALUES)]
