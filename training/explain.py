"""Which features moved a score, and how far: integrated gradients of the network's logit from the average click.

Along the straight line from the mean of training (all standardised features 0) to the click, each feature's part is its
distance times the mean slope of the logit in it. The parts add up to the logit of the click less that of the average
one, which `Explanation.gap` measures. For operators: it names features, which an advertiser must not learn to evade.
Source: Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", ICML 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slidr.features import FEATURE_NAMES
from training.mlp_weights import CLIP, MlpWeights

Doubles = NDArray[np.float64]
_STEPS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one feature did."""

    feature: str
    value: float
    """Raw, as serving sent it."""
    deviations: float
    """From the mean of training, in standard deviations of what enters the network; held in [-10, 10]."""
    moved: float
    """Of the logit: above 0 towards robot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The parts, the strongest first."""

    logit: float
    average_logit: float
    """Of the average click."""
    parts: tuple[Part, ...]

    @property
    def gap(self) -> float:
        """What the parts leave unexplained of the logit: an error of integration, near 0."""
        return self.logit - self.average_logit - sum(part.moved for part in self.parts)


def explain(features: Sequence[float], weights: MlpWeights) -> Explanation:
    """Explain the score of one click.

    Args:
        features: raw, as logged, length FEATURE_COUNT.
        weights: of the release that scored.
    """
    raw = np.asarray(features, dtype=np.float64)
    entered = np.where(weights.log1p, np.log1p(np.maximum(raw, 0.0)), raw)
    click = np.clip((entered - weights.mean) * weights.inverse_scale, -CLIP, CLIP)
    middles = (np.arange(_STEPS) + 0.5) / _STEPS
    slopes = _gradients(middles[:, None] * click, weights).mean(axis=0)
    moved = click * slopes
    order = np.argsort(-np.abs(moved), kind="stable")
    ends = _logits(np.stack([np.zeros_like(click), click]), weights)
    return Explanation(
        logit=float(ends[1]),
        average_logit=float(ends[0]),
        parts=tuple(
            Part(feature=FEATURE_NAMES[i], value=float(raw[i]), deviations=float(click[i]), moved=float(moved[i]))
            for i in order.tolist()
        ),
    )


def _hidden(points: Doubles, weights: MlpWeights) -> tuple[Doubles, Doubles]:
    first = np.maximum(points @ weights.first_weight.T.astype(np.float64) + weights.first_bias, 0.0)
    second = np.maximum(first @ weights.second_weight.T.astype(np.float64) + weights.second_bias, 0.0)
    return first, second


def _logits(points: Doubles, weights: MlpWeights) -> Doubles:
    _, second = _hidden(points, weights)
    return np.asarray(second @ weights.head_weight[0].astype(np.float64) + weights.head_bias[0])


def _gradients(points: Doubles, weights: MlpWeights) -> Doubles:
    """Of the logit in each standardised feature, shape (points, features)."""
    first, second = _hidden(points, weights)
    back = (second > 0) * weights.head_weight[0].astype(np.float64)
    back = (first > 0) * (back @ weights.second_weight.astype(np.float64))
    return np.asarray(back @ weights.first_weight.astype(np.float64))
