"""The dashboard: one look says whether verdicts are well, who decides, and where it hurts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.constructs.scoring_endpoint import VARIANT
from infra.constructs.verdict_alarms import VerdictMetrics
from infra.settings import Stage
from slidr.telemetry import DECIDING, HOURLY, Role

_WIDTH: Final = 24
_LATENCIES: Final = ("p50", "p99", "p99.9")


class OperationsDashboard(Construct):
    """`slidr-<stage>`."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: Stage,
        metrics: VerdictMetrics,
        alarms: Sequence[cloudwatch.IAlarm],
        score_clicks: lambda_.IFunction,
        endpoint_name: str,
        undecided: sqs.IQueue,
    ) -> None:
        super().__init__(scope, construct_id)
        self._stage, self._metrics = stage, metrics
        self.name = f"slidr-{stage.name}"
        region = Stack.of(self).region
        self.url = (
            f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}#dashboards:name={self.name}"
        )
        board = cloudwatch.Dashboard(self, "Board", dashboard_name=self.name, default_interval=Duration.hours(3))
        board.add_widgets(
            cloudwatch.AlarmStatusWidget(
                alarms=list(alarms), title="Alarms: the first three change what serves", width=_WIDTH, height=4
            )
        )
        board.add_widgets(self._invalid(), self._deviation(), self._decided())
        board.add_widgets(self._undecided(undecided), self._latency(), self._behind(score_clicks))
        board.add_widgets(self._endpoint(endpoint_name), self._slices(), self._false_positives())

    def _invalid(self) -> cloudwatch.GraphWidget:
        """The rate of INVALID clicks by role, and what the release expects."""
        lines: list[cloudwatch.IMetric] = []
        for role in Role:
            used = {
                name: self._metrics.of(metric, role=role)
                for name, metric in ((f"clicks_{role}", "Clicks"), (f"invalid_{role}", "Invalid"))
            }
            lines.append(self._metrics.math(f"invalid_{role} / clicks_{role}", used, f"IVR {role}"))
        for role in DECIDING:
            used = {
                name: self._metrics.of(metric, role=role)
                for name, metric in ((f"clicks_x_{role}", "Clicks"), (f"expected_{role}", "ExpectedInvalid"))
            }
            lines.append(self._metrics.math(f"expected_{role} / clicks_x_{role}", used, f"expected {role}"))
        return _graph("INVALID clicks, and what is expected", lines, least=0)

    def _deviation(self) -> cloudwatch.GraphWidget:
        settings = self._stage.operations
        lines = [self._metrics.deviation(settings, role=role) for role in DECIDING]
        bounds = [
            cloudwatch.HorizontalAnnotation(value=sign * settings.deviation, label="bound", color="#d62728")
            for sign in (1, -1)
        ]
        return _graph("Deviation from it, in standard errors", lines, annotations=bounds)

    def _decided(self) -> cloudwatch.GraphWidget:
        lines = [self._metrics.of("Clicks", role=role, label=f"decided, {role}") for role in Role]
        return _graph("Clicks", [*lines, self._metrics.of("Rejects"), self._metrics.of("Unbilled")], least=0)

    def _undecided(self, queue: sqs.IQueue) -> cloudwatch.GraphWidget:
        waiting = queue.metric_approximate_number_of_messages_visible(label="queued", period=self._metrics.period)
        lines = [self._metrics.of("Undecided"), self._metrics.of("ReturnedBatches"), waiting]
        return _graph("UNDECIDED, and what waits to be decided", lines, least=0)

    def _latency(self) -> cloudwatch.GraphWidget:
        lines = [self._metrics.of("ArrivalToVerdict", statistic=one, label=one) for one in _LATENCIES]
        return _graph("From arrival to verdict, ms", lines, least=0)

    def _behind(self, function: lambda_.IFunction) -> cloudwatch.GraphWidget:
        age = function.metric("IteratorAge", statistic="Maximum", label="behind, ms", period=self._metrics.period)
        errors = function.metric_errors(label="errors", period=self._metrics.period)
        throttles = function.metric_throttles(label="throttles", period=self._metrics.period)
        return _graph("score_clicks", [age], least=0, right=[errors, throttles])

    def _endpoint(self, name: str) -> cloudwatch.GraphWidget:
        def of(metric: str, statistic: str, label: str) -> cloudwatch.Metric:
            return cloudwatch.Metric(
                namespace="AWS/SageMaker", metric_name=metric, statistic=statistic, label=label,
                dimensions_map={"EndpointName": name, "VariantName": VARIANT}, period=self._metrics.period,
            )  # fmt: skip

        lines = [of("ModelLatency", one, f"{one}, us") for one in _LATENCIES]
        return _graph("Endpoint", lines, least=0, right=[of("Invocation5XXErrors", "Sum", "errors")])

    def _slices(self) -> cloudwatch.GraphWidget:
        settings = self._stage.operations
        lines = [self._metrics.deviation(settings, role="champion", of_slice=name) for name in settings.slices]
        return _graph("Deviation of the champion by slice", lines)

    def _false_positives(self) -> cloudwatch.GraphWidget:
        hour = Duration.hours(1)
        matured = VerdictMetrics(self._stage.name, period_s=int(hour.to_seconds()))
        fpr = matured.math(
            "100 * matured_invalid / matured",
            {
                "matured": matured.of("MaturedPurchasing", service=HOURLY),
                "matured_invalid": matured.of("MaturedPurchasingInvalid", service=HOURLY),
            },
            "FPR of matured clicks, %",
        )
        coverage = matured.math(
            "100 * robotic_invalid / robotic",
            {
                "robotic": matured.of("RoboticClicks", role="champion"),
                "robotic_invalid": matured.of("RoboticInvalid", role="champion"),
            },
            "robotic coverage, %",
        )
        return _graph("False positives, and robots that are found", [fpr], least=0, right=[coverage])


def _graph(
    title: str,
    left: Sequence[cloudwatch.IMetric],
    *,
    least: float | None = None,
    right: Sequence[cloudwatch.IMetric] = (),
    annotations: Sequence[cloudwatch.HorizontalAnnotation] = (),
) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(
        title=title,
        width=_WIDTH // 3,
        height=6,
        left=list(left),
        right=list(right),
        left_annotations=list(annotations),
        left_y_axis=cloudwatch.YAxisProps(min=least) if least is not None else None,
    )
