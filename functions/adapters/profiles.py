"""Read-only profiles: long-horizon traffic of an IP, a user and a user agent, written by the daily job."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from botocore.exceptions import BotoCoreError, ClientError
from numpy.typing import NDArray

from functions.adapters.attempts import Attempts
from slidr.features import PROFILE_COLUMNS, Floats

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

BATCH: Final = 100
"""The service's limit of one BatchGetItem call."""
_THREADS: Final = 4
_DAY_S: Final = 86_400.0
_MOST: Final = 1e12
"""Of any number in a profile: exact enough in float32, and far from its limits."""

Profile = tuple[float, float, float]
"""Clicks a day, users a day (NaN for a user), first seen in epoch seconds."""
ABSENT: Final[Profile] = (math.nan, math.nan, math.nan)
_KINDS: Final = ("ip", "user", "ua")
_FIELDS: Final = ("clicks_per_day", "users_per_day", "age_days")
_KIND_OF: Final = np.array([_KINDS.index(name.partition(".")[0]) for name in PROFILE_COLUMNS])
_FIELD_OF: Final = np.array([_FIELDS.index(name.partition(".")[2]) for name in PROFILE_COLUMNS])


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileKeys:
    """Pseudonyms of a batch, one entry a click, None for what a click lacks."""

    ip: Sequence[str | None]
    user: Sequence[str | None]
    ua: Sequence[str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRows:
    """The profiles of a batch."""

    matrix: Floats
    """float32, shape (clicks, len(PROFILE_COLUMNS)), NaN where a key has no profile."""
    failed: NDArray[np.bool_]
    """Clicks of which a profile could not be read, shape (clicks,): UNDECIDED (rule 6)."""
    error: str = ""
    """What went wrong, where something did."""


class Profiles:
    """Reads profiles from DynamoDB in batches; keeps each, or its absence, in memory for a while."""

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        *,
        attempts: Attempts,
        keep_s: float,
        keep_keys: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._table = table
        self._attempts = attempts
        self._keep_s = keep_s
        self._keep_keys = keep_keys
        self._clock = clock
        self._kept: dict[str, tuple[float, Profile]] = {}  # in order of use, the oldest first

    def read(self, keys: ProfileKeys, *, at_ms: NDArray[np.int64]) -> ProfileRows:
        """The profile matrix of a batch; ages are those at the event times `at_ms`, shape (clicks,).

        What cannot be read fails only the clicks that need it.
        """
        columns = [
            [None if token is None else f"{kind}#{token}" for token in tokens]
            for kind, tokens in zip(_KINDS, (keys.ip, keys.user, keys.ua), strict=True)
        ]
        wanted = dict.fromkeys(key for column in columns for key in column if key is not None)
        known, error = self._lookup(list(wanted))
        read = [[ABSENT if key is None else known.get(key) for key in column] for column in columns]
        profiles = np.array([[profile or ABSENT for profile in column] for column in read], dtype=np.float64)
        profiles = profiles.reshape(len(_KINDS), len(at_ms), len(ABSENT))
        profiles[:, :, 2] = np.maximum(at_ms / 1000.0 - profiles[:, :, 2], 0.0) / _DAY_S  # first seen -> age
        failed = np.zeros(len(at_ms), dtype=np.bool_)
        if len(known) < len(wanted):
            failed |= np.array([None in clicks_profiles for clicks_profiles in zip(*read, strict=True)])
        return ProfileRows(matrix=profiles[_KIND_OF, :, _FIELD_OF].T.astype(np.float32), failed=failed, error=error)

    def _lookup(self, keys: Sequence[str]) -> tuple[dict[str, Profile], str]:
        """The profiles that are known, absent ones included, and an error where some key has none."""
        now = self._clock()
        found: dict[str, Profile] = {}
        missing: list[str] = []
        for key in keys:
            kept = self._kept.get(key)
            if kept is not None and kept[0] > now:
                found[key] = kept[1]
                self._kept[key] = self._kept.pop(key)
            else:
                missing.append(key)
        if not missing:
            return found, ""
        raised: list[str] = []
        batches = [missing[start : start + BATCH] for start in range(0, len(missing), BATCH)]
        if len(batches) == 1:
            answers = [self._fetch(batches[0], raised)]
        else:
            with ThreadPoolExecutor(max_workers=min(_THREADS, len(batches))) as pool:
                answers = list(pool.map(lambda batch: self._fetch(batch, raised), batches))
        for profiles, _ in answers:
            found.update(profiles)
            for key, profile in profiles.items():
                self._kept.pop(key, None)
                self._kept[key] = (now + self._keep_s, profile)
        while len(self._kept) > self._keep_keys:
            del self._kept[next(iter(self._kept))]
        return found, next((error for _, error in answers if error), "")

    def _fetch(self, keys: Sequence[str], raised: list[str]) -> tuple[dict[str, Profile], str]:
        """Up to 100 keys: those read (ABSENT where there is no item), and an error if some were not.

        What a call raises goes into `raised`, and no call is begun after it: it would only wait as long.
        """
        found: dict[str, Profile] = {}
        pending = list(keys)
        error = ""
        for _ in self._attempts:
            if raised:
                return found, raised[0]
            try:
                answer = self._client.batch_get_item(
                    RequestItems={self._table: {"Keys": [{"key": {"S": key}} for key in pending]}}
                )
            except (ClientError, BotoCoreError) as failure:  # the client has retried already
                raised.append(str(failure))
                return found, raised[0]
            unread = answer.get("UnprocessedKeys", {}).get(self._table)
            pending = [str(item["key"]["S"]) for item in unread["Keys"]] if unread else []
            found.update(dict.fromkeys(set(keys) - set(pending) - found.keys(), ABSENT))
            for item in answer["Responses"].get(self._table, []):
                key = str(item["key"]["S"])
                try:
                    found[key] = self._profile(item)
                except (KeyError, ValueError) as failure:
                    del found[key]
                    error = (
                        f"a profile with clicks_per_day, first_seen (numbers from 0) is required, however: {failure!r}"
                    )
            if not pending:
                return found, error
        return found, f"{len(pending)} keys stayed unprocessed"

    def _profile(self, item: Mapping[str, Any]) -> Profile:
        def number(name: str) -> float:
            value = float(item[name]["N"])
            if not 0 <= value <= _MOST:  # nor NaN: one absurd value must not make a whole batch's matrix unfit
                raise ValueError(f"{name}={value}")
            return value

        if "expires_at" in item and number("expires_at") <= self._clock():
            return ABSENT  # the service deletes expired items days later
        users = number("users_per_day") if "users_per_day" in item else math.nan
        return number("clicks_per_day"), users, number("first_seen")
