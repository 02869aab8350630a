"""From days of traffic to a published release: dataset, SageMaker training job, write-once publication."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from local.release_bucket import publish_release
from local.sagemaker_sdk import MANIFEST, JobPlan, ProcessingPlan, run_processing, run_training
from local.session import Session
from slidr.errors import SlidrError
from slidr.metrics import Rate
from slidr.release import EVIDENCE_FILE, RELEASE_FILE, decode_release

if TYPE_CHECKING:
    from training.simulator import Traffic

LOCAL_INSTANCE: Final = "ml.c7i.large"
"""Named in the job's record only: on this machine a job is a process."""
Features = Literal["recomputed", "logged", "auto"]
FEATURES: Final = "recomputed"
"""Where `lake_dataset` takes features from by default. Those that serving logged know no restart of the counters, and a
model of them costs more people on the day after one (training/LOG.md)."""


class DatasetUnusable(SlidrError):
    """What was given as a dataset is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFacts:
    """A dataset in the lake."""

    uri: str
    """Prefix of its Parquet files."""
    clicks: int | None
    """None where it was not built here."""
    purchasing: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedRelease:
    """A published release, with what its training says of it."""

    id: str
    published_before: bool
    threshold: float
    by_slice: Mapping[str, float]
    fpr: Rate
    """On calibration rows, later than all training rows, of people who chose no threshold."""
    certificate: str
    """Whether that FPR is certified to be within the budget, or what is missing."""
    fpr_budget: float
    evidence: Mapping[str, Any]


def run_name(now: dt.datetime) -> str:
    """A name for a training run and all that it writes.

    >>> run_name(dt.datetime(2026, 11, 23, 12, 0, 5, tzinfo=dt.UTC))
    'slidr-20261123-120005'
    """
    return f"slidr-{now:%Y%m%d-%H%M%S}"


def simulated_dataset(session: Session, traffic: Traffic, *, days: int, run: str) -> DatasetFacts:
    """Build the dataset of simulated days and upload it."""
    from training.dataset import build_dataset, write_dataset  # noqa: PLC0415 - numba, polars: seconds
    from training.simulator.log import simulated_log  # noqa: PLC0415

    log = simulated_log(traffic, days=days)
    rows = build_dataset(log.clicks, log.purchases, until=log.until)
    with tempfile.TemporaryDirectory(prefix="slidr-dataset-") as folder:
        path = Path(folder) / "part-0.parquet"
        write_dataset(rows, path)
        uri = _uploaded(session, [path], run)
    return DatasetFacts(uri=uri, clicks=len(rows), purchasing=int(rows["purchased"].sum()))


def given_dataset(session: Session, dataset: str, *, run: str) -> DatasetFacts:
    """A dataset of Parquet files: an `s3://` prefix as it is, a file or directory uploaded.

    Raises:
        DatasetUnusable: there are no Parquet files.
    """
    if dataset.startswith("s3://"):
        return DatasetFacts(uri=dataset, clicks=None, purchasing=None)
    path = Path(dataset)
    files = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    if not files:
        raise DatasetUnusable(
            f"a Parquet file, a directory of them or an s3:// prefix is required, came {dataset}. "
            "Build one with python -m training.dataset --out FILE."
        )
    return DatasetFacts(uri=_uploaded(session, files, run), clicks=None, purchasing=None)


def lake_dataset(
    session: Session,
    *,
    run: str,
    first: dt.date | None,
    last: dt.date | None,
    instance_type: str,
    features: Features = FEATURES,
) -> DatasetFacts:
    """The dataset of what the lake holds, built in a SageMaker processing job.

    Args:
        session: the stage.
        run: names the job and its output.
        first: the first UTC day whose clicks are taken; None: all that there are.
        last: the last one.
        instance_type: of the job.
        features: "recomputed" from the clicks, "logged" by serving, or "auto": logged where nearly all clicks have
            them.

    Raises:
        DatasetUnusable: the lake holds no clicks of these days.
        ProcessingFailed: the job did not complete.
    """
    session.flush_deliveries()
    outputs = session.outputs
    inputs: dict[str, str] = {}
    # Orders come until a day after the click, and the older ones say who buys a lot.
    tables = [("clicks", first, last), ("purchases", None, last + dt.timedelta(days=1) if last else None)]
    if features != "recomputed":
        tables.append(("verdicts", first, last))
    for table, earliest, latest in tables:
        keys = _lake_keys(session, table, earliest, latest)
        if not keys:
            continue
        if earliest is None and latest is None:
            inputs[table] = f"s3://{outputs.lake_bucket}/{table}/"
            continue
        key = f"training/{run}/{table}{MANIFEST}"
        manifest = [{"prefix": f"s3://{outputs.lake_bucket}/{table}/"}, *keys]
        session.client("s3").put_object(Bucket=outputs.lake_bucket, Key=key, Body=json.dumps(manifest).encode())
        inputs[table] = f"s3://{outputs.lake_bucket}/{key}"
    if "clicks" not in inputs:
        raise DatasetUnusable(
            f"archived clicks {_days(first, last)} are required in s3://{outputs.lake_bucket}/clicks/, there are none. "
            "Bring a log into the lake with slidr backfill, or send clicks."
        )
    uri = f"s3://{outputs.lake_bucket}/training/{run}/dataset/"
    plan = ProcessingPlan(
        name=f"{run}-dataset",
        step="dataset",
        image=outputs.container_image,
        role_arn=outputs.training_role_arn,
        inputs=inputs,
        output_uri=uri,
        instance_type=instance_type,
        kms_key=outputs.lake_key,
        options=("--features", features),
    )
    run_processing(session, plan)
    return DatasetFacts(uri=uri, clicks=None, purchasing=None)


def _lake_keys(session: Session, table: str, first: dt.date | None, last: dt.date | None) -> list[str]:
    """The objects of a table of these days, each without the table's prefix."""
    pages = session.client("s3").get_paginator("list_objects_v2")
    keys = [
        str(item["Key"]).removeprefix(f"{table}/")
        for page in pages.paginate(Bucket=session.outputs.lake_bucket, Prefix=f"{table}/")
        for item in page.get("Contents", [])
    ]
    return [
        key
        for key in keys
        if (first is None or key[: len(_DATE)] >= f"{first:{_DATE_FORMAT}}")
        and (last is None or key[: len(_DATE)] <= f"{last:{_DATE_FORMAT}}")
    ]


_DATE: Final = "date=YYYY-MM-DD"
_DATE_FORMAT: Final = "date=%Y-%m-%d"


def _days(first: dt.date | None, last: dt.date | None) -> str:
    """The days in words.

    >>> _days(dt.date(2026, 3, 1), None)
    'from 2026-03-01'
    """
    return " ".join(f"{word} {day}" for word, day in (("from", first), ("to", last)) if day) or "of any day"


def _uploaded(session: Session, files: list[Path], run: str) -> str:
    bucket, prefix = session.outputs.lake_bucket, f"training/{run}/dataset/"
    for index, path in enumerate(files):
        session.client("s3").upload_file(str(path), bucket, f"{prefix}part-{index:05d}.parquet")
    return f"s3://{bucket}/{prefix}"


def train_release(
    session: Session,
    dataset: DatasetFacts,
    *,
    run: str,
    hyperparameters: Mapping[str, str],
    instance_type: str,
    on_status: Callable[[str], None] = lambda _status: None,
) -> TrainedRelease:
    """Run the training job on the dataset and publish the release that it made.

    Raises:
        TrainingFailed: the job did not complete.
        ReleaseInvalid: its output is not a whole release.
    """
    outputs = session.outputs
    plan = JobPlan(
        name=run,
        image=outputs.container_image,
        role_arn=outputs.training_role_arn,
        dataset_uri=dataset.uri,
        output_uri=f"s3://{outputs.lake_bucket}/training/{run}/output/",
        instance_type=instance_type,
        hyperparameters={"commit": commit(), **hyperparameters},
        kms_key=outputs.lake_key,
    )
    artifact_uri = run_training(session, plan, on_status=on_status)
    on_status("publishing")
    with tempfile.TemporaryDirectory(prefix="slidr-model-") as folder:
        model_dir = _downloaded(session, artifact_uri, Path(folder))
        return _published(session, model_dir)


def _downloaded(session: Session, uri: str, folder: Path) -> Path:
    from training.artifact import unpack  # noqa: PLC0415

    bucket, _, key = uri.removeprefix("s3://").partition("/")
    archive = folder / "model.tar.gz"
    session.client("s3").download_file(bucket, key, str(archive))
    unpack(archive, folder / "model")
    return folder / "model"


def _published(session: Session, model_dir: Path) -> TrainedRelease:
    from training.artifact import load_releases  # noqa: PLC0415

    loaded = load_releases(model_dir)
    if loaded.champion is None:
        raise DatasetUnusable("a training job must write a release, it wrote none. See slidr logs training.")
    folder = model_dir / "releases" / loaded.champion
    before = publish_release(session.client("s3"), session.outputs.release_bucket, folder)
    release = decode_release((folder / RELEASE_FILE).read_bytes())
    evidence = json.loads((folder / EVIDENCE_FILE).read_bytes())
    measured = evidence["calibration_fpr"]
    return TrainedRelease(
        id=loaded.champion,
        published_before=before,
        threshold=release.thresholds.default,
        by_slice=release.thresholds.by_slice,
        fpr=Rate(count=measured["count"], total=measured["total"]),
        certificate=evidence["calibration"]["certificate"]["says"],
        fpr_budget=evidence["hyperparameters"]["fpr_budget"],
        evidence=evidence,
    )


def commit() -> str:
    """The commit of this code for a release's evidence, marked where files differ from it; empty where unknown."""
    git = shutil.which("git")
    if git is None:
        return ""
    described = subprocess.run(
        [git, "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip()
