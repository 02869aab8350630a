"""The processing step `hours`: hours that have matured or become final in, what they show and what they cost out.

Layout, below SageMaker's /opt/ml/processing: input/ask/ask.json (`slidr.billing.HoursAsked`), input/lake (the objects
that the hours need, under their keys); output/billing takes what is written below `billing/` in the lake.
"""

from __future__ import annotations

import datetime as dt
import io
import logging
from pathlib import Path

import msgspec
import polars as pl

from slidr.billing import BILLING, FinalHour, HoursAsked, MaturedCell, MaturedHour, final_key, matured_key
from slidr.hours import HOUR
from slidr.verdict import Decision
from training.billing import billed_hours
from training.labels import ATTRIBUTION_WINDOW, UnusableTrainingData, attribute
from training.lake_dataset import PURCHASE_COLUMNS
from training.replay.fold import in_force
from training.replay.lake import LakeHours
from training.replay.read import archived_clicks
from training.replay_step import MountedLake

log = logging.getLogger("slidr.hours")

WINDOW_HOURS = int(ATTRIBUTION_WINDOW / HOUR)


def process_hours(processing: Path) -> None:
    """Run the step.

    Raises:
        UnusableTrainingData: there is no ask.
    """
    path = processing / "input" / "ask" / "ask.json"
    try:
        asked = msgspec.json.decode(path.read_bytes(), type=HoursAsked)
    except (OSError, msgspec.DecodeError) as failure:
        raise UnusableTrainingData(
            f"which hours is required in {path}, came: {failure}. Start the run again."
        ) from failure
    lake = MountedLake(processing / "input" / "lake", processing / "output" / "billing", prefix=BILLING)
    for hour, rows in billed_hours(lake, list(asked.final)):
        lake.write(final_key(hour), msgspec.json.encode(FinalHour(hour=hour, closed_at=asked.now, rows=tuple(rows))))
    hours = LakeHours(lake)
    for hour in asked.matured:
        lake.write(matured_key(hour), msgspec.json.encode(matured_hour(hours, hour)))
    log.info("hours_done", extra={"fields": {"final": len(asked.final), "matured": len(asked.matured)}})


def matured_hour(hours: LakeHours, hour: dt.datetime) -> MaturedHour:
    """The purchasing clicks of an hour, and how many of them are INVALID.

    A purchase is attributed to the last matching click before it; so the clicks of the window around the hour are
    looked at too, and the purchases of the window after it.
    """
    near = [hour + number * HOUR for number in range(-WINDOW_HOURS, WINDOW_HOURS + 1)]
    clicks = archived_clicks([body for each in near for body in hours.bodies(hours.of("clicks/", each))])
    later = [hour + number * HOUR for number in range(WINDOW_HOURS + 1)]
    purchases = _purchases([body for each in later for body in hours.bodies(hours.of("purchases/", each))])
    rows = attribute(clicks, purchases, window=ATTRIBUTION_WINDOW)
    bought = clicks[sorted({int(row) for row in rows if row >= 0})]
    own = bought.filter(pl.col("at") >= hour, pl.col("at") < hour + HOUR).select("click_id")
    verdicts = in_force(hours.records(hour).records).join(own, on="click_id", how="semi")
    cells = (
        verdicts.group_by("slice", pl.col("release_id").fill_null(""))
        .agg(pl.len().alias("purchasing"), (pl.col("decision") == Decision.INVALID.value).sum().alias("invalid"))
        .sort("slice", "release_id")
    )
    return MaturedHour(hour=hour, cells=tuple(MaturedCell(**row) for row in cells.iter_rows(named=True)))


def _purchases(files: list[bytes]) -> pl.DataFrame:
    """The archived purchases, each once."""
    if not files:
        return pl.DataFrame(schema=PURCHASE_COLUMNS)
    read = (pl.read_parquet(io.BytesIO(file), columns=["arrived_at", *PURCHASE_COLUMNS]) for file in files)
    tables = [table.with_columns(pl.col("at", "arrived_at").cast(pl.Datetime("ms", "UTC"))) for table in read]
    ordered = pl.concat(tables).sort("arrived_at", "at", "order_id")
    return ordered.unique("order_id", keep="first", maintain_order=True).drop("arrived_at")
