from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
import pytest

from training.labels import LabelRule, RfmCuts, attribute, label, rfm_scores

START = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)
WINDOW = dt.timedelta(hours=24)
INSTANT = pl.Datetime("ms", "UTC")


def renamed(row: dict[str, Any]) -> dict[str, Any]:
    return {{"user": "user_token", "session": "session_token"}.get(name, name): value for name, value in row.items()}


def any_click(**changes: Any) -> dict[str, Any]:
    click = {"click_id": "c", "at": START, "user": "u", "session": "s", "advertiser": "x", "ad": "i",
             "givt": False}  # fmt: skip
    return renamed(click | changes)


def any_purchase(**changes: Any) -> dict[str, Any]:
    purchase = {"order_id": "o", "at": START + dt.timedelta(hours=1), "user": "u", "session": None, "advertiser": "x",
                "item": None, "amount_micros": 10**6, "currency": "USD", "click_id": None}  # fmt: skip
    return renamed(purchase | changes)


def clicks_of(*rows: dict[str, Any]) -> pl.DataFrame:
    text = dict.fromkeys(("click_id", "user_token", "session_token", "advertiser", "ad"), pl.String)
    return pl.DataFrame(list(rows), schema=text | {"at": INSTANT, "givt": pl.Boolean})


def purchases_of(*rows: dict[str, Any]) -> pl.DataFrame:
    text = dict.fromkeys(
        ("order_id", "user_token", "session_token", "advertiser", "item", "currency", "click_id"), pl.String
    )
    return pl.DataFrame(list(rows), schema=text | {"at": INSTANT, "amount_micros": pl.Int64})


def hours(value: float) -> dt.datetime:
    return START + dt.timedelta(hours=value)


def attributed(clicks: list[dict[str, Any]], purchase: dict[str, Any]) -> str | None:
    table = clicks_of(*clicks)
    row = int(attribute(table, purchases_of(purchase))[0])
    return None if row < 0 else table["click_id"][row]


def test_the_last_click_wins() -> None:
    clicks = [
        any_click(click_id="late", at=hours(0.5)),
        any_click(click_id="early"),
        any_click(click_id="after", at=hours(2)),
    ]
    assert attributed(clicks, any_purchase()) == "late"


def test_of_clicks_at_the_same_time_the_greater_id_is_last() -> None:
    assert attributed([any_click(click_id="b"), any_click(click_id="a")], any_purchase()) == "b"


@pytest.mark.parametrize(("age_ms", "found"), [(86_400_000, True), (86_400_001, False), (0, True), (-1, False)])
def test_the_window_ends_after_exactly_a_day(age_ms: int, *, found: bool) -> None:
    click = any_click(at=hours(30) - dt.timedelta(milliseconds=age_ms))
    assert (attributed([click], any_purchase(at=hours(30))) == "c") is found


def test_another_advertisers_click_does_not_count() -> None:
    assert attributed([any_click(advertiser="y")], any_purchase()) is None


def test_the_item_counts_like_the_advertiser() -> None:
    clicks = [any_click(click_id="mine"), any_click(click_id="item", at=hours(0.5), advertiser="y", ad="j")]
    assert attributed(clicks, any_purchase(item="j")) == "item"
    assert attributed(clicks, any_purchase(advertiser=None, item="j")) == "item"
    assert attributed(clicks, any_purchase()) == "mine"


def test_the_session_stands_in_where_the_user_has_no_click() -> None:
    clicks = [
        any_click(click_id="anonymous", user=None),
        any_click(click_id="other", user="v", session="t"),
    ]
    assert attributed(clicks, any_purchase(session="s")) == "anonymous"


def test_the_users_click_goes_before_a_later_click_of_the_session() -> None:
    clicks = [
        any_click(click_id="user", session="t"),
        any_click(click_id="session", user=None, at=hours(0.9)),
    ]
    assert attributed(clicks, any_purchase(session="s")) == "user"


def test_absent_users_and_sessions_do_not_match_each_other() -> None:
    click = any_click(user=None, session=None)
    assert attributed([click], any_purchase(user=None, session=None)) is None


def test_the_named_click_goes_first() -> None:
    clicks = [any_click(click_id="named", advertiser="y", user=None), any_click(click_id="last", at=hours(0.9))]
    assert attributed(clicks, any_purchase(click_id="named")) == "named"


def test_a_named_click_that_is_unknown_or_too_old_is_ignored() -> None:
    clicks = [any_click(click_id="old", at=hours(-30)), any_click(click_id="last", at=hours(0.9))]
    assert attributed(clicks, any_purchase(click_id="never seen")) == "last"
    assert attributed(clicks, any_purchase(click_id="old")) == "last"


def test_a_click_counts_whatever_its_verdict_was() -> None:
    verdicts = clicks_of(any_click()).with_columns(decision=pl.lit("INVALID"))
    assert attribute(verdicts, purchases_of(any_purchase())).tolist() == [0]


def test_a_purchase_makes_at_most_one_click_human() -> None:
    clicks = clicks_of(*(any_click(click_id=f"c{i}", at=hours(i / 10)) for i in range(5)))
    found = label(clicks, purchases_of(any_purchase()), until=hours(72), rfm_high=16)
    assert found.purchased.tolist() == [False] * 4 + [True]
    assert found.label.tolist() == [1, 1, 1, 1, 0]


def brute_force(clicks: pl.DataFrame, purchases: pl.DataFrame) -> list[int]:
    rows = list(clicks.iter_rows(named=True))
    found = []
    for p in purchases.iter_rows(named=True):
        near = [i for i, c in enumerate(rows) if p["at"] - WINDOW <= c["at"] <= p["at"]]
        goods = [
            i for i in near
            if (p["advertiser"] is not None and rows[i]["advertiser"] == p["advertiser"])
            or (p["item"] is not None and rows[i]["ad"] == p["item"])
        ]  # fmt: skip
        tiers = (
            [i for i in near if p["click_id"] is not None and rows[i]["click_id"] == p["click_id"]],
            [i for i in goods if p["user_token"] is not None and rows[i]["user_token"] == p["user_token"]],
            [i for i in goods if p["session_token"] is not None and rows[i]["session_token"] == p["session_token"]],
        )
        best = next((tier for tier in tiers if tier), [])
        found.append(max(best, key=lambda i: (rows[i]["at"], rows[i]["click_id"]), default=-1))
    return found


@pytest.mark.parametrize("seed", range(25))
def test_attribution_equals_brute_force_on_random_logs(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def one(*values: str | None) -> str | None:
        return values[rng.integers(len(values))]

    n = int(rng.integers(0, 40))
    ids = rng.permutation(n)
    clicks = clicks_of(*(
        any_click(click_id=f"c{i:02}", at=hours(float(rng.integers(0, 60))), user=one("u", "v", None),
                  session=one("s", "t", None), advertiser=one("x", "y"), ad=one("i", "j", None))
        for i in ids
    ))  # fmt: skip
    purchases = purchases_of(*(
        any_purchase(at=hours(float(rng.integers(0, 80))), user=one("u", "v", None),
                     session=one("s", "t", None), advertiser=one("x", "y", None), item=one("i", "j", None),
                     click_id=one(None, None, "c01", "c77"))
        for _ in range(int(rng.integers(0, 20)))
    ))  # fmt: skip
    assert attribute(clicks, purchases).tolist() == brute_force(clicks, purchases)


def test_every_click_says_which_rule_labelled_it() -> None:
    buys = [
        any_purchase(order_id=f"o{i}", user="loyal", at=hours(i), advertiser="z", amount_micros=10**9) for i in range(5)
    ]
    once = [any_purchase(order_id=f"p{i}", user=f"once{i}", at=hours(-50), advertiser="z") for i in range(9)]
    clicks = clicks_of(
        any_click(click_id="bought"),
        any_click(click_id="loyal", user="loyal"),
        any_click(click_id="nothing", user=None, session="t"),
        any_click(click_id="crawler", givt=True, user=None, session=None),
        any_click(click_id="young", at=hours(24), user="v"),
    )
    found = label(clicks, purchases_of(any_purchase(), *buys, *once), until=hours(48))
    assert found.rule.tolist() == [
        LabelRule.PURCHASE,
        LabelRule.RFM,
        LabelRule.NO_EVIDENCE,
        LabelRule.GIVT,
        LabelRule.IMMATURE,
    ]
    assert found.label[:3].tolist() == [0, 0, 1]
    assert found.in_training.tolist() == [True, True, True, False, False]


def test_a_click_is_mature_only_when_its_whole_window_is_known() -> None:
    found = label(clicks_of(any_click()), purchases_of(any_purchase(at=hours(24))), until=hours(24))
    assert found.rule.tolist() == [LabelRule.IMMATURE]
    found = label(clicks_of(any_click()), purchases_of(any_purchase(at=hours(24))), until=hours(24.001))
    assert found.rule.tolist() == [LabelRule.PURCHASE]


def test_purchases_that_are_not_known_yet_label_nothing() -> None:
    found = label(
        clicks_of(any_click()), purchases_of(any_purchase(at=hours(20))), until=hours(10), window=dt.timedelta(hours=5)
    )
    assert found.rule.tolist() == [LabelRule.NO_EVIDENCE]


def test_rfm_scores_are_quintiles_within_each_currency() -> None:
    orders = [
        any_purchase(user=f"u{i}", at=hours(i), currency=currency, amount_micros=(i + 1) * scale)
        for i, (currency, scale) in enumerate([("USD", 1), ("JPY", 150)] * 5)
    ]
    scores = rfm_scores(purchases_of(*orders), until=hours(100)).sort("user_token")
    assert scores["recency"].to_list() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert scores["frequency"].to_list() == [1] * 10
    assert scores["rfm"].min() >= 3
    assert scores["rfm"].max() <= 15


def test_fixed_cut_points_score_an_account_whatever_others_do() -> None:
    cuts = RfmCuts(recency_days=(4, 3, 2, 1), frequency=(2, 3, 4, 5), monetary=(1, 2, 3, 4))
    mine = [any_purchase(user="mine", at=hours(24.0 * i), amount_micros=10) for i in range(3)]
    others = [any_purchase(user=f"u{i}", at=hours(i), amount_micros=10) for i in range(20)]
    for orders in (mine, mine + others):
        scores = rfm_scores(purchases_of(*orders), until=hours(72.5), cuts=cuts).filter(pl.col("user_token") == "mine")
        assert scores.select("recency", "frequency", "monetary").row(0) == (4, 3, 4)
    assert rfm_scores(purchases_of(*mine), until=hours(72), cuts=cuts)["recency"].to_list() == [5]  # reached: a day


def test_orders_without_an_amount_are_all_alike() -> None:
    orders = [any_purchase(user=f"u{i % 3}", amount_micros=0) for i in range(9)]
    assert rfm_scores(purchases_of(*orders), until=hours(100))["monetary"].to_list() == [1, 1, 1]


def test_labels_of_an_empty_log_are_empty() -> None:
    found = label(clicks_of(), purchases_of(), until=hours(48))
    assert len(found.label) == len(found.rule) == len(found.purchased) == 0
