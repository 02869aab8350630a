"""The generator: one day of one family's clicks, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.simulator.families import PEOPLE_PER_CARRIER_IP, Family, Pace
from training.simulator.hashing import Words, mixed, unit
from training.simulator.hours import QUARTER_MS, QUARTERS, intensity
from training.simulator.user_agents import user_agents
from training.simulator.world import PLACEMENTS, SEARCH_PLACEMENTS, Catalogue, Floats, Ints, Marketplace

DAY_MS: Final = 86_400_000
DESKTOP, MOBILE, TABLET, OTHER = range(4)
"""Device codes: positions in `slidr.features.DEVICES`."""
NOBODY: Final = np.uint64(0)
"""The user number of a click that shows no user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clicks:
    """Clicks as numbers, one a row; `account` is who would place the order, whether the click shows it or not."""

    at_ms: Ints
    visit: Ints
    position: Ints
    """Place of the click in its visit, from 0."""
    account: Words
    user: Words
    session: Words
    ip: Words
    ipv6: NDArray[np.bool_]
    agent: Ints
    device: Ints
    logged_in: NDArray[np.bool_]
    ad: Ints
    placement: Ints
    searched: NDArray[np.bool_]
    market: Ints

    def __len__(self) -> int:
        return len(self.at_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where and when a day is generated."""

    seed: int
    day: int
    day_start_ms: int
    clicks_per_day: float
    """All families together; it sizes what they share (carrier NAT)."""
    catalogue: Catalogue
    marketplaces: tuple[Marketplace, ...]
    """Those that are open."""
    traffic: float
    """Factor on the visits of people."""
    purchases: Floats
    """Factor on their probability to buy, by UTC hour, shape (24,)."""


def clicks_per_visit(pace: Pace) -> float:
    """The mean of the clipped, rounded lognormal that visits draw their length from.

    >>> round(clicks_per_visit(Pace(clicks=2, clicks_sigma=0.0, clicks_max=9, gap_s=(1, 2), gap_sigma=(1, 1))), 1)
    2.0
    """
    normal = NormalDist()
    quantiles = np.asarray([normal.inv_cdf((i + 0.5) / 2000) for i in range(2000)])
    return float(_lengths(pace, quantiles).mean())


def _lengths(pace: Pace, normal: Floats) -> Ints:
    raw = np.rint(pace.clicks * np.exp(pace.clicks_sigma * normal))
    return np.asarray(np.clip(raw, 1, pace.clicks_max), dtype=np.int64)


def generate(family: Family, expected_clicks: float, place: Place) -> Clicks:
    """One day of `family`, `expected_clicks` of them on an average day, in no particular order.

    It depends on the seed, the family and the day alone; actors keep their numbers from day to day.
    """
    rng = np.random.default_rng([place.seed, place.day, *family.name.encode()])
    pace, identity = family.pace, family.identity
    visits_a_day = expected_clicks / clicks_per_visit(pace)
    market, start_ms = _starts(family, visits_a_day, place, rng)
    n = len(market)

    actors = np.asarray([max(1.0, visits_a_day * m.share * identity.days_between_visits) for m in place.marketplaces])
    actor_number = (actors[market] * rng.random(n) ** 1.3).astype(np.int64)  # some come more often than others
    actor = mixed(actor_number.astype(np.uint64), place.seed, family.name, market.astype(np.uint64))
    visit = mixed(np.arange(n, dtype=np.uint64), place.seed, place.day, family.name)

    length = _lengths(pace, rng.standard_normal(n))
    row_visit = np.repeat(np.arange(n), length)
    position = np.arange(len(row_visit)) - np.repeat(np.cumsum(length) - length, length)
    at_ms = _times(pace, start_ms - place.day_start_ms, length, rng) + place.day_start_ms

    lasting = identity.session_clicks or family.pace.clicks_max
    session = mixed(visit[row_visit], "session", (position // lasting).astype(np.uint64))
    device, agent = _devices(family, actor[row_visit], session)
    logged_in, user = _users(family, actor, row_visit, session, rng)
    ip, ipv6 = _addresses(family, actor_number, market, visit, place=place, rng=rng)
    ad = _ads(family, actor, row_visit, place.catalogue, rng)
    placement = rng.integers(0, len(PLACEMENTS), len(row_visit))
    return Clicks(
        at_ms=at_ms,
        visit=row_visit,
        position=position,
        account=actor[row_visit],
        user=user,
        session=session,
        ip=ip[row_visit],
        ipv6=ipv6[row_visit],
        agent=agent,
        device=device,
        logged_in=logged_in,
        ad=ad,
        placement=placement,
        searched=placement < SEARCH_PLACEMENTS,
        market=market[row_visit],
    )


def _starts(family: Family, visits_a_day: float, place: Place, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Marketplace and start of each visit: a Poisson number of them, by the local hour and weekday."""
    weights = np.stack(
        [
            m.share
            * intensity(family.hours, weekend=family.weekend, day_start_ms=place.day_start_ms, zone=m.zone)
            / QUARTERS
            for m in place.marketplaces
        ]
    )  # (marketplaces, quarters)
    busy = 1.0 if family.robot else place.traffic
    n = int(rng.poisson(visits_a_day * busy * weights.sum()))
    cells = rng.choice(weights.size, size=n, p=weights.ravel() / weights.sum())
    start_ms = place.day_start_ms + (cells % QUARTERS) * QUARTER_MS + rng.integers(0, QUARTER_MS, n)
    return cells // QUARTERS, start_ms


def _times(pace: Pace, start: Ints, length: Ints, rng: np.random.Generator) -> Ints:
    """When each click comes, ms of the day. A visit that would cross midnight UTC starts earlier: days stand alone."""
    n = len(start)
    row_visit = np.repeat(np.arange(n), length)
    first = np.cumsum(length) - length
    low, high = np.log(pace.gap_s)
    median_ms = 1000.0 * np.exp(rng.uniform(low, high, n))
    sigma = rng.uniform(*pace.gap_sigma, n)
    gaps = median_ms[row_visit] * np.exp(sigma[row_visit] * rng.standard_normal(len(row_visit)))
    elapsed = np.cumsum(np.maximum(gaps, 50.0))
    elapsed -= elapsed[first][row_visit]
    duration = elapsed[first + length - 1]
    too_long = np.maximum(duration / (DAY_MS - 1000), 1.0)  # a visit longer than a day is hurried into one
    fitting = np.maximum(np.minimum(start, DAY_MS - 1 - duration / too_long), 0.0)
    return np.asarray(fitting[row_visit] + elapsed / too_long[row_visit], dtype=np.int64)


def _devices(family: Family, row_actor: Words, session: Words) -> tuple[Ints, Ints]:
    """Device code and user agent number of each click, stable by actor (or by session, for those who change)."""
    agents, identity = user_agents(), family.identity
    if identity.crawler:
        pool = len(agents.strings) - agents.crawler
        number = agents.crawler + (unit(mixed(row_actor, "agent")) * pool).astype(np.int64)
        return np.full(len(row_actor), OTHER, dtype=np.int64), number
    key = session if identity.agent_per_session else row_actor
    u = unit(mixed(key, "device"))
    device = np.where(u < identity.mobile, MOBILE, np.where(u < identity.mobile + identity.tablet, TABLET, DESKTOP))
    first = np.asarray([0, agents.mobile, agents.tablet])[device]
    size = np.asarray([agents.mobile, agents.tablet - agents.mobile, agents.crawler - agents.tablet])[device]
    return device, first + (size * unit(mixed(key, "agent")) ** 2.5).astype(np.int64)


def _users(
    family: Family, actor: Words, row_visit: Ints, session: Words, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], Words]:
    """Whether each click is logged in, and the user number that it shows."""
    identity, n = family.identity, len(actor)
    logged_in = (unit(mixed(actor, "account")) < identity.account_share) & (rng.random(n) < identity.login_rate)
    recognised = rng.random(n) < identity.cookie_share
    known = np.where(logged_in | recognised, actor, NOBODY)[row_visit]
    fresh = (known == NOBODY) & (unit(mixed(session, "fresh")) < identity.fresh_cookie_share)
    return logged_in[row_visit], np.where(fresh, mixed(session, "cookie"), known)


def _addresses(
    family: Family, actor_number: Ints, market: Ints, visit: Words, *, place: Place, rng: np.random.Generator
) -> tuple[Words, NDArray[np.bool_]]:
    """Address number of each visit and whether it is IPv6."""
    network, n = family.network, len(visit)
    group = mixed((actor_number // network.actors_per_ip).astype(np.uint64), place.seed, "ip", family.name,
                  market.astype(np.uint64))  # fmt: skip
    if network.keeps_ip_days == 0:
        own = mixed(visit, "ip")
    else:
        # Leases end on different days: each group has its own phase.
        lease = (place.day + group % np.uint64(network.keeps_ip_days)) // np.uint64(network.keeps_ip_days)
        own = mixed(group, lease)
    ipv6 = unit(mixed(group, "v6")) < network.ipv6_share
    on_carrier = rng.random(n) < network.carrier_share
    shares = np.asarray([m.share for m in place.marketplaces])
    carriers = np.maximum(2, place.clicks_per_day * 0.1 * shares / PEOPLE_PER_CARRIER_IP)[market]
    carrier = mixed((carriers * rng.random(n)).astype(np.uint64), place.seed, "carrier", market.astype(np.uint64))
    return np.where(on_carrier, carrier, own), np.where(on_carrier, False, ipv6)


def _ads(family: Family, actor: Words, row_visit: Ints, catalogue: Catalogue, rng: np.random.Generator) -> Ints:
    """The ad of each click: of the visit's category mostly, or of the advertisers that the actor attacks."""
    rows, shopping = len(row_visit), family.shopping
    u = rng.random(rows)
    if shopping.target_advertisers:
        advertisers = len(catalogue.advertiser_starts) - 1
        which = rng.integers(0, shopping.target_advertisers, rows).astype(np.uint64)
        target = unit(mixed(actor[row_visit], "target", which)) * advertisers
        return catalogue.of_advertiser(target.astype(np.int64), u)
    categories = len(catalogue.category_starts) - 1
    home = (categories * rng.random(len(actor)) ** 1.5).astype(np.int64)[row_visit]
    strays = rng.random(rows) >= shopping.in_category
    return catalogue.in_category(np.where(strays, rng.integers(0, categories, rows), home), u)
