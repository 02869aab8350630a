"""Entry points of the daily loop's functions; the machine says which step each of them is."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import boto3
import msgspec
from botocore.config import Config

from functions.adapters.attempts import Attempts
from functions.adapters.lake import Lake
from functions.adapters.profile_table import ProfileTable
from functions.adapters.run_lease import RunLease
from functions.adapters.serving_state import AuditLog, PointerStore
from functions.adapters.shadow_metrics import ShadowMetrics
from functions.daily_loop import judge_step, plan_step, point_step, profile_step, publish_step, report_step, shadow_step
from functions.daily_loop.run_plan import RunPlan
from functions.daily_loop.settings import Settings
from functions.observability import namespace, observed

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SERVICE: Final = "daily_loop"
Event = Mapping[str, Any]


@observed(SERVICE)
def plan(event: Event, context: object) -> Any:  # noqa: ARG001
    """Decide what the run is about."""
    settings, control = _settings(), _settings().control_table
    services = plan_step.PlanServices(
        lake=_lake(),
        releases=Lake(_client("s3"), settings.release_bucket),
        pointers=PointerStore(_dynamodb(), control),
        audit=AuditLog(_dynamodb(), control),
        lease=RunLease(_dynamodb(), control),
    )
    return msgspec.to_builtins(plan_step.plan_run(event, services, settings, now=_now()))


@observed(SERVICE)
def judge(event: Event, context: object) -> dict[str, Any]:  # noqa: ARG001
    """Read the results of guardrails under the run's prefix; raise where one stops."""
    return judge_step.judge(_lake(), [f"{event['prefix']}{name}" for name in event["results"]])


@observed(SERVICE)
def publish(event: Event, context: object) -> dict[str, Any]:  # noqa: ARG001
    """Publish the release and pack the endpoint's archive."""
    settings = _settings()
    services = publish_step.PublishServices(
        lake=_lake(),
        s3=_client("s3"),
        release_bucket=settings.release_bucket,
        pointers=PointerStore(_dynamodb(), settings.control_table),
    )
    the_plan = msgspec.convert(event["plan"], RunPlan)
    key = str(event["model_uri"]).partition(f"{settings.lake_bucket}/")[2]
    return publish_step.publish(the_plan, key, services, endpoint=settings.endpoint_name)


@observed(SERVICE)
def point(event: Event, context: object) -> dict[str, Any]:  # noqa: ARG001
    """Change the pointer."""
    return point_step.point(event, PointerStore(_dynamodb(), _settings().control_table), now=_now())


@observed(SERVICE)
def watch(event: Event, context: object) -> dict[str, Any]:  # noqa: ARG001
    """Judge the candidate's time in shadow."""
    settings = _settings()
    metrics = ShadowMetrics(
        _client("cloudwatch"),
        namespace=namespace(),
        endpoint=settings.endpoint_name,
        variant=settings.variant_name,
    )
    return shadow_step.watch(event, _lake(), metrics, least_invocations=settings.least_invocations, now=_now())


@observed(SERVICE)
def write_profiles(event: Event, context: object) -> dict[str, Any]:  # noqa: ARG001
    """Write one file of profiles."""
    attempts = Attempts(deadline_s=_WRITING_S, longest_wait_s=5.0)
    table = ProfileTable(_dynamodb(), _settings().profile_table, attempts=attempts)
    return profile_step.write_profiles(_lake(), str(event["Key"]), table)


@observed(SERVICE)
def report(event: Event, context: object) -> dict[str, Any]:  # noqa: ARG001
    """Tell what became of the run."""
    settings = _settings()
    services = report_step.ReportServices(
        lake=_lake(),
        lease=RunLease(_dynamodb(), settings.control_table),
        machine=_client("stepfunctions"),
        sns=_client("sns"),
        topic_arn=settings.topic_arn,
    )
    return report_step.report(event, services, stage=settings.stage, instance_type=settings.instance_type)


_WRITING_S: Final = 60.0
"""How long one batch of profiles is tried while the table throttles."""


@cache
def _settings() -> Settings:
    return Settings.from_environment(os.environ)


@cache
def _client(service: str) -> Any:
    patient = Config(connect_timeout=2.0, read_timeout=20.0, retries={"mode": "standard", "total_max_attempts": 5})
    return boto3.session.Session().client(service, config=patient)  # type: ignore[call-overload]


def _dynamodb() -> DynamoDBClient:
    client: DynamoDBClient = _client("dynamodb")
    return client


def _lake() -> Lake:
    return Lake(_client("s3"), _settings().lake_bucket)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
