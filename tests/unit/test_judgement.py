from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest

from training.dataset import busiest_hour
from training.expected_ivr import expected_ivr
from training.judgement import area_under_roc, judge, judge_verdicts

START = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)
INSTANT = pl.Datetime("ms", "UTC")


def test_counts_each_measure_on_its_own_clicks() -> None:
    found = judge(
        np.array([True, True, False, True, False, True]),
        givt=np.array([False, False, False, False, False, True]),
        purchased=np.array([True, False, True, False, False, False]),
        session_clicks_1h=np.array([2, 40, 2, 40, 40, 40]),
        family=pl.Series(["shopper", "fast", "shopper", "fast", "fast", "crawler"]),
        robot=np.array([False, True, False, True, True, True]),
    )
    assert (found.ivr.count, found.ivr.total) == (4, 6)
    assert (found.fpr.count, found.fpr.total) == (1, 2)
    assert (found.true_fpr.count, found.true_fpr.total) == (1, 2)
    assert (found.coverage.count, found.coverage.total) == (2, 3)
    assert (found.recall.count, found.recall.total) == (2, 3)
    assert (found.precision.count, found.precision.total) == (2, 3)
    assert {name: (r.count, r.total) for name, r in found.families.items()} == {
        "shopper": (1, 2), "fast": (2, 3), "crawler": (1, 1),
    }  # fmt: skip


def test_joins_verdicts_to_the_truth_by_click_id_in_any_order() -> None:
    clicks = pl.DataFrame(
        {"click_id": ["a", "b", "c"], "at": [START] * 3, "user_token": ["u", None, None], "advertiser": ["x"] * 3,
         "session_token": ["s", "r", "r"], "ad": ["i"] * 3},
        schema_overrides={"at": INSTANT},
    )  # fmt: skip
    purchases = pl.DataFrame(
        {"at": [START + dt.timedelta(minutes=1)], "user_token": ["u"], "session_token": [None], "advertiser": ["x"],
         "item": [None], "click_id": [None]},
        schema_overrides={"at": INSTANT},
    )  # fmt: skip
    truth = pl.DataFrame(
        {"click_id": ["c", "a", "b"], "family": ["fast", "shopper", "fast"], "robot": [True, False, True]}
    )
    verdicts = pl.DataFrame({"click_id": ["b", "a"], "invalid": [True, False], "givt": [False, False]})
    found = judge_verdicts(clicks, purchases, truth=truth, verdicts=verdicts)
    assert (found.ivr.count, found.ivr.total) == (1, 3)
    assert (found.fpr.count, found.fpr.total) == (0, 1)
    assert (found.recall.count, found.recall.total) == (1, 2)


@pytest.mark.parametrize("seed", range(5))
def test_area_under_roc_is_the_share_of_pairs_ranked_right(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, positive = rng.integers(0, 9, 200) / 9.0, rng.random(200) < 0.3
    difference = scores[positive][:, None] - scores[~positive][None, :]
    assert area_under_roc(scores, positive) == pytest.approx(((difference > 0) + 0.5 * (difference == 0)).mean())


def test_area_under_roc_of_one_class_is_not_a_number() -> None:
    assert np.isnan(area_under_roc(np.ones(3), np.ones(3, dtype=np.bool_)))


@pytest.mark.parametrize("seed", range(5))
def test_busiest_hour_equals_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    at = rng.integers(0, 4 * 3_600_000, 80)
    session = [None if rng.random() < 0.2 else f"s{rng.integers(3)}" for _ in at]
    clicks = pl.DataFrame({"at": at, "session_token": session}, schema_overrides={"at": INSTANT})

    def most(name: str | None) -> int:
        mine = [int(a) for a, s in zip(at, session, strict=True) if s == name and s is not None]
        return max((sum(t - 3_600_000 < other <= t for other in mine) for t in mine), default=0)

    assert busiest_hour(clicks).tolist() == [most(name) for name in session]


def test_expected_ivr_follows_the_hours_that_were_seen() -> None:
    hour = np.repeat(np.arange(24), 2_000)
    invalid = np.where(hour < 6, np.arange(48_000) % 2 == 0, np.arange(48_000) % 10 == 0)
    expected = expected_ivr(invalid, hour)
    assert expected[3] == pytest.approx(0.5, abs=0.05)
    assert expected[12] == pytest.approx(0.1, abs=0.02)
    assert expected[24 * 5 + 3] == pytest.approx(expected[3], abs=0.05)
    assert len(expected) == 168
