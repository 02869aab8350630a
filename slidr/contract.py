"""What the wire contracts of all records share: version, field types, decoding with a named reason.

msgspec was measured against pydantic on 500-record batches: see docs/decisions/0002-msgspec-on-the-wire.md.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Final, Literal, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from slidr.errors import InvalidRecord

CONTRACT_VERSION: Final = 1
MAX_RECORD_BYTES: Final = 65_536
MAX_AHEAD_MS: Final = 5 * 60_000
"""A record may be at most this far ahead of its arrival (rule 1)."""

EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
EARLIEST: Final = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)

Version = Literal[1]
Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Text = Annotated[str, msgspec.Meta(max_length=2048)]
Instant = Annotated[dt.datetime, msgspec.Meta(tz=True)]
Micros = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Currency = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]

RecordT = TypeVar("RecordT")


def epoch_ms(at: dt.datetime) -> int:
    """Milliseconds since 1970-01-01 UTC, exactly.

    >>> epoch_ms(dt.datetime(2026, 11, 23, 12, 0, 0, 5000, tzinfo=dt.UTC))
    1795435200005
    """
    return (at - EPOCH) // _ONE_MS


_ONE_MS: Final = dt.timedelta(milliseconds=1)


def from_epoch_ms(at_ms: int) -> dt.datetime:
    """The inverse of `epoch_ms`."""
    return EPOCH + dt.timedelta(milliseconds=int(at_ms))


@lru_cache(maxsize=65_536)
def canonical_ip(text: str) -> str:
    """The one spelling of an IPv4 or IPv6 address; an IPv4-mapped IPv6 address becomes IPv4.

    Raises:
        ValueError: `text` is not an address.

    >>> canonical_ip("2001:DB8::0:1"), canonical_ip("::ffff:192.0.2.1")
    ('2001:db8::1', '192.0.2.1')
    """
    address = ipaddress.ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


@lru_cache(maxsize=1024)
def is_time_zone(name: str) -> bool:
    """Whether `name` is an IANA time zone that this machine knows."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def decode(
    payload: bytes, decoder: msgspec.json.Decoder[RecordT], error: Callable[[str, str], InvalidRecord]
) -> RecordT:
    """One record from JSON bytes; every failure is `error(reason, detail)`, nothing else escapes.

    Reasons: `too_large`, `not_json`, `unsupported_version`, `missing_field`, `wrong_value`.
    """
    if len(payload) > MAX_RECORD_BYTES:
        raise error("too_large", f"at most {MAX_RECORD_BYTES} bytes, came {len(payload)}")
    try:
        return decoder.decode(payload)
    except msgspec.ValidationError as failure:
        text = str(failure)
        if "$.version" in text:
            reason = "unsupported_version"
        elif "missing required field" in text:
            reason = "missing_field"
        else:
            reason = "wrong_value"
        raise error(reason, text) from failure
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as failure:
        raise error("not_json", str(failure)) from failure


def check_time(at: dt.datetime, *, arrived_ms: int, error: Callable[[str, str], InvalidRecord]) -> None:
    """Event time must lie between 2000 and five minutes ahead of arrival (rule 1).

    Raises:
        InvalidRecord: reason `bad_time` or `ahead_of_arrival`.
    """
    if at < EARLIEST:
        raise error("bad_time", f"at or after {EARLIEST.isoformat()}, came {at.isoformat()}")
    ahead_ms = epoch_ms(at) - arrived_ms
    if ahead_ms > MAX_AHEAD_MS:
        raise error(
            "ahead_of_arrival", f"at most {MAX_AHEAD_MS} ms ahead of arrival, came {ahead_ms} ms: check the clock"
        )


_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def has_control_characters(text: str) -> bool:
    """Whether `text` holds control characters, which no identifier may."""
    return _CONTROL.search(text) is not None
