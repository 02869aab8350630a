"""How a batch becomes calls of the counter function, and their replies become raw counts: no loop over clicks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slidr import counters
from slidr.counter_batch import IDENTIFIERS, CounterBatch, Ids
from slidr.counters import CAPS, ENTITIES, GAPS, RAW_COLUMNS, Caps, Entity, MemberSet, entity_slice

KEY_LAYOUT: Final = b"1"
"""Version of the value layout in counters.lua: a new layout means new keys, so that old and new functions coexist."""
KEY_BYTES: Final = 10

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
    keys: list[bytes] = []
    commands: list[bytes] = []
    rows: list[NDArray[np.intp]] = []
    for entity in ENTITIES:
        present = np.flatnonzero(batch.present[:, IDENTIFIERS.index(entity.name)])
        rows.append(present)
        if len(present):
            own = batch.rows(present)
            key, argument = _keys(entity, own), _arguments(entity, own)
            keys += _each_row(key)
            commands += _each_row(_commands(function, key, argument))
    return Calls(keys=keys, commands=commands, rows=tuple(rows), clicks=batch.clicks)


def decode(calls: Calls, replies: Sequence[bytes]) -> NDArray[np.int32]:
    """The raw count matrix, int32, shape (clicks, len(RAW_COLUMNS)), from the replies in the order of the calls."""
    counts = np.zeros((calls.clicks, len(RAW_COLUMNS)), dtype=np.int32)
    start = 0
    for entity, rows in zip(ENTITIES, calls.rows, strict=True):
        columns = entity_slice(entity)
        gap = columns.start + entity.columns.index("gap_1_ms")
        counts[:, gap : gap + GAPS] = -1
        own = b"".join(replies[start : start + len(rows)])
        counts[rows, columns] = np.frombuffer(own, dtype="<i4").reshape(len(rows), len(entity.columns))
        start += len(rows)
    return counts


def _lua(value: int | tuple[int, ...]) -> str:
    return f"{{{', '.join(map(str, value))}}}" if isinstance(value, tuple) else str(value)


def _letter(entity: Entity) -> str:
    return entity.name[0]


def _keys(entity: Entity, batch: CounterBatch) -> Bytes:
    keys = np.empty((batch.clicks, KEY_BYTES), dtype=np.uint8)
    keys[:, :2] = np.frombuffer(_letter(entity).encode() + KEY_LAYOUT, dtype=np.uint8)
    keys[:, 2:] = _big_endian(batch.ids[:, IDENTIFIERS.index(entity.name)])
    return keys


def _arguments(entity: Entity, batch: CounterBatch) -> Bytes:
    arguments = np.zeros((batch.clicks, 14 + 9 * len(entity.members)), dtype=np.uint8)
    arguments[:, :6] = _big_endian(batch.at_ms.astype(np.uint64))[:, 2:]
    arguments[:, 6:14] = _big_endian(batch.click_id)
    for i, member_set in enumerate(entity.members):
        column, start = IDENTIFIERS.index(member_set.member), 14 + 9 * i
        arguments[:, start] = batch.present[:, column]
        arguments[:, start + 1 : start + 9] = _big_endian(batch.ids[:, column])
    return arguments


def _commands(function: str, keys: Bytes, arguments: Bytes) -> Bytes:
    """FCALL function 1 key argument, a row each: calls of one entity have one length, so they share one template."""
    name, size = function.encode(), arguments.shape[1]
    head = b"*5\r\n$5\r\nFCALL\r\n$%d\r\n%s\r\n$1\r\n1\r\n$%d\r\n" % (len(name), name, KEY_BYTES)
    middle = b"\r\n$%d\r\n" % size
    template = head + bytes(KEY_BYTES) + middle + bytes(size) + b"\r\n"
    commands = np.tile(np.frombuffer(template, dtype=np.uint8), (len(keys), 1))
    start = len(head)
    commands[:, start : start + KEY_BYTES] = keys
    start += KEY_BYTES + len(middle)
    commands[:, start : start + size] = arguments
    return commands


def _big_endian(values: Ids) -> Bytes:
    """Shape (values, 8)."""
    return values.astype(">u8").view(np.uint8).reshape(len(values), 8)


def _each_row(table: Bytes) -> list[bytes]:
    rows: list[bytes] = table.view(f"V{table.shape[1]}").ravel().tolist()
    return rows
