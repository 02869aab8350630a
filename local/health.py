"""How a stage is: who decides, what of the last minutes, which alarms are on, what waits."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from functions.adapters.alarms import AlarmReader
from functions.adapters.serving_state import AuditLog, PointerStore, PolicyStore
from local.replaying import lake_of
from local.session import Session
from slidr.audit import times_in_force
from slidr.billing import WATERMARK_KEY, Watermark
from slidr.metrics import Rate
from slidr.pointer import Pointer
from slidr.policy import Policy
from slidr.rollback import AlarmState
from slidr.telemetry import DECIDING, SCORING, namespace

LOOKED_BACK: Final = dt.timedelta(minutes=5)
_COUNTS: Final = ("Clicks", "Invalid", "ExpectedInvalid", "Undecided")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """What the last minutes' metrics say, of champion and stable together."""

    decided: int
    invalid: Rate
    expected_invalid: float
    """The share that the release expects; NaN without clicks."""
    undecided: int
    rejects: int
    latency_ms: Mapping[str, float]
    """From arrival to verdict, by percentile; empty without clicks."""
    behind_ms: float
    """How far score_clicks is behind the stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """One look."""

    pointer: Pointer
    champion_since: dt.datetime | None
    policy: Policy
    alarms_on: tuple[AlarmState, ...]
    alarms: int
    """How many alarms there are."""
    recent: Recent
    waiting: int
    """UNDECIDED clicks on the queue."""
    final_until: dt.datetime | None
    last_run: str
    """How the last run of the daily loop ended; empty where there was none."""
    last_replay: str


def health(session: Session, *, now: dt.datetime) -> Health:
    """Look at a stage.

    Raises:
        ServingStateUnavailable: the control table cannot be read.
        AlarmsUnavailable: CloudWatch does not answer.
    """
    dynamodb, outputs = session.client("dynamodb"), session.outputs
    pointer = PointerStore(dynamodb, outputs.control_table).read()
    times = times_in_force(AuditLog(dynamodb, outputs.control_table).entries()).get(pointer.champion or "")
    alarms = AlarmReader(session.client("cloudwatch")).all(outputs.alarm_prefix)
    queue = session.client("sqs").get_queue_attributes(
        QueueUrl=outputs.undecided_queue_url, AttributeNames=["ApproximateNumberOfMessages"]
    )["Attributes"]
    watermark = lake_of(session).find(WATERMARK_KEY)
    return Health(
        pointer=pointer,
        champion_since=times[-1][0] if times else None,
        policy=PolicyStore(dynamodb, outputs.control_table).read(),
        alarms_on=tuple(alarm for alarm in alarms if alarm.on),
        alarms=len(alarms),
        recent=_recent(session, now=now),
        waiting=int(queue["ApproximateNumberOfMessages"]),
        final_until=msgspec.json.decode(watermark, type=Watermark).final_until if watermark else None,
        last_run=_last(session, outputs.release_machine_arn),
        last_replay=_last(session, outputs.replay_machine_arn),
    )


def _recent(session: Session, *, now: dt.datetime) -> Recent:
    metrics = _Metrics(session=session, since=now - LOOKED_BACK, until=now)
    by_role = {name: sum(metrics.total(name, role=role) for role in DECIDING) for name in _COUNTS}
    decided = round(by_role["Clicks"])
    return Recent(
        decided=decided,
        invalid=Rate(count=round(by_role["Invalid"]), total=decided),
        expected_invalid=by_role["ExpectedInvalid"] / decided if decided else float("nan"),
        undecided=round(by_role["Undecided"]),
        rejects=round(metrics.total("Rejects")),
        latency_ms=metrics.percentiles("ArrivalToVerdict"),
        behind_ms=metrics.greatest("IteratorAge", function=session.outputs.score_clicks_function),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Metrics:
    """Metrics of an interval."""

    session: Session
    since: dt.datetime
    until: dt.datetime

    def total(self, name: str, **dimensions: str) -> float:
        points = self._points(
            namespace(self.session.stage), name, {"service": SCORING, **dimensions}, Statistics=["Sum"]
        )
        return float(sum(point["Sum"] for point in points))

    def percentiles(self, name: str) -> dict[str, float]:
        wanted = ["p50", "p99", "p99.9"]
        points = self._points(namespace(self.session.stage), name, {"service": SCORING}, ExtendedStatistics=wanted)
        found = [point["ExtendedStatistics"] for point in points]
        return {one: max(values[one] for values in found) for one in wanted} if found else {}

    def greatest(self, name: str, *, function: str) -> float:
        points = self._points("AWS/Lambda", name, {"FunctionName": function}, Statistics=["Maximum"])
        return float(max((point["Maximum"] for point in points), default=0.0))

    def _points(self, space: str, name: str, dimensions: Mapping[str, str], **wanted: Any) -> list[Any]:
        answer = self.session.client("cloudwatch").get_metric_statistics(
            Namespace=space,
            MetricName=name,
            Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
            StartTime=self.since,
            EndTime=self.until,
            Period=int(LOOKED_BACK.total_seconds()),
            **wanted,
        )
        points: list[Any] = answer["Datapoints"]
        return points


def _last(session: Session, machine: str) -> str:
    executions = session.client("stepfunctions").list_executions(stateMachineArn=machine, maxResults=1)["executions"]
    if not executions:
        return ""
    last = executions[0]
    ended = last.get("stopDate") or last["startDate"]
    return f"{str(last['status']).lower()} {ended:%Y-%m-%d %H:%M}"
