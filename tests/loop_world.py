"""A stage in process (moto) as the daily loop's functions meet it: buckets, tables, releases, a run's kept files."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from functions.adapters.lake import Lake
from functions.adapters.run_lease import RunLease
from functions.adapters.serving_state import AuditLog, Change, PointerStore
from functions.daily_loop.plan_step import PlanServices, plan_run
from functions.daily_loop.publish_step import PublishServices
from functions.daily_loop.run_plan import RunPlan
from functions.daily_loop.settings import Settings
from slidr.artifact import encode_manifest
from slidr.guardrails import Bound, Result, encode_results
from slidr.pointer import Pointer
from slidr.release import Release, encode_release, release_id
from slidr.slices import SliceMap, Thresholds

DAY = dt.date(2026, 11, 20)
NOW = dt.datetime(2026, 11, 22, 2, 30, tzinfo=dt.UTC)
SETTINGS = Settings(
    stage="dev",
    lake_bucket="lake",
    release_bucket="releases",
    control_table="control",
    training_days=3,
    profile_days=2,
    endpoint_name="slidr-dev",
)
EXECUTION = "arn:aws:states:us-east-1:000000000000:execution:slidr-dev-daily-release:one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A release and its files, small but whole."""

    id: str
    files: dict[str, bytes]


def bundle(number: int) -> Bundle:
    """A release like no other of another number."""
    weights = b"weights %d" % number
    release = Release(
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        feature_spec="0123456789abcdef",
        slices=SliceMap(),
        thresholds=Thresholds(default=0.9),
        lists={},
        expected_ivr=(0.1,) * 168,
    )
    return Bundle(
        id=release_id(release),
        files={
            "release.json": encode_release(release),
            "weights.safetensors": weights,
            "evidence.json": b'{"number": %d}' % number,
        },
    )


def training_archive(made: Bundle) -> bytes:
    """What a training job leaves: the model directory as tar.gz, evidence too."""
    out = io.BytesIO()
    files = {"./manifest.json": encode_manifest(champion=made.id, stable=None)} | {
        f"./releases/{made.id}/{name}": content for name, content in made.files.items()
    }
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def result(name: str = "auc", *, passed: bool = True, severity: Any = "stop") -> Result:
    return Result(name=name, scope="all", value=0.7 if passed else 0.1, bound=Bound(low=0.6), passed=passed,
                  severity=severity)  # fmt: skip


@dataclass(slots=True)
class LoopStage:
    """The stage's services."""

    s3: Any
    dynamodb: Any

    @property
    def lake(self) -> Lake:
        return Lake(self.s3, "lake")

    @property
    def pointers(self) -> PointerStore:
        return PointerStore(self.dynamodb, "control")

    @property
    def lease(self) -> RunLease:
        return RunLease(self.dynamodb, "control")

    @property
    def planning(self) -> PlanServices:
        return PlanServices(
            lake=self.lake,
            releases=Lake(self.s3, "releases"),
            pointers=self.pointers,
            audit=AuditLog(self.dynamodb, "control"),
            lease=self.lease,
        )

    @property
    def publishing(self) -> PublishServices:
        return PublishServices(lake=self.lake, s3=self.s3, release_bucket="releases", pointers=self.pointers)

    def put(self, key: str, content: bytes = b"", *, bucket: str = "lake") -> None:
        self.s3.put_object(Bucket=bucket, Key=key, Body=content)

    def fill_lake(self, days: Sequence[dt.date]) -> None:
        """Clicks and purchases of some days."""
        for day in days:
            for table in ("clicks", "purchases"):
                self.put(f"{table}/date={day}/hour=07/part.parquet")

    def publish(self, made: Bundle) -> None:
        for name, content in made.files.items():
            self.put(f"releases/{made.id}/{name}", content, bucket="releases")

    def point(self, after: Pointer, *, at: dt.datetime = NOW) -> Pointer:
        before = self.pointers.read()
        return self.pointers.change(before, after, Change(who="test", why="set up", at=at))

    def plan(self, *, now: dt.datetime = NOW, execution: str = EXECUTION, **asked: Any) -> RunPlan:
        return plan_run({"input": asked, "execution": execution}, self.planning, SETTINGS, now=now)

    def keep_run(self, plan: RunPlan, made: Bundle, *, results: Sequence[Result] = (result(),),
                 stable: Sequence[Result] = ()) -> str:  # fmt: skip
        """What the jobs of a run leave; the key of the training job's archive."""
        self.put(f"{plan.prefix}checks/guardrails-data.json", encode_results([result("clicks_in_day")]))
        self.put(f"{plan.prefix}evaluation/guardrails-model.json", encode_results(results))
        self.put(f"{plan.prefix}evaluation/guardrails-stable.json", encode_results(stable))
        self.put(f"{plan.prefix}evaluation/evaluation.json", json.dumps({"metrics": {"ivr": 0.125}}).encode())
        key = f"{plan.prefix}output/job/output/model.tar.gz"
        self.put(key, training_archive(made))
        return key


def decoded(content: bytes) -> Any:
    return msgspec.json.decode(content)
