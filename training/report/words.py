"""Figures as people read them."""

from __future__ import annotations

import datetime as dt
import math

from slidr.metrics import Rate
from training.curves import Share

NOTHING = "-"


def percent(value: float) -> str:
    """A share in [0, 1], with as many digits as tell something.

    >>> percent(0.62411), percent(0.0046), percent(0.00012), percent(0.0), percent(1.0), percent(float("nan"))
    ('62.4%', '0.46%', '0.012%', '0%', '100%', '-')
    """
    if math.isnan(value):
        return NOTHING
    if value in (0.0, 1.0):
        return f"{value:.0%}"
    digits = 1 if value >= 0.1 else 2 if value >= 0.001 else 3
    return f"{value:.{digits}%}"


def plain_percent(value: float) -> str:
    """A stated share, as it was stated.

    >>> plain_percent(0.001), plain_percent(0.05)
    ('0.1%', '5%')
    """
    return f"{100 * value:g}%"


def between(low: float, high: float) -> str:
    """An interval of shares.

    >>> between(0.0016, 0.0135)
    '0.16% to 1.35%'
    """
    return NOTHING if math.isnan(low) else f"{percent(low)} to {percent(high)}"


def share_text(share: Share) -> str:
    """A share with the interval over people."""
    return f"{percent(share.rate.value)} ({between(share.low, share.high)})" if share.rate.total else NOTHING


def counts(rate: Rate) -> str:
    """What a rate counts.

    >>> counts(Rate(count=3, total=1720))
    '3 of 1,720'
    """
    return f"{rate.count:,} of {rate.total:,}"


def money(micros: int, currency: str) -> str:
    """An amount of money.

    >>> money(1_234_560_000, "EUR")
    '1,234.56 EUR'
    """
    return f"{micros / 1e6:,.2f} {currency}"


def quantity(value: float) -> str:
    """A feature's value.

    >>> quantity(3.0), quantity(0.1234), quantity(86400.0), quantity(float("nan"))
    ('3', '0.12', '86,400', '-')
    """
    if math.isnan(value):
        return NOTHING
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 100 else f"{value:.2g}"


def moment(at: dt.datetime) -> str:
    """A time, UTC.

    >>> moment(dt.datetime(2026, 11, 3, 9, 5, tzinfo=dt.UTC))
    '3 Nov 2026 09:05'
    """
    return f"{at.day} {at:%b %Y %H:%M}"
