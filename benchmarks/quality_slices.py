"""Thresholds by slice beside one threshold, both chosen on earlier rows, compared where they cost the same later.

A budget does not come out on later days as it was put in, and not alike for both. So it is dialled: thresholds are
chosen for a row of budgets, and what they do is read, by straight lines between them, where the later FPR is the stated
one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from slidr.slices import Thresholds
from training.calibration.curve import Flags, Floats, Scores
from training.calibration.thresholds import CalibrationRows, CalibrationSettings, calibrate
from training.curves import ROBOTIC, JudgedClicks, in_curves, judged_clicks
from training.intervals import copies
from training.release_thresholds import calibration_rows
from training.slice_names import slice_names

SLICES: Final = "network, by slice"
GLOBAL: Final = "network, one threshold"
BUDGETS: Final = np.geomspace(2e-4, 0.06, 60)
LEAST_ROBOTIC: Final = 100
"""Clicks of robotic sessions that a slice needs to have a coverage worth comparing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown:
    """One measure at the stated rates."""

    value: Floats
    """Shape (rates,)."""
    replicates: Floats
    """Shape (replicates, rates)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dialled:
    """One way to choose thresholds: `ivr`, `coverage` and `worst`, the coverage of the slice that has least."""

    shown: Mapping[str, Shown]


def dialled(
    earlier: pl.DataFrame,
    earlier_scores: Scores,
    later: pl.DataFrame,
    later_scores: Scores,
    *,
    rates: Sequence[float],
    columns: Sequence[str],
    replicates: int,
    seed: int,
) -> dict[str, Dialled]:
    """Both ways to choose, at equal later FPR.

    Args:
        earlier: rows that choose, listed clicks included.
        earlier_scores: of them.
        later: rows that judge.
        later_scores: of them.
        rates: FPR on purchasing clicks of the later rows.
        columns: of the slice map.
        replicates: of the bootstrap over people.
        seed: of the bootstrap.
    """
    choosing = calibration_rows(earlier, earlier_scores, np.ones(len(earlier), dtype=np.bool_), columns)
    clicks = judged_clicks(later, later_scores)
    names = slice_names(later, columns).filter(pl.Series(in_curves(later)))
    one = CalibrationRows(
        levels=choosing.levels[:1],
        scores=choosing.scores,
        purchased=choosing.purchased,
        robotic=choosing.robotic,
        listed_clicks=choosing.listed_clicks,
        listed_purchases=choosing.listed_purchases,
    )
    return {
        way: _judged(rows, clicks, names, rates=np.asarray(rates), replicates=replicates, seed=seed)
        for way, rows in ((SLICES, choosing), (GLOBAL, one))
    }


def _judged(
    rows: CalibrationRows, clicks: JudgedClicks, names: pl.Series, *, rates: Floats, replicates: int, seed: int
) -> Dialled:
    invalid = np.stack([_invalid(rows, clicks, names, budget) for budget in BUDGETS])  # (budgets, clicks)
    robotic = clicks.groups[ROBOTIC]
    parts: dict[str, Flags] = {"fpr": clicks.purchased, "ivr": np.ones(len(names), dtype=np.bool_), "coverage": robotic}
    for name in names.unique().sort():
        within = (names == name).to_numpy() & robotic
        if within.sum() >= LEAST_ROBOTIC:
            parts[str(name)] = within
    everybody = np.ones((1, int(clicks.person.max()) + 1))
    counted = {name: _counts(invalid, within, clicks, everybody.shape[1]) for name, within in parts.items()}
    value = _at_rates({name: everybody @ table for name, table in counted.items()}, rates)
    drawn = [
        _at_rates({name: piece @ table for name, table in counted.items()}, rates)
        for piece in copies(everybody.shape[1], replicates=replicates, seed=seed)
    ]
    return Dialled(
        shown={
            name: Shown(value=value[name][0], replicates=np.concatenate([piece[name] for piece in drawn]))
            for name in ("ivr", "coverage", "worst")
        }
    )


def _invalid(rows: CalibrationRows, clicks: JudgedClicks, names: pl.Series, budget: float) -> Flags:
    thresholds: Thresholds = calibrate(rows, CalibrationSettings(budget=float(budget))).thresholds
    return np.asarray(clicks.scores >= thresholds.of(names.to_list()))


def _counts(invalid: Flags, within: Flags, clicks: JudgedClicks, people: int) -> Floats:
    """Of each person, the invalidated clicks at each budget, and all of them last; shape (people, budgets + 1)."""
    table = np.zeros((people, len(invalid) + 1))
    for column, flags in enumerate((*invalid, np.ones(len(within), dtype=np.bool_))):
        table[:, column] = np.bincount(clicks.person[flags & within], minlength=people)
    return table


def _at_rates(sums: Mapping[str, Floats], rates: Floats) -> dict[str, Floats]:
    """The measures where the FPR is the stated one, by sums of shape (replicates, budgets + 1); (replicates, rates)."""
    shares = {name: table[:, :-1] / np.maximum(table[:, -1:], 1.0) for name, table in sums.items()}
    fpr = np.maximum.accumulate(shares.pop("fpr"), axis=1)

    def read(share: Floats) -> Floats:
        return np.stack([np.interp(rates, fpr[r], share[r]) for r in range(len(fpr))])

    found = {name: read(share) for name, share in shares.items()}
    slices = [share for name, share in found.items() if name not in {"ivr", "coverage"}]
    return {"ivr": found["ivr"], "coverage": found["coverage"], "worst": np.min(slices, axis=0)}
