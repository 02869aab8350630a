"""Hostile records: nothing but InvalidClick and InvalidPurchase escapes, and what is accepted passes every later step.

`SLIDR_FUZZ_EXAMPLES=100000 pytest tests/unit/test_parser_fuzz.py` looks further than the suite does.
"""

from __future__ import annotations

import datetime as dt
import json
import os

import msgspec
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slidr.archive import archive_click, archive_purchase
from slidr.click import Click, parse_click
from slidr.contract import epoch_ms, from_epoch_ms
from slidr.counter_batch import counter_batch
from slidr.counters import RAW_COLUMNS
from slidr.errors import InvalidClick, InvalidPurchase, InvalidRecord
from slidr.features import assemble, context_of, no_profiles
from slidr.givt import packaged_crawlers
from slidr.pseudonym import Pseudonymiser
from slidr.purchase import Purchase, parse_purchase
from slidr.schema import REJECT_REASONS
from slidr.slices import SliceMap

EXAMPLES = int(os.environ.get("SLIDR_FUZZ_EXAMPLES", "150"))
ARRIVED_MS = epoch_ms(dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC))
PSEUDONYMISER = Pseudonymiser(bytes(32), version=1)
CLICK = {"click_id": "c-1", "at": "2026-11-23T09:30:00Z", "advertiser": "acme", "marketplace": "de"}
ORDER = {"order_id": "o-1", "at": "2026-11-23T09:30:00Z", "user": "u", "item": "i"}

TIMES = (
    "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
    "9999-12-31T23:59:59.999999Z", "2016-12-31T23:59:60Z", "2026-11-23T24:00:00Z", "2026-02-29T00:00:00Z",
    "2026-11-23T09:30:00+24:00", "2026-11-23T09:30:00-00:00", "2026-11-23 09:30:00z",
    "2026-11-23T09:30:00.1234567899+05:45", "2000-01-01T00:00:00Z", "2000-01-01T05:29:59+05:30",
    "2026-11-23T09:30Z", "20261123T093000Z", "2026-W48-1T09:30:00Z", "-2026-11-23T00:00:00Z",
    "2026-11-23T09:30:00\\u0000Z", "\\u0662026-11-23T09:30:00Z",
)  # fmt: skip
ADDRESSES = (
    "255.255.255.255", "::", "::ffff:1.2.3.4", "::ffff:0:1.2.3.4", "fe80::1%eth0", "1.2.3.4%1", "01.2.3.4",
    "0x7f.1", "2130706433", "1.2.3", "[::1]", "1.2.3.4:80", " 1.2.3.4", "1.2.3.4\\n", "\\u0661.2.3.4", "1::2::3",
    "::1/64", "",
)  # fmt: skip
ZONES = (
    "UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns", "Africa/Monrovia", "Factory", "posixrules",
    "localtime", "zone.tab", "tzdata.zi", "../etc/passwd", "/etc/localtime", "Europe", "Europe/", "europe/berlin",
    "EST5EDT", ".", "", "UTC\\u0000", "CON", "Etc/GMT+14", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "\\u00e9",
    "\\ud800",
)  # fmt: skip
WORDS = (*TIMES, *ADDRESSES, *ZONES)
"""Text as it stands between quotes in JSON, escapes included."""
VALUES = (
    "NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1E5", "1.0", "-0", "-0.0", "00", "9" * 400, "-1",
    str(2**53), str(2**53 + 1), str(2**63), str(2**64), "0.1", "true", "false", "null", "{}", "[]", "''",
    "undefined", '"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"\\u0000"', '"\x01"', '"\\x41"', '"', "\\",
    "[" * 100 + "]" * 100, "[" * 5_000, '{"a":' * 2_000 + "1" + "}" * 2_000, "/* */1", "1,", '"mobile"', '"EUR"',
)  # fmt: skip
"""Values as they stand in JSON, or should not."""

long_texts = st.tuples(st.characters(codec=None), st.sampled_from([1, 127, 128, 129, 2048, 2049]))
raw_values = st.one_of(
    st.sampled_from(WORDS).map(lambda word: f'"{word}"'),
    st.datetimes(timezones=st.timezones()).map(lambda at: f'"{at.isoformat()}"'),
    st.ip_addresses().map(lambda address: f'"{address}"'),
    long_texts.map(lambda pair: json.dumps(pair[0] * pair[1])),
    st.text(max_size=12).map(json.dumps),
    st.sampled_from(VALUES),
    st.integers().map(str),
    st.floats().map(str),
)


@st.composite
def hostile(draw: st.DrawFn, record: type[msgspec.Struct], right: dict[str, str]) -> bytes:
    """A right record with some values replaced or given twice, some fields left out, perhaps damaged as bytes."""
    fields = [(name, json.dumps(value)) for name, value in right.items()]
    names = st.sampled_from([*record.__struct_fields__, "unknown"])
    changes = draw(st.lists(st.tuples(names, raw_values), max_size=4))
    left_out = draw(st.sets(st.sampled_from(list(right)), max_size=1)) if draw(st.booleans()) else set()
    replaced = {name for name, _ in changes} if draw(st.booleans()) else set()  # else they come twice
    fields = [field for field in fields if field[0] not in left_out | replaced] + changes
    text = "{" + ",".join(f'"{name}":{value}' for name, value in fields) + "}"
    payload = text.encode("utf-8", "surrogatepass")
    for at, new in draw(st.lists(st.tuples(st.integers(0, len(payload)), st.binary(max_size=3)), max_size=2)):
        payload = payload[:at] + new + payload[at + draw(st.integers(0, 3)) :]
    return payload


def assert_can_be_rejected(failure: InvalidRecord) -> None:
    assert failure.reason in REJECT_REASONS
    assert msgspec.json.encode(failure.detail)  # as the reject store writes it


arrivals = st.just(ARRIVED_MS) | st.sampled_from([0, 2**41, 253_402_300_799_999])


@settings(max_examples=EXAMPLES)
@given(hostile(Click, CLICK) | st.binary(max_size=200), arrivals)
@example(json.dumps(CLICK | {"at": "9999-12-31T23:59:59-23:59"}).encode(), 253_402_300_799_999)
def test_whatever_click_is_accepted_passes_every_later_step(payload: bytes, arrived_ms: int) -> None:
    try:
        click = parse_click(payload, arrived_ms=arrived_ms)
    except InvalidClick as failure:
        assert_can_be_rejected(failure)
        return
    assert_passes_every_later_step(click, arrived_ms)


def assert_passes_every_later_step(click: Click, arrived_ms: int) -> None:
    arrived_at = from_epoch_ms(arrived_ms)
    assert parse_click(msgspec.json.encode(click), arrived_ms=arrived_ms) == click
    archived = archive_click(click, arrived_at=arrived_at, pseudonymiser=PSEUDONYMISER, crawlers=packaged_crawlers())
    assert json.loads(msgspec.json.encode(archived))["at"].endswith("Z")
    batch = counter_batch([click], PSEUDONYMISER)
    context = context_of(batch.at_ms.tolist(), [click.time_zone], [click.logged_in], [click.device])
    counts = np.zeros((1, len(RAW_COLUMNS)), dtype=np.int32)
    assert np.isfinite(assemble(counts, context, no_profiles(1))).all()
    assert SliceMap().names([click])


@settings(max_examples=EXAMPLES)
@given(hostile(Purchase, ORDER) | st.binary(max_size=200), arrivals)
@example(json.dumps(ORDER | {"at": "9999-12-31T23:59:59-23:59"}).encode(), 253_402_300_799_999)
def test_whatever_purchase_is_accepted_can_be_archived(payload: bytes, arrived_ms: int) -> None:
    try:
        purchase = parse_purchase(payload, arrived_ms=arrived_ms)
    except InvalidPurchase as failure:
        assert_can_be_rejected(failure)
        return
    assert parse_purchase(msgspec.json.encode(purchase), arrived_ms=arrived_ms) == purchase
    archived = archive_purchase(purchase, arrived_at=from_epoch_ms(arrived_ms), pseudonymiser=PSEUDONYMISER)
    assert json.loads(msgspec.json.encode(archived))["at"].endswith("Z")
