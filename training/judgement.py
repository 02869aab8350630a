"""How verdicts did on traffic whose truth is known: rates with intervals, and recall by robot family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from slidr.metrics import ROBOTIC_SESSION_CLICKS, Rate, false_positive_rate, rate, robotic_coverage
from training.dataset import busiest_hour
from training.labels import attribute

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The measures of one set of verdicts. What the crawler list found counts as invalid in `ivr` and in `families`."""

    ivr: Rate
    fpr: Rate
    """On purchasing clicks: the proxy of slidr.metrics.false_positive_rate."""
    true_fpr: Rate
    """On all clicks of people, which only a simulation knows."""
    coverage: Rate
    recall: Rate
    """Invalidated clicks of the robots that no list names."""
    precision: Rate
    """Robots among the invalidated clicks that no list names."""
    families: Mapping[str, Rate]
    """Invalidated share of each family and persona: recall for robots, wrongly invalidated for people."""


def judge(
    invalid: Flags,
    *,
    givt: Flags,
    purchased: Flags,
    session_clicks_1h: NDArray[np.int64],
    family: pl.Series,
    robot: Flags,
    k: int = ROBOTIC_SESSION_CLICKS,
) -> Judgement:
    """Compare verdicts with the truth; every argument has one entry a click.

    Args:
        invalid: which clicks are INVALID, list hits included.
        givt: which clicks the crawler list names: not in FPR, coverage, recall and precision.
        purchased: which clicks led to a purchase.
        session_clicks_1h: see training.dataset.busiest_hour.
        family: true family.
        robot: whether that is a robot.
        k: robotic coverage looks at sessions with more clicks than this in an hour.
    """
    ours = ~givt
    return Judgement(
        ivr=rate(invalid),
        fpr=false_positive_rate(invalid, purchased & ours),
        true_fpr=rate(invalid, ~robot),
        coverage=robotic_coverage(invalid[ours], session_clicks_1h[ours], k=k),
        recall=rate(invalid, robot & ours),
        precision=rate(robot, invalid & ours),
        families={name: rate(invalid, (family == name).to_numpy()) for name in sorted(family.cast(pl.String).unique())},
    )


def judge_verdicts(
    clicks: pl.DataFrame, purchases: pl.DataFrame, truth: pl.DataFrame, verdicts: pl.DataFrame
) -> Judgement:
    """Judge verdicts that came out of the deployed system, by click id; clicks without a verdict count as valid.

    Args:
        clicks: that were sent, in the lake's form (training.simulator.log.simulated_log).
        purchases: that were sent, in the lake's form.
        truth: click_id, family, robot.
        verdicts: click_id, invalid (bool), givt (bool), one row a click.
    """
    rows = clicks.select("click_id").join(truth, on="click_id", how="left", maintain_order="left")
    decided = rows.join(verdicts, on="click_id", how="left", maintain_order="left")
    attributed = attribute(clicks, purchases)
    purchased = np.zeros(len(clicks), dtype=np.bool_)
    purchased[attributed[attributed >= 0]] = True
    return judge(
        decided["invalid"].fill_null(value=False).to_numpy(),
        givt=decided["givt"].fill_null(value=False).to_numpy(),
        purchased=purchased,
        session_clicks_1h=busiest_hour(clicks),
        family=decided["family"],
        robot=decided["robot"].to_numpy(),
    )


def area_under_roc(scores: NDArray[np.floating], positive: Flags) -> float:
    """Probability that a positive scores above a negative, ties counting half; NaN with one class only.

    >>> area_under_roc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    0.75
    """
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return float("nan")
    ranks = pl.Series(scores).rank("average").to_numpy()
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))
