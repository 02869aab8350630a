"""Seam: CloudWatch alarms with dimensions, metric math, M out of N, missing data, composites; what they set off.

ministack's own alarms ignore dimensions, refuse metric math and act through SNS only.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from local.cloud import seams
from local.cloud.alarm_rules import Rule, State, next_state
from local.cloud.metric_math import Value, value_of_queries

_LOGGER = logging.getLogger("slidr.alarms")
_EVERY_S = 1.0
_DEFAULT_PERIOD_S = 60
# A put of metric data and the clock evaluate on different threads; one of them makes each change.
_CHANGING = threading.Lock()
_ACTIONS = {"ALARM": "AlarmActions", "OK": "OKActions", "INSUFFICIENT_DATA": "InsufficientDataActions"}


def _statistic(
    namespace: str, name: str, dimensions: list[dict[str, str]], statistic: str, period: tuple[float, float]
) -> Value:
    """Return a metric's statistic over the period (begin, end]; None where it has no data."""
    begin, end = period
    key = seams.reach("services.cloudwatch._dims_key")({item["Name"]: item.get("Value", "") for item in dimensions})
    points = seams.reach("services.cloudwatch._metrics").get((namespace, name, key)) or []
    within = []
    for point in reversed(points):  # points come in order of time, the newest are wanted
        if point["Timestamp"] > end:
            continue
        if point["Timestamp"] <= begin:
            break
        within.append(point)
    if not within:
        return None
    statistics = seams.reach("services.cloudwatch._calc_stats")(within)
    value: Value = seams.reach("services.cloudwatch._stat_value")(statistics, statistic, within)
    return value


def _is_false(value: object) -> bool:
    return str(value).lower() == "false"


def _math_value(queries: list[dict[str, Any]], period: tuple[float, float]) -> Value:
    """Return the value of the query that returns data."""

    def statistic(stat: Mapping[str, Any]) -> Value:
        metric = stat["Metric"]
        return _statistic(
            metric["Namespace"], metric["MetricName"], metric.get("Dimensions") or [], stat["Stat"], period
        )

    return value_of_queries(queries, statistic)


def _period_s(alarm: dict[str, Any]) -> int:
    for query in alarm.get("Metrics") or []:
        if stat := query.get("MetricStat"):
            return int(stat.get("Period", _DEFAULT_PERIOD_S))
        if query.get("Period"):
            return int(query["Period"])
    return int(alarm.get("Period") or _DEFAULT_PERIOD_S)


def _values(alarm: dict[str, Any], now: float) -> list[Value]:
    """Return the alarm's values, newest period first."""
    length = _period_s(alarm)
    values: list[Value] = []
    for index in range(int(alarm.get("EvaluationPeriods", 1))):
        period = (now - (index + 1) * length, now - index * length)
        if alarm.get("Metrics"):
            values.append(_math_value(alarm["Metrics"], period))
        else:
            statistic = alarm.get("ExtendedStatistic") or alarm.get("Statistic") or "Average"
            dimensions = alarm.get("Dimensions") or []
            values.append(_statistic(alarm["Namespace"], alarm["MetricName"], dimensions, statistic, period))
    return values


def evaluate_alarm(alarm: dict[str, Any]) -> None:
    """Bring one alarm's state up to date and act on a change; stands for ministack's _evaluate_alarm."""
    if not alarm.get("Metrics") and not (alarm.get("Namespace") and alarm.get("MetricName")):
        return  # a composite alarm
    now = time.time()
    values = _values(alarm, now)
    rule = Rule(
        alarm["ComparisonOperator"],
        float(alarm.get("Threshold", 0)),
        int(alarm.get("DatapointsToAlarm") or alarm.get("EvaluationPeriods", 1)),
        alarm.get("TreatMissingData") or "missing",
    )
    with _CHANGING:
        old: State = alarm["StateValue"]
        new = next_state(rule, values, old)
        if new == old:
            return
        reason = f"Threshold Crossed: {values} (newest first) against {rule.comparison} {rule.threshold}"
        alarm.update(
            StateValue=new, StateReason=reason, StateUpdatedTimestamp=int(now), StateTransitionedTimestamp=int(now)
        )
    seams.reach("services.cloudwatch._record_history")(alarm["AlarmName"], old, new, reason)
    seams.reach("services.cloudwatch._dispatch_alarm_actions")(alarm, old, new, reason)
    seams.reach("services.cloudwatch._evaluate_parent_alarms")(alarm)


def _alarm_data(alarm: dict[str, Any], old: str, new: str, reason: str, moment: datetime) -> dict[str, Any]:
    """Return what EventBridge and Lambda are told of a change."""
    stamp = moment.strftime("%Y-%m-%dT%H:%M:%S.000+0000")
    metrics = alarm.get("Metrics") or [
        {
            "id": "m1",
            "metricStat": {
                "metric": {
                    "namespace": alarm.get("Namespace"),
                    "name": alarm.get("MetricName"),
                    "dimensions": {item["Name"]: item.get("Value", "") for item in alarm.get("Dimensions") or []},
                },
                "period": alarm.get("Period"),
                "stat": alarm.get("ExtendedStatistic") or alarm.get("Statistic"),
            },
            "returnData": True,
        }
    ]
    return {
        "alarmName": alarm["AlarmName"],
        "state": {"value": new, "reason": reason, "timestamp": stamp},
        "previousState": {"value": old},
        "configuration": {"description": alarm.get("AlarmDescription", ""), "metrics": metrics},
    }


def _acting_through(sns_only: Callable[..., Any]) -> Callable[[dict[str, Any], str, str, str], None]:
    """Return what acts on a change: ministack's SNS, and the EventBridge event and Lambda actions that it lacks."""

    def dispatch(alarm: dict[str, Any], old_state: str, new_state: str, reason: str) -> None:
        sns_only(alarm, old_state, new_state, reason)
        moment = datetime.now(UTC)
        data = _alarm_data(alarm, old_state, new_state, reason, moment)
        entry = {
            "Source": "aws.cloudwatch",
            "DetailType": "CloudWatch Alarm State Change",
            "Resources": [alarm["AlarmArn"]],
            "Detail": json.dumps(data),
        }
        seams.reach("services.eventbridge._put_events")({"Entries": [entry]}, allow_aws_source=True)
        if _is_false(alarm.get("ActionsEnabled", True)):
            return
        for action in alarm.get(_ACTIONS[new_state]) or []:
            if action.startswith("arn:aws:lambda:"):
                _invoke(action, alarm, data, moment)

    return dispatch


def _invoke(action: str, alarm: dict[str, Any], data: dict[str, Any], moment: datetime) -> None:
    """Invoke a Lambda action, asynchronously as the service does."""
    name, qualifier = seams.reach("services.lambda_svc._resolve_name_and_qualifier")(action)
    function, _ = seams.reach("services.lambda_svc._get_func_record_for_qualifier")(name, qualifier)
    if function is None:
        _LOGGER.warning("alarm %s: there is no function %s to act", alarm["AlarmName"], action)
        return
    event = {
        "source": "aws.cloudwatch",
        "alarmArn": alarm["AlarmArn"],
        "accountId": seams.reach("core.responses.get_account_id")(),
        "time": moment.strftime("%Y-%m-%dT%H:%M:%S.000+0000"),
        "region": seams.reach("core.responses.get_region")(),
        "alarmData": data,
    }
    seams.reach("services.lambda_svc.invoke_async_with_retry")(function, event)


def _with_metric_math(plain: Callable[..., Any]) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    """Return ministack's reading of a template's alarm, without its refusal of metric math."""

    def record(name: str, props: dict[str, Any]) -> dict[str, Any]:
        if not props.get("Metrics"):
            alarm: dict[str, Any] = plain(name, props)
            return alarm
        standing_in = {key: value for key, value in props.items() if key != "Metrics"}
        alarm = plain(name, {**standing_in, "MetricName": "math", "Namespace": "math"})
        alarm.update(MetricName=None, Namespace=None, Metrics=props["Metrics"])
        return alarm

    return record


def _composite(_logical_id: str, properties: dict[str, Any], _stack: str) -> tuple[str, dict[str, str]]:
    """Put a template's composite alarm: ministack's CloudFormation knows none, its CloudWatch does."""
    name = str(properties["AlarmName"])
    status, _, body = seams.reach("services.cloudwatch._put_composite_alarm")({}, properties, False, is_json=True)
    if status != HTTPStatus.OK:
        raise ValueError(f"composite alarm {name}: {body!r}")
    return name, {"Arn": seams.reach("services.cloudwatch._composite_alarms")[name]["AlarmArn"]}


def _composite_changed(_id: str, _old: dict[str, Any], new: dict[str, Any], stack: str) -> tuple[str, dict[str, str]]:
    return _composite("", new, stack)


def _composite_gone(name: str, _properties: dict[str, Any]) -> None:
    seams.reach("services.cloudwatch._composite_alarms").pop(name, None)


def _tick() -> None:
    """Evaluate every alarm of every account once a second, as missing data too may change a state."""
    alarms = seams.reach("services.cloudwatch._alarms")
    while True:
        time.sleep(_EVERY_S)
        for account, region in {(account, region) for (account, region, _), _alarm in alarms.all_items()}:
            with seams.reach("core.responses.request_scope")(account, region):
                try:
                    for alarm in alarms.values():
                        evaluate_alarm(alarm)
                except Exception:
                    _LOGGER.exception("an alarm could not be evaluated")


def install() -> None:
    """Evaluate alarms and act on them as the service does."""
    seams.replace("services.cloudwatch._evaluate_alarm", evaluate_alarm)
    sns_only = seams.reach("services.cloudwatch._dispatch_alarm_actions")
    seams.replace("services.cloudwatch._dispatch_alarm_actions", _acting_through(sns_only))
    plain = seams.reach("services.cloudformation.provisioners._cw_metric_alarm_record")
    seams.replace("services.cloudformation.provisioners._cw_metric_alarm_record", _with_metric_math(plain))
    seams.reach("services.cloudformation.provisioners._RESOURCE_HANDLERS")["AWS::CloudWatch::CompositeAlarm"] = {
        "create": _composite,
        "update": _composite_changed,
        "delete": _composite_gone,
    }
    threading.Thread(target=_tick, name="alarms", daemon=True).start()
