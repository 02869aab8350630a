"""The feature matrix against a plain reading of its spec, click by click, and the local clocks behind it."""

from __future__ import annotations

import datetime as dt
import math
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slidr.click import Device
from slidr.contract import epoch_ms
from slidr.counters import ENTITIES, GAPS, RAW_COLUMNS, entity_slice
from slidr.errors import FeatureMismatch
from slidr.features import (
    DEVICES,
    FEATURE_COUNT,
    FEATURE_NAMES,
    MOST_AGE_DAYS,
    PROFILE_COLUMNS,
    ClickContext,
    assemble,
    context_of,
    local_minute_of_week,
    no_profiles,
    spec_hash,
)


def any_counts(rng: np.random.Generator, clicks: int) -> np.ndarray:
    """Raw counts as the counters give them: gaps known up to some place, absent entities empty."""
    counts = rng.integers(0, 300, (clicks, len(RAW_COLUMNS))).astype(np.int32)
    for entity in ENTITIES:
        block = counts[:, entity_slice(entity)]
        block[:, 0], block[:, 1] = 1, 0
        gaps = block[:, 7 : 7 + GAPS]
        gaps[:] = rng.integers(0, 86_400_000, gaps.shape)
        gaps[np.arange(GAPS) >= rng.integers(0, GAPS + 1, clicks)[:, None]] = -1
        gaps[rng.random(clicks) < 0.2, :3] = 0
        absent = rng.random(clicks) < 0.3
        block[absent] = [-1 if name.startswith("gap_") else 0 for name in entity.columns]
    return counts


def any_context(rng: np.random.Generator, clicks: int) -> ClickContext:
    return ClickContext(
        minute_of_week=rng.integers(0, 10_080, clicks).astype(np.int32),
        logged_in=rng.random(clicks) < 0.5,
        device=rng.integers(0, len(DEVICES), clicks).astype(np.int8),
    )


def any_profiles(rng: np.random.Generator, clicks: int) -> np.ndarray:
    profiles = rng.random((clicks, len(PROFILE_COLUMNS))).astype(np.float32) * 100
    for key in ("ip", "user", "ua"):
        columns = [i for i, name in enumerate(PROFILE_COLUMNS) if name.startswith(f"{key}.")]
        unknown = np.flatnonzero(rng.random(clicks) < 0.4)
        profiles[np.ix_(unknown, columns)] = np.nan
    return profiles


def plain_features(raw: dict[str, int], context: ClickContext, row: int, profile: dict[str, float]) -> dict[str, float]:
    features: dict[str, float] = {}
    for entity in (e.name for e in ENTITIES):
        for name in ("present", "n_10s", "n_1m", "n_10m", "n_1h", "n_24h"):
            features[f"{entity}.{name}"] = raw[f"{entity}.{name}"]
        gaps = [raw[f"{entity}.gap_{i}_ms"] / 1000 for i in range(1, GAPS + 1) if raw[f"{entity}.gap_{i}_ms"] >= 0]
        mean = sum(gaps) / len(gaps) if gaps else 0.0
        deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) if gaps else 0.0
        features[f"{entity}.has_previous"] = float(bool(gaps))
        features[f"{entity}.gap_s"] = gaps[0] if gaps else 0.0
        features[f"{entity}.gap_mean_s"] = mean
        features[f"{entity}.gap_cv"] = deviation / mean if len(gaps) >= 2 and mean > 0 else 0.0
    features |= {name: value for name, value in raw.items() if "s_" in name and name in FEATURE_NAMES}
    for member in ("user", "session"):
        clicks = raw["ip.n_24h"] + raw["ip.present"]
        features[f"ip.clicks_per_{member}_24h"] = clicks / max(raw[f"ip.{member}s_24h"], 1)
    minute = int(context.minute_of_week[row])
    hour, day = 2 * math.pi * (minute % 1440) / 1440, 2 * math.pi * (minute // 1440) / 7
    features |= {"time.hour_sin": math.sin(hour), "time.hour_cos": math.cos(hour)}
    features |= {"time.day_sin": math.sin(day), "time.day_cos": math.cos(day)}
    features["click.logged_in"] = float(context.logged_in[row])
    features |= {f"device.{device}": float(i == context.device[row]) for i, device in enumerate(DEVICES)}
    for key in ("ip", "user", "ua"):
        features[f"profile.{key}.known"] = float(not math.isnan(profile[f"{key}.clicks_per_day"]))
    for name, value in profile.items():
        most = MOST_AGE_DAYS if name.endswith("age_days") else math.inf
        features[f"profile.{name}"] = 0.0 if math.isnan(value) else min(value, most)
    return features


def test_every_feature_equals_its_plain_definition() -> None:
    rng, clicks = np.random.default_rng(1), 200
    counts, context, profiles = any_counts(rng, clicks), any_context(rng, clicks), any_profiles(rng, clicks)
    matrix = assemble(counts, context, profiles)
    assert matrix.dtype == np.float32
    assert matrix.shape == (clicks, FEATURE_COUNT)
    for row in range(clicks):
        raw = dict(zip(RAW_COLUMNS, counts[row].tolist(), strict=True))
        profile = dict(zip(PROFILE_COLUMNS, profiles[row].tolist(), strict=True))
        plain = plain_features(raw, context, row, profile)
        assert set(plain) == set(FEATURE_NAMES)
        expected = [plain[name] for name in FEATURE_NAMES]
        np.testing.assert_allclose(matrix[row], expected, rtol=1e-5, atol=1e-6)


def test_the_spec_is_the_one_that_releases_were_trained_with() -> None:
    """A new hash refuses every release there is: change it only with the features, never by accident."""
    assert spec_hash() == "1b192339cb7acb41"


def test_the_age_of_a_key_tells_no_date() -> None:
    """What was always there is a week old on every day, so that a model cannot learn from it which day it is."""
    ages = [PROFILE_COLUMNS.index(f"{kind}.age_days") for kind in ("ip", "user", "ua")]
    profiles = np.ones((3, len(PROFILE_COLUMNS)), dtype=np.float32)
    profiles[:, ages] = np.array([[3.5], [MOST_AGE_DAYS + 1], [MOST_AGE_DAYS + 20]])
    rng = np.random.default_rng(4)
    matrix = assemble(any_counts(rng, 3), any_context(rng, 3), profiles)
    found = matrix[:, [FEATURE_NAMES.index(f"profile.{kind}.age_days") for kind in ("ip", "user", "ua")]]
    assert found.tolist() == [[3.5] * 3, [MOST_AGE_DAYS] * 3, [MOST_AGE_DAYS] * 3]


def test_features_of_a_click_do_not_depend_on_its_batch() -> None:
    rng, clicks = np.random.default_rng(2), 64
    counts, context, profiles = any_counts(rng, clicks), any_context(rng, clicks), any_profiles(rng, clicks)
    together = assemble(counts, context, profiles)
    for row in range(clicks):
        one = slice(row, row + 1)
        alone = ClickContext(
            minute_of_week=context.minute_of_week[one], logged_in=context.logged_in[one], device=context.device[one]
        )
        assert assemble(counts[one], alone, profiles[one]).tobytes() == together[one].tobytes()


def test_features_of_a_click_of_which_nothing_is_known_are_finite() -> None:
    counts = np.zeros((1, len(RAW_COLUMNS)), dtype=np.int32)
    for entity in ENTITIES:
        counts[:, entity_slice(entity)][:, 7 : 7 + GAPS] = -1
    context = context_of([0], ["UTC"], [False], [Device.OTHER])
    matrix = assemble(counts, context, no_profiles(1))
    assert np.isfinite(matrix).all()
    named = dict(zip(FEATURE_NAMES, matrix[0].tolist(), strict=True))
    assert {name for name, value in named.items() if value} == {
        "time.hour_cos",
        "time.day_sin",
        "time.day_cos",
        "device.other",
    }


def test_regular_gaps_have_no_variation() -> None:
    counts = any_counts(np.random.default_rng(3), 1)
    counts[:, entity_slice(ENTITIES[0])][:, 7 : 7 + GAPS] = 60_000
    matrix = assemble(counts, any_context(np.random.default_rng(3), 1), no_profiles(1))
    assert matrix[0, FEATURE_NAMES.index("user.gap_mean_s")] == 60
    assert matrix[0, FEATURE_NAMES.index("user.gap_cv")] == 0


@pytest.mark.parametrize(
    ("counts", "profiles"),
    [
        (np.zeros((1, 3), dtype=np.int32), no_profiles(1)),
        (np.zeros((1, len(RAW_COLUMNS)), dtype=np.int64), no_profiles(1)),
        (np.zeros((1, len(RAW_COLUMNS)), dtype=np.int32), np.zeros((1, 2), dtype=np.float32)),
        (np.zeros(len(RAW_COLUMNS), dtype=np.int32), no_profiles(1)),
    ],
)
def test_refuses_arrays_of_another_shape_or_dtype(counts: np.ndarray, profiles: np.ndarray) -> None:
    context = context_of([0], ["UTC"], [False], [Device.DESKTOP])
    with pytest.raises(FeatureMismatch, match="however"):
        assemble(counts, context, profiles)


def plain_minute_of_week(at: dt.datetime, zone: str) -> int:
    local = at.astimezone(ZoneInfo(zone))
    return local.weekday() * 1440 + local.hour * 60 + local.minute


@settings(max_examples=200, deadline=None)
@given(
    at=st.datetimes(dt.datetime(2020, 1, 1), dt.datetime(2037, 1, 1), timezones=st.just(dt.UTC)),  # noqa: DTZ001
    zone=st.sampled_from(sorted(available_timezones())),
)
def test_local_minute_of_week_equals_the_zone_database(at: dt.datetime, zone: str) -> None:
    minutes = local_minute_of_week(np.array([epoch_ms(at)]), [zone])
    assert minutes.tolist() == [plain_minute_of_week(at, zone)]


@pytest.mark.parametrize(
    ("utc", "zone", "local"),
    [
        ("2026-11-01T05:59:59.999Z", "America/New_York", "Sun 01:59"),  # summer time
        ("2026-11-01T06:00:00Z", "America/New_York", "Sun 01:00"),  # the same hour once more
        ("2026-03-08T06:59:59Z", "America/New_York", "Sun 01:59"),
        ("2026-03-08T07:00:00Z", "America/New_York", "Sun 03:00"),  # no 02:00 on this day
        ("2026-10-25T00:59:00Z", "Europe/Berlin", "Sun 02:59"),
        ("2026-10-25T01:00:00Z", "Europe/Berlin", "Sun 02:00"),
        ("2026-10-03T15:29:00Z", "Australia/Lord_Howe", "Sun 01:59"),
        ("2026-10-03T15:30:00Z", "Australia/Lord_Howe", "Sun 02:30"),  # half an hour of summer time
        ("2026-11-22T18:14:59Z", "Asia/Kathmandu", "Sun 23:59"),
        ("2026-11-22T18:15:00Z", "Asia/Kathmandu", "Mon 00:00"),  # 5:45 ahead: the week turns
        ("2026-11-23T00:00:00Z", "Pacific/Kiritimati", "Mon 14:00"),
    ],
)
def test_local_clock_follows_daylight_saving_and_odd_offsets(utc: str, zone: str, local: str) -> None:
    day, clock = local.split()
    expected = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].index(day) * 1440
    expected += int(clock[:2]) * 60 + int(clock[3:])
    at = dt.datetime.fromisoformat(utc)
    assert local_minute_of_week(np.array([epoch_ms(at)]), [zone]).tolist() == [expected]


def test_each_click_of_a_batch_has_the_clock_of_its_own_marketplace() -> None:
    at = epoch_ms(dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC))
    context = context_of(
        [at] * 3, ["UTC", "Asia/Tokyo", "America/Los_Angeles"], [True, False, True], [Device.MOBILE] * 3
    )
    assert context.minute_of_week.tolist() == [12 * 60, 21 * 60, 4 * 60]
    assert context.logged_in.tolist() == [True, False, True]
    assert context.device.tolist() == [DEVICES.index(Device.MOBILE)] * 3
