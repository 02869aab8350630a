from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from slidr.metrics import Rate
from tests.backtest_world import small_backtest
from training.backtest.cautions import Caution, cautions_of
from training.backtest.results import Backtest, Verdicts
from training.calibration.certificate import Certificate
from training.calibration.thresholds import OWN
from training.curves import Share
from training.intervals import exact_interval

MANY = Rate(count=20, total=4_000)


def share(count: int, total: int) -> Share:
    low, high = exact_interval(Rate(count=count, total=total))
    return Share(rate=Rate(count=count, total=total), low=low, high=high)


def certificate(*, wrong: int, buyers: int) -> Certificate:
    return Certificate(
        budget=0.05, delta=0.05, clicks_per_buyer=1, counted=Rate(count=wrong, total=buyers), by_click=MANY, beyond=0
    )


@pytest.fixture(scope="module")
def sound() -> Backtest:
    """A backtest that nobody doubts."""
    result = small_backtest()
    ours = Verdicts(fpr=share(20, 4_000), ivr=share(900, 9_000), coverage=share(10, 30))
    expected = result.overall.predicted
    assert expected is not None
    return replace(
        result,
        plan=replace(result.plan, last=result.plan.first + dt.timedelta(days=14), shortened=False),
        overall=replace(
            result.overall, realised=ours, predicted=replace(expected, ivr=Rate(count=100, total=1_000))
        ),
        slices=tuple(replace(one, source=OWN, human_share=0.1) for one in result.slices),
        certificate=certificate(wrong=0, buyers=400),
        enough_purchases=True,
        listed_purchasing=Rate(count=0, total=100),
        coverage=replace(result.coverage, purchases=100, attributed=90),
        density=replace(result.density, clicks=np.ones(168, dtype=np.int64)),
        drift={"ip.n_1h": 0.05},
        auc_labels=0.7,
        effective_sample_size=5_000.0,
        contenders=tuple(replace(one, behind={0.01: (0.02, 0.01, 0.03)}) for one in result.contenders),
    )  # fmt: skip


def realised(result: Backtest, **changes: Share) -> Backtest:
    ours = replace(result.overall.realised, **changes)
    return replace(result, overall=replace(result.overall, realised=ours))


CHANGES: dict[str, Callable[[Backtest], Backtest]] = {
    "Few purchases": lambda r: realised(r, fpr=share(0, 120)),
    "Thresholds at their strictest": lambda r: replace(r, enough_purchases=False),
    "Listed crawlers that buy": lambda r: replace(r, listed_purchasing=Rate(count=9, total=100)),
    "Over budget": lambda r: realised(r, fpr=share(500, 4_000)),
    "Wide interval": lambda r: realised(r, fpr=Share(rate=MANY, low=0.001, high=0.2)),
    "Budget not certified": lambda r: replace(r, certificate=certificate(wrong=0, buyers=20)),
    "Short log": lambda r: replace(r, plan=replace(r.plan, last=r.plan.first + dt.timedelta(days=4))),
    "Short attribution window": lambda r: replace(r, plan=replace(r.plan, shortened=True)),
    "Hours never seen": lambda r: replace(r, density=replace(r.density, clicks=np.zeros(168, dtype=np.int64))),
    "Drift": lambda r: replace(r, drift={"ip.n_1h": 0.4}),
    "Other than predicted": lambda r: realised(r, ivr=share(30, 9_000)),
    "Slices without a threshold of their own": lambda r: replace(
        r, slices=tuple(replace(one, source="") for one in r.slices)
    ),
    "Slices of one class": lambda r: replace(r, slices=(replace(r.slices[0], human_share=0.0), *r.slices[1:])),
    "One slice": lambda r: replace(r, slices=r.slices[:1]),
    "No IP addresses": lambda r: replace(r, coverage=replace(r.coverage, with_ip=0.0)),
    "Purchases without a click": lambda r: replace(r, coverage=replace(r.coverage, attributed=10)),
    "Hardly better than chance": lambda r: replace(r, auc_labels=0.51),
    "A baseline does better": lambda r: replace(
        r, contenders=(*r.contenders[:-1], replace(r.contenders[-1], behind={0.01: (-0.02, -0.03, -0.01)}))
    ),
    "Not compared: LightGBM": lambda r: replace(r, skipped={"LightGBM": "it is not installed"}),
    "Small effective sample": lambda r: replace(r, effective_sample_size=300.0),
}
GRAVE = {
    "Few purchases", "Thresholds at their strictest", "Listed crawlers that buy", "Over budget", "Wide interval",
    "Short log", "Hardly better than chance",
}  # fmt: skip


def test_a_sound_backtest_is_not_doubted(sound: Backtest) -> None:
    assert cautions_of(sound) == ()


@pytest.mark.parametrize("title", CHANGES)
def test_each_doubt_has_its_cause(sound: Backtest, title: str) -> None:
    found = cautions_of(CHANGES[title](sound))

    assert [caution.title for caution in found] == [title]
    assert found[0].grave == (title in GRAVE)
    assert found[0].text.endswith((".", "installed"))


def test_grave_doubts_come_first(sound: Backtest) -> None:
    doubted = CHANGES["Over budget"](CHANGES["Drift"](sound))
    titles = [caution.title for caution in cautions_of(doubted, rejected=3)]

    assert titles == ["Over budget", "Drift", "Rejected records"]
    many = cautions_of(sound, rejected=sum(part.clicks for part in sound.parts))
    assert many == (Caution(many[0].title, many[0].text, grave=True),)
