"""From numbers to tables: the generator's arrays as polars frames with the columns of the wire contract."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from slidr.features import DEVICES
from training.simulator.hashing import Words, mixed
from training.simulator.orders import Orders
from training.simulator.user_agents import user_agents
from training.simulator.visits import NOBODY, Clicks
from training.simulator.world import ALL_MARKETPLACES, CATEGORIES, PLACEMENTS, Catalogue, Ints

INSTANT: Final = pl.Datetime("ms", "UTC")


def click_frame(clicks: Clicks, catalogue: Catalogue) -> pl.DataFrame:
    """The clicks with every field of `slidr.click.Click` but its version and click_id, one row each, order kept."""
    ad, market = clicks.ad, clicks.market
    micros = np.rint(catalogue.cost[ad] * _per_market("units_per_dollar")[market] * 1e6).astype(np.int64)
    return pl.DataFrame(
        {
            "at": pl.Series(clicks.at_ms).cast(INSTANT),
            "user": _numbered("u", clicks.user),
            "session": _numbered("s", clicks.session),
            "ip": _ip_text(clicks.ip, clicks.ipv6),
            "user_agent": _named(user_agents().strings, clicks.agent),
            "device": _named(tuple(DEVICES), clicks.device),
            "logged_in": clicks.logged_in,
            "advertiser": _counted("adv", catalogue.advertiser[ad]),
            "campaign": _counted("camp", catalogue.campaign[ad]),
            "ad": _counted("ad", ad),
            "placement": _named(PLACEMENTS, clicks.placement),
            "marketplace": _named(tuple(m.name for m in ALL_MARKETPLACES), market),
            "time_zone": _named(tuple(m.zone for m in ALL_MARKETPLACES), market),
            "cost_micros": micros,
            "currency": _named(tuple(m.currency for m in ALL_MARKETPLACES), market),
            "query": _named(CATEGORIES, np.where(clicks.searched, catalogue.category[ad], -1)),
        }
    )


def order_frame(orders: Orders, catalogue: Catalogue, click_ids: pl.Series) -> pl.DataFrame:
    """The orders with every field of `slidr.purchase.Purchase` but its version and order_id,.

    Args:
        orders: `orders.click` points into `click_ids`.
        catalogue: the world's ads.
        click_ids: of the clicks that the orders were made from.
    """
    led_by = click_ids.gather(np.where(orders.click >= 0, orders.click, 0)) if len(orders.click) else click_ids.clear()
    # What an ad advertises is one item; the simulator gives both the same name, as sponsored products do.
    frame = pl.DataFrame(
        {
            "at": pl.Series(orders.at_ms).cast(INSTANT),
            "user": _numbered("u", orders.user),
            "session": _numbered("s", orders.session),
            "advertiser": _counted("adv", catalogue.advertiser[orders.ad]),
            "item": _counted("ad", orders.ad),
            "amount_micros": np.rint(orders.dollars * _per_market("units_per_dollar")[orders.market] * 1e6).astype(
                np.int64
            ),
            "currency": _named(tuple(m.currency for m in ALL_MARKETPLACES), orders.market),
            "click_id": led_by,
        }
    )
    return frame.with_columns(
        advertiser=pl.when(pl.Series(orders.names_advertiser)).then("advertiser"),
        item=pl.when(pl.Series(orders.names_item)).then("item"),
        click_id=pl.when(pl.Series(orders.names_click)).then("click_id"),
    )


def _per_market(attribute: str) -> NDArray[np.float64]:
    return np.asarray([getattr(m, attribute) for m in ALL_MARKETPLACES])


def _named(names: tuple[str, ...], codes: Ints) -> pl.Series:
    """Names by code; a negative code is null. An Enum, so that a day's table stays small."""
    texts = [str(name) for name in names]
    known = pl.Series(texts, dtype=pl.Enum(texts)).gather(np.maximum(codes, 0))
    return pl.select(pl.when(pl.Series(codes >= 0)).then(known)).to_series()


def _counted(prefix: str, numbers: Ints) -> pl.Series:
    return pl.select(pl.format(prefix + "-{}", pl.Series(numbers))).to_series()


def _numbered(prefix: str, words: Words) -> pl.Series:
    """Names by number; NOBODY is null."""
    numbers = pl.Series(words)
    return pl.select(pl.when(numbers != int(NOBODY)).then(pl.format(prefix + "{}", numbers))).to_series()


@cache
def _hex() -> pl.Series:
    return pl.Series([f"{i:x}" for i in range(65_536)])


def _ip_text(words: Words, ipv6: NDArray[np.bool_]) -> pl.Series:
    """Canonical text of each address, in 10.0.0.0/8 and 2001:db8::/32: networks that belong to nobody."""
    octets = [pl.Series((words >> np.uint64(shift)) & np.uint64(255)) for shift in (0, 8, 16)]
    v4 = pl.format("10.{}.{}.{}", *octets)
    low, high = mixed(words, "v6 low"), mixed(words, "v6 high")
    # No group is zero, so the canonical spelling has no "::".
    groups = [
        _hex().gather(((word >> np.uint64(shift)) & np.uint64(65_535)).astype(np.uint32) | np.uint32(1))
        for word, shift in ((high, 0), (high, 16), (low, 0), (low, 16), (low, 32), (low, 48))
    ]
    v6 = pl.concat_str([pl.lit("2001:db8"), *groups], separator=":")
    return pl.select(pl.when(pl.Series(ipv6)).then(v6).otherwise(v4)).to_series()
