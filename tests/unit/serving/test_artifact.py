"""Release bundles: what was written is what is loaded, and nothing changed, missing or foreign is."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from slidr.errors import ReleaseInvalid
from slidr.release import Release, decode_release, encode_release, release_id
from training.artifact import (
    LoadedReleases,
    load_releases,
    pack,
    read_release,
    unpack,
    weights_sha256,
    write_manifest,
    write_release,
)
from training.mlp_weights import save_weights

from .conftest import AnyWeights, ModelDir


def test_loads_what_was_packed(model_dir: ModelDir, tmp_path: Path) -> None:
    directory, ids = model_dir(1, 2, 3)
    pack(directory, tmp_path / "out" / "model.tar.gz")
    unpack(tmp_path / "out" / "model.tar.gz", tmp_path / "unpacked")
    loaded, original = load_releases(tmp_path / "unpacked"), load_releases(directory)

    assert (loaded.champion, loaded.stable) == (ids[0], ids[1])
    assert set(loaded.by_id) == set(ids)
    for identity in ids:
        assert loaded.by_id[identity].release == original.by_id[identity].release
        assert save_weights(loaded.by_id[identity].weights) == save_weights(original.by_id[identity].weights)


def test_archive_bytes_follow_the_decision_content_alone(model_dir: ModelDir, tmp_path: Path) -> None:
    first, _ = model_dir(1, 2, name="first", note="monday")
    second, _ = model_dir(1, 2, name="second", note="tuesday")
    for path in second.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    pack(first, tmp_path / "a.tar.gz")
    pack(second, tmp_path / "b.tar.gz")
    other, _ = model_dir(1, 3, name="other")
    pack(other, tmp_path / "c.tar.gz")

    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
    assert (tmp_path / "a.tar.gz").read_bytes() != (tmp_path / "c.tar.gz").read_bytes()


def test_evidence_stands_beside_the_release_and_out_of_its_id(model_dir: ModelDir) -> None:
    first, ids = model_dir(1, name="first", note="monday")
    _, again = model_dir(1, name="second", note="tuesday")

    assert ids == again
    assert json.loads((first / "releases" / ids[0] / "evidence.json").read_bytes()) == {"note": "monday"}


def test_no_model_data_is_no_release(tmp_path: Path) -> None:
    assert load_releases(tmp_path / "missing") == LoadedReleases()
    assert load_releases(tmp_path) == LoadedReleases()
    with pytest.raises(ReleaseInvalid, match="Train a release first"):
        pack(tmp_path, tmp_path / "model.tar.gz")


def _flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("weights_changed", "weights must hash to"),
        ("weights_missing", "must be readable"),
        ("release_changed", "was changed"),
        ("release_not_json", "must hold a release"),
        ("release_missing", "must be readable"),
        ("renamed", "was changed"),
        ("manifest_missing", "must be readable"),
        ("manifest_not_json", "Pack it again"),
        ("champion_missing", "champion must be among"),
        ("stable_missing", "stable must be among"),
        ("no_releases", "champion must be among"),
    ],
)
def test_refuses_a_model_directory_that_is_not_whole(change: str, message: str, model_dir: ModelDir) -> None:
    directory, ids = model_dir(1, 2)
    folder = directory / "releases" / ids[0]
    match change:
        case "weights_changed":
            _flip_last_byte(folder / "weights.safetensors")
        case "weights_missing":
            (folder / "weights.safetensors").unlink()
        case "release_changed":
            content = decode_release((folder / "release.json").read_bytes())
            changed = msgspec.structs.replace(content, lists={"crawlers": "00"})
            (folder / "release.json").write_bytes(encode_release(changed))
        case "release_not_json":
            (folder / "release.json").write_bytes(b"{")
        case "release_missing":
            (folder / "release.json").unlink()
        case "renamed":
            folder.rename(folder.with_name("r-0000000000000000"))
        case "manifest_missing":
            (directory / "manifest.json").unlink()
        case "manifest_not_json":
            (directory / "manifest.json").write_bytes(b'{"stable": null}')
        case "champion_missing":
            write_manifest(directory, champion="r-1")
        case "stable_missing":
            write_manifest(directory, champion=ids[0], stable="r-1")
        case "no_releases":
            (directory / "releases").rename(directory / "elsewhere")

    with pytest.raises(ReleaseInvalid, match=message):
        load_releases(directory)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"weights_sha256": "00" * 32}, "weights must hash to"), ({"feature_spec": "0" * 16}, "feature spec must be")],
)
def test_does_not_publish_a_release_that_names_other_weights_or_features(
    change: dict[str, str], message: str, model_dir: ModelDir, tmp_path: Path
) -> None:
    directory, ids = model_dir(1)
    good = read_release(directory / "releases" / ids[0])

    with pytest.raises(ReleaseInvalid, match=message):
        write_release(
            tmp_path / "published",
            release=msgspec.structs.replace(good.release, **change),
            weights=save_weights(good.weights),
            evidence={},
        )
    assert not (tmp_path / "published").exists()


def test_does_not_publish_a_network_for_another_number_of_features(any_weights: AnyWeights, tmp_path: Path) -> None:
    weights = any_weights()
    narrow = type(weights)(
        log1p=weights.log1p[:-1],
        mean=weights.mean[:-1],
        inverse_scale=weights.inverse_scale[:-1],
        first_weight=np.ascontiguousarray(weights.first_weight[:, :-1]),
        first_bias=weights.first_bias,
        second_weight=weights.second_weight,
        second_bias=weights.second_bias,
        head_weight=weights.head_weight,
        head_bias=weights.head_bias,
    )
    payload = save_weights(narrow)
    release = _release_of(payload)

    with pytest.raises(ReleaseInvalid, match="feature spec must be"):
        write_release(tmp_path, release=release, weights=payload, evidence={})


def _release_of(payload: bytes) -> Release:
    from slidr.features import SPEC_HASH  # noqa: PLC0415
    from slidr.slices import SliceMap, Thresholds  # noqa: PLC0415

    release = Release(
        weights_sha256=weights_sha256(payload),
        feature_spec=SPEC_HASH,
        slices=SliceMap(),
        thresholds=Thresholds(default=0.5),
        lists={},
        expected_ivr=(0.1,) * 168,
    )
    assert release_id(release).startswith("r-")
    return release


@pytest.mark.parametrize("change", ["not_gzip", "truncated", "escapes"])
def test_refuses_an_archive_that_is_broken_or_leaves_its_directory(
    change: str, model_dir: ModelDir, tmp_path: Path
) -> None:
    directory, _ = model_dir(1)
    archive = tmp_path / "model.tar.gz"
    pack(directory, archive)
    match change:
        case "not_gzip":
            archive.write_bytes(b"PK" + bytes(500))
        case "truncated":
            archive.write_bytes(archive.read_bytes()[:-2_000])
        case "escapes":
            with tarfile.open(archive, "w:gz") as tar:
                entry = tarfile.TarInfo("../outside.txt")
                entry.size = 3
                tar.addfile(entry, io.BytesIO(b"bad"))

    with pytest.raises(ReleaseInvalid, match=r"must be a tar\.gz of releases"):
        unpack(archive, tmp_path / "unpacked")
    assert not (tmp_path / "outside.txt").exists()
