"""Releases in their bucket: each file written once and never changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from functions.adapters.release_store import release_key
from slidr.errors import ReleaseConflict
from slidr.release import RELEASE_FILE, WEIGHTS_FILE

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def publish_files(s3: S3Client, bucket: str, identity: str, files: Mapping[str, bytes]) -> bool:
    """Write a release's files to `releases/<id>/`; False if that release was there already.

    What tells of a release that is there already (evidence, results) stays as it was: the first training that made it
    is its record.

    Args:
        s3: client.
        bucket: of releases.
        identity: the release's id.
        files: by name, RELEASE_FILE and WEIGHTS_FILE among them; the former is written last, since a bundle without it
            is not a bundle.

    Raises:
        ReleaseConflict: the stored bundle has other content under the same id.
    """
    known = {name: find_file(s3, bucket, identity, name) for name in files}
    for name in (RELEASE_FILE, WEIGHTS_FILE):
        if known[name] is not None and known[name] != files[name]:
            raise ReleaseConflict(
                f"{release_key(identity, name)} in {bucket} must be what was trained, it has other content. "
                "Somebody changed a release; compare the object's versions, and restore the first one."
            )
    for name in sorted(files, key=lambda name: (name == RELEASE_FILE, name)):
        if known[name] is None:
            # "*": only where there is nothing, so that two publishers cannot overwrite one another.
            s3.put_object(Bucket=bucket, Key=release_key(identity, name), Body=files[name], IfNoneMatch="*")
    return known[RELEASE_FILE] is None


def find_file(s3: S3Client, bucket: str, identity: str, name: str) -> bytes | None:
    """A file of a release; None where there is none."""
    try:
        return s3.get_object(Bucket=bucket, Key=release_key(identity, name))["Body"].read()
    except ClientError as failure:
        if failure.response.get("Error", {}).get("Code") in {"NoSuchKey", "404"}:
            return None
        raise
