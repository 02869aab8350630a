"""What `slidr train --from-lake` gives the processing job of what the lake holds."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

import local.training_run
from local.sagemaker_sdk import ProcessingPlan
from local.session import Session
from local.training_run import DatasetUnusable, Features, lake_dataset
from tests.aws.test_command_line import OUTPUTS, REGION

pytestmark = pytest.mark.aws
KEYS = [
    f"{table}/date=2026-11-{day:02}/hour=00/part" for table in ("clicks", "purchases", "verdicts") for day in (1, 2, 3)
]


class Jobs:
    """Takes plans for jobs and runs none."""

    def __init__(self) -> None:
        self.plans: list[ProcessingPlan] = []

    def __call__(self, _session: Session, plan: ProcessingPlan) -> None:
        self.plans.append(plan)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    jobs = Jobs()
    monkeypatch.setattr(local.training_run, "run_processing", jobs)
    return jobs


@pytest.fixture
def session(aws: Any, monkeypatch: pytest.MonkeyPatch) -> Session:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setattr(Session, "outputs", OUTPUTS)
    session = Session(stage="dev", region=REGION)
    session.client("s3").create_bucket(Bucket=OUTPUTS.lake_bucket)
    return session


def filled(session: Session) -> Session:
    for key in KEYS:
        session.client("s3").put_object(Bucket=OUTPUTS.lake_bucket, Key=key, Body=b"")
    return session


@pytest.mark.parametrize(
    ("features", "tables"),
    [
        ("recomputed", {"clicks", "purchases"}),
        ("logged", {"clicks", "purchases", "verdicts"}),
        ("auto", {"clicks", "purchases", "verdicts"}),
    ],
)
def test_gives_the_job_the_feature_log_where_logged_features_are_asked_for(
    session: Session, jobs: Jobs, features: Features, tables: set[str]
) -> None:
    lake_dataset(filled(session), run="r", first=None, last=None, instance_type="ml", features=features)

    (plan,) = jobs.plans
    assert plan.inputs == {table: f"s3://{OUTPUTS.lake_bucket}/{table}/" for table in tables}
    assert plan.options == ("--features", features)


def test_gives_the_job_the_verdicts_of_the_days_that_are_asked_for(session: Session, jobs: Jobs) -> None:
    day = dt.date(2026, 11, 2)
    lake_dataset(filled(session), run="r", first=day, last=day, instance_type="ml", features="logged")

    given = {}
    for table, uri in jobs.plans[0].inputs.items():
        key = uri.removeprefix(f"s3://{OUTPUTS.lake_bucket}/")
        body = session.client("s3").get_object(Bucket=OUTPUTS.lake_bucket, Key=key)["Body"].read()
        prefix, *names = json.loads(body)
        assert prefix == {"prefix": f"s3://{OUTPUTS.lake_bucket}/{table}/"}
        given[table] = [name[len("date=2026-11-") :][:2] for name in names]
    assert given == {"clicks": ["02"], "verdicts": ["02"], "purchases": ["01", "02", "03"]}


def test_a_lake_without_clicks_starts_no_job(session: Session, jobs: Jobs) -> None:
    with pytest.raises(DatasetUnusable, match="archived clicks of any day are required"):
        lake_dataset(session, run="r", first=None, last=None, instance_type="ml")
    assert jobs.plans == []
