from __future__ import annotations

import numpy as np
import pytest

from slidr.features import FEATURE_COUNT, FEATURE_INDEX
from training.explain import explain
from training.mlp_weights import Floats, MlpWeights, standardisation
from training.model import Mlp
from training.scoring import open_scorer


@pytest.fixture(scope="module")
def rows() -> Floats:
    return np.random.default_rng(3).gamma(0.3, 50.0, size=(500, FEATURE_COUNT)).astype(np.float32)


@pytest.fixture(scope="module")
def weights(rows: Floats) -> MlpWeights:
    return Mlp(*standardisation(rows), seed=1).to_weights()


def test_parts_add_up_to_the_score(rows: Floats, weights: MlpWeights) -> None:
    scores = open_scorer(weights, "cpu").score(rows[:20])
    for row, score in zip(rows[:20], scores, strict=True):
        told = explain(row.tolist(), weights)
        assert 1 / (1 + np.exp(-told.logit)) == pytest.approx(score, abs=1e-5)
        assert abs(told.gap) < 0.01 * max(1.0, sum(abs(part.moved) for part in told.parts))
        assert len(told.parts) == FEATURE_COUNT


def test_names_the_feature_that_alone_differs(weights: MlpWeights) -> None:
    average = np.where(weights.log1p, np.expm1(weights.mean.astype(np.float64)), weights.mean)
    average[FEATURE_INDEX["ip.n_10s"]] += 500
    told = explain(average.tolist(), weights)
    assert told.parts[0].feature == "ip.n_10s"
    assert told.parts[0].moved == pytest.approx(told.logit - told.average_logit, abs=1e-3)


def test_puts_the_strongest_first(rows: Floats, weights: MlpWeights) -> None:
    moved = [abs(part.moved) for part in explain(rows[0].tolist(), weights).parts]
    assert moved == sorted(moved, reverse=True)
