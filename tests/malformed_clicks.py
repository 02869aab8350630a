"""Click records that break the contract, of many kinds, each with the reason that it must be rejected for."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from local.sources.event import Event, Kind

Fields = dict[str, Any]
_ABSENT = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class MalformedClick:
    """One record on its way to the click stream."""

    kind: str
    """What is wrong with it."""
    reason: str
    """The reject reason that it must get (docs/data-contract.md)."""
    event: Event


def _with(**changes: Any) -> Callable[[Fields], bytes]:
    def payload(right: Fields) -> bytes:
        fields = {name: value for name, value in (right | changes).items() if value is not _ABSENT}
        return json.dumps(fields).encode()

    return payload


def _whole(right: Fields) -> bytes:
    return json.dumps(right).encode()


KINDS: Mapping[str, tuple[str, Callable[[Fields], bytes]]] = {
    "cut short": ("not_json", lambda right: _whole(right)[:-1]),
    "two records in one": ("not_json", lambda right: _whole(right) + b" " + _whole(right)),
    "a line of text": ("not_json", lambda right: f"click by {right['session']}".encode()),
    "compressed": ("not_json", lambda right: b"\x1f\x8b\x08\x00" + _whole(right)),
    "not UTF-8": ("not_json", lambda right: _whole(right).replace(b"acme", b"ac\xffme")),
    "NaN": ("not_json", lambda right: _whole(right | {"cost_micros": float("nan")})),
    "nested too deeply": ("not_json", lambda right: b'{"n":' + b"[" * 20_000 + _whole(right)),
    "too large": ("too_large", _with(query="x" * 65_536)),
    "later version": ("unsupported_version", _with(version=2)),
    "version as text": ("unsupported_version", _with(version="1")),
    "no click_id": ("missing_field", _with(click_id=_ABSENT)),
    "no time": ("missing_field", _with(at=_ABSENT)),
    "no advertiser": ("missing_field", _with(advertiser=_ABSENT)),
    "a list of clicks": ("wrong_value", lambda right: b"[" + _whole(right) + b"]"),
    "null marketplace": ("wrong_value", _with(marketplace=None)),
    "unknown device": ("wrong_value", _with(device="toaster")),
    "negative cost": ("wrong_value", _with(cost_micros=-1)),
    "cost in currency units": ("wrong_value", _with(cost_micros=0.45)),
    "boolean as text": ("wrong_value", _with(logged_in="yes")),
    "currency in small letters": ("wrong_value", _with(currency="usd")),
    "empty advertiser": ("wrong_value", _with(advertiser="")),
    "click_id too long": ("wrong_value", lambda right: _whole(right | {"click_id": f"{right['click_id']:x<129}"})),
    "click_id with a line end": ("wrong_value", lambda right: _whole(right | {"click_id": right["click_id"] + "\n"})),
    "user agent too long": ("wrong_value", _with(user_agent="M" * 2_049)),
    "time without an offset": ("wrong_value", _with(at="2026-06-06T00:00:00")),
    "day that is none": ("wrong_value", _with(at="2026-02-30T00:00:00Z")),
    "clock never set": ("bad_time", _with(at="1970-01-01T00:00:00Z")),
    "clock ahead": ("ahead_of_arrival", _with(at="2999-01-01T00:00:00Z")),
    "unknown time zone": ("bad_time_zone", _with(time_zone="Mars/Olympus_Mons")),
    "address that is none": ("bad_ip", _with(ip="192.0.2.256")),
}
"""By name: the reason, and how a right record becomes one of this kind."""


def malformed_clicks(count: int, *, seed: int, user: str = "account-77") -> list[MalformedClick]:
    """So many records, no two alike, every kind as often as the next (but for one), in the order of the seed.

    Each is one line, so that a log of lines can hold it too. Another seed gives other records.
    """
    names = list(KINDS)
    records = []
    for number in range(count):
        name, key = names[number % len(names)], f"malformed-{seed}-{number}"
        right = {
            "click_id": key,
            "at": "2026-06-06T00:00:00Z",
            "advertiser": "acme",
            "marketplace": "us",
            "user": user,
            "session": f"session of {key}",
        }
        reason, payload = KINDS[name]
        records.append(MalformedClick(kind=name, reason=reason, event=Event(0, Kind.CLICK, key, payload(right))))
    random.Random(seed).shuffle(records)
    return records
