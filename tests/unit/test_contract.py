"""The wire contract: what is accepted, what is rejected and why; nothing else ever escapes the parser."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidr.click import Device, parse_click, parse_clicks
from slidr.contract import MAX_AHEAD_MS, epoch_ms
from slidr.errors import InvalidClick, InvalidPurchase
from slidr.purchase import parse_purchase
from slidr.schema import EXAMPLES, PURCHASE_EXAMPLE, REJECT_REASONS, documents

ARRIVED_MS = epoch_ms(dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC))
DOCS = Path(__file__).resolve().parents[2] / "docs"
LEAST = {"click_id": "c-1", "at": "2026-11-23T09:30:00Z", "advertiser": "acme", "marketplace": "de"}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def click(**changes: Any) -> bytes:
    return json.dumps({**LEAST, **changes}).encode()


def reject_reason(payload: bytes) -> str | None:
    """Why a click is rejected, None where it is not."""
    try:
        parsed = parse_click(payload, arrived_ms=ARRIVED_MS)
    except InvalidClick as failure:
        return failure.reason
    assert parsed.at.utcoffset() is not None
    return None


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_parser_raises_nothing_but_invalid_click(payload: bytes) -> None:
    assert reject_reason(payload) in REJECT_REASONS


@given(
    st.dictionaries(
        st.sampled_from(
            ["version", "click_id", "at", "user", "ip", "user_agent", "device", "time_zone", "cost_micros", "query"]
        ),
        json_values | st.sampled_from(["2026-11-23T09:30:00+25:00", "0001-01-01T00:00:00+23:59", "\ud800", "../x"]),
        max_size=3,
    )
)
def test_click_with_any_value_in_any_field_is_parsed_or_rejected(changes: dict[str, Any]) -> None:
    assert reject_reason(click(**changes)) in {None, *REJECT_REASONS}


@given(json_values.map(lambda value: json.dumps(value).encode()) | st.binary())
def test_purchase_parser_raises_nothing_but_invalid_purchase(payload: bytes) -> None:
    with pytest.raises(InvalidPurchase) as failure:
        parse_purchase(payload, arrived_ms=ARRIVED_MS)
    assert failure.value.reason in REJECT_REASONS


@pytest.mark.parametrize("reason", REJECT_REASONS)
def test_example_of_each_reason_is_rejected_for_it(reason: str) -> None:
    with pytest.raises(InvalidClick) as failure:
        parse_click(REJECT_REASONS[reason].example, arrived_ms=ARRIVED_MS)

    assert failure.value.reason == reason


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_valid_by_parser_and_by_schema(name: str) -> None:
    schema = json.loads(documents()["schemas/click-v1.schema.json"])

    parse_click(EXAMPLES[name], arrived_ms=ARRIVED_MS)
    jsonschema.validate(json.loads(EXAMPLES[name]), schema, jsonschema.Draft202012Validator)


def test_purchase_example_is_valid_by_parser_and_by_schema() -> None:
    schema = json.loads(documents()["schemas/purchase-v1.schema.json"])

    parse_purchase(PURCHASE_EXAMPLE, arrived_ms=ARRIVED_MS)
    jsonschema.validate(json.loads(PURCHASE_EXAMPLE), schema, jsonschema.Draft202012Validator)


@pytest.mark.parametrize("path", documents())
def test_committed_documents_are_up_to_date(path: str) -> None:
    assert (DOCS / path).read_text("utf-8") == documents()[path], "run `python -m slidr.schema`"


def test_absent_fields_take_their_defaults() -> None:
    parsed = parse_click(click(), arrived_ms=ARRIVED_MS)

    assert (parsed.user, parsed.ip, parsed.device, parsed.logged_in) == (None, None, Device.OTHER, False)
    assert (parsed.time_zone, parsed.cost_micros, parsed.currency) == ("UTC", 0, "USD")


def test_unknown_fields_are_ignored() -> None:
    assert parse_click(click(colour="red"), arrived_ms=ARRIVED_MS).click_id == "c-1"


def test_times_with_any_offset_are_the_same_instant() -> None:
    utc = parse_click(click(), arrived_ms=ARRIVED_MS)
    tokyo = parse_click(click(at="2026-11-23T18:30:00+09:00"), arrived_ms=ARRIVED_MS)

    assert epoch_ms(utc.at) == epoch_ms(tokyo.at)
    assert msgspec.json.encode(tokyo.at) == b'"2026-11-23T09:30:00Z"'  # Firehose reads no other offset


def test_time_of_a_purchase_is_kept_in_utc() -> None:
    payload = b'{"order_id": "o", "user": "u", "at": "2026-11-23T18:30:00+09:00"}'

    parsed = parse_purchase(payload, arrived_ms=ARRIVED_MS)

    assert msgspec.json.encode(parsed.at) == b'"2026-11-23T09:30:00Z"'


def test_time_without_an_offset_is_rejected() -> None:
    with pytest.raises(InvalidClick, match="timezone"):
        parse_click(click(at="2026-11-23T09:30:00"), arrived_ms=ARRIVED_MS)


def test_click_may_be_five_minutes_ahead_of_its_arrival_and_no_more() -> None:
    at_ms = epoch_ms(dt.datetime(2026, 11, 23, 9, 30, tzinfo=dt.UTC))

    parse_click(click(), arrived_ms=at_ms - MAX_AHEAD_MS)
    with pytest.raises(InvalidClick, match="ahead_of_arrival"):
        parse_click(click(), arrived_ms=at_ms - MAX_AHEAD_MS - 1)


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0:0::7", "2001:db8::7"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ],
)
def test_ip_is_brought_into_one_spelling(spelling: str, canonical: str) -> None:
    assert parse_click(click(ip=spelling), arrived_ms=ARRIVED_MS).ip == canonical


@pytest.mark.parametrize(
    "ip", ["", "unknown", "192.0.2", "192.0.2.256", "192.0.2.1:80", "2001:db8::1/64", "::1%", "::1%a"]
)
def test_what_is_no_address_is_rejected(ip: str) -> None:
    with pytest.raises(InvalidClick, match="bad_ip"):
        parse_click(click(ip=ip), arrived_ms=ARRIVED_MS)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"device": "missing required field `at`"}, "wrong_value"),
        ({"device": "`$.version`"}, "wrong_value"),
        ({"currency": "EUR\n"}, "wrong_value"),
        ({"click_id": "c\n"}, "wrong_value"),
        ({"version": True}, "unsupported_version"),
    ],
)
def test_reason_follows_the_field_and_not_the_words_of_its_value(changes: dict[str, Any], reason: str) -> None:
    assert reject_reason(click(**changes)) == reason


def test_empty_user_agent_is_an_absent_one() -> None:
    assert parse_click(click(user_agent=""), arrived_ms=ARRIVED_MS).user_agent is None


def test_one_bad_record_fails_only_itself() -> None:
    payloads = [click(click_id="a"), b"no", click(click_id="b"), click(version=2)]

    parsed = parse_clicks(payloads, arrived_ms=[ARRIVED_MS] * 4)

    assert [c.click_id for c in parsed.clicks] == ["a", "b"]
    assert parsed.positions == [0, 2]
    assert [(place, error.reason) for place, error in parsed.rejects] == [(1, "not_json"), (3, "unsupported_version")]


def test_purchase_without_anything_to_join_by_is_rejected() -> None:
    payload = b'{"order_id": "o", "at": "2026-11-23T09:30:00Z"}'

    with pytest.raises(InvalidPurchase, match="user, session, click_id"):
        parse_purchase(payload, arrived_ms=ARRIVED_MS)
