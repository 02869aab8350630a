"""The files that a Lambda function's execution environments see: the unpacked bundle and the runtime's boto3."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import tempfile
import threading
import zipfile
from pathlib import Path

# What AWS's Python runtime has besides the standard library.
RUNTIME_PACKAGES = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six")

_unpacking = threading.Lock()


def unpack(bundle: bytes, directory: Path) -> Path:
    """Return a directory with the files of the zip `bundle`, unpacked once for all its execution environments."""
    target = directory / hashlib.sha256(bundle).hexdigest()[:16]
    with _unpacking:
        if target.exists():
            return target
        directory.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=directory, prefix="unpacking-"))
        archive = partial / "bundle.zip"
        archive.write_bytes(bundle)
        files = partial / "files"
        with zipfile.ZipFile(archive) as zipped:
            for member in zipped.infolist():
                path = Path(zipped.extract(member, files))
                mode = member.external_attr >> 16
                if mode and path.is_file():
                    path.chmod(mode | 0o600)
        files.mkdir(exist_ok=True)
        files.rename(target)
        shutil.rmtree(partial)
    return target


def runtime_directory(directory: Path) -> Path:
    """Return a directory that holds links to the packages of AWS's Python runtime, and nothing else."""
    target = directory / "runtime"
    with _unpacking:
        if not target.exists():
            partial = Path(tempfile.mkdtemp(dir=directory, prefix="linking-"))
            for name in RUNTIME_PACKAGES:
                found = importlib.util.find_spec(name)
                if found is None or found.origin is None:
                    continue
                source = Path(found.origin)
                source = source.parent if source.name == "__init__.py" else source
                (partial / source.name).symlink_to(source)
            partial.rename(target)
    return target
