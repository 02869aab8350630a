"""What a network must beat: logistic regression, a velocity rule, and gradient-boosted trees (LightGBM).

Each is fitted on the rows and weights of the network, and scores as training.scoring.Scorer does: raw features in,
float32 in [0, 1] out, robotic upwards. The validation rows stop or choose, as they do for the network, by the mean IVR
at small FPR (training.stopping.mean_ivr).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from slidr.errors import SlidrError
from slidr.features import FEATURE_INDEX
from training.dataset import feature_matrix
from training.mlp_weights import CLIP, Floats, log1p_mask, standardisation
from training.scoring import Scorer
from training.stopping import mean_ivr

RIDGES: Final = (1e-5, 1e-4, 1e-3, 1e-2)
"""Penalties that logistic regression may choose from: L2 on standardised weights, a click's mean loss being 1."""
_NEWTON_STEPS: Final = 30
_TOLERANCE: Final = 1e-8
_ROWS_AT_ONCE: Final = 131_072

LEAVES: Final = 31
TREE_RATE: Final = 0.05
MOST_TREES: Final = 600
TREE_PATIENCE: Final = 60


class BaselineUnavailable(SlidrError):
    """A baseline needs a package that is not installed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Logistic:
    """Logistic regression on the network's own standardised inputs."""

    mean: Floats
    scale: Floats
    weight: NDArray[np.float64]
    """Shape (features + 1,), the intercept last."""
    backend: str = "logistic regression"

    def score(self, features: Floats) -> Floats:
        """See training.scoring.Scorer."""
        scores = np.empty(len(features), dtype=np.float32)
        for start in range(0, len(features), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            scores[rows] = _sigmoid(_inputs(features[rows], self.mean, self.scale) @ self.weight)
        return scores


@dataclass(frozen=True, slots=True, kw_only=True)
class VelocityRule:
    """The heuristic that most sites begin with: many clicks of one IP and user agent in the hour are a robot's.

    Where a click has neither, its user's clicks count, else its session's. Nothing is fitted.
    """

    backend: str = "velocity rule"

    def score(self, features: Floats) -> Floats:
        """See training.scoring.Scorer: n / (n + 1) of n clicks in the hour before.

        >>> from slidr.features import FEATURE_COUNT
        >>> rows = np.zeros((2, FEATURE_COUNT), dtype=np.float32)
        >>> rows[:, FEATURE_INDEX["device_fp.present"]], rows[0, FEATURE_INDEX["device_fp.n_1h"]] = 1, 3
        >>> VelocityRule().score(rows).tolist()
        [0.75, 0.0]
        """
        clicks = np.zeros(len(features), dtype=np.float32)
        for entity in ("session", "user", "device_fp"):
            present = features[:, FEATURE_INDEX[f"{entity}.present"]] > 0
            clicks = np.where(present, features[:, FEATURE_INDEX[f"{entity}.n_1h"]], clicks)
        return np.asarray(clicks / (clicks + np.float32(1.0)), dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trees:
    """LightGBM's booster, cut at its best iteration."""

    booster: Any
    trees: int
    threads: int
    backend: str

    def score(self, features: Floats) -> Floats:
        """See training.scoring.Scorer."""
        scores = self.booster.predict(features, num_iteration=self.trees, num_threads=self.threads)
        return np.asarray(scores, dtype=np.float32)


def fit_logistic(rows: pl.DataFrame, weights: Floats, validation: pl.DataFrame) -> Scorer:
    """Logistic regression by Newton's method, with the penalty that does best on the validation rows.

    Args:
        rows: of a dataset, of both labels.
        weights: of the rows, float32, shape (rows,).
        validation: later rows.
    """
    raw = feature_matrix(rows)
    mean, scale = standardisation(raw)
    labels = rows["label"].to_numpy().astype(np.float64)
    later, purchased = feature_matrix(validation), validation["purchased"].to_numpy()
    weight = np.zeros(raw.shape[1] + 1)
    fitted = []
    for ridge in sorted(RIDGES, reverse=True):  # from the heaviest on, each begins where the one before ended
        weight = _newton(raw, labels, weights.astype(np.float64), mean, scale, ridge=ridge, start=weight)
        named = f"logistic regression, ridge {ridge:g}"
        fitted.append(Logistic(mean=mean, scale=scale, weight=weight, backend=named))
    return max(fitted, key=lambda one: mean_ivr(one.score(later), purchased))


def fit_velocity_rule(_rows: pl.DataFrame, _weights: Floats, _validation: pl.DataFrame) -> Scorer:
    """The velocity rule, in the form of the others."""
    return VelocityRule()


def fit_lightgbm(
    rows: pl.DataFrame, weights: Floats, validation: pl.DataFrame, *, seed: int = 7, threads: int = 1
) -> Scorer:
    """Gradient-boosted trees, as many as do best on the validation rows.

    Args:
        rows: of a dataset, of both labels.
        weights: of the rows, float32, shape (rows,).
        validation: later rows.
        seed: equal seeds and threads give equal trees.
        threads: of LightGBM.

    Raises:
        BaselineUnavailable: LightGBM is not installed.
    """
    try:
        import lightgbm  # noqa: PLC0415 - for comparisons only: no release needs it
    except ImportError as failure:
        raise BaselineUnavailable(
            "the LightGBM baseline needs the package lightgbm, which is not installed: pip install "
            "--constraint constraints.txt lightgbm, or leave the baseline out."
        ) from failure
    purchased = validation["purchased"].to_numpy()
    train = lightgbm.Dataset(feature_matrix(rows), label=rows["label"].to_numpy(), weight=weights)
    later = lightgbm.Dataset(feature_matrix(validation), label=validation["label"].to_numpy(), reference=train)

    def stopping(scores: NDArray[np.float64], _: Any) -> tuple[str, float, bool]:
        return "mean_ivr", mean_ivr(scores.astype(np.float32), purchased), True

    booster = lightgbm.train(
        {
            "objective": "binary", "metric": "none", "num_leaves": LEAVES, "learning_rate": TREE_RATE, "seed": seed,
            "num_threads": threads, "deterministic": True, "force_row_wise": True, "verbosity": -1,
        },
        train,
        num_boost_round=MOST_TREES,
        valid_sets=[later],
        feval=stopping,
        callbacks=[lightgbm.early_stopping(TREE_PATIENCE, verbose=False)],
    )  # fmt: skip
    trees = int(booster.best_iteration)
    return Trees(
        booster=booster, trees=trees, threads=threads, backend=f"lightgbm {lightgbm.__version__}, {trees} trees"
    )


BASELINES: Final = {
    "logistic regression": fit_logistic,
    "velocity rule": fit_velocity_rule,
    "LightGBM": fit_lightgbm,
}
"""By the name that tables show: (rows, weights, validation) -> Scorer."""


def _newton(
    raw: Floats,
    labels: NDArray[np.float64],
    weights: NDArray[np.float64],
    mean: Floats,
    scale: Floats,
    *,
    ridge: float,
    start: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The weights that minimise the weighted mean loss plus ridge / 2 of their squares, the intercept's left out."""
    weight, total, columns = start, weights.sum(), raw.shape[1] + 1
    penalty = np.full(columns, ridge)
    penalty[-1] = 0.0
    for _ in range(_NEWTON_STEPS):
        gradient, hessian = penalty * weight, np.diag(penalty + 1e-12)  # a constant column moves nothing
        for first in range(0, len(raw), _ROWS_AT_ONCE):
            rows = slice(first, first + _ROWS_AT_ONCE)
            x = _inputs(raw[rows], mean, scale)  # (rows, features + 1)
            p, w = _sigmoid(x @ weight), weights[rows] / total
            gradient = gradient + x.T @ (w * (p - labels[rows]))
            hessian = hessian + (x * (w * p * (1.0 - p))[:, None]).T @ x
        step = np.linalg.solve(hessian, gradient)
        weight = weight - step
        if float(gradient @ step) < _TOLERANCE:
            break
    return weight


def _inputs(raw: Floats, mean: Floats, scale: Floats) -> NDArray[np.float64]:
    """What the network's layers see, and a column of ones; float64, shape (rows, features + 1)."""
    logs = np.log1p(np.maximum(raw, 0.0), dtype=np.float64)
    values = np.where(log1p_mask(), logs, raw) - mean
    inverse = np.divide(1.0, scale, out=np.zeros(len(scale)), where=scale > 0)
    x = np.ones((len(raw), raw.shape[1] + 1))
    x[:, :-1] = np.clip(values * inverse, -CLIP, CLIP)
    return x


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 + 0.5 * np.tanh(0.5 * logits)  # overflows nowhere
