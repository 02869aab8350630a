"""Small releases on disk for the tests of the endpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slidr.features import FEATURE_COUNT, SPEC_HASH
from slidr.release import HOURS_OF_WEEK, Release
from slidr.slices import SliceMap, Thresholds
from training.artifact import weights_sha256, write_manifest, write_release
from training.mlp_weights import Floats, MlpWeights, save_weights, standardisation
from training.model import Mlp

AnyRows = Callable[..., Floats]
AnyWeights = Callable[..., MlpWeights]
AnyRelease = Callable[..., str]
ModelDir = Callable[..., tuple[Path, list[str]]]


@pytest.fixture
def any_rows() -> AnyRows:
    def build(rows: int, *, seed: int = 0) -> Floats:
        values = np.random.default_rng(seed).gamma(0.3, 50.0, size=(rows, FEATURE_COUNT))
        return values.astype(np.float32)

    return build


@pytest.fixture
def any_weights(any_rows: AnyRows) -> AnyWeights:
    def build(seed: int = 1) -> MlpWeights:
        return Mlp(*standardisation(any_rows(500, seed=99)), seed=seed).to_weights()

    return build


@pytest.fixture
def any_release(any_weights: AnyWeights) -> AnyRelease:
    """Writes a release into a model directory and returns its id."""

    def build(directory: Path, *, seed: int = 1, note: str = "") -> str:
        payload = save_weights(any_weights(seed))
        release = Release(
            weights_sha256=weights_sha256(payload),
            feature_spec=SPEC_HASH,
            slices=SliceMap(),
            thresholds=Thresholds(default=0.5),
            lists={},
            expected_ivr=(0.1,) * HOURS_OF_WEEK,
        )
        return write_release(directory, release=release, weights=payload, evidence={"note": note})

    return build


@pytest.fixture
def model_dir(tmp_path: Path, any_release: AnyRelease) -> ModelDir:
    """A model directory with one release a seed: the first is the champion, the second (if any) stable."""

    def build(*seeds: int, stable: bool = True, name: str = "model", note: str = "") -> tuple[Path, list[str]]:
        directory = tmp_path / name
        ids = [any_release(directory, seed=seed, note=note) for seed in seeds]
        write_manifest(directory, champion=ids[0], stable=ids[1] if stable and len(ids) > 1 else None)
        return directory, ids

    return build
