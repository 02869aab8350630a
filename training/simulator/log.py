"""Simulated days as one log in the lake's form: what training reads, with the truth beside it."""

from __future__ import annotations

import argparse
import datetime as dt
from dataclasses import dataclass

import polars as pl

from slidr.givt import packaged_crawlers
from slidr.pseudonym import Pseudonymiser
from training.lake_form import archived_clicks, archived_purchases
from training.simulator.events import Events
from training.simulator.traffic import Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedLog:
    """Consecutive days, pseudonymised."""

    clicks: pl.DataFrame
    purchases: pl.DataFrame
    truth: pl.DataFrame
    """click_id, family, robot: row for row as in `clicks`."""
    until: dt.datetime
    """A day after the last one ended: by then every click is mature."""


def simulated_log(traffic: Traffic, *, days: int, first: int = 0) -> SimulatedLog:
    """Days `first` to `first + days - 1` of the traffic."""
    # The numbers depend on which tokens are equal, not on the key; nobody is behind these identifiers.
    pseudonymiser, crawlers = Pseudonymiser(bytes(32), version=1), packaged_crawlers()
    clicks, purchases, truth = [], [], []
    for day in traffic.days(days, first=first):
        clicks.append(archived_clicks(day.clicks, pseudonymiser=pseudonymiser, crawlers=crawlers))
        purchases.append(archived_purchases(day.purchases, pseudonymiser=pseudonymiser))
        truth.append(day.truth)
    return SimulatedLog(
        clicks=pl.concat(clicks),
        purchases=pl.concat(purchases),
        truth=pl.concat(truth),
        until=traffic.start + dt.timedelta(days=first + days + 1),
    )


def add_simulation_arguments(parser: argparse.ArgumentParser, *, days: int, first_day: int = 0) -> None:
    """The options that name a simulated log."""
    parser.add_argument("--seed", type=int, default=7, help="of the simulated world (default 7)")
    parser.add_argument(
        "--start",
        type=lambda text: dt.datetime.combine(dt.date.fromisoformat(text), dt.time(), dt.UTC),
        default=dt.datetime(2026, 11, 2, tzinfo=dt.UTC),
        help="date of day 0, UTC (default 2026-11-02)",
    )
    parser.add_argument("--clicks-per-day", type=int, default=20_000, help="on average (default 20000)")
    parser.add_argument("--varying-purchases", action="store_true", help="readiness to buy varies by day and hour")
    parser.add_argument("--sale-day", type=int, action="append", default=[], help="a sale on this day; repeatable")
    parser.add_argument("--marketplace-opens", type=int, help="day from which there is one more marketplace")
    parser.add_argument("--first-day", type=int, default=first_day, help=f"default {first_day}")
    parser.add_argument("--days", type=int, default=days, help=f"default {days}")


def simulation_of(chosen: argparse.Namespace) -> Traffic:
    """The traffic that the options name."""
    events = Events(
        varying_purchases=chosen.varying_purchases,
        sale_days=tuple(chosen.sale_day),
        marketplace_opens=chosen.marketplace_opens,
    )
    return Traffic(seed=chosen.seed, start=chosen.start, clicks_per_day=chosen.clicks_per_day, events=events)
