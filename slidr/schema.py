"""The data contract as documents, generated from the types: `python -m slidr.schema` writes them into docs/."""

from __future__ import annotations

import ast
import inspect
import json
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec

from slidr.archive import ArchivedClick, ArchivedPurchase
from slidr.click import Click
from slidr.contract import CONTRACT_VERSION, MAX_AHEAD_MS, MAX_RECORD_BYTES
from slidr.purchase import Purchase
from slidr.verdict import Decision, Mode, Reason, Verdict

PAGE: Final = "data-contract.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectReason:
    """Why a record is rejected, with a click that is."""

    meaning: str
    example: bytes
    shown: str
    """What is wrong with the example, for the page."""


def _click(**changes: object) -> bytes:
    fields = {"click_id": "c-1", "at": "2026-11-23T09:30:00Z", "advertiser": "acme", "marketplace": "de", **changes}
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def _reason(meaning: str, **changes: object) -> RejectReason:
    (shown,) = (
        f'"{name}": {json.dumps(value)}' if value is not None else f"no {name}" for name, value in changes.items()
    )
    return RejectReason(
        meaning=meaning, example=_click(**changes), shown=shown if len(shown) < 60 else f"{shown[:20]}..."
    )


REJECT_REASONS: Final[Mapping[str, RejectReason]] = {
    "not_json": RejectReason(
        meaning="The payload is not one JSON value in UTF-8.", example=b'{"click_id": "c-1"', shown='{"click_id": "c-1"'
    ),
    "too_large": _reason(f"The payload is over {MAX_RECORD_BYTES:,} bytes.", query="x" * MAX_RECORD_BYTES),
    "unsupported_version": _reason(f"`version` is not {CONTRACT_VERSION}.", version=CONTRACT_VERSION + 1),
    "missing_field": _reason(
        "A required field is absent. A purchase needs one of user, session and click_id.", advertiser=None
    ),
    "wrong_value": _reason("A field has another type, or a value out of its range or form.", device="toaster"),
    "bad_time": _reason("`at` is before 2000-01-01.", at="1970-01-01T00:00:00Z"),
    "ahead_of_arrival": _reason(
        f"`at` is over {MAX_AHEAD_MS // 60_000} minutes ahead of the arrival: the producer's clock is wrong.",
        at="2999-01-01T00:00:00Z",
    ),
    "bad_time_zone": _reason("`time_zone` is not an IANA name.", time_zone="Mars/Olympus_Mons"),
    "bad_ip": _reason("`ip` is no IPv4 or IPv6 address, or has a zone. Leave an unknown one out.", ip="unknown"),
}
"""Every reason code that a reject can carry. Codes are stable: tools and alarms may match them."""

EXAMPLES: Final[Mapping[str, bytes]] = {
    "the least click": _click(),
    "a whole click": _click(
        version=1,
        user="account-77",
        session="session-4",
        ip="2001:db8::7",
        user_agent="Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        device="desktop",
        logged_in=True,
        campaign="autumn",
        ad="ad-9",
        placement="search-top",
        time_zone="Europe/Berlin",
        cost_micros=450_000,
        currency="EUR",
        query="running shoes",
    ),
}
"""Valid clicks, for the page."""
PURCHASE_EXAMPLE: Final = (
    b'{"order_id": "o-1", "at": "2026-11-23T10:05:00Z", "user": "account-77", "advertiser": "acme", '
    b'"item": "shoe-42", "amount_micros": 89000000, "currency": "EUR"}'
)


def json_schema(record: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a record as it stands on the wire.

    >>> json_schema(Purchase)["required"]
    ['order_id', 'at']
    """
    (reference,), components = msgspec.json.schema_components([record], ref_template="#/$defs/{name}")
    name = reference["$ref"].rpartition("/")[2]
    schema = components.pop(name)
    descriptions = field_descriptions(record)
    for field, definition in schema["properties"].items():
        if field in descriptions:
            definition["description"] = descriptions[field]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"slidr:{name.lower()}-v{CONTRACT_VERSION}",
        **schema,
        **({"$defs": components} if components else {}),
    }


def field_descriptions(kind: type) -> dict[str, str]:
    """The docstrings under the fields of a record, or under the members of an enumeration, by name.

    >>> field_descriptions(Click)["ip"]
    'IPv4 or IPv6, any spelling.'
    """
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    described: dict[str, str] = {}
    for field, text in pairwise(getattr(definition, "body", [])):
        match field, text:
            case (
                ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]),
                ast.Expr(value=ast.Constant(value=str(words))),
            ):
                described[name] = " ".join(words.split())
            case _:
                pass
    return described


def documents() -> dict[str, str]:
    """Path below docs/ and content of every generated document."""
    records: dict[str, type[msgspec.Struct]] = {"click": Click, "purchase": Purchase, "verdict": Verdict}
    schemas = {
        f"schemas/{name}-v{CONTRACT_VERSION}.schema.json": json.dumps(json_schema(record), indent=2) + "\n"
        for name, record in records.items()
    }
    return {PAGE: _page(), **schemas}


_RULES: Final = f"""\
# Data contract

Generated by `python -m slidr.schema` from the types in `slidr/`; a test fails where it is out of date.
Contract version {CONTRACT_VERSION}. JSON Schemas: [click](schemas/click-v1.schema.json),
[purchase](schemas/purchase-v1.schema.json), [verdict](schemas/verdict-v1.schema.json).

## Rules of the wire

- A record is one JSON object in UTF-8, at most {MAX_RECORD_BYTES:,} bytes. One record, one Kinesis record.
- Times are RFC 3339 with an offset. `at` is event time; the stream stamps arrival itself. Verdicts and
  the lake have it in UTC.
- Money is in millionths of its currency, as an integer.
- What is absent by nature (no user, no IP in an imported log) is null or left out: a value, not a failure.
- Partition key: `click_id` for clicks and verdicts, `order_id` for purchases.
- Deliver at least once, in any order: a second record with the same id changes nothing.

## Versions

- Unknown fields are ignored, so a producer may be ahead of its consumer.
- A new optional field or reason code does not change the version.
- A field that is removed, renamed, made required, or given another type or meaning makes a new version. Consumers
  then read both versions for at least as long as the streams and the quarantine keep records.
- `version` may be left out; it then means 1.
"""
_LEDGER: Final = """\
The `verdicts` stream is an append-only ledger: fold it by `click_id`. The first original wins, later originals are
redeliveries, a correction supersedes. A row whose reasons hold `backfilled` gives way to any other of its click.
"""
_LAKE: Final = """\
Parquet at `clicks/`, `purchases/` and `verdicts/`, partitioned `date=YYYY-MM-DD/hour=HH/` by the UTC hour of `at`.
Verdicts as above. Clicks and purchases are pseudonymised: a token is `<key version>.<32 hex digits>`.
"""
_QUARANTINE: Final = """\
A record that breaks the contract goes to `rejects/date=YYYY-MM-DD/hour=HH/` (hour of arrival) of the quarantine
bucket, one JSON line each: `reason`, `detail`, `stream`, `shard`, `sequence`, `arrived_at`, `payload_base64`. It is
erased after seven days.

| reason | meaning | example |
|---|---|---|
"""


def _page() -> str:
    reasons = (f"| `{code}` | {reason.meaning} | `{reason.shown}` |\n" for code, reason in REJECT_REASONS.items())
    return "\n".join(
        (
            _RULES,
            "## Click\n",
            _fields(Click),
            _example("The least click", EXAMPLES["the least click"]),
            _example("A whole click", EXAMPLES["a whole click"]),
            "## Purchase\n",
            _fields(Purchase),
            "At least one of `user`, `session` and `click_id` is required.\n",
            _example("A purchase", PURCHASE_EXAMPLE),
            "## Verdict\n",
            _LEDGER,
            _fields(Verdict),
            _members(Decision),
            _members(Mode),
            _members(Reason),
            "## In the lake\n",
            _LAKE,
            "Archived click:\n",
            _fields(ArchivedClick),
            "Archived purchase:\n",
            _fields(ArchivedPurchase),
            "## Rejects\n",
            _QUARANTINE + "".join(reasons).rstrip("\n") + "\n",
        )
    )


def _fields(record: type[msgspec.Struct]) -> str:
    schema = json_schema(record)
    components = schema.get("$defs", {})
    rows = ["| field | type | required | meaning |", "|---|---|---|---|"]
    for name, definition in schema["properties"].items():
        required = "yes" if name in schema["required"] else f"no, {json.dumps(definition.get('default'))}"
        rows.append(
            f"| `{name}` | {_type(definition, components)} | {required} | {definition.get('description', '')} |"
        )
    return "\n".join(rows) + "\n"


def _type(definition: Mapping[str, Any], components: Mapping[str, Any]) -> str:
    """A schema's type in words."""
    match definition:
        case {"anyOf": choices}:
            words = " or ".join(_type(choice, components) for choice in choices)
        case {"$ref": reference}:
            words = _type(components[reference.rpartition("/")[2]], components)
        case {"enum": values}:
            words = ", ".join(f"`{value}`" for value in values)
        case {"type": "array", "items": items}:
            words = f"array of {_type(items, components)}"
        case {"type": "object", "additionalProperties": values}:
            words = f"object of {_type(values, components)}"
        case {"format": "date-time"}:
            words = "time"
        case {"pattern": pattern}:
            words = f"string `{pattern}`"
        case {"maxLength": longest}:
            words = f"string of {definition.get('minLength', 0)} to {longest}"
        case {"type": "integer", "minimum": least, "maximum": most}:
            words = f"integer, {least} to {most}"
        case _:
            words = str(definition.get("type", "any"))
    return words


def _members(kind: type[StrEnum]) -> str:
    described = field_descriptions(kind)
    rows = [
        f"- `{member.value}`" + (f": {described[member.name]}" if member.name in described else "") for member in kind
    ]
    return "\n".join((f"{kind.__name__}: {inspect.getdoc(kind)}\n", *rows)) + "\n"


def _example(title: str, payload: bytes) -> str:
    return f"{title}:\n\n```json\n{json.dumps(json.loads(payload), indent=2)}\n```\n"


if __name__ == "__main__":
    docs = Path(__file__).resolve().parent.parent / "docs"
    for path, content in documents().items():
        (docs / path).parent.mkdir(parents=True, exist_ok=True)
        (docs / path).write_text(content, "utf-8")
        sys.stdout.write(f"docs/{path}\n")
