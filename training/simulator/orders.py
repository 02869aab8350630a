"""Which visits lead to orders, when, and how the orders name what led to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slidr.counters import HOUR_MS
from training.simulator.families import ORGANIC_ORDERS_PER_CLICK, Family
from training.simulator.hashing import Words, mixed, unit
from training.simulator.visits import DAY_MS, NOBODY, Clicks, Place
from training.simulator.world import Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """Orders as numbers, one a row; `click` is the row of the click that led to it, -1 where none did."""

    at_ms: Ints
    click: Ints
    names_click: NDArray[np.bool_]
    user: Words
    session: Words
    ad: Ints
    names_advertiser: NDArray[np.bool_]
    names_item: NDArray[np.bool_]
    market: Ints
    dollars: Floats


def orders_of(family: Family, clicks: Clicks, place: Place) -> Orders:
    """The orders that a day's clicks of one family lead to: minutes to 24 hours later, so partly on the next day.

    Four in five come within the hour or so, the rest as late as a day after. The order mostly names the account and,
    while the visit lasts, the session; a quarter name the click. Account holders also order things on their own.
    """
    rng = np.random.default_rng([place.seed, place.day, *family.name.encode(), 1])
    shopping = family.shopping
    if not len(clicks) or not shopping.buys_per_visit:
        return _none()
    last = np.flatnonzero(np.append(np.diff(clicks.visit) != 0, True))
    chance = shopping.buys_per_visit * np.where(clicks.logged_in[last], shopping.login_lift, 1.0)
    if not family.robot:
        chance *= place.purchases[(clicks.at_ms[last] - place.day_start_ms) // HOUR_MS]
    buying = last[rng.random(len(last)) < chance]
    back = rng.geometric(0.5, len(buying)) - 1
    led = buying - np.minimum(back, clicks.position[buying])
    soon = 60_000.0 * np.clip(12.0 * np.exp(rng.standard_normal(len(led))), 0.5, 300.0)
    later = rng.uniform(2 * HOUR_MS, DAY_MS - 60_000, len(led))
    delay = np.where(rng.random(len(led)) < 0.8, soon, later).astype(np.int64)
    at_ms = np.maximum(clicks.at_ms[led] + delay, clicks.at_ms[buying] + 1000)
    at_ms = np.minimum(at_ms, clicks.at_ms[led] + DAY_MS - 1)

    n, organic = len(led), _organic(clicks, rng)
    every = np.concatenate([led, organic])
    is_led = np.arange(len(every)) < n
    same_visit = is_led & (np.concatenate([delay, np.zeros(len(organic), dtype=np.int64)]) < 5_400_000)
    guest = same_visit & (rng.random(len(every)) < 0.12)  # checks out without an account: only the session is known
    names_advertiser = rng.random(len(every)) < 0.9
    return Orders(
        at_ms=np.concatenate([at_ms, place.day_start_ms + rng.integers(0, DAY_MS, len(organic))]),
        click=np.where(is_led, every, -1),
        names_click=is_led & (rng.random(len(every)) < 0.25),
        user=np.where(guest, NOBODY, clicks.account[every]),
        session=np.where(same_visit, clicks.session[every], NOBODY),
        # What is bought without an ad is somebody else's goods: any other ad stands for it.
        ad=np.where(is_led, clicks.ad[every], rng.permutation(clicks.ad)[np.arange(len(every)) % len(clicks)]),
        names_advertiser=names_advertiser,
        names_item=~names_advertiser | (rng.random(len(every)) < 0.6),
        market=clicks.market[every],
        dollars=shopping.amount * np.exp(0.8 * rng.standard_normal(len(every))),
    )


def _organic(clicks: Clicks, rng: np.random.Generator) -> Ints:
    """Rows of clicks whose account holders also ordered something that no ad led to."""
    holders = np.flatnonzero(clicks.logged_in | (unit(mixed(clicks.account, "organic")) < 0.2))
    n = min(len(holders), rng.poisson(ORGANIC_ORDERS_PER_CLICK * len(clicks)))
    return rng.choice(holders, size=n, replace=False) if n else np.empty(0, dtype=np.int64)


def _none() -> Orders:
    ints, words = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint64)
    flags = np.empty(0, dtype=np.bool_)
    return Orders(
        at_ms=ints, click=ints, names_click=flags, user=words, session=words, ad=ints,
        names_advertiser=flags, names_item=flags, market=ints, dollars=np.empty(0),
    )  # fmt: skip
