"""A row's score has the same bits whatever the batch; where the hardware breaks that, tiles restore it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slidr.features import FEATURE_COUNT
from training import scoring
from training.mlp_weights import Floats
from training.scoring import RowsNotIndependent, TiledScorer, find_device, open_scorer, rows_are_independent

from .conftest import AnyRows, AnyWeights


class ScoresBySize:
    """A backend whose last bits follow the number of rows, as a threaded matrix product's do."""

    backend = "by size"

    def __init__(self, *_: object) -> None:
        self.shapes: set[tuple[int, ...]] = set()

    def score(self, features: Floats) -> Floats:
        self.shapes.add(features.shape)
        return np.asarray(features.mean(axis=1) + np.float32(len(features) * 1e-3), dtype=np.float32)


class ScoresByPosition:
    """A backend that no tile can mend."""

    backend = "by position"

    def __init__(self, *_: object) -> None:
        pass

    def score(self, features: Floats) -> Floats:
        return np.asarray(features.mean(axis=1) + np.arange(len(features)), dtype=np.float32)


@pytest.mark.parametrize("tile", [None, scoring.CPU_TILE])
def test_score_has_the_same_bits_in_every_batch_size(
    tile: int | None, any_weights: AnyWeights, any_rows: AnyRows
) -> None:
    scorer = open_scorer(any_weights(), "cpu")
    if tile is not None:
        scorer = TiledScorer(scorer, rows=tile, features=FEATURE_COUNT)
    rows = any_rows(1_100)
    whole = scorer.score(rows)
    sizes = range(1, 1_101) if tile is None else (1, 63, 64, 65, 500, 1_099)

    assert [n for n in sizes if scorer.score(rows[:n]).tobytes() != whole[:n].tobytes()] == []


def test_score_has_the_same_bits_at_every_position(any_weights: AnyWeights, any_rows: AnyRows) -> None:
    scorer = open_scorer(any_weights(), "cpu")
    rows, row = any_rows(257), any_rows(1, seed=5)
    alone = scorer.score(row).tobytes()

    for position in range(len(rows)):
        batch = rows.copy()
        batch[position] = row[0]
        assert scorer.score(batch)[position].tobytes() == alone, position


def test_score_has_the_same_bits_when_batches_are_joined(any_weights: AnyWeights, any_rows: AnyRows) -> None:
    scorer = open_scorer(any_weights(), "cpu")
    parts = [any_rows(n, seed=n) for n in (1, 500, 3, 128, 17, 256)]
    apart = np.concatenate([scorer.score(part) for part in parts])

    assert scorer.score(np.concatenate(parts)).tobytes() == apart.tobytes()


def test_scores_read_only_memory_that_starts_at_an_odd_address(any_weights: AnyWeights, any_rows: AnyRows) -> None:
    scorer = open_scorer(any_weights(), "cpu")
    rows = any_rows(33)
    received = np.frombuffer(b"x" * 4 + rows.tobytes(), dtype=np.float32, offset=4).reshape(rows.shape)

    assert not received.flags.writeable
    assert scorer.score(received).tobytes() == scorer.score(rows).tobytes()


def test_row_check_tells_independent_rows_from_dependent_ones(any_weights: AnyWeights) -> None:
    assert rows_are_independent(scoring.OnnxScorer(any_weights()), FEATURE_COUNT)
    assert not rows_are_independent(ScoresBySize(), FEATURE_COUNT)
    assert not rows_are_independent(ScoresByPosition(), FEATURE_COUNT)


def test_tiles_make_rows_independent_where_scores_follow_the_batch_size(any_rows: AnyRows) -> None:
    inner = ScoresBySize()
    tiled = TiledScorer(inner, rows=64, features=FEATURE_COUNT)

    assert rows_are_independent(tiled, FEATURE_COUNT)
    assert inner.shapes == {(64, FEATURE_COUNT)}
    rows = any_rows(130)
    np.testing.assert_allclose(tiled.score(rows), rows.mean(axis=1) + 0.064, rtol=1e-4)


def test_opens_tiles_where_the_plain_backend_fails_the_row_check(
    monkeypatch: pytest.MonkeyPatch, any_weights: AnyWeights
) -> None:
    monkeypatch.setattr(scoring, "OnnxScorer", ScoresBySize)

    assert open_scorer(any_weights(), "cpu").backend == f"by size, tiles of {scoring.CPU_TILE}"


def test_refuses_hardware_on_which_no_verdict_could_be_reproduced(
    monkeypatch: pytest.MonkeyPatch, any_weights: AnyWeights
) -> None:
    monkeypatch.setattr(scoring, "OnnxScorer", ScoresByPosition)

    with pytest.raises(RowsNotIndependent, match="same bits in every batch"):
        open_scorer(any_weights(), "cpu")


def test_takes_the_cpu_where_there_is_no_driver_and_obeys_what_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(scoring, "_NVIDIA", tmp_path / "no-driver")

    assert find_device("auto") == "cpu"
    assert find_device("cpu") == "cpu"
    assert find_device("cuda") == "cuda"
