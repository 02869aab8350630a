"""Rates and their intervals, against brute force and a library."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidr.metrics import Rate, false_positive_rate, invalidation_rate, robotic_coverage


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 30)), max_size=60))
def test_rates_agree_with_counting_by_hand(clicks: list[tuple[bool, bool, int]]) -> None:
    invalid = np.array([c[0] for c in clicks], dtype=bool)
    purchasing = np.array([c[1] for c in clicks], dtype=bool)
    session_clicks = np.array([c[2] for c in clicks], dtype=np.int64)

    assert invalidation_rate(invalid) == Rate(count=sum(c[0] for c in clicks), total=len(clicks))
    assert false_positive_rate(invalid, purchasing) == Rate(
        count=sum(c[0] and c[1] for c in clicks), total=sum(c[1] for c in clicks)
    )
    assert robotic_coverage(invalid, session_clicks, k=10) == Rate(
        count=sum(c[0] for c in clicks if c[2] > 10), total=sum(c[2] > 10 for c in clicks)
    )


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_solves_the_score_equation(counts: tuple[int, int]) -> None:
    rate = Rate(count=counts[0], total=counts[1])

    for bound in rate.interval:
        if 0 < bound < 1:  # the score test of p = bound lies exactly at z = 1.96
            z = (rate.value - bound) / math.sqrt(bound * (1 - bound) / rate.total)
            assert abs(z) == pytest.approx(1.959963984540054, rel=1e-6)
    low, high = rate.interval
    assert 0 <= low <= rate.value <= high <= 1


def test_a_rate_of_nothing_is_not_a_number() -> None:
    rate = Rate(count=0, total=0)

    assert math.isnan(rate.value)
    assert all(math.isnan(bound) for bound in rate.interval)
