"""What to do when an alarm says that verdicts are off: whom it blames, and whether it may act yet. Pure.

Three alarms matter. `model`: what the champion decides is off what it expects, and no part of the infrastructure is in
trouble. `stable`: the same of what the stable release decides. `infrastructure`: the endpoint, the cache, the stream.
Source: the project's design, sections 2 ("a bad day") and 7.
"""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import Final

import msgspec

from slidr.pointer import Pointer

FIRST_EVIDENCE: Final = dt.timedelta(seconds=60)
"""An alarm that goes off so long after a promotion has a whole period of the new champion's clicks before it."""
FULL_EVIDENCE: Final = dt.timedelta(seconds=180)
"""After so long every period that an alarm looks at (three of a minute) is of the champion in force."""


class AlarmState(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm, as it is now."""

    name: str
    on: bool
    since: dt.datetime
    """When it came to be so, UTC."""
    reason: str = ""
    """Why; empty where it is not on and has never been."""


class Alarms(msgspec.Struct, frozen=True, kw_only=True):
    """The alarms that a rollback goes by."""

    model: AlarmState
    stable: AlarmState
    infrastructure: AlarmState
    fpr: AlarmState
    """Of matured clicks: too slow for a rollback, it stops promotion."""


class Action(StrEnum):
    """What there is to do."""

    NOTHING = "nothing"
    WAIT = "wait"
    """Look again in a minute: the alarm may be about a champion that serves no more."""
    ROLL_BACK = "roll_back"
    OBSERVE = "observe"
    """The input is at fault, or there is nothing to go back to: every click is billed, a person is paged."""
    FREEZE = "freeze"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What to do, and why."""

    action: Action
    why: str
    alarm: AlarmState | None = None
    """The one that is answered."""


def answer(alarms: Alarms, pointer: Pointer, *, in_force_since: dt.datetime | None, now: dt.datetime) -> Answer:
    """What to do about the alarms that are on.

    Args:
        alarms: as they are now.
        pointer: in force.
        in_force_since: when its champion came into force; None where nobody knows.
        now: UTC.

    >>> at = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
    >>> off = AlarmState(name="other", on=False, since=at)
    >>> alarms = Alarms(model=AlarmState(name="model", on=True, since=at), stable=off, infrastructure=off, fpr=off)
    >>> pointer = Pointer(champion="b", stable="a")
    >>> answer(alarms, pointer, in_force_since=at - dt.timedelta(hours=1), now=at).action.value
    'roll_back'
    >>> answer(alarms, pointer, in_force_since=at - dt.timedelta(seconds=5), now=at).action.value
    'wait'
    """
    if _in_trouble(alarms.infrastructure, now):
        return Answer(
            action=Action.NOTHING, why=f"{alarms.infrastructure.name} is on or was: no model is blamed for it"
        )
    if alarms.stable.on and pointer.champion is not None and pointer.champion == pointer.stable:
        why = f"the alarm goes on with the stable release {pointer.stable}: the input is at fault, no model"
        return Answer(action=Action.OBSERVE, why=why, alarm=alarms.stable)
    if alarms.model.on:
        return _of_champion(alarms.model, pointer, in_force_since=in_force_since, now=now)
    if alarms.fpr.on:
        why = f"false positives of matured clicks are out of bounds: {alarms.fpr.reason}"
        return Answer(action=Action.FREEZE, why=why, alarm=alarms.fpr)
    return Answer(action=Action.NOTHING, why="no alarm is on that a release answers for")


def _of_champion(
    alarm: AlarmState, pointer: Pointer, *, in_force_since: dt.datetime | None, now: dt.datetime
) -> Answer:
    champion = pointer.champion
    if champion is None:
        return Answer(action=Action.NOTHING, why="nothing is in force")
    if champion == pointer.stable:
        why = f"{champion} is stable and in force already: the alarm is about the champion before it"
        return Answer(action=Action.NOTHING, why=why)
    if in_force_since is not None:
        fresh = alarm.since < in_force_since + FIRST_EVIDENCE  # it was on before the champion had a period of its own
        if fresh and now < in_force_since + FULL_EVIDENCE:
            age_s = (now - in_force_since).total_seconds()
            why = f"{champion} is in force for {age_s:.0f} s only: the alarm may be about the champion before it"
            return Answer(action=Action.WAIT, why=why)
    if pointer.stable is None:
        why = f"{champion} is off what it expects, and there is no stable release to go back to"
        return Answer(action=Action.OBSERVE, why=why, alarm=alarm)
    return Answer(action=Action.ROLL_BACK, why=f"{champion} is off what it expects: {alarm.reason}", alarm=alarm)


def _in_trouble(infrastructure: AlarmState, now: dt.datetime) -> bool:
    """Whether the infrastructure is in trouble, or was a moment ago: what others saw then is not over at once."""
    return infrastructure.on or (infrastructure.reason != "" and now < infrastructure.since + FULL_EVIDENCE)
