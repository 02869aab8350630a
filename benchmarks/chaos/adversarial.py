"""Records that try to break a batch as a whole, and clicks whose verdict the stream is to refuse."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from local.sources.event import Event, Kind

POISON: Final = "poison-"
"""Begins the ids of the clicks whose verdict the stream refuses."""
POISONED: Final = 3
COPIES: Final = 4
"""Of each adversarial record: several in one batch are worse than one."""


def adversarial(at: str) -> list[Event]:
    """Records that try to break a batch as a whole, and the clicks whose verdict is refused; `at` is their time."""
    right = {"at": at, "advertiser": "a", "marketplace": "us", "user": "u", "ip": "192.0.2.1"}

    def event(key: str, payload: bytes) -> Event:
        return Event(0, Kind.CLICK, key, payload)

    def click(key: str, changes: Mapping[str, Any]) -> Event:
        record = {"click_id": key, **right, **changes}
        return event(str(record["click_id"]), json.dumps(record).encode())

    found = []
    for copy in range(COPIES):
        raw = [payload + b" " * copy for payload in adversarial_payloads(at)]
        found += [event(f"odd-{at[:10]}-{copy}-{i}", payload) for i, payload in enumerate(raw)]
        fields = enumerate(adversarial_fields())
        found += [click(f"field-{at[:10]}-{copy}-{i}", {name: value}) for i, (name, value) in fields]
        found += [click(f"{start}{copy}-{at[:10]}", {}) for start in ("\U0010ffff" * 100, "\u202e\u0430 ", "'\"\\")]
    found += [click(f"hot-{at[:10]}-{i}", {"user": "hot", "session": "hot"}) for i in range(300)]
    found += [click(f"{POISON}{at[:10]}-{i}", {}) for i in range(POISONED)]
    return found


def adversarial_payloads(at: str) -> list[bytes]:
    """Payloads that are no click, or hardly one."""
    right = f'"at":"{at}","advertiser":"a","marketplace":"us"'.encode()
    return [
        b"null", b"[]", b"0", b"NaN", b'"text"', b"\x00", b"\xff\xfe", b"\xef\xbb\xbf{}", b"{" * 60_000,
        b"[" * 60_000, b"{}" * 30_000, b"1" * 60_000, b'{"a":' * 12_000, b"\x1f\x8b\x08" + bytes(99),
        b"\xf3\x89\x9a\xc2" + bytes(40),  # a record that a producer library has aggregated
        bytes(range(256)) * 256, b" " * 65_530, b"x" * 900_000,
        b'{"click_id":"\\ud800",' + right + b"}",
        b'{"click_id":"\xed\xa0\x80",' + right + b"}",
        b'{"click_id":"d",' + right + b',"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"click_id":"d",' + b",".join([b'"user":"u"'] * 5_000) + b"," + right + b"}x",
        b'{"click_id":"d","cost_micros":1e400,' + right + b"}",
        b'{"click_id":"d","cost_micros":' + b"9" * 5_000 + b"," + right + b"}",
        b'{"click_id":"d","cost_micros":-0.0,"version":true,' + right + b"}",
    ]  # fmt: skip


def adversarial_fields() -> list[tuple[str, Any]]:
    """Values of single fields of a click that is right otherwise."""
    return [
        ("user_agent", "bot/" * 512), ("user_agent", "Mozilla/5.0 (" + "(" * 2_030), ("user_agent", " " * 2_048),
        ("user_agent", "a" * 2_047 + "!"), ("user_agent", "\u0000" * 2_048), ("user_agent", "compatible; " * 170),
        ("user_agent", "\U0001f916" * 2_048), ("user_agent", "\ud800"), ("user_agent", ""), ("user", "\ud83d"),
        ("user", "\u0000" * 128), ("session", "\u202e" * 128), ("ip", "::ffff:0.0.0.0"), ("ip", "fe80::1%eth0"),
        ("ip", "\u0663.1.1.1"), ("ip", "0x7f.1"), ("ip", "::" * 900), ("ip", ""), ("ip", "255.255.255.255"),
        ("at", "9999-12-31T23:59:59.999999999-23:59"), ("at", "0001-01-01T00:00:00+23:59"),
        ("at", "2000-01-01T00:00:00+23:59"), ("at", "2000-01-01T00:00:00-23:59"), ("at", "2016-12-31T23:59:60Z"),
        ("at", 1e300), ("at", -1), ("at", "2026-02-30T00:00:00Z"), ("time_zone", "../../etc/passwd"),
        ("time_zone", "/etc/localtime"), ("time_zone", "US"), ("time_zone", "tzdata.zi"), ("time_zone", "zone.tab"),
        ("time_zone", "\u0000"), ("time_zone", "a/" * 64), ("time_zone", "\ud800"), ("time_zone", "Etc/GMT+12"),
        ("time_zone", "Factory"), ("time_zone", "leapseconds"), ("marketplace", "\U0001f6d2" * 128),
        ("marketplace", "\ud800"), ("advertiser", "|" * 128), ("advertiser", {"a": 1}), ("query", "%00" * 600),
        ("query", "\ud800" * 2_048), ("currency", "US\n"), ("currency", "\u0130ST"), ("cost_micros", 2**53),
        ("cost_micros", 2**64), ("cost_micros", 10**300), ("device", "\u0000"), ("logged_in", "yes"),
        ("version", 2**70),
    ]  # fmt: skip
