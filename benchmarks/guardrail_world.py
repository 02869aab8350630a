"""Simulated days as a daily loop meets them: a training set of ten days, a day after it, a champion and a candidate."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from slidr.artifact import RELEASES_DIR
from training.dataset import RESTART_EVERY, build_dataset, write_dataset
from training.guardrails import (
    Result,
    data_guardrails,
    model_guardrails,
    summarise_day,
    summarise_models,
)
from training.guardrails.day_summary import Archive, DaySummary
from training.guardrails.model_summary import Entrant, ModelSummary, read_entrant
from training.labels import label
from training.profiles import daily_traffic, profile_matrix
from training.simulator import Events, Traffic
from training.simulator.log import SimulatedLog, simulated_log
from training.train import CHANNEL, main

MONDAY: Final = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)
CLICKS_PER_DAY: Final = 8_000
WINDOW: Final = 10
"""Days that a release is made from."""
FIRST, LAST = 11, 16
"""Days that are judged, Friday to Wednesday; the champion of all of them is made from days 0 to 9."""
ONE: Final = dt.timedelta(days=1)
HYPERPARAMETERS: Final = {"fpr_budget": "0.02", "epochs": "8"}
PROFILE_DAYS: Final = 28
ARRIVES_AFTER: Final = dt.timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """One simulated world."""

    traffic: Traffic
    log: SimulatedLog
    """Its clicks and purchases with `arrived_at`."""
    rows: pl.DataFrame
    """The training set of all days; labels as known in the end."""
    folder: Path
    """For datasets and releases."""
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    """Of its releases, where they are not HYPERPARAMETERS."""
    summaries: dict[int, DaySummary] = field(default_factory=dict)
    """By day, as made when it was the newest."""


def open_world(
    seed: int, events: Events, folder: Path, *, clicks_per_day: int = CLICKS_PER_DAY, **hyperparameters: str
) -> World:
    """Days 0 to LAST."""
    traffic = Traffic(seed=seed, start=MONDAY, clicks_per_day=clicks_per_day, events=events)
    log = simulated_log(traffic, days=LAST + 1)
    arrived = (pl.col("at") + ARRIVES_AFTER).alias("arrived_at")
    log = SimulatedLog(
        clicks=log.clicks.with_columns(arrived),
        purchases=log.purchases.with_columns(arrived),
        truth=log.truth,
        until=log.until,
    )
    profiles = profile_matrix(log.clicks, daily_traffic(log.clicks), history_days=PROFILE_DAYS)
    rows = build_dataset(log.clicks, log.purchases, until=log.until, profiles=profiles, restart_every=RESTART_EVERY)
    return World(traffic=traffic, log=log, rows=rows, folder=folder, hyperparameters=hyperparameters)


def start_of(day: int) -> dt.datetime:
    return MONDAY + day * ONE


def between(frame: pl.DataFrame, first: int, last: int) -> pl.DataFrame:
    """What happened on days `first` to `last`."""
    return frame.filter(pl.col("at").is_between(start_of(first), start_of(last + 1), closed="left"))


def known_rows(world: World, *, first: int, last: int) -> pl.DataFrame:
    """Rows of days `first` to `last`, labelled by what was known when the last one had matured."""
    clicks = between(world.log.clicks, first, last)
    purchases = world.log.purchases.filter(pl.col("at") >= start_of(first))
    labels = label(clicks, purchases, until=start_of(last + 2))
    return between(world.rows, first, last).with_columns(
        pl.Series("label", labels.label),
        pl.Series("rule", labels.rule.tolist(), dtype=pl.Categorical),
        pl.Series("purchased", labels.purchased),
    )


def archive_of(world: World) -> Archive:
    return Archive(clicks=world.log.clicks, purchases=world.log.purchases)


def date_of(day: int) -> dt.date:
    return start_of(day).date()


def summarised(world: World, day: int) -> tuple[DaySummary, list[DaySummary]]:
    """The day, and the WINDOW days before it."""
    rows = known_rows(world, first=day - WINDOW, last=day)
    for each in range(day - WINDOW, day + 1):
        if each not in world.summaries:
            world.summaries[each] = summarise_day(rows, archive_of(world), day=date_of(each))
    return world.summaries[day], [world.summaries[each] for each in range(day - WINDOW, day)]


def trained(rows: pl.DataFrame, folder: Path, **hyperparameters: str) -> Path:
    """The folder of the release that these rows make."""
    write_dataset(rows, folder / "data" / "part-0.parquet")
    identity = main({CHANNEL: folder / "data"}, folder / "model", {**HYPERPARAMETERS, **hyperparameters})
    return folder / "model" / RELEASES_DIR / identity


def champion_of(world: World) -> Entrant:
    """Made from days 0 to 9."""
    rows = known_rows(world, first=0, last=WINDOW - 1)
    return read_entrant(trained(rows, world.folder / "champion", **world.hyperparameters))


def candidate_rows(world: World, day: int) -> pl.DataFrame:
    """What the candidate is made from that is judged on this day."""
    return known_rows(world, first=day - WINDOW, last=day - 1)


def later_rows(world: World, day: int) -> pl.DataFrame:
    """The day that judges."""
    return between(known_rows(world, first=day - WINDOW, last=day), day, day)


def candidate_of(world: World, day: int) -> Path:
    """The folder of the release that is judged on this day; trained once."""
    folder = world.folder / f"candidate-{day}"
    done = list((folder / "model" / RELEASES_DIR).glob("r-*"))
    return done[0] if done else trained(candidate_rows(world, day), folder, **world.hyperparameters)


def judged(world: World, champion: Entrant, day: int) -> tuple[ModelSummary, tuple[Result, ...]]:
    """What the day's candidate does on it, and the results of all guardrails on day and candidate."""
    today, trailing = summarised(world, day)
    summary = summarise_models(read_entrant(candidate_of(world, day)), champion, later_rows(world, day))
    return summary, (*data_guardrails(today, trailing), *model_guardrails(summary))
