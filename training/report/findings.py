"""What a report says of the clicks: who would have been billed less, why clicks were invalid, when people click."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from slidr.markup import Markup, tag, together
from slidr.release import HOURS_OF_WEEK
from training.backtest.results import AdvertiserBill, Backtest
from training.report.plots import DAYS, heat_map
from training.report.tables import table
from training.report.words import NOTHING, money, percent, quantity

ADVERTISERS: Final = 15
"""Shown by name; the others are one row."""
ADVERTISERS_EACH: Final = 8
"""The same where there are several currencies."""
FEATURES: Final = 10


def bills(result: Backtest) -> Markup:
    """Clicks and money that would not have been billed, by advertiser; a table for each currency."""
    clicks: Counter[str] = Counter()
    for bill in result.bills:
        clicks[bill.currency] += bill.clicks
    tables = []
    for currency, _ in clicks.most_common():
        mine = [bill for bill in result.bills if bill.currency == currency]
        named = ADVERTISERS if len(clicks) == 1 else ADVERTISERS_EACH
        rows = [[one.advertiser, *_bill_cells([one])] for one in mine[:named]]
        if len(mine) > named:
            rows.append([f"{len(mine) - named:,} others", *_bill_cells(mine[named:])])
        rows.append(["together", *_bill_cells(mine)])
        if result.coverage.with_cost:
            head, caption = ["advertiser", "clicks", "not billed", "share", "cost", "not billed"], f"In {currency}."
        else:
            head, rows, caption = (
                ["advertiser", "clicks", "not billed", "share"],
                [row[:4] for row in rows],
                "In clicks.",
            )
        tables.append(table(caption, head, rows))
    said = "All clicks of the later days, with the verdicts that they would have had in enforce mode, lists included."
    return together(tag("p", said), tables)


def _bill_cells(bills: Sequence[AdvertiserBill]) -> list[str]:
    clicks, not_billed = sum(one.clicks for one in bills), sum(one.not_billed for one in bills)
    currency = bills[0].currency
    return [
        f"{clicks:,}",
        f"{not_billed:,}",
        percent(not_billed / clicks),
        money(sum(one.cost_micros for one in bills), currency),
        money(sum(one.not_billed_micros for one in bills), currency),
    ]


def reasons(result: Backtest) -> Markup:
    """Why clicks were invalid: by list or behaviour, and which features they hang on."""
    found = result.reasons
    total = found.listed + found.behaviour
    if not total:
        return tag("p", "No later click would have been invalid.")
    rows = [
        [name, f"{count:,}", percent(count / total)]
        for name, count in (("robotic behaviour", found.behaviour), ("known crawler (list)", found.listed))
    ]
    groups = [[one.name, tag("span", percent(one.turned), _bar(one.turned))] for one in found.groups]
    single = [
        [one.name, quantity(one.among_invalid), quantity(one.among_valid), percent(one.turned)]
        for one in found.features[:FEATURES]
    ]
    return together(
        table("Verdicts of the later days by reason.", ["reason", "clicks", "share"], rows),
        tag(
            "p",
            "Of the clicks that the network made invalid: how many would have been valid, had only this been as it is "
            "in a typical valid click. Features that tell the same thing stand in for each other, so single ones turn "
            "fewer.",
        )
        if groups
        else "",
        table("What the network's verdicts hang on.", ["evidence", "turned valid"], groups) if groups else "",
        table("Single features (medians).", ["feature", "invalid", "valid", "turned valid"], single) if single else "",
    )


def _bar(share: float) -> Markup:
    return tag("span", class_="bar", style=f"width:{max(share, 0.01):.1%}")


def density(result: Backtest) -> Markup:
    """When people click, by what the labels say."""
    shares = np.divide(
        result.density.human, result.density.clicks, out=np.zeros(HOURS_OF_WEEK), where=result.density.clicks > 0
    )
    rows = [
        [f"{hour:02d}:00", *(percent(shares[day * 24 + hour]) if result.density.clicks[day * 24 + hour] else NOTHING
                             for day in range(7))]
        for hour in range(24)
    ]  # fmt: skip
    return together(
        tag(
            "p",
            "The share of clicks with the label human (they led to a purchase, or their account buys a lot) in each "
            "hour of the local week. Hours without people are where robots show, and where thresholds know least.",
        ),
        tag("figure", heat_map(result.density, title="Human share by hour of the week"), class_="wide"),
        tag("details", tag("summary", "The same as a table"), table("Human share", ["hour", *DAYS], rows)),
    )


def drift(result: Backtest) -> Markup:
    """Which features moved."""
    rows = [[name, f"{index:.3f}"] for name, index in list(result.drift.items())[:FEATURES]]
    return tag(
        "details",
        tag("summary", "What changed between the days that chose thresholds and the later ones"),
        table("Population stability index: below 0.1 the same, above 0.25 moved.", ["feature", "index"], rows),
    )
