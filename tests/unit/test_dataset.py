from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from local.sources.event import Kind
from local.sources.simulated import simulated_chunks
from slidr.archive import archive_click, archive_purchase
from slidr.click import parse_clicks
from slidr.contract import from_epoch_ms
from slidr.counter_batch import counter_batch
from slidr.errors import FeatureMismatch
from slidr.features import FEATURE_NAMES, assemble, context_of, no_profiles
from slidr.givt import packaged_crawlers
from slidr.pseudonym import Pseudonymiser
from slidr.purchase import parse_purchase
from training.counters_kernel import count
from training.dataset import (
    RESTART_EVERY,
    ROW_COLUMNS,
    build_dataset,
    feature_matrix,
    features_of,
    read_dataset,
    write_dataset,
)
from training.labels import UnusableTrainingData
from training.lake_form import archived_clicks, archived_purchases
from training.simulator import SimulatedDay, Traffic
from training.simulator.families import FAMILIES
from training.simulator.log import SimulatedLog, simulated_log

MONDAY = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)
TRAFFIC = Traffic(seed=5, start=MONDAY, clicks_per_day=1_500)


@pytest.fixture(scope="module")
def day() -> SimulatedDay:
    return TRAFFIC.day(0)


@pytest.fixture(scope="module")
def log() -> SimulatedLog:
    return simulated_log(TRAFFIC, days=2)


@pytest.fixture(scope="module")
def rows(log: SimulatedLog) -> pl.DataFrame:
    return build_dataset(log.clicks, log.purchases, until=log.until, restart_every=None)


def payloads(day: SimulatedDay, kind: Kind) -> list[bytes]:
    """The records of a day as they are sent, in event-time order."""
    return [event.payload for chunk in simulated_chunks(iter([day])) for event in chunk if event.kind is kind]


def any_pseudonymiser() -> Pseudonymiser:
    return Pseudonymiser(bytes(range(32)), version=3)


def test_table_of_clicks_takes_the_form_that_the_online_transform_gives(day: SimulatedDay) -> None:
    table = archived_clicks(day.clicks, pseudonymiser=any_pseudonymiser(), crawlers=packaged_crawlers())
    at_ms = day.clicks["at"].to_physical().to_list()
    clicks = parse_clicks(payloads(day, Kind.CLICK), arrived_ms=at_ms).clicks
    for click, row in zip(clicks, table.iter_rows(named=True), strict=True):
        form = archive_click(
            click, arrived_at=click.at, pseudonymiser=any_pseudonymiser(), crawlers=packaged_crawlers()
        )
        assert {name: getattr(form, name) for name in row} == row


def test_table_of_purchases_takes_the_form_that_the_online_transform_gives(day: SimulatedDay) -> None:
    table = archived_purchases(day.purchases, pseudonymiser=any_pseudonymiser())
    at_ms = day.purchases["at"].to_physical().to_list()
    for line, at, row in zip(payloads(day, Kind.PURCHASE), at_ms, table.iter_rows(named=True), strict=True):
        purchase = parse_purchase(line, arrived_ms=at)
        form = archive_purchase(purchase, arrived_at=from_epoch_ms(at), pseudonymiser=any_pseudonymiser())
        assert {name: getattr(form, name) for name in row} == row


def test_features_are_those_that_serving_builds_from_the_clicks_themselves(day: SimulatedDay) -> None:
    clicks = parse_clicks(payloads(day, Kind.CLICK), arrived_ms=day.clicks["at"].to_physical().to_list()).clicks
    batch = counter_batch(clicks, any_pseudonymiser())
    context = context_of(
        batch.at_ms.tolist(), [c.time_zone for c in clicks], [c.logged_in for c in clicks], [c.device for c in clicks]
    )
    online = assemble(count(batch), context, no_profiles(len(clicks)))
    table = archived_clicks(day.clicks, pseudonymiser=any_pseudonymiser(), crawlers=packaged_crawlers())
    assert np.array_equal(features_of(table), online)


def test_counting_restarts_from_empty(log: SimulatedLog) -> None:
    second = (log.clicks["at"] >= MONDAY + dt.timedelta(days=1)).to_numpy()
    first_at = log.clicks["at"].min()
    restarted = features_of(log.clicks, restart_every=MONDAY + dt.timedelta(days=1) - first_at)
    assert np.array_equal(restarted[second], features_of(log.clicks.filter(second)))
    assert not np.array_equal(restarted[second], features_of(log.clicks)[second])


def test_counting_restarts_in_a_training_set_unless_told_otherwise(log: SimulatedLog, rows: pl.DataFrame) -> None:
    trained_on = feature_matrix(build_dataset(log.clicks, log.purchases, until=log.until))
    assert np.array_equal(trained_on, features_of(log.clicks, restart_every=RESTART_EVERY))
    assert not np.array_equal(trained_on, feature_matrix(rows))


def test_holds_one_row_a_click_with_the_columns_of_the_training_channel(rows: pl.DataFrame, log: SimulatedLog) -> None:
    assert rows["click_id"].to_list() == log.clicks["click_id"].to_list()
    assert rows.columns == [*ROW_COLUMNS, *FEATURE_NAMES]
    assert {rows[name].dtype for name in FEATURE_NAMES} == {pl.Float32}
    assert np.isfinite(feature_matrix(rows)).all()


def test_nothing_that_makes_labels_or_tells_the_truth_is_a_feature() -> None:
    forbidden = ("purchase", "rfm", "order", "amount", "label", "family", "robot", "truth", "bought", "recency")
    assert [name for name in FEATURE_NAMES if any(word in name for word in forbidden)] == []
    assert not {family.name for family in FAMILIES} & set(FEATURE_NAMES)


def test_features_do_not_change_with_the_purchases(log: SimulatedLog, rows: pl.DataFrame) -> None:
    without = build_dataset(log.clicks, log.purchases.clear(), until=log.until, restart_every=None)
    assert np.array_equal(feature_matrix(without), feature_matrix(rows))
    assert not without["purchased"].any()


def test_features_do_not_change_with_what_comes_later(log: SimulatedLog, rows: pl.DataFrame) -> None:
    first = log.clicks["at"] < MONDAY + dt.timedelta(days=1)
    alone = features_of(log.clicks.filter(first))
    assert np.array_equal(alone, feature_matrix(rows.filter(first)))


def test_nobody_is_in_it_in_clear(log: SimulatedLog, rows: pl.DataFrame, day: SimulatedDay) -> None:
    users = set(day.clicks["user"].drop_nulls()) | set(day.clicks["ip"]) | set(day.clicks["session"])
    for table in (rows.select(ROW_COLUMNS), log.clicks, log.purchases):
        for column in table.select(pl.col(pl.String)):
            assert not users & set(column.drop_nulls()), column.name


def test_comes_back_from_parquet_as_it_was_written(rows: pl.DataFrame, tmp_path: Path) -> None:
    half = len(rows) // 2
    write_dataset(rows[half:], tmp_path / "b" / "part.parquet")
    write_dataset(rows[:half], tmp_path / "a" / "part.parquet")
    assert read_dataset(tmp_path).equals(rows.sort("at", "click_id"))


def test_refuses_a_channel_without_files(tmp_path: Path) -> None:
    with pytest.raises(UnusableTrainingData, match="Parquet files"):
        read_dataset(tmp_path)


def test_refuses_rows_of_another_feature_spec(rows: pl.DataFrame, tmp_path: Path) -> None:
    old = rows.drop(FEATURE_NAMES[3])
    write_dataset(old, tmp_path / "part.parquet")
    with pytest.raises(FeatureMismatch, match=FEATURE_NAMES[3]):
        read_dataset(tmp_path)
    with pytest.raises(FeatureMismatch, match=FEATURE_NAMES[3]):
        feature_matrix(old)
