"""What CloudWatch has of a candidate's time in shadow: the endpoint's own metrics and the churn that scoring counts."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from slidr.errors import DependencyUnavailable
from slidr.shadow import EndpointSummary, ShadowSummary, ShadowTally

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient

CLICKS: Final = "ShadowClicks"
FLIPS: Final = "ShadowFlips"
SERVICE: Final = "score_clicks"
_ENDPOINT: Final = "AWS/SageMaker"


class MetricsUnavailable(DependencyUnavailable):
    """CloudWatch does not answer."""


class ShadowMetrics:
    """Reads the metrics of one endpoint's variant."""

    def __init__(self, client: CloudWatchClient, *, namespace: str, endpoint: str, variant: str) -> None:
        self._client = client
        self._namespace = namespace
        self._dimensions: Any = [
            {"Name": "EndpointName", "Value": endpoint},
            {"Name": "VariantName", "Value": variant},
        ]

    def summary(self, *, since: dt.datetime, until: dt.datetime) -> ShadowSummary:
        """What happened in an interval.

        Raises:
            MetricsUnavailable: they cannot be read.
        """
        try:
            return ShadowSummary(endpoint=self._endpoint(since, until), churn=self._churn(since, until))
        except (ClientError, BotoCoreError) as failure:
            raise MetricsUnavailable(f"metrics of the shadow must be readable, however: {failure}") from failure

    def _endpoint(self, since: dt.datetime, until: dt.datetime) -> EndpointSummary:
        failed = sum(
            self._sum(_ENDPOINT, name, self._dimensions, since, until)
            for name in ("Invocation4XXErrors", "Invocation5XXErrors")
        )
        points = self._client.get_metric_statistics(
            Namespace=_ENDPOINT,
            MetricName="ModelLatency",
            Dimensions=self._dimensions,
            StartTime=since,
            EndTime=until,
            Period=_one_period(since, until),
            ExtendedStatistics=["p99"],
        )["Datapoints"]
        slowest = [point["ExtendedStatistics"]["p99"] for point in points]
        return EndpointSummary(
            invocations=round(self._sum(_ENDPOINT, "Invocations", self._dimensions, since, until)),
            failed=round(failed),
            p99_ms=max(slowest) / 1000.0 if slowest else None,  # the service counts microseconds
        )

    def _churn(self, since: dt.datetime, until: dt.datetime) -> dict[str, ShadowTally]:
        counts: dict[str, Counter[str]] = {CLICKS: Counter(), FLIPS: Counter()}
        for name, found in counts.items():
            pages = self._client.get_paginator("list_metrics").paginate(
                Namespace=self._namespace, MetricName=name, Dimensions=[{"Name": "service", "Value": SERVICE}]
            )
            for metric in (metric for page in pages for metric in page["Metrics"]):
                dimensions: Any = metric["Dimensions"]
                slices = [one["Value"] for one in dimensions if one["Name"] == "slice"]
                if slices:
                    found[slices[0]] += round(self._sum(self._namespace, name, dimensions, since, until))
        return {
            name: ShadowTally(clicks=clicks, flipped=counts[FLIPS][name])
            for name, clicks in sorted(counts[CLICKS].items())
            if clicks
        }

    def _sum(self, namespace: str, name: str, dimensions: Any, since: dt.datetime, until: dt.datetime) -> float:
        points = self._client.get_metric_statistics(
            Namespace=namespace,
            MetricName=name,
            Dimensions=dimensions,
            StartTime=since,
            EndTime=until,
            Period=_one_period(since, until),
            Statistics=["Sum"],
        )["Datapoints"]
        return sum(point["Sum"] for point in points)


def _one_period(since: dt.datetime, until: dt.datetime) -> int:
    """Seconds, a multiple of 60, that hold the interval.

    >>> at = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
    >>> _one_period(at, at + dt.timedelta(seconds=61))
    120
    """
    return max(60, -(-int((until - since).total_seconds()) // 60) * 60)
