"""What made clicks invalid: each feature put to its value in a typical valid click, and the network asked again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from slidr.features import FEATURE_INDEX, FEATURES, Feature
from training.backtest.results import Evidence
from training.calibration.curve import Flags
from training.mlp_weights import Floats
from training.scoring import Scorer

SAMPLE: Final = 2_000
"""Invalid clicks that are asked about, drawn by a seed; more change no digit that is shown."""
_ENTITY_WORDS: Final = {
    "user": "the user", "session": "the session", "ip": "the IP", "device_fp": "IP + user agent", "click": "the click",
    "ua": "the user agent",
}  # fmt: skip
_WINDOW_WORDS: Final = {"10s": "10 s", "1m": "1 min", "10m": "10 min", "1h": "1 h", "24h": "24 h"}
_PLAIN: Final = {"device": "device is", "time": "time of the week:"}
_WHOLE: Final = {
    "present": "{} is known",
    "has_previous": "{} clicked within the day",
    "gap_s": "seconds since the last click of {}",
    "gap_mean_s": "mean of the last gaps of {}, s",
    "gap_cv": "unevenness of the last gaps of {} (0: a metronome)",
    "logged_in": "logged in",
}


def evidence_of(
    features: Floats, thresholds: Floats, scorer: Scorer, *, invalid: Flags, valid: Flags, seed: int = 7
) -> tuple[tuple[Evidence, ...], tuple[Evidence, ...]]:
    """By group of features and by feature: how many invalid clicks hang on it alone, the weightiest first.

    Features that tell the same thing stand in for each other, so single ones turn few clicks; hence the groups.

    Args:
        features: raw, of the later clicks, shape (clicks, FEATURE_COUNT).
        thresholds: of their slices, shape (clicks,).
        scorer: the network.
        invalid: the clicks that it made invalid.
        valid: the clicks that are typical.
        seed: of the sample.
    """
    rows = np.flatnonzero(invalid)
    if not len(rows) or not valid.any():
        return (), ()
    if len(rows) > SAMPLE:
        rows = np.sort(np.random.default_rng(seed).choice(rows, SAMPLE, replace=False))
    ours, bar, typical = features[rows], thresholds[rows], np.median(features[valid], axis=0)

    def turned(columns: list[int]) -> float:
        if not (ours[:, columns] != typical[columns]).any():
            return 0.0
        changed = ours.copy()
        changed[:, columns] = typical[columns]
        return float((scorer.score(changed) < bar).mean())

    groups = [
        Evidence(name=name, among_invalid=np.nan, among_valid=np.nan, turned=turned(columns))
        for name, columns in _groups().items()
    ]
    single = [
        Evidence(
            name=in_words(feature),
            among_invalid=float(np.median(ours[:, i])),
            among_valid=float(typical[i]),
            turned=turned([i]),
        )
        for i, feature in enumerate(FEATURES)
    ]
    return tuple(_weightiest(groups)), tuple(_weightiest(single))


def _weightiest(evidence: list[Evidence]) -> list[Evidence]:
    return sorted((one for one in evidence if one.turned > 0), key=lambda one: -one.turned)


def _groups() -> Mapping[str, list[int]]:
    titles = {
        "user": "what the user did", "session": "what the session did", "ip": "what the IP did",
        "device_fp": "what IP + user agent did",
    }  # fmt: skip
    groups: dict[str, list[int]] = {}
    for feature in FEATURES:
        if feature.name.startswith("time."):
            title = "hour and weekday"
        elif feature.name.startswith("profile."):
            title = "long-term profiles"
        else:
            title = titles.get(feature.entity, "device and login")
        groups.setdefault(title, []).append(FEATURE_INDEX[feature.name])
    return groups


def in_words(feature: Feature) -> str:
    """A feature as people say it.

    >>> names = ["ip.n_1h", "session.gap_cv", "ip.user_agents_24h", "ip.clicks_per_user_24h", "device.mobile"]
    >>> for name in names:
    ...     print(in_words(FEATURES[FEATURE_INDEX[name]]))
    clicks of the IP in 1 h
    unevenness of the last gaps of the session (0: a metronome)
    distinct user agents of the IP in 24 h
    clicks per user of the IP in 24 h
    device is mobile
    """
    prefix, _, rest = feature.name.partition(".")
    who = _ENTITY_WORDS.get(feature.entity, feature.entity)
    what, _, window = rest.rpartition("_")
    if prefix == "profile":
        return f"profile of {who}: {rest.rpartition('.')[2].replace('_', ' ')}"
    if prefix in _PLAIN:
        return f"{_PLAIN[prefix]} {rest.replace('_', ' ')}"
    if rest in _WHOLE:
        return _WHOLE[rest].format(who)
    counted = {"n": "clicks", "ips": "IPs"}.get(what, what.replace("_", " "))
    distinct = "" if counted.startswith("clicks") else "distinct "
    return f"{distinct}{counted} of {who} in {_WINDOW_WORDS[window]}"
