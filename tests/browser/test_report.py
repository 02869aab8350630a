"""The backtest's report in a real browser: offline, silent, and no wider than its window."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from tests.backtest_world import small_backtest
from tests.browser.chromium import Browser
from training.backtest.cautions import cautions_of
from training.report.page import report

DESKTOP, PHONE = 1280, 390
CONSOLE = {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"}
LIGHT, DARK = False, True
# The text whose colour lies too near to its background's: WCAG's contrast of 4.5, where nothing transparent is between.
FAINT = """(() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = c => c.slice(0, 3).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  const said = [...document.querySelectorAll('body *')].filter(e =>
    [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) && e.tagName !== 'title' && e.checkVisibility());
  return said.filter(e => { const style = getComputedStyle(e);
    const [a, b] = [light(rgb(e.ownerSVGElement ? style.fill : style.color)), light(behind(e))];
    return (Math.max(a, b) + .05) / (Math.min(a, b) + .05) < 4.5;
  }).map(e => e.tagName + ': ' + e.textContent.slice(0, 60));
})()"""


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    result = small_backtest()
    made = dt.datetime(2026, 11, 25, tzinfo=dt.UTC)
    path.write_text(report(result, cautions_of(result), name="four days", made=made), encoding="utf-8")
    return path


def told(browser: Browser, *methods: str) -> list[dict[str, Any]]:
    return [event["params"] for event in browser.events if event.get("method") in methods]


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("dark", [LIGHT, DARK])
def test_opens_without_a_request_or_a_word_on_the_console(
    chromium: Browser, page: Path, width: int, dark: bool
) -> None:
    chromium.load(page, width=width, dark=dark)
    drawn = chromium.ask("document.querySelectorAll('svg.plot path.line').length")

    assert drawn > 4
    assert [asked["request"]["url"] for asked in told(chromium, "Network.requestWillBeSent")] == [page.as_uri()]
    assert told(chromium, *CONSOLE) == []


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_nothing_sticks_out_of_the_window(chromium: Browser, page: Path, width: int) -> None:
    chromium.load(page, width=width)
    assert chromium.ask("innerWidth") == width
    assert chromium.ask("document.documentElement.scrollWidth") == width
    outside = (
        "[...document.querySelectorAll('svg.plot text')].filter(e => { const [a, b] = [e.getBoundingClientRect(), "
    )
    outside += "e.ownerSVGElement.getBoundingClientRect()]; return a.left < b.left - 1 || a.right > b.right + 1; })"
    assert chromium.ask(f"{outside}.map(e => e.textContent)") == []


def test_letters_are_large_enough_on_a_phone(chromium: Browser, page: Path) -> None:
    chromium.load(page, width=PHONE)
    heights = chromium.ask(
        "[...document.querySelectorAll('svg.plot text')].map(e => parseFloat(getComputedStyle(e).fontSize) * "
        "e.ownerSVGElement.getBoundingClientRect().width / e.ownerSVGElement.viewBox.baseVal.width)"
    )
    assert min(heights) >= 9
    assert chromium.ask("parseFloat(getComputedStyle(document.querySelector('td')).fontSize)") >= 13


@pytest.mark.parametrize("dark", [LIGHT, DARK])
def test_text_stands_out_from_its_background(chromium: Browser, page: Path, dark: bool) -> None:
    chromium.load(page, width=DESKTOP, dark=dark)
    chromium.ask("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    background = chromium.ask("getComputedStyle(document.body).backgroundColor")

    assert background == ("rgb(21, 24, 27)" if dark else "rgb(251, 251, 249)")
    assert chromium.ask(FAINT) == []


def test_the_check_for_requests_sees_one(chromium: Browser, tmp_path: Path) -> None:
    path = tmp_path / "asks.html"
    path.write_text("<!doctype html><title>x</title><img src='missing.png'><script>console.error('x')</script>")
    chromium.load(path, width=DESKTOP)

    assert len(told(chromium, "Network.requestWillBeSent")) == 2
    assert told(chromium, "Runtime.consoleAPICalled")
