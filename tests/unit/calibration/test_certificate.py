from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidr.metrics import Rate
from training.calibration.certificate import Certificate, buyers_needed, certify, upper_bound
from training.calibration.folds import certifies, drawn, person_of


@given(st.integers(1, 2_000), st.data(), st.sampled_from([0.01, 0.05, 0.2]))
def test_the_bound_is_where_so_few_wrong_have_probability_delta(total: int, data: st.DataObject, delta: float) -> None:
    count = data.draw(st.integers(0, min(total - 1, 40)))
    bound = upper_bound(count, total, delta=delta)

    log_terms = [
        math.lgamma(total + 1) - math.lgamma(i + 1) - math.lgamma(total - i + 1)
        + i * math.log(bound) + (total - i) * math.log1p(-bound)
        for i in range(count + 1)
    ]  # fmt: skip
    assert math.fsum(math.exp(term) for term in log_terms) == pytest.approx(delta, rel=1e-6)


@pytest.mark.parametrize(("budget", "needed"), [(0.01, 299), (0.001, 2_995), (0.02, 149)])
def test_says_how_many_buyers_it_needs(budget: float, needed: int) -> None:
    assert buyers_needed(budget) == needed
    assert upper_bound(0, needed) <= budget < upper_bound(0, needed - 1)
    few = Certificate(budget=budget, delta=0.05, clicks_per_buyer=1, counted=Rate(count=0, total=needed - 1),
                      by_click=Rate(count=0, total=needed - 1), beyond=0)  # fmt: skip
    assert (few.certified, few.says) == (False, f"needs {needed}, has {needed - 1}")


def test_says_why_enough_buyers_do_not_certify() -> None:
    wrong = np.arange(1_000) < 9
    people, clicks = [f"user {i}" for i in range(1_000)], [f"{i}" for i in range(1_000)]
    certificate = certify(wrong, buyer=people, click_id=clicks, budget=0.01)

    assert certificate.by_click.value == 0.009
    assert not certificate.certified
    assert certificate.says == "not certified: the bound is 1.565%, the budget 1.000%"
    assert certify(wrong, buyer=people, click_id=clicks, budget=0.02).says == "certified"


def test_every_buyer_has_one_vote() -> None:
    buyer = ["user a"] * 50 + [f"user {i}" for i in range(100)]
    wrong = np.array([True] * 50 + [False] * 100)

    certificate = certify(wrong, buyer=buyer, click_id=[f"{i}" for i in range(150)], budget=0.1)

    assert (certificate.counted.count, certificate.counted.total) == (1, 101)
    assert (certificate.by_click.count, certificate.beyond) == (50, 49)


def test_no_purchases_certify_nothing() -> None:
    certificate = certify(np.zeros(0, dtype=np.bool_), buyer=[], click_id=[], budget=0.01)

    assert (certificate.bound, certificate.says) == (1.0, "needs 299, has 0")


@pytest.mark.parametrize(
    "wrong", [{"budget": 0.0}, {"budget": 0.1, "delta": 1.0}, {"budget": 0.1, "clicks_per_buyer": 0}]
)
def test_refuses_settings_that_mean_nothing(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be in"):
        certify(np.zeros(1, dtype=np.bool_), buyer=["user a"], click_id=["c"], **wrong)  # type: ignore[arg-type]


MOST = 4
"""Purchasing clicks of the busiest buyers below."""


def bounds_on_clustered_buyers(worlds: int, *, clicks_per_buyer: int | None) -> tuple[np.ndarray, float, float]:
    """Upper bounds from independent folds of 400 buyers whose purchasing clicks are all wrong or all right.

    Buyers of many clicks are the wrong ones more often, so that votes by buyer and by click differ. `None` takes every
    click for itself. Returns the bounds, the true FPR by buyer and by click.
    """
    draw = np.random.default_rng(20_261_125)
    sizes, share = np.arange(1, MOST + 1), np.array([0.55, 0.2, 0.15, 0.1])
    wrong_given_size = np.array([0.01, 0.02, 0.04, 0.12])
    bounds = np.empty(worlds)
    for world in range(worlds):
        size = draw.choice(sizes, p=share, size=400)
        is_wrong = draw.random(400) < wrong_given_size[size - 1]
        buyer = np.repeat(np.arange(400), size)
        if clicks_per_buyer is None:
            bounds[world] = upper_bound(int((is_wrong * size).sum()), int(size.sum()))
            continue
        certificate = certify(
            is_wrong[buyer],
            buyer=[f"user {world} {b}" for b in buyer],
            click_id=[f"{world} {i}" for i in range(len(buyer))],
            budget=0.01,
            clicks_per_buyer=clicks_per_buyer,
        )
        bounds[world] = certificate.bound
    by_buyer = float(share @ wrong_given_size)
    by_click = float((share * sizes) @ wrong_given_size / (share @ sizes))
    return bounds, by_buyer, by_click


def test_the_bound_holds_for_the_fpr_by_buyer_as_often_as_it_says() -> None:
    bounds, by_buyer, _ = bounds_on_clustered_buyers(500, clicks_per_buyer=1)

    holds = (bounds >= by_buyer).mean()
    assert holds + 3 * math.sqrt(0.05 * 0.95 / 500) >= 0.95
    assert holds <= 0.99, "a bound that never fails is not tight"


def test_the_bound_holds_for_the_fpr_by_click_where_all_clicks_of_a_buyer_may_count() -> None:
    bounds, _, by_click = bounds_on_clustered_buyers(500, clicks_per_buyer=MOST)

    holds = (bounds >= by_click).mean()
    assert holds + 3 * math.sqrt(0.05 * 0.95 / 500) >= 0.95
    assert holds <= 0.99


def test_a_binomial_bound_over_clicks_would_claim_too_much() -> None:
    bounds, _, by_click = bounds_on_clustered_buyers(500, clicks_per_buyer=None)

    assert (bounds >= by_click).mean() < 0.93


def test_all_clicks_of_a_person_fall_into_one_fold() -> None:
    rows = pl.DataFrame(
        {
            "user_token": ["u", "u", None, None, None, None],
            "session_token": ["s", "t", "s", "s", None, None],
            "click_id": ["a", "b", "c", "d", "e", "u"],
        }
    )
    people = person_of(rows)

    assert people.to_list() == ["user u", "user u", "session s", "session s", "click e", "click u"]
    fold = certifies(people, share=0.5)
    assert fold[0] == fold[1]
    assert fold[2] == fold[3]
    assert certifies(people.reverse(), share=0.5).tolist() == fold[::-1].tolist()


def test_a_fold_has_its_share_of_people_and_purposes_are_independent() -> None:
    people = pl.Series([f"user {i}" for i in range(4_000)])
    fold = certifies(people, share=0.3)

    assert fold.mean() == pytest.approx(0.3, abs=0.03)
    counted = drawn(people.to_list(), purpose="count")
    assert counted[fold].mean() == pytest.approx(0.5, abs=0.03)
    assert certifies(people, share=0.0).sum() == 0
