"""What a report says of other ways to decide, and of whom they meet where the truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from slidr.markup import Markup, tag, together
from training.backtest.contenders import NETWORK
from training.backtest.results import Backtest, Contender
from training.curves import ALL, ROBOTIC
from training.report.plots import Line, curve_plot, key
from training.report.tables import table, with_note
from training.report.words import NOTHING, between, percent, plain_percent

_STYLES: Final = {NETWORK: "network", "LightGBM": "trees", "logistic regression": "logistic", "velocity rule": "rule"}
_NEAR: Final = 0.16
"""FPR up to which the scorers are compared in the plot: budgets lie far below."""


def comparison(result: Backtest) -> Markup:
    """The network beside simpler ways, at equal FPR."""
    lines = [
        Line(name=one.name, style=_STYLES[one.name], curve=one.curve)
        for one in reversed(result.contenders)
        if one.curve is not None
    ]
    plot = curve_plot(lines, [], title="IVR over FPR of the network and the baselines", fpr_top=_NEAR)
    named = [(_STYLES[one.name], one.name.partition(",")[0]) for one in result.contenders if one.curve is not None]
    return together(
        tag(
            "p",
            "Here every threshold is chosen on the later clicks themselves, for all alike, so that each invalidates "
            "the same share of purchasing clicks: that ranks them fairly, and flatters all of them a little.",
        ),
        tag("figure", plot, key(named), class_="wide"),
        table(
            "IVR at equal FPR. In brackets: 95% intervals over people; below, by how much the network is ahead.",
            ["decided by", *(f"FPR {plain_percent(stated)}" for stated in result.stated)],
            [_contender_row(one, result.stated) for one in result.contenders],
            ours=2,
        ),
        _coverage_table(result),
    )


def _contender_row(one: Contender, stated: Sequence[float]) -> list[Markup | str]:
    cells: list[Markup | str] = []
    if one.at is None:
        cells = [percent(one.by_slice[rate].value) if rate in one.by_slice else NOTHING for rate in stated]
        return [with_note(one.name, "best thresholds by slice"), *cells]
    low, high = one.at.interval(ALL)
    for i, rate in enumerate(stated):
        note: list[Markup | str] = [f"({between(low[i], high[i])})"]
        if rate in one.behind:
            ahead, least, most = one.behind[rate]
            said = f"{ahead:+.2%} ({100 * least:+.2f} to {100 * most:+.2f})"
            note.append(tag("span", said, class_="small"))
        cells.append(with_note(percent(float(one.at.values(ALL)[i])), note))
    return [with_note(one.name, one.backend.partition(", ")[2] or one.backend), *cells]


def _coverage_table(result: Backtest) -> Markup:
    if not result.overall.realised.coverage.rate.total:
        return together()
    rows = [
        [one.name, *(percent(float(value)) for value in one.at.values(ROBOTIC))]
        for one in result.contenders
        if one.at is not None
    ]
    head = ["decided by", *(f"FPR {plain_percent(stated)}" for stated in result.stated)]
    return tag(
        "details", tag("summary", "Robotic coverage at equal FPR"), table("Robotic coverage", head, rows, ours=1)
    )


def truth(result: Backtest) -> Markup:
    """Of simulated traffic: whom the verdicts met."""
    rows = [
        [with_note(name.replace("_", " "), "robot" if robot else "people"), f"{share.rate.total:,}",
         with_note(percent(share.rate.value), between(share.low, share.high))]
        for name, (robot, share) in result.families.items()
    ]  # fmt: skip
    return table(
        "Later clicks by who made them: known because they are simulated.", ["family", "clicks", "invalid"], rows
    )
