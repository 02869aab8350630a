"""The archive that the endpoint loads: releases and a manifest in a `model.tar.gz` whose bytes follow from its content.

manifest.json                               {"champion": id, "stable": id or null}
releases/<id>/release.json, weights.safetensors
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Mapping
from typing import Final

import msgspec

from slidr.errors import ReleaseInvalid
from slidr.release import RELEASE_FILE, WEIGHTS_FILE, Release, check_id, decode_release

MANIFEST_FILE: Final = "manifest.json"
RELEASES_DIR: Final = "releases"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Which of the releases in a model directory answers when the request names none, or one that is missing."""

    champion: str
    stable: str | None = None


def encode_manifest(*, champion: str, stable: str | None) -> bytes:
    """The manifest's JSON."""
    return msgspec.json.encode(Manifest(champion=champion, stable=stable), order="sorted")


def decode_manifest(payload: bytes) -> Manifest:
    """The manifest from its JSON.

    Raises:
        ReleaseInvalid: it is none.
    """
    try:
        return msgspec.json.decode(payload, type=Manifest)
    except msgspec.DecodeError as failure:
        raise ReleaseInvalid(
            f'{MANIFEST_FILE} must hold {{"champion": id, "stable": id or null}}, came: {failure}. Pack it again.'
        ) from failure


def checked_release(identity: str, release_json: bytes, weights: bytes) -> Release:
    """The decision content of a bundle whose id and weights are what they say.

    Raises:
        ReleaseInvalid: they are not.
    """
    release = decode_release(release_json)
    check_id(release, identity)
    came = hashlib.sha256(weights).hexdigest()
    if came != release.weights_sha256:
        raise ReleaseInvalid(
            f"{identity}: the weights must hash to {release.weights_sha256}, came {came}. Publish it again."
        )
    return release


def member(identity: str, file: str) -> str:
    """The name in an archive of a release's file."""
    return f"{RELEASES_DIR}/{identity}/{file}"


def packed(manifest: bytes, releases: Mapping[str, tuple[bytes, bytes]]) -> bytes:
    """The archive of a manifest and releases: equal content gives equal bytes, without times, owners or evidence.

    Args:
        manifest: see `encode_manifest`.
        releases: by id, the bytes of release.json and of the weights.

    >>> packed(b"{}", {"r-1": (b"1", b"2")}) == packed(b"{}", {"r-1": (b"1", b"2")})
    True
    """
    files = {MANIFEST_FILE: manifest}
    for identity in sorted(releases):
        files |= dict(
            zip((member(identity, RELEASE_FILE), member(identity, WEIGHTS_FILE)), releases[identity], strict=True)
        )
    out = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, content in files.items():
            entry = tarfile.TarInfo(name)  # time 0, owner 0
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def unpacked(archive: bytes) -> dict[str, bytes]:
    """The files of an archive by name, `./` before it or not.

    Raises:
        ReleaseInvalid: it is no tar.gz.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
            return {
                entry.name.removeprefix("./"): file.read()
                for entry in tar.getmembers()
                if entry.isfile() and (file := tar.extractfile(entry)) is not None
            }
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as failure:
        raise ReleaseInvalid(f"a tar.gz of releases is required, came: {failure}. Pack it again.") from failure
