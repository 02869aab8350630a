"""A small backtest of simulated days, made once a run, for the tests of its figures, its report and its page."""

from __future__ import annotations

import datetime as dt
from functools import cache

from training.backtest.plan import BacktestSettings
from training.backtest.results import Backtest
from training.backtest.trial import Log, backtest
from training.hyperparameters import Hyperparameters
from training.simulator import Traffic
from training.simulator.log import simulated_log

TRAFFIC = Traffic(seed=3, start=dt.datetime(2026, 6, 1, tzinfo=dt.UTC), clicks_per_day=1_500)
QUICK = Hyperparameters(epochs=3, fpr_budget=0.05, batch_rows=512, min_slice_purchases=20)
SETTINGS = BacktestSettings(hyperparameters=QUICK, baselines=("velocity rule", "logistic regression"), replicates=50)


@cache
def small_log() -> Log:
    """Four days."""
    log = simulated_log(TRAFFIC, days=4)
    return Log(clicks=log.clicks.sort("at", "click_id"), purchases=log.purchases, truth=log.truth)


@cache
def small_backtest() -> Backtest:
    """The backtest of them."""
    return backtest(small_log(), SETTINGS)
