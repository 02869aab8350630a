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
    device_fp_token: str | None
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


class Tokens(msgspec.Struct, frozen=True):
    """The pseudonyms of one click: one a counter entity, and the user agent's."""

    user: str | None
    session: str | None
    ip: str | None
    user_agent: str | None
    device_fp: str | None


def tokens_of(click: Click, pseudonymiser: Pseudonymiser) -> Tokens:
    """The pseudonyms of a click; None for what is absent. The device fingerprint is the pair of IP and user agent."""
    token = pseudonymiser.token
    fingerprint = f"{click.ip or ''}\x00{click.user_agent or ''}" if click.ip or click.user_agent else None
    return Tokens(
        user=token("user", click.user) if click.user else None,
        session=token("session", click.session) if click.session else None,
        ip=token("ip", click.ip) if click.ip else None,
        user_agent=token("ua", click.user_agent) if click.user_agent else None,
        device_fp=token("device_fp", fingerprint) if fingerprint else None,
    )


def archive_click(
    click: Click, *, arrived_at: Instant, pseudonymiser: Pseudonymiser, crawlers: CrawlerList
) -> ArchivedClick:
    """The lake's form of a click."""
    tokens = tokens_of(click, pseudonymiser)
    return ArchivedClick(
        click_id=click.click_id,
        at=click.at,
        arrived_at=arrived_at,
        user_token=tokens.user,
        session_token=tokens.session,
        ip_token=tokens.ip,
        ua_token=tokens.user_agent,
        device_fp_token=tokens.device_fp,
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
