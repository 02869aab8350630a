"""Opening a log whether it is gzipped or not, told by its first bytes rather than by its name."""

from __future__ import annotations

import gzip
import zlib
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
    try:
        with open_bytes(path) as file:
            return file.read(HEAD_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile) as failure:
        raise LogUnreadable(f"{path} is not whole gzip data ({failure}): copy or download it again.") from failure
