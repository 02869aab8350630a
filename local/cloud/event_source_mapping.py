"""The settings of an event source mapping, in the service's terms and with its defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Mapping:
    """The settings of an event source mapping, in the service's terms and defaults."""

    uuid: str
    function: str
    qualifier: str | None
    function_arn: str
    stream_arn: str
    batch_size: int
    window_s: float
    max_retries: int  # -1: until the record expires
    max_age_s: float  # -1: until the record expires
    bisect: bool
    partial: bool
    lanes: int
    destination: str | None
    start: str
    start_timestamp: float

    @property
    def stream_name(self) -> str:
        """The name of the Kinesis stream."""
        return self.stream_arn.rpartition("/")[2]


def mapping_of(esm: dict[str, Any]) -> Mapping:
    """Read ministack's record of a mapping; CloudFormation leaves numbers and booleans as strings."""

    def number(key: str, default: float) -> float:
        value = esm.get(key)
        return default if value is None else float(value)

    on_failure = (esm.get("DestinationConfig") or {}).get("OnFailure") or {}
    start = esm.get("StartingPosition", "LATEST")
    return Mapping(
        uuid=esm["UUID"],
        function=esm["FunctionName"],
        qualifier=esm.get("Qualifier"),
        function_arn=esm["FunctionArn"],
        stream_arn=esm["EventSourceArn"],
        batch_size=int(number("BatchSize", 100)),
        window_s=number("MaximumBatchingWindowInSeconds", 0),
        max_retries=int(number("MaximumRetryAttempts", -1)),
        max_age_s=number("MaximumRecordAgeInSeconds", -1),
        bisect=is_true(esm.get("BisectBatchOnFunctionError")),
        partial="ReportBatchItemFailures" in (esm.get("FunctionResponseTypes") or []),
        lanes=int(number("ParallelizationFactor", 1)),
        destination=on_failure.get("Destination"),
        start=start,
        start_timestamp=number("StartingPositionTimestamp", number("LastModified", 0)),
    )


def is_true(value: object) -> bool:
    """Whether a template's boolean, or its text, is true."""
    return str(value).lower() == "true"
