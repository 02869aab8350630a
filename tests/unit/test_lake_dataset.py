"""The processing step `dataset`: from the lake's files to the training set that the same records make in memory."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from training.container.entrypoint import run
from training.dataset import build_dataset, read_dataset
from training.labels import UnusableTrainingData
from training.simulator import Traffic
from training.simulator.log import SimulatedLog, simulated_log


@pytest.fixture(scope="module")
def days() -> SimulatedLog:
    traffic = Traffic(seed=3, start=dt.datetime(2026, 11, 2, tzinfo=dt.UTC), clicks_per_day=800)
    return simulated_log(traffic, days=3)


def archive(frame: pl.DataFrame, folder: Path) -> None:
    """One file a day, in the lake's folders, with the service's finer times and an arrival a second after the event."""
    archived = frame.with_columns(
        pl.col("at").cast(pl.Datetime("ns", "UTC")),
        (pl.col("at") + pl.duration(seconds=1)).cast(pl.Datetime("ns", "UTC")).alias("arrived_at"),
    ).cast({pl.Categorical: pl.String, pl.Enum: pl.String})
    for (date,), part in archived.group_by(pl.col("at").dt.date()):
        target = folder / f"date={date}" / "hour=00" / "part.parquet"
        target.parent.mkdir(parents=True)
        part.write_parquet(target)


def test_dataset_of_the_lake_equals_that_of_the_same_records_in_memory(days: SimulatedLog, tmp_path: Path) -> None:
    archive(days.clicks, tmp_path / "processing/input/clicks")
    archive(days.purchases, tmp_path / "processing/input/purchases")

    run(["process", "dataset"], {"SLIDR_OPT_ML": str(tmp_path)})

    until = max(days.clicks["at"].max(), days.purchases["at"].max())
    expected = build_dataset(days.clicks.sort("at", "click_id"), days.purchases.sort("at"), until=until)
    written = read_dataset(tmp_path / "processing/output/dataset")
    columns = written.columns
    assert int(written["purchased"].sum()) > 0
    assert_frame_equal(
        written, expected.select(columns).sort("at", "click_id"), categorical_as_str=True, check_dtypes=False
    )


def test_a_click_that_was_archived_twice_counts_once(days: SimulatedLog, tmp_path: Path) -> None:
    archive(days.clicks, tmp_path / "processing/input/clicks")
    archive(days.clicks.head(500), tmp_path / "processing/input/clicks/again")

    run(["process", "dataset"], {"SLIDR_OPT_ML": str(tmp_path)})

    assert read_dataset(tmp_path / "processing/output/dataset")["click_id"].n_unique() == len(days.clicks)


def test_a_lake_without_clicks_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UnusableTrainingData, match="archived clicks are required"):
        run(["process", "dataset"], {"SLIDR_OPT_ML": str(tmp_path)})
