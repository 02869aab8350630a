"""A day against the days before it: what each data guardrail measures, by scope.

Ratios are those nearest to 1 that chance cannot rule out (chance.py), so a small hour or slice stays quiet until it
says something. A function gives nothing where there are too few days to compare with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slidr.features import FEATURE_COUNT, FEATURE_NAMES
from slidr.guardrails import ALL
from training.backtest.drift import index_of_counts
from training.guardrails.chance import at_least, at_most, nearest_to_one, share_at_most
from training.guardrails.day_summary import BINS, HOURS, DaySummary, SliceDay

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Values = Mapping[str, float]

LEAST_DAYS: Final = 3
"""With fewer days before it, a day is compared with none of them."""
WIDTHS: Final = (1, 3, 6)
"""Hours that are looked at together: at small traffic a single hour has too few purchases to miss."""
LEAST_FOR_DRIFT: Final = 500
"""Clicks that a slice needs, today and before, for its histograms to be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """The newest day, and the days before it."""

    today: DaySummary
    trailing: tuple[DaySummary, ...]

    @property
    def comparable(self) -> bool:
        """Whether there are days enough to compare with."""
        return len(self.trailing) >= LEAST_DAYS

    def hourly(self, count: Callable[[DaySummary], Sequence[int]]) -> Ints:
        """A count by hour on each trailing day, shape (days, hours)."""
        return np.array([count(day) for day in self.trailing], dtype=np.int64)

    @property
    def known(self) -> tuple[str, ...]:
        """The slices that LEAST_DAYS of the trailing days or more saw: a newcomer is compared with nothing."""
        seen = Counter(name for day in self.trailing for name in day.slices)
        return tuple(sorted(name for name, days in seen.items() if days >= LEAST_DAYS))

    def usual(self, name: str) -> SliceDay:
        """A slice over all trailing days together."""
        parts = [day.slices[name] for day in self.trailing if name in day.slices]
        return SliceDay(clicks=sum(part.clicks for part in parts), purchasing=sum(part.purchasing for part in parts))

    def shapes(self, name: str | None = None) -> tuple[Ints, Ints]:
        """The histograms of a slice, or of all traffic, before and today, shape (FEATURE_COUNT, BINS) each."""
        return _histograms(self.trailing, name), _histograms((self.today,), name)

    @property
    def cells(self) -> tuple[str, ...]:
        """The slices whose histograms are kept today."""
        return tuple(name for name, part in self.today.slices.items() if part.histograms)


def clicks_in_day(days: Days) -> Values:
    """Clicks of the day against the median of the trailing ones."""
    if not days.comparable:
        return {}
    return {ALL: nearest_to_one(days.today.clicks, float(np.median([day.clicks for day in days.trailing])))}


def share_in_day(count: Callable[[DaySummary], int]) -> Callable[[Days], Values]:
    """The day's share of its clicks / that of the trailing days."""

    def values(days: Days) -> Values:
        clicks = sum(day.usable for day in days.trailing)
        if not days.comparable or not clicks:
            return {}
        return {ALL: nearest_to_one(count(days.today), days.today.usable * sum(map(count, days.trailing)) / clicks)}

    return values


def clicks_in_hour(days: Days) -> Values:
    """Clicks of each hour against the median of that hour."""
    if not days.comparable:
        return {}
    usual = np.median(days.hourly(lambda day: day.clicks_by_hour), axis=0)  # (hours,)
    came = days.today.clicks_by_hour
    return {_hours(hour, 1): nearest_to_one(came[hour], float(usual[hour])) for hour in range(HOURS)}


def purchases_in_hour(days: Days) -> Values:
    """Purchasing share of 1, 3 and 6 hours against that of those hours."""
    if not days.comparable:
        return {}
    clicks = days.hourly(lambda day: day.usable_by_hour).sum(axis=0)
    purchasing = days.hourly(lambda day: day.purchasing_by_hour).sum(axis=0)
    expected = np.array(days.today.usable_by_hour) * purchasing / np.maximum(clicks, 1)  # (hours,)
    found = {}
    for width in WIDTHS:
        for hour in range(HOURS - width + 1):
            within = slice(hour, hour + width)
            came = sum(days.today.purchasing_by_hour[within])
            found[_hours(hour, width)] = _at_most_beside(days, came, float(expected[within].sum()))
    return found


def human_density(days: Days) -> Values:
    """Share of humans in each hour of the local week, over all days."""
    every = (days.today, *days.trailing)
    clicks = np.sum([day.usable_by_hour_of_week for day in every], axis=0)
    humans = np.sum([day.humans_by_hour_of_week for day in every], axis=0)
    return {
        f"{_WEEKDAYS[hour // 24]} {hour % 24:02}:00": share_at_most(int(humans[hour]), int(clicks[hour]))
        for hour in np.flatnonzero(clicks).tolist()
    }


def slice_clicks(days: Days) -> Values:
    """Each known slice's share of the clicks against its own before."""
    found, none = {}, SliceDay(clicks=0, purchasing=0)
    for name in days.known:
        clicks = sum(day.usable for day in days.trailing if name in day.slices)
        expected = days.today.usable * days.usual(name).clicks / max(clicks, 1)
        found[name] = nearest_to_one(days.today.slices.get(name, none).clicks, expected)
    return found


def slice_purchases(days: Days) -> Values:
    """Purchasing share of each known slice against its own before."""
    found = {}
    for name in days.known:
        part, usual = days.today.slices.get(name), days.usual(name)
        if part is not None:
            expected = part.clicks * usual.purchasing / max(usual.clicks, 1)
            found[name] = _at_most_beside(days, part.purchasing, expected)
    return found


def _at_most_beside(days: Days, came: int, expected: float) -> float:
    """Largest ratio of a part's purchases to those expected of it, were it like the rest of its own day.

    Readiness to buy moves from day to day, which `share_in_day` looks at; a hole in the labels is beside the others.
    """
    clicks, purchasing = (sum(getattr(day, name) for day in days.trailing) for name in ("usable", "purchasing"))
    rest_expected = days.today.usable * purchasing / max(clicks, 1) - expected
    rest = (days.today.purchasing - came) / rest_expected if rest_expected > 0 else 1.0
    return at_most(came, rest * expected)


def robotic_purchases(days: Days) -> Values:
    """Share of purchasing clicks in robotic sessions against that before."""
    usual = sum(day.robotic_purchasing for day in days.trailing)
    every = sum(day.purchasing for day in days.trailing)
    if not days.comparable or not every:
        return {}
    return {ALL: at_least(days.today.robotic_purchasing, days.today.purchasing * max(usual, 1) / every)}


def drift(days: Days) -> Values:
    """Stability index of each feature."""
    if not days.comparable:
        return {}
    index = index_of_counts(*days.shapes())
    return {name: float(index[i]) for i, name in _moving_features()}


def slice_drift(days: Days) -> Values:
    """The feature that moved most, in each slice that is large enough."""
    found = {}
    for name in days.cells if days.comparable else ():
        if min(days.today.slices[name].clicks, days.usual(name).clicks) < LEAST_FOR_DRIFT:
            continue
        index = index_of_counts(*days.shapes(name))
        worst, feature = max((float(index[i]), feature) for i, feature in _moving_features())
        found[f"{name} {feature}"] = worst
    return found


def feature_varies(days: Days) -> Values:
    """Share of clicks off each feature's usual bin against that before."""
    if not days.comparable:
        return {}
    before, today = days.shapes()
    common = before.argmax(axis=1)  # (features,)
    features = np.arange(FEATURE_COUNT)
    rare = 1.0 - before[features, common] / np.maximum(before.sum(axis=1), 1)
    clicks = today.sum(axis=1)
    varied = clicks - today[features, common]
    return {name: at_most(int(varied[i]), float(clicks[i] * rare[i])) for i, name in _moving_features()}


def nulls(days: Days) -> Values:
    """Share of nulls in each column, less that before."""
    if not days.comparable:
        return {}
    clicks = sum(day.clicks for day in days.trailing)
    return {
        column: count / max(days.today.clicks, 1) - sum(day.nulls[column] for day in days.trailing) / max(clicks, 1)
        for column, count in days.today.nulls.items()
    }


def not_finite(days: Days) -> Values:
    """Values of each feature that are no finite number, where there are any."""
    return {ALL: 0.0, **days.today.not_finite}


def repeated_clicks(days: Days) -> Values:
    """Share of the deliveries in each hour that are no first ones."""
    delivered, repeated = days.today.delivered_by_hour, days.today.repeated_by_hour
    return {_hours(hour, 1): repeated[hour] / delivered[hour] for hour in range(HOURS) if delivered[hour]}


def share_of_day(count: Callable[[DaySummary], int], total: Callable[[DaySummary], int]) -> Callable[[Days], Values]:
    """Share of the day."""
    return lambda days: {ALL: count(days.today) / max(total(days.today), 1)}


def _histograms(days: Sequence[DaySummary], name: str | None) -> Ints:
    """The sum over days of the histograms of a slice, or of all that have some, shape (FEATURE_COUNT, BINS)."""
    parts = (part for day in days for own, part in day.slices.items() if part.histograms and name in (None, own))
    total = np.zeros((FEATURE_COUNT, BINS), dtype=np.int64)
    for part in parts:
        total += np.array(part.histograms, dtype=np.int64)
    return total


def _moving_features() -> Iterator[tuple[int, str]]:
    """All but hour and weekday, which move with the day that is taken, and profiles, which tell of the weeks before.

    A profile grows older every day: while the history is young, its age alone would stop every release.
    """
    return ((i, name) for i, name in enumerate(FEATURE_NAMES) if not name.startswith(("time.", "profile.")))


def _hours(first: int, width: int) -> str:
    return f"{first:02}:00" if width == 1 else f"{first:02}:00-{first + width - 1:02}:59"


_WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
