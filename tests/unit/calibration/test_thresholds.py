from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slidr.click import Click, Device
from slidr.errors import CalibrationInexact, CalibrationInfeasible
from slidr.slices import SliceMap, Thresholds
from training.calibration import thresholds as thresholds_module
from training.calibration.curve import NEVER
from training.calibration.parents import levels_of
from training.calibration.thresholds import (
    CAPPED,
    OWN,
    CalibrationRows,
    CalibrationSettings,
    calibrate,
    overall_rates,
    rates_by_slice,
)
from training.slice_names import slice_names

COLUMNS = ("device", "logged_in")
DEVICES = ("desktop", "mobile", "tablet")


def any_rows(clicks: int = 6_000, *, seed: int = 1, shares: tuple[float, ...] = (0.6, 0.39, 0.01)) -> CalibrationRows:
    """Three devices, logged in or not; robots score higher than people, on tablets less so; a third of people buy."""
    draw = np.random.default_rng(seed)
    device = draw.choice(len(DEVICES), p=shares, size=clicks)
    logged_in = draw.random(clicks) < 0.4
    robot = draw.random(clicks) < np.where(logged_in, 0.2, 0.5)
    skill = np.array([3.0, 2.0, 1.0])[device]
    scores = 1.0 / (1.0 + np.exp(-(draw.normal(size=clicks) + skill * (robot - 0.5))))
    table = pl.DataFrame({"device": np.array(DEVICES)[device], "logged_in": logged_in})
    return CalibrationRows(
        levels=levels_of(table, COLUMNS),
        scores=np.round(scores, 3).astype(np.float32),  # with ties
        purchased=~robot & (draw.random(clicks) < 0.3),
        robotic=robot & (draw.random(clicks) < 0.5),
    )


def shuffled(rows: CalibrationRows, order: np.ndarray) -> CalibrationRows:
    return CalibrationRows(
        levels=tuple(replace(level, code=level.code[order]) for level in rows.levels),
        scores=rows.scores[order],
        purchased=rows.purchased[order],
        robotic=rows.robotic[order],
        listed_clicks=rows.listed_clicks,
        listed_purchases=rows.listed_purchases,
    )


@pytest.mark.parametrize("form", ["exact", "paper"])
@pytest.mark.parametrize("budget", [0.0, 0.002, 0.01, 0.05])
def test_what_it_predicts_is_what_serving_would_do(form: str, budget: float) -> None:
    rows = any_rows()
    calibration = calibrate(rows, CalibrationSettings(budget=budget, form=form))  # type: ignore[arg-type]

    names = [rows.levels[-1].names[code] for code in rows.levels[-1].code]
    invalid = rows.scores >= calibration.thresholds.of(names)
    assert calibration.overall.fpr.count == (invalid & rows.purchased).sum() <= budget * rows.purchases
    assert calibration.overall.ivr.count == invalid.sum()
    for name, rates in calibration.predicted.items():
        mine = np.array(names) == name
        assert (rates.ivr.count, rates.ivr.total) == ((invalid & mine).sum(), mine.sum())
        assert rates.fpr.count == (invalid & mine & rows.purchased).sum()
        assert rates.coverage.total == (mine & rows.robotic).sum()


def test_slices_beat_one_threshold_at_the_same_cost() -> None:
    rows = any_rows(20_000)
    sliced = calibrate(rows, CalibrationSettings(budget=0.02))
    whole = calibrate(replace(rows, levels=rows.levels[:1]), CalibrationSettings(budget=0.02))

    assert whole.thresholds.by_slice == {}
    assert sliced.thresholds.default == whole.thresholds.default
    assert sliced.overall.ivr.count > whole.overall.ivr.count
    assert sliced.exact is not None
    assert sliced.paper is not None
    assert sliced.exact.bound >= sliced.exact.invalid
    assert sliced.gap == sliced.exact.invalid - sliced.paper.invalid


def test_a_slice_with_few_purchases_uses_its_parent() -> None:
    rows = any_rows()
    bought = np.bincount(rows.levels[-1].code[rows.purchased], minlength=6)
    by_device = np.bincount(rows.levels[1].code[rows.purchased])
    assert bought[rows.levels[-1].names.index("device=mobile|logged_in=false")] < by_device[1]

    calibration = calibrate(rows, CalibrationSettings(budget=0.02, n_min=int(bought.max())))

    thresholds, source = calibration.thresholds, calibration.source
    assert len(thresholds.by_slice) == len(source) == len(rows.levels[-1].names)
    assert sorted(set(source.values())) == ["", "device=desktop", "device=mobile", OWN]
    assert source["device=tablet|logged_in=true"] == ""
    assert thresholds.by_slice["device=tablet|logged_in=true"] == thresholds.default
    mobile = {name: t for name, t in thresholds.by_slice.items() if source[name] == "device=mobile"}
    assert len(mobile) == 2
    assert len(set(mobile.values())) == 1
    parents = calibrate(
        replace(rows, levels=rows.levels[:2]), CalibrationSettings(budget=0.02, n_min=int(bought.max()))
    )
    assert set(mobile.values()) == {parents.thresholds.by_slice["device=mobile"]}
    assert calibration.overall.fpr.count <= calibration.allowance


def test_a_parents_threshold_costs_no_slice_more_than_the_cap() -> None:
    """Few of its people buy: not enough to choose a threshold, but enough to tell that the parent's sacrifices them."""
    rows = any_rows(shares=(0.3, 0.2, 0.5))
    out, within = "device=tablet|logged_in=false", "device=tablet|logged_in=true"
    purchased, scores = rows.purchased.copy(), rows.scores.copy()
    for name, buyers, highest in ((out, 60, 1.0), (within, 200, 0.1)):
        mine = np.flatnonzero(rows.levels[-1].code == rows.levels[-1].names.index(name))
        purchased[mine] = False
        purchased[mine[:buyers]] = True
        scores[mine[:buyers]] = np.linspace(0.0, highest, buyers, dtype=np.float32)
    rows = replace(rows, purchased=purchased, scores=scores)
    settings = CalibrationSettings(budget=0.02, n_min=100)

    calibration, uncapped = calibrate(rows, settings), calibrate(rows, replace(settings, cap_factor=1e6))

    assert (uncapped.source[out], calibration.source[out]) == ("device=tablet", CAPPED)
    assert uncapped.thresholds.by_slice[out] < calibration.thresholds.by_slice[out] < NEVER
    cost = calibration.predicted[out].fpr
    assert uncapped.predicted[out].fpr.count > cost.count == int(settings.cap_factor * settings.budget * 60)
    assert calibration.source[within] == OWN
    assert calibration.overall.fpr.count <= calibration.allowance


def test_a_slice_that_keeps_the_cap_has_its_parents_threshold_to_the_bit() -> None:
    """Not the score of its own that is next above: it would be charged a purchasing click for nothing, and more."""
    rows = any_rows()
    tablet = np.array([name.startswith("device=tablet") for name in rows.levels[-1].names])[rows.levels[-1].code]
    scores = np.where(tablet, np.float32(0.05), rows.scores).astype(np.float32)
    scores[np.flatnonzero(tablet & ~rows.purchased)[:5]] = 0.9999
    rows = replace(rows, scores=scores)

    calibration = calibrate(rows, CalibrationSettings(budget=0.02, n_min=100))

    for name in ("device=tablet|logged_in=false", "device=tablet|logged_in=true"):
        assert calibration.source[name] == ""
        assert calibration.thresholds.by_slice[name] == calibration.thresholds.default


def test_a_slice_never_seen_uses_the_threshold_of_all_traffic() -> None:
    calibration = calibrate(any_rows(), CalibrationSettings(budget=0.02))

    assert calibration.thresholds.of(["device=tv|logged_in=true"])[0] == np.float32(calibration.thresholds.default)


@pytest.mark.parametrize("margin", [0, 1])
def test_all_traffic_alone_gets_the_lowest_threshold_that_the_budget_pays_for(margin: int) -> None:
    rows = any_rows()
    whole = replace(rows, levels=rows.levels[:1])
    threshold = calibrate(whole, CalibrationSettings(budget=0.02, margin=margin)).thresholds.default

    allowed = int(0.02 * rows.purchases) - margin
    human = np.sort(rows.scores[rows.purchased])[::-1]
    affordable = [s for s in np.unique(rows.scores) if (human >= s).sum() <= allowed]
    assert np.float32(threshold) == min(affordable)


@pytest.mark.parametrize("form", ["exact", "paper"])
def test_purchases_that_a_list_names_are_charged(form: str) -> None:
    rows = replace(any_rows(), listed_clicks=40, listed_purchases=5)
    settings_ = CalibrationSettings(budget=0.01, form=form)  # type: ignore[arg-type]
    calibration = calibrate(rows, settings_)

    ours = sum(rates.fpr.count for rates in calibration.predicted.values())
    assert calibration.overall.fpr.count == ours + 5 <= 0.01 * rows.purchases
    assert calibration.overall.fpr.total == rows.purchased.sum() + 5
    assert calibration.overall.ivr.total == len(rows.scores) + 40
    with pytest.raises(CalibrationInfeasible, match="lists and given thresholds cost 5"):
        calibrate(rows, CalibrationSettings(budget=0.001, form=form))  # type: ignore[arg-type]


def test_a_slice_whose_share_of_the_budget_is_too_small_uses_its_parent() -> None:
    rows = any_rows()
    bought = np.bincount(rows.levels[-1].code[rows.purchased], minlength=6)
    budget = 0.01

    calibration = calibrate(rows, CalibrationSettings(budget=budget, n_min=1))

    for name, purchases in zip(rows.levels[-1].names, bought, strict=True):
        assert (calibration.source[name] == OWN) == (purchases * budget >= 2.0)


def test_thresholds_keep_the_budget_on_buyers_who_did_not_choose_them() -> None:
    settings_ = CalibrationSettings(budget=0.02)
    charged, uncharged = [], []
    unseen = any_rows(60_000, seed=99)
    for seed in range(12):
        rows = any_rows(4_000, seed=seed)
        charged.append(overall_rates(unseen, calibrate(rows, settings_).thresholds).fpr.value)
        uncharged.append(overall_rates(unseen, calibrate(rows, replace(settings_, margin=0.0)).thresholds).fpr.value)

    assert np.mean(charged) <= 1.1 * 0.02 < np.mean(uncharged)


def test_a_floor_moves_the_budget_to_the_slice_that_needs_it() -> None:
    rows = any_rows(20_000)
    name = "device=mobile|logged_in=true"
    free = calibrate(rows, CalibrationSettings(budget=0.02)).predicted[name].coverage.value
    floored = CalibrationSettings(budget=0.02, min_coverage_by_slice={name: free + 0.05})

    assert calibrate(rows, floored).predicted[name].coverage.value >= free + 0.05
    with pytest.raises(CalibrationInfeasible) as failure:
        calibrate(rows, CalibrationSettings(budget=0.003, min_coverage=0.9))
    assert failure.value.slices
    enough = calibrate(rows, CalibrationSettings(budget=failure.value.least_budget + 1e-6, min_coverage=0.9))
    assert all(enough.predicted[s].coverage.value >= 0.9 for s in failure.value.slices)


@settings(max_examples=8)
@given(st.integers(0, 2**31), st.sampled_from([0.003, 0.02]))
def test_the_order_of_the_rows_does_not_matter(seed: int, budget: float) -> None:
    rows = any_rows(800)
    order = np.random.default_rng(seed).permutation(800)
    chosen = CalibrationSettings(budget=budget, n_min=20)

    assert calibrate(shuffled(rows, order), chosen) == calibrate(rows, chosen)


@settings(max_examples=80)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0.1, 0.5, 0.5, 0.9, 1.0]), st.booleans(), st.booleans()),
                min_size=1, max_size=60), st.sampled_from([0.0, 0.05, 0.3]), st.integers(1, 4))  # fmt: skip
def test_keeps_budget_and_cap_on_whatever_rows(
    clicks: list[tuple[int, float, bool, bool]], budget: float, n_min: int
) -> None:
    table = pl.DataFrame({"device": [DEVICES[c % 3] for c, *_ in clicks], "logged_in": [c > 2 for c, *_ in clicks]})
    rows = CalibrationRows(
        levels=levels_of(table, COLUMNS),
        scores=np.array([score for _, score, *_ in clicks], dtype=np.float32),
        purchased=np.array([bought for *_, bought, _ in clicks]),
        robotic=np.array([robotic for *_, robotic in clicks]),
    )
    calibration = calibrate(rows, CalibrationSettings(budget=budget, n_min=n_min))

    assert calibration.overall.fpr.count <= budget * rows.purchases + 1e-9
    for rates in calibration.predicted.values():
        assert rates.fpr.count <= 3 * budget * rates.fpr.total + 1e-9
    if not rows.purchases:
        assert set(calibration.thresholds.by_slice.values()) == {NEVER}
        assert (calibration.exact, calibration.gap) == (None, None)


def test_the_knee_is_that_of_all_traffic() -> None:
    rows = any_rows()
    found = calibrate(rows, CalibrationSettings(budget=0.02)).knee

    at_knee = overall_rates(rows, Thresholds(default=found.threshold))
    assert (at_knee.fpr.value, at_knee.ivr.value) == pytest.approx((found.fpr, found.ivr))
    assert set(rates_by_slice(rows, Thresholds(default=found.threshold))) == set(rows.levels[-1].names)


def test_a_paper_form_that_fails_stops_only_who_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def inexact(*_: object) -> None:
        raise CalibrationInexact("status")

    monkeypatch.setattr(thresholds_module, "paper_form", inexact)
    calibration = calibrate(any_rows(), CalibrationSettings(budget=0.02))
    assert (calibration.paper, calibration.paper_failed, calibration.gap) == (None, "status", None)
    with pytest.raises(CalibrationInexact, match="status"):
        calibrate(any_rows(), CalibrationSettings(budget=0.02, form="paper"))


@pytest.mark.parametrize(("scores_change", "match"), [(0.2, "they cost"), (-0.9, "is required in")])
def test_thresholds_that_do_not_keep_their_promise_are_an_error(
    monkeypatch: pytest.MonkeyPatch, scores_change: float, match: str
) -> None:
    """As if what is written into the release decided otherwise than what was computed."""
    of = Thresholds.of
    monkeypatch.setattr(Thresholds, "of", lambda self, names: of(self, names) - np.float32(scores_change))

    with pytest.raises(CalibrationInexact, match=match):
        calibrate(any_rows(), CalibrationSettings(budget=0.02, min_coverage=0.01))


def test_names_slices_as_serving_does() -> None:
    columns = ("device", "logged_in", "marketplace", "placement")
    rows = pl.DataFrame(
        {
            "device": ["tablet", "other"],
            "logged_in": [True, False],
            "marketplace": ["de", "us"],
            "placement": ["top", None],
        }
    )
    click = {"click_id": "c", "at": None, "advertiser": "a"}
    clicks = [
        Click(**click, device=Device.TABLET, logged_in=True, marketplace="de", placement="top"),  # type: ignore[arg-type]
        Click(**click, device=Device.OTHER, logged_in=False, marketplace="us"),  # type: ignore[arg-type]
    ]

    assert slice_names(rows, columns).to_list() == SliceMap(columns=columns).names(clicks)


@pytest.mark.parametrize("wrong", [{"n_min": 0}, {"form": "best"}])
def test_refuses_settings_that_mean_nothing(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="n_min must be"):
        calibrate(any_rows(100), CalibrationSettings(budget=0.02, **wrong))  # type: ignore[arg-type]
