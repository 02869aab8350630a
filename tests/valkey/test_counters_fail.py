"""What the counters do when the cache does not: doubt is raised, never answered with a default."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from redis import Redis, RedisCluster
from redis.connection import AbstractConnection
from redis.crc import key_slot
from redis.exceptions import ConnectionError as ConnectionLost

from functions.adapters import counters as adapter
from functions.adapters.counter_calls import encode, library
from functions.adapters.counters import Counters
from local.valkey import start_valkey
from slidr.counter_batch import CounterBatch
from slidr.counters import RAW_COLUMNS
from slidr.errors import CountersUnavailable
from tests.counter_histories import NOON_MS, batch_of, hot_key, one_key
from tests.counter_oracle import Oracle
from tests.valkey.conftest import Cache, connect
from training.counters_kernel import count

pytestmark = pytest.mark.valkey

GAPS_AND_EXACT = [i for i, name in enumerate(RAW_COLUMNS) if "gap_" in name or name.endswith(("_10s", "_1m"))]


@contextmanager
def server_that_says(answer: bytes) -> Iterator[int]:
    """A port that takes every connection and answers each read with `answer` (nothing: it stays silent)."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        done = threading.Event()
        held: list[socket.socket] = []

        def serve(client: socket.socket) -> None:
            client.settimeout(0.05)
            while not done.is_set():
                try:
                    if not client.recv(65_536):
                        return
                    client.sendall(answer)
                except TimeoutError:
                    continue
                except OSError:
                    return

        def accept() -> None:
            while not done.is_set():
                try:
                    client, _ = listener.accept()
                except TimeoutError:
                    continue
                held.append(client)
                threads.append(threading.Thread(target=serve, args=(client,)))
                threads[-1].start()

        threads = [threading.Thread(target=accept)]
        threads[0].start()
        try:
            yield listener.getsockname()[1]
        finally:
            done.set()
            for thread in threads:
                thread.join()
            for client in held:
                client.close()


@contextmanager
def counters_at(port: int, *, cluster: bool = False, timeout_ms: int = 200) -> Iterator[Counters]:
    counters = Counters.connect(host="127.0.0.1", port=port, cluster=cluster, tls=False, timeout_ms=timeout_ms)
    try:
        yield counters
    finally:
        counters.close()


def test_connects_to_nothing_before_the_first_batch() -> None:
    with counters_at(1, cluster=True):
        pass  # port 1 answers nobody: connecting would have raised


def test_functions_that_were_flushed_are_loaded_again(cache: Cache) -> None:
    counters, oracle = cache.counters(), Oracle()
    first, second = one_key([NOON_MS] * 20), one_key([NOON_MS + 1] * 20, list(range(30, 50)))
    np.testing.assert_array_equal(counters.apply(first), oracle.apply(first))
    cache.each(lambda node: node.function_flush())
    np.testing.assert_array_equal(counters.apply(second), oracle.apply(second))


def test_functions_missing_on_one_node_are_loaded_there(cluster: Cache) -> None:
    cluster.flush()
    counters, oracle = cluster.counters(), Oracle()
    batches = [hot_key(100, seed=seed) for seed in (1, 2)]
    np.testing.assert_array_equal(counters.apply(batches[0]), oracle.apply(batches[0]))
    with cluster.nodes()[1] as node:
        node.function_flush()
    np.testing.assert_array_equal(counters.apply(batches[1]), oracle.apply(batches[1]))
    name = library().name
    assert all(name in str(libraries) for libraries in cluster.each(lambda node: node.function_list()))


@pytest.mark.parametrize("as_cluster", [False, True])
def test_counters_are_unavailable_when_nobody_listens(as_cluster: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with counters_at(port, cluster=as_cluster) as counters, pytest.raises(CountersUnavailable, match="undecided"):
        counters.apply(one_key([NOON_MS]))


@pytest.mark.parametrize("as_cluster", [False, True])
def test_counters_are_unavailable_when_the_server_stays_silent(as_cluster: bool) -> None:
    with server_that_says(b"") as port, counters_at(port, cluster=as_cluster, timeout_ms=100) as counters:
        started = time.monotonic()
        with pytest.raises(CountersUnavailable):
            counters.apply(one_key([NOON_MS]))
        assert time.monotonic() - started < 2


def test_counters_are_unavailable_while_the_server_loads_its_data() -> None:
    with (
        server_that_says(b"-LOADING Valkey is loading the dataset in memory\r\n") as port,
        counters_at(port) as counters,
        pytest.raises(CountersUnavailable, match="loading"),
    ):
        counters.apply(one_key([NOON_MS]))


def test_counters_are_unavailable_when_the_server_freezes_and_recover_when_it_wakes(single: Cache) -> None:
    single.flush()
    counters, batch = connect(single.server, timeout_ms=200), one_key([NOON_MS, NOON_MS + 1])
    counters.apply(batch)
    with single.nodes()[0] as node:
        node.client_pause(600, all=True)
        with pytest.raises(CountersUnavailable, match="TimeoutError"):
            counters.apply(one_key([NOON_MS + 2], [9]))
        node.client_unpause()
    # The answer to the call that timed out must not be taken for the answer to this one.
    oracle = Oracle()
    oracle.apply(batch)
    again = one_key([NOON_MS + 3], [10])
    gaps = RAW_COLUMNS.index("user.gap_1_ms")
    assert counters.apply(again)[0, gaps] in {1, 2}  # after the click of the lost call, if it was applied
    counters.close()


def test_replies_left_unread_by_a_failure_meanwhile_never_meet_the_next_batch(cache: Cache) -> None:
    counters, oracle = cache.counters(), Oracle()
    first, second = one_key([NOON_MS] * 20), one_key([NOON_MS + 1] * 20, list(range(30, 50)))
    oracle.apply(first)
    counters.apply(first)

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        counters.apply(first, meanwhile=fail)
    np.testing.assert_array_equal(counters.apply(second), oracle.apply(second))


def test_counters_come_back_with_the_server(tmp_path: Path) -> None:
    with start_valkey(tmp_path) as server:
        port = server.port
        counters = connect(server, timeout_ms=500)
        counters.apply(one_key([NOON_MS]))
    with pytest.raises(CountersUnavailable):
        counters.apply(one_key([NOON_MS]))
    batch = one_key([NOON_MS, NOON_MS + 1])
    with start_valkey(tmp_path, port=port):
        np.testing.assert_array_equal(counters.apply(batch), count(batch))
        counters.close()


def test_idle_connection_that_the_server_closed_costs_nothing(cache: Cache) -> None:
    counters, batch = cache.counters(), one_key([NOON_MS] * 9)
    first = counters.apply(batch)
    cache.each(lambda node: node.client_kill_filter(_type="normal", skipme=True))
    np.testing.assert_array_equal(counters.apply(batch)[:, GAPS_AND_EXACT], first[:, GAPS_AND_EXACT])


def test_connection_lost_between_two_answers_costs_nothing(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    counters, oracle = cache.counters(), Oracle()
    first, batch = one_key([NOON_MS] * 9), one_key([NOON_MS + i for i in range(9)], list(range(20, 29)))
    counters.apply(first)
    oracle.apply(first)
    read, reads = AbstractConnection.read_response, 0

    def lossy(connection: AbstractConnection, *args: object, **options: object) -> object:
        nonlocal reads
        reads += 1
        if reads == 3:
            connection.disconnect()
            raise ConnectionLost("reset by peer")
        return read(connection, *args, **options)

    monkeypatch.setattr(AbstractConnection, "read_response", lossy)
    np.testing.assert_array_equal(counters.apply(batch)[:, GAPS_AND_EXACT], oracle.apply(batch)[:, GAPS_AND_EXACT])
    assert reads > 3


def test_counters_are_unavailable_when_memory_is_full(tmp_path: Path) -> None:
    with start_valkey(tmp_path, max_memory_mb=4) as server:
        counters = connect(server)
        rng = np.random.default_rng(0)
        digests = rng.integers(0, 2**63, 20_000).tolist()
        crowd = batch_of([NOON_MS] * 20_000, digests, [(d, d, d, d, d, d, d) for d in digests])
        with pytest.raises(CountersUnavailable, match=r"memory|maxmemory"):
            counters.apply(crowd)
        counters.close()


def test_key_of_another_type_is_an_error_and_not_a_zero(single: Cache) -> None:
    single.flush()
    batch = one_key([NOON_MS])
    (key, *_) = encode(batch, "f").keys
    with single.nodes()[0] as node:
        node.lpush(key, "not ours")
    with pytest.raises(CountersUnavailable, match="WRONGTYPE"):
        single.counters().apply(batch)


@pytest.mark.parametrize("value", [b"\x00", b"\x00" * 40, b"\xff" * 300])
def test_value_that_is_no_counter_state_is_an_error_and_stays(single: Cache, value: bytes) -> None:
    single.flush()
    batch = one_key([NOON_MS])
    (key, *_) = encode(batch, "f").keys
    with single.nodes()[0] as node:
        node.set(key, value)
        with pytest.raises(CountersUnavailable):
            single.counters().apply(batch)
        assert node.get(key) == value


def test_calls_after_a_failed_batch_get_their_own_answers(single: Cache) -> None:
    single.flush()
    counters, poisoned = single.counters(), one_key([NOON_MS, NOON_MS + 1, NOON_MS + 2])
    with single.nodes()[0] as node:
        node.set(encode(poisoned, "f").keys[1], b"\x00")
        with pytest.raises(CountersUnavailable):
            counters.apply(poisoned)
        node.flushall()
    np.testing.assert_array_equal(counters.apply(poisoned), count(poisoned))


def test_replies_that_nobody_read_never_meet_the_next_batch(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    counters, oracle = cache.counters(), Oracle()
    lost, batch = one_key([NOON_MS + i for i in range(9)]), one_key([NOON_MS + 20, NOON_MS + 21], [50, 51])
    with monkeypatch.context() as interrupted:
        interrupted.setattr(adapter, "_read", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            counters.apply(lost)
    oracle.apply(lost)
    np.testing.assert_array_equal(counters.apply(lost)[:, GAPS_AND_EXACT], oracle.apply(lost)[:, GAPS_AND_EXACT])
    np.testing.assert_array_equal(counters.apply(batch), oracle.apply(batch))


def test_asks_for_a_new_map_when_its_own_has_holes(cluster: Cache) -> None:
    cluster.flush()
    counters, batch = connect(cluster.server), one_key([NOON_MS, NOON_MS + 1])
    counters.apply(batch)
    client = counters._client
    assert isinstance(client, RedisCluster)
    client.nodes_manager.slots_cache.clear()
    with pytest.raises(CountersUnavailable, match="not covered"):
        counters.apply(batch)
    later = one_key([NOON_MS + 2], [9])
    assert counters.apply(later)[0, RAW_COLUMNS.index("user.n_10s")] == 2
    counters.close()


def test_asks_for_a_new_map_when_a_node_fell_silent(cluster: Cache) -> None:
    cluster.flush()
    counters, batch = connect(cluster.server, timeout_ms=200), one_key([NOON_MS, NOON_MS + 1])
    counters.apply(batch)
    client = counters._client
    assert isinstance(client, RedisCluster)
    with server_that_says(b"") as silent_port:  # a primary whose host is lost: nobody refuses, nobody answers
        for node in client.get_primaries():
            pool = client.get_redis_connection(node).connection_pool
            pool.disconnect()
            pool.reset()
            pool.connection_kwargs["port"] = silent_port
        with pytest.raises(CountersUnavailable, match="TimeoutError"):
            counters.apply(batch)
        later = one_key([NOON_MS + 2], [9])
        assert counters.apply(later)[0, RAW_COLUMNS.index("user.n_10s")] == 2
    counters.close()


def test_asks_for_the_primary_again_when_its_node_became_a_replica(tmp_path: Path) -> None:
    with start_valkey(tmp_path / "old") as old, start_valkey(tmp_path / "new") as new:
        primary = old
        counters, batch = Counters(lambda: Redis(host=primary.host, port=primary.port)), one_key([NOON_MS, NOON_MS + 1])
        counters.apply(batch)
        with Redis(host=old.host, port=old.port) as node:
            node.replicaof(new.host, new.port)
        primary = new  # what the primary's name says after a failover
        with pytest.raises(CountersUnavailable, match="ReadOnly"):
            counters.apply(batch)
        np.testing.assert_array_equal(counters.apply(batch), count(batch))
        counters.close()


def test_follows_a_slot_that_moves_to_another_node(tmp_path: Path) -> None:
    with start_valkey(tmp_path, nodes=3) as server:
        cache, batch = Cache(server), one_key([NOON_MS + i for i in range(6)], session=[1] * 6)
        counters, oracle = connect(server), Oracle()
        np.testing.assert_array_equal(counters.apply(batch), oracle.apply(batch))
        key = encode(batch, "f").keys[0]
        _, target = move_slot(cache, key_slot(key))
        assert target.exists(key) == 1
        later = one_key([NOON_MS + 9], [77], session=[1])
        np.testing.assert_array_equal(counters.apply(later), oracle.apply(later))
        counters.close()


def test_follows_a_slot_that_is_half_way_to_another_node(tmp_path: Path) -> None:
    with start_valkey(tmp_path, nodes=3) as server:
        cache, oracle = Cache(server), Oracle()
        counters = connect(server)
        first: CounterBatch = one_key([NOON_MS + i for i in range(6)], session=[1] * 6)
        np.testing.assert_array_equal(counters.apply(first), oracle.apply(first))
        finish, target = move_slot(cache, key_slot(encode(first, "f").keys[0]), finish=False)
        target.function_flush()  # a node that joined has no functions yet
        later = one_key([NOON_MS + 9, NOON_MS + 10], [77, 78], session=[1, 1])
        np.testing.assert_array_equal(counters.apply(later), oracle.apply(later))
        finish()
        last = one_key([NOON_MS + 11], [79], session=[1])
        np.testing.assert_array_equal(counters.apply(last), oracle.apply(last))
        counters.close()


def test_counters_are_unavailable_when_a_node_of_the_cluster_dies(tmp_path: Path) -> None:
    with start_valkey(tmp_path, nodes=3) as server:
        counters, batch = connect(server, timeout_ms=300), hot_key(100, seed=7)
        counters.apply(batch)
        server.processes[2].kill()
        server.processes[2].wait()
        started = time.monotonic()
        with pytest.raises(CountersUnavailable):
            counters.apply(batch)
        assert time.monotonic() - started < 5
        counters.close()


def move_slot(cache: Cache, slot: int, *, finish: bool = True) -> tuple[Callable[[], None], Redis]:
    """Move a slot and its keys to another node, by the steps of a resharding.

    Returns the last step (done already if `finish`) and the other node.
    """
    nodes = cache.nodes()
    ids = [node.execute_command("CLUSTER MYID") for node in nodes]
    owner = slot * len(nodes) // 16_384
    source, target = nodes[owner], nodes[(owner + 1) % len(nodes)]
    source_id, target_id = ids[owner], ids[(owner + 1) % len(nodes)]
    target.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", source_id)
    source.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", target_id)
    port = cache.server.ports[(owner + 1) % len(nodes)]
    for key in source.execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
        source.execute_command("MIGRATE", "127.0.0.1", port, key, 0, 1_000)

    def settle() -> None:
        for node in (target, source, *nodes):
            node.execute_command("CLUSTER SETSLOT", slot, "NODE", target_id)

    if finish:
        settle()
    return settle, target
