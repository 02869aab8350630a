"""The lake's forms of clicks and purchases: pseudonymised, nothing personal in clear (rule 9)."""

from __future__ import annotations

import msgspec

from slidr.click import Click, Device
from slidr.contract import Instant
from slidr.givt import CrawlerList
from slidr.pseudonym import Pseudonymiser, truncated_ip
from slidr.purchase import Purchase


class ArchivedClick(msgspec.Struct, frozen=True, kw_only=True):
    """A click in the lake. Tokens are keyed hashes; the IP survives only as its /24 or /48 network."""

    click_id: str
    at: Instant
    arrived_at: Instant
    user_token: str | None
    session_token: str | None
    ip_token: str | None
    ua_token: str | None
    ip_prefix: str | None
    givt: bool
    device: Device
    logged_in: bool
    advertiser: str
    campaign: str | None
    ad: str | None
    placement: str | None
    marketplace: str
    time_zone: str
    cost_micros: int
    currency: str


class ArchivedPurchase(msgspec.Struct, frozen=True, kw_only=True):
    """A purchase in the lake, its tokens under the same key as the clicks' so that the two join."""

    order_id: str
    at: Instant
    arrived_at: Instant
    user_token: str | None
    session_token: str | None
    advertiser: str | None
    item: str | None
    amount_micros: int
    currency: str
    click_id: str | None


def archive_click(
    click: Click, *, arrived_at: Instant, pseudonymiser: Pseudonymiser, crawlers: CrawlerList
) -> ArchivedClick:
    """The lake's form of a click; the device fingerprint is the pair of its `ip_token` and `ua_token`."""

    def token(kind: str, value: str | None) -> str | None:
        return None if value is None else pseudonymiser.token(kind, value)

    return ArchivedClick(
        click_id=click.click_id,
        at=click.at,
        arrived_at=arrived_at,
        user_token=token("user", click.user),
        session_token=token("session", click.session),
        ip_token=token("ip", click.ip),
        ua_token=token("ua", click.user_agent),
        ip_prefix=truncated_ip(click.ip) if click.ip else None,
        givt=crawlers.names(click.user_agent),
        device=click.device,
        logged_in=click.logged_in,
        advertiser=click.advertiser,
        campaign=click.campaign,
        ad=click.ad,
        placement=click.placement,
        marketplace=click.marketplace,
        time_zone=click.time_zone,
        cost_micros=click.cost_micros,
        currency=click.currency,
    )


def archive_purchase(purchase: Purchase, *, arrived_at: Instant, pseudonymiser: Pseudonymiser) -> ArchivedPurchase:
    """The lake's form of a purchase."""
    return ArchivedPurchase(
        order_id=purchase.order_id,
        at=purchase.at,
        arrived_at=arrived_at,
        user_token=pseudonymiser.token("user", purchase.user) if purchase.user else None,
        session_token=pseudonymiser.token("session", purchase.session) if purchase.session else None,
        advertiser=purchase.advertiser,
        item=purchase.item,
        amount_micros=purchase.amount_micros,
        currency=purchase.currency,
        click_id=purchase.click_id,
    )
