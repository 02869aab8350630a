"""Scoring logged features again: the ledger must be reproducible (rule 7)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from pybreaker import CircuitBreaker

from functions.adapters.endpoint import Endpoint
from functions.adapters.release_store import ReleaseStore
from local.lake_partitions import is_backfilled
from local.session import Session
from slidr.decision import Evidence, decide
from slidr.errors import FeatureMismatch
from slidr.features import SPEC_HASH
from slidr.ledger import Ledger
from slidr.release import Release
from slidr.verdict import Decision, Reason

_BATCH: Final = 500
_COLUMNS: Final = (
    "click_id", "kind", "decided_at", "decision", "reasons", "score", "threshold", "slice", "release_id", "givt",
    "feature_spec", "features",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedVerdict:
    """What of a logged verdict its reproduction needs."""

    click_id: str
    kind: Any
    decided_at: Any
    decision: Decision
    reasons: tuple[Reason, ...]
    score: float | None
    threshold: float | None
    slice: str
    release_id: str | None
    givt: bool
    feature_spec: str
    features: Sequence[float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """What came of scoring again."""

    scored: int
    same_score: int
    largest_difference: float
    same_verdict: int
    other_verdict: tuple[str, ...]
    """Click ids whose verdict came out otherwise."""
    without_features: int
    not_loaded: int
    """Verdicts of releases that the endpoint does not have."""

    @property
    def holds(self) -> bool:
        """Whether everything that could be scored again gave the same."""
        return self.scored == self.same_score == self.same_verdict


def logged_verdicts(session: Session, *, last: int | None = None) -> list[LoggedVerdict]:
    """The verdicts in force in the lake, the newest `last` of them by decision time (all by default).

    Rows that a backfill wrote are passed over: nobody decided them, so there is nothing to give again.
    """
    from pyarrow.parquet import read_table  # noqa: PLC0415 - 0.2 s that other commands should not pay

    s3, bucket = session.client("s3"), session.outputs.lake_bucket
    objects = [
        item
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="verdicts/")
        for item in page.get("Contents", [])
        if not is_backfilled(item["Key"])
    ]
    ledger: Ledger[LoggedVerdict] = Ledger()
    for item in sorted(objects, key=lambda item: item["LastModified"], reverse=True):
        body = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
        # Not `columns=` alone: the object's path must not be read as partitions.
        rows = read_table(io.BytesIO(body), columns=list(_COLUMNS)).to_pylist()
        ledger.add(_logged(row) for row in rows)
        if last is not None and len(ledger) >= last:
            break
    newest = sorted(ledger, key=lambda verdict: (verdict.decided_at, verdict.click_id))
    return newest if last is None else newest[-last:]


def _logged(row: dict[str, Any]) -> LoggedVerdict:
    return LoggedVerdict(
        **{
            **row,
            "decision": Decision(row["decision"]),
            "reasons": tuple(Reason(reason) for reason in row["reasons"] or ()),
        }
    )


def reproduced(session: Session, logged: Sequence[LoggedVerdict]) -> Reproduction:
    """Score the logged features through the endpoint with the release of each verdict, and decide again.

    Raises:
        FeatureMismatch: a verdict was logged under another feature spec.
        ScoringUnavailable: the endpoint does not answer.
    """
    endpoint = Endpoint(
        session.client("sagemaker-runtime"), session.outputs.endpoint_name, breaker=CircuitBreaker(fail_max=1)
    )
    releases = ReleaseStore(session.client("s3"), session.outputs.release_bucket)
    by_release: dict[str, list[LoggedVerdict]] = {}
    for verdict in logged:
        if verdict.release_id is not None and verdict.features is not None and verdict.score is not None:
            by_release.setdefault(verdict.release_id, []).append(verdict)
    scored = same = not_loaded = 0
    largest, other = 0.0, []
    for release_id, verdicts in by_release.items():
        release = releases.release(release_id)
        for start in range(0, len(verdicts), _BATCH):
            batch = verdicts[start : start + _BATCH]
            answer = endpoint.score(_features(batch), release_id=release_id)
            if answer.release_id != release_id:
                not_loaded += len(batch)
                continue
            before = np.array([verdict.score for verdict in batch], dtype=np.float32)
            scored += len(batch)
            same += int((before.view(np.uint32) == answer.scores.view(np.uint32)).sum())
            largest = max(largest, float(np.abs(before - answer.scores).max()))
            other += _other_decisions(batch, answer.scores, release)
    known = scored + not_loaded
    return Reproduction(
        scored=scored,
        same_score=same,
        largest_difference=largest,
        same_verdict=scored - len(other),
        other_verdict=tuple(other),
        without_features=len(logged) - known,
        not_loaded=not_loaded,
    )


def _features(batch: Sequence[LoggedVerdict]) -> np.ndarray[Any, np.dtype[np.float32]]:
    for verdict in batch:
        if verdict.feature_spec != SPEC_HASH:
            raise FeatureMismatch(
                f"verdicts of feature spec {SPEC_HASH} are required, {verdict.click_id} was logged under "
                f"{verdict.feature_spec}. Reproduce it with the slidr of that commit."
            )
    return np.array([verdict.features for verdict in batch], dtype=np.float32)


def _other_decisions(
    batch: Sequence[LoggedVerdict], scores: np.ndarray[Any, np.dtype[np.float32]], release: Release
) -> list[str]:
    decided = decide(
        Evidence(
            scores=scores,
            thresholds=release.thresholds.of([verdict.slice for verdict in batch]),
            doubts=np.zeros(len(batch), dtype=np.uint8),
            crawlers=np.array([verdict.givt for verdict in batch], dtype=np.bool_),
            allowed=np.array([Reason.ALLOW_LISTED in verdict.reasons for verdict in batch], dtype=np.bool_),
        )
    )
    return [
        verdict.click_id
        for verdict, decision, reasons in zip(batch, decided.decisions, decided.reasons, strict=True)
        if (verdict.decision, verdict.reasons) != (decision, reasons)
    ]
