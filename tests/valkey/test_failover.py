"""A primary that dies is replaced by its replica, and the counters go on with what it had counted."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from functions.adapters.counters import Counters
from local.valkey import ValkeyUnavailable, start_valkey
from slidr.counter_batch import CounterBatch
from slidr.errors import CountersUnavailable
from tests.counter_histories import hot_key
from tests.valkey.conftest import Cache, connect
from training.counters_kernel import count

pytestmark = pytest.mark.valkey
FAILED_OVER_WITHIN_S = 30


def apply_until_served(counters: Counters, batch: CounterBatch) -> NDArray[np.int32]:
    deadline = time.monotonic() + FAILED_OVER_WITHIN_S
    while True:
        try:
            return counters.apply(batch)
        except CountersUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_killed_primary_is_replaced_by_its_replica_and_counting_goes_on(tmp_path: Path) -> None:
    log = hot_key(300, seed=11)
    before, after = log.rows(slice(0, 200)), log.rows(slice(200, 300))
    with start_valkey(tmp_path, nodes=3, replicas=1, node_timeout_ms=500) as server:
        assert (server.primaries, server.replicas, len(server.ports)) == (3, 1, 6)
        cache, counters = Cache(server), connect(server, timeout_ms=300)
        expected = count(log)
        np.testing.assert_array_equal(counters.apply(before), expected[:200])
        for node in cache.nodes()[: server.primaries]:
            with node:
                assert node.wait(server.replicas, 5_000) == server.replicas  # what was counted has a copy
        server.processes[1].kill()
        server.processes[1].wait()

        apply_until_served(counters, before)  # a redelivery, which changes no state

        np.testing.assert_array_equal(counters.apply(after), expected[200:])
        with cache.nodes()[1 + server.primaries] as replica:
            assert replica.role()[0] == b"master"
        counters.close()


def test_replicas_without_a_cluster_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValkeyUnavailable, match="at least 3 nodes"):
        start_valkey(tmp_path, replicas=1)
