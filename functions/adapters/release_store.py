"""Releases in S3: the decision content beside the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from slidr.errors import DependencyUnavailable
from slidr.release import RELEASE_FILE, Release, check_id, decode_release

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_KEPT: Final = 16


class ReleaseUnavailable(DependencyUnavailable):
    """The bundle of a release cannot be read."""


def release_key(release_id: str, file: str = RELEASE_FILE) -> str:
    """Where a file of a release is stored.

    >>> release_key("r-8e25fc9bab63e1e0")
    'releases/r-8e25fc9bab63e1e0/release.json'
    """
    return f"releases/{release_id}/{file}"


class ReleaseStore:
    """Reads releases; each is immutable, so it is read once and its id is checked."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket
        self._kept: dict[str, Release] = {}

    def release(self, release_id: str) -> Release:
        """The decision content of a release.

        Raises:
            ReleaseUnavailable: it cannot be read.
            ReleaseInvalid: its content does not hash to its id.
        """
        release = self._kept.get(release_id)
        if release is None:
            key = release_key(release_id)
            try:
                payload = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
            except (ClientError, BotoCoreError) as failure:
                raise ReleaseUnavailable(
                    f"release {release_id} must be readable as {key}, however: {failure}. Publish it again."
                ) from failure
            release = decode_release(payload)
            check_id(release, release_id)
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[release_id] = release
        return release
