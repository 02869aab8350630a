"""Releases on disk: the bundle that training writes, and the archive that the endpoint loads.

A model directory is what SageMaker makes of `model.tar.gz` in /opt/ml/model:

    manifest.json               {"champion": id, "stable": id or null}
    releases/<id>/release.json, weights.safetensors
    releases/<id>/evidence.json, realised.json (not in the endpoint's archive)
"""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from slidr.artifact import (
    MANIFEST_FILE,
    RELEASES_DIR,
    checked_release,
    decode_manifest,
    encode_manifest,
    packed,
)
from slidr.errors import ReleaseInvalid
from slidr.features import FEATURE_COUNT, SPEC_HASH
from slidr.release import (
    EVIDENCE_FILE,
    RELEASE_FILE,
    WEIGHTS_FILE,
    Release,
    encode_release,
    release_id,
)
from training.mlp_weights import MlpWeights, load_weights


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedRelease:
    """A release that passed every check, with its weights."""

    id: str
    release: Release
    weights: MlpWeights


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedReleases:
    """The releases of one model directory, by id. All None and empty before the first deployment."""

    champion: str | None = None
    stable: str | None = None
    by_id: Mapping[str, LoadedRelease] = field(default_factory=dict)


def weights_sha256(weights: bytes) -> str:
    """The hash that `Release.weights_sha256` must hold for these bytes of `weights.safetensors`."""
    return hashlib.sha256(weights).hexdigest()


def write_release(model_dir: Path, *, release: Release, weights: bytes, evidence: Mapping[str, object]) -> str:
    """Write the bundle to `model_dir/releases/<id>/` and return the id. Evidence of the same id is replaced.

    Args:
        model_dir: made where missing.
        release: the decision content.
        weights: bytes of `training.mlp_weights.save_weights`.
        evidence: metrics, data window, commit, seeds: whatever JSON holds; it is not part of the id.

    Raises:
        ReleaseInvalid: the release names other weights or another feature spec.
    """
    identity = release_id(release)
    _checked(identity, encode_release(release), weights)
    folder = model_dir / RELEASES_DIR / identity
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS_FILE).write_bytes(weights)
    (folder / EVIDENCE_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(evidence, order="sorted")))
    (folder / RELEASE_FILE).write_bytes(encode_release(release))  # last: a bundle without it is not a bundle
    return identity


def write_manifest(model_dir: Path, *, champion: str, stable: str | None = None) -> None:
    """Name the releases that answer by default. A model directory with a manifest is complete."""
    (model_dir / MANIFEST_FILE).write_bytes(encode_manifest(champion=champion, stable=stable))


def read_release(folder: Path) -> LoadedRelease:
    """The release in `releases/<id>/`, checked: its id, its weights' hash, its feature spec.

    Raises:
        ReleaseInvalid: a file is missing, or a check fails.
    """
    return _checked(folder.name, _read(folder / RELEASE_FILE), _read(folder / WEIGHTS_FILE))


def load_releases(model_dir: Path) -> LoadedReleases:
    """Every release of a model directory. None at all if the directory is missing or empty (first deployment).

    Raises:
        ReleaseInvalid: there is something, but it is not a whole and unchanged model directory.
    """
    if not model_dir.is_dir() or not any(model_dir.iterdir()):
        return LoadedReleases()
    manifest = decode_manifest(_read(model_dir / MANIFEST_FILE))
    root = model_dir / RELEASES_DIR
    folders = sorted(root.iterdir()) if root.is_dir() else []
    by_id = {folder.name: read_release(folder) for folder in folders}
    for role, named in (("champion", manifest.champion), ("stable", manifest.stable)):
        if named is not None and named not in by_id:
            raise ReleaseInvalid(f"the {role} must be among the releases {sorted(by_id)}, came {named}. Pack it again.")
    return LoadedReleases(champion=manifest.champion, stable=manifest.stable, by_id=by_id)


def pack(model_dir: Path, archive: Path) -> None:
    """Write `model.tar.gz` of a model directory, after every check of `load_releases`.

    Equal decision content gives equal bytes: no times, owners or evidence in it, entries sorted.

    Raises:
        ReleaseInvalid: the directory is empty or fails a check.
    """
    loaded = load_releases(model_dir)
    if loaded.champion is None:
        raise ReleaseInvalid(f"{model_dir} must hold {MANIFEST_FILE} and releases, it is empty. Train a release first.")
    root = model_dir / RELEASES_DIR
    releases = {
        identity: ((root / identity / RELEASE_FILE).read_bytes(), (root / identity / WEIGHTS_FILE).read_bytes())
        for identity in loaded.by_id
    }
    archive.parent.mkdir(parents=True, exist_ok=True)
    archive.write_bytes(packed((model_dir / MANIFEST_FILE).read_bytes(), releases))


def unpack(archive: Path, model_dir: Path) -> None:
    """Extract `model.tar.gz` into a model directory, as SageMaker does before it starts the container.

    Raises:
        ReleaseInvalid: not such an archive, or an entry would leave the directory.
    """
    model_dir.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive, mode="r:gz") as tar:
            tar.extractall(model_dir, filter="data")
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as failure:
        raise ReleaseInvalid(
            f"{archive.name} must be a tar.gz of releases, came: {failure}. Pack it again."
        ) from failure


def _checked(identity: str, release_json: bytes, weights: bytes) -> LoadedRelease:
    release = checked_release(identity, release_json, weights)
    network = load_weights(weights)
    if release.feature_spec != SPEC_HASH or network.features != FEATURE_COUNT:
        raise ReleaseInvalid(
            f"{identity}: the feature spec must be {SPEC_HASH} with {FEATURE_COUNT} features, "
            f"came {release.feature_spec} with {network.features}. Train it again with this commit."
        )
    return LoadedRelease(id=identity, release=release, weights=network)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as failure:
        raise ReleaseInvalid(f"{path.parent.name}/{path.name} must be readable, came: {failure}.") from failure
