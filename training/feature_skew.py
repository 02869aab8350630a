"""Skew: how far the features that serving logged are from those of full knowledge of the same clicks (rule 2).

Serving decides on what has arrived; a click that is late, or a counter cache that started empty, is missing from it.
Training on logged features learns from what serving knows; the difference is measured, not hidden.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from slidr.features import FEATURE_NAMES
from training.dataset import feature_matrix, features_of

WARM_UP: Final = dt.timedelta(hours=25)
"""The longest counter, and the hour by which its buckets may reach further back."""
PROFILE: Final = "profile."
"""Features of profiles are left out: nobody can recompute what a profile was on that day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skew:
    """Logged against recomputed features of a sample."""

    rows: int
    rows_that_differ: int
    """In at least one feature."""
    features: pl.DataFrame
    """feature, share (of rows that differ), mean_difference (logged - recomputed), largest (absolute); worst first."""


def feature_skew(clicks: pl.DataFrame, logged: pl.DataFrame, *, since: dt.datetime) -> Skew:
    """Recompute the features of the clicks from `since` on, counting from empty, and compare them with the logged ones.

    Args:
        clicks: in the lake's form, in the order in which they arrived, from `since - WARM_UP` on.
        logged: rows of a dataset (click_id, at and the features), in any order; rows before `since` are passed over.
        since: oldest click of the sample.
    """
    recent = (clicks["at"] >= since).to_numpy()
    places = clicks.select("click_id").with_row_index("place").filter(recent)
    both = logged.filter(pl.col("at") >= since).join(places, on="click_id", how="inner")
    difference = feature_matrix(both) - features_of(clicks)[both["place"].to_numpy()]
    compared = np.array([not name.startswith(PROFILE) for name in FEATURE_NAMES])
    differs = (difference != 0) & compared
    if not len(both):
        return Skew(rows=0, rows_that_differ=0, features=_table(np.zeros((1, len(FEATURE_NAMES))), compared))
    return Skew(rows=len(both), rows_that_differ=int(differs.any(axis=1).sum()), features=_table(difference, compared))


def _table(difference: np.ndarray, compared: np.ndarray) -> pl.DataFrame:
    table = pl.DataFrame(
        {
            "feature": FEATURE_NAMES,
            "share": (difference != 0).mean(axis=0),
            "mean_difference": difference.mean(axis=0, dtype=np.float64),
            "largest": np.abs(difference).max(axis=0).astype(np.float64),
        }
    )
    return table.filter(pl.Series(compared)).sort("share", "largest", descending=True)
