r"""Any CSV as clicks or purchases, by a mapping: a small TOML file that says which column becomes which field.

    kind = "click"                       # or "purchase"
    delimiter = ";"                      # "," where left out; "\t" for tabs
    encoding = "latin-1"                 # UTF-8 where left out
    absent = ["", "-", "NULL"]           # cells that say that there is nothing; only the empty one where left out

    [fields]
    at = { column = "when", format = "%d.%m.%Y %H:%M:%S", zone = "Europe/Berlin" }
    ip = { column = "address" }
    device = { column = "type", words = { phone = "mobile" }, otherwise = "other" }
    logged_in = { column = "member", words = { yes = true, no = false } }
    cost_micros = { column = "cpc", scale = 1_000_000, decimal = "," }
    advertiser = { constant = "acme" }
    marketplace = { constant = "de" }

The mapping of `clicks.csv` stands beside it as `clicks.csv.map.toml`; `slidr map clicks.csv` proposes one. Without a
column for its id, a record gets one of its row's number and content: the same file gives the same ids in every run.

Nothing is lost: what cannot be converted is passed on as the text that it is, and a row with too few or too many cells
as a list of them. The deployed system rejects such records, with the reason, and keeps them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from local.sources.csv_rows import csv_rows
from local.sources.event import Chunk, Event, Kind, LogUnreadable, chunked
from local.sources.fixed_csv import row_digest
from slidr.click import Click
from slidr.contract import EPOCH, epoch_ms, is_time_zone
from slidr.purchase import Purchase

RFC3339: Final = "rfc3339"
EPOCH_S: Final = "epoch_s"
EPOCH_MS: Final = "epoch_ms"
RECORDS: Final[Mapping[Kind, type[msgspec.Struct]]] = {Kind.CLICK: Click, Kind.PURCHASE: Purchase}
ID_FIELDS: Final[Mapping[Kind, str]] = {Kind.CLICK: "click_id", Kind.PURCHASE: "order_id"}
MONEY: Final = frozenset({"cost_micros", "amount_micros"})
TRUE: Final = frozenset({"true", "t", "yes", "y", "1"})
FALSE: Final = frozenset({"false", "f", "no", "n", "0"})
Value = str | int | bool
Convert = Callable[[str], Any]


class MappingUnusable(LogUnreadable):
    """A mapping does not say how a CSV becomes records of the contract."""


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where one field comes from: a column, or a constant."""

    column: str | None = None
    constant: Value | None = None
    format: str = RFC3339
    """Of `at`: "rfc3339", "epoch_s", "epoch_ms", or a format of strptime."""
    zone: str = "UTC"
    """Of `at`, where its text has no offset: an IANA name. Of an hour that a clock repeats the first is meant."""
    scale: Decimal = Decimal(1)
    """Of money: how many millionths one unit of the column is; 1_000_000 for 0.45, 10_000 for cents."""
    decimal: str = "."
    """Of money: what stands before the fraction."""
    words: dict[str, str | bool] = {}
    """What stands for what, in small letters; what is not in it stays as it is."""
    otherwise: str | bool | None = None
    """What stands for all that is not in `words`."""


class CsvMapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the rows of one CSV become records."""

    kind: Literal["click", "purchase"] = "click"
    delimiter: str = ","
    encoding: str = "utf-8-sig"
    absent: tuple[str, ...] = ("",)
    fields: dict[str, Source]

    @property
    def records(self) -> Kind:
        """Which kind of record the rows become."""
        return Kind(self.kind)


def mapping_beside(log: Path) -> Path:
    """Where the mapping of a log stands.

    >>> str(mapping_beside(Path("logs/clicks.csv.gz")))
    'logs/clicks.csv.gz.map.toml'
    """
    return log.with_name(f"{log.name}.map.toml")


def mapping_of(log: Path, given: Path | None) -> Path | None:
    """Where the mapping stands that `log` is read by: the given one, else the one beside it; None without either."""
    beside = mapping_beside(log)
    return given or (beside if beside.exists() else None)


def read_mapping(path: Path) -> CsvMapping:
    """The mapping in a file.

    Raises:
        MappingUnusable: it cannot be read, is no mapping, or breaks a rule of `checked`.
    """
    try:
        return checked(msgspec.toml.decode(path.read_bytes(), type=CsvMapping), name=str(path))
    except OSError as failure:
        raise MappingUnusable(
            f"a readable mapping is required, came {path}: {failure.strerror}. slidr map LOG writes one."
        ) from failure
    except (msgspec.MsgspecError, UnicodeDecodeError) as failure:
        raise MappingUnusable(f"{path}: a mapping is required, came: {failure}. docs/cli.md has one.") from failure


def checked(mapping: CsvMapping, *, name: str) -> CsvMapping:
    """The mapping, where it can work: known fields, each from one place, the required ones among them.

    Raises:
        MappingUnusable: which it does not.
    """
    known = RECORDS[mapping.records].__struct_fields__
    required = [
        field.name
        for field in msgspec.structs.fields(RECORDS[mapping.records])
        if field.required and field.name != ID_FIELDS[mapping.records]
    ]
    id_field = ID_FIELDS[mapping.records]
    for field, source in mapping.fields.items():
        if field == id_field and source.column is None:
            raise MappingUnusable(f"{name}: {field} requires a column; left out, every row gets an id of its own")
        if field not in known:
            raise MappingUnusable(f"{name}: a field of a {mapping.kind} is required ({', '.join(known)}), came {field}")
        if (source.column is None) == (source.constant is None):
            raise MappingUnusable(f"{name}: {field} requires either a column or a constant")
        if not is_time_zone(source.zone):
            raise MappingUnusable(f"{name}: {field} requires an IANA time zone, came {source.zone!r}")
        if len(source.decimal) != 1:
            raise MappingUnusable(f"{name}: {field} requires one character as decimal, came {source.decimal!r}")
    if missing := [field for field in required if field not in mapping.fields]:
        raise MappingUnusable(f"{name}: a {mapping.kind} requires {', '.join(missing)}: name a column or a constant")
    if len(mapping.delimiter) != 1:
        raise MappingUnusable(f"{name}: one character is required as delimiter, came {mapping.delimiter!r}")
    try:
        "".encode(mapping.encoding)
    except LookupError as failure:
        raise MappingUnusable(
            f"{name}: an encoding that Python knows is required, came {mapping.encoding!r}"
        ) from failure
    return mapping


class MappedCsv:
    """A CSV whose rows become records by a mapping, plain or gzipped."""

    name = "any CSV with a mapping"
    expects = "a mapping beside it, LOG.map.toml; slidr map LOG proposes one"

    def __init__(self, mapping: CsvMapping) -> None:
        self.mapping = mapping

    def recognises(self, head: bytes) -> bool:
        """Whether the first line has every column that the mapping names."""
        first = head.partition(b"\n")[0].decode(self.mapping.encoding, "replace")
        return all(source.column is None or source.column in first for source in self.mapping.fields.values())

    def read(self, path: Path, *, kind: Kind) -> Iterator[Chunk]:
        """The rows as records, in file order.

        Raises:
            MappingUnusable: the mapping is for the other kind, or names a column that the header does not have.
            LogUnreadable: the file is no CSV in the mapping's encoding.
        """
        if kind is not self.mapping.records:
            raise MappingUnusable(
                f"a mapping of kind {kind.value!r} is required for {path}, came {self.mapping.kind!r}: give clicks as "
                "PATH and purchases as --purchases"
            )
        rows = csv_rows(path, delimiter=self.mapping.delimiter, encoding=self.mapping.encoding)
        return chunked(self.of_rows(next(rows, []), rows, name=str(path)))

    def of_rows(self, header: list[str], rows: Iterator[list[str]], *, name: str) -> Iterator[Event]:
        """The records of rows that have been read; `name` says in messages of which file.

        Raises:
            MappingUnusable: the header lacks a column.
        """
        return _events(rows, record_maker(self.mapping, header, name=name), len(header), self.mapping.records)


def record_maker(mapping: CsvMapping, header: list[str], *, name: str) -> Callable[[list[str]], dict[str, Any]]:
    """What makes the fields of a record of a row, given the header.

    Raises:
        MappingUnusable: the header lacks a column.

    >>> mapping = CsvMapping(fields={"ip": Source(column="a"), "cost_micros": Source(column="c", scale=Decimal(100))})
    >>> record_maker(mapping, ["a", "c"], name="x.csv")(["192.0.2.1", "45"])
    {'ip': '192.0.2.1', 'cost_micros': 4500}
    """
    constants: dict[str, Any] = {field: s.constant for field, s in mapping.fields.items() if s.column is None}
    columns: list[tuple[str, int, Convert]] = []
    for field, source in mapping.fields.items():
        if source.column is None:
            continue
        if source.column not in header:
            raise MappingUnusable(
                f"{name}: the column {source.column!r} is required by the mapping, came {', '.join(header)}"
            )
        columns.append((field, header.index(source.column), _converter(field, source)))
    absent = frozenset(mapping.absent)

    def record(row: list[str]) -> dict[str, Any]:
        made = dict(constants)
        for field, place, convert in columns:
            text = row[place].strip()
            if text in absent:
                continue
            try:
                made[field] = convert(text)
            except (ValueError, ArithmeticError):
                made[field] = text  # for the system to reject, with the reason
        return made

    return record


def _events(
    rows: Iterator[list[str]], record: Callable[[list[str]], dict[str, Any]], cells: int, kind: Kind
) -> Iterator[Event]:
    at_ms, id_field, encode = 0, ID_FIELDS[kind], msgspec.json.Encoder().encode
    for number, row in enumerate(rows, start=1):
        if len(row) != cells:
            yield Event(at_ms, kind, f"row-{number}", encode(row))
            continue
        made = record(row)
        if id_field not in made:
            made[id_field] = f"row-{row_digest(number, row)}"
        at, key = made.get("at"), str(made[id_field])
        if isinstance(at, dt.datetime):
            at_ms = epoch_ms(at)
        yield Event(at_ms, kind, key if 0 < len(key) <= 256 else f"row-{number}", encode(made))


def _converter(field: str, source: Source) -> Convert:
    if field == "at":
        return lru_cache(maxsize=4096)(time_reader(source.format, source.zone))  # neighbours share their second
    if field in MONEY:
        return _money_reader(source)
    if field == "logged_in" and not source.words:
        return _boolean
    if source.words or source.otherwise is not None:
        return lambda text: source.words.get(text.lower(), text if source.otherwise is None else source.otherwise)
    return str


def time_reader(pattern: str, zone: str) -> Callable[[str], dt.datetime]:
    """What reads times of a format ("rfc3339", "epoch_s", "epoch_ms" or strptime's); ValueError where it cannot.

    >>> time_reader("%d.%m.%Y %H:%M", "Europe/Berlin")("23.11.2026 13:00").isoformat()
    '2026-11-23T12:00:00+00:00'
    >>> time_reader("epoch_ms", "UTC")("1795435200005").isoformat()
    '2026-11-23T12:00:00.005000+00:00'
    """
    place = ZoneInfo(zone)

    def in_utc(at: dt.datetime) -> dt.datetime:
        # OverflowError, at the ends of the calendar, is an ArithmeticError
        return (at if at.tzinfo is not None else at.replace(tzinfo=place)).astimezone(dt.UTC)

    if pattern in (EPOCH_S, EPOCH_MS):
        unit = 1_000_000 if pattern == EPOCH_S else 1_000
        return lambda text: EPOCH + dt.timedelta(microseconds=int(Decimal(text) * unit))
    if pattern == RFC3339:
        return lambda text: in_utc(dt.datetime.fromisoformat(text))
    return lambda text: in_utc(dt.datetime.strptime(text, pattern))  # noqa: DTZ007 - the zone is added


def _money_reader(source: Source) -> Convert:
    def micros(text: str) -> int:
        if source.decimal != "." and "." in text:
            raise ValueError("a separator of thousands could be either")
        amount = Decimal(text.replace(source.decimal, ".")) * source.scale
        if not abs(amount) < 2**63:
            raise ValueError("no amount that JSON's readers take")
        return round(amount)

    return micros


def _boolean(text: str) -> bool | str:
    lowered = text.lower()
    return True if lowered in TRUE else False if lowered in FALSE else text
