"""Releases in their bucket: published once, never changed."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from functions.adapters.published_releases import find_file, publish_files
from functions.adapters.release_store import release_key
from slidr.errors import ReleaseInvalid
from slidr.release import EVIDENCE_FILE, RELEASE_FILE, WEIGHTS_FILE

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_FILES: Final = (WEIGHTS_FILE, EVIDENCE_FILE, RELEASE_FILE)


def publish_release(s3: S3Client, bucket: str, folder: Path) -> bool:
    """Write the bundle in `folder` (`.../releases/<id>/`) to `releases/<id>/`; whether that release was there already.

    Raises:
        ReleaseConflict: the stored bundle has other content under the same id.
    """
    return not publish_files(s3, bucket, folder.name, {name: (folder / name).read_bytes() for name in _FILES})


def fetch_release(s3: S3Client, bucket: str, identity: str, model_dir: Path) -> Path:
    """Download a release to `model_dir/releases/<id>/` and return that folder.

    Raises:
        ReleaseInvalid: there is no such release.
    """
    folder = model_dir / "releases" / identity
    folder.mkdir(parents=True, exist_ok=True)
    for name in (RELEASE_FILE, WEIGHTS_FILE):
        content = find_file(s3, bucket, identity, name)
        if content is None:
            raise ReleaseInvalid(
                f"a published release is required, {release_key(identity, name)} is not in {bucket}. "
                f"Published: {', '.join(published_releases(s3, bucket)) or 'none yet; run slidr train'}."
            )
        (folder / name).write_bytes(content)
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A published release."""

    id: str
    at: dt.datetime
    """When it was published, UTC."""


def publications(s3: S3Client, bucket: str) -> list[Publication]:
    """All published releases, newest first."""
    found = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="releases/"):
        for item in page.get("Contents", []):
            _, identity, name = item["Key"].split("/", 2)
            if name == RELEASE_FILE:
                found.append(Publication(id=identity, at=item["LastModified"]))
    return sorted(found, key=lambda publication: (publication.at, publication.id), reverse=True)


def published_releases(s3: S3Client, bucket: str) -> list[str]:
    """The ids of all published releases, newest first."""
    return [publication.id for publication in publications(s3, bucket)]


def release_evidence(s3: S3Client, bucket: str, identity: str) -> dict[str, Any]:
    """What its training measured (training/train.py); empty where it is not there.

    Raises:
        ReleaseInvalid: the evidence is no JSON object.
    """
    content = find_file(s3, bucket, identity, EVIDENCE_FILE)
    try:
        return msgspec.json.decode(content, type=dict[str, Any]) if content is not None else {}
    except msgspec.DecodeError as failure:
        raise ReleaseInvalid(
            f"{release_key(identity, EVIDENCE_FILE)} must be a JSON object, came: {failure}. Restore its first version."
        ) from failure
