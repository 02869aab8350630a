"""A day of the training set in counts: what data guardrails look at, and what later days are compared with."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from slidr.features import FEATURE_COUNT, FEATURE_NAMES
from slidr.metrics import ROBOTIC_SESSION_CLICKS
from slidr.release import HOURS_OF_WEEK
from slidr.slices import DEFAULT_COLUMNS
from training.dataset import ROW_COLUMNS, feature_matrix
from training.labels import LabelRule
from training.mlp_weights import Floats
from training.slice_names import slice_names

Ints = NDArray[np.int64]

HOURS: Final = 24
EDGES: Final = (0, 0.1, 0.3, 1, 2, 4, 8, 16, 32, 64, 128, 512, 2048, 16_384)
"""Upper ends of the bins of every feature's histogram: fixed, so that the counts of days add up. One more bin holds
what is above, and what is no number."""
BINS: Final = len(EDGES) + 1
OTHER_SLICES: Final = (("marketplace",), ("placement",))
"""Further cuts of the traffic whose clicks and purchases are counted, without histograms."""
LATE_CLICK: Final = dt.timedelta(minutes=10)
"""Exact counters look back so far: what arrives later was counted too coarsely by those who came before it."""
LATE_ORDER: Final = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """What was delivered, as often as it was: the lake's tables before anything is counted once."""

    clicks: pl.DataFrame
    """click_id, at, arrived_at."""
    purchases: pl.DataFrame
    """order_id, at, arrived_at."""


class SliceDay(msgspec.Struct, frozen=True, kw_only=True):
    """A day in one slice, without what a list names."""

    clicks: int
    purchasing: int
    histograms: tuple[tuple[int, ...], ...] = ()
    """Clicks by feature and bin, (FEATURE_COUNT, BINS); empty for slices of OTHER_SLICES."""


class DaySummary(msgspec.Struct, frozen=True, kw_only=True):
    """One UTC day of a training set. Counts of clicks, unless said otherwise; of hours, by the click's own time.

    Outages happen at one instant in all marketplaces: `by_hour` is UTC. Habits are local: `by_hour_of_week` is the
    marketplace's time, Monday 00:00 first.
    """

    day: str
    """ISO date."""
    clicks: int
    """Rows, crawlers included."""
    clicks_by_hour: tuple[int, ...]
    usable_by_hour: tuple[int, ...]
    """Without what a list names; so are all counts below that name no archive."""
    purchasing_by_hour: tuple[int, ...]
    usable_by_hour_of_week: tuple[int, ...]
    humans_by_hour_of_week: tuple[int, ...]
    """Labelled human."""
    robotic_purchasing: int
    """Purchasing clicks in sessions with more than k clicks in an hour."""
    contradicted: int
    """Purchasing clicks that are labelled non-human."""
    immature: int
    repeated_rows: int
    """Rows beyond the first of their click id."""
    not_finite: Mapping[str, int]
    """By feature, where there are any."""
    nulls: Mapping[str, int]
    """By column of `training.dataset.ROW_COLUMNS`."""
    slices: Mapping[str, SliceDay]
    delivered_by_hour: tuple[int, ...]
    """Clicks in the archive, as often as they were delivered."""
    repeated_by_hour: tuple[int, ...]
    """Of those, all but the first of their click id."""
    late_clicks: int
    """Of those, the ones that arrived more than LATE_CLICK after they happened."""
    orders: int
    """Purchases in the archive, as often as they were delivered."""
    repeated_orders: int
    late_orders: int
    """Of the orders, those that arrived more than LATE_ORDER after they happened."""

    @property
    def usable(self) -> int:
        """Clicks without what a list names."""
        return sum(self.usable_by_hour)

    @property
    def purchasing(self) -> int:
        """Clicks that led to a purchase."""
        return sum(self.purchasing_by_hour)


def summarise_day(
    rows: pl.DataFrame, archive: Archive, *, day: dt.date, columns: Sequence[str] = DEFAULT_COLUMNS
) -> DaySummary:
    """The counts of one UTC day.

    Args:
        rows: of a training set (training/dataset.py), of any days.
        archive: deliveries of any days.
        day: which day to count.
        columns: of the slice map.

    Raises:
        FeatureMismatch: the rows were built with another feature spec.
    """
    every = _of_day(rows, day)
    listed = (every["rule"] == LabelRule.GIVT.value).fill_null(value=False)
    ours = every.filter(~listed)
    purchased = ours["purchased"].fill_null(value=False).to_numpy()
    human = (ours["label"] == 0).fill_null(value=False).to_numpy()
    week = ours["hour_of_week"].fill_null(0).to_numpy()
    hour = _hours(ours)
    features = feature_matrix(ours)
    broken = (~np.isfinite(features)).sum(axis=0)
    delivered, repeated, late = _deliveries(archive.clicks, day, key="click_id", late=LATE_CLICK)
    orders, repeated_orders, late_orders = _deliveries(archive.purchases, day, key="order_id", late=LATE_ORDER)
    return DaySummary(
        day=day.isoformat(),
        clicks=len(every),
        clicks_by_hour=_counted(_hours(every), HOURS),
        usable_by_hour=_counted(hour, HOURS),
        purchasing_by_hour=_counted(hour[purchased], HOURS),
        usable_by_hour_of_week=_counted(week, HOURS_OF_WEEK),
        humans_by_hour_of_week=_counted(week[human], HOURS_OF_WEEK),
        robotic_purchasing=int((purchased & (ours["session_clicks_1h"] > ROBOTIC_SESSION_CLICKS).to_numpy()).sum()),
        contradicted=int((purchased & ~human).sum()),
        immature=int((ours["rule"] == LabelRule.IMMATURE.value).sum()),
        repeated_rows=len(every) - every["click_id"].n_unique(),
        not_finite={FEATURE_NAMES[i]: int(broken[i]) for i in np.flatnonzero(broken).tolist()},
        nulls={column: every[column].null_count() for column in ROW_COLUMNS},
        slices=_slices(ours, features, purchased, columns),
        delivered_by_hour=delivered,
        repeated_by_hour=repeated,
        late_clicks=late,
        orders=sum(orders),
        repeated_orders=sum(repeated_orders),
        late_orders=late_orders,
    )


def histograms(features: Floats, code: NDArray[np.integer], slices: int) -> Ints:
    """Clicks by slice, feature and bin, shape (slices, FEATURE_COUNT, BINS).

    Args:
        features: shape (clicks, FEATURE_COUNT).
        code: the slice of each click, in [0, slices).
        slices: how many there are.
    """
    bins = np.searchsorted(np.asarray(EDGES, dtype=np.float32), features, side="left")  # no number sorts last
    cell = (code[:, None] * FEATURE_COUNT + np.arange(FEATURE_COUNT)) * BINS + bins
    counts = np.bincount(cell.ravel(), minlength=slices * FEATURE_COUNT * BINS)
    return counts.reshape(slices, FEATURE_COUNT, BINS)


def _slices(
    rows: pl.DataFrame, features: Floats, purchased: NDArray[np.bool_], columns: Sequence[str]
) -> dict[str, SliceDay]:
    found: dict[str, SliceDay] = {}
    for cut in dict.fromkeys((tuple(columns), *OTHER_SLICES)):
        names, code = np.unique(slice_names(rows, cut).to_numpy().astype(np.str_), return_inverse=True)
        clicks = np.bincount(code, minlength=len(names))
        bought = np.bincount(code[purchased], minlength=len(names))
        shapes = histograms(features, code, len(names)) if cut == tuple(columns) else None
        for i, name in enumerate(names.tolist()):
            found[name] = SliceDay(
                clicks=int(clicks[i]),
                purchasing=int(bought[i]),
                histograms=() if shapes is None else tuple(map(tuple, shapes[i].tolist())),
            )
    return found


def _deliveries(
    frame: pl.DataFrame, day: dt.date, *, key: str, late: dt.timedelta
) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """By hour all deliveries and those that are no first ones; how many came late."""
    of_day = _of_day(frame, day)
    again = ~of_day[key].is_first_distinct().to_numpy()
    hour = _hours(of_day)
    came_late = int(((of_day["arrived_at"] - of_day["at"]) > late).sum())
    return _counted(hour, HOURS), _counted(hour[again], HOURS), came_late


def _of_day(frame: pl.DataFrame, day: dt.date) -> pl.DataFrame:
    return frame.filter(pl.col("at").dt.date() == day)


def _hours(rows: pl.DataFrame) -> NDArray[np.int8]:
    return rows["at"].dt.hour().to_numpy()


def _counted(code: NDArray[Any], cells: int) -> tuple[int, ...]:
    return tuple(np.bincount(code, minlength=cells).tolist())
