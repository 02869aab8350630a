"""What a report says first: the figures, the doubts, how it was done, curves and thresholds by slice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from slidr.markup import Markup, tag, together
from training.backtest.cautions import Caution
from training.backtest.plan import in_words
from training.backtest.results import AdvertiserBill, Backtest, SliceOutcome
from training.calibration.curve import NEVER
from training.calibration.thresholds import CAPPED, OWN
from training.curves import Share
from training.report.plots import Line, Mark, curve_plot, key, knee_mark, timeline
from training.report.tables import table, with_note
from training.report.words import NOTHING, between, counts, moment, money, percent, plain_percent, share_text
from training.slice_names import slice_title

_SHORT: Final = {"train": "trains", "stop": "stops the training", "choose": "chooses thresholds", "judge": "is judged"}


def headline(result: Backtest) -> Markup:
    """The figures that a reader came for."""
    ours = result.overall.realised
    budget = result.settings.hyperparameters.fpr_budget
    all_money = _money_not_billed(result.bills)
    cards = [
        _card(
            "Clicks made invalid (IVR)",
            percent(ours.ivr.rate.value),
            f"95%: {between(ours.ivr.low, ours.ivr.high)}; {counts(ours.ivr.rate)} clicks"
            + (f"; crawlers on the list besides: {percent(result.listed.value)}" if result.listed.count else ""),
        ),
        _card(
            "Purchasing clicks among them (FPR)",
            percent(ours.fpr.rate.value),
            f"95%: {between(*ours.fpr.rate.interval)}; {counts(ours.fpr.rate)}; budget {plain_percent(budget)}",
        ),
        _card(
            "Robotic coverage",
            percent(ours.coverage.rate.value),
            f"95%: {between(ours.coverage.low, ours.coverage.high)}; of {ours.coverage.rate.total:,} clicks in "
            "sessions with over 10 clicks in an hour"
            if ours.coverage.rate.total
            else "no session has over 10 clicks in an hour",
        ),
        _card(
            "Would not have been billed",
            all_money[0] if all_money else f"{sum(bill.not_billed for bill in result.bills):,} clicks",
            "; ".join([*all_money[1:], "by all verdicts of the later days, lists included"])
            if all_money
            else "the log does not say what a click costs",
        ),
    ]
    return tag("dl", cards, class_="headline")


def _card(title: str, figure: str, small: str) -> Markup:
    return tag("div", tag("dt", title), tag("dd", figure, class_="figure"), tag("dd", small, class_="small"))


def _money_not_billed(bills: Sequence[AdvertiserBill]) -> list[str]:
    """What was not billed in each currency, that of most clicks first."""
    clicks: Counter[str] = Counter()
    micros: Counter[str] = Counter()
    for bill in bills:
        clicks[bill.currency] += bill.clicks
        micros[bill.currency] += bill.not_billed_micros
    return [money(micros[currency], currency) for currency, _ in clicks.most_common() if micros[currency]]


def doubts(cautions: Sequence[Caution]) -> Markup:
    """What speaks against believing the figures."""
    if not cautions:
        return tag("p", "None of the usual doubts applies to this log.")
    said = [
        tag("li", tag("strong", one.title), tag("span", one.text), class_="grave" if one.grave else None)
        for one in cautions
    ]
    return tag("ul", said, class_="cautions")


def method(result: Backtest) -> Markup:
    """Which part of the log did what."""
    plan = result.plan
    rows = [
        [together(tag("span", class_=f"swatch part{i}"), f" {_SHORT[part.name]}"),
         with_note(moment(part.first), f"to {moment(part.last)}"), f"{part.clicks:,}", f"{part.purchasing:,}"]
        for i, part in enumerate(result.parts)
    ]  # fmt: skip
    return together(
        tag(
            "p",
            f"A release was made as it would have been on {moment(plan.split)} UTC, from what was known then, and its "
            "thresholds were put to every later click. A purchase belongs to the last click of the same person for the "
            f"same advertiser or item in the {in_words(plan.window)} before it. Clicks younger than that, and crawlers "
            "that name themselves, are in none of these parts.",
        ),
        tag("figure", timeline(result.parts, title="Which stretch of the log is used for what"), class_="wide"),
        table("Times are UTC.", ["this part", "from", "clicks", "purchasing"], rows),
    )


def curves(result: Backtest) -> Markup:
    """IVR over FPR, of all later traffic and of each slice."""
    shown = [one for one in (result.overall, *result.slices) if one.curve is not None]
    if len(result.slices) == 1:
        shown = shown[:1]
    plots = [tag("figure", tag("h3", slice_title(one.name)), _slice_plot(one), tag("figcaption", _told(one)))
             for one in shown]  # fmt: skip
    without = [slice_title(one.name) for one in result.slices if one.curve is None]
    return together(
        tag(
            "p",
            "Each threshold of the score invalidates a share of all clicks (IVR, upwards) and of the purchasing ones "
            "(FPR, to the right, by its square root: budgets are small). A random score would give IVR = FPR. The band "
            "is the 95% interval over people.",
        ),
        key(
            [("chosen", "the threshold that was chosen before"), ("knee", "knee: from here FPR rises faster than IVR")]
        ),
        tag("div", plots, class_="plots"),
        tag("p", f"Without a purchase, hence without a curve: {', '.join(without)}.", class_="note") if without else "",
    )


def _slice_plot(one: SliceOutcome) -> Markup:
    assert one.curve is not None  # noqa: S101 - the caller's filter
    chosen = Mark(name="chosen", style="chosen", fpr=one.realised.fpr.rate.value, ivr=one.realised.ivr.rate.value)
    marks = [*([knee_mark(one.knee)] if one.knee else []), chosen]
    title = f"IVR over FPR, {slice_title(one.name)}"
    return curve_plot([Line(name="network", style="network", curve=one.curve)], marks, title=title, band=True)


def _told(one: SliceOutcome) -> str:
    """A curve in words, for who cannot see it."""
    knee = f" Knee at FPR {percent(one.knee.fpr)}, IVR {percent(one.knee.ivr)}." if one.knee else ""
    return (
        f"Chosen: IVR {percent(one.realised.ivr.rate.value)} at FPR {percent(one.realised.fpr.rate.value)} "
        f"({counts(one.realised.fpr.rate)} purchasing clicks).{knee}"
    )


def thresholds(result: Backtest) -> Markup:
    """What each slice was given, what was expected of it, what it did."""
    one = result.one_threshold
    rows = [_slice_row(each) for each in (result.overall, *result.slices)]
    return together(
        table(
            "Thresholds, what they did on the days that chose them, and later. In brackets: 95% intervals over people.",
            ["slice", "threshold", "IVR before", "IVR later", "FPR before", "FPR later", "coverage later"],
            rows,
            ours=1,
        ),
        tag(
            "p",
            "One global threshold, chosen on the same days by the same rule, would have made "
            f"{share_text(one.ivr)} of the later clicks invalid at an FPR of {percent(one.fpr.rate.value)} "
            f"({counts(one.fpr.rate)}), with a robotic coverage of {share_text(one.coverage)}.",
            class_="note",
        ),
    )


def _slice_row(one: SliceOutcome) -> list[Markup | str]:
    before = one.predicted
    if not one.name:
        threshold: Markup | str = "by slice"
    else:
        source = {OWN: "its own", CAPPED: "at its cap"}.get(one.source) or f"of {slice_title(one.source)}"
        said = "never" if one.threshold >= NEVER else f"{one.threshold:.4f}"
        threshold = with_note(said, f"{source}, chosen on {one.chosen_on:,}")
    realised = one.realised
    return [
        with_note(slice_title(one.name), f"{realised.ivr.rate.total:,} clicks"),
        threshold,
        percent(before.ivr.value) if before else NOTHING,
        _with_interval(realised.ivr),
        with_note(percent(before.fpr.value), counts(before.fpr)) if before and before.fpr.total else NOTHING,
        with_note(
            percent(realised.fpr.rate.value), f"{counts(realised.fpr.rate)}; {between(*realised.fpr.rate.interval)}"
        )
        if realised.fpr.rate.total
        else NOTHING,
        _with_interval(realised.coverage),
    ]


def _with_interval(share: Share) -> Markup | str:
    return with_note(percent(share.rate.value), between(share.low, share.high)) if share.rate.total else NOTHING
