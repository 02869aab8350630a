"""The compiled counters against brute force, over random histories and the ones that once broke somebody's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slidr.counter_batch import CounterBatch
from slidr.counters import (
    DAY_MS,
    ENTITIES,
    GAPS,
    HOUR_MS,
    LATENESS_MS,
    RAW_COLUMNS,
    RECENT_CAP,
    SECOND_MS,
    TTL_MS,
    Caps,
)
from slidr.errors import FeatureMismatch
from tests.counter_histories import NOON_MS, TIGHT_CAPS, batch_of, histories, hot_key, joined, one_key
from tests.counter_oracle import Oracle
from training.counters_kernel import count, event_order
from training.counters_kernel import log as kernel_log


def column(log: CounterBatch, name: str, **options: Any) -> list[int]:
    values: list[int] = count(log, **options)[:, RAW_COLUMNS.index(name)].tolist()
    return values


@pytest.fixture(scope="module", autouse=True)
def _compile() -> None:
    count(one_key([NOON_MS]))  # outside hypothesis's clock


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches=histories(), caps=st.sampled_from(TIGHT_CAPS))
def test_kernel_equals_brute_force_at_every_click(batches: list[CounterBatch], caps: Caps) -> None:
    log = joined(batches)
    np.testing.assert_array_equal(count(log, caps=caps), Oracle(caps).apply(log))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches=histories())
def test_full_knowledge_has_no_late_click_and_no_duplicate(batches: list[CounterBatch]) -> None:
    log = joined(batches)
    log = log.rows(event_order(log))
    assert len(set(zip(log.at_ms.tolist(), log.click_id.tolist(), strict=True))) == log.clicks
    counts = count(log)
    assert not any(counts[:, RAW_COLUMNS.index(f"{entity.name}.late")].any() for entity in ENTITIES)
    np.testing.assert_array_equal(counts, Oracle().apply(log))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches=histories(), caps=st.sampled_from(TIGHT_CAPS), share=st.floats(0, 1))
def test_what_is_older_than_the_least_time_to_live_changes_no_count(
    batches: list[CounterBatch], caps: Caps, share: float
) -> None:
    log = joined(batches)
    log = log.rows(event_order(log))
    start = int(share * (log.clicks - 1))
    seen = log.rows((log.at_ms > log.at_ms[start] - TTL_MS) | (np.arange(log.clicks) >= start))
    np.testing.assert_array_equal(count(seen, caps=caps)[start - log.clicks :], count(log, caps=caps)[start:])


def test_counts_of_a_hot_key_stop_at_the_cap() -> None:
    log = hot_key(560, seed=1)
    counts = count(log)
    np.testing.assert_array_equal(counts, Oracle().apply(log))
    assert counts[:, RAW_COLUMNS.index("ip.n_10m")].max() == RECENT_CAP
    assert counts[:, RAW_COLUMNS.index("ip.n_1h")].max() > 2 * RECENT_CAP
    assert counts[:, RAW_COLUMNS.index("ip.sessions_1h")].max() > RECENT_CAP
    assert counts[:, RAW_COLUMNS.index("ip.user_agents_10m")].max() == 512
    assert counts[:, RAW_COLUMNS.index("user.ads_1h")].max() == 128


def test_many_keys_in_many_parts_are_counted_like_few() -> None:
    rng = np.random.default_rng(2)
    clicks = 40_000  # more than one part, on two threads
    log = batch_of(
        (NOON_MS + np.sort(rng.integers(0, 2 * HOUR_MS, clicks))).tolist(),
        list(range(clicks)),
        [(u, u, u // 2, u // 2, u % 5, u % 7, u % 3) for u in rng.integers(0, 9_000, clicks).tolist()],
    )
    counts = count(log, threads=2)
    some = np.flatnonzero(np.isin(log.ids[:, 2], np.arange(20)))
    few = log.rows(some)
    ips = [i for i, name in enumerate(RAW_COLUMNS) if name.startswith("ip.")]
    np.testing.assert_array_equal(counts[some][:, ips], Oracle().apply(few)[:, ips])
    assert counts[:, RAW_COLUMNS.index("user.n_1h")].sum() > 0


def test_ties_do_not_see_each_other_both_ways() -> None:
    assert column(one_key([NOON_MS] * 3, [30, 10, 20]), "ip.n_10s") == [0, 0, 1]


def test_redelivered_click_adds_nothing_and_reads_the_same_exact_counts() -> None:
    log = one_key([NOON_MS, NOON_MS + 5, NOON_MS], [1, 2, 1])
    assert column(log, "ip.n_10s") == [0, 1, 0]
    assert column(log, "ip.n_24h") == [0, 1, 1]  # its own hour holds the other click by now, and itself once


def test_window_is_open_at_its_far_edge() -> None:
    log = one_key([NOON_MS, NOON_MS + 10 * SECOND_MS])
    assert column(log, "ip.n_10s") == [0, 0]
    log = one_key([NOON_MS, NOON_MS + 10 * SECOND_MS - 1])
    assert column(log, "ip.n_10s") == [0, 1]


def test_late_click_is_scored_without_changing_state() -> None:
    times = [NOON_MS, NOON_MS + 5, NOON_MS + 5 - LATENESS_MS, NOON_MS + 10]
    log = one_key(times)
    assert column(log, "ip.late") == [0, 0, 1, 0]
    assert column(log, "ip.n_10m") == [0, 1, 0, 2]
    assert column(log, "ip.n_24h") == [0, 1, 0, 2]
    without = count(one_key([NOON_MS, NOON_MS + 5, NOON_MS + 10], [1, 2, 4], session=[0, 1, 3]))
    np.testing.assert_array_equal(count(log)[[0, 1, 3]], without)


def test_click_less_than_ten_minutes_late_still_counts() -> None:
    log = one_key([NOON_MS, NOON_MS + 1 - LATENESS_MS, NOON_MS + 1])
    assert column(log, "ip.late") == [0, 0, 0]
    assert column(log, "ip.n_10m") == [0, 0, 1]
    assert column(log, "ip.n_1h") == [0, 0, 2]


def test_silence_of_more_than_a_day_forgets_everything() -> None:
    log = one_key([NOON_MS, NOON_MS + 1, NOON_MS + 26 * HOUR_MS])
    counts = count(log)[2]
    kept = {name: value for name, value in zip(RAW_COLUMNS, counts.tolist(), strict=True) if name.startswith("ip.")}
    assert kept.pop("ip.present") == 1
    assert [kept.pop(f"ip.gap_{i}_ms") for i in range(1, GAPS + 1)] == [-1] * GAPS
    assert {name for name, value in kept.items() if value} == {
        f"ip.{member}s_{window}" for member in ("session", "user", "user_agent") for window in ("10m", "1h", "24h")
    }


def test_gap_over_a_day_is_no_gap() -> None:
    assert column(one_key([NOON_MS, NOON_MS + DAY_MS]), "ip.gap_1_ms") == [-1, -1]
    assert column(one_key([NOON_MS, NOON_MS + DAY_MS - 1]), "ip.gap_1_ms") == [-1, DAY_MS - 1]


def test_slow_and_regular_robot_shows_all_its_gaps() -> None:
    log = one_key([NOON_MS + i * HOUR_MS for i in range(12)])
    assert [column(log, f"ip.gap_{i}_ms")[-1] for i in range(1, GAPS + 1)] == [HOUR_MS] * GAPS


def test_absent_entity_has_zeros_and_no_gaps() -> None:
    log = batch_of([NOON_MS] * 2, [1, 2], [(None,) * 7, (1, None, None, None, None, None, None)])
    counts = count(log)
    for entity in ENTITIES:
        for name in entity.columns:
            row = 0 if entity.name == "user" else slice(None)
            expected = -1 if name.startswith("gap_") else 0
            assert (counts[row, RAW_COLUMNS.index(f"{entity.name}.{name}")] == expected).all()


def test_member_that_is_absent_is_not_counted() -> None:
    log = batch_of([NOON_MS] * 2, [1, 2], [(None, 1, 5, 5, 6, 7, 8), (3, 1, 5, 5, 6, 7, 8)])
    assert column(log, "ip.users_1h") == [0, 1]


def test_result_goes_where_it_is_told() -> None:
    log = hot_key(50, seed=3)
    out = np.full((50, len(RAW_COLUMNS)), 99, dtype=np.int32)
    assert count(log, out=out) is out
    np.testing.assert_array_equal(out, count(log))


def test_log_longer_than_a_piece_is_counted_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    log = hot_key(400, seed=4)
    whole = count(log)
    monkeypatch.setattr(kernel_log, "ROWS_A_PIECE", 150)
    np.testing.assert_array_equal(count(log), whole)


def test_refuses_a_result_of_another_shape() -> None:
    with pytest.raises(FeatureMismatch, match=r"int32 of shape \(1, "):
        count(one_key([NOON_MS]), out=np.zeros((2, 2), dtype=np.int32))


def test_counts_nothing_in_an_empty_log() -> None:
    assert count(batch_of([], [], [])).shape == (0, len(RAW_COLUMNS))
