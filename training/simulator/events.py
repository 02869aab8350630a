"""What makes one simulated day unlike another: purchase rates that vary, a sale day, a marketplace that opens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from training.simulator.families import PURCHASES_BY_DAY, PURCHASES_BY_HOUR, SALE_PURCHASES, SALE_TRAFFIC
from training.simulator.world import ALL_MARKETPLACES, MARKETPLACES, Floats, Marketplace

_HOURS: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """What happens in a world, by day number. By default nothing does; how strongly it does stands in families.py."""

    varying_purchases: bool = False
    """Whether people's readiness to buy varies from day to day and from hour to hour (UTC)."""
    sale_days: tuple[int, ...] = ()
    """Days on which people come more often and buy more of what they look at; robots do as always."""
    marketplace_opens: int | None = None
    """First day of one more marketplace, whose people and robots come in addition to the others."""

    def traffic(self, day: int) -> float:
        """Factor on the visits of people.

        >>> Events(sale_days=(3,)).traffic(3) > Events(sale_days=(3,)).traffic(4) == 1.0
        True
        """
        return SALE_TRAFFIC if day in self.sale_days else 1.0

    def purchases(self, seed: int, day: int) -> Floats:
        """Factor on the probability that a visit leads to an order, for each UTC hour in which it ends, shape (24,).

        >>> Events(sale_days=(3,)).purchases(7, 4).tolist() == [1.0] * 24
        True
        """
        factor = np.full(_HOURS, SALE_PURCHASES if day in self.sale_days else 1.0)
        if self.varying_purchases:
            rng = np.random.default_rng([seed, day, 0xB0])
            factor *= np.exp(PURCHASES_BY_DAY * rng.standard_normal() + PURCHASES_BY_HOUR * rng.standard_normal(_HOURS))
        return factor

    def marketplaces(self, day: int) -> tuple[Marketplace, ...]:
        """Those that are open.

        >>> [len(Events(marketplace_opens=5).marketplaces(day)) for day in (4, 5)]
        [3, 4]
        """
        opened = self.marketplace_opens is not None and day >= self.marketplace_opens
        return ALL_MARKETPLACES if opened else MARKETPLACES
