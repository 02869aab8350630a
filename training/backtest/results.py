"""What came of a backtest: every figure that the report shows, and no row of the log."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from slidr.metrics import Rate
from training.backtest.plan import BacktestSettings, Plan
from training.calibration.certificate import Certificate
from training.calibration.thresholds import SliceRates
from training.curves import AtFpr, Share

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A stretch of the log and what it is used for."""

    name: str
    first: dt.datetime
    last: dt.datetime
    clicks: int
    purchasing: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Knee:
    """Where a curve bends."""

    fpr: float
    ivr: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Verdicts:
    """What given thresholds do to the later, mature clicks that no list names."""

    fpr: Share
    ivr: Share
    coverage: Share


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SliceOutcome:
    """One slice: its threshold, what was expected of it, what it did."""

    name: str
    """Empty for all traffic."""
    threshold: float
    source: str
    """Whose threshold it is: OWN or CAPPED of training.calibration.thresholds, or the parent's name; empty for all
    traffic."""
    chosen_on: int
    """Purchasing clicks of the rows that thresholds were chosen on."""
    predicted: SliceRates | None
    """Of the same days, on people who did not choose, if there are; None for a slice that they did not have."""
    realised: Verdicts
    """On the later ones."""
    curve: AtFpr | None
    """Of the later ones; None without purchases."""
    knee: Knee | None
    human_share: float
    """Of its later clicks, by the weak label: 0 or 1 is a slice of one class."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contender:
    """One way of deciding, at equal FPR on the later clicks: thresholds are chosen on them for all alike."""

    name: str
    backend: str
    curve: AtFpr | None
    """On the grid of the plots; None where there is no curve."""
    at: AtFpr | None
    """At the stated rates; None for thresholds by slice, of which `by_slice` tells."""
    by_slice: Mapping[float, Rate] = field(default_factory=dict)
    """IVR at each stated rate, where thresholds are chosen by slice."""
    behind: Mapping[float, tuple[float, float, float]] = field(default_factory=dict)
    """At each stated rate: the network's IVR less this one's, with the ends of the paired interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvertiserBill:
    """The later clicks of one advertiser in one currency."""

    advertiser: str
    currency: str
    clicks: int
    not_billed: int
    cost_micros: int
    not_billed_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One feature, or a group of them, as evidence against the clicks that the network made invalid."""

    name: str
    among_invalid: float
    """Median; NaN for a group."""
    among_valid: float
    turned: float
    """Share of the invalid clicks that would have been valid, had only this been as it is in a typical valid click."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasons:
    """Why clicks of the later days were invalid."""

    listed: int
    """Named by the crawler list."""
    behaviour: int
    """Made invalid by the network alone."""
    groups: tuple[Evidence, ...]
    features: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Density:
    """Clicks by local hour of the week, and those with the human label; of the mature clicks, shape (168,)."""

    clicks: Ints
    human: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What of the log the features, labels and metrics can use; shares of the clicks."""

    with_user: float
    with_session: float
    with_ip: float
    with_user_agent: float
    with_cost: float
    purchases: int
    attributed: int
    """Purchases that a click led to."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Backtest:
    """Everything the report shows."""

    plan: Plan
    settings: BacktestSettings
    parts: tuple[Part, ...]
    coverage: Coverage
    overall: SliceOutcome
    slices: tuple[SliceOutcome, ...]
    one_threshold: Verdicts
    """The same by one global threshold, chosen on the same rows by the same rule."""
    listed: Rate
    """Later, mature clicks that the crawler list names."""
    listed_purchasing: Rate
    """Purchasing clicks among them, of all purchasing clicks."""
    certificate: Certificate
    enough_purchases: bool
    """See training.release_thresholds.ChosenThresholds."""
    auc_labels: float
    effective_sample_size: float
    contenders: tuple[Contender, ...]
    """The network's thresholds by slice first, then its one global threshold, then the baselines."""
    stated: tuple[float, ...]
    bills: tuple[AdvertiserBill, ...]
    reasons: Reasons
    density: Density
    drift: Mapping[str, float]
    """Population stability index by feature, the largest first."""
    families: Mapping[str, tuple[bool, Share]]
    """Of simulated traffic: by family, whether a robot's, and the invalidated share of the later clicks."""
    skipped: Mapping[str, str]
    """Baselines that could not be fitted, and why."""
