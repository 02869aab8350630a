"""Alarms on verdicts: what a role decides against what its release expects, overall and by slice.

A period's deviation, in standard errors, is

    (invalid - expected) / sqrt(dispersion x (variance + least_rate x clicks) + (relative_error x expected)^2)

`variance` is that of independent clicks. Robots come in bursts, hence the dispersion, and where none was expected,
hence the least rate; what is expected is itself known to a relative error only. Too few clicks say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from infra import nag
from infra.settings import OperationsSettings
from slidr.telemetry import SCORING, Role, alarms_of, namespace

NO_ACTION: Final = nag.nist("CloudWatchAlarmAction")
_DEVIATION: Final = {
    "clicks": "Clicks",
    "invalid": "Invalid",
    "expected": "ExpectedInvalid",
    "variance": "ExpectedVariance",
}


class VerdictMetrics:
    """Metrics of score_clicks in one stage."""

    def __init__(self, stage: str, *, period_s: int) -> None:
        self._stage = stage
        self._namespace = namespace(stage)
        self.period = Duration.seconds(period_s)

    def with_period(self, period_s: int) -> VerdictMetrics:
        """The same metrics over other periods."""
        return VerdictMetrics(self._stage, period_s=period_s)

    def of(
        self, name: str, *, role: str = "", of_slice: str = "", statistic: str = "Sum", service: str = SCORING,
        label: str | None = None,
    ) -> cloudwatch.Metric:  # fmt: skip
        """A metric of all clicks, of a role, or of a role and slice."""
        dimensions = {"service": service} | ({"role": role} if role else {}) | ({"slice": of_slice} if of_slice else {})
        return cloudwatch.Metric(
            namespace=self._namespace,
            metric_name=name,
            dimensions_map=dimensions,
            label=label or name,
            period=self.period,
            statistic=statistic,
        )

    def math(self, expression: str, metrics: Mapping[str, cloudwatch.IMetric], label: str) -> cloudwatch.MathExpression:
        """An expression over metrics."""
        return cloudwatch.MathExpression(
            expression=expression, using_metrics=dict(metrics), label=label, period=self.period
        )

    def deviation(self, settings: OperationsSettings, *, role: str, of_slice: str = "") -> cloudwatch.MathExpression:
        """How far off what is expected, in standard errors; below 0: too few are INVALID."""
        place = str(settings.slices.index(of_slice)) if of_slice else ""
        ids = {name: f"{name}_{role}{place}" for name in _DEVIATION}  # a graph tells its metrics apart by them
        metrics = {ids[name]: self.of(metric, role=role, of_slice=of_slice) for name, metric in _DEVIATION.items()}
        least = settings.least_slice_clicks if of_slice else settings.least_clicks
        return self.math(deviation_expression(settings, ids, least_clicks=least), metrics, f"{role} {of_slice}".strip())

    def found(self, settings: OperationsSettings, *, role: str, of_slice: str = "") -> cloudwatch.MathExpression:
        """INVALID clicks as a share of those expected; 1 where too few are expected to say."""
        metrics = {
            name: self.of(metric, role=role, of_slice=of_slice)
            for name, metric in (("invalid", "Invalid"), ("expected", "ExpectedInvalid"))
        }
        return self.math(
            f"IF(expected >= {settings.least_expected}, invalid / expected, 1)", metrics, f"{role} {of_slice}".strip()
        )

    def unusable(self, settings: OperationsSettings, *, role: str) -> cloudwatch.MathExpression:
        """The share of clicks that are UNDECIDED for the release's own sake."""
        metrics = {
            name: self.of(metric, role=role)
            for name, metric in (("clicks", "Clicks"), ("undecided", "Undecided"), ("unusable", "Unusable"))
        }
        whole = "(clicks + undecided)"
        return self.math(f"IF({whole} >= {settings.least_clicks}, unusable / {whole}, 0)", metrics, f"{role} unusable")


def deviation_expression(settings: OperationsSettings, ids: Mapping[str, str], *, least_clicks: int) -> str:
    """The metric math of a deviation.

    CloudWatch has no square root; a power of 0.5 is one.

    Args:
        settings: of the stage.
        ids: of the metrics clicks, invalid, expected and variance in the expression.
        least_clicks: below them it is 0.

    >>> deviation_expression(OperationsSettings(), {name: name for name in _DEVIATION}, least_clicks=200)
    'IF(clicks >= 200, (invalid - expected) / (20.0 * (variance + 0.002 * clicks) + (0.1 * expected) ^ 2) ^ 0.5, 0)'
    """
    clicks, invalid, expected, variance = (ids[name] for name in ("clicks", "invalid", "expected", "variance"))
    spread = f"{settings.dispersion} * ({variance} + {settings.least_rate} * {clicks})"
    error = f"({spread} + ({settings.relative_error} * {expected}) ^ 2) ^ 0.5"
    return f"IF({clicks} >= {least_clicks}, ({invalid} - {expected}) / {error}, 0)"


class VerdictAlarms(Construct):
    """The alarms of one role."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        metrics: VerdictMetrics,
        settings: OperationsSettings,
        role: Role,
        prefix: str,
    ) -> None:
        super().__init__(scope, construct_id)
        self._settings, self._prefix = settings, f"{prefix}{alarms_of(role)}"
        slow = metrics.with_period(settings.slow_period_s)
        self.alarms = [
            self._alarm(
                "Deviation", metrics.deviation(settings, role=role), settings.deviation,
                f"What the {role} release invalidates is off what it expects, in standard errors",
            ),
            self._alarm(
                "Unusable", metrics.unusable(settings, role=role), settings.unusable_share,
                f"Clicks are UNDECIDED because the {role} release cannot be used",
            ),
            *(
                self._alarm(
                    f"Deviation-{_in_a_name(name)}",
                    metrics.deviation(settings, role=role, of_slice=name), settings.deviation_of_slice,
                    f"Invalidated clicks of the slice {name} are off what the {role} release expects",
                )
                for name in settings.slices
            ),
            self._alarm(
                "TooFew-slow", slow.found(settings, role=role), settings.slow_too_few,
                f"The {role} release has invalidated few for long", below=True,
            ),
            *(
                self._alarm(
                    f"TooFew{'-' if name else ''}{_in_a_name(name)}",
                    metrics.found(settings, role=role, of_slice=name),
                    settings.too_few_of_slice if name else settings.too_few,
                    f"The {role} release invalidates hardly anything any more{f' of the slice {name}' if name else ''}",
                    below=True,
                )
                for name in ("", *settings.slices)
            ),
        ]  # fmt: skip

    def _alarm(
        self, name: str, value: cloudwatch.MathExpression, bound: float, description: str, *, below: bool = False
    ) -> cloudwatch.Alarm:
        absolute = cloudwatch.MathExpression(
            expression="ABS(value)", using_metrics={"value": value}, label=description, period=value.period
        )
        comparison = cloudwatch.ComparisonOperator
        alarm = cloudwatch.Alarm(
            self,
            name,
            alarm_name=f"{self._prefix}{name}",
            alarm_description=description,
            comparison_operator=(
                comparison.LESS_THAN_OR_EQUAL_TO_THRESHOLD if below else comparison.GREATER_THAN_OR_EQUAL_TO_THRESHOLD
            ),
            datapoints_to_alarm=self._settings.datapoints,
            evaluation_periods=self._settings.periods,
            metric=absolute,
            threshold=bound,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,  # no clicks of this role, no verdict on it
        )
        nag.acknowledge(alarm, NO_ACTION, reason="Composite alarms look at it, and EventBridge at them.")
        return alarm


def _in_a_name(of_slice: str) -> str:
    return of_slice.replace("=", "-").replace("|", "-")
