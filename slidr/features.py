"""The feature spec as data, and the one function that turns raw counts into features, online and offline (rule 2)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from slidr.click import Device
from slidr.contract import from_epoch_ms
from slidr.counters import ENTITIES, GAPS, RAW_COLUMNS
from slidr.errors import FeatureMismatch

Transform = Literal["identity", "log1p"]
Floats = NDArray[np.float32]
Counts = NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One column of the feature matrix. `transform` is applied inside the model; serving sends raw features."""

    name: str
    entity: str
    window_s: int | None
    unit: str
    transform: Transform = "identity"


_WINDOW_S: Final = {"10s": 10, "1m": 60, "10m": 600, "1h": 3600, "24h": 86_400}
DEVICES: Final = tuple(Device)
_DEVICE_CODE: Final = {device: code for code, device in enumerate(DEVICES)}
PROFILE_COLUMNS: Final = (
    "ip.clicks_per_day",
    "ip.users_per_day",
    "ip.age_days",
    "user.clicks_per_day",
    "user.age_days",
    "ua.clicks_per_day",
    "ua.users_per_day",
    "ua.age_days",
)
"""Columns of the profile matrix, float32, NaN where the key has no profile (absent by nature)."""
MOST_AGE_DAYS: Final = 7
"""A key is new, or a week old. Beyond, the age of what is always there is the date: it grows a day a day, a network
finds labels in it, and later days, older than any that it saw, lose people to it (training/LOG.md)."""


def _velocity(entity: str) -> list[Feature]:
    counts = [
        Feature(name=f"{entity}.n_{w}", entity=entity, window_s=s, unit="clicks", transform="log1p")
        for w, s in _WINDOW_S.items()
    ]
    return [
        Feature(name=f"{entity}.present", entity=entity, window_s=None, unit="flag"),
        *counts,
        Feature(name=f"{entity}.has_previous", entity=entity, window_s=86_400, unit="flag"),
        Feature(name=f"{entity}.gap_s", entity=entity, window_s=86_400, unit="s", transform="log1p"),
        Feature(name=f"{entity}.gap_mean_s", entity=entity, window_s=86_400, unit="s", transform="log1p"),
        Feature(name=f"{entity}.gap_cv", entity=entity, window_s=86_400, unit="ratio", transform="log1p"),
    ]


def _members() -> list[Feature]:
    return [
        Feature(
            name=f"{entity.name}.{column}",
            entity=entity.name,
            window_s=_WINDOW_S[column.rpartition("_")[2]],
            unit="distinct",
            transform="log1p",
        )
        for entity in ENTITIES
        for column in entity.columns[7 + GAPS :]
    ]


_PROFILE_UNITS: Final = {
    "clicks_per_day": ("clicks/day", 28),
    "users_per_day": ("users/day", 28),
    "age_days": ("days", MOST_AGE_DAYS),
}
"""Unit and days of what a profile tells."""


def _profile(column: str) -> Feature:
    entity, _, kind = column.partition(".")
    unit, days = _PROFILE_UNITS[kind]
    return Feature(name=f"profile.{column}", entity=entity, window_s=days * 86_400, unit=unit, transform="log1p")


def _profiles() -> list[Feature]:
    known = [
        Feature(name=f"profile.{key}.known", entity=key, window_s=None, unit="flag") for key in ("ip", "user", "ua")
    ]
    return [*known, *map(_profile, PROFILE_COLUMNS)]


FEATURES: Final[tuple[Feature, ...]] = (
    *(feature for entity in ENTITIES for feature in _velocity(entity.name)),
    *_members(),
    Feature(name="ip.clicks_per_user_24h", entity="ip", window_s=86_400, unit="clicks/user", transform="log1p"),
    Feature(name="ip.clicks_per_session_24h", entity="ip", window_s=86_400, unit="clicks/session", transform="log1p"),
    *(Feature(name=f"time.{name}", entity="click", window_s=None, unit="unit circle")
      for name in ("hour_sin", "hour_cos", "day_sin", "day_cos")),
    Feature(name="click.logged_in", entity="click", window_s=None, unit="flag"),
    *(Feature(name=f"device.{device}", entity="click", window_s=None, unit="flag") for device in DEVICES),
    *_profiles(),
)  # fmt: skip
FEATURE_NAMES: Final[tuple[str, ...]] = tuple(feature.name for feature in FEATURES)
FEATURE_COUNT: Final = len(FEATURES)
FEATURE_INDEX: Final = {name: i for i, name in enumerate(FEATURE_NAMES)}
_COUNTS: Final = np.array([i for i, name in enumerate(RAW_COLUMNS) if name in FEATURE_INDEX])
"""Raw counts that are features as they are; `_COUNTED` are their columns in the matrix."""
_COUNTED: Final = np.array([FEATURE_INDEX[RAW_COLUMNS[i]] for i in _COUNTS])
_GAPS: Final = np.array(
    [RAW_COLUMNS.index(f"{entity.name}.gap_{i}_ms") for entity in ENTITIES for i in range(1, GAPS + 1)]
)
_GAP_FEATURES: Final = np.array(
    [
        FEATURE_INDEX[f"{entity.name}.{name}"]
        for entity in ENTITIES
        for name in ("has_previous", "gap_s", "gap_mean_s", "gap_cv")
    ]
)
_KINDS: Final = ("ip", "user", "ua")
_KNOWN: Final = np.array([FEATURE_INDEX[f"profile.{kind}.known"] for kind in _KINDS])
_FIRST_OF_KIND: Final = np.array([PROFILE_COLUMNS.index(f"{kind}.clicks_per_day") for kind in _KINDS])
_MOST: Final = np.array(
    [MOST_AGE_DAYS if column.endswith(".age_days") else np.inf for column in PROFILE_COLUMNS], dtype=np.float32
)
"""Of each column of the profile matrix."""
_PER_MEMBER: Final = np.array([FEATURE_INDEX[f"ip.clicks_per_{member}_24h"] for member in ("user", "session")])
_OWN: Final = RAW_COLUMNS.index("ip.present")
_CLICKS_24H: Final = RAW_COLUMNS.index("ip.n_24h")
_MEMBERS_24H: Final = np.array([RAW_COLUMNS.index(f"ip.{member}s_24h") for member in ("user", "session")])


def spec_hash(features: Sequence[Feature] = FEATURES) -> str:
    """The first 16 hex digits of the SHA-256 of the spec as canonical JSON: names, order, windows, units, transforms.

    >>> spec_hash() == spec_hash(tuple(FEATURES)), spec_hash(FEATURES[1:]) == spec_hash()
    (True, False)
    """
    text = json.dumps([asdict(feature) for feature in features], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


SPEC_HASH: Final = spec_hash()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClickContext:
    """What the features need of the clicks besides counts; every array has length `clicks`."""

    minute_of_week: NDArray[np.int32]
    """Local time in the marketplace's zone: minutes since Monday 00:00, in [0, 10080)."""
    logged_in: NDArray[np.bool_]
    device: NDArray[np.int8]
    """Index into DEVICES."""


def context_of(
    at_ms: Sequence[int], time_zones: Sequence[str], logged_in: Sequence[bool], devices: Sequence[Device]
) -> ClickContext:
    """The context of a batch of clicks."""
    return ClickContext(
        minute_of_week=local_minute_of_week(np.asarray(at_ms, dtype=np.int64), time_zones),
        logged_in=np.asarray(logged_in, dtype=np.bool_),
        device=np.fromiter(map(_DEVICE_CODE.__getitem__, devices), dtype=np.int8, count=len(devices)),
    )


_QUARTER_MS: Final = 15 * 60_000
_offsets: dict[tuple[str, int], int] = {}


def _offset_minutes(zone: str, quarter: int) -> int:
    """UTC offset of `zone` in that quarter-hour; offsets change on quarter-hours only, so this caches well."""
    offset = _offsets.get((zone, quarter))
    if offset is None:
        if len(_offsets) > 200_000:
            _offsets.clear()
        delta = from_epoch_ms(quarter * _QUARTER_MS).astimezone(ZoneInfo(zone)).utcoffset()
        offset = int(delta.total_seconds() // 60) if delta is not None else 0
        _offsets[zone, quarter] = offset
    return offset


def local_minute_of_week(at_ms: NDArray[np.int64], time_zones: Sequence[str]) -> NDArray[np.int32]:
    """Minutes since Monday 00:00 local time, in [0, 10080), one zone a click.

    >>> local_minute_of_week(np.array([1795435200000]), ["Asia/Tokyo"])  # Monday 12:00 UTC
    array([1260], dtype=int32)
    """
    quarters = (at_ms // _QUARTER_MS).tolist()
    offsets = np.fromiter(map(_offset_minutes, time_zones, quarters), dtype=np.int64, count=len(quarters))
    return _minute_of_week(at_ms, offsets)


def minute_of_week_in(
    zones: Sequence[str], zone: NDArray[np.integer[Any]], at_ms: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Minutes since Monday 00:00 local time, in [0, 10080), each click in `zones[zone]`.

    >>> minute_of_week_in(["UTC", "Asia/Tokyo"], np.array([1]), np.array([1795435200000]))
    array([1260], dtype=int32)
    """
    # The zone database is asked once for each zone and quarter that occurs, not for each click.
    asked, which = np.unique(at_ms // _QUARTER_MS * len(zones) + zone, return_inverse=True)
    offsets = [_offset_minutes(zones[key % len(zones)], key // len(zones)) for key in asked.tolist()]
    return _minute_of_week(at_ms, np.array(offsets, dtype=np.int64)[which])


def _minute_of_week(at_ms: NDArray[np.int64], offset_minutes: NDArray[np.int64]) -> NDArray[np.int32]:
    monday = 3 * 1440  # 1970-01-01 was a Thursday
    return np.asarray((at_ms // 60_000 + offset_minutes + monday) % 10_080, dtype=np.int32)


def no_profiles(clicks: int) -> Floats:
    """A profile matrix in which no key is known."""
    return np.full((clicks, len(PROFILE_COLUMNS)), np.nan, dtype=np.float32)


def assemble(counts: Counts, context: ClickContext, profiles: Floats) -> Floats:
    """The feature matrix, float32, shape (clicks, FEATURE_COUNT), columns as in FEATURES; finite.

    Args:
        counts: raw counts, int32, shape (clicks, len(RAW_COLUMNS)).
        context: what else is known of the clicks.
        profiles: float32, shape (clicks, len(PROFILE_COLUMNS)), NaN where there is none.

    Raises:
        FeatureMismatch: a shape or dtype is not as above.
    """
    _require("counts", counts, np.int32, len(RAW_COLUMNS))
    _require("profiles", profiles, np.float32, len(PROFILE_COLUMNS))
    matrix = np.zeros((len(counts), FEATURE_COUNT), dtype=np.float32)
    matrix[:, _COUNTED] = counts.take(_COUNTS, axis=1)
    gaps = counts.take(_GAPS, axis=1).reshape(-1, GAPS)  # (clicks x entities, GAPS)
    matrix[:, _GAP_FEATURES] = _gap_features(gaps).reshape(len(counts), -1)
    clicks_24h = counts[:, _CLICKS_24H] + counts[:, _OWN]  # the click itself, where it has an IP
    matrix[:, _PER_MEMBER] = clicks_24h[:, None] / np.maximum(counts.take(_MEMBERS_24H, axis=1), 1)
    fill_context(matrix, context)
    fill_profiles(matrix, profiles)
    return matrix


def fill_context(matrix: Floats, context: ClickContext) -> None:
    """Write the features of the context into their columns of a matrix of zeros, shape (clicks, FEATURE_COUNT)."""
    start = FEATURE_INDEX["time.hour_sin"]
    matrix[:, start : start + 4] = _CLOCK[context.minute_of_week]
    matrix[:, FEATURE_INDEX["click.logged_in"]] = context.logged_in
    matrix[np.arange(len(matrix)), FEATURE_INDEX[f"device.{DEVICES[0]}"] + context.device] = 1.0


def fill_profiles(matrix: Floats, profiles: Floats) -> None:
    """Write the features of the profiles into their columns of a matrix, shape (clicks, FEATURE_COUNT).

    Where no key is known they are zeros. Ages end at MOST_AGE_DAYS.
    """
    absent = np.isnan(profiles)
    matrix[:, _KNOWN] = ~absent[:, _FIRST_OF_KIND]
    start = FEATURE_INDEX[f"profile.{PROFILE_COLUMNS[0]}"]
    matrix[:, start : start + len(PROFILE_COLUMNS)] = np.where(absent, np.float32(0.0), np.minimum(profiles, _MOST))


def _gap_features(gaps_ms: Counts) -> Floats:
    """has_previous, gap_s, gap_mean_s, gap_cv of gaps in ms, shape (clicks, GAPS), -1 where absent; zeros then."""
    known = gaps_ms >= 0
    n = known.sum(axis=1)
    gaps_s = np.maximum(gaps_ms, 0) / 1000.0
    divisor = np.maximum(n, 1)
    mean = _sum_of_eight(gaps_s) / divisor
    spread = np.where(known, gaps_s - mean[:, None], 0.0)
    deviation = np.sqrt(_sum_of_eight(spread * spread) / divisor)
    cv = np.where((n >= 2) & (mean > 0), deviation / np.where(mean > 0, mean, 1.0), 0.0)
    return np.stack([n > 0, gaps_s[:, 0], mean, cv], axis=1).astype(np.float32)


def _sum_of_eight(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row sums, shape (clicks,), added in one stated order: the compiled twin must give the same bits (rule 2)."""
    pairs = values[:, 0::2] + values[:, 1::2]
    fours = pairs[:, 0::2] + pairs[:, 1::2]
    return np.asarray(fours[:, 0] + fours[:, 1])


def _clock() -> Floats:
    """hour_sin, hour_cos, day_sin, day_cos of every minute of the week, shape (10080, 4)."""
    minute = np.arange(10_080)
    day_angle = 2 * np.pi * (minute % 1440) / 1440
    week_angle = 2 * np.pi * (minute // 1440) / 7
    waves = (np.sin(day_angle), np.cos(day_angle), np.sin(week_angle), np.cos(week_angle))
    return np.stack(waves, axis=1).astype(np.float32)


_CLOCK: Final = _clock()


def _require(name: str, array: NDArray[Any], dtype: type[np.generic], columns: int) -> None:
    if array.ndim != 2 or array.shape[1] != columns or array.dtype != dtype:
        raise FeatureMismatch(
            f"{name} must be {np.dtype(dtype).name} of shape (clicks, {columns}), "
            f"however: {name}.dtype={array.dtype}, {name}.shape={array.shape}. Rebuild both sides from one commit."
        )
