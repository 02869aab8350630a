"""Weak labels: which clicks led to purchases, which accounts buy a lot, and what that says of each click.

Clicks and purchases come as tables with the columns of the lake (slidr/archive.py): times as `Datetime("ms", "UTC")`,
people as tokens. Labels and everything here are for training and metrics; none of it becomes a feature (rule 3).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from slidr.contract import epoch_ms
from slidr.errors import SlidrError

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

ATTRIBUTION_WINDOW: Final = dt.timedelta(hours=24)
RFM_HIGH: Final = 12
"""Least sum of the three quintile scores (3 to 15) that makes an account's RFM high."""


class UnusableTrainingData(SlidrError):
    """The rows cannot train a model: too few, or of one class only."""


class LabelRule(StrEnum):
    """Which rule labelled a row, or kept it out of training."""

    PURCHASE = "purchase"
    """Human: the click led to a purchase."""
    RFM = "rfm"
    """Human: its account's RFM is high."""
    NO_EVIDENCE = "no_evidence"
    """Non-human, weakly: nothing speaks for a human."""
    GIVT = "givt"
    """Out: the crawler list names it."""
    IMMATURE = "immature"
    """Out: younger than the attribution window, so a purchase may still come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RfmCuts:
    """Fixed cut points of the RFM scores, instead of quintiles: a score is 1 plus the number of points reached.

    An account then keeps its score when others come and go, and two days of one log agree on it.
    """

    recency_days: tuple[float, float, float, float] = (90.0, 30.0, 14.0, 3.0)
    """Days before `until` within which the newest order lies, falling."""
    frequency: tuple[float, float, float, float] = (2, 3, 5, 10)
    """Orders, rising."""
    monetary: tuple[float, float, float, float] = (1.0, 2.0, 4.0, 8.0)
    """Sum of the orders, in median orders of their currencies, rising."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """One entry a click, in the order of the click table."""

    label: NDArray[np.int8]
    """0 human, 1 non-human; meaningless where `rule` keeps the click out."""
    rule: NDArray[np.str_]
    """Values of LabelRule."""
    purchased: Flags
    """Whether the click led to a purchase; known only once the click is mature."""

    @property
    def in_training(self) -> Flags:
        """The clicks that may train and calibrate a model."""
        return ~np.isin(self.rule, [LabelRule.GIVT, LabelRule.IMMATURE])


def attribute(clicks: pl.DataFrame, purchases: pl.DataFrame, *, window: dt.timedelta = ATTRIBUTION_WINDOW) -> Ints:
    """The click that each purchase is attributed to: its row in `clicks`, -1 for none, shape (purchases,).

    It is the click that the purchase names, if that lies in the window; else the last one of the same user, else
    of the same session, for the same advertiser or item (the item that a click advertises is its `ad`), with
    purchase.at - window <= click.at <= purchase.at. "Last" goes by (at, click_id). Verdicts play no part.

    Args:
        clicks: click_id, at, user_token, session_token, advertiser, ad; in any order.
        purchases: at, user_token, session_token, advertiser, item, click_id.
        window: attribution window.

    >>> clicks = pl.DataFrame({"click_id": ["a", "b"], "at": [1000, 2000], "user_token": ["u", "u"],
    ...     "session_token": ["s", "s"], "advertiser": ["x", "x"], "ad": ["i", "j"]}, schema_overrides=CLICK_TYPES)
    >>> purchases = pl.DataFrame({"at": [3000, 3000], "user_token": ["u", None], "session_token": [None, "s"],
    ...     "advertiser": ["x", None], "item": [None, "i"], "click_id": [None, None]}, schema_overrides=PURCHASE_TYPES)
    >>> attribute(clicks, purchases)
    array([1, 0])
    """
    window_ms = window // dt.timedelta(milliseconds=1)
    order = clicks.select(pl.arg_sort_by("at", "click_id")).to_series().to_numpy().astype(np.int64)
    ordered = clicks[order]
    at = ordered["at"].to_physical().to_numpy()
    bought_at = purchases["at"].to_physical().to_numpy()

    def last(person: str, goods: str, advertised: str) -> Ints:
        """Place in `ordered` of the last click with the same person and goods, -1 for none."""
        mine, theirs = _codes(ordered, (person, advertised), purchases, (person, goods))
        return _last_before(mine, at, theirs, bought_at, window_ms)

    by_user = np.maximum(last("user_token", "advertiser", "advertiser"), last("user_token", "item", "ad"))
    by_session = np.maximum(last("session_token", "advertiser", "advertiser"), last("session_token", "item", "ad"))
    named, wanted = _codes(ordered, ("click_id",), purchases, ("click_id",))
    by_name = _last_before(named, at, wanted, bought_at, window_ms)
    found = np.where(by_name >= 0, by_name, np.where(by_user >= 0, by_user, by_session))
    return np.where(found >= 0, order[found], -1) if len(order) else found


CLICK_TYPES: Final = {"at": pl.Datetime("ms", "UTC"), "user_token": pl.String, "session_token": pl.String,
                      "ad": pl.String}  # fmt: skip
PURCHASE_TYPES: Final = {"at": pl.Datetime("ms", "UTC"), "user_token": pl.String, "session_token": pl.String,
                         "advertiser": pl.String, "item": pl.String, "click_id": pl.String}  # fmt: skip


def _codes(
    left: pl.DataFrame, left_columns: tuple[str, ...], right: pl.DataFrame, right_columns: tuple[str, ...]
) -> tuple[Ints, Ints]:
    """Equal tuples get equal codes from 0; -1 where any part of a tuple is null."""

    def tuples(frame: pl.DataFrame, columns: tuple[str, ...]) -> pl.DataFrame:
        return frame.select(pl.col(column).cast(pl.String).alias(f"c{i}") for i, column in enumerate(columns))

    both = pl.concat([tuples(left, left_columns), tuples(right, right_columns)])
    complete = pl.all_horizontal(pl.all().is_not_null())
    code = pl.when(complete).then(pl.struct(pl.all()).rank("dense").cast(pl.Int64) - 1).otherwise(-1)
    codes = both.select(code.alias("code")).to_series().to_numpy()
    return codes[: len(left)], codes[len(left) :]


def _last_before(codes: Ints, at_ms: Ints, wanted: Ints, until_ms: Ints, window_ms: int) -> Ints:
    """The last place whose code is wanted, within the window before `until_ms`; -1 for none.

    Args:
        codes: of each place, -1 for none; places are in (at, id) order.
        at_ms: of each place, ascending.
        wanted: one code a purchase, -1 for none.
        until_ms: time of each purchase.
        window_ms: how far back to look, inclusive.
    """
    if not len(codes) or not len(wanted):
        return np.full(len(wanted), -1, dtype=np.int64)
    base = int(min(at_ms[0], until_ms.min()))
    span = int(max(at_ms[-1], until_ms.max())) - base + 1
    by_code = np.argsort(codes, kind="stable")  # by code, then (at, id)
    keys = codes[by_code] * span + (at_ms[by_code] - base)
    found = np.searchsorted(keys, wanted * span + (until_ms - base), side="right") - 1
    place = by_code[np.maximum(found, 0)]
    good = (found >= 0) & (wanted >= 0) & (codes[place] == wanted) & (at_ms[place] >= until_ms - window_ms)
    return np.where(good, place, -1).astype(np.int64)


def rfm_scores(purchases: pl.DataFrame, *, until: dt.datetime, cuts: RfmCuts | None = None) -> pl.DataFrame:
    """Recency, frequency and monetary score of every account with orders before `until`.

    Each score is 1 to 5: by quintiles among these accounts, 1 + floor(5 x share of accounts that are strictly worse),
    or by fixed cut points. Amounts are counted in median orders of their currency (as they are where that is 0).

    Args:
        purchases: at, user_token, amount_micros, currency.
        until: purchases at or after it are not known yet.
        cuts: fixed cut points; by default quintiles.

    Returns:
        user_token, recency, frequency, monetary (Int64, 1 to 5), rfm (their sum).
    """
    known = purchases.filter(pl.col("user_token").is_not_null() & (pl.col("at") < until))
    typical = known.group_by("currency").agg(typical=pl.col("amount_micros").median())
    # Whole sums first, so that two accounts that paid the same have the same amount to the bit.
    by_currency = known.group_by("user_token", "currency", maintain_order=True).agg(
        newest=pl.col("at").max(), orders=pl.len(), amount=pl.col("amount_micros").sum()
    )
    accounts = (
        by_currency.join(typical, on="currency", how="left", maintain_order="left")
        .with_columns(pl.col("amount") / pl.when(pl.col("typical") > 0).then(pl.col("typical")).otherwise(1.0))
        .group_by("user_token", maintain_order=True)
        .agg(pl.col("newest").max(), pl.col("orders").sum(), pl.col("amount").sum())
    )

    def quintile(column: str) -> pl.Expr:
        worse = pl.col(column).rank("min").cast(pl.Int64) - 1
        return 1 + (5 * worse) // pl.len().cast(pl.Int64)

    def reached(column: str, points: Sequence[float | dt.datetime]) -> pl.Expr:
        return 1 + pl.sum_horizontal((pl.col(column) >= point).cast(pl.Int64) for point in points)

    if cuts is None:
        recency, frequency, monetary = (quintile(column) for column in ("newest", "orders", "amount"))
    else:
        recency = reached("newest", [until - dt.timedelta(days=days) for days in cuts.recency_days])
        frequency, monetary = reached("orders", cuts.frequency), reached("amount", cuts.monetary)
    scored = accounts.select("user_token", recency=recency, frequency=frequency, monetary=monetary)
    return scored.with_columns(rfm=pl.sum_horizontal("recency", "frequency", "monetary"))


def label(
    clicks: pl.DataFrame,
    purchases: pl.DataFrame,
    *,
    until: dt.datetime,
    window: dt.timedelta = ATTRIBUTION_WINDOW,
    rfm_high: int = RFM_HIGH,
    rfm_cuts: RfmCuts | None = None,
) -> Labels:
    """The weak label of every click, given all that was known at `until`.

    Args:
        clicks: as for `attribute`, and `givt`.
        purchases: as for `attribute`, and amount_micros, currency.
        until: purchases at or after it are not known yet; clicks younger than `window` then are immature.
        window: attribution window.
        rfm_high: see RFM_HIGH.
        rfm_cuts: fixed cut points of the RFM scores; by default quintiles.
    """
    known = purchases.filter(pl.col("at") < until)
    rows = attribute(clicks, known, window=window)
    purchased = np.zeros(len(clicks), dtype=np.bool_)
    purchased[rows[rows >= 0]] = True
    good = rfm_scores(known, until=until, cuts=rfm_cuts).filter(pl.col("rfm") >= rfm_high)["user_token"]
    loyal = clicks["user_token"].is_in(good.implode()).fill_null(value=False).to_numpy()
    immature = clicks["at"].to_physical().to_numpy() >= epoch_ms(until - window)
    rule = np.select(
        [clicks["givt"].to_numpy(), immature, purchased, loyal],
        [LabelRule.GIVT.value, LabelRule.IMMATURE.value, LabelRule.PURCHASE.value, LabelRule.RFM.value],
        default=LabelRule.NO_EVIDENCE.value,
    )
    return Labels(label=(rule == LabelRule.NO_EVIDENCE.value).astype(np.int8), rule=rule, purchased=purchased)
