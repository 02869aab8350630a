"""A release: one immutable bundle whose id is the hash of its decision content alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec

from slidr.errors import ReleaseInvalid
from slidr.slices import SliceMap, Thresholds

RELEASE_FILE: Final = "release.json"
WEIGHTS_FILE: Final = "weights.safetensors"
EVIDENCE_FILE: Final = "evidence.json"
REALISED_FILE: Final = "realised.json"
"""What became of what the evidence predicted, once later clicks have matured."""
HOURS_OF_WEEK: Final = 168


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """The decision content: everything that can change a verdict, and nothing else (no metrics, times, commits)."""

    weights_sha256: str
    """SHA-256 (hex) of the weights file."""
    feature_spec: str
    """`slidr.features.SPEC_HASH` of the features that the weights expect."""
    slices: SliceMap
    thresholds: Thresholds
    lists: Mapping[str, str]
    """Hash of each GIVT list the release was made with, by name."""
    expected_ivr: tuple[float, ...]
    """Expected IVR by hour of the local week (Monday 00:00 first), length 168."""
    expected_ivr_by_slice: Mapping[str, tuple[float, ...]] = {}
    """The same of each slice that was seen; another one is expected to be like all traffic."""

    def __post_init__(self) -> None:
        for hours in (self.expected_ivr, *self.expected_ivr_by_slice.values()):
            if len(hours) != HOURS_OF_WEEK:
                raise ReleaseInvalid(f"expected IVR must have {HOURS_OF_WEEK} hours, came {len(hours)}")


def release_id(release: Release) -> str:
    """`r-` and 16 hex digits: the hash of the canonical JSON of the decision content.

    >>> release = Release(weights_sha256="0", feature_spec="f", slices=SliceMap(), thresholds=Thresholds(default=0.5),
    ...                   lists={}, expected_ivr=(0.1,) * 168)
    >>> release_id(release), release_id(decode_release(encode_release(release))) == release_id(release)
    ('r-8e25fc9bab63e1e0', True)
    """
    return "r-" + hashlib.sha256(encode_release(release)).hexdigest()[:16]


def encode_release(release: Release) -> bytes:
    """Canonical JSON: keys sorted at every level, so equal content has equal bytes."""
    return msgspec.json.encode(release, order="sorted")


def decode_release(payload: bytes) -> Release:
    """A release from `release.json`.

    Raises:
        ReleaseInvalid: the bytes are not a release.
    """
    try:
        return msgspec.json.decode(payload, type=Release)
    except (msgspec.DecodeError, ReleaseInvalid) as failure:
        raise ReleaseInvalid(f"{RELEASE_FILE} must hold a release, came: {failure}. Publish it again.") from failure


def check_id(release: Release, expected_id: str) -> None:
    """Raise ReleaseInvalid unless the content hashes to the id it is stored under."""
    came = release_id(release)
    if came != expected_id:
        raise ReleaseInvalid(f"the bundle stored as {expected_id} hashes to {came}; it was changed. Publish it again.")
