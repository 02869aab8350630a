"""What to do when an alarm says that verdicts are off: whom it blames, and whether it may act yet. Pure.

Three alarms matter. `model`: what the champion decides is off what it expects, and no part of the infrastructure is in
trouble. `stable`: the same of what the stable release decides. `infrastructure`: the endpoint, the cache, the stream.
The first two are made of parts, each of which looks at the clicks of some periods: only a part whose periods are of the
release in force, and of a time when the infrastructure was well, is evidence.
Source: the project's design, sections 2 ("a bad day") and 7.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from slidr.pointer import Pointer


class AlarmState(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm, as it is now."""

    name: str
    on: bool
    since: dt.datetime
    """When it came to be so, UTC."""
    reason: str = ""
    """Why; empty where it is not on and has never been."""
    period: dt.timedelta = dt.timedelta(0)
    """What it sums its metrics over; 0 of one that looks at other alarms."""
    window: dt.timedelta = dt.timedelta(0)
    """All the periods that it looks at."""


class Alarms(msgspec.Struct, frozen=True, kw_only=True):
    """The alarms that a rollback goes by."""

    model: AlarmState
    stable: AlarmState
    infrastructure: AlarmState
    fpr: AlarmState
    """Of matured clicks: too slow for a rollback, it stops promotion."""
    model_parts: tuple[AlarmState, ...] = ()
    """Those that are on, of the alarms that `model` looks at."""
    stable_parts: tuple[AlarmState, ...] = ()


class Action(StrEnum):
    """What there is to do."""

    NOTHING = "nothing"
    WAIT = "wait"
    """Look again in a minute: what the alarm sees may be another champion's, or the infrastructure's doing."""
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

    >>> at, minute = dt.datetime(2026, 11, 23, tzinfo=dt.UTC), dt.timedelta(minutes=1)
    >>> off = AlarmState(name="other", on=False, since=at)
    >>> on = AlarmState(name="model", on=True, since=at)
    >>> part = AlarmState(name="deviation", on=True, since=at, period=minute, window=3 * minute)
    >>> alarms = Alarms(model=on, model_parts=(part,), stable=off, infrastructure=off, fpr=off)
    >>> pointer = Pointer(champion="b", stable="a")
    >>> answer(alarms, pointer, in_force_since=at - 60 * minute, now=at).action.value
    'roll_back'
    >>> answer(alarms, pointer, in_force_since=at - minute / 2, now=at).action.value
    'wait'
    """
    if alarms.infrastructure.on:
        return Answer(action=Action.NOTHING, why=f"{alarms.infrastructure.name} is on: no model is blamed for it")
    if alarms.stable.on and pointer.champion is not None and pointer.champion == pointer.stable:
        return _of_stable(alarms, pointer.champion, now=now)
    if alarms.model.on:
        return _of_champion(alarms, pointer, in_force_since=in_force_since, now=now)
    if alarms.fpr.on:
        why = f"false positives of matured clicks are out of bounds: {alarms.fpr.reason}"
        return Answer(action=Action.FREEZE, why=why, alarm=alarms.fpr)
    return Answer(action=Action.NOTHING, why="no alarm is on that a release answers for")


def _of_stable(alarms: Alarms, champion: str, *, now: dt.datetime) -> Answer:
    parts = _while_well(alarms.stable_parts, alarms.infrastructure, now)
    if not parts:
        return _over(alarms.stable, alarms.infrastructure)
    why = f"the alarm goes on with the stable release {champion}: the input is at fault, no model ({_said(parts[0])})"
    return Answer(action=Action.OBSERVE, why=why, alarm=alarms.stable)


def _of_champion(alarms: Alarms, pointer: Pointer, *, in_force_since: dt.datetime | None, now: dt.datetime) -> Answer:
    champion = pointer.champion
    if champion is None:
        return Answer(action=Action.NOTHING, why="nothing is in force")
    if champion == pointer.stable:
        why = f"{champion} is stable and in force already: the alarm is about the champion before it"
        return Answer(action=Action.NOTHING, why=why)
    parts = _while_well(alarms.model_parts, alarms.infrastructure, now)
    if not parts:
        return _over(alarms.model, alarms.infrastructure)
    if in_force_since is not None:
        parts = [part for part in parts if _is_of_champion(part, in_force_since, now)]
        if not parts:
            age_s = (now - in_force_since).total_seconds()
            why = f"{champion} is in force for {age_s:.0f} s only: the alarm may be about the champion before it"
            return Answer(action=Action.WAIT, why=why)
    found = f"{champion} is off what it expects ({_said(parts[0])})"
    if pointer.stable is None:
        why = f"{found}, and there is no stable release to go back to"
        return Answer(action=Action.OBSERVE, why=why, alarm=alarms.model)
    return Answer(action=Action.ROLL_BACK, why=found, alarm=alarms.model)


def _while_well(parts: Sequence[AlarmState], infrastructure: AlarmState, now: dt.datetime) -> list[AlarmState]:
    """Those that see no click of a time when the infrastructure was in trouble."""
    never = infrastructure.reason == ""
    return [part for part in parts if never or now >= infrastructure.since + part.window]


def _is_of_champion(part: AlarmState, in_force_since: dt.datetime, now: dt.datetime) -> bool:
    """Whether it went off with a period of the champion's own clicks before it, or sees no others by now."""
    return part.since >= in_force_since + part.period or now >= in_force_since + part.window


def _over(alarm: AlarmState, infrastructure: AlarmState) -> Answer:
    why = f"what {alarm.name} sees is over, or of the time when {infrastructure.name} was on: nobody is blamed yet"
    return Answer(action=Action.WAIT, why=why)


def _said(part: AlarmState) -> str:
    return f"{part.name}: {part.reason}"
