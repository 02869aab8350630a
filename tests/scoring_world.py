"""A world of fakes around score_clicks: each keeps what it was given and fails on demand."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from functions.adapters.endpoint import Scores
from functions.adapters.profiles import ProfileKeys, ProfileRows
from functions.adapters.reject_store import Reject
from functions.adapters.release_store import ReleaseUnavailable
from functions.adapters.serving_state import ServingState
from functions.adapters.undecided_queue import UndecidedClick
from functions.score_clicks.outcome import Outcome
from functions.score_clicks.records import read_records
from functions.score_clicks.scoring import score_clicks
from functions.score_clicks.services import Services
from slidr.counter_batch import CounterBatch
from slidr.counters import ENTITIES, RAW_COLUMNS, entity_slice
from slidr.errors import CountersUnavailable, PublishFailed, ServingStateUnavailable, SlidrError
from slidr.features import FEATURE_NAMES, SPEC_HASH, Floats, no_profiles
from slidr.givt import CrawlerList
from slidr.pointer import Pointer
from slidr.policy import Policy
from slidr.pseudonym import Pseudonymiser
from slidr.release import Release, release_id
from slidr.slices import SliceMap, Thresholds
from slidr.verdict import Verdict

NOW = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)
ARRIVED_S = NOW.timestamp() - 1


def any_click(click_id: str = "click-1", **changes: Any) -> dict[str, Any]:
    """A click of a visitor who is not logged in: FakeEndpoint scores it 0.1."""
    return {
        "click_id": click_id,
        "at": "2026-11-23T11:59:58Z",
        "user": "ada",
        "session": "s-1",
        "ip": "192.0.2.77",
        "user_agent": "Mozilla/5.0",
        "device": "desktop",
        "advertiser": "acme",
        "marketplace": "de",
        "cost_micros": 250_000,
        "currency": "EUR",
        **changes,
    }


def any_robot(click_id: str = "robot-1", **changes: Any) -> dict[str, Any]:
    """A click of a visitor who is logged in: FakeEndpoint scores it 0.9."""
    return any_click(click_id, logged_in=True, **changes)


def any_release(**changes: Any) -> Release:
    values: dict[str, Any] = {
        "weights_sha256": "00",
        "feature_spec": SPEC_HASH,
        "slices": SliceMap(),
        "thresholds": Thresholds(default=0.5),
        "lists": {},
        "expected_ivr": (0.25,) * 168,
    }
    return Release(**{**values, **changes})


def any_event(payloads: Sequence[Any], *, arrived_s: float = ARRIVED_S) -> dict[str, Any]:
    """A Kinesis event; a payload is bytes, or what JSON can hold."""
    return {
        "Records": [
            {
                "eventID": f"shardId-000000000000:{100 + i}",
                "eventSourceARN": "arn:aws:kinesis:us-east-1:000000000000:stream/clicks",
                "kinesis": {
                    "data": base64.b64encode(p if isinstance(p, bytes) else json.dumps(p).encode()).decode(),
                    "sequenceNumber": str(100 + i),
                    "partitionKey": "k",
                    "approximateArrivalTimestamp": arrived_s,
                },
            }
            for i, p in enumerate(payloads)
        ]
    }


@dataclass
class FakeCounters:
    failure: SlidrError | None = None
    late: bool = False
    seen: list[CounterBatch] = field(default_factory=list)

    def apply(self, batch: CounterBatch, *, meanwhile: Callable[[], object]) -> np.ndarray[Any, np.dtype[np.int32]]:
        if self.failure:
            raise self.failure
        self.seen.append(batch)
        meanwhile()
        counts = np.zeros((batch.clicks, len(RAW_COLUMNS)), dtype=np.int32)
        for entity in ENTITIES:
            block = counts[:, entity_slice(entity)]
            block[:, entity.columns.index("gap_1_ms") : entity.columns.index("gap_8_ms") + 1] = -1
            block[:, entity.columns.index("late")] = self.late
        return counts


@dataclass
class FakeProfiles:
    failed_users: frozenset[str] = frozenset()
    pseudonymiser: Pseudonymiser | None = None
    asked: list[tuple[ProfileKeys, list[int]]] = field(default_factory=list)

    def read(self, keys: ProfileKeys, *, at_ms: Any) -> ProfileRows:
        assert self.pseudonymiser is not None
        self.asked.append((keys, at_ms.tolist()))
        tokens = {self.pseudonymiser.token("user", user) for user in self.failed_users}
        failed = np.array([user in tokens for user in keys.user], dtype=np.bool_)
        return ProfileRows(
            matrix=no_profiles(len(at_ms)), failed=failed, error="table throttled" if failed.any() else ""
        )


@dataclass
class FakeServingState:
    state: ServingState
    failure: SlidrError | None = None
    error: str = ""

    def current(self) -> ServingState:
        if self.failure:
            raise self.failure
        return self.state


@dataclass
class FakeEndpoint:
    """Scores 0.9 where the click is logged in, else 0.1; shadows score the opposite."""

    failure: SlidrError | None = None
    loaded: str | None = None
    """Id of the release that answers, where it is not the one asked for."""
    scores: list[float] | None = None
    asked: list[tuple[str, tuple[str, ...], Floats]] = field(default_factory=list)

    def score(self, features: Floats, *, release_id: str, shadows: Sequence[str] = ()) -> Scores:
        if self.failure:
            raise self.failure
        self.asked.append((release_id, tuple(shadows), features))
        robotic = features[:, FEATURE_NAMES.index("click.logged_in")] == 1
        scores = np.where(robotic, 0.9, 0.1) if self.scores is None else np.array(self.scores)
        return Scores(
            release_id=self.loaded or release_id,
            scores=scores.astype(np.float32),
            shadows={name: np.where(robotic, 0.1, 0.9).astype(np.float32) for name in shadows},
        )


@dataclass
class FakeReleases:
    by_id: dict[str, Release] = field(default_factory=dict)
    failure: SlidrError | None = None

    def release(self, wanted: str) -> Release:
        if self.failure:
            raise self.failure
        if wanted not in self.by_id:
            raise ReleaseUnavailable(f"release {wanted} must be readable")
        return self.by_id[wanted]

    def add(self, release: Release) -> str:
        self.by_id[release_id(release)] = release
        return release_id(release)


@dataclass
class FakeStore:
    """Verdict stream, undecided queue or reject store: keeps items, or fails from one of them on."""

    kept: list[Any] = field(default_factory=list)
    fails_from: int | None = None

    def _take(self, items: Sequence[Any]) -> None:
        end = len(items) if self.fails_from is None else min(self.fails_from, len(items))
        self.kept += items[:end]
        if end < len(items):
            raise PublishFailed("the service is down", first_failed=end)

    def publish(self, verdicts: Sequence[Verdict]) -> None:
        self._take(verdicts)

    def send(self, clicks: Sequence[UndecidedClick]) -> None:
        self._take(clicks)

    def store(self, rejects: Sequence[Reject]) -> None:
        self._take(rejects)


class World:
    """Everything around the function, healthy, with one release in force that invalidates from a score of 0.5."""

    def __init__(self) -> None:
        self.pseudonymiser = Pseudonymiser(bytes(range(32)), version=1)
        self.counters = FakeCounters()
        self.profiles = FakeProfiles(pseudonymiser=self.pseudonymiser)
        self.releases = FakeReleases()
        self.champion = self.releases.add(any_release())
        self.serving_state = FakeServingState(
            ServingState(pointer=Pointer(champion=self.champion, generation=1), policy=Policy())
        )
        self.endpoint = FakeEndpoint()
        self.verdicts, self.undecided, self.rejects = FakeStore(), FakeStore(), FakeStore()

    def services(self) -> Services:
        fakes = {
            name: cast("Any", getattr(self, name))
            for name in (
                *("counters", "profiles", "serving_state", "endpoint"),
                *("releases", "verdicts", "undecided", "rejects"),
            )
        }
        crawlers = CrawlerList(["Googlebot"], version="test")
        return Services(pseudonymiser=self.pseudonymiser, crawlers=crawlers, now=lambda: NOW, **fakes)

    def score(self, *payloads: Any, arrived_s: float = ARRIVED_S) -> Outcome:
        return score_clicks(read_records(any_event(payloads, arrived_s=arrived_s)), self.services())

    def decide(self, payload: Any) -> Verdict:
        """The verdict of one click."""
        outcome = self.score(payload)
        assert outcome.retry_from is None
        verdict: Verdict = self.verdicts.kept[-1]
        return verdict

    def set_pointer(self, **values: Any) -> None:
        self.serving_state.state = ServingState(pointer=Pointer(**values), policy=self.serving_state.state.policy)

    def set_policy(self, **values: Any) -> None:
        self.serving_state.state = ServingState(pointer=self.serving_state.state.pointer, policy=Policy(**values))

    def break_counters(self) -> None:
        self.counters.failure = CountersUnavailable("no node answers")

    def break_serving_state(self) -> None:
        self.serving_state.failure = ServingStateUnavailable("the last known pointer is too old")
