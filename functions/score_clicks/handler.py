"""Entry point of score_clicks: a batch of the click stream in, the records to deliver again out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from functions.observability import observed, telemetry
from functions.score_clicks.outcome import report
from functions.score_clicks.records import read_records
from functions.score_clicks.scoring import score_clicks
from functions.score_clicks.services import Services
from functions.score_clicks.settings import Settings
from functions.score_clicks.wiring import open_services

SERVICE: Final = "score_clicks"


@observed(SERVICE)
def handler(event: Mapping[str, Any], context: object) -> dict[str, list[dict[str, str]]]:  # noqa: ARG001
    """Decide a batch of clicks; Kinesis resumes from the record that is named in the answer."""
    records = read_records(event)
    outcome = score_clicks(records, _services())
    report(outcome, telemetry(SERVICE))
    if outcome.retry_from is None:
        return {"batchItemFailures": []}
    return {"batchItemFailures": [{"itemIdentifier": records.sequences[outcome.retry_from]}]}


@cache
def _services() -> Services:
    return open_services(Settings.from_environment(os.environ))
