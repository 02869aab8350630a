"""The processing step `day`: what a day of the loop trains on, is judged on, and writes to the profile table.

Layout, below SageMaker's /opt/ml/processing: input/clicks and input/purchases hold the lake's Parquet files,
input/compare the plan (plan.json). Of the plan's day D and `training_days` n:

    output/dataset     rows of days D-n to D-1: the training channel
    output/later       rows of day D: what judges
    output/checks      dataset.json, guardrails-data.json, days.json (the summaries they rest on)
    output/profiles    profiles as of the end of D+1, for the table's writer

Labels are those known at the end of D+1, when the clicks of D have matured. Counting starts a day before the first
training day and anew every RESTART_EVERY, as in every training set; D is counted alike, so that its features differ
from those of the training days by the traffic alone. A guardrail that stops is a value: the step ends well, and who
reads guardrails-data.json decides.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from slidr.guardrails import encode_results, stopped_by
from training.dataset import build_dataset, write_dataset
from training.guardrails.data import data_guardrails
from training.guardrails.day_summary import Archive, DaySummary, summarise_day
from training.labels import UnusableTrainingData
from training.lake_dataset import CLICK_COLUMNS, PURCHASE_COLUMNS, deliveries, each_once
from training.profiles import TOKENS, daily_traffic, profile_matrix, profiles_at, write_profiles

log = logging.getLogger("slidr.day")

PLAN_FILE: Final = "plan.json"
DATA_RESULTS: Final = "guardrails-data.json"
_DAY: Final = dt.timedelta(days=1)


class DayPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What of a run's plan the container's steps read."""

    run: str
    day: dt.date
    training_days: int
    profile_days: int
    champion: str = ""
    former: str = ""
    """A former champion whose served interval has matured; empty for none."""
    former_interval: tuple[dt.datetime, dt.datetime] | None = None
    budget: float = 0.01
    """Of false positives, overall."""

    @property
    def start(self) -> dt.datetime:
        """When the day begins."""
        return dt.datetime.combine(self.day, dt.time(), tzinfo=dt.UTC)

    @property
    def first(self) -> dt.datetime:
        """When the first training day begins."""
        return self.start - self.training_days * _DAY

    @property
    def until(self) -> dt.datetime:
        """The end of the day after: by then the day's clicks have matured."""
        return self.start + 2 * _DAY


def read_plan(compare: Path) -> DayPlan:
    """The plan in the folder of what to compare with.

    Raises:
        UnusableTrainingData: it is missing or no plan.
    """
    try:
        return msgspec.json.decode((compare / PLAN_FILE).read_bytes(), type=DayPlan)
    except (OSError, msgspec.DecodeError) as failure:
        raise UnusableTrainingData(
            f"{PLAN_FILE} of the run is required in {compare}, came: {failure}. Start the run again."
        ) from failure


def process_day(processing: Path) -> None:
    """Run the step.

    Raises:
        UnusableTrainingData: there is no plan, or no click of the days to train on and to judge.
    """
    plan = read_plan(processing / "input" / "compare")
    out = processing / "output"
    clicks_again = _deliveries(processing / "input" / "clicks", CLICK_COLUMNS, key="click_id", until=plan.until)
    orders_again = _purchases(processing / "input" / "purchases", until=plan.until)
    clicks = each_once(clicks_again, key="click_id")
    purchases = each_once(orders_again, key="order_id")
    traffic = daily_traffic(clicks.select("at", *TOKENS.values()))
    counted = clicks.filter(pl.col("at") >= plan.first - _DAY)
    profiles = profile_matrix(counted, traffic, history_days=plan.profile_days)
    rows = build_dataset(counted, purchases, until=plan.until, profiles=profiles)
    training = _between(rows, plan.first, plan.start)
    later = _between(rows, plan.start, plan.start + _DAY)
    if not len(training) or not len(later):
        raise UnusableTrainingData(
            f"clicks of {plan.first.date()} to {plan.day} are required, came {len(training)} to train on and "
            f"{len(later)} of {plan.day} to judge. Bring them with slidr backfill, or wait for their deliveries."
        )
    summaries = _summaries(plan, rows, Archive(clicks=clicks_again, purchases=orders_again))
    results = data_guardrails(summaries[-1], summaries[:-1])
    table = profiles_at(traffic, plan.until.date(), history_days=plan.profile_days)

    write_dataset(training, out / "dataset" / "part-0.parquet")
    write_dataset(later, out / "later" / "part-0.parquet")
    write_profiles(table, out / "profiles", at=plan.until)
    checks = out / "checks"
    checks.mkdir(parents=True, exist_ok=True)
    (checks / DATA_RESULTS).write_bytes(encode_results(results))
    (checks / "days.json").write_bytes(msgspec.json.encode(summaries))
    told = {
        "day": f"{plan.day}",
        "first": f"{plan.first.date()}",
        "clicks": len(training),
        "later_clicks": len(later),
        "purchasing": int(training["purchased"].sum()),
        "later_purchasing": int(later["purchased"].sum()),
        "profiles": len(table),
        "label_rules": dict(training["rule"].cast(pl.String).value_counts(sort=True).iter_rows()),
        "stopped": [result.says for result in stopped_by(results)],
    }
    (checks / "dataset.json").write_text(json.dumps(told, indent=2) + "\n")
    log.info("day_built", extra={"fields": told})


def _summaries(plan: DayPlan, rows: pl.DataFrame, archive: Archive) -> list[DaySummary]:
    """Of the days that have clicks, the judged day last, whether it has any or not."""
    days = [plan.first.date() + number * _DAY for number in range(plan.training_days + 1)]
    known = set(rows["at"].dt.date().unique().to_list())
    return [summarise_day(rows, archive, day=day) for day in days if day in known or day == plan.day]


def _between(rows: pl.DataFrame, start: dt.datetime, end: dt.datetime) -> pl.DataFrame:
    return rows.filter(pl.col("at").is_between(start, end, closed="left"))


def _deliveries(folder: Path, columns: Sequence[str], *, key: str, until: dt.datetime) -> pl.DataFrame:
    files = sorted(folder.rglob("*.parquet"))
    if not files:
        raise UnusableTrainingData(f"archived records are required in {folder}, there are none.")
    return deliveries(files, columns, key=key).filter(pl.col("at") < until)


def _purchases(folder: Path, *, until: dt.datetime) -> pl.DataFrame:
    if not any(folder.rglob("*.parquet")):
        return pl.DataFrame(schema={"arrived_at": pl.Datetime("ms", "UTC"), **PURCHASE_COLUMNS})
    return _deliveries(folder, tuple(PURCHASE_COLUMNS), key="order_id", until=until)
