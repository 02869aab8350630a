"""How a batch becomes calls of the counter function, and their replies become raw counts: no loop over clicks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slidr import counters
from slidr.counter_batch import IDENTIFIERS, CounterBatch, Ids
from slidr.counters import CAPS, ENTITIES, RAW_COLUMNS, Caps, Entity, MemberSet, entity_slice

KEY_LAYOUT: Final = b"1"
"""Version of the value layout in counters.lua: a new layout means new keys, so that old and new functions coexist."""
KEY_BYTES: Final = 10
_CLICK_BYTES: Final = 14
_MEMBER_BYTES: Final = 9
_COLUMNS: Final = tuple(map(entity_slice, ENTITIES))

Bytes = NDArray[np.uint8]

_CONSTANTS: Final = (
    "GAPS",
    "KEEP_MS",
    "DAY_MS",
    "LATENESS_MS",
    "TTL_MS",
    "EXACT_WINDOWS_MS",
    "FINE_MS",
    "FINE_BUCKETS",
    "COARSE_MS",
    "COARSE_BUCKETS",
)


@dataclass(frozen=True, slots=True)
class Library:
    """A library of server-side functions. Its name, and that of its one function, carry the hash of its source."""

    name: str
    source: str


def library(caps: Caps = CAPS) -> Library:
    """counters.lua behind the windows and bounds of slidr/counters.py, which are written nowhere else.

    >>> library() == library(), library().name == library(Caps(recent=3)).name
    (True, False)
    """

    def lua_set(member_set: MemberSet) -> str:
        keep_ms = member_set.windows_ms[-1] + counters.LATENESS_MS
        windows_ms = _lua(member_set.windows_ms)
        return f"{{cap={caps.of(member_set)}, keep_ms={keep_ms}, windows_ms={windows_ms}}}"

    sets = ", ".join(f"{_letter(entity)}={{{', '.join(map(lua_set, entity.members))}}}" for entity in ENTITIES)
    body = "\n".join(
        [
            *(f"local {name} = {_lua(getattr(counters, name))}" for name in _CONSTANTS),
            f"local RECENT_CAP = {caps.recent}",
            f"local MEMBER_SETS = {{{sets}}}",
            files(__package__).joinpath("counters.lua").read_text(encoding="utf-8"),
        ]
    )
    name = f"slidr_counters_{hashlib.sha256(body.encode()).hexdigest()[:12]}"
    return Library(name=name, source=f"#!lua name={name}\nlocal NAME = '{name}'\n{body}")


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls of one batch: all of the first entity's, then the next's; of one entity in the batch's order."""

    keys: list[bytes]
    commands: list[bytes]
    """Each call as it goes over the wire (RESP)."""
    rows: tuple[NDArray[np.intp], ...]
    """For each entity, the clicks that have it."""
    clicks: int


def encode(batch: CounterBatch, function: str) -> Calls:
    """One call for each click and each entity that it has.

    >>> one = CounterBatch(at_ms=np.array([1]), click_id=np.array([2], dtype=np.uint64),
    ...                    ids=np.full((1, 7), 0x61 * 0x01010101_01010101, dtype=np.uint64),
    ...                    present=np.eye(1, 7, dtype=np.bool_))
    >>> encode(one, "f").keys
    [b'u1aaaaaaaa']
    """
    identifiers = _flagged(batch)
    click = np.concatenate([_big_endian(batch.at_ms.astype(np.uint64))[:, 2:], _big_endian(batch.click_id)], axis=1)
    keys: list[bytes] = []
    commands: list[bytes] = []
    rows: list[NDArray[np.intp]] = []
    for form in _forms(function):
        present = np.flatnonzero(batch.present[:, form.identifier])
        rows.append(present)
        if len(present):
            table = np.repeat(form.template, len(present), axis=0)
            key = table[:, form.key]
            key[:, len(KEY_LAYOUT) + 1 :] = identifiers[present, form.identifier, 1:]
            table[:, form.click] = click[present]
            table[:, form.members] = identifiers[present[:, None], form.member_identifiers].reshape(len(present), -1)
            keys += _each_row(np.ascontiguousarray(key))
            commands += _each_row(table)
    return Calls(keys=keys, commands=commands, rows=tuple(rows), clicks=batch.clicks)


def decode(calls: Calls, replies: Sequence[bytes]) -> NDArray[np.int32]:
    """The raw count matrix, int32, shape (clicks, len(RAW_COLUMNS)), from the replies in the order of the calls."""
    counts = np.repeat(_ABSENT, calls.clicks, axis=0)
    start = 0
    for entity, columns, rows in zip(ENTITIES, _COLUMNS, calls.rows, strict=True):
        if len(rows):
            own = b"".join(replies[start : start + len(rows)])
            counts[rows, columns] = np.frombuffer(own, dtype="<i4").reshape(len(rows), len(entity.columns))
            start += len(rows)
    return counts


@dataclass(frozen=True, slots=True)
class _Form:
    """Where things stand in the calls of one entity, which all have one length: RESP of FCALL function 1 key argument.

    The key is the entity's letter, the layout's version, the identifier. The argument is the click's time (6 bytes) and
    id (8), then for each member set whether the click has the member (1) and which (8); all of them big-endian.
    """

    template: Bytes
    """A call with zeros for what differs, shape (1, bytes)."""
    identifier: int
    """Column of `CounterBatch.ids` that is the key."""
    key: slice
    click: slice
    members: slice
    member_identifiers: NDArray[np.intp]
    """Columns of `CounterBatch.ids` that are the members."""


@cache
def _forms(function: str) -> tuple[_Form, ...]:
    """The form of every entity's calls."""
    return tuple(_form(entity, function.encode()) for entity in ENTITIES)


def _form(entity: Entity, function: bytes) -> _Form:
    size = _CLICK_BYTES + _MEMBER_BYTES * len(entity.members)
    head = b"*5\r\n$5\r\nFCALL\r\n$%d\r\n%b\r\n$1\r\n1\r\n$%d\r\n" % (len(function), function, KEY_BYTES)
    key = (_letter(entity).encode() + KEY_LAYOUT).ljust(KEY_BYTES, b"\0")
    middle = b"\r\n$%d\r\n" % size
    click = len(head + key + middle)
    members = click + _CLICK_BYTES
    call = head + key + middle + bytes(size) + b"\r\n"
    return _Form(
        template=np.frombuffer(call, dtype=np.uint8).reshape(1, -1),
        identifier=IDENTIFIERS.index(entity.name),
        key=slice(len(head), len(head) + KEY_BYTES),
        click=slice(click, members),
        members=slice(members, click + size),
        member_identifiers=np.array([IDENTIFIERS.index(each.member) for each in entity.members], dtype=np.intp),
    )


def _flagged(batch: CounterBatch) -> Bytes:
    """Of every identifier whether it is there, then its eight bytes; shape (clicks, len(IDENTIFIERS), 9)."""
    flagged = np.empty((*batch.ids.shape, _MEMBER_BYTES), dtype=np.uint8)
    flagged[:, :, 0] = batch.present
    flagged[:, :, 1:] = _big_endian(batch.ids)
    return flagged


def _absent() -> NDArray[np.int32]:
    """The raw counts of a click that has no entity: zeros, and gaps of -1; shape (1, len(RAW_COLUMNS))."""
    return np.array([[-1 if ".gap_" in name else 0 for name in RAW_COLUMNS]], dtype=np.int32)


_ABSENT: Final = _absent()


def _lua(value: int | tuple[int, ...]) -> str:
    return f"{{{', '.join(map(str, value))}}}" if isinstance(value, tuple) else str(value)


def _letter(entity: Entity) -> str:
    return entity.name[0]


def _big_endian(values: Ids) -> Bytes:
    """The bytes of each value; shape (..., 8)."""
    return values.astype(">u8").view(np.uint8).reshape(*values.shape, 8)


def _each_row(table: Bytes) -> list[bytes]:
    rows: list[bytes] = table.view(f"V{table.shape[1]}").ravel().tolist()
    return rows
