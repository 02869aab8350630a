"""S3 locations in the forms that AWS's services accept: s3://bucket/key and https://s3.<region>.amazonaws.com/bucket/key."""

from __future__ import annotations

import io
import json
import re
import tarfile
from pathlib import Path

from local.cloud.gateway import client
from slidr.errors import SlidrError

_HTTPS = re.compile(r"^https://s3[.-][^/]*/")
_VIRTUAL_HOST = re.compile(r"^https://(?P<bucket>[^./]+)\.s3[.-][^/]*/(?P<key>.*)$")


class InvalidS3Uri(SlidrError):
    """A location is in no form that S3 knows."""


def split_uri(uri: str) -> tuple[str, str]:
    """Return bucket and key (or prefix) of `uri`.

    >>> split_uri("s3://lake/training/day=1/")
    ('lake', 'training/day=1/')
    >>> split_uri("https://s3.us-east-1.amazonaws.com/lake/model.tar.gz")
    ('lake', 'model.tar.gz')
    >>> split_uri("https://lake.s3.us-east-1.amazonaws.com/model.tar.gz")
    ('lake', 'model.tar.gz')
    """
    if hosted := _VIRTUAL_HOST.match(uri):
        return hosted["bucket"], hosted["key"]
    for prefix in ("s3://", "https://s3."):
        if uri.startswith(prefix):
            rest = uri.removeprefix("s3://") if prefix == "s3://" else _HTTPS.sub("", uri)
            bucket, _, key = rest.partition("/")
            return bucket, key
    raise InvalidS3Uri(f"an S3 location must begin with s3:// or https://s3., came {uri!r}")


def read_object(uri: str) -> bytes:
    """Return the object at `uri`."""
    bucket, key = split_uri(uri)
    body: bytes = client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


def download_prefix(uri: str, directory: Path) -> None:
    """Download every object below the prefix `uri` into `directory`, keeping what follows the prefix as path."""
    bucket, prefix = split_uri(uri)
    directory.mkdir(parents=True, exist_ok=True)
    pages = client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        for found in page.get("Contents", []):
            key: str = found["Key"]
            relative = key.removeprefix(prefix).lstrip("/") or Path(key).name
            if key.endswith("/") or ".." in Path(relative).parts:
                continue
            target = directory / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            client("s3").download_file(bucket, key, str(target))


def download_manifest(uri: str, directory: Path) -> None:
    """Download the objects that the manifest at `uri` names into `directory`, keeping what follows its prefix as path.

    A manifest is a JSON list: {"prefix": "s3://bucket/folder/"}, then keys below it.
    Source: Amazon SageMaker API reference, "S3DataSource", S3DataType.
    """
    named, *keys = json.loads(read_object(uri))
    bucket, prefix = split_uri(named["prefix"])
    directory.mkdir(parents=True, exist_ok=True)
    for key in keys:
        target = directory / key
        target.parent.mkdir(parents=True, exist_ok=True)
        client("s3").download_file(bucket, prefix + key, str(target))


def upload_directory(directory: Path, uri: str) -> None:
    """Upload every file below `directory` to the prefix `uri`."""
    bucket, prefix = split_uri(uri)
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        key = "/".join(part for part in (prefix.rstrip("/"), path.relative_to(directory).as_posix()) if part)
        client("s3").upload_file(str(path), bucket, key)


def extract_archive(uri: str, directory: Path) -> None:
    """Unpack the tar.gz at `uri` into `directory` (members that would leave it are refused)."""
    with tarfile.open(fileobj=io.BytesIO(read_object(uri)), mode="r:gz") as archive:
        archive.extractall(directory, filter="data")


def upload_archive(directory: Path, uri: str) -> None:
    """Pack `directory` as tar.gz to `uri`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path in sorted(directory.iterdir()):
            archive.add(path, arcname=path.name)
    bucket, key = split_uri(uri)
    client("s3").put_object(Bucket=bucket, Key=key, Body=buffer.getvalue())
