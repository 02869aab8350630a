"""What became of a batch, and how it is reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slidr.shadow import ShadowTally
from slidr.verdict import Decision, Reason

if TYPE_CHECKING:
    from functions.observability import Telemetry


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
    expected_invalid: float = 0.0
    """Sum over the decided clicks of the IVR that the release expects at each click's local hour."""
    oldest_ms: int = 0
    """From arrival to decision of the click that came first."""
    release_id: str | None = None
    """The release that scored."""
    asked_release_id: str | None = None
    shadow: Mapping[str, ShadowTally] = field(default_factory=dict)
    """By slice: what a challenger in shadow would have decided otherwise."""
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
        "ExpectedInvalid": outcome.expected_invalid,
        "ReturnedBatches": float(outcome.retry_from is not None),
    }
    for name, value in counts.items():
        telemetry.metrics.add_metric(name=name, unit="Count", value=value)
    for name, tally in outcome.shadow.items():
        telemetry.tell_of_slice(name, {"ShadowClicks": tally.clicks, "ShadowFlips": tally.flipped})
    if outcome.decisions:
        telemetry.metrics.add_metric(name="OldestClickAge", unit="Milliseconds", value=outcome.oldest_ms)
