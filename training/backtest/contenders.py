"""The network beside what it must beat, at equal FPR: every threshold is chosen on the later clicks, for all alike.

So the table ranks scorers; what thresholds of earlier days do is told by training/backtest/later.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

import numpy as np

from slidr.errors import SlidrError
from slidr.metrics import Rate
from training.backtest.later import GRID, Later
from training.backtest.plan import BacktestSettings
from training.backtest.results import Contender
from training.baselines import BASELINES
from training.calibration.parents import levels_of
from training.calibration.thresholds import CalibrationRows, CalibrationSettings, calibrate
from training.curves import ALL, ROBOTIC, AtFpr, JudgedClicks, at_fpr
from training.intervals import percentile_interval
from training.mlp_weights import Floats
from training.train import Split

Stage = Callable[[str], AbstractContextManager[Any]]
"""Told of a stage's title; the stage lies inside the context that it gives."""

NETWORK: Final = "network, one threshold"
SLICES: Final = "network, by slice"
STATED: Final = (0.001, 0.005, 0.01, 0.02)


def stated_rates(budget: float) -> tuple[float, ...]:
    """The false-positive rates of the table: the budget and the usual ones.

    >>> stated_rates(0.05)
    (0.001, 0.005, 0.01, 0.02, 0.05)
    """
    return tuple(sorted({*STATED, budget}))


def contenders_of(
    split: Split, weights: Floats, later: Later, settings: BacktestSettings, *, stage: Stage
) -> tuple[tuple[Contender, ...], dict[str, str]]:
    """The network's thresholds by slice, its one threshold, then the baselines; and why some are missing.

    Args:
        split: what trained the network trains them.
        weights: of the training rows.
        later: the later days, scored by the network.
        settings: which baselines, how many replicates.
        stage: told of each fit.
    """
    clicks, rates = later.judged, stated_rates(settings.hyperparameters.fpr_budget)
    network, grid = _judged(clicks, rates, settings)
    found = [
        Contender(name=SLICES, backend="", curve=None, at=None, by_slice=_sliced(later, rates, settings)),
        Contender(name=NETWORK, backend="", curve=grid, at=network),
    ]
    skipped: dict[str, str] = {}
    features = later.features[later.mature]
    for name in settings.baselines:
        with stage(f"fit a baseline: {name}"):
            try:
                scorer = BASELINES[name](split.train, weights, split.validation)
            except SlidrError as failure:
                skipped[name] = str(failure)
                continue
            at, grid = _judged(clicks.scored_by(scorer.score(features)), rates, settings)
            found.append(
                Contender(name=name, backend=scorer.backend, curve=grid, at=at, behind=_difference(network, at, rates))
            )
    return tuple(found), skipped


def _judged(clicks: JudgedClicks, rates: Sequence[float], settings: BacktestSettings) -> tuple[AtFpr, AtFpr]:
    """At the stated rates, with the groups that the table shows; and on the grid, IVR alone."""
    shown = JudgedClicks(
        scores=clicks.scores,
        purchased=clicks.purchased,
        person=clicks.person,
        groups={name: clicks.groups[name] for name in (ALL, ROBOTIC)},
    )
    return at_fpr(shown, rates, replicates=settings.replicates), at_fpr(clicks, GRID, replicates=0)


def _difference(network: AtFpr, other: AtFpr, rates: Sequence[float]) -> dict[float, tuple[float, float, float]]:
    """The network's IVR less the other's at each rate, with its interval: the same people in every replicate."""
    low, high = percentile_interval(network.replicates[ALL] - other.replicates[ALL])
    gap = network.values(ALL) - other.values(ALL)
    return {stated: (float(gap[i]), float(low[i]), float(high[i])) for i, stated in enumerate(rates)}


def _sliced(later: Later, rates: Sequence[float], settings: BacktestSettings) -> dict[float, Rate]:
    """IVR at each rate with the best thresholds by slice, no margin kept: they are not for other rows."""
    rows = later.rows.filter(later.mature)
    clicks = CalibrationRows(
        levels=levels_of(rows, settings.hyperparameters.slices.columns),
        scores=later.scores[later.mature],
        purchased=rows["purchased"].to_numpy(),
        robotic=np.zeros(len(rows), dtype=np.bool_),
    )
    n_min = settings.hyperparameters.min_slice_purchases
    return {
        stated: calibrate(clicks, CalibrationSettings(budget=stated, n_min=n_min, margin=0.0)).overall.ivr
        for stated in rates
    }
