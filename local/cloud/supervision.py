"""Starting again what died, unasked: as SageMaker restarts a container and ElastiCache replaces a node."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from slidr.errors import SlidrError

_LOGGER = logging.getLogger("slidr.supervision")

FIRST_DELAY_S: Final = 3.0
"""From a death to the restart. The services take longer: a container some ten seconds, a cache node minutes."""
LONGEST_DELAY_S: Final = 60.0
"""What dies again soon waits twice as long each time, up to this."""
SETTLED_S: Final = 60.0
"""What has run so long is taken to be well: its next death waits the first delay again."""
_LOOK_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """How one process is: its pid, None where it has ended, and what else there is to say of it."""

    pid: int | None
    note: str = ""


@dataclass(slots=True, kw_only=True)
class Supervised:
    """One process that is to run: looked after by `look`, which starts it again some time after it ended."""

    name: str
    pid: Callable[[], int | None]
    """The process that runs, None where it has ended."""
    restart: Callable[[], object]
    """Starts it again and waits until it serves; raises SlidrError or OSError where that fails."""
    clock: Callable[[], float] = time.monotonic
    restarts: int = 0
    _delay_s: float = FIRST_DELAY_S
    _died_at: float | None = None
    _started_at: float = field(init=False)

    def __post_init__(self) -> None:
        self._started_at = self.clock()

    def look(self) -> None:
        """Notice a death, or start the process again when its delay has passed; call it often.

        >>> now, pids = [0.0], [41, None, None, None, 42]
        >>> supervised = Supervised(name="p", pid=lambda: pids[0], restart=lambda: None, clock=lambda: now[0])
        >>> for now[0] in (0.0, 1.0, 2.0, 4.0, 5.0):
        ...     supervised.look()
        ...     print(supervised.report())
        ...     pids = pids[1:] or pids
        ProcessReport(pid=41, note='')
        ProcessReport(pid=None, note='is started again in 3 s')
        ProcessReport(pid=None, note='is started again in 2 s')
        ProcessReport(pid=None, note='is started again in 6 s')
        ProcessReport(pid=42, note='restarted once')
        """
        now = self.clock()
        if self.pid() is not None:
            self._died_at = None
            if now - self._started_at > SETTLED_S:
                self._delay_s = FIRST_DELAY_S
            return
        if self._died_at is None:
            self._died_at = now
            _LOGGER.warning("%s has ended; it is started again in %.0f s", self.name, self._delay_s)
        elif now >= self._died_at + self._delay_s:
            self._try(now)

    def _try(self, now: float) -> None:
        self._delay_s = min(2 * self._delay_s, LONGEST_DELAY_S)
        self._died_at = now
        try:
            self.restart()
        except (SlidrError, OSError) as failure:
            self._died_at = self.clock()
            _LOGGER.warning("%s could not be started again: %s; next try in %.0f s", self.name, failure, self._delay_s)
        else:
            self._started_at = self.clock()
            self.restarts += 1
            _LOGGER.warning("%s was started again", self.name)

    def report(self) -> ProcessReport:
        """How the process is, in the words of `slidr status`."""
        pid = self.pid()
        if pid is None:
            left_s = self._delay_s if self._died_at is None else self._died_at + self._delay_s - self.clock()
            return ProcessReport(None, f"is started again in {max(0.0, left_s):.0f} s")
        times = {0: "", 1: "restarted once"}.get(self.restarts, f"restarted {self.restarts} times")
        return ProcessReport(pid, times)


def supervise(name: str, supervised: Callable[[], Iterable[Supervised]]) -> None:
    """Look after what `supervised` returns, on a thread that lives as long as the process."""

    def watch() -> None:
        while True:
            for one in supervised():
                try:
                    one.look()
                except Exception:
                    _LOGGER.exception("%s could not be looked after; trying again", one.name)
            time.sleep(_LOOK_S)

    threading.Thread(target=watch, name=f"supervise {name}", daemon=True).start()
