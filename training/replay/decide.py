"""The verdicts in force of an hour decided again with one release: what changes, and the corrections that say so."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from slidr.decision import Evidence, decide
from slidr.features import FEATURE_COUNT, SPEC_HASH
from slidr.release import Release
from slidr.replay import NEVER, Change, Difference, ReplayRefused
from slidr.verdict import Decision, Mode, Reason, Verdict
from training.mlp_weights import Floats
from training.replay.fold import in_force
from training.scoring import Scorer
from training.slice_names import slice_names

Flags = NDArray[np.bool_]

COPIED: Final = ("at", "arrived_at", "late", "givt", "marketplace", "advertiser", "campaign", "cost_micros", "currency")
"""What a correction takes over from the verdict that it corrects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which clicks are decided again: all, or those that stand in one way."""

    undecided: bool = False
    """Only what is UNDECIDED."""
    decided_by: str = ""
    """Only what this release decided; empty for whichever."""

    def of(self, standing: pl.DataFrame) -> pl.DataFrame:
        """The rows that are wanted."""
        if self.undecided:
            standing = standing.filter(pl.col("decision").is_in([Decision.UNDECIDED.value, NEVER]))
        if self.decided_by:
            standing = standing.filter(pl.col("release_id") == self.decided_by)
        return standing


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judge:
    """The release that decides again, and what scores with it."""

    release_id: str
    release: Release
    scorer: Scorer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Replayed:
    """What came of an hour."""

    difference: Difference
    corrected: pl.DataFrame
    """A row a correction: what it takes over, and what was decided."""
    features: Floats | None
    """Of the corrections, where they were recomputed: nobody logged those. Shape (corrections, FEATURE_COUNT)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HourRecords:
    """The ledger's records of the clicks of one hour, and the features that they logged."""

    records: pl.DataFrame
    """Every field of a verdict but its features and shadow scores; `row`, from 0; `has_features`."""
    features: Floats
    """Shape (records, FEATURE_COUNT); meaningless where a record has none."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Features:
    """Features of clicks by id."""

    click_id: pl.Series
    matrix: Floats
    """float32, shape (clicks, FEATURE_COUNT)."""


def logged_features(hour: HourRecords, standing: pl.DataFrame) -> Features:
    """The features that the clicks were decided by: those of the record in force, else of the first original.

    Args:
        hour: all records of the clicks.
        standing: `in_force` of them.
    """
    usable = hour.records.filter(pl.col("has_features"), pl.col("feature_spec") == SPEC_HASH)
    own = standing.select("click_id", "row").join(usable.select("row"), on="row", how="semi")
    others = usable.join(standing.select("click_id"), on="click_id", how="semi").join(own, on="click_id", how="anti")
    firsts = in_force(others.filter(pl.col("kind") == "original")).select("click_id", "row")
    found = pl.concat([own, firsts])
    return Features(click_id=found["click_id"], matrix=hour.features[found["row"].to_numpy()])


def replay_hour(
    hour: HourRecords,
    judge: Judge,
    *,
    wanted: Wanted,
    clicks: pl.DataFrame | None = None,
    recomputed: Features | None = None,
) -> Replayed:
    """Decide the clicks of an hour again.

    Args:
        hour: what the ledger has of them.
        judge: see there.
        wanted: see there.
        clicks: the archive of the hour, each click once; needed where the judge names slices by other columns than the
            verdicts do. Where features are recomputed, a click that the ledger has never seen is decided too.
        recomputed: features to decide by instead of the logged ones; for UNDECIDED clicks alone, beside them.

    Raises:
        ReplayRefused: slices cannot be named without the archive.
    """
    standing = in_force(hour.records)
    if recomputed is not None and clicks is not None:
        standing = pl.concat([standing, _never_decided(clicks, standing)], how="diagonal_relaxed")
    standing = _with_slices(wanted.of(standing), judge.release.slices.columns, clicks)
    if recomputed is None:
        return replayed(standing, logged_features(hour, standing), judge, recomputed=False)
    if wanted.undecided:
        recomputed = _beside(logged_features(hour, standing), recomputed)
    return replayed(standing, recomputed, judge, recomputed=True)


def _beside(logged: Features, recomputed: Features) -> Features:
    """What serving saw, and of the other clicks what was counted anew."""
    missing = ~recomputed.click_id.is_in(logged.click_id.implode())
    return Features(
        click_id=pl.concat([logged.click_id, recomputed.click_id.filter(missing)]),
        matrix=np.concatenate([logged.matrix, recomputed.matrix[missing.to_numpy()]]),
    )


def _never_decided(clicks: pl.DataFrame, standing: pl.DataFrame) -> pl.DataFrame:
    """Archived clicks without any verdict, as rows that stand for none. Nobody said a mode: they are observed."""
    return clicks.join(standing.select("click_id"), on="click_id", how="anti").select(
        "click_id", "at", "arrived_at", "givt", "marketplace", "advertiser", "campaign", "cost_micros", "currency",
        pl.lit(NEVER).alias("decision"),
        pl.lit(Mode.OBSERVE.value).alias("mode"),
        pl.lit(value=True).alias("billable"),
        pl.lit(value=False).alias("late"),
        pl.lit([], dtype=pl.List(pl.String)).alias("reasons"),
        pl.lit("").alias("slice"),
    )  # fmt: skip


def _with_slices(standing: pl.DataFrame, columns: Sequence[str], clicks: pl.DataFrame | None) -> pl.DataFrame:
    """The rows with the slices that these columns name; from the archive where the verdicts name others."""
    named = {tuple(part.partition("=")[0] for part in name.split("|")) for name in standing["slice"].unique()}
    if named <= {tuple(columns)}:
        return standing
    if clicks is None:
        raise ReplayRefused(
            f"the release names slices by {', '.join(columns)}, the verdicts by {sorted(named)}: the archive of the "
            "clicks is required. Replay with --recompute-features, or with a release of the same slices."
        )
    slices = clicks.select("click_id", slice_names(clicks, columns).alias("named"))
    joined = standing.join(slices, on="click_id", how="left", maintain_order="left")
    return joined.with_columns(pl.coalesce("named", "slice").alias("slice")).drop("named")


def replayed(standing: pl.DataFrame, features: Features, judge: Judge, *, recomputed: bool) -> Replayed:
    """Decide the clicks again.

    Args:
        standing: the verdicts in force, one a click, with `slice` named by the columns of the judge's slice map and
            `mode`; a click that was never decided has the decision NEVER.
        features: of all or some of these clicks.
        judge: see there.
        recomputed: whether the features are not those that were logged; then corrections carry them.
    """
    placed = (
        standing.with_row_index("place")
        .join(pl.DataFrame({"click_id": features.click_id}).with_row_index("feature"), on="click_id", how="left")
        .sort("place")
    )
    known = placed.filter(pl.col("feature").is_not_null())
    matrix = features.matrix[known["feature"].to_numpy()] if len(known) else np.empty((0, FEATURE_COUNT), np.float32)
    scores = judge.scorer.score(np.ascontiguousarray(matrix)) if len(known) else np.empty(0, np.float32)
    thresholds = _thresholds(judge.release, known["slice"])
    allowed = known["reasons"].list.contains(Reason.ALLOW_LISTED.value).to_numpy()
    decided = decide(
        Evidence(
            scores=scores,
            thresholds=thresholds,
            doubts=np.zeros(len(known), dtype=np.uint8),
            crawlers=known["givt"].to_numpy(),
            allowed=allowed,
        )
    )
    after = known.with_columns(
        pl.Series("after", [decision.value for decision in decided.decisions], dtype=pl.String),
        pl.Series(
            "reasons_after",
            [[reason.value for reason in reasons] for reasons in decided.reasons],
            dtype=pl.List(pl.String),
        ),
        pl.Series("score_after", scores),
        pl.Series("threshold_after", thresholds),
    ).with_columns(
        ((pl.col("after") != Decision.INVALID.value) | (pl.col("mode") != Mode.ENFORCE.value)).alias("billable_after")
    )
    differs = (after["decision"] != after["after"]) | (after["reasons"] != after["reasons_after"])
    corrected = after.filter(differs)
    kept = matrix[differs.to_numpy()] if recomputed else None
    return Replayed(
        difference=Difference(
            clicks=len(standing),
            same=len(known) - len(corrected),
            without_features=len(standing) - len(known),
            changes=tuple(_changes(corrected)),
        ),
        corrected=corrected,
        features=kept,
    )


def corrections(of: Replayed, judge: Judge, *, decided_at: dt.datetime) -> Iterator[Verdict]:
    """The corrections, as the verdict stream carries them. Their features are null where they are those logged."""
    columns = ("click_id", *COPIED, "mode", "slice", "after", "reasons_after", "score_after", "threshold_after",
               "billable_after")  # fmt: skip
    for place, row in enumerate(of.corrected.select(columns).iter_rows(named=True)):
        yield Verdict(
            click_id=row["click_id"],
            kind="correction",
            at=_aware(row["at"]),
            arrived_at=_aware(row["arrived_at"]),
            decided_at=decided_at,
            decision=Decision(row["after"]),
            mode=Mode(row["mode"]),
            billable=row["billable_after"],
            reasons=tuple(Reason(reason) for reason in row["reasons_after"]),
            score=row["score_after"],
            threshold=row["threshold_after"],
            slice=row["slice"],
            release_id=judge.release_id,
            givt=row["givt"],
            late=row["late"],
            marketplace=row["marketplace"],
            advertiser=row["advertiser"],
            campaign=row["campaign"],
            cost_micros=row["cost_micros"],
            currency=row["currency"],
            feature_spec=SPEC_HASH,
            features=None if of.features is None else tuple(of.features[place].tolist()),
        )


def encoded(verdicts: Iterator[Verdict]) -> bytes:
    """Verdicts as JSON lines."""
    return msgspec.json.Encoder().encode_lines(verdicts)


def _thresholds(release: Release, slices: pl.Series) -> Floats:
    names = slices.unique().to_list()
    of = dict(zip(names, release.thresholds.of(names).tolist(), strict=True))
    return slices.replace_strict(of, return_dtype=pl.Float32).to_numpy() if names else np.empty(0, np.float32)


def _changes(corrected: pl.DataFrame) -> Iterator[Change]:
    unbilled = (Decision.VALID.value, Decision.UNDECIDED.value)
    cost = pl.col("cost_micros")
    cells = (
        corrected.with_columns(
            pl.when(pl.col("after").is_in(unbilled) & (pl.col("decision") == Decision.INVALID.value))
            .then(pl.col("reasons"))
            .otherwise(pl.col("reasons_after"))
            .alias("why")
        )
        .group_by("advertiser", "currency", "slice", "decision", "after", "why")
        .agg(
            pl.len().alias("clicks"),
            cost.filter(pl.col("billable") & ~pl.col("billable_after")).sum().alias("refunded"),
            cost.filter(~pl.col("billable") & pl.col("billable_after")).sum().alias("charged"),
        )
    )
    for advertiser, currency, name, before, after, why, clicks, refunded, charged in cells.iter_rows():
        yield Change(
            advertiser=advertiser, currency=currency, slice=name, before=before, after=Decision(after),
            reasons=tuple(why), clicks=clicks, refunded_micros=refunded, charged_micros=charged,
        )  # fmt: skip


def _aware(at: dt.datetime) -> dt.datetime:
    return at.replace(tzinfo=dt.UTC) if at.tzinfo is None else at.astimezone(dt.UTC)
