"""What a replay would change, or has changed: counts and money by advertiser, slice and reason; pure, and additive."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from slidr.contract import Instant
from slidr.errors import SlidrError
from slidr.hours import partition
from slidr.verdict import Decision

REPLAYS: Final = "replays/"
"""Prefix of the lake where replays keep what they found and what they have published."""
CHUNKS: Final = f"{REPLAYS}chunks/"
CORRECTIONS: Final = f"{REPLAYS}corrections/"
APPLIED: Final = f"{REPLAYS}applied/"
NEVER: Final = ""
"""Decision of a click before a replay, where the archive has it and the ledger does not."""


class ReplayRefused(SlidrError):
    """A replay that cannot be made as it was asked for."""


def chunk_key(hour: dt.datetime, chunk: str) -> str:
    """Where what a replay found of an hour is kept."""
    return f"{CHUNKS}{partition(hour)}{chunk}.json"


def corrections_key(hour: dt.datetime, chunk: str) -> str:
    """Where the corrections of an hour are kept.

    >>> corrections_key(dt.datetime(2026, 3, 4, 5, tzinfo=dt.UTC), "00ff")
    'replays/corrections/date=2026-03-04/hour=05/00ff.jsonl.gz'
    """
    return f"{CORRECTIONS}{partition(hour)}{chunk}.jsonl.gz"


def applied_key(corrections: str) -> str:
    """Where it is kept how far an object of corrections was published.

    >>> applied_key("replays/corrections/date=2026-03-04/hour=05/00ff.jsonl.gz")
    'replays/applied/date=2026-03-04/hour=05/00ff.json'
    """
    return f"{APPLIED}{corrections.removeprefix(CORRECTIONS).removesuffix('.jsonl.gz')}.json"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Clicks of one advertiser and slice that come out in one way where they stood in another."""

    advertiser: str
    currency: str
    slice: str
    before: str
    """A decision, or NEVER."""
    after: Decision
    reasons: tuple[str, ...]
    """Of the new verdict; of an INVALID one that becomes VALID, those that it had."""
    clicks: int
    refunded_micros: int
    """Cost of the clicks that were billed and are not to be."""
    charged_micros: int
    """Cost of the clicks that were not billed and are to be."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay says of some clicks. Two of them, of other clicks, add up by `merged`."""

    clicks: int = 0
    """Distinct clicks of the interval that were asked for."""
    same: int = 0
    """Decided again, with the same outcome."""
    without_features: int = 0
    """Left as they are: no features were logged (or under another spec), and none recomputed."""
    changes: tuple[Change, ...] = ()

    @property
    def changed(self) -> int:
        """Clicks whose verdict would be another."""
        return sum(change.clicks for change in self.changes)


class ReplayAsked(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay's job is asked for."""

    release_id: str
    start: Instant
    end: Instant
    """Whole hours: clicks with start <= at < end."""
    recompute: bool
    undecided: bool
    decided_by: str
    profile_days: int
    now: Instant
    """When the corrections are decided."""
    found: str
    """Key in the lake of what the job found: a list of `HourFound`."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay found of one hour."""

    chunk: str
    """The name of its work; see training/replay/run.py."""
    corrections: int = 0
    difference: Difference = Difference()


class HourFound(msgspec.Struct, frozen=True, kw_only=True):
    """What a job found of one hour."""

    hour: Instant
    found: Found


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """How far the corrections of a chunk were published; they are published in their order."""

    published: int
    corrections: int
    who: str
    why: str
    at: str
    """When the last of them was published, ISO 8601."""

    @property
    def is_done(self) -> bool:
        """Whether all are published."""
        return self.published >= self.corrections


@dataclass(frozen=True, slots=True)
class Money:
    """What changes for advertisers, in one currency."""

    currency: str
    refunded_micros: int
    charged_micros: int


def merged(differences: Iterable[Difference]) -> Difference:
    """The difference of all the clicks together.

    >>> change = Change(advertiser="a", currency="EUR", slice="s", before="VALID", after=Decision.INVALID,
    ...                 reasons=("robotic_behaviour",), clicks=2, refunded_micros=5, charged_micros=0)
    >>> both = merged([Difference(clicks=3, same=1, changes=(change,)), Difference(clicks=2, changes=(change,))])
    >>> both.clicks, both.same, both.changed, len(both.changes), both.changes[0].refunded_micros
    (5, 1, 4, 1, 10)
    """
    clicks = same = without = 0
    sums: defaultdict[tuple[object, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
    for difference in differences:
        clicks += difference.clicks
        same += difference.same
        without += difference.without_features
        for change in difference.changes:
            total = sums[_cell(change)]
            total[0] += change.clicks
            total[1] += change.refunded_micros
            total[2] += change.charged_micros
    changes = [
        Change(
            advertiser=str(advertiser), currency=str(currency), slice=str(name), before=str(before),
            after=Decision(after), reasons=tuple(reasons),  # type: ignore[arg-type]
            clicks=total[0], refunded_micros=total[1], charged_micros=total[2],
        )
        for (advertiser, currency, name, before, after, reasons), total in sums.items()
    ]  # fmt: skip
    changes.sort(key=lambda change: (-change.clicks, *map(str, _cell(change))))
    return Difference(clicks=clicks, same=same, without_features=without, changes=tuple(changes))


def changes_by(difference: Difference, key: Callable[[Change], str]) -> dict[str, list[Change]]:
    """The changes in groups, the group with most clicks first."""
    groups: defaultdict[str, list[Change]] = defaultdict(list)
    for change in difference.changes:
        groups[key(change)].append(change)
    return dict(sorted(groups.items(), key=lambda item: (-sum(change.clicks for change in item[1]), item[0])))


def money(changes: Iterable[Change]) -> list[Money]:
    """What the changes cost or bring, a currency each; those in which nothing moves are left out."""
    sums: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for change in changes:
        sums[change.currency][0] += change.refunded_micros
        sums[change.currency][1] += change.charged_micros
    return [Money(name, *amounts) for name, amounts in sorted(sums.items()) if any(amounts)]


def _cell(change: Change) -> tuple[object, ...]:
    return (change.advertiser, change.currency, change.slice, change.before, change.after, change.reasons)
