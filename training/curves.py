"""What a scorer does at stated false-positive rates, with intervals: so that scorers are compared at equal FPR.

    clicks = judged_clicks(rows, scores)
    at_fpr(clicks, [0.001, 0.01])                      thresholds, IVR, coverage, recall, their intervals
    at_fpr(clicks, grid)                               the same, as a curve with its band
    by_slice(clicks, names, [0.01])                    the same for each slice
    a.replicates[ALL] - b.replicates[ALL]              two scorers on the same clicks: a paired difference

The empirical curve is training/calibration/curve.py's; FPR is the proxy of slidr.metrics.false_positive_rate. Where
thresholds were chosen on other rows (calibration), what they do is `shares`, not `at_fpr`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl

from slidr.metrics import ROBOTIC_SESSION_CLICKS, Rate, rate
from training.calibration.curve import Curves, Flags, Floats, Ints, ScoredClicks, Scores, curves_of, knee
from training.calibration.exact import mark_envelopes
from training.calibration.folds import person_of
from training.calibration.problem import SLACK
from training.intervals import (
    REPLICATES,
    SEED,
    by_person,
    copies,
    exact_interval,
    percentile_interval,
    shares_by_replicate,
)
from training.labels import LabelRule, UnusableTrainingData

ALL: Final = "all"
"""The group of all clicks: its invalidated share is the IVR."""
ROBOTIC: Final = "robotic"
"""The clicks of sessions with more than k ad clicks in an hour: its invalidated share is the robotic coverage."""
ROBOTS: Final = "robots"
"""The clicks of robots, where the truth is known: its invalidated share is the recall."""
_LEAST_VERTICES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JudgedClicks:
    """Scored clicks of later days: mature, named by no list. Every array has one entry a click, shape (clicks,)."""

    scores: Scores
    """float32 in [0, 1]."""
    purchased: Flags
    person: Ints
    """Whose click it is, from 0: what the bootstrap draws."""
    groups: Mapping[str, Flags]
    """Parts of the traffic whose invalidated share is asked for: ALL, ROBOTIC and others."""

    def within(self, rows: Flags) -> JudgedClicks:
        """Some of the clicks; people keep their numbers, and so their copies."""
        return JudgedClicks(
            scores=self.scores[rows],
            purchased=self.purchased[rows],
            person=self.person[rows],
            groups={name: flags[rows] for name, flags in self.groups.items()},
        )

    def scored_by(self, scores: Scores) -> JudgedClicks:
        """The same clicks with another scorer's scores."""
        return replace(self, scores=scores)

    def curve(self) -> Curves:
        """The empirical curve of all of them together."""
        return curves_of(
            ScoredClicks(
                slice=np.zeros(len(self.scores), dtype=np.int64),
                scores=self.scores,
                purchased=self.purchased,
                robotic=self.groups.get(ROBOTIC, np.zeros(len(self.scores), dtype=np.bool_)),
            ),
            slices=1,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AtFpr:
    """One scorer at stated false-positive rates; what has an entry a rate has shape (rates,)."""

    stated: Floats
    threshold: Scores
    """The lowest whose FPR on these clicks is at most the stated one."""
    fpr: tuple[Rate, ...]
    """What it comes to: as near as whole clicks allow."""
    share: Mapping[str, tuple[Rate, ...]]
    """By group: how many of its clicks are invalidated. The rates' own intervals take clicks for independent."""
    replicates: Mapping[str, Floats]
    """By group: the share in each replicate of the bootstrap over people, shape (replicates, rates). The threshold is
    chosen anew in each, so that its own uncertainty is in the interval."""

    def values(self, group: str) -> Floats:
        """The shares of a group, shape (rates,); NaN where it has no click."""
        return np.array([measured.value for measured in self.share[group]])

    def interval(self, group: str) -> tuple[Floats, Floats]:
        """The ends of the shares' 95% intervals, each of shape (rates,)."""
        return percentile_interval(self.replicates[group])


def judged_clicks(
    rows: pl.DataFrame,
    scores: Scores,
    *,
    groups: Mapping[str, Flags] | None = None,
    person: pl.Series | None = None,
    k: int = ROBOTIC_SESSION_CLICKS,
) -> JudgedClicks:
    """The rows of a dataset with their scores, but for what lists name and what is too young for its label.

    Args:
        rows: training.dataset.build_dataset of later days.
        scores: of the rows, float32, shape (rows,).
        groups: further parts of the rows by name, such as ROBOTS or the families of a simulation, shape (rows,).
        person: whose click each row is, shape (rows,); by default its user's, else its session's, else nobody else's.
        k: see slidr.metrics.robotic_coverage.
    """
    whose = person_of(rows) if person is None else person
    named = {
        ALL: np.ones(len(rows), dtype=np.bool_),
        ROBOTIC: (rows["session_clicks_1h"] > k).to_numpy(),
        **(groups or {}),
    }
    return JudgedClicks(
        scores=scores,
        purchased=rows["purchased"].to_numpy(),
        person=(whose.rank("dense").cast(pl.Int64) - 1).to_numpy(),
        groups=named,
    ).within(in_curves(rows))


def in_curves(rows: pl.DataFrame) -> Flags:
    """Which rows of a dataset are mature and named by no list, shape (rows,)."""
    left_out = [LabelRule.GIVT.value, LabelRule.IMMATURE.value]
    return ~rows["rule"].cast(pl.String).is_in(left_out).to_numpy()


def vertices_at(curves: Curves, fpr: float) -> Ints:
    """The vertex of each curve at a stated FPR: the lowest threshold whose FPR is at most that, shape (slices,).

    >>> curves = Curves(starts=np.array([0, 3]), threshold=np.array([0.9, 0.5, 0.1], dtype=np.float32),
    ...                 invalid=np.array([5.0, 20.0, 40.0]), wrong=np.array([0.0, 1.0, 2.0]), covered=np.zeros(3),
    ...                 clicks=np.array([100.0]), purchases=np.array([50.0]), robotic=np.zeros(1))
    >>> vertices_at(curves, 0.02).tolist(), vertices_at(curves, 0.039).tolist()
    ([1], [1])
    """
    return curves.starts[:-1] + curves.leading(curves.fpr <= fpr * (1.0 + SLACK)) - 1


def at_fpr(
    clicks: JudgedClicks, stated: Sequence[float] | Floats, *, replicates: int = REPLICATES, seed: int = SEED
) -> AtFpr:
    """Thresholds at stated false-positive rates, and what they invalidate of each group.

    Args:
        clicks: of later days, at least one of them purchasing.
        stated: false-positive rates in [0, 1].
        replicates: of the bootstrap over people; 0 for none, where no interval is wanted.
        seed: equal seeds draw equal people.

    Raises:
        UnusableTrainingData: no purchasing click, so no false-positive rate.

    >>> found = at_fpr(JudgedClicks(
    ...     scores=np.array([0.9, 0.8, 0.7, 0.6, 0.5], dtype=np.float32), person=np.arange(5),
    ...     purchased=np.array([False, False, True, False, True]), groups={ALL: np.ones(5, dtype=np.bool_)},
    ... ), [0.0, 0.5], replicates=0)
    >>> [f"{threshold:.1f}" for threshold in found.threshold], found.values(ALL).tolist(), found.fpr[1].value
    (['0.8', '0.6'], [0.4, 0.8], 0.5)
    """
    rates = np.asarray(stated, dtype=np.float64)
    curve = clicks.curve()
    if not curve.purchases[0]:
        raise UnusableTrainingData(
            f"purchasing clicks are required to measure a false-positive rate, came none among {len(clicks.scores)} "
            "later clicks. Take more or later days, or check that purchases arrive."
        )
    # The vertex that first invalidates each click: thresholds fall along a curve. Beyond the last: never.
    first = np.searchsorted(-curve.threshold, -clicks.scores, side="left").astype(np.int64)
    at = np.searchsorted(curve.wrong, rates * curve.purchases[0] + SLACK, side="right") - 1
    counted = {name: _running(first[flags], len(curve.threshold)) for name, flags in clicks.groups.items()}
    return AtFpr(
        stated=rates,
        threshold=curve.threshold[at],
        fpr=tuple(Rate(count=int(curve.wrong[v]), total=int(curve.purchases[0])) for v in at),
        share={
            name: tuple(Rate(count=int(running[v]), total=int(running[-1])) for v in at)
            for name, running in counted.items()
        },
        replicates=_resampled(clicks, first, rates, vertices=len(curve.threshold), replicates=replicates, seed=seed),
    )


def _running(first: Ints, vertices: int) -> Ints:
    """Clicks invalidated at each vertex, and all of them behind the last, shape (vertices + 1,)."""
    return np.cumsum(np.bincount(first, minlength=vertices + 1))


def _resampled(
    clicks: JudgedClicks, first: Ints, rates: Floats, *, vertices: int, replicates: int, seed: int
) -> dict[str, Floats]:
    """The shares of the groups in each replicate, shape (replicates, rates); see AtFpr."""
    people = int(clicks.person.max()) + 1
    table = {name: by_person(clicks.person, first, flags, people=people, cells=vertices + 1)
             for name, flags in {"": clicks.purchased, **clicks.groups}.items()}  # fmt: skip
    shares: dict[str, list[Floats]] = {name: [] for name in clicks.groups}
    for drawn in copies(people, replicates=replicates, seed=seed):
        wrong = np.cumsum(drawn @ table[""], axis=1)  # (replicates, vertices + 1)
        bought = wrong[:, -1]
        # Each replicate's own vertices are among these, since copies only take purchases away or repeat them.
        at = np.stack(
            [np.searchsorted(wrong[r, :-1], rates * bought[r] + SLACK, side="right") for r in range(len(wrong))]
        )
        for name, found in shares.items():
            running = np.cumsum(drawn @ table[name], axis=1)
            total = running[:, -1:]
            some = (total > 0) & (bought > 0)[:, None]
            hit = np.take_along_axis(running, at - 1, axis=1)
            found.append(np.divide(hit, total, out=np.full(hit.shape, np.nan), where=some))
    empty = np.empty((0, len(rates)))
    return {name: np.concatenate([empty, *found]) for name, found in shares.items()}


def by_slice(
    clicks: JudgedClicks,
    names: pl.Series,
    stated: Sequence[float] | Floats,
    *,
    replicates: int = REPLICATES,
    seed: int = SEED,
) -> dict[str, AtFpr]:
    """`at_fpr` of each slice with a purchasing click, by its name; the others have no false-positive rate.

    Args:
        clicks: of all slices.
        names: the slice of each, shape (clicks,).
        stated: as for `at_fpr`.
        replicates: as for `at_fpr`.
        seed: as for `at_fpr`.
    """
    found = {}
    for name in sorted(names.unique().to_list()):
        mine = clicks.within((names == name).to_numpy())
        if mine.purchased.any():
            found[name] = at_fpr(mine, stated, replicates=replicates, seed=seed)
    return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Share:
    """A rate with the interval that its people allow."""

    rate: Rate
    low: float
    high: float


def shares(
    invalid: Flags, clicks: JudgedClicks, *, replicates: int = REPLICATES, seed: int = SEED
) -> tuple[Share, dict[str, Share]]:
    """What given verdicts do: the FPR, and the invalidated share of each group, with intervals over people.

    Args:
        invalid: of the clicks, by thresholds that were chosen on other rows.
        clicks: their scores play no part.
        replicates: as for `at_fpr`.
        seed: as for `at_fpr`.
    """

    def share(within: Flags) -> Share:
        measured = rate(invalid, within)
        if measured.count in (0, measured.total):  # every replicate says the same: so many people, all or none
            people = len(np.unique(clicks.person[within]))
            low, high = exact_interval(Rate(count=people if measured.count else 0, total=people))
        else:
            drawn = shares_by_replicate(invalid, within, clicks.person, replicates=replicates, seed=seed)
            low, high = map(float, percentile_interval(drawn))
        return Share(rate=measured, low=low, high=high)

    return share(clicks.purchased), {name: share(flags) for name, flags in clicks.groups.items()}


def kneed_knee(curve: Curves) -> int:
    """The vertex of the first curve that kneed takes for its knee; where it finds none, `knee`'s.

    kneed looks at the curve's concave envelope, for on the raw one every stair is a knee to it, and brings both axes to
    [0, 1] first (docs/decisions/0033-knee-by-kneed.md).

    >>> flat = Curves(starts=np.array([0, 4]), threshold=np.array([0.9, 0.5, 0.3, 0.1], dtype=np.float32),
    ...               invalid=np.array([10.0, 60.0, 80.0, 100.0]), wrong=np.array([0.0, 1.0, 4.0, 10.0]),
    ...               covered=np.zeros(4), clicks=np.array([100.0]), purchases=np.array([10.0]), robotic=np.zeros(1))
    >>> kneed_knee(flat)
    1
    """
    from kneed import KneeLocator  # noqa: PLC0415 - it imports matplotlib where that is installed: a second

    last = np.array([curve.starts[1] - 1])
    on_envelope = np.zeros(len(curve.threshold), dtype=np.bool_)
    mark_envelopes(curve.starts[:1], last, curve.wrong, curve.invalid, on_envelope)
    vertices = np.flatnonzero(on_envelope)
    if len(vertices) < _LEAST_VERTICES:
        return knee(curve)
    # No sensitivity is needed where there is no noise: above 0, short envelopes have no knee.
    found = KneeLocator(curve.fpr[vertices], curve.ivr[vertices], S=0.0, curve="concave", direction="increasing").knee
    return knee(curve) if found is None else int(vertices[np.searchsorted(curve.fpr[vertices], found)])
