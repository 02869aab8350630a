"""The processing step `dataset`: archived clicks and purchases of the lake in, a training set out.

Layout, below SageMaker's /opt/ml/processing: input/clicks and input/purchases hold the lake's Parquet files in any
folders, output/dataset takes the training set.
"""

from __future__ import annotations

import datetime as dt
import logging
from pathlib import Path
from typing import Final

import polars as pl

from training.dataset import build_dataset, write_dataset
from training.labels import UnusableTrainingData

log = logging.getLogger("slidr.dataset")

CLICK_COLUMNS: Final = (
    "click_id", "at", "user_token", "session_token", "ip_token", "ua_token", "givt", "device", "logged_in",
    "advertiser", "ad", "placement", "marketplace", "time_zone",
)  # fmt: skip
PURCHASE_COLUMNS: Final = {
    "order_id": pl.String(),
    "at": pl.Datetime("ms", "UTC"),
    "user_token": pl.String(),
    "session_token": pl.String(),
    "advertiser": pl.String(),
    "item": pl.String(),
    "amount_micros": pl.Int64(),
    "currency": pl.String(),
    "click_id": pl.String(),
}


def process_dataset(processing: Path) -> None:
    """Build the training set of everything under `processing`/input.

    Clicks count in the order in which they arrived, each once however often it was delivered. Labels are those known
    when the newest record happened.

    Raises:
        UnusableTrainingData: there are no clicks.
    """
    clicks = _read(processing / "input" / "clicks", ("arrived_at", *CLICK_COLUMNS), key="click_id")
    purchases = _read(processing / "input" / "purchases", ("arrived_at", *PURCHASE_COLUMNS), key="order_id")
    if clicks is None or not len(clicks):
        raise UnusableTrainingData(
            f"archived clicks are required in {processing / 'input' / 'clicks'}, there are none. "
            "Give the lake's clicks/ prefix as the input named clicks."
        )
    if purchases is None:
        purchases = pl.DataFrame(schema=PURCHASE_COLUMNS)
    times = [frame["at"].max() for frame in (clicks, purchases) if len(frame)]
    until = max(time for time in times if isinstance(time, dt.datetime))
    rows = build_dataset(clicks, purchases, until=until)
    write_dataset(rows, processing / "output" / "dataset" / "part-0.parquet")
    log.info("dataset_built", extra={"fields": {"clicks": len(rows), "purchasing": int(rows["purchased"].sum())}})


def _read(folder: Path, columns: tuple[str, ...], *, key: str) -> pl.DataFrame | None:
    """The archived records below a folder, each once, in order of arrival; None where there is no file."""
    files = sorted(folder.rglob("*.parquet"))
    if not files:
        return None
    records = pl.concat([pl.read_parquet(file, columns=list(columns), hive_partitioning=False) for file in files])
    return (
        records.with_columns(pl.col("at", "arrived_at").cast(pl.Datetime("ms", "UTC")))
        .sort("arrived_at", "at", key)
        .unique(key, keep="first", maintain_order=True)
        .drop("arrived_at")
    )
