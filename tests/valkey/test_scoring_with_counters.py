"""score_clicks over real counters: a redelivery counts nothing twice, a dead cache leaves clicks undecided."""

from __future__ import annotations

from pathlib import Path

import pytest

from functions.adapters.counters import Counters
from local.valkey import start_valkey
from slidr.features import FEATURE_NAMES
from slidr.verdict import Decision, Reason
from tests.scoring_world import World, any_click, any_robot
from tests.valkey.conftest import Cache

pytestmark = pytest.mark.valkey
BATCH = [
    any_click("a", at="2026-11-23T11:59:50Z"),
    b"not json",
    any_robot("b", at="2026-11-23T11:59:52Z", session="s-2"),
    any_click("c", at="2026-11-23T11:59:55Z", user=None),
]


def feature(world: World, name: str) -> list[float]:
    return [verdict.features[FEATURE_NAMES.index(name)] for verdict in world.verdicts.kept]


@pytest.fixture
def world(cache: Cache) -> World:
    world = World()
    world.counters = cache.counters()  # type: ignore[assignment]
    return world


def test_features_count_the_clicks_before(world: World) -> None:
    world.score(*BATCH)

    assert feature(world, "ip.n_1m") == [0, 1, 2]
    assert feature(world, "user.n_1m") == [0, 1, 0]
    assert feature(world, "ip.gap_s") == [0, 2, 3]
    assert feature(world, "ip.sessions_10m") == [1, 2, 2]


def test_redelivery_counts_nothing_twice(world: World) -> None:
    world.score(*BATCH)
    world.score(*BATCH)
    world.score(*BATCH[2:])

    # Buckets and member sets know by now the batch's later clicks, so these two deliveries agree with each other only.
    first, second, rest = world.verdicts.kept[:3], world.verdicts.kept[3:6], world.verdicts.kept[6:]
    assert second[1:] == rest
    assert [verdict.decision for verdict in first] == [verdict.decision for verdict in second]
    assert feature(world, "ip.n_1m") == [0, 1, 2, 0, 1, 2, 1, 2]
    assert feature(world, "ip.n_1h") == [0, 1, 2, 2, 2, 2, 2, 2]


def test_dead_cache_leaves_clicks_undecided_and_a_new_one_serves_again(tmp_path: Path) -> None:
    world = World()
    with start_valkey(tmp_path) as server:
        port = server.port
        counters = Counters.connect(host=server.host, port=port, cluster=False, tls=False, timeout_ms=1000)
        world.counters = counters  # type: ignore[assignment]
        assert world.decide(any_robot()).decision is Decision.INVALID

    dead = world.decide(any_robot("during"))
    assert (dead.decision, dead.reasons) == (Decision.UNDECIDED, (Reason.COUNTERS_UNAVAILABLE,))

    with start_valkey(tmp_path, port=port):
        assert world.decide(any_robot("after")).decision is Decision.INVALID
    counters.close()
