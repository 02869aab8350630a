"""A stream that is read in the background, from its reader's start on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Self

from local.stream_reader import StreamReader

_IDLE_S: Final = 0.2


class StreamFollowing:
    """Hands what each round brings to `take`, on a thread of its own, from entering this context manager to leaving."""

    def __init__(self, reader: StreamReader, take: Callable[[list[bytes]], object]) -> None:
        self._reader = reader
        self._take = take
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="stream following", daemon=True)
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def check(self) -> None:
        """Raise what ended the reading, if something did."""
        if self._failure is not None:
            raise self._failure

    def _follow(self) -> None:
        try:
            while not self._stop.is_set():
                records = list(self._reader.poll())
                self._take(records)
                if not records:
                    self._stop.wait(_IDLE_S)
        except BaseException as failure:  # noqa: BLE001 - raised again by `check`
            self._failure = failure
