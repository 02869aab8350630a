"""The audit of the control table: one entry a generation of the pointer and of the policy, and what it tells."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from slidr.pointer import Pointer
from slidr.policy import Policy
from slidr.verdict import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One change: who, when, why, from, to."""

    at: dt.datetime
    """When it was asked for, UTC, by the clock of who asked."""
    who: str
    why: str
    before: Pointer | Policy
    after: Pointer | Policy

    @property
    def changed(self) -> str:
        """What was changed: "pointer" or "policy"."""
        return type(self.after).__name__.lower()


def in_order(entries: Iterable[AuditEntry]) -> list[AuditEntry]:
    """The entries as they happened: by generation; pointer and policy merged by time.

    Clocks of operators differ, generations do not: of two pointer entries the later generation comes later, whatever
    its time says.

    >>> at = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
    >>> late, early = (AuditEntry(at=at + dt.timedelta(seconds=-n), who="", why="", before=Pointer(generation=n - 1),
    ...                           after=Pointer(generation=n)) for n in (2, 1))
    >>> [entry.after.generation for entry in in_order([late, early])]
    [1, 2]
    """
    by_generation = sorted(entries, key=lambda entry: entry.after.generation)
    latest: dict[str, dt.datetime] = {}
    times: list[dt.datetime] = []
    for entry in by_generation:
        latest[entry.changed] = max(entry.at, latest.get(entry.changed, entry.at))
        times.append(latest[entry.changed])
    order = sorted(range(len(times)), key=times.__getitem__)  # stable: equal times keep the order of generations
    return [by_generation[position] for position in order]


def times_in_force(entries: Iterable[AuditEntry]) -> dict[str, list[tuple[dt.datetime, dt.datetime | None]]]:
    """From when to when each release was champion, oldest first; None where it still is.

    >>> at = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
    >>> entry = AuditEntry(at=at, who="", why="", before=Pointer(), after=Pointer(champion="a", generation=1))
    >>> times_in_force([entry]) == {"a": [(at, None)]}
    True
    """
    times: defaultdict[str, list[tuple[dt.datetime, dt.datetime | None]]] = defaultdict(list)
    for entry in in_order(entries):
        before, after = entry.before, entry.after
        if not isinstance(before, Pointer) or not isinstance(after, Pointer) or before.champion == after.champion:
            continue
        if before.champion and times[before.champion]:
            times[before.champion][-1] = (times[before.champion][-1][0], entry.at)
        if after.champion:
            times[after.champion].append((entry.at, None))
    return dict(times)


def differences(before: Pointer | Policy, after: Pointer | Policy) -> list[str]:
    """What differs but for the generation, each as "name: from -> to"; of a mapping, each key that differs.

    >>> differences(Pointer(champion="a"), Pointer(champion="b", frozen=True, generation=1))
    ['champion: a -> b', 'frozen: no -> yes']
    >>> differences(Policy(), Policy(modes={"de/acme": Mode.ENFORCE}))
    ['mode of de/acme: unsaid -> enforce']
    """
    told = []
    for name in after.__struct_fields__:
        was, becomes = getattr(before, name), getattr(after, name)
        if isinstance(becomes, Mapping):
            keys = dict.fromkeys((*was, *becomes))
            told += [
                f"mode of {key}: {_told(was.get(key), none='unsaid')} -> {_told(becomes.get(key), none='unsaid')}"
                for key in keys
                if was.get(key) != becomes.get(key)
            ]
        elif was != becomes and name != "generation":
            told.append(f"{name.replace('_', ' ')}: {_told(was)} -> {_told(becomes)}")
    return told


def _told(value: object, *, none: str = "none") -> str:
    match value:
        case None | ():
            return none
        case Mode():
            return value.value
        case bool():
            return "yes" if value else "no"
        case tuple():
            return ", ".join(value)
        case _:
            return str(value)
