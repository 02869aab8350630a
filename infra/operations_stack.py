"""What watches over verdicts: alarms, what decides on a rollback, the function that does it, the dashboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from aws_cdk import CfnOutput, Duration, Fn, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from constructs import Construct

from functions.roll_back_release.settings import Settings
from infra import nag
from infra.constructs.bundled_function import BundledFunction, bundle_code
from infra.constructs.operations_dashboard import OperationsDashboard
from infra.constructs.replay_runner import ReplayRunner
from infra.constructs.verdict_alarms import NO_ACTION, VerdictAlarms, VerdictMetrics
from infra.data_stack import DataStack
from infra.online_stack import OnlineStack
from infra.settings import Stage
from infra.training_stack import TrainingStack
from slidr.telemetry import DECIDING, HOURLY, Role

_LOOK_EVERY: Final = Duration.minutes(1)
_FUNCTION_S: Final = 30


class OperationsStack(Stack):
    """Stateless: alarms begin anew where it is deployed again."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: Stage,
        data: DataStack,
        online: OnlineStack,
        training: TrainingStack,
        bundles: Mapping[str, Path],
        **stack: Any,
    ) -> None:
        super().__init__(scope, construct_id, description="SLIDR: alarms, rollback, dashboard", **stack)
        self.stage, self.data, self.online, self.settings = stage, data, online, stage.operations
        self.prefix = f"slidr-{stage.name}-"
        self.metrics = VerdictMetrics(stage.name, period_s=self.settings.period_s)
        by_role = {
            role: VerdictAlarms(
                self, role.capitalize(), metrics=self.metrics, settings=self.settings, role=role, prefix=self.prefix
            ).alarms
            for role in DECIDING
        }
        self._inner = self._infrastructure_alarms()
        infrastructure = [*training.rollback_alarms, *self._inner]
        self.infrastructure = self._composite(
            "Infrastructure", _any(infrastructure), "Part of the infrastructure is in trouble: no model is blamed"
        )
        well = cloudwatch.AlarmRule.not_(_is_on(self.infrastructure))
        self.model = self._composite(
            "Rollback",
            cloudwatch.AlarmRule.all_of(_any(by_role[Role.CHAMPION]), well),
            "What the champion decides is off what it expects, and the infrastructure is well: roll back",
        )
        self.stable = self._composite(
            "InputFault",
            cloudwatch.AlarmRule.all_of(_any(by_role[Role.STABLE]), well),
            "What the stable release decides is off what it expects: the input is at fault",
        )
        self.fpr = self._fpr_alarm()
        for watched in (*self._inner, self.fpr):
            nag.acknowledge(watched, NO_ACTION, reason="A composite alarm looks at it, or a rule of EventBridge does.")
        self.replays = ReplayRunner(self, "Replays", stage=stage, data=data, online=online, bundle=bundles["replay"])
        told = [self.infrastructure, *self._alarms_to_look_at()]
        for alarm in told:
            alarm.add_alarm_action(actions.SnsAction(data.topic))
        self.dashboard = OperationsDashboard(
            self,
            "Dashboard",
            stage=stage,
            metrics=self.metrics,
            alarms=[self.model, self.stable, self.fpr, *told, *infrastructure],
            score_clicks=online.score_clicks.function,
            endpoint_name=online.endpoint.name,
            undecided=data.undecided,
        )
        self.roll_back = self._roll_back(bundles["roll_back_release"])
        self._outputs()

    @property
    def availability_zones(self) -> list[str]:
        """Zones by position: no look-up, so no credentials at synth."""
        return [Fn.select(index, Fn.get_azs()) for index in range(self.stage.zones)]

    def _infrastructure_alarms(self) -> list[cloudwatch.Alarm]:
        metrics, settings = self.metrics, self.settings
        named = {
            f"{name}_{role[0]}": metrics.of(metric, role=role)
            for role in DECIDING
            for name, metric in (("clicks", "Clicks"), ("undecided", "Undecided"), ("unusable", "Unusable"))
        }
        waiting = " + ".join(f"FILL(undecided_{role[0]}, 0) - FILL(unusable_{role[0]}, 0)" for role in DECIDING)
        whole = " + ".join(f"FILL(clicks_{role[0]}, 0) + FILL(undecided_{role[0]}, 0)" for role in DECIDING)
        undecided = metrics.math(
            f"IF(({whole}) >= {settings.least_clicks}, ({waiting}) / ({whole}), 0)", named, "UNDECIDED share"
        )
        return [
            self._alarm(
                "Undecided", undecided, settings.undecided_share,
                "Clicks are UNDECIDED: the counters, the profiles or the endpoint do not answer",
            ),
            self._alarm(
                "IteratorAge",
                self.online.score_clicks.function.metric("IteratorAge", statistic="Maximum", period=metrics.period),
                settings.iterator_age_ms,
                "score_clicks is behind the click stream, milliseconds",
            ),
            self._alarm(
                "ReturnedBatches", metrics.of("ReturnedBatches"), 1,
                "Batches are delivered again: verdicts, rejects or the queue cannot be written",
            ),
        ]  # fmt: skip

    def _alarms_to_look_at(self) -> list[cloudwatch.Alarm]:
        """What a person should look at; no release is blamed, nothing else is held back."""
        metrics, settings = self.metrics, self.settings
        rejects = metrics.math(
            f"IF(records >= {settings.least_clicks}, rejects / records, 0)",
            {"records": metrics.of("Records"), "rejects": metrics.of("Rejects")}, "rejected share",
        )  # fmt: skip
        dead = self.data.undecided_dead.metric_approximate_number_of_messages_visible(
            period=Duration.minutes(5), statistic="Maximum"
        )
        return [
            self._alarm("Latency", metrics.of("ArrivalToVerdict", statistic="p99"), settings.latency_ms,
                        "Verdicts are late: p99 from arrival to verdict, milliseconds"),
            self._alarm("Rejects", rejects, settings.reject_share, "Records break their contract"),
            self._alarm("ReplayFailed", self.replays.failed(), 1, "A replay or an hourly run was stopped or failed",
                        of=(1, 1)),
            self._alarm("UndecidedGivenUp", dead, 1, "UNDECIDED clicks that replay could not take in", of=(1, 1)),
        ]  # fmt: skip

    def _fpr_alarm(self) -> cloudwatch.Alarm:
        settings = self.settings
        hourly = VerdictMetrics(self.stage.name, period_s=3_600)
        fpr = hourly.math(
            f"IF(purchasing >= {settings.least_purchasing}, invalidated / purchasing, 0)",
            {
                "purchasing": hourly.of("MaturedPurchasing", service=HOURLY),
                "invalidated": hourly.of("MaturedPurchasingInvalid", service=HOURLY),
            },
            "false positives of matured clicks",
        )
        return self._alarm(
            "MaturedFpr", fpr, settings.fpr_bound,
            "False positives of matured clicks are out of bounds: promotion stops", of=(1, 1),
        )  # fmt: skip

    def _alarm(
        self,
        name: str,
        metric: cloudwatch.IMetric,
        bound: float,
        description: str,
        *,
        of: tuple[int, int] | None = None,
    ) -> cloudwatch.Alarm:
        datapoints, periods = of or (self.settings.datapoints, self.settings.periods)
        return cloudwatch.Alarm(
            self,
            name,
            alarm_name=f"{self.prefix}{name}",
            alarm_description=description,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            datapoints_to_alarm=datapoints,
            evaluation_periods=periods,
            metric=metric,
            threshold=bound,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,  # no traffic is no failure
        )

    def _composite(self, name: str, rule: cloudwatch.IAlarmRule, description: str) -> cloudwatch.CompositeAlarm:
        return cloudwatch.CompositeAlarm(
            self,
            name,
            alarm_description=description,
            alarm_rule=rule,
            composite_alarm_name=f"{self.prefix}{name}",
        )

    def _roll_back(self, directory: Path) -> BundledFunction:
        data = self.data
        function = BundledFunction(
            self,
            "RollBackRelease",
            stage=self.stage,
            code=bundle_code(directory),
            handler="functions.roll_back_release.handler.handler",
            description="Answers alarms: back to the stable release, or observe mode and a page",
            environment=Settings(
                stage=self.stage.name,
                control_table=data.control.table_name,
                topic_arn=data.topic.topic_arn,
                model_alarm=f"{self.prefix}Rollback",
                stable_alarm=f"{self.prefix}InputFault",
                infrastructure_alarm=f"{self.prefix}Infrastructure",
                fpr_alarm=f"{self.prefix}MaturedFpr",
                alarm_prefix=self.prefix,
                dashboard_url=self.dashboard.url,
            ).to_environment(),
            memory_mb=1_024,
            timeout_s=_FUNCTION_S,
            concurrency=None,
            network=None,
            key=self.online.key,
            no_dead_letters="It is asked again every minute, and every look finishes what the one before left undone.",
        )
        role = function.role
        data.control.grant_read_data(role)
        data.control.grant(role, "dynamodb:PutItem")
        data.key.grant(role, "kms:Decrypt", "kms:GenerateDataKey")
        role.add_to_policy(iam.PolicyStatement(actions=["sns:Publish"], resources=[data.topic.topic_arn]))
        role.add_to_policy(iam.PolicyStatement(actions=["cloudwatch:DescribeAlarms"], resources=["*"]))
        if not self.stage.tracing:  # else it is said for the tracer already
            nag.acknowledge(
                role,
                f"{nag.SOLUTIONS}IAM5[Resource::*]",
                reason="The state of composite alarms is given for all alarms or none, and it only reads them.",
            )
        for name, pattern in self._occasions().items():
            events.Rule(
                self,
                name,
                rule_name=f"{self.prefix}{name}",
                targets=[
                    targets.LambdaFunction(function.function, max_event_age=Duration.minutes(5), retry_attempts=3)
                ],
                **pattern,
            )
        return function

    def _occasions(self) -> dict[str, dict[str, Any]]:
        """When to look at the alarms: when one that matters goes off, and every minute.

        The minute's look finds what lasts, and finishes what an earlier look could not.
        """
        answered = [self.model.alarm_arn, self.stable.alarm_arn, self.fpr.alarm_arn]
        gone_off = events.EventPattern(
            source=["aws.cloudwatch"],
            detail_type=["CloudWatch Alarm State Change"],
            resources=answered,
            detail={"state": {"value": ["ALARM"]}},
        )
        return {
            "AlarmGoesOff": {"event_pattern": gone_off, "description": "An alarm that a release answers for goes off"},
            "EveryMinute": {"schedule": events.Schedule.rate(_LOOK_EVERY), "description": "A look at the alarms"},
        }

    def _outputs(self) -> None:
        for key, value in {
            "RollBackFunction": self.roll_back.function.function_name,
            "AlarmPrefix": self.prefix,
            "DashboardName": self.dashboard.name,
            "ReplayMachineArn": self.replays.replay.state_machine_arn,
            "HoursMachineArn": self.replays.hours.state_machine_arn,
        }.items():
            CfnOutput(self, key, value=value)


def _is_on(alarm: cloudwatch.IAlarm) -> cloudwatch.IAlarmRule:
    return cloudwatch.AlarmRule.from_alarm(alarm, cloudwatch.AlarmState.ALARM)


def _any(alarms: Sequence[cloudwatch.IAlarm]) -> cloudwatch.IAlarmRule:
    return cloudwatch.AlarmRule.any_of(*map(_is_on, alarms))
