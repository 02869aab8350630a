"""How CloudWatch decides an alarm's state from the values of its evaluation periods: pure rules.

Source: CloudWatch user guide, "Using Amazon CloudWatch alarms": M out of N, and how missing data is treated.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]
MissingData = Literal["missing", "breaching", "notBreaching", "ignore"]

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


@dataclass(frozen=True, slots=True)
class Rule:
    """An alarm's condition; it needs `datapoints` breaching periods out of those that it looks at."""

    comparison: str
    threshold: float
    datapoints: int
    missing: MissingData = "missing"

    def breaches(self, value: float) -> bool:
        """Whether a value is beyond the threshold."""
        return _COMPARISONS[self.comparison](value, self.threshold)


def next_state(rule: Rule, values: Sequence[float | None], current: State) -> State:
    """Return the state after looking at `values`, newest first, None where a period has no data.

    >>> rule = Rule("GreaterThanThreshold", 5, datapoints=2)
    >>> next_state(rule, [9, None, 7], "OK")
    'ALARM'
    >>> next_state(rule, [9, 1, 1], "ALARM")
    'OK'
    >>> next_state(rule, [None, None, None], "OK")
    'INSUFFICIENT_DATA'
    """
    present = [value for value in values if value is not None]
    if not present:
        by_treatment: Mapping[str, State] = {"breaching": "ALARM", "notBreaching": "OK", "ignore": current}
        return by_treatment.get(rule.missing, "INSUFFICIENT_DATA")
    breaching = sum(rule.breaches(value) for value in present)
    if rule.missing == "breaching":
        breaching += len(values) - len(present)
    if breaching >= rule.datapoints:
        return "ALARM"
    if rule.missing == "ignore" and len(present) < len(values) and current != "INSUFFICIENT_DATA":
        return current
    return "OK"
