"""One look at the alarms: what follows from it is done, then people are told of whatever an alarm has done.

Every step can be repeated: a look that was cut off is finished by the next one, an alarm that flaps finds nothing left
to do, and what is told follows from the audit, so that nothing is done in silence.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from functions.adapters.alarms import AlarmReader
from functions.adapters.incidents import Incidents
from functions.adapters.serving_state import AuditLog, Change, PointerStore, PolicyStore
from functions.roll_back_release.settings import Settings
from slidr.audit import AuditEntry, differences, times_in_force
from slidr.errors import RollbackImpossible
from slidr.pointer import Pointer, frozen, rolled_back
from slidr.policy import Policy, with_kill_switch
from slidr.rollback import Action, Alarms, AlarmState, Answer, answer
from slidr.telemetry import Role, alarms_of

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

WHO: Final = "alarm "
"""How the audit names an alarm that changed something; then the alarm's name."""
_TOLD_WITHIN: Final = dt.timedelta(hours=6)
"""What is older is not told any more: a table that lost its memory must not page for last year."""
_EVIDENCE: Final = 20
"""Alarms that a message lists at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What answering talks to."""

    alarms: AlarmReader
    pointers: PointerStore
    policies: PolicyStore
    audit: AuditLog
    incidents: Incidents
    sns: SNSClient


def respond(services: Services, settings: Settings, *, now: dt.datetime) -> dict[str, Any]:
    """Look at the alarms, act, tell: `action`, `why`, and how many messages went out.

    Raises:
        AlarmsUnavailable: their state cannot be read. The next look, within a minute, tries again.
        ServingStateUnavailable: the control table does not answer. So does this.
    """
    on = services.alarms.on(settings.alarm_prefix)
    alarms = _alarms(services.alarms, on, settings)
    pointer = services.pointers.read()
    chosen = answer(alarms, pointer, in_force_since=_in_force_since(services.audit.entries(), pointer), now=now)
    if chosen.alarm is not None:
        _act(chosen, chosen.alarm, pointer, services, now=now)
    messages = _tell(services, settings, evidence=on, now=now)
    return {"action": chosen.action.value, "why": chosen.why, "messages": messages}


def _act(chosen: Answer, alarm: AlarmState, pointer: Pointer, services: Services, *, now: dt.datetime) -> None:
    """Do it; what is done already is left as it is."""
    change = Change(who=f"{WHO}{alarm.name}", why=chosen.why, at=now)
    if chosen.action is Action.ROLL_BACK:
        try:
            services.pointers.apply(lambda before: rolled_back(before, bad=pointer.champion), change)
        except RollbackImpossible:
            return  # somebody was first
    else:
        if chosen.action is Action.OBSERVE:
            services.policies.apply(lambda policy: with_kill_switch(policy, on=True), change)
        services.pointers.apply(frozen, change)


def _tell(services: Services, settings: Settings, *, evidence: Sequence[AlarmState], now: dt.datetime) -> int:
    """Tell of every change by an alarm that nobody was told of; how many messages that took."""
    together: defaultdict[str, list[AuditEntry]] = defaultdict(list)
    for entry in services.audit.entries():
        if entry.who.startswith(WHO) and entry.at > now - _TOLD_WITHIN:
            together[f"{entry.at.isoformat()} {entry.who}"].append(entry)
    messages = 0
    for incident, entries in together.items():
        if services.incidents.is_told(incident):
            continue
        subject = f"SLIDR {settings.stage}: {_headline(entries)}"
        text = message(entries, evidence, settings)
        services.sns.publish(TopicArn=settings.topic_arn, Subject=subject, Message=text)
        services.incidents.remember(incident, subject=subject, now=now)
        messages += 1
    return messages


def _alarms(reader: AlarmReader, on: Sequence[AlarmState], settings: Settings) -> Alarms:
    names = {
        "model": settings.model_alarm,
        "stable": settings.stable_alarm,
        "infrastructure": settings.infrastructure_alarm,
        "fpr": settings.fpr_alarm,
    }
    states = reader.states(list(names.values()))
    return Alarms(
        **{kind: states[name] for kind, name in names.items()},
        model_parts=_parts(on, settings, Role.CHAMPION),
        stable_parts=_parts(on, settings, Role.STABLE),
    )


def _parts(on: Sequence[AlarmState], settings: Settings, role: Role) -> tuple[AlarmState, ...]:
    prefix = f"{settings.alarm_prefix}{alarms_of(role)}"
    return tuple(alarm for alarm in on if alarm.name.startswith(prefix))


def _in_force_since(entries: Sequence[AuditEntry], pointer: Pointer) -> dt.datetime | None:
    times = times_in_force(entries).get(pointer.champion or "")
    return times[-1][0] if times else None


def _headline(entries: Sequence[AuditEntry]) -> str:
    if any(_observes(entry) for entry in entries):
        return "PAGE: every click is billed, a person is needed"
    if any(_rolls_back(entry) for entry in entries):
        return "rolled back to the stable release"
    return "PAGE: promotion is frozen"


def _observes(entry: AuditEntry) -> bool:
    return isinstance(entry.after, Policy) and entry.after.kill_switch


def _rolls_back(entry: AuditEntry) -> bool:
    before, after = entry.before, entry.after
    return isinstance(before, Pointer) and isinstance(after, Pointer) and before.champion != after.champion


def message(entries: Sequence[AuditEntry], evidence: Sequence[AlarmState], settings: Settings) -> str:
    """What people are told: why, what was changed, the evidence, what to do next.

    Args:
        entries: of the audit, of one look.
        evidence: the alarms that are on.
        settings: see there.
    """
    lines = [entries[0].why, "", f"By {entries[0].who} at {entries[0].at:%Y-%m-%d %H:%M:%S} UTC:"]
    lines += [f"  {said}" for entry in entries for said in differences(entry.before, entry.after)]
    lines += ["", "Next (docs/runbook.md):", *(f"  {command}" for command in _commands(entries, settings.stage))]
    lines += ["", "Alarms that are on:" if evidence else "No alarm is on any more."]
    lines += [f"  {alarm.name} since {alarm.since:%H:%M:%S}: {alarm.reason}" for alarm in evidence[:_EVIDENCE]]
    if settings.dashboard_url:
        lines += ["", settings.dashboard_url]
    return "\n".join(lines)


def _commands(entries: Sequence[AuditEntry], stage: str) -> list[str]:
    interval = f"--stage {stage} --from HOUR --to HOUR"
    if any(_observes(entry) for entry in entries):
        return [
            f"slidr status --stage {stage}",
            f"slidr replay {interval} --recompute-features",
            f"slidr mode --kill-switch off --stage {stage} --why ...",
        ]
    replays = [
        f"slidr replay {interval} --release stable --decided-by {entry.before.champion}"
        for entry in entries
        if _rolls_back(entry) and isinstance(entry.before, Pointer)
    ]
    return [*replays, f"slidr unfreeze --stage {stage} --why ..."]
