"""What the states of our machines share: errors that are transient, retries with backoff and jitter, catches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

State = dict[str, Any]

LAMBDA_ERRORS: Final = (
    "Lambda.ServiceException", "Lambda.AWSLambdaException", "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException", "Lambda.ClientExecutionTimeoutException",
)  # fmt: skip
DEPENDENCIES: Final = (
    "ObjectUnavailable",
    "ServingStateUnavailable",
    "MetricsUnavailable",
    "PublishFailed",
    "QueueUnavailable",
)
"""Errors of our own functions that say that a service did not answer."""


def retry(errors: Sequence[str], *, first_s: int, attempts: int) -> State:
    """Try again after these errors: waits double, each drawn between nothing and its length."""
    return {
        "ErrorEquals": [*errors],
        "IntervalSeconds": first_s,
        "BackoffRate": 2.0,
        "MaxAttempts": attempts,
        "MaxDelaySeconds": 300,
        "JitterStrategy": "FULL",
    }


def caught_by(then: str, *, keeps: str = "$.stopped") -> list[State]:
    """Whatever goes wrong leads there, and stands in the state."""
    return [{"ErrorEquals": ["States.ALL"], "ResultPath": keeps, "Next": then}]
