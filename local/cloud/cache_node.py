"""The cloud's cache: one Valkey server, replaced by an empty one on the same port when it dies, as ElastiCache does."""

from __future__ import annotations

from pathlib import Path

from local.cloud.processes import daemon_of, remember
from local.cloud.supervision import Supervised
from local.valkey import Valkey, start_valkey


class CacheNode:
    """A Valkey server at a fixed port.

    Valkey writes its title over its environment, so the sweep by mark does not find it: it is found by `pid_file`.
    Whoever starts it must live as long as the process: the server ends with the thread that started it.
    """

    def __init__(self, directory: Path, *, port: int, pid_file: Path) -> None:
        self._directory = directory
        self._port = port
        self._pid_file = pid_file
        self._valkey = self._started()
        self.supervised = Supervised(name="valkey", pid=self._pid, restart=self._restart)

    def stop(self) -> None:
        """End the server."""
        self._valkey.stop()

    def _started(self) -> Valkey:
        valkey = start_valkey(self._directory, port=self._port)
        self._pid_file.parent.mkdir(parents=True, exist_ok=True)
        remember(self._pid_file, daemon_of(valkey.pids[0]))
        return valkey

    def _restart(self) -> None:
        self._valkey = self._started()

    def _pid(self) -> int | None:
        process = self._valkey.processes[0]
        return process.pid if process.poll() is None else None
