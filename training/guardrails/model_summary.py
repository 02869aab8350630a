"""A candidate and the champion on one later day, in counts: what model guardrails look at."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from slidr.errors import SlidrError
from slidr.metrics import ROBOTIC_SESSION_CLICKS
from slidr.release import EVIDENCE_FILE
from training.artifact import LoadedRelease, read_release
from training.calibration.curve import Flags, Scores
from training.dataset import feature_matrix
from training.judgement import area_under_roc
from training.labels import LabelRule
from training.scoring import open_scorer
from training.slice_names import slice_names


class EvidenceInvalid(SlidrError):
    """A release's evidence is missing, or lacks what guardrails must see: the release cannot be judged."""


class ToldThreshold(msgspec.Struct, frozen=True):
    """Of a slice, in the evidence."""

    threshold: float


class ToldCertificate(msgspec.Struct, frozen=True):
    """The certificate, in the evidence."""

    certified: bool
    budget: float


class ToldCalibration(msgspec.Struct, frozen=True):
    """The calibration, in the evidence (training/release_thresholds.py)."""

    slices: Mapping[str, ToldThreshold]
    enough_purchases: bool
    certificate: ToldCertificate


class Counted(msgspec.Struct, frozen=True):
    """A rate, in the evidence."""

    count: int
    total: int


class Evidence(msgspec.Struct, frozen=True):
    """What guardrails read of `evidence.json`; all else in it they leave alone."""

    rows: Mapping[str, int]
    windows: Mapping[str, tuple[dt.datetime, dt.datetime]]
    """First and last row of each part."""
    calibration: ToldCalibration
    calibration_fpr: Counted

    @property
    def ends(self) -> dt.datetime:
        """When the newest row happened that the release was made from."""
        return max(last for _, last in self.windows.values())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entrant:
    """A release with its evidence."""

    loaded: LoadedRelease
    evidence: Evidence


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Verdicts of a release on clicks that no list names."""

    clicks: int
    invalid: int
    purchasing: int
    wrong: int
    """Purchasing clicks that are invalid."""
    robotic: int
    """In sessions with more than k clicks in an hour."""
    covered: int
    """Robotic ones that are invalid."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One release on the later day."""

    release_id: str
    evidence: Evidence
    thresholds: Mapping[str, float]
    """By slice of the later day, at most 1: above, nothing is invalid."""
    thresholds_untold: int
    """Slices of the evidence whose threshold is not the release's."""
    expected_ivr: float
    """Mean over the later clicks of what the release expects in their hour."""
    came_ivr: float
    """Crawlers included, as what is expected."""
    auc: float | None
    """Against the weak labels; None with one label only."""
    scores_not_finite: int
    overall: Tally
    by_slice: Mapping[str, Tally]


class ModelSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What model guardrails look at."""

    first_at: dt.datetime
    """The oldest later click."""
    candidate: Standing
    champion: Standing | None
    """None before the first deployment."""
    flipped: Mapping[str, int]
    """By slice: clicks that no list names and on which the two differ."""


def read_entrant(folder: Path) -> Entrant:
    """The release in `releases/<id>/` with its evidence.

    Raises:
        ReleaseInvalid: a file of the bundle is missing or changed.
        EvidenceInvalid: the evidence is missing or lacks something.
    """
    loaded = read_release(folder)
    try:
        evidence = msgspec.json.decode((folder / EVIDENCE_FILE).read_bytes(), type=Evidence)
    except (OSError, msgspec.DecodeError) as failure:
        raise EvidenceInvalid(
            f"{folder.name}/{EVIDENCE_FILE} must tell rows, windows and calibration, came: {failure}. Train it again."
        ) from failure
    if not evidence.windows:
        raise EvidenceInvalid(f"{folder.name}/{EVIDENCE_FILE} must name its windows, came none. Train it again.")
    return Entrant(loaded=loaded, evidence=evidence)


def summarise_models(candidate: Entrant, champion: Entrant | None, later: pl.DataFrame) -> ModelSummary:
    """Both releases on the same later clicks. Slices are those of the candidate.

    Args:
        candidate: to be judged.
        champion: in force, if any.
        later: mature rows of a training set, younger than all that either was made from.

    Raises:
        EvidenceInvalid: there is no later row.
        FeatureMismatch: the rows were built with another feature spec.
    """
    if not len(later):
        raise EvidenceInvalid("later rows are required to judge a release on, came none. Wait for a mature day.")
    features = feature_matrix(later)
    cells = slice_names(later, candidate.loaded.release.slices.columns)
    new, verdicts = _standing(candidate, later, features, cells)
    if champion is None:
        return ModelSummary(first_at=_first(later), candidate=new, champion=None, flipped={})
    old, old_verdicts = _standing(champion, later, features, cells)
    flips = pl.DataFrame({"cell": cells, "flipped": (verdicts != old_verdicts) & ~_listed(later)})
    flipped = dict(flips.group_by("cell").agg(pl.sum("flipped")).sort("cell").iter_rows())
    return ModelSummary(first_at=_first(later), candidate=new, champion=old, flipped=flipped)


def _listed(later: pl.DataFrame) -> Flags:
    return (later["rule"] == LabelRule.GIVT.value).to_numpy()


def _first(later: pl.DataFrame) -> dt.datetime:
    first = later["at"].min()
    assert isinstance(first, dt.datetime)  # noqa: S101 - the column's type
    return first


def _standing(entrant: Entrant, later: pl.DataFrame, features: Scores, cells: pl.Series) -> tuple[Standing, Flags]:
    release = entrant.loaded.release
    scores = open_scorer(entrant.loaded.weights, "cpu").score(features)
    thresholds = release.thresholds.of(slice_names(later, release.slices.columns).to_list())
    listed = _listed(later)
    over = scores >= thresholds
    auc = area_under_roc(scores[~listed], (later["label"] == 1).to_numpy()[~listed])
    told = entrant.evidence.calibration.slices
    each = pl.DataFrame({
        "cell": cells,
        "threshold": np.minimum(thresholds, 1.0).astype(np.float64),
        "clicks": True,
        "invalid": over,
        "purchasing": later["purchased"],
        "wrong": later["purchased"].to_numpy() & over,
        "robotic": later["session_clicks_1h"] > ROBOTIC_SESSION_CLICKS,
        "covered": (later["session_clicks_1h"] > ROBOTIC_SESSION_CLICKS).to_numpy() & over,
    }).filter(~pl.Series(listed))  # fmt: skip
    counts = pl.sum(*Tally.__struct_fields__)
    by_cell = each.group_by("cell").agg(pl.mean("threshold"), counts).sort("cell")
    return Standing(
        release_id=entrant.loaded.id,
        evidence=entrant.evidence,
        thresholds=dict(by_cell.select("cell", "threshold").iter_rows()),
        thresholds_untold=sum(
            release.thresholds.by_slice.get(name, release.thresholds.default) != one.threshold
            for name, one in told.items()
        ) + len(release.thresholds.by_slice.keys() - told.keys()),
        expected_ivr=float(np.take(release.expected_ivr, later["hour_of_week"].to_numpy()).mean()),
        came_ivr=float((over | listed).mean()),
        auc=None if np.isnan(auc) else auc,
        scores_not_finite=int((~np.isfinite(scores)).sum()),
        overall=Tally(**each.select(counts).row(0, named=True)),
        by_slice={row.pop("cell"): Tally(**row) for row in by_cell.drop("threshold").iter_rows(named=True)},
    ), over  # fmt: skip
