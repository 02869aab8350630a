from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest

from training.backtest.plan import BacktestImpossible, BacktestSettings, plan_of

START = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
AT = pl.Datetime("ms", "UTC")
HOUR = dt.timedelta(hours=1)


def clicks(times: list[dt.datetime]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "click_id": [f"c-{i}" for i in range(len(times))], "at": times,
            "user_token": ["u"] * len(times), "session_token": ["s"] * len(times),
            "advertiser": ["a"] * len(times), "ad": ["i"] * len(times),
        },
        schema_overrides={"at": AT},
    )  # fmt: skip


def orders(times: list[dt.datetime]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "at": times, "user_token": ["u"] * len(times), "session_token": ["s"] * len(times),
            "advertiser": ["a"] * len(times), "item": ["i"] * len(times), "click_id": [None] * len(times),
        },
        schema_overrides={"at": AT, "click_id": pl.String},
    )  # fmt: skip


def every(step: dt.timedelta, *, days: float) -> list[dt.datetime]:
    return [START + i * step for i in range(int(days * dt.timedelta(days=1) / step))]


def test_a_log_of_days_is_split_at_midnight_and_keeps_the_whole_window() -> None:
    plan = plan_of(clicks(every(HOUR, days=11)), orders([START + HOUR]), BacktestSettings())

    assert plan.split == START + dt.timedelta(days=6)  # 70% of ten mature days, back to midnight
    assert plan.window == dt.timedelta(hours=24)
    assert not plan.shortened


def test_a_short_log_has_the_window_that_its_purchases_need() -> None:
    times = every(dt.timedelta(minutes=1), days=1)
    bought = [at + dt.timedelta(seconds=30) for at in times[:-1:20]] + [times[-1] + dt.timedelta(minutes=3)]
    plan = plan_of(clicks(times), orders(bought), BacktestSettings())

    assert plan.window == dt.timedelta(minutes=2)  # 99% come within the first minute or a little more
    assert plan.shortened
    mature = times[-1] - plan.window
    share = np.mean([at < plan.split for at in times if at <= mature])
    assert share == pytest.approx(0.7, abs=0.01)
    assert plan.until > bought[-1]


def test_no_window_takes_more_than_a_fifth_of_a_short_log() -> None:
    times = every(dt.timedelta(minutes=1), days=1)
    late = [at + dt.timedelta(seconds=59) for at in times[:-1:20]] + [times[-1] + 6 * HOUR] * 50
    assert plan_of(clicks(times), orders(late), BacktestSettings()).window <= (times[-1] - times[0]) / 5


def test_what_is_asked_for_is_taken() -> None:
    asked = BacktestSettings(train_days=2.5, window=2 * HOUR)
    plan = plan_of(clicks(every(HOUR, days=4)), orders([START + HOUR]), asked)

    assert plan.split == START + dt.timedelta(days=2.5)
    assert plan.window == 2 * HOUR


@pytest.mark.parametrize(
    ("log", "bought", "settings", "says"),
    [
        ([], [START], BacktestSettings(), "clicks are required"),
        (every(HOUR, days=4), [], BacktestSettings(), "--purchases FILE"),
        (every(HOUR, days=4), [START], BacktestSettings(train_days=3.9, window=24 * HOUR), "another --train-days"),
        (
            every(HOUR, days=4),
            [START],
            BacktestSettings(train_days=0.1, window=24 * HOUR),
            "mature clicks on both sides",
        ),
        (every(HOUR, days=1), [START], BacktestSettings(window=24 * HOUR), "shorter --window-hours"),
        ([START], [START], BacktestSettings(), "came one of 0 minutes"),
    ],
)
def test_says_what_a_log_lacks_and_what_to_do(
    log: list[dt.datetime], bought: list[dt.datetime], settings: BacktestSettings, says: str
) -> None:
    with pytest.raises(BacktestImpossible, match=says):
        plan_of(clicks(log), orders(bought), settings)
