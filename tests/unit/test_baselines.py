from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from scipy.optimize import check_grad, minimize

from tests.backtest_world import small_log
from training import baselines
from training.baselines import BASELINES, BaselineUnavailable, _inputs, _newton, fit_lightgbm, fit_logistic
from training.dataset import build_dataset, feature_matrix
from training.mlp_weights import standardisation
from training.scoring import Scorer
from training.stopping import mean_ivr
from training.weights import weights_of_rows

Fit = Callable[[pl.DataFrame, np.ndarray, pl.DataFrame], Scorer]


@pytest.fixture(scope="module")
def days() -> tuple[pl.DataFrame, np.ndarray, pl.DataFrame]:
    """Rows that train, their weights, and later rows."""
    log = small_log()
    until = log.clicks["at"].max() + dt.timedelta(days=1)  # type: ignore[operator]
    rows = build_dataset(log.clicks, log.purchases, until=until).filter(pl.col("rule") != "givt")
    train, later = rows[:3_500], rows[3_500:]
    weights = weights_of_rows(
        *(train[name].to_numpy() for name in ("hour_of_week", "logged_in", "label")), scheme="raked"
    )
    return train, weights.astype(np.float32), later


@pytest.mark.parametrize("fit", BASELINES.values(), ids=BASELINES)
def test_scores_are_what_a_scorer_gives_and_the_same_for_the_same_rows(
    fit: Fit, days: tuple[pl.DataFrame, np.ndarray, pl.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "MOST_TREES", 25)
    features = feature_matrix(days[2])
    scorer, again = fit(*days), fit(*days)
    scores = scorer.score(features)

    assert scores.dtype == np.float32
    assert scores.shape == (len(features),)
    assert 0 <= scores.min() < scores.max() <= 1
    assert np.array_equal(scorer.score(features[5:9]), scores[5:9])
    assert np.array_equal(again.score(features), scores)
    assert mean_ivr(scores, days[2]["purchased"].to_numpy()) > 0.02  # twice a random ranking's


def test_logistic_regression_is_at_its_optimum(days: tuple[pl.DataFrame, np.ndarray, pl.DataFrame]) -> None:
    train, weights = days[0], days[1].astype(np.float64)
    raw, labels = feature_matrix(train), train["label"].to_numpy().astype(np.float64)
    mean, scale = standardisation(raw)
    x, ridge = _inputs(raw, mean, scale), 1e-3

    def loss(w: np.ndarray) -> float:
        logits = x @ w
        each = np.logaddexp(0.0, logits) - labels * logits
        return float(weights @ each / weights.sum() + ridge / 2 * (w[:-1] @ w[:-1]))

    ours = _newton(raw, labels, weights, mean, scale, ridge=ridge, start=np.zeros(x.shape[1]))
    theirs = minimize(loss, np.zeros(x.shape[1]), method="L-BFGS-B", options={"maxiter": 60, "maxfun": 9_000})

    assert loss(ours) <= theirs.fun + 1e-6
    assert check_grad(loss, np.zeros_like, ours) < 1e-4


def test_logistic_regression_sees_what_the_network_sees(days: tuple[pl.DataFrame, np.ndarray, pl.DataFrame]) -> None:
    torch = pytest.importorskip("torch")
    from training.model import Mlp  # noqa: PLC0415 - torch

    raw = feature_matrix(days[0])
    mean, scale = standardisation(raw)
    with torch.no_grad():
        theirs = Mlp(mean, scale).standardise(torch.from_numpy(raw)).numpy()
    np.testing.assert_allclose(_inputs(raw, mean, scale)[:, :-1], theirs, atol=2e-4)


def test_the_penalty_is_the_one_that_validates_best(
    days: tuple[pl.DataFrame, np.ndarray, pl.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    features, purchased = feature_matrix(days[2]), days[2]["purchased"].to_numpy()

    def validated(ridges: tuple[float, ...]) -> float:
        monkeypatch.setattr(baselines, "RIDGES", ridges)
        return mean_ivr(fit_logistic(*days).score(features), purchased)

    alone = {ridge: validated((ridge,)) for ridge in (1e-4, 1.0)}
    assert alone[1e-4] != alone[1.0]
    assert validated((1e-4, 1.0)) == pytest.approx(max(alone.values()), abs=2e-3)


def test_says_how_to_get_lightgbm_where_it_lacks(
    days: tuple[pl.DataFrame, np.ndarray, pl.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(BaselineUnavailable, match="pip install"):
        fit_lightgbm(*days)
