"""Objects of a bucket: the lake's records, and what runs and replays keep there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from slidr.errors import DependencyUnavailable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class ObjectUnavailable(DependencyUnavailable):
    """An object that a step needs is missing, or cannot be read or written."""


class Lake:
    """One bucket."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def uri(self, key: str) -> str:
        """The address of a key or prefix.

        >>> Lake(None, "lake").uri("clicks/")  # type: ignore[arg-type]
        's3://lake/clicks/'
        """
        return f"s3://{self.bucket}/{key}"

    def keys(self, prefix: str) -> list[str]:
        """All keys under a prefix, in order.

        Raises:
            ObjectUnavailable: they cannot be listed.
        """
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            return [item["Key"] for page in pages for item in page.get("Contents", [])]
        except (ClientError, BotoCoreError) as failure:
            raise ObjectUnavailable(f"{self.uri(prefix)} must be readable, however: {failure}") from failure

    def find(self, key: str) -> bytes | None:
        """An object's content; None where there is none.

        Raises:
            ObjectUnavailable: it cannot be read.
        """
        try:
            return self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except ClientError as failure:
            if failure.response.get("Error", {}).get("Code") in {"NoSuchKey", "404"}:
                return None
            raise ObjectUnavailable(f"{self.uri(key)} must be readable, however: {failure}") from failure
        except BotoCoreError as failure:
            raise ObjectUnavailable(f"{self.uri(key)} must be readable, however: {failure}") from failure

    def read(self, key: str) -> bytes:
        """An object's content.

        Raises:
            ObjectUnavailable: it is not there, or cannot be read.
        """
        content = self.find(key)
        if content is None:
            raise ObjectUnavailable(f"{self.uri(key)} is required, there is no such object. Start the run again.")
        return content

    def delete(self, key: str) -> None:
        """Delete an object; nothing where there is none.

        Raises:
            ObjectUnavailable: it cannot be deleted.
        """
        try:
            self._client.delete_object(Bucket=self.bucket, Key=key)
        except (ClientError, BotoCoreError) as failure:
            raise ObjectUnavailable(f"{self.uri(key)} must be deletable, however: {failure}") from failure

    def write(self, key: str, content: bytes, *, content_type: str = "application/json", **options: Any) -> None:
        """Write an object; what was there is replaced.

        Raises:
            ObjectUnavailable: it cannot be written.
        """
        try:
            self._client.put_object(Bucket=self.bucket, Key=key, Body=content, ContentType=content_type, **options)
        except (ClientError, BotoCoreError) as failure:
            raise ObjectUnavailable(f"{self.uri(key)} must be writable, however: {failure}") from failure
