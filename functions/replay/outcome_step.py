"""What a replay found, added up over its days; and its end: people are told, notes of undecided hours are deleted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from functions.adapters.lake import Lake
from functions.replay.plan_step import ReplayPlan, answered
from slidr.replay import Difference, HourFound, changes_by, corrections_key, merged, money

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

_LINES: Final = 15


def summarise(event: Mapping[str, Any], lake: Lake) -> dict[str, Any]:
    """Add up what the jobs of a run found, and list its corrections for publishing.

    Raises:
        ObjectUnavailable: what a job found is missing.
    """
    plan = msgspec.convert(event["plan"], ReplayPlan)
    keys = [key for key in lake.keys(plan.prefix) if key.endswith("/found.json")]
    hours = [hour for key in keys for hour in msgspec.json.decode(lake.read(key), type=list[HourFound])]
    difference = merged(hour.found.difference for hour in hours)
    listed = [
        {
            "key": corrections_key(hour.hour, hour.found.chunk),
            "who": plan.who,
            "why": plan.why,
        }
        for hour in hours
        if hour.found.corrections
    ]
    lake.write(f"{plan.prefix}difference.json", msgspec.json.encode(difference))
    lake.write(f"{plan.prefix}corrections.json", msgspec.json.encode(listed))
    corrections = sum(hour.found.corrections for hour in hours)
    return {"clicks": difference.clicks, "changed": difference.changed, "corrections": corrections}


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishServices:
    """What the end of a replay talks to."""

    lake: Lake
    sns: SNSClient
    topic_arn: str


def finish(event: Mapping[str, Any], services: FinishServices, *, stage: str) -> dict[str, Any]:
    """End a run: delete the notes that it answered, tell of what would be or was changed; nothing of nothing.

    Raises:
        ObjectUnavailable: the difference is missing, or a note cannot be deleted.
    """
    plan = msgspec.convert(event["plan"], ReplayPlan)
    difference = msgspec.json.decode(services.lake.read(f"{plan.prefix}difference.json"), type=Difference)
    if plan.apply:
        answered(services.lake, plan.noted)
    corrections = int(event["found"]["corrections"])
    if difference.changed and not plan.undecided:
        did = (
            f"{corrections:,} corrections published" if plan.apply else f"{corrections:,} corrections wait for approval"
        )
        services.sns.publish(
            TopicArn=services.topic_arn,
            Subject=f"SLIDR {stage}: replay {plan.run}: {did}"[:100],
            Message=message(plan, difference, address=services.lake.uri(f"{plan.prefix}difference.json")),
        )
    return {"corrections": corrections if plan.apply else 0}


def message(plan: ReplayPlan, difference: Difference, *, address: str) -> str:
    """What people are told."""
    lines = [
        f"{plan.why}: {difference.clicks:,} clicks decided again by {plan.release_id}.",
        f"Same verdict: {difference.same:,}. Another: {difference.changed:,}.",
        f"Left as they are, without features: {difference.without_features:,}.",
        "",
    ]
    for title, key in (
        ("outcome", lambda change: f"{change.before or 'none'} -> {change.after}"),
        ("reason", lambda change: ", ".join(change.reasons) or "none"),
        ("slice", lambda change: change.slice),
        ("advertiser", lambda change: change.advertiser),
    ):
        lines.append(f"By {title}:")
        for name, changes in list(changes_by(difference, key).items())[:_LINES]:
            sums = "; ".join(
                f"refunded {one.refunded_micros / 1e6:,.2f}, charged {one.charged_micros / 1e6:,.2f} {one.currency}"
                for one in money(changes)
            )
            lines.append(f"  {name}: {sum(change.clicks for change in changes):,} clicks; {sums or 'no money moves'}")
    lines += ["", f"All of it: {address}"]
    if not plan.apply:
        lines += ["To publish: start the same replay with apply: true; what was found is found again."]
    return "\n".join(lines)
