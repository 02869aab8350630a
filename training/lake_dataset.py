"""The processing step `dataset`: archived clicks, purchases and verdicts of the lake in, a training set out.

Layout, below SageMaker's /opt/ml/processing: input/clicks, input/purchases and input/verdicts hold the lake's Parquet
files in any folders (verdicts may be missing); output/dataset takes the training set, output/report dataset.json.

Features are `logged` (those that serving saw, from the verdicts; training/dataset_sql) or `recomputed` (by the offline
kernel, from the click archive). By default they are the logged ones where at least 90% of the archived clicks have
them under this feature spec: else the lake has no feature log yet, or one of another spec, and they are recomputed.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, get_args

import polars as pl

from slidr.features import SPEC_HASH
from training.dataset import build_dataset, write_dataset
from training.dataset_sql.duckdb_run import connection, open_lake, write_dataset_files
from training.dataset_sql.tables import Span
from training.feature_skew import WARM_UP, Skew, feature_skew
from training.labels import UnusableTrainingData

log = logging.getLogger("slidr.dataset")

Features = Literal["auto", "logged", "recomputed"]
FEATURES: Final[tuple[Features, ...]] = get_args(Features)
LOGGED_SHARE: Final = 0.9
"""Least share of the archived clicks with logged features for `auto` to take those."""
SKEW_SAMPLE: Final = dt.timedelta(hours=6)
"""Skew is measured on the newest rows, so that a day and a bit of clicks is counted again, however long the log."""
TABLES: Final = ("clicks", "purchases", "verdicts")
INSTANT: Final = pl.Datetime("ms", "UTC")
CLICK_COLUMNS: Final = (
    "click_id", "at", "user_token", "session_token", "ip_token", "ua_token", "givt", "device", "logged_in",
    "advertiser", "ad", "placement", "marketplace", "time_zone",
)  # fmt: skip
PURCHASE_COLUMNS: Final = {
    "order_id": pl.String(),
    "at": INSTANT,
    "user_token": pl.String(),
    "session_token": pl.String(),
    "advertiser": pl.String(),
    "item": pl.String(),
    "amount_micros": pl.Int64(),
    "currency": pl.String(),
    "click_id": pl.String(),
}


def process_dataset(processing: Path, *, features: Features = "auto") -> None:
    """Build the training set of everything under `processing`/input.

    Every click and purchase counts once however often it was delivered. Labels are those known when the newest record
    happened.

    Args:
        processing: the directory with input/ and output/.
        features: where they come from, see this module.

    Raises:
        UnusableTrainingData: there are no clicks, or `logged` was asked for and there are no logged features.
    """
    files = {name: sorted((processing / "input" / name).rglob("*.parquet")) for name in TABLES}
    if not files["clicks"]:
        raise UnusableTrainingData(
            f"archived clicks are required in {processing / 'input' / 'clicks'}, there are none. "
            "Give the lake's clicks/ prefix as the input named clicks."
        )
    share = logged_share(files) if features == "auto" else None
    logged = features == "logged" or (share is not None and share >= LOGGED_SHARE)
    out = processing / "output" / "dataset"
    told = _logged(files, out) if logged else _recomputed(files, out)
    told = {"features": "logged" if logged else "recomputed", "logged_share": share, **told}
    log.info("dataset_built", extra={"fields": told})
    report = processing / "output" / "report" / "dataset.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps(told, indent=2) + "\n")


def logged_share(files: dict[str, list[Path]]) -> float:
    """About which share of the archived clicks has features under this spec in the feature log."""
    if not files["verdicts"]:
        return 0.0
    with connection() as con:
        open_lake(con, files)
        told = "kind = 'original' AND features IS NOT NULL AND feature_spec = ?"
        statement = (
            f"SELECT (SELECT approx_count_distinct(click_id) FROM verdicts WHERE {told})"  # noqa: S608 - ours
            " / (SELECT approx_count_distinct(click_id) FROM clicks)"
        )
        ((share,),) = con.execute(statement, [SPEC_HASH]).fetchall()
    return float(share)


def _logged(files: dict[str, list[Path]], out: Path) -> dict[str, Any]:
    """Write the dataset of logged features; what the report says of it."""
    with connection() as con:
        lake = open_lake(con, files)
        edges = 'SELECT min("at"), max("at") FROM'
        ((first, last),) = con.execute(f"{edges} clicks").fetchall()
        ((_, last_order),) = con.execute(f"{edges} purchases").fetchall()
        first, last = first.replace(tzinfo=dt.UTC), last.replace(tzinfo=dt.UTC)
        span = Span(
            start=first.replace(hour=0, minute=0, second=0, microsecond=0),
            end=last + dt.timedelta(milliseconds=1),
            until=max(last, last_order.replace(tzinfo=dt.UTC)) if last_order else last,
        )
        written = write_dataset_files(con, lake, span, out)
    since = last - SKEW_SAMPLE
    newest = pl.concat([pl.read_parquet(path) for path in written.files[-2:]])  # a file a day: they hold the sample
    counted = _read(files["clicks"], CLICK_COLUMNS, key="click_id", since=since - WARM_UP)
    skew = feature_skew(counted, newest.with_columns(pl.col("at").cast(INSTANT)), since=since)
    return {
        "clicks": written.clicks,
        "trainable": written.trainable,
        "purchasing": written.purchasing,
        "effective_sample_size": round(written.effective_sample_size),
        "skew": _told(skew),
    }


def _recomputed(files: dict[str, list[Path]], out: Path) -> dict[str, Any]:
    """Write the dataset of recomputed features; clicks count in the order in which they arrived."""
    clicks = _read(files["clicks"], CLICK_COLUMNS, key="click_id")
    purchases = pl.DataFrame(schema=PURCHASE_COLUMNS)
    if files["purchases"]:
        purchases = _read(files["purchases"], tuple(PURCHASE_COLUMNS), key="order_id")
    times = [frame["at"].max() for frame in (clicks, purchases) if len(frame)]
    until = max(time for time in times if isinstance(time, dt.datetime))
    rows = build_dataset(clicks, purchases, until=until)
    write_dataset(rows, out / "part-0.parquet")
    return {"clicks": len(rows), "purchasing": int(rows["purchased"].sum())}


def _told(skew: Skew) -> dict[str, Any]:
    worst = skew.features.filter(pl.col("share") > 0).head(10)
    return {"rows": skew.rows, "rows_that_differ": skew.rows_that_differ, "features": worst.to_dicts()}


def deliveries(
    files: Sequence[Path], columns: Sequence[str], *, key: str, since: dt.datetime | None = None
) -> pl.DataFrame:
    """The archived records of the files from `since` on, as often as they were delivered, in order of arrival.

    Args:
        files: Parquet of one of the lake's tables.
        columns: which to read, `arrived_at` besides.
        key: of the records' ids: what arrived at one moment is ordered by it.
        since: event time of the first.
    """
    wanted = pl.lit(value=True) if since is None else pl.col("at") >= since
    tables = (
        pl.read_parquet(file, columns=["arrived_at", *columns], hive_partitioning=False)
        .with_columns(pl.col("at", "arrived_at").cast(INSTANT))
        .filter(wanted)
        for file in files
    )
    return pl.concat(tables).sort("arrived_at", "at", key)


def each_once(delivered: pl.DataFrame, *, key: str) -> pl.DataFrame:
    """The first delivery of each record, in their order."""
    return delivered.unique(key, keep="first", maintain_order=True).drop("arrived_at")


def _read(files: Sequence[Path], columns: Sequence[str], *, key: str, since: dt.datetime | None = None) -> pl.DataFrame:
    """The archived records of the files from `since` on, each once, in order of arrival."""
    return each_once(deliveries(files, columns, key=key, since=since), key=key)
