"""The one Powertools logger, tracer and metrics of a function; made at the first invocation, not at import."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, wraps
from typing import TYPE_CHECKING, Any, Final

from slidr import telemetry as telemetry_names

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger, Metrics, Tracer

STAGE: Final = "SLIDR_STAGE"
"""The variable that names the stage: its metrics have a namespace of their own."""
Handler = Callable[[Any, Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """How a function tells what it did. No IPs, user agents or feature vectors go in (rule 9)."""

    logger: Logger
    tracer: Tracer | None
    """None where no X-Ray daemon runs (the local cloud): the SDK would cost time for nothing."""
    metrics: Metrics
    service: str
    namespace: str = "SLIDR"

    def tell(
        self,
        of: Mapping[str, str],
        counts: Mapping[str, float],
        *,
        within: Mapping[str, str] | None = None,
        **properties: str | None,
    ) -> None:
        """Publish counts at once, with dimensions beside the service's own.

        Args:
            of: the dimensions.
            counts: by the names of their metrics.
            within: further dimensions; the counts are published with them and, for sums over all, without.
            properties: what the record holds besides; no dimension.
        """
        from aws_lambda_powertools.metrics import EphemeralMetrics  # noqa: PLC0415 - it reads the environment

        metrics = EphemeralMetrics(namespace=self.namespace, service=self.service)
        for name, value in of.items():
            metrics.add_dimension(name=name, value=value)
        if within:
            metrics.add_dimensions(service=self.service, **of, **within)
        for name, said in properties.items():
            if said is not None:
                metrics.add_metadata(key=name, value=said)
        for metric, count in counts.items():
            metrics.add_metric(name=metric, unit="Count", value=count)
        metrics.flush_metrics()


def namespace() -> str:
    """Of the stage's metrics; their dimension is `service`, the function's name in the code."""
    return telemetry_names.namespace(os.environ.get(STAGE, ""))


@cache
def telemetry(service: str) -> Telemetry:
    """The telemetry of a function, `service` being its name in the code."""
    from aws_lambda_powertools import Logger, Metrics, Tracer  # noqa: PLC0415 - it reads the environment

    traced = "AWS_XRAY_DAEMON_ADDRESS" in os.environ  # Lambda names its daemon
    return Telemetry(
        logger=Logger(service=service),
        tracer=Tracer(service=service, patch_modules=["botocore"]) if traced else None,
        metrics=Metrics(namespace=namespace(), service=service),
        service=service,
        namespace=namespace(),
    )


def observed(service: str) -> Callable[[Handler], Handler]:
    """Make a handler log with its invocation's context, trace itself and flush its metrics."""

    def decorate(handler: Handler) -> Handler:
        @cache
        def instrumented() -> Handler:
            tools = telemetry(service)
            traced = tools.tracer.capture_lambda_handler(handler, capture_response=False) if tools.tracer else handler
            measured: Handler = tools.metrics.log_metrics(traced, capture_cold_start_metric=True)
            return tools.logger.inject_lambda_context(measured)

        @wraps(handler)
        def invoke(event: Any, context: Any) -> Any:
            return instrumented()(event, context)

        return invoke

    return decorate
