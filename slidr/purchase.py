"""A purchase: its wire contract (version 1)."""

from __future__ import annotations

from typing import Final

import msgspec

from slidr.contract import Currency, Identifier, Instant, Micros, Version, decode, event_time
from slidr.errors import InvalidPurchase


class Purchase(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One order, as producers send it. It makes labels and metrics; it never becomes a feature (rule 3)."""

    version: Version = 1
    order_id: Identifier
    at: Instant
    """Event time, RFC 3339 with an offset."""
    user: Identifier | None = None
    session: Identifier | None = None
    advertiser: Identifier | None = None
    item: Identifier | None = None
    amount_micros: Micros = 0
    """Order amount in millionths of `currency`."""
    currency: Currency = "USD"
    click_id: Identifier | None = None
    """The click that led to the order, where the producer knows it."""


_DECODER: Final = msgspec.json.Decoder(Purchase)


def parse_purchase(payload: bytes, *, arrived_ms: int) -> Purchase:
    """One valid purchase from JSON bytes, its time in UTC.

    Raises:
        InvalidPurchase: with `reason` and `detail`; nothing else escapes.
    """
    purchase = decode(payload, _DECODER, InvalidPurchase)
    at = event_time(purchase.at, arrived_ms=arrived_ms, error=InvalidPurchase)
    if purchase.user is None and purchase.session is None and purchase.click_id is None:
        raise InvalidPurchase("missing_field", "one of user, session, click_id is required to attribute an order")
    return purchase if at is purchase.at else msgspec.structs.replace(purchase, at=at)
