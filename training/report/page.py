"""The whole report as one HTML page: no script, no network, no other file."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from importlib import resources

from slidr.features import SPEC_HASH
from slidr.markup import Markup, tag, together
from training.backtest.cautions import Caution
from training.backtest.results import Backtest
from training.report import comparison, findings, sections
from training.report.words import moment, percent

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a browser may fetch for the page: nothing."""


def report(result: Backtest, cautions: Sequence[Caution], *, name: str, made: dt.datetime) -> str:
    """The page.

    Args:
        result: of a backtest.
        cautions: training.backtest.cautions.cautions_of it.
        name: of the log.
        made: when.
    """
    parts = [
        ("figures", "In short", sections.headline(result)),
        ("doubts", "Doubts", sections.doubts(cautions)),
        ("method", "How this was found", sections.method(result)),
        ("curves", "Curves", sections.curves(result)),
        ("thresholds", "Thresholds by slice", sections.thresholds(result)),
        ("comparison", "Beside simpler ways", comparison.comparison(result)),
        ("bills", "Who would have been billed less", findings.bills(result)),
        ("reasons", "Why", together(findings.reasons(result), findings.drift(result))),
        ("hours", "When people click", findings.density(result)),
    ]
    if result.families:
        parts.insert(6, ("truth", "Who was found", comparison.truth(result)))
    title = f"Backtest of {name}"
    page = tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("link", rel="icon", href="data:,"),
            tag("title", title),
            tag("style", Markup(resources.files("training.report").joinpath("report.css").read_text("utf-8"))),
        ),
        tag(
            "body",
            _head(result, title, [(anchor, heading) for anchor, heading, _ in parts]),
            tag("main", [tag("section", tag("h2", heading), body, id=anchor) for anchor, heading, body in parts]),
            _foot(made),
        ),
        lang="en",
    )
    return f"<!doctype html>\n{page}\n"


def _head(result: Backtest, title: str, anchors: Sequence[tuple[str, str]]) -> Markup:
    ours, judged = result.overall.realised, result.parts[-1]
    sentence = (
        f"From {moment(judged.first)} to {moment(judged.last)} UTC, {percent(ours.ivr.rate.value)} of "
        f"{ours.ivr.rate.total:,} clicks would have been invalid, among them {ours.fpr.rate.count:,} of the "
        f"{ours.fpr.rate.total:,} that led to a purchase."
    )
    links = tag("nav", tag("ul", [tag("li", tag("a", heading, href=f"#{anchor}")) for anchor, heading in anchors]),
                aria_label="Contents")  # fmt: skip
    return tag("header", tag("h1", title), tag("p", sentence), links)


def _foot(made: dt.datetime) -> Markup:
    return tag(
        "footer",
        tag(
            "p",
            "FPR here is a proxy. It takes clicks that led to a purchase for human (robots that buy escape it), and "
            "takes other people's clicks to be invalidated as often as buyers' in the same slice (who only browses may "
            "fare worse). Labels are weak: most human clicks led to no purchase. A score ranks; it is no probability.",
        ),
        tag("p", f"Made by slidr backtest on {moment(made)} UTC, feature spec {SPEC_HASH}. Nothing was sent anywhere."),
    )
