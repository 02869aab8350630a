from __future__ import annotations

import numpy as np
import pytest

from training.labels import UnusableTrainingData
from training.weights import (
    SCHEMES,
    Scheme,
    effective_sample_size,
    joint_weights,
    raked_weights,
    weights_of_rows,
)


def any_margins(seed: int = 1, rows: int = 20_000) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "hour": (24 * rng.random(rows) ** 2).astype(np.int64),
        "day": rng.integers(0, 7, rows),
        "logged_in": (rng.random(rows) < 0.3).astype(np.int64),
        "label": (rng.random(rows) < 0.85).astype(np.int64),
    }


def test_every_value_of_every_margin_carries_the_same_weight() -> None:
    margins = any_margins()
    weights = raked_weights(margins, cap=1e9)
    assert weights.mean() == pytest.approx(1.0)
    for codes in margins.values():
        totals = np.bincount(codes, weights=weights)
        np.testing.assert_allclose(totals, totals.mean(), rtol=1e-4)


def test_no_weight_exceeds_the_cap() -> None:
    margins = any_margins()
    margins["label"][:] = 1
    margins["label"][:20] = 0
    weights = raked_weights(margins, cap=10.0)
    assert raked_weights(margins, cap=1e9).max() > 100
    assert weights.max() == 10.0


def test_days_that_the_data_lacks_carry_nothing() -> None:
    weights = raked_weights({"day": np.array([0, 0, 0, 5])})
    np.testing.assert_allclose(weights, [2 / 3, 2 / 3, 2 / 3, 2.0])


def test_equal_weights_lose_no_sample_and_unequal_ones_do() -> None:
    assert effective_sample_size(np.full(50, 3.0)) == pytest.approx(50)
    assert effective_sample_size(np.array([1.0] * 49 + [100.0])) < 3


@pytest.mark.parametrize(
    "labels", [np.ones(10, dtype=np.int64), np.zeros(10, dtype=np.int64), np.empty(0, dtype=np.int64)]
)
def test_rows_of_one_class_are_refused(labels: np.ndarray) -> None:
    with pytest.raises(UnusableTrainingData, match="both labels"):
        raked_weights({"label": labels})


@pytest.mark.parametrize("scheme", SCHEMES)
def test_cells_give_the_weights_that_their_rows_would_get(scheme: Scheme) -> None:
    margins = any_margins(rows=5_000)
    weigh = {"raked": raked_weights, "joint": joint_weights}[scheme]
    hour_of_week = margins["day"] * 24 + margins["hour"]
    by_cell = weights_of_rows(hour_of_week, margins["logged_in"] == 1, margins["label"], scheme=scheme)
    np.testing.assert_allclose(by_cell, weigh(margins), rtol=1e-9)


def test_every_cell_carries_the_same_weight_under_the_joint_scheme() -> None:
    margins = any_margins()
    weights = joint_weights(margins, cap=1e9)
    cells = np.unique(np.stack(list(margins.values())), axis=1, return_inverse=True)[1].ravel()
    totals = np.bincount(cells, weights=weights)
    np.testing.assert_allclose(totals, totals.mean())
    assert weights.mean() == pytest.approx(1.0)
    assert joint_weights(margins, cap=3.0).max() == 3.0


def test_the_effective_sample_size_of_cells_is_that_of_their_rows() -> None:
    weights, counts = np.array([0.5, 2.0, 1.0]), np.array([40, 3, 7])
    assert effective_sample_size(weights, counts) == pytest.approx(effective_sample_size(np.repeat(weights, counts)))
