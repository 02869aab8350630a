"""From scored clicks to the thresholds of a release: each slice's own, its parent's, or that of all traffic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np

from slidr.errors import CalibrationInexact, CalibrationInfeasible
from slidr.metrics import Rate, rate
from slidr.slices import Thresholds
from training.calibration.curve import NEVER, Curves, Flags, Floats, Ints, ScoredClicks, Scores, curves_of
from training.calibration.exact import exact_form
from training.calibration.paper import paper_form
from training.calibration.parents import Level
from training.calibration.problem import CAP_FACTOR, SLACK, Problem, Spending, pose
from training.curves import kneed_knee

Form = Literal["exact", "paper"]

N_MIN: Final = 100
"""Purchasing clicks that a slice needs for a threshold of its own."""
LEAST_SHARE: Final = 2.0
"""Of which one is the margin. Below, slices cost more than they bring on later days (training/LOG.md)."""
OWN: Final = "own"
CAPPED: Final = "capped"
_MOST_RISES: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CalibrationRows:
    """Mature clicks later than any that trained; arrays have one entry for each click that no list names."""

    levels: tuple[Level, ...]
    """training.calibration.parents.levels_of the same clicks."""
    scores: Scores
    """float32, by the scorer that serves."""
    purchased: Flags
    robotic: Flags
    """In sessions with more than k ad clicks within an hour."""
    listed_clicks: int = 0
    """Clicks of the same people and time that a GIVT list names."""
    listed_purchases: int = 0
    """Those of them that led to a purchase: invalidated purchasing clicks, charged to the budget."""

    @property
    def purchases(self) -> int:
        """All purchasing clicks, listed ones included: what the overall FPR is a share of."""
        return int(self.purchased.sum()) + self.listed_purchases

    def scored(self, level: Level, within: Flags | None = None) -> ScoredClicks:
        """The clicks, cut by the level; of those cells only that are in `within`, numbered anew, where given."""
        if within is None:
            return ScoredClicks(slice=level.code, scores=self.scores, purchased=self.purchased, robotic=self.robotic)
        rows, number = within[level.code], np.cumsum(within) - 1
        return ScoredClicks(
            slice=number[level.code[rows]],
            scores=self.scores[rows],
            purchased=self.purchased[rows],
            robotic=self.robotic[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSettings:
    """What may be chosen of a calibration."""

    budget: float
    """Overall FPR on the rows that thresholds are chosen on, in [0, 1)."""
    form: Form = "exact"
    """Which form's thresholds are used; the other is reported beside it."""
    n_min: int = N_MIN
    """Purchasing clicks below which a slice uses its parent's threshold in any case, at least 1."""
    least_share: float = LEAST_SHARE
    """It also does where its part of the budget would be less than so many purchasing clicks."""
    min_coverage: float = 0.0
    """Least robotic coverage of every slice that has its own threshold, in [0, 1]."""
    min_coverage_by_slice: Mapping[str, float] = field(default_factory=dict)
    """The same for single slices."""
    margin: float = 1.0
    """Purchasing clicks that every threshold is charged beyond those it invalidates here: see `curves_of`."""
    cap_factor: float = CAP_FACTOR
    """No slice has an FPR above so many times the budget, be its threshold its own or its parent's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceRates:
    """What thresholds do to one slice, or to all traffic."""

    ivr: Rate
    fpr: Rate
    coverage: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class FormOutcome:
    """One form on the slices with their own threshold; clicks and purchasing clicks that it invalidates in them."""

    invalid: float
    wrong: float
    bound: float
    """The form's own optimum before it is brought to thresholds: exact, the linear program's; paper, what the parabolas
    promised."""
    fpr: Mapping[str, float]
    """By slice."""
    solver: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Knee:
    """The point of the full-traffic curve past which FPR rises faster than IVR."""

    threshold: float
    fpr: float
    ivr: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The thresholds, with what they did on the rows that chose them."""

    thresholds: Thresholds
    source: Mapping[str, str]
    """By slice: OWN; CAPPED, where its parent's threshold would cost it more than the cap, so that it has the lowest
    that does not; or the name of the parent whose threshold it uses (empty: all traffic)."""
    allowance: float
    """Purchasing clicks that all thresholds together may invalidate."""
    knee: Knee
    predicted: Mapping[str, SliceRates]
    """By slice."""
    overall: SliceRates
    """Listed clicks included in IVR and FPR."""
    exact: FormOutcome | None
    """None where no slice has its own threshold."""
    paper: FormOutcome | None
    """None as well where its solver did not reach an optimum, and the exact form was asked for."""
    paper_failed: str = ""

    @property
    def gap(self) -> float | None:
        """Clicks that the exact form invalidates beyond the paper form; None where one is missing."""
        return None if self.exact is None or self.paper is None else self.exact.invalid - self.paper.invalid


def calibrate(rows: CalibrationRows, settings: CalibrationSettings) -> Calibration:
    """Thresholds for every slice seen, within the budget on these rows.

    From all traffic down: a level's cells with enough purchases share what the budget leaves after the lists and after
    the other cells, which use the threshold of the level above, or a higher one where that costs them more than the
    cap, and are charged for what it costs there. Floors hold in the slices, the last level.

    Args:
        rows: at least one of them purchasing.
        settings: see CalibrationSettings.

    Raises:
        CalibrationInfeasible: lists or floors cost more than the budget.
        CalibrationInexact: the paper form was asked for and its solver did not reach an optimum, or the thresholds do
            not keep on the rows what was computed for them.
    """
    try:
        return _calibrated(rows, settings)
    except CalibrationInfeasible as failure:
        raise _least_that_would_do(rows, settings, failure) from failure


def _least_that_would_do(
    rows: CalibrationRows, settings: CalibrationSettings, failure: CalibrationInfeasible
) -> CalibrationInfeasible:
    """The failure, with a budget that does: as it rises, so does what parents' thresholds cost."""
    least = failure.least_budget
    for _ in range(_MOST_RISES):
        try:
            _calibrated(rows, replace(settings, budget=least * (1.0 + SLACK)))
        except CalibrationInfeasible as again:
            least = again.least_budget
        else:
            break
    return CalibrationInfeasible(budget=settings.budget, least_budget=least, slices=failure.slices, spent=failure.spent)


def _calibrated(rows: CalibrationRows, settings: CalibrationSettings) -> Calibration:
    if settings.n_min < 1 or settings.form not in {"exact", "paper"}:
        raise ValueError(
            f'n_min must be at least 1 and form "exact" or "paper", came {settings.n_min}, {settings.form!r}'
        )
    lists = Spending(budget=settings.budget, purchases=rows.purchases, listed=rows.listed_purchases)
    everything = curves_of(rows.scored(rows.levels[0]), slices=1, margin=settings.margin)
    start = exact_form(pose(everything, lists))
    chosen = everything.threshold[start.vertex].astype(np.float64)  # by cell of the level
    unseen = settings.margin / np.maximum(everything.purchases, 1.0)  # the margin, by purchasing click of the cell
    sources = [OWN]
    slices: _Slices | None = None
    for depth, level in enumerate(rows.levels[1:], start=1):
        is_last = depth == len(rows.levels) - 1
        inherited, unseen = chosen[level.parent], unseen[level.parent]
        above = rows.levels[depth - 1].names
        sources = [above[p] if sources[p] in {OWN, CAPPED} else sources[p] for p in level.parent.tolist()]
        bought = np.bincount(level.code[rows.purchased], minlength=len(level.names))
        own = (bought >= settings.n_min) & (bought * settings.budget >= settings.least_share)
        wrong = rows.purchased & (rows.scores >= inherited.astype(np.float32)[level.code])
        cost = np.bincount(level.code[wrong], minlength=len(level.names)).astype(np.float64)
        capped = ~own & (cost > settings.cap_factor * settings.budget * bought * (1.0 + SLACK))
        if capped.any():  # few purchases choose no threshold, but can tell that the parent's sacrifices a cell
            curves = curves_of(rows.scored(level, capped), slices=int(capped.sum()))
            at_cap = pose(curves, lists, cap_factor=settings.cap_factor).last
            inherited[capped], cost[capped] = curves.threshold[at_cap], curves.wrong[at_cap]
            unseen[capped] = settings.margin / bought[capped]
        sources = [CAPPED if raised else source for raised, source in zip(capped.tolist(), sources, strict=True)]
        chosen = inherited
        if not own.any():
            continue
        charged = float(cost[~own].sum() + (unseen * bought)[~own & (inherited < NEVER)].sum())
        slices = _solved(
            rows, level, own=own, spending=replace(lists, charged=charged), settings=settings, floors=is_last
        )
        chosen, unseen = inherited.copy(), np.where(own, settings.margin / np.maximum(bought, 1), unseen)
        chosen[own] = slices.threshold
        sources = [OWN if mine else source for mine, source in zip(own.tolist(), sources, strict=True)]
        if not is_last:
            slices = None

    level = rows.levels[-1]
    thresholds = Thresholds(
        default=float(everything.threshold[start.vertex[0]]),
        by_slice={} if len(rows.levels) == 1 else dict(zip(level.names, chosen.tolist(), strict=True)),
    )
    predicted = rates_by_slice(rows, thresholds)
    overall = overall_rates(rows, thresholds)
    source = dict(zip(level.names, sources, strict=True))
    _recheck(predicted, overall, lists=lists, source=source, settings=settings)
    measured = curves_of(rows.scored(rows.levels[0]), slices=1)
    at = kneed_knee(measured)
    return Calibration(
        thresholds=thresholds,
        source=source,
        allowance=lists.allowance,
        knee=Knee(threshold=float(measured.threshold[at]), fpr=float(measured.fpr[at]), ivr=float(measured.ivr[at])),
        predicted=predicted,
        overall=overall,
        exact=slices.exact if slices else None,
        paper=slices.paper if slices else None,
        paper_failed=slices.paper_failed if slices else "",
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Slices:
    """The cells of a level that have their own threshold, solved by both forms."""

    threshold: Floats
    exact: FormOutcome
    paper: FormOutcome | None
    paper_failed: str


def _solved(
    rows: CalibrationRows,
    level: Level,
    *,
    own: Flags,
    spending: Spending,
    settings: CalibrationSettings,
    floors: bool,
) -> _Slices:
    names = [name for name, mine in zip(level.names, own.tolist(), strict=True) if mine]
    least = np.array([settings.min_coverage_by_slice.get(name, settings.min_coverage) for name in names])
    problem = pose(
        curves_of(rows.scored(level, own), slices=len(names), margin=settings.margin),
        spending,
        names=names,
        min_coverage=least if floors else 0.0,
        cap_factor=settings.cap_factor,
    )
    exact = exact_form(problem)
    vertex, paper, failed = exact.vertex, None, ""
    try:
        fitted = paper_form(problem)
        paper = _outcome(problem, fitted.vertex, names, bound=fitted.modelled, solver=fitted.solver)
        vertex = fitted.vertex if settings.form == "paper" else vertex
    except CalibrationInexact as failure:
        if settings.form == "paper":
            raise
        failed = str(failure)
    return _Slices(
        threshold=problem.curves.threshold[vertex].astype(np.float64),
        exact=_outcome(problem, exact.vertex, names, bound=exact.bound, solver="none"),
        paper=paper,
        paper_failed=failed,
    )


def _outcome(problem: Problem, vertex: Ints, names: list[str], *, bound: float, solver: str) -> FormOutcome:
    curves: Curves = problem.curves
    return FormOutcome(
        invalid=float(curves.invalid[vertex].sum()),
        wrong=float(curves.wrong[vertex].sum()),
        bound=bound,
        fpr=dict(zip(names, curves.fpr[vertex].tolist(), strict=True)),
        solver=solver,
    )


def rates_by_slice(rows: CalibrationRows, thresholds: Thresholds) -> dict[str, SliceRates]:
    """What the thresholds do to every slice of these rows, decided as serving decides; by the slice's name.

    Args:
        rows: those that chose the thresholds, or any others.
        thresholds: of a release whose slice map cut the rows.
    """
    level = rows.levels[-1]
    invalid = _invalid(rows, thresholds)

    def rates(hits: Flags, within: Flags) -> list[Rate]:
        hit = np.bincount(level.code[hits & within], minlength=len(level.names)).tolist()
        total = np.bincount(level.code[within], minlength=len(level.names)).tolist()
        return [Rate(count=count, total=of) for count, of in zip(hit, total, strict=True)]

    everything = np.ones(len(invalid), dtype=np.bool_)
    columns = rates(invalid, everything), rates(invalid, rows.purchased), rates(invalid, rows.robotic)
    return {
        name: SliceRates(ivr=ivr, fpr=fpr, coverage=coverage)
        for name, ivr, fpr, coverage in zip(level.names, *columns, strict=True)
    }


def overall_rates(rows: CalibrationRows, thresholds: Thresholds) -> SliceRates:
    """What the thresholds and the lists do to all traffic; coverage is of clicks that no list names."""
    invalid = _invalid(rows, thresholds)
    ivr, fpr = rate(invalid), rate(invalid, rows.purchased)
    return SliceRates(
        ivr=Rate(count=ivr.count + rows.listed_clicks, total=ivr.total + rows.listed_clicks),
        fpr=Rate(count=fpr.count + rows.listed_purchases, total=fpr.total + rows.listed_purchases),
        coverage=rate(invalid, rows.robotic),
    )


def _invalid(rows: CalibrationRows, thresholds: Thresholds) -> Flags:
    level = rows.levels[-1]
    return np.asarray(rows.scores >= thresholds.of(level.names)[level.code], dtype=np.bool_)


def _recheck(
    predicted: Mapping[str, SliceRates],
    overall: SliceRates,
    *,
    lists: Spending,
    source: Mapping[str, str],
    settings: CalibrationSettings,
) -> None:
    """Budget and floors once more, on verdicts as serving would give them with the thresholds as they are written."""
    if overall.fpr.count - lists.listed > lists.allowance + SLACK:
        raise CalibrationInexact(
            f"thresholds that cost at most {lists.allowance:g} purchasing clicks are required, they cost "
            f"{overall.fpr.count - lists.listed:g}. Report this with the training set."
        )
    for name, rates in predicted.items():
        floor = settings.min_coverage_by_slice.get(name, settings.min_coverage)
        if source[name] == OWN and rates.coverage.count < floor * rates.coverage.total * (1.0 - SLACK):
            raise CalibrationInexact(
                f"a robotic coverage of {floor:g} is required in {name}, its threshold reaches "
                f"{rates.coverage.value:.4g}. Report this with the training set."
            )
