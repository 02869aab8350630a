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
Currency = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$", max_length=3)]
"""`$` alone would let a line end follow."""

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
        ValueError: `text` is not an address, or has a zone ("fe80::1%eth0"): any text, so one host could be many.

    >>> canonical_ip("2001:DB8::0:1"), canonical_ip("::ffff:192.0.2.1")
    ('2001:db8::1', '192.0.2.1')
    """
    if "%" in text:
        raise ValueError("an address without a zone is required")
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
        if text.endswith("`$.version`"):  # where, not what: the text may quote a value
            reason = "unsupported_version"
        elif text.startswith("Object missing required field"):
            reason = "missing_field"
        else:
            reason = "wrong_value"
        raise error(reason, text) from failure
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as failure:
        raise error("not_json", str(failure)) from failure


def event_time(at: dt.datetime, *, arrived_ms: int, error: Callable[[str, str], InvalidRecord]) -> dt.datetime:
    """An event time in UTC, between 2000 and five minutes ahead of its arrival (rule 1).

    UTC, because what we write must end in `Z`: Firehose reads no other offset.

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
    return at.astimezone(dt.UTC)


_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def has_control_characters(text: str) -> bool:
    """Whether `text` holds control characters."""
    return _CONTROL.search(text) is not None
