"""What the benchmarks of the daily loop share: its days, and the memory of the processes that it starts."""

from __future__ import annotations

import datetime as dt
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import psutil

from local.cloud.children import MARK
from local.sources.simulated import FIRST_DAY
from slidr.errors import SlidrError

TRAINING_DAYS: Final = 10
"""As a stage has by default; the day after them judges, and the one after that lets it mature."""
_SAMPLE_S: Final = 0.1


class LoopNotRun(SlidrError):
    """The state machine did not run: no figure would mean anything."""


@dataclass(slots=True, kw_only=True)
class Memory:
    """The most that any one process held, by what it is."""

    peak_gb: float = 0.0
    of: str = ""


def date_of(day: int) -> dt.date:
    """The date of a simulated day."""
    return (FIRST_DAY + day * dt.timedelta(days=1)).date()


@contextmanager
def memory_watched() -> Iterator[Memory]:
    """The most that any process of the local cloud holds meanwhile, by VmHWM: no peak is missed between two looks."""
    memory, done = Memory(), threading.Event()

    def watch() -> None:
        while not done.wait(_SAMPLE_S):
            for process in _marked_processes():
                _look(process, memory)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield memory
    finally:
        done.set()
        watcher.join()


@dataclass(slots=True)
class _Known:
    """Processes that were looked at already: reading an environment anew each time would cost more than it tells."""

    marked: dict[int, bool] = field(default_factory=dict)


_KNOWN: Final = _Known()


def _marked_processes() -> Iterator[psutil.Process]:
    for pid in psutil.pids():
        try:
            if pid not in _KNOWN.marked:
                _KNOWN.marked[pid] = pid != os.getpid() and MARK in psutil.Process(pid).environ()
            if _KNOWN.marked[pid]:
                yield psutil.Process(pid)
        except psutil.Error:
            _KNOWN.marked.pop(pid, None)


def _look(process: psutil.Process, memory: Memory) -> None:
    try:
        with open(f"/proc/{process.pid}/status", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            peak = next((line for line in file if line.startswith("VmHWM:")), None)
        if peak and (held := int(peak.split()[1]) * 1024 / 1e9) > memory.peak_gb:
            memory.peak_gb, memory.of = held, " ".join(process.cmdline()[-4:])
    except (OSError, psutil.Error, ValueError):
        return  # it ended meanwhile
