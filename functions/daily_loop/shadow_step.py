"""The look at a candidate after its time in shadow, or as canary."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from functions.adapters.lake import Lake
from functions.adapters.shadow_metrics import ShadowMetrics
from functions.daily_loop.judge_step import verdict_of
from slidr.shadow import shadow_guardrails

_AHEAD: Final = dt.timedelta(minutes=1)
"""Metrics are stamped with the minute that they fall in."""


def watch(
    event: Mapping[str, Any], lake: Lake, metrics: ShadowMetrics, *, least_invocations: int, now: dt.datetime
) -> dict[str, Any]:
    """Judge the interval since `event["since"]`; what was seen is kept in the lake whether it stops or not.

    Args:
        event: `prefix` of the run, `name` under which to keep what is seen, `since`.
        lake: of the run.
        metrics: of the endpoint.
        least_invocations: see slidr.shadow.endpoint_guardrails.
        now: UTC.

    Raises:
        GuardrailsStopped: the endpoint is slow or failing, or the candidate decides otherwise too often.
        MetricsUnavailable: nothing can be said of it.
    """
    since = dt.datetime.fromisoformat(str(event["since"]))
    summary = metrics.summary(since=since, until=now + _AHEAD)
    results = shadow_guardrails(summary, least_invocations=least_invocations)
    told = {"since": since.isoformat(), "until": now.isoformat(), "summary": summary, "results": results}
    lake.write(f"{event['prefix']}{event['name']}.json", msgspec.json.encode(told))
    return {**verdict_of(results), "invocations": summary.endpoint.invocations}
