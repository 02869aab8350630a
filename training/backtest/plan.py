"""Which clicks of a log train and which are judged, or why it will not do."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl

from slidr.contract import from_epoch_ms
from slidr.errors import SlidrError
from training.baselines import BASELINES
from training.hyperparameters import Hyperparameters
from training.labels import ATTRIBUTION_WINDOW, attribute

DAY: Final = dt.timedelta(days=1)
WINDOWS_A_LOG: Final = 5
"""A log shorter than so many attribution windows has the window shortened, or too little of it would be mature."""
LATE_SHARE: Final = 0.01
"""Share of its purchases that a shortened window may lose beside those that the log is too short to show."""
_WHOLE_DAYS_FROM: Final = dt.timedelta(days=4)
_MINUTE: Final = dt.timedelta(minutes=1)


class BacktestImpossible(SlidrError):
    """A log does not hold what a backtest needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestSettings:
    """What may be chosen of a backtest."""

    hyperparameters: Hyperparameters = field(default_factory=Hyperparameters)
    """Of the release that is made: network, budget, slices."""
    train_share: float = 0.7
    """Of the clicks that can be used, in (0, 1); the rest is judged."""
    train_days: float | None = None
    """Days from the first click on that train; overrides `train_share`."""
    window: dt.timedelta | None = None
    """Attribution window; by default 24 hours, less in a log of less than five days: see `window_of`."""
    baselines: tuple[str, ...] = tuple(BASELINES)
    """Names of training.baselines.BASELINES."""
    replicates: int = 200
    """Of the bootstrap over people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The times of a backtest. What trains knows nothing of `split` or later; its youngest clicks have no label yet."""

    first: dt.datetime
    """The first click."""
    last: dt.datetime
    split: dt.datetime
    """Clicks before it train and calibrate, those from it on are judged."""
    until: dt.datetime
    """The end of the log: what is known by then labels the later clicks."""
    window: dt.timedelta
    shortened: bool
    """Whether the window is shorter than 24 hours because the log is."""

    @property
    def span(self) -> dt.timedelta:
        """From the first click to the last."""
        return self.last - self.first


def plan_of(clicks: pl.DataFrame, purchases: pl.DataFrame, settings: BacktestSettings) -> Plan:
    """The plan for a log.

    Args:
        clicks: in the lake's form, each once.
        purchases: in the lake's form.
        settings: see BacktestSettings.

    Raises:
        BacktestImpossible: no clicks, no purchases, or too short for its attribution window.
    """
    if not len(clicks):
        raise BacktestImpossible("clicks are required, the log has none that keep their contract. Look at the rejects.")
    if not len(purchases):
        raise BacktestImpossible(
            f"purchases are required to tell people from robots, came none beside {len(clicks):,} clicks. Pass "
            "--purchases FILE (orders, installs, sign-ups: docs/data-contract.md says what a record holds)."
        )
    (first, last), (_, last_purchase) = times_of(clicks), times_of(purchases)
    span = last - first
    window = settings.window or window_of(clicks, purchases, span)
    if settings.train_days is not None:
        split = first + settings.train_days * DAY
    else:
        mature = clicks["at"].filter(clicks["at"] <= max(last - window, first)).sort()
        split = from_epoch_ms(int(mature.to_physical()[int(settings.train_share * (len(mature) - 1))]))
        if span >= _WHOLE_DAYS_FROM:
            split = split.replace(hour=0, minute=0, second=0, microsecond=0)
    if window <= dt.timedelta() or not first + window < split < last - window:
        raise BacktestImpossible(
            f"a log is required that leaves mature clicks on both sides of {split:%Y-%m-%d %H:%M} UTC with an "
            f"attribution window of {in_words(window)}, came one of {in_words(span)}. Take more days, another "
            "--train-days, or a shorter --window-hours."
        )
    return Plan(
        first=first,
        last=last,
        split=split,
        until=max(last, last_purchase) + dt.timedelta(milliseconds=1),
        window=window,
        shortened=window < ATTRIBUTION_WINDOW,
    )


def window_of(clicks: pl.DataFrame, purchases: pl.DataFrame, span: dt.timedelta) -> dt.timedelta:
    """24 hours; in a log of less than five days what 99% of its purchases need, at most a fifth of the log.

    Args:
        clicks: in the lake's form.
        purchases: in the lake's form.
        span: from the first click to the last.
    """
    most = span / WINDOWS_A_LOG
    if most > ATTRIBUTION_WINDOW - dt.timedelta(hours=1):  # five days may end at 23:59
        return ATTRIBUTION_WINDOW
    found = attribute(clicks, purchases, window=most)
    led = found >= 0
    if not led.any():
        return most
    at_ms, bought_ms = (rows["at"].to_physical().to_numpy() for rows in (clicks, purchases))
    needed_ms = np.quantile(bought_ms[led] - at_ms[found[led]], 1.0 - LATE_SHARE)
    return min(most, (dt.timedelta(milliseconds=float(needed_ms)) // _MINUTE + 1) * _MINUTE)


def times_of(rows: pl.DataFrame) -> tuple[dt.datetime, dt.datetime]:
    """The first and the last `at` of rows that are not none."""
    at_ms = rows["at"].to_physical().to_numpy()
    return from_epoch_ms(int(at_ms.min())), from_epoch_ms(int(at_ms.max()))


def in_words(duration: dt.timedelta) -> str:
    """A duration as people say it.

    >>> in_words(dt.timedelta(hours=2.83)), in_words(dt.timedelta(days=130)), in_words(dt.timedelta(minutes=28))
    ('2.8 hours', '130 days', '28 minutes')
    """
    hours = duration / dt.timedelta(hours=1)
    if hours < 1.5:
        return f"{hours * 60:.0f} minutes"
    if hours < 72:
        return f"{hours:.2g} hours"
    return f"{hours / 24:.1f} days" if hours < 240 else f"{hours / 24:.0f} days"
