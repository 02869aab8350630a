"""The processing step `dataset`: from the lake's files to the training set that the same records make in memory."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from slidr.features import FEATURE_NAMES, SPEC_HASH
from training.container.entrypoint import CommandInvalid, run
from training.dataset import build_dataset, feature_frame, features_of, read_dataset
from training.feature_skew import feature_skew
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


@pytest.fixture(scope="module")
def logged(days: SimulatedLog) -> pl.DataFrame:
    """The feature log of a deployment that served these days, and never lost its counters."""
    features = features_of(days.clicks).astype(float)
    return days.clicks.select(
        "click_id", "at", "givt",
        kind=pl.lit("original"),
        decided_at=pl.col("at") + pl.duration(seconds=2),
        reasons=pl.lit([], dtype=pl.List(pl.String)),
        feature_spec=pl.lit(SPEC_HASH),
        features=pl.Series(features.tolist(), dtype=pl.List(pl.Float64)),
    )  # fmt: skip


def report(folder: Path) -> Any:
    return json.loads((folder / "processing/output/report/dataset.json").read_bytes())


def test_trains_on_what_serving_saw_where_the_feature_log_is_whole(
    days: SimulatedLog, logged: pl.DataFrame, tmp_path: Path
) -> None:
    archive(days.clicks, tmp_path / "processing/input/clicks")
    archive(days.purchases, tmp_path / "processing/input/purchases")
    archive(logged, tmp_path / "processing/input/verdicts")

    run(["process", "dataset"], {"SLIDR_OPT_ML": str(tmp_path)})

    until = max(days.clicks["at"].max(), days.purchases["at"].max())
    expected = build_dataset(days.clicks, days.purchases, until=until, restart_every=None)
    written = read_dataset(tmp_path / "processing/output/dataset")
    assert_frame_equal(
        written, expected.select(written.columns).sort("at", "click_id"), categorical_as_str=True, check_dtypes=False
    )
    assert report(tmp_path)["features"] == "logged"
    assert report(tmp_path)["skew"]["rows"] > 50
    assert report(tmp_path)["skew"]["rows_that_differ"] == 0


@pytest.mark.parametrize("chosen", [[], ["--features", "recomputed"]])
def test_counts_the_archived_clicks_again_where_few_have_logged_features_or_when_told_to(
    chosen: list[str], days: SimulatedLog, logged: pl.DataFrame, tmp_path: Path
) -> None:
    archive(days.clicks, tmp_path / "processing/input/clicks")
    archive(logged if chosen else logged[::2], tmp_path / "processing/input/verdicts")

    run(["process", "dataset", *chosen], {"SLIDR_OPT_ML": str(tmp_path)})

    assert len(read_dataset(tmp_path / "processing/output/dataset")) == len(days.clicks)
    assert report(tmp_path)["features"] == "recomputed"


def test_logged_features_that_are_asked_for_must_be_there(days: SimulatedLog, tmp_path: Path) -> None:
    archive(days.clicks, tmp_path / "processing/input/clicks")
    with pytest.raises(UnusableTrainingData, match="--features recomputed"):
        run(["process", "dataset", "--features", "logged"], {"SLIDR_OPT_ML": str(tmp_path)})


def test_another_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandInvalid, match="--features"):
        run(["process", "dataset", "--features", "guessed"], {"SLIDR_OPT_ML": str(tmp_path)})


def test_skew_tells_which_features_serving_did_not_fully_know(days: SimulatedLog, logged: pl.DataFrame) -> None:
    since = days.clicks["at"].max() - dt.timedelta(hours=12)
    matrix = features_of(days.clicks)
    late = FEATURE_NAMES.index("session.n_10m")
    matrix[::4, late] += 1
    matrix[:, FEATURE_NAMES.index("profile.ip.known")] = 1  # nobody can recompute a profile: not compared
    rows = pl.concat([days.clicks.select("click_id", "at"), feature_frame(matrix)], how="horizontal")
    skew = feature_skew(days.clicks, rows, since=since)
    assert 0 < skew.rows_that_differ < skew.rows
    worst = skew.features.row(0, named=True)
    assert worst["feature"] == "session.n_10m"
    assert worst["share"] == pytest.approx(skew.rows_that_differ / skew.rows)
    assert worst["largest"] == 1
    assert skew.features["share"][1] == 0


def test_a_lake_without_clicks_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UnusableTrainingData, match="archived clicks are required"):
        run(["process", "dataset"], {"SLIDR_OPT_ML": str(tmp_path)})
