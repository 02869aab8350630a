"""Entry point of roll_back_release: an alarm's change, or the minute's look; the event only says when to look."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import boto3
from botocore.config import Config

from functions.adapters.alarms import AlarmReader
from functions.adapters.incidents import Incidents
from functions.adapters.serving_state import AuditLog, PointerStore, PolicyStore
from functions.observability import observed, telemetry
from functions.roll_back_release.respond import Services, respond
from functions.roll_back_release.settings import Settings

SERVICE: Final = "roll_back_release"


@observed(SERVICE)
def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001
    """Look at the alarms and act on them."""
    settings = _settings()
    came = respond(_services(), settings, now=dt.datetime.now(dt.UTC))
    telemetry(SERVICE).logger.info("looked at the alarms", extra={"asked_by": event.get("detail-type", ""), **came})
    return came


@cache
def _settings() -> Settings:
    return Settings.from_environment(os.environ)


@cache
def _services() -> Services:
    session, settings = boto3.session.Session(), _settings()
    quick = Config(connect_timeout=1.0, read_timeout=3.0, retries={"mode": "standard", "total_max_attempts": 3})
    dynamodb = session.client("dynamodb", config=quick)
    return Services(
        alarms=AlarmReader(session.client("cloudwatch", config=quick)),
        pointers=PointerStore(dynamodb, settings.control_table),
        policies=PolicyStore(dynamodb, settings.control_table),
        audit=AuditLog(dynamodb, settings.control_table),
        incidents=Incidents(dynamodb, settings.control_table),
        sns=session.client("sns", config=quick),
    )
