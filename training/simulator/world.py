"""The places and goods of the simulated world: marketplaces, advertisers, campaigns, ads, prices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Marketplace:
    """One country's shop."""

    name: str
    zone: str
    """IANA time zone: people there live by it."""
    currency: str
    units_per_dollar: float
    share: float
    """Share of traffic; of a newcomer, what it adds, relative to all others together."""


MARKETPLACES: Final = (
    Marketplace(name="us", zone="America/New_York", currency="USD", units_per_dollar=1.0, share=0.5),
    Marketplace(name="de", zone="Europe/Berlin", currency="EUR", units_per_dollar=0.9, share=0.3),
    Marketplace(name="jp", zone="Asia/Tokyo", currency="JPY", units_per_dollar=150.0, share=0.2),
)
NEWCOMER: Final = Marketplace(name="br", zone="America/Sao_Paulo", currency="BRL", units_per_dollar=5.0, share=0.15)
"""The one that opens on a day of its own, where a world has it so."""
ALL_MARKETPLACES: Final = (*MARKETPLACES, NEWCOMER)
PLACEMENTS: Final = ("search_top", "search_rest", "product_page", "home")
SEARCH_PLACEMENTS: Final = 2
"""The first so many placements answer a query."""
CATEGORIES: Final = (
    "running shoes", "wireless earbuds", "coffee machine", "office chair", "phone case", "yoga mat", "gaming mouse",
    "baby stroller", "water bottle", "desk lamp", "air fryer", "backpack", "winter jacket", "robot vacuum",
    "usb c cable", "cat tree", "board game", "electric kettle", "bike helmet", "face cream", "protein powder",
    "mechanical keyboard", "camping tent", "picture frame", "garden hose", "smart watch", "socks", "suitcase",
    "shampoo", "monitor",
)  # fmt: skip
ADVERTISERS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All ads, one place each in the arrays. `by_` arrays list ads group by group; `_starts` say where groups begin."""

    advertiser: Ints
    campaign: Ints
    category: Ints
    cost: Floats
    """Dollars a click."""
    by_category: Ints
    category_starts: Ints
    by_advertiser: Ints
    advertiser_starts: Ints

    def in_category(self, category: Ints, u: Floats) -> Ints:
        """An ad of each category; `u` in [0, 1) chooses, small ones the popular ads."""
        return _pick(self.by_category, self.category_starts, category, u)

    def of_advertiser(self, advertiser: Ints, u: Floats) -> Ints:
        """An ad of each advertiser."""
        return _pick(self.by_advertiser, self.advertiser_starts, advertiser, u)


def _pick(order: Ints, starts: Ints, group: Ints, u: Floats) -> Ints:
    size = starts[group + 1] - starts[group]
    return np.asarray(order[starts[group] + (size * u**2).astype(np.int64)], dtype=np.int64)


def catalogue(seed: int) -> Catalogue:
    """The ads of the world with this seed, about 1,800 by 200 advertisers; every advertiser and category has some."""
    rng = np.random.default_rng([seed, 0xAD])
    campaigns = rng.integers(1, 5, ADVERTISERS)
    campaign_advertiser = np.repeat(np.arange(ADVERTISERS), campaigns)
    campaign_category = rng.integers(0, len(CATEGORIES), len(campaign_advertiser))
    campaign_category[: len(CATEGORIES)] = np.arange(len(CATEGORIES))
    ads = rng.integers(2, 7, len(campaign_advertiser))
    campaign = np.repeat(np.arange(len(campaign_advertiser)), ads)
    advertiser, category = campaign_advertiser[campaign], campaign_category[campaign]
    cost = 0.6 * np.exp(0.6 * rng.standard_normal(len(campaign)))
    by_category = np.argsort(category, kind="stable")
    by_advertiser = np.argsort(advertiser, kind="stable")
    return Catalogue(
        advertiser=advertiser,
        campaign=campaign,
        category=category,
        cost=cost,
        by_category=by_category,
        category_starts=np.searchsorted(category[by_category], np.arange(len(CATEGORIES) + 1)),
        by_advertiser=by_advertiser,
        advertiser_starts=np.searchsorted(advertiser[by_advertiser], np.arange(ADVERTISERS + 1)),
    )
