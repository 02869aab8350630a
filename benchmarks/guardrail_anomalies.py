"""Written anomalies: of a day's deliveries, of the rows made from them, of a candidate. Each names who must stop it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl

from benchmarks.guardrail_world import MONDAY, ONE
from training.dataset import build_dataset
from training.guardrails.day_summary import Archive

DAY: Final = 15
"""Tuesday, the day that is disturbed."""
START: Final = MONDAY + DAY * ONE
TODAY: Final = pl.col("at") >= START


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Deliveries:
    """Two days of clicks, the disturbed one last, all purchases since the window began, and the truth."""

    clicks: pl.DataFrame
    purchases: pl.DataFrame
    truth: pl.DataFrame


def rows_of(given: Deliveries, *, until: dt.datetime = START + 2 * ONE) -> pl.DataFrame:
    """The training set, as the lake's step builds it: by arrival, each record once."""
    clicks = given.clicks.sort("arrived_at", "at", "click_id").unique("click_id", keep="first", maintain_order=True)
    purchases = given.purchases.unique("order_id", keep="first", maintain_order=True)
    return build_dataset(clicks, purchases, until=until)


def archive_of(given: Deliveries) -> Archive:
    return Archive(clicks=given.clicks, purchases=given.purchases)


def hours(first: int, last: int) -> pl.Expr:
    """Of the disturbed day, UTC, `last` included."""
    return TODAY & pl.col("at").dt.hour().is_between(first, last)


def with_clicks(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Deliveries], Deliveries]:
    return lambda given: replace(given, clicks=change(given.clicks))


def with_purchases(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Deliveries], Deliveries]:
    return lambda given: replace(given, purchases=change(given.purchases))


def tenfold(clicks: pl.DataFrame) -> pl.DataFrame:
    again = [clicks.filter(TODAY).with_columns(click_id=pl.col("click_id") + f"-{copy}") for copy in range(9)]
    return pl.concat([clicks, *again])


def robots_buy(given: Deliveries) -> Deliveries:
    """Every fourth click of the robots that hammer leads to an order of its own."""
    robots = given.truth.filter(pl.col("family").cast(pl.String).is_in(["fast_single_ip", "slow_regular"]))["click_id"]
    buying = given.clicks.filter(TODAY & pl.col("click_id").is_in(robots.implode())).gather_every(4)
    at = pl.col("at") + dt.timedelta(seconds=30)
    orders = buying.select(
        pl.format("robot-{}", "click_id").alias("order_id"), at.alias("at"), "user_token", "session_token",
        "advertiser", pl.col("ad").alias("item"), pl.lit(5_000_000, dtype=pl.Int64).alias("amount_micros"),
        "currency", "click_id", at.alias("arrived_at"),
    )  # fmt: skip
    return replace(given, purchases=pl.concat([given.purchases, orders], how="vertical_relaxed"))


def without_purchases(rows: pl.DataFrame, where: pl.Expr) -> pl.DataFrame:
    """The label is missing where there was one."""
    gone = where & pl.col("purchased")
    return rows.with_columns(
        label=pl.when(gone).then(pl.lit(1, dtype=pl.Int8)).otherwise("label"),
        purchased=pl.col("purchased") & ~gone,
    )


def set_today(name: str, value: pl.Expr, where: pl.Expr | None = None) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """A column with other values on the disturbed day."""
    there = TODAY if where is None else TODAY & where
    return lambda rows: rows.with_columns(pl.when(there).then(value).otherwise(pl.col(name)).alias(name))


BUYERS_SLICE: Final = (pl.col("device") == "mobile") & pl.col("logged_in")
SHIFT: Final = dt.timedelta(hours=2)

DELIVERED: Final[dict[str, tuple[str, Callable[[Deliveries], Deliveries]]]] = {
    "purchase stream down for 6 hours": ("purchases_in_hour", with_purchases(lambda p: p.filter(~hours(12, 17)))),
    "no purchases all day": ("purchases_in_day", with_purchases(lambda p: p.filter(~TODAY))),
    "one hour of clicks absent": ("clicks_in_hour", with_clicks(lambda c: c.filter(~hours(14, 14)))),
    "volume times 10": ("clicks_in_day", with_clicks(tenfold)),
    "volume times 0.1": (
        "clicks_in_day", with_clicks(lambda c: c.filter(~TODAY | (pl.col("click_id").hash(7) % 10 == 0)))),
    "one marketplace's clicks absent": (
        "slice_clicks", with_clicks(lambda c: c.filter(~TODAY | (pl.col("marketplace") != "jp")))),
    "all clicks logged in": ("slice_clicks", with_clicks(set_today("logged_in", pl.lit(value=True)))),
    "all clicks of one device": ("slice_clicks", with_clicks(
        set_today("device", pl.lit("desktop", dtype=pl.Enum(["desktop", "mobile", "tablet", "other"]))))),
    "the clicks' clock is 2 hours slow": ("late_clicks", with_clicks(set_today("at", pl.col("at") - SHIFT))),
    "the purchases' clock is 2 hours slow": ("purchases_in_day", with_purchases(set_today("at", pl.col("at") - SHIFT))),
    "an hour delivered twice": ("repeated_clicks", with_clicks(lambda c: pl.concat([c, c.filter(hours(14, 14))]))),
    "purchases delivered twice": ("repeated_orders", with_purchases(lambda p: pl.concat([p, p]))),
    "purchases arrive 5 hours late": (
        "late_orders", with_purchases(set_today("arrived_at", pl.col("at") + dt.timedelta(hours=5)))),
    "robots that buy": ("robotic_purchases", robots_buy),
    "sessions lost": ("nulls", with_clicks(set_today("session_token", pl.lit(None, dtype=pl.String)))),
    "one address for everybody": ("drift", with_clicks(set_today("ip_token", pl.col("ip_token").first()))),
    "yesterday's deliveries again": ("clicks_in_day", with_clicks(lambda c: c.filter(~TODAY))),
}  # fmt: skip
"""By what happened: who must stop it, and how the deliveries change."""

ROWS: Final[dict[str, tuple[str, Callable[[pl.DataFrame], pl.DataFrame]]]] = {
    "purchase labels missing for 3 hours": ("purchases_in_hour", lambda r: without_purchases(r, hours(14, 16))),
    "purchase labels missing in a slice": ("purchases_in_slice", lambda r: without_purchases(r, TODAY & BUYERS_SLICE)),
    "purchase labels missing in a marketplace": (
        "purchases_in_slice", lambda r: without_purchases(r, TODAY & (pl.col("marketplace") == "de"))),
    "labels turned over": ("contradicted_labels", set_today("label", (1 - pl.col("label")).cast(pl.Int8))),
    "a feature stuck at 0": ("drift", set_today("ip.n_24h", pl.lit(0.0, dtype=pl.Float32))),
    "a rare feature stuck at 0": ("feature_varies", set_today("device.tablet", pl.lit(0.0, dtype=pl.Float32))),
    "seconds given as milliseconds": ("drift", set_today("session.gap_s", pl.col("session.gap_s") * 1000)),
    "drift in one slice only": ("drift_in_slice", set_today(
        "user.n_24h", pl.col("user.n_24h") + 20, (pl.col("device") == "mobile") & ~pl.col("logged_in"))),
    "a feature that is no number": ("features_not_finite", set_today(
        "ip.n_1h", pl.lit(float("nan"), dtype=pl.Float32), pl.col("logged_in"))),
    "rows twice": ("repeated_rows", lambda r: pl.concat([r, r.filter(hours(3, 3))])),
    "a feature column missing": ("FeatureMismatch", lambda r: r.drop("ip.n_1h")),
    "labelled too early": ("immature_rows", set_today(
        "rule", pl.lit("immature").cast(pl.Categorical), pl.col("at").dt.hour() >= 12)),
}  # fmt: skip
"""The same for the rows of a training set."""


def flipped_labels(rows: pl.DataFrame) -> pl.DataFrame:
    """Robots for people: the label, and the purchases that stop the training."""
    return rows.with_columns(label=(1 - pl.col("label")).cast(pl.Int8), purchased=~pl.col("purchased"))


def leaked(rows: pl.DataFrame) -> pl.DataFrame:
    """The label stands in a feature."""
    return rows.with_columns(pl.col("label").cast(pl.Float32).alias("ip.n_1h"))


def newest_part(rows: pl.DataFrame) -> pl.DataFrame:
    """Seven rows in ten are lost before they train."""
    return rows.filter(pl.int_range(pl.len()) >= int(0.7 * np.float64(len(rows))))
