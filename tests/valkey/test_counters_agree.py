"""Online equals offline equals brute force: the promise of rule 2, on a real server and a real cluster."""

from __future__ import annotations

import random
import time
from typing import cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from functions.adapters.counter_calls import library
from slidr.counter_batch import CounterBatch
from slidr.counters import ENTITIES, LATENESS_MS, MINUTE_MS, RAW_COLUMNS, RECENT_CAP, TTL_MS, Caps
from tests.counter_histories import NOON_MS, TIGHT_CAPS, batch_of, histories, hot_key, joined, one_key
from tests.counter_oracle import Oracle
from tests.valkey.conftest import Cache
from training.counters_kernel import count, event_order

pytestmark = pytest.mark.valkey

WITHOUT_CLOCK = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


def check_agreement(cache: Cache, batches: list[CounterBatch], caps: Caps) -> None:
    cache.flush()
    oracle, online = Oracle(caps), []
    for batch in batches:
        online.append(cache.counters(caps).apply(batch))
        np.testing.assert_array_equal(online[-1], oracle.apply(batch))
    np.testing.assert_array_equal(np.concatenate(online), count(joined(batches), caps=caps))


@settings(max_examples=100, deadline=None, suppress_health_check=WITHOUT_CLOCK)
@given(batches=histories(), caps=st.sampled_from(TIGHT_CAPS))
def test_online_equals_offline_equals_brute_force_on_one_server(
    single: Cache, batches: list[CounterBatch], caps: Caps
) -> None:
    check_agreement(single, batches, caps)


@settings(max_examples=60, deadline=None, suppress_health_check=WITHOUT_CLOCK)
@given(batches=histories(), caps=st.sampled_from(TIGHT_CAPS))
def test_online_equals_offline_equals_brute_force_on_a_cluster(
    cluster: Cache, batches: list[CounterBatch], caps: Caps
) -> None:
    check_agreement(cluster, batches, caps)


def test_hot_key_overflows_alike_online_and_offline(cache: Cache) -> None:
    log = hot_key(800, seed=4)
    batches = [log.rows(slice(start, start + 100)) for start in range(0, 800, 100)]
    online = np.concatenate([cache.counters().apply(batch) for batch in batches])
    np.testing.assert_array_equal(online, count(log))
    assert online[:, RAW_COLUMNS.index("ip.n_10m")].max() == RECENT_CAP
    assert online[:, RAW_COLUMNS.index("ip.user_agents_10m")].max() == 512


@settings(max_examples=40, deadline=None, suppress_health_check=WITHOUT_CLOCK)
@given(batches=histories(), shuffle=st.randoms(use_true_random=False))
def test_final_state_does_not_depend_on_the_order_of_arrival(
    single: Cache, batches: list[CounterBatch], shuffle: random.Random
) -> None:
    log = joined(batches)
    log = log.rows(event_order(log))
    # Each click arrives less than the lateness after its event: out of order, but nothing late.
    delays = np.array([shuffle.randrange(LATENESS_MS) for _ in range(log.clicks)], dtype=np.int64)
    delayed = log.rows(np.argsort(log.at_ms + delays, kind="stable"))
    caps = Caps(members=3)
    states = []
    for order in (log, delayed):
        single.flush()
        counts = single.counters(caps).apply(order)
        assert not counts[:, [RAW_COLUMNS.index(f"{entity.name}.late") for entity in ENTITIES]].any()
        states.append(single.state())
    assert states[0] == states[1]


@settings(max_examples=30, deadline=None, suppress_health_check=WITHOUT_CLOCK)
@given(batches=histories(), caps=st.sampled_from(TIGHT_CAPS))
def test_redelivery_of_everything_changes_no_state(single: Cache, batches: list[CounterBatch], caps: Caps) -> None:
    single.flush()
    counters = single.counters(caps)
    for batch in batches:
        counters.apply(batch)
        before = single.state()
        counters.apply(batch)
        assert single.state() == before


def test_redelivered_batch_reads_the_same_when_its_keys_are_its_own(cache: Cache) -> None:
    log = one_key([NOON_MS + 1_000 * i for i in range(5)])
    first, again = cache.counters().apply(log), cache.counters().apply(log)
    exact = [i for i, name in enumerate(RAW_COLUMNS) if not name.endswith(("_1h", "_24h")) and "s_10m" not in name]
    np.testing.assert_array_equal(first[:, exact], again[:, exact])


def test_late_click_is_flagged_and_changes_no_state(cache: Cache) -> None:
    counters = cache.counters()
    counters.apply(one_key([NOON_MS], [1]))
    before = cache.state()
    late = counters.apply(one_key([NOON_MS - LATENESS_MS], [2]))
    assert late[0, RAW_COLUMNS.index("ip.late")] == 1
    assert cache.state() == before


def test_state_outlives_every_window_and_then_expires(cache: Cache) -> None:
    cache.counters().apply(one_key([NOON_MS]))
    lives = [node.pttl(key) for node in cache.nodes() for key in node.scan_iter()]
    assert len(lives) == len(ENTITIES)
    assert all(TTL_MS - MINUTE_MS < life <= 1.1 * TTL_MS for life in lives)


def test_lives_of_keys_are_spread(single: Cache) -> None:
    single.flush()
    key_count = 200
    digests = np.random.default_rng(5).integers(0, 2**63, key_count).tolist()
    single.counters().apply(
        batch_of([NOON_MS] * key_count, list(range(key_count)), [(d, *[None] * 6) for d in digests])
    )
    with single.nodes()[0] as node:
        lives = [node.pttl(key) for key in node.scan_iter(count=1000)]
    assert max(lives) - min(lives) > 0.08 * TTL_MS


def test_a_key_stays_bounded_whatever_comes(single: Cache) -> None:
    single.flush()
    log = hot_key(3_000, seed=6)
    for start in range(0, log.clicks, 500):
        single.counters().apply(log.rows(slice(start, start + 500)))
    entry, bucket = 14, 8
    bound = 12 + entry * (RECENT_CAP + 1 + 3 * 513) + bucket * (15 + 26)
    assert max(map(len, single.state().values())) <= bound


def test_batch_without_clicks_asks_nothing(cache: Cache) -> None:
    assert cache.counters().apply(batch_of([], [], [])).shape == (0, len(RAW_COLUMNS))


def test_click_without_any_identifier_touches_no_key(cache: Cache) -> None:
    counts = cache.counters().apply(batch_of([NOON_MS], [1], [(None,) * 7]))
    assert not counts[0, [RAW_COLUMNS.index(f"{entity.name}.present") for entity in ENTITIES]].any()
    assert cache.state() == {}


def test_nothing_but_digests_reaches_the_cache(cache: Cache) -> None:
    cache.counters().apply(one_key([NOON_MS]))
    assert {key[:2] for key in cache.state()} == {b"u1", b"s1", b"i1", b"d1"}
    assert all(len(key) == 10 for key in cache.state())


def test_versions_of_the_function_live_side_by_side(cache: Cache) -> None:
    for caps in TIGHT_CAPS[:2]:
        cache.counters(caps).apply(one_key([NOON_MS] * 40))  # enough sessions to reach every node
    names = {library(caps).name.encode() for caps in TIGHT_CAPS[:2]}
    for libraries in cache.each(lambda node: str(node.function_list())):
        assert all(name.decode() in str(libraries) for name in names)


def test_other_work_is_done_while_the_nodes_count(cache: Cache) -> None:
    counters, oracle, batch = cache.counters(), Oracle(), hot_key(100, seed=3)
    counters.apply(one_key([NOON_MS]))  # loads the function, where no test before did
    cache.flush()
    seen: list[int] = []

    def wait_for_keys() -> None:
        deadline = time.monotonic() + 10
        while not (keys := sum(cast("list[int]", cache.each(Redis.dbsize)))) and time.monotonic() < deadline:
            time.sleep(0.001)
        seen.append(keys)

    np.testing.assert_array_equal(counters.apply(batch, meanwhile=wait_for_keys), oracle.apply(batch))
    assert seen[0] > 0, "the calls must be with the nodes before the other work begins"
