"""One server and one cluster for all tests of this folder, empty at the start of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from pytest_socket import enable_socket
from redis import Redis

from functions.adapters.counters import Counters
from local.valkey import Valkey, start_valkey
from slidr.counters import CAPS, Caps


@dataclass(frozen=True)
class Cache:
    """A running cache, with direct ways to look at what the counters left there."""

    server: Valkey
    opened: dict[Caps, Counters] = field(default_factory=dict)

    def counters(self, caps: Caps = CAPS) -> Counters:
        if caps not in self.opened:
            self.opened[caps] = connect(self.server, caps=caps)
        return self.opened[caps]

    def nodes(self) -> list[Redis]:
        return [Redis(host=self.server.host, port=port) for port in self.server.ports]

    def each(self, ask: Callable[[Redis], object]) -> list[object]:
        answers = []
        for node in self.nodes():
            with node:
                answers.append(ask(node))
        return answers

    def flush(self) -> None:
        self.each(lambda node: node.flushall())

    def state(self) -> dict[bytes, bytes]:
        """Every key and its value."""
        values: dict[bytes, bytes] = {}
        for node in self.nodes():
            with node:
                values |= {key: node.get(key) for key in node.scan_iter(count=1000)}
        return values


def connect(server: Valkey, *, caps: Caps = CAPS, timeout_ms: int = 5_000) -> Counters:
    return Counters.connect(
        host=server.host, port=server.port, cluster=server.cluster, tls=False, timeout_ms=timeout_ms, caps=caps
    )


def _run(nodes: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    enable_socket()  # fixtures of a session come before the hook that knows the test's marks
    with start_valkey(tmp_path_factory.mktemp("valkey"), nodes=nodes) as server:
        cache = Cache(server)
        yield cache
        for counters in cache.opened.values():
            counters.close()


@pytest.fixture(scope="session")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    yield from _run(1, tmp_path_factory)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    yield from _run(3, tmp_path_factory)


@pytest.fixture(params=["single", "cluster"])
def cache(request: pytest.FixtureRequest) -> Cache:
    cache: Cache = request.getfixturevalue(request.param)
    cache.flush()
    return cache
