"""The page of a run in a real browser: offline, silent, and no wider than its window, whatever of the run there was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from functions.daily_loop.page import page
from functions.daily_loop.run_record import RunRecord, Step
from slidr.guardrails import Bound, Result
from tests.browser.chromium import Browser
from tests.browser.test_report import CONSOLE, DESKTOP, FAINT, PHONE, told
from training.curves import ALL, JudgedClicks, at_fpr
from training.evaluate_step import curves_fragment
from training.report.plots import Line

SLICE = "device=mobile|logged_in=false"
RATE = {"value": 0.12, "count": 12, "total": 100}
RATES = {"ivr": RATE, "fpr": RATE, "coverage": RATE}


def stopped() -> RunRecord:
    return RunRecord(run="", stage="dev", day="2026-11-20", outcome="stopped", why="NothingToTrainOn: no <clicks>",
                     release="", champion="", execution="arn:" + "x" * 90, asked="the schedule")  # fmt: skip


def promoted() -> RunRecord:
    clicks = JudgedClicks(
        scores=np.linspace(0, 1, 50, dtype=np.float32), purchased=np.arange(50) % 5 == 0, person=np.arange(50),
        groups={ALL: np.ones(50, dtype=np.bool_)},
    )  # fmt: skip
    line = Line(name="candidate", style="network", curve=at_fpr(clicks, np.linspace(0, 0.16, 9), replicates=0))
    results = [
        Result(name=name, scope=SLICE, value=0.5, bound=Bound(high=high), passed=high > 0.5, severity=severity)
        for name, high, severity in (("churn", 0.9, "stop"), ("fpr", 0.1, "stop"), ("certified", 0.1, "warn"))
    ]
    return RunRecord(
        run="day-20261120-12345678", stage="dev", day="2026-11-20", outcome="promoted", why="",
        release="r-0123456789abcdef", champion="r-fedcba9876543210", execution="arn:" + "x" * 90, asked="the schedule",
        steps=[Step(name="BuildDataset", seconds=61.0, dollars=0.007), Step(name="Shadow", seconds=3_600.0)],
        dataset={"first": "2026-11-10", "day": "2026-11-20", "clicks": 1_000_000, "purchasing": 30_000,
                 "later_clicks": 100_000, "later_purchasing": 3_000, "label_rules": {"purchase": 3}, "profiles": 12},
        evaluation={"day": "2026-11-20", "rates": {"candidate": {"overall": RATES, "slices": {SLICE: RATES}},
                    "champion": {"overall": RATES, "slices": {}}}, "auc": {"candidate": 0.7, "champion": 0.6},
                    "certificate": "certified", "thresholds": {SLICE: {"before": None, "after": 0.9}},
                    "churn": {SLICE: {"clicks": 10, "flipped": 1}},
                    "baselines": {"velocity rule": {"at_fpr": 0.01, "fpr": 0.01, "ivr": 0.1, "coverage": None}}},
        curves=curves_fragment([line], []), results={"model": results}, mature="r-00000000000000aa", profiles="written",
        shadow={"shadow": {"summary": {"churn": {SLICE: {"clicks": 9, "flipped": 2}},
                "endpoint": {"invocations": 1_500, "failed": 0, "p99_ms": 12.5}}}},
        prefix="training/day-20261120-12345678/",
    )  # fmt: skip


@pytest.fixture(scope="module", params=[stopped, promoted], ids=lambda make: make.__name__)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "page.html"
    path.write_text(page(request.param()), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("dark", [False, True])
def test_opens_offline_silent_readable_and_within_its_window(
    chromium: Browser, written: Path, width: int, dark: bool
) -> None:
    chromium.load(written, width=width, dark=dark)
    assert [one["request"]["url"] for one in told(chromium, "Network.requestWillBeSent")] == [written.as_uri()]
    assert told(chromium, *CONSOLE) == []
    assert chromium.ask("document.documentElement.scrollWidth") == width
    assert chromium.ask(FAINT) == []
    assert chromium.ask("document.querySelector('h1').textContent").startswith("SLIDR dev: the run of 2026-11-20")
