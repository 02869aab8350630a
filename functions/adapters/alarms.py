"""CloudWatch's alarms, as they are now."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from slidr.errors import DependencyUnavailable
from slidr.rollback import AlarmState

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient


class AlarmsUnavailable(DependencyUnavailable):
    """CloudWatch does not tell the state of an alarm."""


class AlarmReader:
    """Reads alarms by name or by the beginning of their names."""

    def __init__(self, client: CloudWatchClient) -> None:
        self._client = client

    def states(self, names: Sequence[str]) -> dict[str, AlarmState]:
        """The named alarms.

        Raises:
            AlarmsUnavailable: they cannot be read, or one is missing.
        """
        found = self._described(AlarmNames=list(names))
        missing = sorted(set(names) - set(found))
        if missing:
            raise AlarmsUnavailable(f"the alarms {', '.join(missing)} must be there, they are not. Deploy the stacks.")
        return found

    def on(self, prefix: str) -> list[AlarmState]:
        """The alarms that are on, of those whose names begin so."""
        found = self._described(AlarmNamePrefix=prefix, StateValue="ALARM")
        return sorted(found.values(), key=lambda alarm: alarm.name)

    def all(self, prefix: str) -> list[AlarmState]:
        """The alarms whose names begin so."""
        return sorted(self._described(AlarmNamePrefix=prefix).values(), key=lambda alarm: alarm.name)

    def _described(self, **wanted: Any) -> dict[str, AlarmState]:
        try:
            pages = self._client.get_paginator("describe_alarms").paginate(
                AlarmTypes=["MetricAlarm", "CompositeAlarm"], **wanted
            )
            alarms: list[Mapping[str, Any]] = [
                alarm for page in pages for alarm in [*page.get("MetricAlarms", []), *page.get("CompositeAlarms", [])]
            ]
        except (ClientError, BotoCoreError) as failure:
            raise AlarmsUnavailable(f"the state of alarms must be readable, however: {failure}") from failure
        return {str(alarm["AlarmName"]): _state(alarm) for alarm in alarms}


def _state(alarm: Mapping[str, Any]) -> AlarmState:
    since = alarm.get("StateTransitionedTimestamp") or alarm["StateUpdatedTimestamp"]
    reason = str(alarm.get("StateReason", ""))
    begins = alarm["StateValue"] == "INSUFFICIENT_DATA" or "was created and its alarm rule evaluates to OK" in reason
    period = dt.timedelta(seconds=_period_s(alarm))
    return AlarmState(
        name=str(alarm["AlarmName"]),
        on=alarm["StateValue"] == "ALARM",
        since=since.astimezone(dt.UTC),
        reason="" if begins else reason,
        period=period,
        window=int(alarm.get("EvaluationPeriods", 1)) * period,
    )


def _period_s(alarm: Mapping[str, Any]) -> int:
    """How long a period is; 0 of a composite alarm."""
    of_metrics = [int(query["MetricStat"]["Period"]) for query in alarm.get("Metrics") or [] if "MetricStat" in query]
    return max(of_metrics, default=int(alarm.get("Period") or 0))
