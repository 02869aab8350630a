"""The report: whole markup, nothing unescaped, every figure where it belongs."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from slidr.markup import Markup, tag
from tests.backtest_world import small_backtest
from training.backtest.cautions import Caution, cautions_of
from training.backtest.results import Backtest
from training.report.page import report
from training.report.scales import Scale, round_up
from training.report.words import percent

MADE = dt.datetime(2026, 11, 25, 9, 30, tzinfo=dt.UTC)
VOID = {"meta", "link", "br", "hr"}


class Page(HTMLParser):
    """What a page holds; fails where an element is closed that was not open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text.append(data)

    def of(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name in names]


def written(result: Backtest, *cautions: Caution, name: str = "clicks.jsonl") -> str:
    return report(result, cautions or cautions_of(result), name=name, made=MADE)


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(written(small_backtest()))


def test_holds_all_that_it_needs(page: Page) -> None:
    text = written(small_backtest())
    assert not re.search(r"(?:src|href)=\"(?!#|data:)", text)
    assert "url(" not in text.replace("url(#empty)", "")
    assert not page.of("script", "iframe", "img", "object")
    assert text.startswith("<!doctype html>")


def test_can_be_walked_by_headings_links_and_keyboard(page: Page) -> None:
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert len(ids) == sum("id" in attributes for _, attributes in page.elements)
    links = [attributes["href"] for attributes in page.of("a")]
    assert links
    assert all(link is not None and link.removeprefix("#") in ids for link in links)
    assert all(attributes.get("aria-label") or attributes.get("aria-hidden") for attributes in page.of("svg"))
    assert all(attributes.get("scope") in {"row", "col"} for attributes in page.of("th"))
    assert [name for name, _ in page.elements if name == "h1"] == ["h1"]
    assert page.of("html")[0]["lang"] == "en"


def test_says_the_figures_that_were_found(page: Page) -> None:
    said, result = " ".join(page.text), small_backtest()
    ours = result.overall.realised

    assert percent(ours.ivr.rate.value) in said
    assert f"{ours.fpr.rate.count:,} of {ours.fpr.rate.total:,}" in said
    for one in result.contenders:
        assert one.name in said
    for one in result.slices:
        assert f"{one.realised.ivr.rate.total:,} clicks" in said
    assert all(bill.advertiser in said for bill in result.bills[:3])
    assert "named crawler" in said
    assert len(page.of("rect")) >= 168


def test_a_curve_is_drawn_for_all_traffic_and_for_each_slice_with_purchases(page: Page) -> None:
    drawn = [a for a in page.of("svg") if (a.get("aria-label") or "").startswith("IVR over FPR, ")]
    result = small_backtest()
    assert len(drawn) == 1 + sum(one.curve is not None for one in result.slices)


def test_nothing_of_the_log_is_taken_for_markup() -> None:
    result = small_backtest()
    nasty = "<script>alert('&')</script>"
    bills = (replace(result.bills[0], advertiser=nasty, currency="<b>"), *result.bills[1:])
    text = written(replace(result, bills=bills), Caution(nasty, nasty), name=nasty)

    assert "<script" not in text
    assert "<b>" not in text
    assert nasty in " ".join(Page(text).text)


def test_a_log_without_costs_families_sessions_or_invalid_clicks_still_has_a_report() -> None:
    result = small_backtest()
    bare = replace(
        result,
        families={},
        bills=tuple(replace(bill, cost_micros=0, not_billed_micros=0) for bill in result.bills),
        coverage=replace(result.coverage, with_cost=0.0),
        reasons=replace(result.reasons, listed=0, behaviour=0, groups=(), features=()),
        slices=(replace(result.slices[0], curve=None, knee=None, predicted=None), *result.slices[1:]),
        contenders=result.contenders[:2],
    )
    said = " ".join(Page(written(bare)).text)

    assert "the log does not say what a click costs" in said
    assert "No later click would have been invalid." in said
    assert "without a curve" in said
    assert "Who was found" not in said


def test_markup_escapes_all_but_markup() -> None:
    assert tag("p", "<i>", Markup("<i></i>"), title='a"b') == '<p title="a&quot;b">&lt;i&gt;<i></i></p>'


@pytest.mark.parametrize("top", [0.01, 0.04, 0.15, 0.3, 0.6, 1.0])
def test_ticks_lie_on_the_scale(top: float) -> None:
    for root in (False, True):
        scale = Scale(top=top, start=0, end=100, root=root)
        assert 2 <= len(scale.ticks) <= 7
        assert max(scale.ticks) <= top
        places = [scale.place(tick) for tick in scale.ticks]
        assert places == sorted(places)
        assert all(0 <= place <= 100 for place in places)


def test_a_scale_holds_what_it_is_made_for() -> None:
    assert all(round_up(value) >= value for value in (0.0, 0.003, 0.5, 0.99, 1.0))
