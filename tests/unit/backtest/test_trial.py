from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from slidr.features import FEATURE_COUNT, FEATURE_INDEX
from tests.backtest_world import SETTINGS, small_backtest, small_log
from training.backtest.evidence import evidence_of
from training.backtest.plan import BacktestImpossible
from training.backtest.trial import Log, backtest
from training.curves import ALL


def test_what_is_judged_comes_after_all_that_trains_and_chooses() -> None:
    parts, plan = small_backtest().parts, small_backtest().plan

    assert [part.name for part in parts] == ["train", "stop", "choose", "judge"]
    for earlier, later in pairwise(parts):
        assert earlier.last <= later.first
    assert parts[2].last < plan.split - plan.window
    assert plan.split <= parts[3].first
    assert parts[3].last < plan.until - plan.window


def test_thresholds_know_nothing_of_what_came_after_the_split() -> None:
    split, log = small_backtest().plan.split, small_log()
    kept = pl.col("at") < split
    fewer = log.purchases.filter(kept | (pl.int_range(pl.len()) % 3 == 0))
    other = backtest(
        Log(clicks=log.clicks, purchases=fewer), replace(SETTINGS, baselines=(), window=small_backtest().plan.window)
    )

    assert {one.name: one.threshold for one in other.slices} == {
        one.name: one.threshold for one in small_backtest().slices
    }
    assert other.parts[:3] == small_backtest().parts[:3]
    assert other.parts[3].purchasing < small_backtest().parts[3].purchasing


def test_slices_and_advertisers_add_up_to_all_traffic() -> None:
    result = small_backtest()
    ours = result.overall.realised

    for rate in ("ivr", "fpr", "coverage"):
        whole = getattr(ours, rate).rate
        each = [getattr(one.realised, rate).rate for one in result.slices]
        assert (sum(one.count for one in each), sum(one.total for one in each)) == (whole.count, whole.total)
    assert ours.ivr.rate.count > 0
    assert ours.ivr.low < ours.ivr.rate.value < ours.ivr.high
    not_billed = sum(bill.not_billed for bill in result.bills)
    assert not_billed == result.reasons.listed + result.reasons.behaviour
    later = small_log().clicks.filter(pl.col("at") >= result.plan.split)
    assert sum(bill.clicks for bill in result.bills) == len(later)
    assert sum(bill.cost_micros for bill in result.bills) == later["cost_micros"].sum()
    assert all(0 <= bill.not_billed_micros <= bill.cost_micros for bill in result.bills)


def test_scorers_are_compared_at_equal_fpr() -> None:
    sliced, network, *others = small_backtest().contenders

    assert [one.name for one in others] == list(SETTINGS.baselines)
    for one in (network, *others):
        assert one.at is not None
        for stated, fpr in zip(small_backtest().stated, one.at.fpr, strict=True):
            assert fpr.value <= stated < fpr.value + 1 / fpr.total
    assert network.at is not None
    rule = others[0]
    assert rule.at is not None
    for i, stated in enumerate(small_backtest().stated):
        ahead, low, high = rule.behind[stated]
        assert ahead == pytest.approx(network.at.values(ALL)[i] - rule.at.values(ALL)[i])
        assert low <= high
    # One threshold for all is among the choices by slice, but for the slice that is lowered to a whole vertex.
    assert sliced.by_slice[0.05].value >= network.at.values(ALL)[-1] - 0.02


def test_of_simulated_traffic_it_tells_whom_the_verdicts_met() -> None:
    families = small_backtest().families
    known, share = families["named_crawler"]

    assert known
    assert share.rate.value == 1.0  # by the list
    assert share.low < share.high == 1.0
    assert not families["desktop_shopper"][0]
    later = small_log().clicks.filter(pl.col("at") >= small_backtest().plan.split)
    assert sum(share.rate.total for _, share in families.values()) == len(later)


def test_refuses_purchases_that_no_click_led_to() -> None:
    strangers = small_log().purchases.with_columns(
        pl.lit("1.ffff").alias("user_token"), pl.lit(None, pl.String).alias("session_token"),
        pl.lit(None, pl.String).alias("click_id"),
    )  # fmt: skip
    with pytest.raises(BacktestImpossible, match="name people and goods alike"):
        backtest(Log(clicks=small_log().clicks, purchases=strangers), SETTINGS)


def test_refuses_a_log_with_a_part_without_purchases() -> None:
    log, split = small_log(), small_backtest().plan.split
    early = log.purchases.filter(pl.col("at") < split)
    with pytest.raises(BacktestImpossible, match=r"judge: [\d,]+ with 0"):
        backtest(Log(clicks=log.clicks, purchases=early), replace(SETTINGS, window=small_backtest().plan.window))


class CountsUsers:
    """Scores by one feature alone."""

    backend = "fake"

    def score(self, features: np.ndarray) -> np.ndarray:
        return (features[:, FEATURE_INDEX["ip.users_24h"]] / 100).astype(np.float32)


def test_evidence_names_the_feature_that_the_scores_hang_on() -> None:
    features = np.ones((300, FEATURE_COUNT), dtype=np.float32)
    features[:100, FEATURE_INDEX["ip.users_24h"]] = 80
    features[:50, FEATURE_INDEX["ip.n_24h"]] = 900
    invalid = np.arange(300) < 100
    groups, single = evidence_of(
        features, np.full(300, 0.5, np.float32), CountsUsers(), invalid=invalid, valid=~invalid
    )

    assert [(one.name, one.turned) for one in single] == [("distinct users of the IP in 24 h", 1.0)]
    assert (single[0].among_invalid, single[0].among_valid) == (80, 1)
    assert [one.name for one in groups] == ["what the IP did"]


def test_nothing_invalid_needs_no_evidence() -> None:
    nobody = np.zeros(3, dtype=np.bool_)
    features = np.ones((3, FEATURE_COUNT), dtype=np.float32)
    assert evidence_of(features, np.ones(3, np.float32), CountsUsers(), invalid=nobody, valid=~nobody) == ((), ())
