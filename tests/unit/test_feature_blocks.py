"""Features block by block against the counts and the online assembly of the whole log: the same to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slidr.counter_batch import CounterBatch
from slidr.counters import DAY_MS, ENTITIES, HOUR_MS, MINUTE_MS, RAW_COLUMNS, TTL_MS, Caps, entity_slice
from slidr.errors import FeatureMismatch
from slidr.features import FEATURE_COUNT, ClickContext, Floats, assemble, no_profiles
from tests.counter_histories import NOON_MS, TIGHT_CAPS, batch_of, histories, hot_key, joined, one_key
from tests.unit.test_features import any_context, any_counts, any_profiles
from training import feature_blocks as feature_blocks_module
from training.counters_kernel import NOTHING_LATER, EntityCounts, LogCounters, count, event_order
from training.feature_blocks import LogFeatures, feature_blocks


def surroundings(log: CounterBatch, seed: int) -> tuple[ClickContext, Floats]:
    rng = np.random.default_rng(seed)
    return any_context(rng, log.clicks), any_profiles(rng, log.clicks)


def in_blocks(log: CounterBatch, context: ClickContext, profiles: Floats | None, **options: int | Caps) -> Floats:
    blocks, reached = [], 0
    for rows, features in feature_blocks(log, context, profiles, **options):  # type: ignore[arg-type]
        assert rows.start == reached
        assert len(features) == rows.stop - rows.start
        blocks.append(features)
        reached = rows.stop
    assert reached == log.clicks
    return np.concatenate(blocks)


@pytest.fixture(scope="module", autouse=True)
def _compile() -> None:
    log = one_key([NOON_MS, NOON_MS + 1])
    in_blocks(log, *surroundings(log, 0), rows_a_piece=1)  # outside hypothesis's clock


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    batches=histories(),
    caps=st.sampled_from(TIGHT_CAPS),
    rows=st.tuples(st.integers(1, 45), st.integers(1, 45)),
    threads=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_blocks_hold_the_bits_of_the_whole(
    batches: list[CounterBatch], caps: Caps, rows: tuple[int, int], threads: int, seed: int
) -> None:
    log = joined(batches)
    context, profiles = surroundings(log, seed)
    whole = assemble(count(log, caps=caps), context, profiles)
    blocks = in_blocks(log, context, profiles, rows_a_piece=rows[0], rows_a_block=rows[1], caps=caps, threads=threads)
    assert blocks.tobytes() == whole.tobytes()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), greatest=st.sampled_from((2, 300, 2**31 - 2)))
def test_compiled_assembly_gives_the_bits_of_the_online_one(seed: int, greatest: int) -> None:
    rng = np.random.default_rng(seed)
    counts = any_counts(rng, 20)
    window_counts = [i for i, name in enumerate(RAW_COLUMNS) if not name.endswith(("present", "late", "_ms"))]
    counts[:, window_counts] = rng.integers(0, greatest, (20, len(window_counts)), dtype=np.int32)
    context, profiles = any_context(rng, 20), no_profiles(20)
    places = np.arange(20, dtype=np.int32)
    counted = [
        EntityCounts(entity, places, np.ascontiguousarray(counts[:, entity_slice(entity)])) for entity in ENTITIES
    ]
    compiled = np.full((20, FEATURE_COUNT), np.nan, dtype=np.float32)
    feature_blocks_module._fill(compiled, slice(0, 20), counted, context, None)
    assert compiled.tobytes() == assemble(counts, context, profiles).tobytes()


def busy_days(clicks: int, *, seed: int) -> CounterBatch:
    """Three days of keys of all sizes, one click in fifty up to an hour late, one in fifty redelivered."""
    rng = np.random.default_rng(seed)
    at_ms = np.sort(NOON_MS + rng.integers(0, 3 * DAY_MS, clicks))
    at_ms -= np.where(rng.random(clicks) < 0.02, rng.integers(0, HOUR_MS, clicks), 0)
    ids = (clicks ** rng.random((clicks, 7)) ** 3).astype(np.uint64)
    present = rng.random((clicks, 7)) < 0.9
    log = CounterBatch(at_ms=at_ms, click_id=rng.integers(0, 2**63, clicks).astype(np.uint64), ids=ids, present=present)
    again = np.arange(clicks) - np.where(rng.random(clicks) < 0.02, rng.integers(0, 500, clicks), 0)
    return log.rows(np.maximum(again, 0))


@pytest.mark.parametrize(("rows_a_piece", "threads"), [(40_000, 2), (3_000, 1), (59_999, 2)])
def test_long_log_in_many_parts_holds_the_bits_of_the_whole(rows_a_piece: int, threads: int) -> None:
    log = busy_days(60_000, seed=rows_a_piece)
    context, _ = surroundings(log, 1)
    counts = count(log)
    assert counts[:, RAW_COLUMNS.index("ip.late")].any()
    assert counts[:, RAW_COLUMNS.index("ip.n_10m")].max() > 40
    whole = assemble(counts, context, no_profiles(log.clicks))
    blocks = in_blocks(log, context, None, rows_a_piece=rows_a_piece, threads=threads)
    assert blocks.tobytes() == whole.tobytes()


def test_hot_key_overflows_alike_in_blocks() -> None:
    log = hot_key(800, seed=1)
    context, profiles = surroundings(log, 2)
    whole = assemble(count(log), context, profiles)
    assert in_blocks(log, context, profiles, rows_a_piece=90).tobytes() == whole.tobytes()


def test_what_no_later_click_can_see_is_forgotten_and_what_one_can_is_kept() -> None:
    counters = LogCounters(parts=1)

    def words() -> int:
        return sum(state.used for states in counters._states.values() for state in states)

    log = event_ordered(busy_days(5_000, seed=3))
    counters.apply(log, later_from_ms=int(log.at_ms[-1]))
    of_all = words()
    counters.apply(log.rows(slice(0, 0)), later_from_ms=int(log.at_ms[-1]) + TTL_MS - 1)
    of_the_last_moment = words()
    counters.apply(log.rows(slice(0, 0)), later_from_ms=int(log.at_ms[-1]) + TTL_MS)
    assert of_all > of_the_last_moment > words() == 0


def event_ordered(log: CounterBatch) -> CounterBatch:
    return log.rows(event_order(log))


def test_pieces_in_event_order_need_no_sight_of_the_log() -> None:
    log = event_ordered(busy_days(4_000, seed=4))
    context, profiles = surroundings(log, 4)
    features = LogFeatures(rows_a_piece=900)
    pieces = []
    for start in range(0, log.clicks, 900):
        rows = slice(start, start + 900)
        piece = log.rows(rows)
        its = ClickContext(
            minute_of_week=context.minute_of_week[rows], logged_in=context.logged_in[rows], device=context.device[rows]
        )
        pieces.append(features.of(piece, its, profiles[rows], later_from_ms=int(piece.at_ms[-1])))
    assert np.concatenate(pieces).tobytes() == assemble(count(log), context, profiles).tobytes()


def test_refuses_a_click_older_than_was_promised() -> None:
    features = LogFeatures()
    log = one_key([NOON_MS, NOON_MS + MINUTE_MS])
    context, _ = surroundings(log, 5)
    features.of(log, context, later_from_ms=NOON_MS + MINUTE_MS)
    with pytest.raises(FeatureMismatch, match="no click before"):
        features.of(log, context, later_from_ms=NOTHING_LATER)


def test_refuses_what_belongs_to_another_log() -> None:
    log = one_key([NOON_MS, NOON_MS + 1])
    context, profiles = surroundings(log, 6)
    with pytest.raises(FeatureMismatch, match="profiles must be float32"):
        LogFeatures().of(log, context, profiles[:1])
    with pytest.raises(FeatureMismatch, match="context of 1 clicks"):
        LogFeatures().of(log.rows(slice(0, 1)), context, profiles[:1])


def test_empty_log_has_no_blocks_and_an_empty_piece_no_rows() -> None:
    log = batch_of([], [], [])
    context, profiles = surroundings(log, 7)
    assert list(feature_blocks(log, context, profiles)) == []
    assert LogFeatures().of(log, context, profiles).shape == (0, FEATURE_COUNT)
