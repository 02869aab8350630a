"""One file of profiles into the table that serving reads."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

import msgspec

from functions.adapters.lake import Lake
from functions.adapters.profile_table import ProfileItem, ProfileTable
from slidr.errors import SlidrError


class ProfilesUnreadable(SlidrError):
    """A file of profiles is not what the daily job writes."""


def write_profiles(lake: Lake, key: str, table: ProfileTable) -> dict[str, Any]:
    """Put every profile of a file.

    Raises:
        ProfilesUnreadable: a line is no profile.
        PublishFailed: the table did not take all of them.
    """
    return {"written": table.put(_profiles(lake.read(key), lake.uri(key)))}


def _profiles(content: bytes, address: str) -> Iterator[ProfileItem]:
    decoder = msgspec.json.Decoder(ProfileItem)
    try:
        for line in gzip.decompress(content).splitlines():
            yield decoder.decode(line)
    except (OSError, EOFError, msgspec.DecodeError) as failure:
        raise ProfilesUnreadable(f"{address} must hold profiles as JSON lines, gzipped, came: {failure}") from failure
