"""Reading CSV row by row; what is no CSV, or in another encoding, is told with its line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from local.sources.compressed import open_bytes, whole_gzip
from local.sources.event import LogUnreadable


def csv_rows(path: Path, *, delimiter: str = ",", encoding: str = "utf-8-sig") -> Iterator[list[str]]:
    """The rows that are not blank, the header first. `path` may be gzipped.

    Raises:
        LogUnreadable: there is no such file, it is damaged, or it is no CSV in this encoding.
    """
    with (
        whole_gzip(path),
        open_bytes(path) as binary,
        io.TextIOWrapper(binary, encoding=encoding, newline="") as file,
    ):
        rows = csv.reader(file, delimiter=delimiter)
        try:
            for row in rows:
                if row:
                    yield row
        except (csv.Error, UnicodeDecodeError) as failure:
            raise LogUnreadable(
                f"{path}, after line {rows.line_num}: CSV in {encoding} is required, came: {failure}. Mend the line, "
                "or name the file's encoding in its mapping (slidr map)."
            ) from failure


def has_header(head: bytes, header: Sequence[str]) -> bool:
    r"""Whether the first line has just these columns.

    >>> has_header(b"\xef\xbb\xbfa,b\r\n1,2", ("a", "b"))
    True
    """
    first = head.partition(b"\n")[0].decode("utf-8", "replace").strip().lstrip("\ufeff")
    return first.split(",") == list(header)
