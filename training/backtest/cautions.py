"""The doubts that a statistician would raise about a backtest, with what would remove them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from slidr.release import HOURS_OF_WEEK
from training.backtest.drift import MOVED
from training.backtest.plan import in_words
from training.backtest.results import Backtest, Contender
from training.calibration.thresholds import OWN
from training.intervals import exact_interval
from training.slice_names import slice_title

FEW_PURCHASES: Final = 299
"""With fewer, even no false positive at all does not show an FPR below 1% at 95%."""
SHORT: Final = dt.timedelta(days=10)
"""Fewer days do not show weekends to the weights (training/LOG.md)."""
VERY_SHORT: Final = dt.timedelta(days=5)
FEW_ROWS: Final = 2_000
BARELY: Final = 0.6
"""An AUC below this hardly ranks at all."""
_ONE_CLASS: Final = 0.002


@dataclass(frozen=True, slots=True)
class Caution:
    """One doubt."""

    title: str
    text: str
    grave: bool = False
    """Whether the headline figures should not be believed because of it."""


def cautions_of(result: Backtest, *, rejected: int = 0) -> tuple[Caution, ...]:
    """All doubts about a backtest, the grave ones first.

    Args:
        result: the backtest.
        rejected: records of the log that broke their contract.
    """
    found = [
        *_about_purchases(result),
        *_about_certainty(result),
        *_about_time(result),
        *_about_change(result),
        *_about_slices(result),
        *_about_fields(result),
        *_about_contenders(result),
        *_about_rows(result, rejected),
    ]
    return tuple(sorted(found, key=lambda one: not one.grave))


def _about_purchases(result: Backtest) -> Iterator[Caution]:
    bought, budget = result.overall.realised.fpr.rate.total, result.settings.hyperparameters.fpr_budget
    if bought < FEW_PURCHASES:
        text = (
            f"The later days have {bought:,} purchasing clicks, so one false positive is {1 / bought:.1%} of FPR. "
            "With none wrong, 299 are needed to show 1%, and 2,995 to show 0.1%."
        )
        yield Caution("Few purchases", text, grave=True)
    if not result.enough_purchases:
        text = (
            f"They were chosen on {result.overall.chosen_on:,} purchasing clicks: too few for the FPR to be within "
            f"{budget:.2%} with confidence, so no threshold lies below the highest score of a buyer. Take more days, "
            "or a larger --fpr-budget."
        )
        yield Caution("Thresholds at their strictest", text, grave=True)
    listed = result.listed_purchasing
    if listed.count:
        text = (
            f"{listed.count:,} purchasing clicks carry the user agent of a listed crawler. They are invalid whatever "
            "the thresholds, and are charged to the budget first."
        )
        yield Caution("Listed crawlers that buy", text, grave=listed.value > budget)


def _about_certainty(result: Backtest) -> Iterator[Caution]:
    fpr, budget = result.overall.realised.fpr, result.settings.hyperparameters.fpr_budget
    low, high = exact_interval(fpr.rate)
    low, high = min(low, fpr.low), max(high, fpr.high)
    if low > budget:
        text = (
            f"The later FPR is {fpr.rate.value:.2%}, and the whole of its 95% interval ({low:.2%} to {high:.2%}) lies "
            f"above the budget of {budget:.2%}: thresholds of earlier days do not hold here."
        )
        yield Caution("Over budget", text, grave=True)
    elif high > budget:
        text = f"The later FPR may be as high as {high:.2%} (95%): these days do not show that {budget:.2%} holds."
        yield Caution("Wide interval", text, grave=high > 3 * budget)
    if not result.certificate.certified:
        text = (
            f"On buyers of the days that chose thresholds, held back to certify them at 95%: {result.certificate.says} "
            "(buyers). More days, or a larger budget, would do."
        )
        yield Caution("Budget not certified", text)


def _about_time(result: Backtest) -> Iterator[Caution]:
    plan, seen = result.plan, int((result.density.clicks > 0).sum())
    if plan.span < SHORT:
        text = (
            f"The log spans {in_words(plan.span)}. With fewer than ten days the network learns from weekdays what it "
            "does on weekends, or the other way round; with fewer than five, hardly anything repeats."
        )
        yield Caution("Short log", text, grave=plan.span < VERY_SHORT)
    if plan.shortened:
        text = (
            f"A click had {in_words(plan.window)} to lead to a purchase, not 24 hours: with more, too few clicks would "
            "be old enough to tell. Later purchases count as none, so people look more robotic than they are."
        )
        yield Caution("Short attribution window", text)
    if seen < HOURS_OF_WEEK:
        text = f"{HOURS_OF_WEEK - seen} of the week's {HOURS_OF_WEEK} hours have no mature click: they are unknown."
        yield Caution("Hours never seen", text)


def _about_change(result: Backtest) -> Iterator[Caution]:
    moved = [name for name, index in result.drift.items() if index > MOVED]
    if moved:
        text = (
            f"{len(moved)} features moved between the days that chose thresholds and the later ones (stability index "
            f"above {MOVED:g}): {', '.join(moved[:3])}{' and others' if len(moved) > 3 else ''}. The less the past "
            "promises."
        )
        yield Caution("Drift", text)
    expected, came = result.overall.predicted, result.overall.realised.ivr
    if expected is not None and expected.ivr.total and not came.low / 1.5 <= expected.ivr.value <= came.high * 1.5:
        text = (
            f"On the days that chose thresholds {expected.ivr.value:.1%} of the clicks were "
            f"invalid; of the later ones {came.rate.value:.1%} ({came.low:.1%} to {came.high:.1%})."
        )
        yield Caution("Other than predicted", text)


def _about_slices(result: Backtest) -> Iterator[Caution]:
    slices = result.slices
    borrowing = sum(one.source != OWN for one in slices)
    if borrowing and len(slices) > 1:
        text = (
            f"{borrowing} of {len(slices)} slices have too few purchasing clicks to choose on and use a wider slice's "
            "threshold, raised where it would cost them more than the cap; its people may be unlike theirs."
        )
        yield Caution("Slices without a threshold of their own", text)
    one_class = [one for one in slices if not _ONE_CLASS <= one.human_share <= 1 - _ONE_CLASS]
    if one_class:
        named = ", ".join(f"{slice_title(one.name)} ({one.human_share:.1%} labelled human)" for one in one_class[:4])
        text = f"{named}: with nearly one label only, nothing tells people from robots there."
        yield Caution("Slices of one class", text, grave=len(one_class) == len(slices))
    if len(slices) == 1:
        text = (
            f"All traffic is of one slice ({slice_title(slices[0].name)}), so thresholds by slice and one global "
            "threshold are the same."
        )
        yield Caution("One slice", text)


def _about_fields(result: Backtest) -> Iterator[Caution]:
    fields = result.coverage
    shares = {"users": fields.with_user, "sessions": fields.with_session, "IP addresses": fields.with_ip}
    missing = [name for name, share in {**shares, "user agents": fields.with_user_agent}.items() if not share]
    if missing:
        text = "Features of what a log does not name are absent."
        if "sessions" in missing:
            text += " Without sessions there is no robotic coverage."
        if {"users", "sessions"} <= set(missing):
            text += " Without users too only a click's id leads a purchase to it, and an IP, or a click, is a person."
        yield Caution(f"No {' and no '.join(missing)}", text)
    if fields.attributed < fields.purchases / 2:
        text = (
            f"{fields.attributed:,} of {fields.purchases:,} purchases lead back to a click. The others may be orders "
            "that no ad led to; or people and goods may be named in another way than in the clicks."
        )
        yield Caution("Purchases without a click", text)


def _about_contenders(result: Backtest) -> Iterator[Caution]:
    if result.auc_labels < BARELY:
        text = (
            f"The network's AUC against the later labels is {result.auc_labels:.2f}, where 0.5 is chance: what this "
            "log tells of a click hardly parts buyers from the rest."
        )
        yield Caution("Hardly better than chance", text, grave=True)

    def ahead(one: Contender) -> bool:
        return any(high < 0 for _, _, high in one.behind.values())

    better = [one.name for one in result.contenders if ahead(one)]
    if better:
        text = f"At some equal FPR more clicks are invalidated than by the network, beyond chance: {', '.join(better)}."
        yield Caution("A baseline does better", text)
    for name, why in result.skipped.items():
        yield Caution(f"Not compared: {name}", why)


def _about_rows(result: Backtest, rejected: int) -> Iterator[Caution]:
    clicks = sum(part.clicks for part in result.parts)
    if rejected:
        text = f"{rejected:,} records break their contract and were left out; the command tells their reasons."
        yield Caution("Rejected records", text, grave=rejected > clicks / 20)
    if result.effective_sample_size < FEW_ROWS:
        text = (
            "Once hours, weekdays, logins and labels weigh the same, the training rows tell as much as "
            f"{result.effective_sample_size:,.0f} equal ones."
        )
        yield Caution("Small effective sample", text)
