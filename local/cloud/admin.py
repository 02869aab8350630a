"""The emulator's own small interface, under /_slidr/: the health of its processes, and flushing what it buffers."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from local.cloud.processes import is_alive
from local.cloud.supervision import ProcessReport

_LOGGER = logging.getLogger("slidr.admin")
_PREFIX = "/_slidr/"
AsgiApp = Callable[..., Any]


class Admin:
    """Answers /_slidr/processes and /_slidr/flush, and ends what was registered when the emulator stops."""

    def __init__(self) -> None:
        self._processes: list[Callable[[], Mapping[str, ProcessReport]]] = []
        self._flush: Callable[[], int] = lambda: 0
        self._endings: list[Callable[[], object]] = []

    def add_processes(self, listed: Callable[[], Mapping[str, ProcessReport]]) -> None:
        """Report on processes, by their names; they may come and go."""
        self._processes.append(listed)

    def on_flush(self, flush: Callable[[], int]) -> None:
        """Let /_slidr/flush call `flush`, which returns how many objects it wrote."""
        self._flush = flush

    def at_shutdown(self, ending: Callable[[], object]) -> None:
        """Call `ending` when the emulator stops; the last registered first."""
        self._endings.append(ending)

    def shut_down(self) -> None:
        """Call every registered ending; one that fails does not keep the others from being called."""
        for ending in reversed(self._endings):
            try:
                ending()
            except Exception:
                _LOGGER.exception("could not end %s", ending)

    def in_front_of(self, app: AsgiApp) -> AsgiApp:
        """Return an ASGI application that answers our paths and hands everything else to `app`."""

        async def serve(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http" or not scope["path"].startswith(_PREFIX):
                await app(scope, receive, send)
                return
            status, body = await self._answer(scope["path"].removeprefix(_PREFIX))
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": json.dumps(body).encode()})

        return serve

    async def _answer(self, path: str) -> tuple[int, object]:
        if path == "processes":
            reports = {part: report for listed in self._processes for part, report in listed().items()}
            return 200, [
                {"part": part, "healthy": is_alive(report.pid), "detail": _detail(report)}
                for part, report in reports.items()
            ]
        if path == "flush":
            return 200, {"objects": await asyncio.to_thread(self._flush)}
        return 404, {"error": f"no /_slidr/{path}; there are processes and flush"}


def _detail(report: ProcessReport) -> str:
    state = f"pid {report.pid}" if is_alive(report.pid) else "has ended"
    return f"{state}, {report.note}" if report.note else state
