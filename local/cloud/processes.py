"""The processes of one launch of the local cloud: remembered in files, told apart from strangers, ended to the last.

A pid alone proves nothing (the number may have been given to another process), so a daemon is remembered with its start
time. What a daemon started carries the launch's mark in its environment and is found by it, whatever became of its
parents.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from local.cloud.children import MARK

_GRACE_S = 3.0
_SAME_START_S = 1.0
# The handles of the daemons that this process started: dropping one would warn that its process still runs.
_STARTED: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, slots=True)
class Daemon:
    """A process that outlives the command that started it; `started_at` is epoch seconds."""

    pid: int
    started_at: float

    @property
    def process(self) -> psutil.Process | None:
        """The process, if it is alive and the same one."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started_at) < _SAME_START_S
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


def start_daemon(command: Sequence[str], *, environment: Mapping[str, str], log: Path) -> Daemon:
    """Start `command` in a session of its own, so that Ctrl-C in this terminal does not reach it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    _STARTED.append(process)
    return daemon_of(process.pid)


def daemon_of(pid: int) -> Daemon:
    """Return a running process as a daemon to remember."""
    return Daemon(pid, psutil.Process(pid).create_time())


def remember(path: Path, daemon: Daemon) -> None:
    """Write the daemon's file (whole, or not at all)."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(daemon)))
    partial.replace(path)


def recall(path: Path) -> Daemon | None:
    """Read a daemon's file; None when there is none."""
    try:
        return Daemon(**json.loads(path.read_text()))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None


def is_alive(pid: int | None) -> bool:
    """Whether a process of that number runs."""
    try:
        return pid is not None and bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def marked(mark: str) -> list[psutil.Process]:
    """Return the living processes that carry `mark`, without this one and its ancestors."""
    own = psutil.Process()
    spared = {own.pid, *(parent.pid for parent in own.parents())}
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid not in spared and process.environ().get(MARK) == mark:
                found.append(process)
    return found


def _still_running(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Wait for the processes to end; return those that have not within the grace.

    A process that has ended but that nobody has collected (its parent was killed, and this machine's first process does
    not collect either) counts as ended; psutil.wait_procs would wait for it.
    """
    deadline = time.monotonic() + _GRACE_S
    running = processes
    while (running := [process for process in running if is_alive(process.pid)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return running


def end(processes: Iterable[psutil.Process]) -> list[int]:
    """End the processes: asked first, killed after a grace; return their pids."""
    ending = list(processes)
    for process in ending:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in _still_running(ending):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _still_running(ending)
    for handle in _STARTED:  # collects those that were children of this process
        if any(process.pid == handle.pid for process in ending):
            with contextlib.suppress(subprocess.TimeoutExpired):
                handle.wait(_GRACE_S)  # its first thread may be gone, and so look ended, a moment before the others
        else:
            handle.poll()
    return [process.pid for process in ending]
