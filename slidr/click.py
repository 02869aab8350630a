"""A click: its wire contract (version 1) and the parsing of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from slidr.contract import (
    Currency,
    Identifier,
    Instant,
    Micros,
    Text,
    Version,
    canonical_ip,
    decode,
    event_time,
    has_control_characters,
    is_time_zone,
)
from slidr.errors import InvalidClick, InvalidRecord


class Device(StrEnum):
    """The device class that the producer knows; `other` when it does not."""

    DESKTOP = "desktop"
    MOBILE = "mobile"
    TABLET = "tablet"
    OTHER = "other"


class Click(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One ad click as producers send it. What is absent by nature is null; it is a value, not a failure."""

    version: Version = 1
    click_id: Identifier
    """Unique, without control characters; a second record with the same id is a redelivery."""
    at: Instant
    """Event time, RFC 3339 with an offset."""
    user: Identifier | None = None
    session: Identifier | None = None
    ip: Text | None = None
    """IPv4 or IPv6, any spelling."""
    user_agent: Text | None = None
    device: Device = Device.OTHER
    logged_in: bool = False
    advertiser: Identifier
    campaign: Identifier | None = None
    ad: Identifier | None = None
    placement: Identifier | None = None
    marketplace: Identifier
    time_zone: Identifier = "UTC"
    """IANA name of the marketplace's time zone."""
    cost_micros: Micros = 0
    """Cost of the click in millionths of `currency`."""
    currency: Currency = "USD"
    query: Text | None = None
    """The shopper's search text, where the ad answered one."""


_DECODER: Final = msgspec.json.Decoder(Click)


def parse_click(payload: bytes, *, arrived_ms: int) -> Click:
    """One valid click from JSON bytes, its time in UTC, its IP in canonical spelling.

    Args:
        payload: UTF-8 JSON, at most 64 KiB.
        arrived_ms: arrival time, epoch milliseconds (the stream's own stamp, so a redelivery decides alike).

    Raises:
        InvalidClick: with `reason` and `detail`; nothing else escapes.
    """
    click = decode(payload, _DECODER, InvalidClick)
    at = event_time(click.at, arrived_ms=arrived_ms, error=InvalidClick)
    if at is not click.at:
        click = msgspec.structs.replace(click, at=at)
    if has_control_characters(click.click_id):
        raise InvalidClick("wrong_value", "click_id without control characters is required")
    if not is_time_zone(click.time_zone):
        raise InvalidClick("bad_time_zone", f"an IANA time zone is required, came {click.time_zone!r}")
    if click.ip is not None:
        try:
            ip = canonical_ip(click.ip)
        except ValueError as failure:
            raise InvalidClick("bad_ip", "an IPv4 or IPv6 address is required; omit it where unknown") from failure
        if ip != click.ip:
            click = msgspec.structs.replace(click, ip=ip)
    if click.user_agent == "":  # an empty header names nobody: absent, online and in the archive alike
        click = msgspec.structs.replace(click, user_agent=None)
    return click


@dataclass(frozen=True, slots=True)
class ParsedClicks:
    """A parsed batch. `positions[i]` is the place of `clicks[i]` in the batch; `rejects` pairs place and error."""

    clicks: list[Click]
    positions: list[int]
    rejects: list[tuple[int, InvalidRecord]]


def parse_clicks(payloads: Sequence[bytes], *, arrived_ms: Sequence[int]) -> ParsedClicks:
    """Parse a batch: one bad record fails only itself.

    >>> parsed = parse_clicks([b"{}", b'{"click_id":"c","at":"2026-11-23T00:00:00Z","advertiser":"a",'
    ...                        b'"marketplace":"de"}'], arrived_ms=[1795435200000] * 2)
    >>> [click.click_id for click in parsed.clicks], [(i, e.reason) for i, e in parsed.rejects]
    (['c'], [(0, 'missing_field')])
    """
    clicks: list[Click] = []
    positions: list[int] = []
    rejects: list[tuple[int, InvalidRecord]] = []
    for position, (payload, arrived) in enumerate(zip(payloads, arrived_ms, strict=True)):
        try:
            clicks.append(parse_click(payload, arrived_ms=arrived))
        except InvalidClick as failure:
            rejects.append((position, failure))
        else:
            positions.append(position)
    return ParsedClicks(clicks=clicks, positions=positions, rejects=rejects)
