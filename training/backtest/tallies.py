"""What a backtest counts: clicks and money by advertiser, human density by hour of the week, what the log offers."""

from __future__ import annotations

import numpy as np
import polars as pl

from slidr.release import HOURS_OF_WEEK
from training.backtest.later import Later
from training.backtest.results import AdvertiserBill, Coverage, Density
from training.curves import in_curves


def bills_of(later: Later) -> tuple[AdvertiserBill, ...]:
    """The later clicks by advertiser and currency: the most money not billed first, then the most clicks.

    Clicks too young for a label count too: a verdict does not wait for purchases.
    """
    invalid = later.behaviour | later.listed
    table = (
        later.clicks.select("advertiser", "currency", "cost_micros", pl.Series("invalid", invalid))
        .group_by(pl.col("advertiser", "currency").cast(pl.String))
        .agg(
            pl.len(),
            pl.col("invalid").sum(),
            pl.col("cost_micros").sum(),
            pl.col("cost_micros").filter(pl.col("invalid")).sum().alias("not_billed_micros"),
        )
        .sort("not_billed_micros", "invalid", "len", "advertiser", descending=[True, True, True, False])
    )
    return tuple(
        AdvertiserBill(
            advertiser=advertiser,
            currency=currency,
            clicks=clicks,
            not_billed=not_billed,
            cost_micros=cost,
            not_billed_micros=money,
        )
        for advertiser, currency, clicks, not_billed, cost, money in table.iter_rows()
    )


def density_of(rows: pl.DataFrame) -> Density:
    """How many mature clicks that no list names each local hour of the week has, and how many are labelled human."""
    seen = rows.filter(in_curves(rows))
    hours = seen["hour_of_week"].to_numpy()
    human = (seen["label"] == 0).to_numpy()
    return Density(
        clicks=np.bincount(hours, minlength=HOURS_OF_WEEK),
        human=np.bincount(hours[human], minlength=HOURS_OF_WEEK),
    )


def coverage_of(clicks: pl.DataFrame, *, purchases: int, attributed: int) -> Coverage:
    """Which fields the log has, in shares of its clicks.

    Args:
        clicks: in the lake's form.
        purchases: how many the log has.
        attributed: how many of them a click led to.
    """

    def known(column: str) -> float:
        return float(clicks[column].is_not_null().mean())  # type: ignore[arg-type]

    return Coverage(
        with_user=known("user_token"),
        with_session=known("session_token"),
        with_ip=known("ip_token"),
        with_user_agent=known("ua_token"),
        with_cost=float((clicks["cost_micros"] > 0).mean()),  # type: ignore[arg-type]
        purchases=purchases,
        attributed=attributed,
    )
