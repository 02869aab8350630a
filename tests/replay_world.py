"""A small lake in memory, its verdicts and clicks as the deliveries write them, and a scorer that reads one feature."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np

from infra.glue_columns import glue_columns
from local.cloud.parquet import Column, schema_of, to_parquet
from slidr.archive import ArchivedClick
from slidr.errors import PublishFailed
from slidr.features import FEATURE_COUNT, FEATURE_INDEX, SPEC_HASH
from slidr.hours import partition
from slidr.pseudonym import Pseudonymiser
from slidr.release import Release, release_id
from slidr.replay import Applied
from slidr.verdict import Decision, Mode, Reason, Verdict, is_billable
from tests.scoring_world import any_release
from training.mlp_weights import Floats
from training.replay.decide import Judge

NOON: Final = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
LATER: Final = NOON + dt.timedelta(days=1)
SCORED: Final = FEATURE_INDEX["user.n_10s"]
"""The feature that FakeScorer takes for the score, in hundredths."""
_KEY: Final = Pseudonymiser(bytes(range(40)), version=3)


class FakeScorer:
    """A score is a hundredth of one feature, so that tests say what comes out."""

    backend = "fake"

    def score(self, features: Floats) -> Floats:
        return np.clip(features[:, SCORED] / np.float32(100), 0, 1).astype(np.float32)


def judge(**changes: Any) -> Judge:
    release: Release = any_release(**changes)
    return Judge(release_id=release_id(release), release=release, scorer=FakeScorer())


def features(score: float) -> tuple[float, ...]:
    row = [0.0] * FEATURE_COUNT
    row[SCORED] = float(np.float32(score * 100))
    return tuple(row)


def verdict(click_id: str, *, at: dt.datetime = NOON, score: float | None = 0.25, **changes: Any) -> Verdict:
    """What an endpoint with threshold 0.5 decided of a click; UNDECIDED without features where the score is None."""
    decision = Decision.UNDECIDED if score is None else Decision.INVALID if score >= 0.5 else Decision.VALID
    reasons: tuple[Reason, ...] = (Reason.COUNTERS_UNAVAILABLE,) if score is None else ()
    mode = changes.pop("mode", Mode.ENFORCE)
    values: dict[str, Any] = {
        "at": at, "arrived_at": at + dt.timedelta(seconds=1), "decided_at": at + dt.timedelta(seconds=2),
        "decision": decision, "mode": mode, "billable": is_billable(decision, mode),
        "reasons": (Reason.ROBOTIC_BEHAVIOUR,) if decision is Decision.INVALID else reasons,
        "score": score, "threshold": 0.5, "slice": "device=mobile|logged_in=false", "release_id": "r-old",
        "givt": False, "late": False, "marketplace": "de", "advertiser": "acme", "campaign": None,
        "cost_micros": 250_000, "currency": "EUR", "feature_spec": SPEC_HASH,
        "features": None if score is None else features(score),
    }  # fmt: skip
    return Verdict(click_id=click_id, **(values | changes))


def archived(click_id: str, *, at: dt.datetime = NOON, user: str = "ada", **changes: Any) -> ArchivedClick:
    values: dict[str, Any] = {
        "at": at, "arrived_at": at + dt.timedelta(seconds=1), "user_token": _KEY.token("user", user),
        "session_token": None, "ip_token": None, "ua_token": None, "ip_prefix": None, "givt": False,
        "device": "mobile", "logged_in": False, "advertiser": "acme", "campaign": None, "ad": None, "placement": None,
        "marketplace": "de", "time_zone": "UTC", "cost_micros": 250_000, "currency": "EUR",
    }  # fmt: skip
    return ArchivedClick(click_id=click_id, **(values | changes))


@dataclass
class FakeLake:
    """A bucket; `failing_writes` writes that fail, from the next one on."""

    objects: dict[str, bytes] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    read_keys: list[str] = field(default_factory=list)

    def keys(self, prefix: str) -> list[str]:
        return sorted(key for key in self.objects if key.startswith(prefix))

    def find(self, key: str) -> bytes | None:
        return self.objects.get(key)

    def read(self, key: str) -> bytes:
        self.read_keys.append(key)
        return self.objects[key]

    def write(self, key: str, content: bytes, *, content_type: str = "application/json") -> None:
        assert content_type
        self.written.append(key)
        self.objects[key] = content

    def deliver(self, records: Iterable[Verdict | ArchivedClick], *, name: str = "delivery") -> None:
        """Write records as Firehose does: an object an hour."""
        by_hour: dict[str, list[Verdict | ArchivedClick]] = {}
        for record in records:
            table = "verdicts" if isinstance(record, Verdict) else "clicks"
            by_hour.setdefault(f"{table}/{partition(record.at)}", []).append(record)
        for prefix, those in by_hour.items():
            schema = schema_of(Column(*column) for column in glue_columns(type(those[0])))
            rows = [_row(record) for record in those]
            self.objects[f"{prefix}{name}.parquet"] = to_parquet(rows, schema)

    def verdicts_published(self) -> int:
        """By the markers."""
        markers = [body for key, body in self.objects.items() if key.startswith("replays/applied/")]
        return sum(msgspec.json.decode(body, type=Applied).published for body in markers)


def _row(record: Verdict | ArchivedClick) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(record)
    times = {name: row[name] for name in ("at", "arrived_at", "decided_at") if name in row}
    return row | {name: _lake_time(text) for name, text in times.items()}


def _lake_time(text: str) -> str:
    at = dt.datetime.fromisoformat(text)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


@dataclass
class FakeStream:
    """Takes verdicts; refuses everything after `room`."""

    room: int = 1_000_000
    taken: list[Verdict] = field(default_factory=list)

    def publish(self, verdicts: Sequence[Verdict]) -> None:
        if len(self.taken) + len(verdicts) > self.room:
            raise PublishFailed("the stream is full")
        self.taken.extend(verdicts)
