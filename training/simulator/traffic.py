"""Simulated traffic, day by day: what the system may see, and beside it the truth."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from slidr.contract import epoch_ms
from training.simulator.events import Events
from training.simulator.families import FAMILIES, ROBOTS, Family
from training.simulator.frames import click_frame, order_frame
from training.simulator.orders import orders_of
from training.simulator.visits import DAY_MS, Clicks, Place, generate
from training.simulator.world import catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedDay:
    """One UTC day. The truth stands apart: nothing in `clicks` or `purchases` tells who made them."""

    index: int
    clicks: pl.DataFrame
    """In time order, with the columns of `slidr.click.Click` (but `version`)."""
    purchases: pl.DataFrame
    """The orders that this day's clicks led to, in time order: up to 24 hours past the day's end."""
    truth: pl.DataFrame
    """`click_id`, `family` (Enum) and `robot`, row for row as in `clicks`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Any number of days of traffic. Equal arguments give equal days, and a day needs no other to be generated."""

    seed: int
    start: dt.datetime
    """Midnight UTC at which day 0 begins."""
    clicks_per_day: int
    """On average over a week without events; robots do not rest at weekends, people partly do."""
    mix: Mapping[str, float] = field(default_factory=dict)
    """Factors on the share of named families, e.g. {"slow_regular": 0.0}; the others keep their size."""
    events: Events = field(default_factory=Events)
    """What makes one day unlike another; by default nothing does."""

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or epoch_ms(self.start) % DAY_MS:
            raise ValueError(f"start must be midnight UTC, with its zone, came {self.start!r}")
        unknown = set(self.mix) - {family.name for family in FAMILIES}
        if unknown or self.clicks_per_day <= 0:
            raise ValueError(
                f"clicks_per_day must be above 0 and mix must name families, came {self.clicks_per_day}, {unknown}"
            )

    def day(self, index: int) -> SimulatedDay:
        """Day `index` (0 begins at `start`)."""
        place = Place(
            seed=self.seed,
            day=index,
            day_start_ms=epoch_ms(self.start) + index * DAY_MS,
            clicks_per_day=self.clicks_per_day,
            catalogue=catalogue(self.seed),
            marketplaces=self.events.marketplaces(index),
            traffic=self.events.traffic(index),
            purchases=self.events.purchases(self.seed, index),
        )
        raw = [(family, generate(family, self._expected(family), place)) for family in FAMILIES]
        clicks = pl.concat([click_frame(part, place.catalogue) for _, part in raw])
        order = clicks.select(pl.arg_sort_by("at", maintain_order=True)).to_series()
        # Named after sorting, so that an id does not betray its family.
        click_id = _ids("c", self.seed, index, len(clicks))
        purchases = self._purchases(raw, place, _inverse(order, click_id))
        return SimulatedDay(
            index=index,
            clicks=clicks[order].insert_column(0, click_id.alias("click_id")),
            purchases=purchases,
            truth=pl.DataFrame(
                {"click_id": click_id, "family": _families(raw)[order]},
            ).with_columns(robot=pl.col("family").is_in(sorted(ROBOTS))),
        )

    def days(self, count: int, *, first: int = 0) -> Iterator[SimulatedDay]:
        """Days `first` to `first + count - 1`, one in memory at a time."""
        for index in range(first, first + count):
            yield self.day(index)

    def _expected(self, family: Family) -> float:
        return self.clicks_per_day * family.share * self.mix.get(family.name, 1.0)

    def _purchases(self, raw: list[tuple[Family, Clicks]], place: Place, click_id: pl.Series) -> pl.DataFrame:
        """All orders of the day in time order; `click_id` names the clicks of `raw`, family after family."""
        frames, offset = [], 0
        for family, part in raw:
            orders = orders_of(family, part, place)
            frames.append(order_frame(orders, place.catalogue, click_id.slice(offset, len(part))))
            offset += len(part)
        purchases = pl.concat(frames).sort("at", maintain_order=True)
        order_id = _ids("o", self.seed, place.day, len(purchases)).alias("order_id")
        return purchases.insert_column(0, order_id)


def _ids(prefix: str, seed: int, day: int, count: int) -> pl.Series:
    return pl.select(pl.format(f"{prefix}{seed}-{day}-{{}}", pl.int_range(count))).to_series()


def _inverse(order: pl.Series, values: pl.Series) -> pl.Series:
    """The values, given in sorted order, put back to where they were before sorting."""
    back = np.empty(len(order), dtype=np.uint32)
    back[order.to_numpy()] = np.arange(len(order), dtype=np.uint32)
    return values.gather(back)


def _families(raw: list[tuple[Family, Clicks]]) -> pl.Series:
    names = [family.name for family, _ in raw]
    codes = np.repeat(np.arange(len(raw)), [len(part) for _, part in raw])
    return pl.Series(names, dtype=pl.Enum(names)).gather(codes)
