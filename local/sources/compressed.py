"""Opening a log whether it is gzipped or not, told by its first bytes rather than by its name."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from local.sources.event import LogUnreadable

_GZIP_MAGIC = b"\x1f\x8b"
HEAD_BYTES = 65_536


def open_bytes(path: Path) -> IO[bytes]:
    """The (decompressed) bytes of `path`.

    Raises:
        LogUnreadable: there is no such file.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(2)
        if magic == _GZIP_MAGIC:
            return cast("IO[bytes]", gzip.open(path, "rb"))
        return path.open("rb")
    except OSError as failure:
        raise LogUnreadable(
            f"a readable log file is required, came {path}: {failure.strerror}. Check the path."
        ) from failure


def head_of(path: Path) -> bytes:
    """The first (decompressed) bytes of `path`, at most HEAD_BYTES."""
    with whole_gzip(path), open_bytes(path) as file:
        return file.read(HEAD_BYTES)


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, each with its number from 1 on, without the white space around it.

    Raises:
        LogUnreadable: there is no such file, or its gzip data is damaged.
    """
    with whole_gzip(path), open_bytes(path) as file:
        for number, line in enumerate(file, start=1):
            if text := line.strip():
                yield number, text


@contextmanager
def whole_gzip(path: Path) -> Iterator[None]:
    """Within it, damaged gzip data of `path` is told as LogUnreadable."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as failure:
        raise LogUnreadable(f"{path} is not whole gzip data ({failure}): copy or download it again.") from failure
