"""Alarms of a template evaluated over metrics of the past, period by period: what they would have done, in a moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from local.cloud.alarm_rules import Rule, State, next_state
from local.cloud.metric_math import Value, value_of_queries

MetricKey = tuple[str, tuple[tuple[str, str], ...]]
"""A metric's name and its dimensions, in order of their names."""
_DEFAULT: Final = "missing"


def metric_key(name: str, dimensions: Mapping[str, str]) -> MetricKey:
    """The key of a metric.

    >>> metric_key("Clicks", {"service": "score_clicks", "role": "champion"})
    ('Clicks', (('role', 'champion'), ('service', 'score_clicks')))
    """
    return name, tuple(sorted(dimensions.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmSeries:
    """One metric alarm of a template: `properties` as CloudFormation has them."""

    properties: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.properties["AlarmName"])

    @property
    def metrics(self) -> list[MetricKey]:
        """The metrics that it looks at."""
        return [_key(query["MetricStat"]["Metric"]) for query in self.properties["Metrics"] if "MetricStat" in query]

    @property
    def period_s(self) -> int:
        """How long its periods are."""
        return next(int(query["MetricStat"]["Period"]) for query in self.properties["Metrics"] if "MetricStat" in query)

    def value(self, sums: Mapping[MetricKey, float]) -> Value:
        """What it compares with its bound in a period; None without data.

        Args:
            sums: of the period, by metric; one that is missing has no data.
        """
        return value_of_queries(self.properties["Metrics"], lambda stat: sums.get(_key(stat["Metric"])))

    def states(self, values: Sequence[Value]) -> list[State]:
        """Its state after each period, beginning OK.

        Args:
            values: of the periods, oldest first.
        """
        rule = Rule(
            self.properties["ComparisonOperator"],
            float(self.properties["Threshold"]),
            int(self.properties.get("DatapointsToAlarm") or self.properties["EvaluationPeriods"]),
            self.properties.get("TreatMissingData", _DEFAULT),
        )
        looked_at = int(self.properties["EvaluationPeriods"])
        state: State = "OK"
        states: list[State] = []
        for end in range(1, len(values) + 1):
            newest_first = list(reversed(values[max(0, end - looked_at) : end]))
            newest_first += [None] * (looked_at - len(newest_first))
            state = next_state(rule, newest_first, state)
            states.append(state)
        return states


def _key(metric: Mapping[str, Any]) -> MetricKey:
    return metric_key(metric["MetricName"], {one["Name"]: str(one["Value"]) for one in metric.get("Dimensions", [])})
