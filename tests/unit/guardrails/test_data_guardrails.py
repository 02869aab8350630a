from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace

import msgspec
import numpy as np
import polars as pl
import pytest

from slidr.features import FEATURE_NAMES
from training.guardrails import DaySummary, data_guardrails, stopped_by, summarise_day
from training.guardrails.data import DATA
from training.guardrails.day_summary import EDGES, Archive, histograms

MONDAY = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)
DAYS = 8
AN_HOUR = 120
"""Clicks of every hour of every day: 30 of them in each slice, three in ten purchasing."""


def any_rows(day: int) -> pl.DataFrame:
    """One day of a training set, as level as can be: rows of an hour differ, hours and days do not."""
    n = 24 * AN_HOUR
    i = np.arange(n) % AN_HOUR
    rng = np.random.default_rng(day)
    purchased = i % 10 < 3
    features = {name: pl.Series(rng.poisson(2.0, n), dtype=pl.Float32) for name in FEATURE_NAMES}
    features["user.present"] = pl.Series(i % 20 == 1, dtype=pl.Float32)  # rare
    return pl.DataFrame({
        "click_id": [f"{day}-{row}" for row in range(n)],
        "at": pl.Series([MONDAY + dt.timedelta(days=day, seconds=30 * row) for row in range(n)],
                        dtype=pl.Datetime("ms", "UTC")),
        "label": pl.Series(~purchased, dtype=pl.Int8),
        "rule": pl.Series(np.where(purchased, "purchase", "no_evidence"), dtype=pl.Categorical),
        "purchased": purchased,
        "user_token": [f"u{row}" for row in range(n)],
        "session_token": [f"s{row}" for row in range(n)],
        "device": np.where(i % 2, "mobile", "desktop"),
        "logged_in": i % 4 < 2,
        "marketplace": np.where(i % 3, "us", "de"),
        "placement": "home",
        "hour_of_week": pl.Series((day % 7 * 24 + np.arange(n) // AN_HOUR), dtype=pl.Int32),
        "session_clicks_1h": pl.Series(np.where(np.isin(i % 20, [0, 5, 7, 9, 15, 19]), 30, 1), dtype=pl.Int64),
        **features,
    })  # fmt: skip


def archive_of(rows: pl.DataFrame) -> Archive:
    at = rows.select("click_id", "at", (pl.col("at") + dt.timedelta(seconds=1)).alias("arrived_at"))
    return Archive(clicks=at, purchases=at.filter(rows["purchased"]).rename({"click_id": "order_id"}))


def summarised(rows: pl.DataFrame, archive: Archive | None = None, day: int = DAYS) -> DaySummary:
    date = (MONDAY + dt.timedelta(days=day)).date()
    return summarise_day(rows, archive or archive_of(rows), day=date)


@pytest.fixture(scope="module")
def trailing() -> list[DaySummary]:
    return [summarised(any_rows(day), day=day) for day in range(DAYS)]


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    return any_rows(DAYS)


HOUR = pl.col("at").dt.hour()
Change = Callable[[pl.DataFrame], pl.DataFrame]


def put(name: str, value: pl.Expr, where: pl.Expr) -> Change:
    return lambda rows: rows.with_columns(pl.when(where).then(value).otherwise(pl.col(name)).alias(name))


def unbought(where: pl.Expr) -> Change:
    def change(rows: pl.DataFrame) -> pl.DataFrame:
        return put("label", pl.lit(1, dtype=pl.Int8), where)(put("purchased", pl.lit(value=False), where)(rows))

    return change


def bought(where: pl.Expr) -> Change:
    def change(rows: pl.DataFrame) -> pl.DataFrame:
        return put("label", pl.lit(0, dtype=pl.Int8), where)(put("purchased", pl.lit(value=True), where)(rows))

    return change


EVERY = pl.lit(value=True)
ROBOTIC = pl.col("session_clicks_1h") > 10
ROW_ANOMALIES: dict[str, Change] = {
    "clicks_in_day": lambda rows: rows.gather_every(10),
    "clicks_in_hour": lambda rows: rows.filter(HOUR != 5),
    "purchases_in_day": unbought(HOUR >= 5),
    "purchases_in_hour": unbought(HOUR.is_between(4, 6)),
    "purchases_in_slice": unbought((pl.col("device") == "mobile") & pl.col("logged_in")),
    "human_share": bought(HOUR >= 2),
    "robotic_purchases": bought(ROBOTIC),
    "contradicted_labels": put("label", pl.lit(1, dtype=pl.Int8), pl.col("purchased")),
    "immature_rows": put("rule", pl.lit("immature").cast(pl.Categorical), HOUR == 23),
    "slice_clicks": put("logged_in", pl.lit(value=True), EVERY),
    "drift": put("ip.n_1h", pl.lit(0.0, dtype=pl.Float32), EVERY),
    "drift_in_slice": put("ip.n_1h", pl.col("ip.n_1h") + 50, (pl.col("device") == "mobile") & pl.col("logged_in")),
    "feature_varies": put("user.present", pl.lit(0.0, dtype=pl.Float32), EVERY),
    "features_not_finite": put("ip.n_1h", pl.lit(float("nan"), dtype=pl.Float32), HOUR == 3),
    "nulls": put("session_token", pl.lit(None, dtype=pl.String), HOUR < 12),
    "repeated_rows": lambda rows: pl.concat([rows, rows.head(1)]),
}


def twice(archive: Archive) -> Archive:
    again = archive.clicks.filter(HOUR == 7)
    return replace(archive, clicks=pl.concat([archive.clicks, again]))


def late(frame: pl.DataFrame, hours: int) -> pl.DataFrame:
    return frame.with_columns(arrived_at=pl.col("at") + dt.timedelta(hours=hours))


ARCHIVE_ANOMALIES: dict[str, Callable[[Archive], Archive]] = {
    "repeated_clicks": twice,
    "repeated_orders": lambda archive: replace(archive, purchases=pl.concat([archive.purchases] * 2)),
    "late_clicks": lambda archive: replace(archive, clicks=late(archive.clicks, 2)),
    "late_orders": lambda archive: replace(archive, purchases=late(archive.purchases, 5)),
}


def test_lets_a_day_pass_that_is_like_the_days_before_it(rows: pl.DataFrame, trailing: list[DaySummary]) -> None:
    results = data_guardrails(summarised(rows), trailing)

    assert [result.says for result in results if not result.passed] == []
    assert {result.name for result in results} == {guardrail.name for guardrail in DATA}


@pytest.mark.parametrize("name", sorted(ROW_ANOMALIES))
def test_stops_a_day_whose_rows_are_disturbed(name: str, rows: pl.DataFrame, trailing: list[DaySummary]) -> None:
    today = summarised(ROW_ANOMALIES[name](rows), archive_of(rows))

    assert name in {result.name for result in stopped_by(data_guardrails(today, trailing))}


@pytest.mark.parametrize("name", sorted(ARCHIVE_ANOMALIES))
def test_stops_a_day_whose_deliveries_are_disturbed(name: str, rows: pl.DataFrame, trailing: list[DaySummary]) -> None:
    today = summarised(rows, ARCHIVE_ANOMALIES[name](archive_of(rows)))

    assert {result.name for result in stopped_by(data_guardrails(today, trailing))} == {name}


def test_stops_a_week_in_which_one_hour_has_no_humans(rows: pl.DataFrame, trailing: list[DaySummary]) -> None:
    today = summarised(rows)

    def with_empty_hour(day: DaySummary) -> DaySummary:
        clicks, humans = list(day.usable_by_hour_of_week), list(day.humans_by_hour_of_week)
        clicks[60], humans[60] = 300, 0
        return msgspec.structs.replace(day, usable_by_hour_of_week=tuple(clicks), humans_by_hour_of_week=tuple(humans))

    empty = [with_empty_hour(day) for day in trailing]

    stopping = stopped_by(data_guardrails(today, empty))

    assert [(result.name, result.scope) for result in stopping] == [("human_density", "Wed 12:00")]


def test_names_the_hours_the_slice_and_the_feature(rows: pl.DataFrame, trailing: list[DaySummary]) -> None:
    def scopes(name: str) -> list[str]:
        results = stopped_by(data_guardrails(summarised(ROW_ANOMALIES[name](rows), archive_of(rows)), trailing))
        return [result.scope for result in results if result.name == name]

    assert "04:00-06:59" in scopes("purchases_in_hour")
    assert scopes("purchases_in_slice") == ["device=mobile|logged_in=true"]
    assert scopes("drift_in_slice") == ["device=mobile|logged_in=true ip.n_1h"]
    assert scopes("feature_varies") == ["user.present"]


def test_warns_and_compares_nothing_before_there_are_days_to_compare_with(
    rows: pl.DataFrame, trailing: list[DaySummary]
) -> None:
    today = summarised(ROW_ANOMALIES["clicks_in_day"](rows))

    results = data_guardrails(today, trailing[:2])

    assert [result.name for result in results if not result.passed] == ["trailing_days"]
    assert stopped_by(results) == ()
    assert "clicks_in_day" not in {result.name for result in results}


def test_compares_a_slice_that_has_just_appeared_with_nothing(rows: pl.DataFrame, trailing: list[DaySummary]) -> None:
    opened = put("marketplace", pl.lit("br"), pl.int_range(pl.len()) % 7 == 0)

    results = data_guardrails(summarised(opened(rows)), trailing)

    assert stopped_by(results) == ()


def test_keeps_summaries_as_json(rows: pl.DataFrame) -> None:
    today = summarised(rows)

    assert msgspec.json.decode(msgspec.json.encode(today), type=DaySummary) == today


def test_counts_every_value_into_the_bin_whose_upper_end_it_does_not_exceed() -> None:
    values = np.array([-1.0, 0.0, 0.05, 1.0, 1e9, np.nan], dtype=np.float32)
    features = np.repeat(values[:, None], len(FEATURE_NAMES), axis=1)

    counts = histograms(features, np.zeros(6, dtype=np.int64), 1)

    expected = np.zeros(len(EDGES) + 1, dtype=int)
    expected[[0, 1, 3, len(EDGES)]] = [2, 1, 1, 2]
    assert counts.shape == (1, len(FEATURE_NAMES), len(EDGES) + 1)
    assert (counts[0] == expected).all()
