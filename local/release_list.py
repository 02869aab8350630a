"""The published releases of a stage, each with what its training measured and when it was in force."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from local.release_bucket import publications, release_evidence
from local.session import Session
from slidr.audit import AuditEntry, times_in_force
from slidr.metrics import Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRelease:
    """One published release."""

    id: str
    published_at: dt.datetime
    budget: float | None
    """FPR budget that its thresholds were chosen for; None, as the next three, where its evidence does not say."""
    fpr: Rate | None
    """On purchasing clicks of people who chose no threshold."""
    ivr: Rate | None
    """Of the rows later than all training rows."""
    certificate: str
    """What its certificate says; empty where there is none."""
    in_force: tuple[tuple[dt.datetime, dt.datetime | None], ...]
    """From when to when it was champion, oldest first; None where it still is."""


def listed_releases(session: Session, audit: Sequence[AuditEntry], *, last: int) -> list[ListedRelease]:
    """The newest `last` published releases, newest first."""
    s3, bucket = session.client("s3"), session.outputs.release_bucket
    in_force = times_in_force(audit)
    listed = []
    for publication in publications(s3, bucket)[:last]:
        evidence = release_evidence(s3, bucket, publication.id)
        certificate = _at(evidence, "calibration", "certificate", "says")
        budget = _at(evidence, "hyperparameters", "fpr_budget")
        listed.append(
            ListedRelease(
                id=publication.id,
                published_at=publication.at,
                budget=None if budget is None else float(budget),
                fpr=_rate(_at(evidence, "calibration_fpr")),
                ivr=_rate(_at(evidence, "later_ivr")),
                certificate=certificate or "",
                in_force=tuple(in_force.get(publication.id, ())),
            )
        )
    return listed


def _at(evidence: Mapping[str, Any], *path: str) -> Any:
    """What stands at a path of nested mappings; None where there is nothing.

    >>> _at({"a": {"b": 1}}, "a", "b"), _at({"a": None}, "a", "b")
    (1, None)
    """
    found: Any = evidence
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _rate(told: Mapping[str, Any] | None) -> Rate | None:
    return None if told is None else Rate(count=told["count"], total=told["total"])
