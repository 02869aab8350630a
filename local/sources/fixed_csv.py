"""Published data sets whose CSV has one fixed header: told by it, and read row by row."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from local.sources.csv_rows import csv_rows, has_header
from local.sources.event import Chunk, Event, Kind, LogUnreadable, chunked


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedCsv:
    """The CSV of one data set, plain or gzipped: clicks, and what of it became purchases."""

    name: str
    header: tuple[str, ...]
    what: str
    """What the rows are, for who gives them as purchases: "TalkingData clicks"."""
    required: str
    """What a row must hold besides the header's columns."""
    events_of: Callable[[int, list[str]], Iterable[Event]]
    """The events of the row with this number, from 1; ValueError or ArithmeticError where it has other values."""

    @property
    def expects(self) -> str:
        """What the head of such a file looks like."""
        return f"the header line {','.join(self.header)}"

    def recognises(self, head: bytes) -> bool:
        """Whether the first line is the data set's header."""
        return has_header(head, self.header)

    def read(self, path: Path, *, kind: Kind) -> Iterator[Chunk]:
        """The events of every row, in file order.

        Raises:
            LogUnreadable: a row does not have the header's columns with the values that they need.
        """
        if kind is Kind.PURCHASE:
            raise LogUnreadable(f"a file of purchases is required, came {self.what} ({path}): give it as PATH")
        return chunked(self._events(path))

    def _events(self, path: Path) -> Iterator[Event]:
        rows = csv_rows(path)
        next(rows)
        for number, row in enumerate(rows, start=1):
            try:
                yield from self.events_of(number, row)
            except (ValueError, ArithmeticError) as failure:
                raise LogUnreadable(
                    f"{path}, data row {number}: {self.expects} with {self.required} are required, "
                    f"came {','.join(row)!r} ({failure})"
                ) from failure


def row_digest(number: int, row: list[str]) -> str:
    """What stands for a row that has no id, by its number and content: the same in every run, equal rows stay apart.

    >>> row_digest(1, ["a", "b"]) == row_digest(2, ["a", "b"]), len(row_digest(1, ["a", "b"]))
    (False, 24)
    """
    return hashlib.blake2b(f"{number},{','.join(row)}".encode(), digest_size=12).hexdigest()
