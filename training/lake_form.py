"""The lake's form of whole tables: what slidr/archive.py does to one record, each distinct value once."""

from __future__ import annotations

import polars as pl

from slidr.givt import CrawlerList
from slidr.pseudonym import Pseudonymiser, truncated_ip


def archived_clicks(clicks: pl.DataFrame, *, pseudonymiser: Pseudonymiser, crawlers: CrawlerList) -> pl.DataFrame:
    """Clicks in the lake's form (slidr/archive.py, all but `arrived_at`) from clicks in clear.

    Args:
        clicks: columns of `slidr.click.Click`.
        pseudonymiser: the key that the online path uses, so that both count the same tokens.
        crawlers: the GIVT list.
    """
    agents = clicks["user_agent"].cast(pl.String)
    return clicks.select(
        "click_id",
        "at",
        _tokens(clicks["user"], "user", pseudonymiser).alias("user_token"),
        _tokens(clicks["session"], "session", pseudonymiser).alias("session_token"),
        _tokens(clicks["ip"], "ip", pseudonymiser).alias("ip_token"),
        _tokens(agents, "ua", pseudonymiser).alias("ua_token"),
        _networks(clicks["ip"]).alias("ip_prefix"),
        _each(agents, {agent: crawlers.names(agent) for agent in agents.unique()}, pl.Boolean).alias("givt"),
        *("device", "logged_in", "advertiser", "campaign", "ad", "placement", "marketplace", "time_zone"),
        *("cost_micros", "currency"),
    )


def archived_purchases(purchases: pl.DataFrame, *, pseudonymiser: Pseudonymiser) -> pl.DataFrame:
    """Purchases in the lake's form, all but `arrived_at`, from purchases in clear (as `slidr.purchase.Purchase`)."""
    return purchases.select(
        "order_id",
        "at",
        _tokens(purchases["user"], "user", pseudonymiser).alias("user_token"),
        _tokens(purchases["session"], "session", pseudonymiser).alias("session_token"),
        *("advertiser", "item", "amount_micros", "currency", "click_id"),
    )


def _tokens(values: pl.Series, kind: str, pseudonymiser: Pseudonymiser) -> pl.Series:
    known = {value: pseudonymiser.token(kind, value) for value in values.unique() if value is not None}
    return _each(values, known, pl.String)


def _networks(addresses: pl.Series) -> pl.Series:
    """`truncated_ip` of canonical addresses; those of IPv4, which are most, without a call each."""
    network = addresses.str.extract(r"^(\d+\.\d+\.\d+)\.\d+$") + ".0/24"
    others = addresses.filter(network.is_null() & addresses.is_not_null()).unique()
    return network.fill_null(_each(addresses, {address: truncated_ip(address) for address in others}, pl.String))


def _each(values: pl.Series, answers: dict[str, str] | dict[str, bool], dtype: type[pl.DataType]) -> pl.Series:
    """The answer for each value, each distinct value asked once; null for null."""
    return values.replace_strict(answers, default=None, return_dtype=dtype)
