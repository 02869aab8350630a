"""The thresholds of a backtest, chosen on the last days before the split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from slidr.metrics import ROBOTIC_SESSION_CLICKS
from training.backtest.plan import BacktestSettings
from training.calibrate import global_threshold
from training.calibration.curve import Scores
from training.calibration.parents import levels_of
from training.calibration.thresholds import Calibration, CalibrationRows, CalibrationSettings, calibrate
from training.labels import LabelRule


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chosen:
    """Thresholds by slice, and the one for all traffic that costs as much on the rows that chose them."""

    by_slice: Calibration
    one: float
    enough: bool
    """Whether there were enough purchasing clicks for the end of the interval to be within the budget."""
    purchasing: Mapping[str, int]
    """Purchasing clicks that each slice chose on."""
    lists: int
    """Purchasing clicks that the crawler list names; they are charged to the budget first."""


def choose(rows: pl.DataFrame, past: pl.DataFrame, scores: Scores, settings: BacktestSettings) -> Chosen:
    """One threshold whose FPR is within the budget, by the settings' bound, and thresholds by slice that cost as much.

    Args:
        rows: that choose: mature, named by no list, at least one purchasing.
        past: all rows before the split, for what lists cost.
        scores: of `rows`.
        settings: see BacktestSettings.
    """
    listed = past.filter((pl.col("rule").cast(pl.String) == LabelRule.GIVT.value) & (pl.col("at") >= rows["at"].min()))
    lists, bought = int(listed["purchased"].sum()), rows["purchased"].to_numpy()
    purchases = lists + int(bought.sum())
    left = max(settings.fpr_budget - lists / purchases, float(np.finfo(np.float64).tiny))
    one = global_threshold(scores, bought, fpr_budget=left, bound="upper")
    enough = one.enough
    if settings.fpr_bound == "point" or (settings.fpr_bound == "auto" and not enough):
        one = global_threshold(scores, bought, fpr_budget=left, bound="point")
    calibration = CalibrationRows(
        levels=levels_of(rows, settings.slice_columns),
        scores=scores,
        purchased=bought,
        robotic=(rows["session_clicks_1h"] > ROBOTIC_SESSION_CLICKS).to_numpy(),
        listed_clicks=len(listed),
        listed_purchases=lists,
    )
    cost = (one.fpr.count + lists) / purchases
    by_slice = calibrate(calibration, CalibrationSettings(budget=cost, n_min=settings.n_min))
    cells = calibration.levels[-1]
    counts = np.bincount(cells.code[bought], minlength=len(cells.names)).tolist()
    return Chosen(
        by_slice=by_slice,
        one=one.threshold,
        enough=enough,
        purchasing=dict(zip(cells.names, counts, strict=True)),
        lists=lists,
    )
