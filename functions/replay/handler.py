"""Entry points of a replay's functions; the machine says which step each of them is."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import boto3
import msgspec
from botocore.config import Config

from functions.adapters.attempts import Attempts
from functions.adapters.lake import Lake
from functions.adapters.serving_state import PointerStore
from functions.adapters.undecided_queue import UndecidedReader
from functions.adapters.verdict_stream import VerdictStream
from functions.observability import observed, telemetry
from functions.replay import hour_step, outcome_step
from functions.replay.apply_step import Publisher, apply_corrections
from functions.replay.plan_step import PlanServices, plan_replay
from functions.replay.settings import Settings
from slidr.telemetry import HOURLY

SERVICE: Final = "replay"
Event = Mapping[str, Any]
_PUBLISHING: Final = Attempts(deadline_s=60.0, longest_wait_s=5.0)


@observed(SERVICE)
def plan(event: Event, context: object) -> Any:  # noqa: ARG001
    """Say what a replay reads."""
    settings = _settings()
    services = PlanServices(
        lake=_lake(),
        releases=Lake(_client("s3"), settings.release_bucket),
        pointers=PointerStore(_client("dynamodb"), settings.control_table),
        queue=UndecidedReader(_client("sqs"), settings.undecided_queue_url),
    )
    return msgspec.to_builtins(plan_replay(event, services, settings, now=_now()))


@observed(SERVICE)
def summarise(event: Event, context: object) -> dict[str, Any]:  # noqa: ARG001
    """Add up what the jobs found."""
    return outcome_step.summarise(event, _lake())


@observed(SERVICE)
def publish(event: Event, context: object) -> dict[str, Any]:  # noqa: ARG001
    """Publish the corrections of one hour."""
    stream = VerdictStream(_client("kinesis"), _settings().verdict_stream, attempts=_PUBLISHING)
    publisher = Publisher(lake=_lake(), stream=stream, who=str(event["who"]), why=str(event["why"]), now=_now)
    return {"published": apply_corrections(str(event["key"]), publisher)}


@observed(SERVICE)
def finish(event: Event, context: object) -> dict[str, Any]:  # noqa: ARG001
    """End a run."""
    settings = _settings()
    services = outcome_step.FinishServices(lake=_lake(), sns=_client("sns"), topic_arn=settings.topic_arn)
    return outcome_step.finish(event, services, stage=settings.stage)


@observed(SERVICE)
def plan_hours(event: Event, context: object) -> dict[str, Any]:  # noqa: ARG001
    """Say which hours have matured or become final."""
    return hour_step.plan_hours(event, _lake(), _settings(), now=_now())


@observed(SERVICE)
def tell_hours(event: Event, context: object) -> dict[str, Any]:  # noqa: ARG001
    """Publish what they show, move the watermark."""
    pointer = PointerStore(_client("dynamodb"), _settings().control_table).read()
    return hour_step.tell_hours(event, _lake(), pointer, telemetry(HOURLY))


@cache
def _settings() -> Settings:
    return Settings.from_environment(os.environ)


@cache
def _client(service: str) -> Any:
    patient = Config(connect_timeout=2.0, read_timeout=20.0, retries={"mode": "standard", "total_max_attempts": 5})
    return boto3.session.Session().client(service, config=patient)  # type: ignore[call-overload]


def _lake() -> Lake:
    return Lake(_client("s3"), _settings().lake_bucket)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
