"""A mapping for a CSV that nobody has described yet: guessed from the names of its columns and its first values."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec

from local.sources.compressed import HEAD_BYTES, head_of
from local.sources.event import Kind, LogUnreadable
from local.sources.mapped_csv import (
    EPOCH_MS,
    EPOCH_S,
    FALSE,
    ID_FIELDS,
    MONEY,
    RECORDS,
    RFC3339,
    TRUE,
    CsvMapping,
    Source,
    time_reader,
)
from slidr.click import Device
from slidr.contract import canonical_ip, is_time_zone

_SAMPLED: Final = 200
_DELIMITERS: Final = (",", ";", "\t", "|")
_ABSENT: Final = ("", "-", "NULL", "null", "\\N", "None", "NaN")
_UNKNOWN: Final = "unknown"

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "click_id": ("click_id", "clickid", "gclid", "event_id", "request_id", "uuid", "guid", "id"),
    "order_id": ("order_id", "orderid", "order", "transaction_id", "purchase_id", "conversion_id", "id"),
    "at": ("at", "click_time", "event_time", "order_time", "timestamp", "datetime", "date_time", "time", "ts",
           "created_at", "clicked_at", "ordered_at", "date"),
    "user": ("user", "user_id", "userid", "account", "account_id", "customer", "customer_id", "member_id",
             "visitor_id"),
    "session": ("session", "session_id", "sessionid", "user_session", "visit_id", "sid"),
    "ip": ("ip", "ip_address", "ipaddress", "client_ip", "remote_addr", "remote_ip", "address"),
    "user_agent": ("user_agent", "useragent", "ua", "agent", "browser"),
    "device": ("device", "device_type", "device_class", "devicetype", "platform"),
    "logged_in": ("logged_in", "is_logged_in", "loggedin", "signed_in", "authenticated", "is_member", "member"),
    "advertiser": ("advertiser", "advertiser_id", "merchant", "merchant_id", "seller", "brand", "app", "app_id"),
    "campaign": ("campaign", "campaign_id", "campaignid", "adgroup", "ad_group"),
    "ad": ("ad", "ad_id", "adid", "creative", "creative_id", "banner", "product_id", "product"),
    "item": ("item", "item_id", "product_id", "product", "sku", "asin"),
    "placement": ("placement", "placement_id", "channel", "publisher", "publisher_id", "slot", "position", "referer",
                  "referrer"),
    "marketplace": ("marketplace", "market", "country", "country_code", "region", "locale"),
    "time_zone": ("time_zone", "timezone", "tz"),
    "cost_micros": ("cost_micros", "cost", "cpc", "bid", "price", "cost_cents", "spend"),
    "amount_micros": ("amount_micros", "amount", "total", "revenue", "price", "amount_cents", "value"),
    "currency": ("currency", "currency_code"),
    "query": ("query", "search", "search_term", "keyword", "keywords", "q"),
}  # fmt: skip
"""Names that columns have, the likeliest first; compared in small letters with underscores."""

TIME_FORMATS: Final = (
    "%Y-%m-%d %H:%M:%S %Z", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M",
    "%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %I:%M %p", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M", "%d/%b/%Y:%H:%M:%S %z", "%d-%b-%Y %H:%M:%S", "%Y%m%d%H%M%S", "%a, %d %b %Y %H:%M:%S %z",
)  # fmt: skip
_DEVICES: Final = {
    "desktop": Device.DESKTOP, "pc": Device.DESKTOP, "computer": Device.DESKTOP, "web": Device.DESKTOP,
    "mobile": Device.MOBILE, "phone": Device.MOBILE, "smartphone": Device.MOBILE, "m": Device.MOBILE,
    "tablet": Device.TABLET, "pad": Device.TABLET, "ipad": Device.TABLET, "t": Device.TABLET, "d": Device.DESKTOP,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The beginning of a CSV."""

    header: list[str]
    rows: list[list[str]]
    delimiter: str
    encoding: str

    def values(self, column: str) -> list[str]:
        """What stands in a column, without what says that there is nothing."""
        place = self.header.index(column)
        cells = (row[place].strip() for row in self.rows if len(row) == len(self.header))
        return [cell for cell in cells if cell not in _ABSENT]


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """What the file does not tell of a field, and what was taken for it."""

    field: str
    about: str
    """What is not known: "source", "format" or "zone"."""
    says: str
    choices: tuple[str, ...] = ()
    """All that it can be, where that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A mapping, and where it is a guess."""

    mapping: CsvMapping
    doubts: tuple[Doubt, ...]


def sample_of(path: Path) -> Sample:
    """The header and first rows of a CSV, with its delimiter and encoding found out.

    Raises:
        LogUnreadable: there is no header with two columns or more.
    """
    head = head_of(path)
    encoding = "utf-8-sig" if _is_utf8(head) else "cp1252"
    text = head.decode(encoding, "replace")
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    lines = list(io.StringIO(text, newline=""))
    if len(lines) > 2 and len(head) == HEAD_BYTES:
        lines.pop()  # the head ends within it
    table = [row for row in csv.reader(lines, delimiter=delimiter) if row]
    header, rows = (table[0], table[1:]) if table else ([], [])
    if len(header) < 2 or len(set(header)) < len(header) or not rows:
        raise LogUnreadable(
            f"{path}: a CSV is required whose first line names its columns, at least two, all different, and a row "
            f"below it, came {first[:120]!r}"
        )
    return Sample(header=header, rows=rows[:_SAMPLED], delimiter=delimiter, encoding=encoding)


def _is_utf8(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as failure:
        return failure.start > len(head) - 4 and failure.reason == "unexpected end of data"
    return True


def proposed(sample: Sample, *, kind: Kind | None = None) -> Proposal:
    """What the names and values of the columns tell; the doubts say what they do not.

    Args:
        sample: the beginning of the file.
        kind: click or purchase; None: a purchase where there is a column of orders and none of clicks.
    """
    kind = kind or _kind_of(sample)
    columns = {_normal(name): name for name in sample.header}
    fields: dict[str, Source] = {}
    doubts: list[Doubt] = []
    for field in RECORDS[kind].__struct_fields__:
        taken = {source.column for source in fields.values()}
        named = [columns[name] for name in NAMES.get(field, ()) if name in columns and columns[name] not in taken]
        others = [name for name in sample.header if name not in taken and name not in named]
        for column in [*named, *(others if field in _TOLD_BY_VALUES else ())]:
            source = _source(field, column, sample)
            if source is not None:
                fields[field] = source
                break
    doubts += _missing(kind, fields)
    if fields["at"].column is not None:
        fields["at"], unsure = times_of(fields["at"].column, sample)
        doubts += unsure
    fields = {field: fields[field] for field in RECORDS[kind].__struct_fields__ if field in fields}
    used = {source.column for source in fields.values()} - {None}
    seen = {cell.strip() for row in sample.rows if len(row) == len(sample.header)
            for cell, name in zip(row, sample.header, strict=True) if name in used}  # fmt: skip
    absent = tuple(word for word in _ABSENT if word == "" or word in seen)
    mapping = CsvMapping(
        kind=kind.value, delimiter=sample.delimiter, encoding=sample.encoding, absent=absent, fields=fields
    )
    return Proposal(mapping=mapping, doubts=tuple(doubts))


def _kind_of(sample: Sample) -> Kind:
    names = {_normal(name) for name in sample.header}
    orders, clicks = set(NAMES["order_id"]) - {"id"}, {*NAMES["ip"], *NAMES["user_agent"], *NAMES["ad"]}
    return Kind.PURCHASE if names & orders and not names & (clicks - set(NAMES["item"])) else Kind.CLICK


def _normal(name: str) -> str:
    """A column's name as NAMES has it.

    >>> _normal("User Agent"), _normal("clickId"), _normal("IP-Address")
    ('user_agent', 'click_id', 'ip_address')
    """
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name.strip())
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


def _source(field: str, column: str, sample: Sample) -> Source | None:
    """The column as the field's source, where its values can be that field's."""
    values = sample.values(column)
    if field == "at":
        return Source(column=column) if time_formats(values) else None
    if field in MONEY:
        return _money(column, values)
    if field == "logged_in":
        return Source(column=column) if _most(values, lambda value: value.lower() in TRUE | FALSE) else None
    if field == "device":
        words: dict[str, str | bool] = {
            v: _DEVICES[v].value for v in sorted({v.lower() for v in values} & set(_DEVICES))
        }
        return Source(column=column, words=words, otherwise=Device.OTHER.value) if words else None
    return Source(column=column) if _most(values, _FITS.get(field, _is_identifier)) else None


def _most(values: Sequence[str], fits: Callable[[str], bool]) -> bool:
    """Whether there are values and most of them fit; the others will be rejected, with the reason."""
    return sum(map(fits, values)) > len(values) / 2


def time_formats(values: Sequence[str]) -> list[str]:
    """The formats that read most of these times, between 2000 and 2100, where they read equally many.

    >>> time_formats(["2026-11-23T12:00:00Z"]), time_formats(["03/04/2026 10:00"]), time_formats(["7"])
    (['rfc3339'], ['%d/%m/%Y %H:%M', '%m/%d/%Y %H:%M'], [])
    """
    for pattern, form in ((EPOCH_S, r"\d{10}(\.\d+)?"), (EPOCH_MS, r"\d{13}"), (RFC3339, r"\d{4}-\d\d-\d\d.*")):
        alike = [value for value in values if re.fullmatch(form, value)]
        if sum(_reads(pattern, value) for value in alike) > len(values) / 2:
            return [pattern]
    read = {pattern: sum(_reads(pattern, value) for value in values) for pattern in TIME_FORMATS}
    most = max(read.values())
    return [pattern for pattern in TIME_FORMATS if read[pattern] == most > len(values) / 2]


def _reads(pattern: str, value: str) -> bool:
    try:
        return 2000 <= time_reader(pattern, "UTC")(value).year < 2100
    except (ValueError, ArithmeticError):
        return False


def _money(column: str, values: Sequence[str]) -> Source | None:
    decimal = "," if _most(values, lambda value: "," in value) else "."
    if not _most(values, lambda value: re.fullmatch(rf"\d+({re.escape(decimal)}\d+)?", value) is not None):
        return None
    name = _normal(column)
    scale = 1 if "micros" in name else 10_000 if "cent" in name else 1_000_000
    return Source(column=column, scale=Decimal(scale), decimal=decimal)


def _is_address(value: str) -> bool:
    try:
        canonical_ip(value)
    except ValueError:
        return False
    return True


def _is_identifier(value: str) -> bool:
    return 0 < len(value) <= 128


_FITS: Final[Mapping[str, Callable[[str], bool]]] = {
    "ip": _is_address,
    "user_agent": lambda value: "/" in value and len(value) <= 2048,
    "time_zone": is_time_zone,
    "currency": lambda value: re.fullmatch("[A-Z]{3}", value) is not None,
    "query": lambda value: len(value) <= 2048,
    "version": lambda _value: False,
}
_TOLD_BY_VALUES: Final = frozenset({"at", "ip"})
"""Fields whose values give them away, whatever their column is called."""


def _missing(kind: Kind, fields: dict[str, Source]) -> list[Doubt]:
    """Fill what is required and was not found, or goes with what was, with a constant, and say so."""
    doubts = []
    if fields.keys() & MONEY and "currency" not in fields:
        fields["currency"] = Source(constant="USD")
        doubts.append(Doubt(field="currency", about="source", says="no column says in which currency the money is"))
    for field in msgspec.structs.fields(RECORDS[kind]):
        if field.required and field.name not in fields and field.name != ID_FIELDS[kind]:
            fields[field.name] = Source(constant=_UNKNOWN)
            doubts.append(Doubt(field=field.name, about="source", says=f"no column looks like {field.name}"))
    return doubts


def times_of(column: str, sample: Sample) -> tuple[Source, list[Doubt]]:
    """A column as the source of `at`, with what is unsure about its format and zone."""
    values = sample.values(column)
    formats, doubts = time_formats(values), []
    example = values[0] if values else ""
    if len(formats) != 1:
        says = f"{example!r} can be read in {'more than one way' if formats else 'no way that is known'}"
        doubts.append(Doubt(field="at", about="format", says=says, choices=tuple(formats)))
    source = Source(column=column, format=formats[0] if formats else RFC3339)
    if not _has_offset(source.format, values):
        doubts.append(Doubt(field="at", about="zone", says=f"{example!r} does not say in which time zone"))
    return source, doubts


def _has_offset(pattern: str, values: Sequence[str]) -> bool:
    if pattern == RFC3339:
        return _most(values, lambda value: re.search(r"(Z|[+-]\d\d:?\d\d)$", value) is not None)
    return pattern in (EPOCH_S, EPOCH_MS) or "%z" in pattern or "%Z" in pattern


def settled(mapping: CsvMapping, doubt: Doubt, answer: str) -> CsvMapping:
    """The mapping with a doubt answered: a column's name or "=text" for a source, else a format or a zone.

    >>> mapping = CsvMapping(fields={"advertiser": Source(constant="unknown")})
    >>> settled(mapping, Doubt(field="advertiser", about="source", says=""), "=acme").fields["advertiser"].constant
    'acme'
    """
    source = mapping.fields[doubt.field]
    if doubt.about == "format":
        source = msgspec.structs.replace(source, format=answer)
    elif doubt.about == "zone":
        source = msgspec.structs.replace(source, zone=answer)
    else:
        source = Source(constant=answer[1:]) if answer.startswith("=") else Source(column=answer)
    return msgspec.structs.replace(mapping, fields=mapping.fields | {doubt.field: source})


def as_toml(mapping: CsvMapping, comments: Mapping[str, str], *, log: str) -> str:
    """The mapping as a file that a person can read and change; `comments` stand behind their fields."""
    lines = [
        f"# How the rows of {log} become {mapping.kind}s: docs/cli.md, `slidr map`.",
        "# Fields are those of docs/data-contract.md; each has a column or a constant. Delete what is wrong.",
        f"kind = {_text(mapping.kind)}",
        f"delimiter = {_text(mapping.delimiter)}",
        f"encoding = {_text(mapping.encoding)}",
        f"absent = [{', '.join(map(_text, mapping.absent))}]  # cells that say that there is nothing",
        "",
        "[fields]",
    ]
    if ID_FIELDS[mapping.records] not in mapping.fields:
        lines.append(f"# {ID_FIELDS[mapping.records]} is left out: each row gets one of its number and content")
    for field, source in mapping.fields.items():
        comment = comments.get(field)
        lines.append(f"{field} = {_inline(source)}{f'  # {_one_line(comment)}' if comment else ''}")
    return "\n".join(lines) + "\n"


def _inline(source: Source) -> str:
    default = Source()
    parts = []
    for name in source.__struct_fields__:
        value = getattr(source, name)
        if value == getattr(default, name):
            continue
        if isinstance(value, dict):
            words = ", ".join(f"{_text(word)} = {_text(stands)}" for word, stands in value.items())
            parts.append(f"{name} = {{ {words} }}")
        else:
            parts.append(f"{name} = {_text(value)}")
    return f"{{ {', '.join(parts)} }}"


def _text(value: str | bool | int | Decimal) -> str:
    """A value in TOML: its strings are those of JSON, but for DEL.

    >>> _text("a b"), _text(True), _text(Decimal(10_000))
    ('"a b"', 'true', '10000')
    """
    if isinstance(value, Decimal):
        return str(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _one_line(text: str) -> str:
    """Text that a comment can hold."""
    return re.sub(r"[\x00-\x1f\x7f]+", " ", text)
