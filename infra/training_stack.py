"""What makes a release a day: the state machine, its functions and roles, its schedule, the alarms that it heeds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from aws_cdk import ArnFormat, CfnOutput, Duration, Fn, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sagemaker as sagemaker
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as stepfunctions
from constructs import Construct

from functions.daily_loop.settings import Settings
from infra import nag
from infra.constructs.bundled_function import BundledFunction, bundle_code
from infra.constructs.private_bucket import removal_policy
from infra.constructs.private_log_group import PrivateLogGroup
from infra.constructs.scoring_endpoint import VARIANT, production_variant
from infra.constructs.service_role import ServiceRole
from infra.constructs.training_role import RECORDS, TRAINING
from infra.data_stack import DataStack
from infra.online_stack import OnlineStack
from infra.release_machine import MachineSettings, definition
from infra.settings import Stage

FUNCTIONS: Final[Mapping[str, str]] = {
    "plan": "Decides what a run of the daily loop is about",
    "judge": "Reads the results of guardrails",
    "publish": "Publishes a release, write-once",
    "point": "Moves the pointer",
    "watch": "Judges a challenger's time in shadow",
    "write_profiles": "Writes profiles for serving",
    "report": "Tells what became of a run",
}
"""Handlers of functions/daily_loop, each a function with a role of its own."""
_FUNCTION_S: Final = 240
_LATENCY_US: Final = 1_000_000
_SYNC_RULE: Final = "StepFunctionsGetEventsForSageMaker"
"""How the names of the rules begin by which Step Functions waits for jobs."""


class TrainingStack(Stack):
    """Stateless: a run that is under way when it is deployed ends as the machine was when it began."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: Stage,
        data: DataStack,
        online: OnlineStack,
        bundles: Mapping[str, Path],
        **stack: Any,
    ) -> None:
        super().__init__(scope, construct_id, description="SLIDR: a release a day", **stack)
        self.stage, self.data, self.online = stage, data, online
        self.functions = self._functions(bundles["daily_loop"])
        self._grants()
        self.packages = sagemaker.CfnModelPackageGroup(
            self,
            "Releases",
            model_package_group_name=f"slidr-{stage.name}",
            model_package_group_description="Releases of SLIDR, with what their evaluation measured",
        )
        self.rollback_alarms = self._endpoint_alarms()
        self.machine = self._machine()
        self._machine_grants()
        self._run_alarm()
        self.schedule = self._schedule()
        self._outputs()

    @property
    def availability_zones(self) -> list[str]:
        """Zones by position: no look-up, so no credentials at synth."""
        return [Fn.select(index, Fn.get_azs()) for index in range(self.stage.zones)]

    def _functions(self, directory: Path) -> dict[str, BundledFunction]:
        settings = self.stage.training
        environment = Settings(
            stage=self.stage.name,
            lake_bucket=self.data.lake.bucket_name,
            release_bucket=self.data.releases.bucket_name,
            control_table=self.data.control.table_name,
            profile_table=self.data.profiles.table_name,
            endpoint_name=self.online.endpoint.name,
            variant_name=VARIANT,
            topic_arn=self.data.topic.topic_arn,
            training_days=settings.training_days,
            profile_days=settings.profile_days,
            fpr_budget=str(settings.fpr_budget),
            least_invocations=settings.least_invocations,
            lease_s=settings.timeout_s,
            instance_type=settings.instance_type,
        ).to_environment()
        code = bundle_code(directory)
        return {
            name: BundledFunction(
                self,
                "".join(part.capitalize() for part in name.split("_")),
                stage=self.stage,
                code=code,
                handler=f"functions.daily_loop.handler.{name}",
                description=description,
                environment=environment,
                memory_mb=1_024,
                timeout_s=_FUNCTION_S,
                concurrency=None,
                network=None,
                key=self.online.key,
            )
            for name, description in FUNCTIONS.items()
        }

    def _grants(self) -> None:
        """Each step may do what it does and nothing else."""
        data, role = self.data, {name: function.role for name, function in self.functions.items()}
        for prefix in (TRAINING, *RECORDS[:2]):
            data.lake.grant_get(role["plan"], prefix=prefix)
        for name in ("judge", "publish", "watch", "write_profiles", "report"):
            data.lake.grant_get(role[name], prefix=TRAINING)
        for name in ("plan", "watch", "report"):
            data.lake.grant_add(role[name], prefix=TRAINING)
        data.releases.grant_get(role["plan"], prefix="releases/")
        data.releases.grant_get(role["publish"], prefix="releases/")
        for prefix in ("releases/", "artifacts/"):
            data.releases.grant_add(role["publish"], prefix=prefix)
        for name in ("plan", "publish", "point"):
            data.control.grant_read_data(role[name])
        data.control.grant(role["plan"], "dynamodb:PutItem")
        data.control.grant(role["point"], "dynamodb:PutItem")
        data.control.grant(role["report"], "dynamodb:DeleteItem")
        data.profiles.grant(role["write_profiles"], "dynamodb:BatchWriteItem")
        for name in ("plan", "point", "report", "write_profiles"):
            data.key.grant(role[name], "kms:Decrypt", "kms:GenerateDataKey")
        role["report"].add_to_policy(iam.PolicyStatement(actions=["sns:Publish"], resources=[data.topic.topic_arn]))
        role["watch"].add_to_policy(
            iam.PolicyStatement(actions=["cloudwatch:GetMetricStatistics", "cloudwatch:ListMetrics"], resources=["*"])
        )
        if not self.stage.tracing:  # else it is said for the tracer already
            nag.acknowledge(
                role["watch"],
                f"{nag.SOLUTIONS}IAM5[Resource::*]",
                reason="Metrics of CloudWatch know no resource, and it only reads them.",
            )

    def _endpoint_alarms(self) -> list[cloudwatch.Alarm]:
        """What the service itself takes an endpoint's update back by; they blame the update, not the model."""
        dimensions = {"EndpointName": self.online.endpoint.name, "VariantName": VARIANT}

        def metric(name: str, statistic: str) -> cloudwatch.Metric:
            return cloudwatch.Metric(
                namespace="AWS/SageMaker",
                metric_name=name,
                dimensions_map=dimensions,
                statistic=statistic,
                period=Duration.minutes(1),
            )

        errors = self._alarm(
            "EndpointErrors",
            metric("Invocation5XXErrors", "Sum"),
            threshold=5,
            description="The endpoint fails: at least five invocations a minute, in two of three minutes",
        )
        latency = self._alarm(
            "EndpointLatency",
            metric("ModelLatency", "p99"),
            threshold=_LATENCY_US,
            description="The endpoint is slow: p99 of a second, half of what a function waits, in two of three minutes",
        )
        return [errors, latency]

    def _alarm(
        self,
        construct_id: str,
        metric: cloudwatch.IMetric,
        *,
        threshold: float,
        description: str,
        of: tuple[int, int] = (2, 3),
    ) -> cloudwatch.Alarm:
        alarm = cloudwatch.Alarm(
            self,
            construct_id,
            alarm_name=f"slidr-{self.stage.name}-{construct_id}",
            alarm_description=description,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            datapoints_to_alarm=of[0],
            evaluation_periods=of[1],
            metric=metric,
            threshold=threshold,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,  # no traffic is no failure
        )
        alarm.add_alarm_action(actions.SnsAction(self.data.topic))
        return alarm

    def _machine(self) -> stepfunctions.StateMachine:
        stage, settings, endpoint = self.stage, self.stage.training, self.online.endpoint
        machine = definition(
            MachineSettings(
                functions={name: one.function.function_arn for name, one in self.functions.items()},
                lake_bucket=self.data.lake.bucket_name,
                lake_key=self.data.key.key_arn,
                image=self.online.image.uri,
                training_role=self.online.training_role.role_arn,
                serving_role=endpoint.role.role_arn,
                instance_type=settings.instance_type,
                volume_gb=settings.volume_gb,
                job_timeout_s=settings.job_timeout_s,
                hyperparameters={"fpr_budget": str(settings.fpr_budget), "seed": str(settings.seed)},
                endpoint=endpoint.name,
                endpoint_key=self.online.key.key_arn,
                variant=production_variant(stage.endpoint),
                container_environment=endpoint.container_environment,
                security_groups=[endpoint.group.security_group_id],
                subnets=[subnet.subnet_id for subnet in self.online.network.vpc.isolated_subnets],
                retain_variant=stage.endpoint.autoscaled,
                rollback_alarms=[alarm.alarm_name for alarm in self.rollback_alarms],
                bake_s=settings.bake_s,
                update_timeout_s=3_600 + settings.bake_s,
                poll_s=settings.poll_s,
                package_group=str(self.packages.model_package_group_name),
                shadow_s=settings.shadow_s,
                canary_share=settings.canary_share,
                canary_s=settings.canary_s,
                retry_s=settings.retry_s,
                timeout_s=settings.timeout_s,
            )
        )
        self.machine_role = ServiceRole(self, "MachineRole", service="states.amazonaws.com")
        logs = PrivateLogGroup(self, "MachineLogs", stage=stage, key=self.online.key)
        made = stepfunctions.StateMachine(
            self,
            "DailyRelease",
            comment="SLIDR: a release a day",
            definition_body=stepfunctions.DefinitionBody.from_string(self.to_json_string(machine)),
            logs=stepfunctions.LogOptions(
                destination=logs, include_execution_data=False, level=stepfunctions.LogLevel.ALL
            ),
            removal_policy=removal_policy(keep=False),
            role=self.machine_role,
            state_machine_name=self._machine_name,
            state_machine_type=stepfunctions.StateMachineType.STANDARD,
            tracing_enabled=stage.tracing,
        )
        if not stage.tracing:
            nag.acknowledge(
                made,
                f"{nag.SOLUTIONS}SF2",
                reason="The stage asks for no traces: the local cloud has no X-Ray to take them.",
            )
        return made

    @property
    def _machine_name(self) -> str:
        return f"slidr-{self.stage.name}-daily-release"

    def _machine_grants(self) -> None:
        jobs = f"slidr-{self.stage.name}-day-*"
        endpoint = self.online.endpoint.name
        allowed: list[tuple[list[str], list[str]]] = [
            (
                ["sagemaker:AddTags", "sagemaker:CreateProcessingJob", "sagemaker:DescribeProcessingJob",
                 "sagemaker:StopProcessingJob"],
                [self._sagemaker("processing-job", jobs)],
            ),
            (
                ["sagemaker:AddTags", "sagemaker:CreateTrainingJob", "sagemaker:DescribeTrainingJob",
                 "sagemaker:StopTrainingJob"],
                [self._sagemaker("training-job", jobs)],
            ),
            (["sagemaker:CreateModel"], [self._sagemaker("model", f"{endpoint}-a-*")]),
            (["sagemaker:CreateEndpointConfig"], [self._sagemaker("endpoint-config", f"{endpoint}-a-*")]),
            (
                ["sagemaker:DescribeEndpoint", "sagemaker:UpdateEndpoint"],
                [self._sagemaker("endpoint", endpoint), self._sagemaker("endpoint-config", f"{endpoint}-a-*")],
            ),
            (
                ["sagemaker:CreateModelPackage", "sagemaker:UpdateModelPackage"],
                [
                    self._sagemaker("model-package-group", endpoint),
                    self._sagemaker("model-package", f"{endpoint}/*"),
                ],
            ),
            (
                ["events:DescribeRule", "events:PutRule", "events:PutTargets"],
                [
                    self.format_arn(service="events", resource="rule", resource_name=f"{_SYNC_RULE}{job}JobsRule")
                    for job in ("Processing", "Training")
                ],
            ),
            (["states:StartExecution"], [self._states("stateMachine", self._machine_name)]),
            (
                ["states:DescribeExecution", "states:StopExecution"],
                [self._states("execution", f"{self._machine_name}/*")],
            ),
        ]  # fmt: skip
        for did, on in allowed:
            self.machine_role.add_to_policy(iam.PolicyStatement(actions=did, resources=on))
        for passed in (self.online.training_role, self.online.endpoint.role):
            self.machine_role.add_to_policy(
                iam.PolicyStatement(
                    actions=["iam:PassRole"],
                    conditions={"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
                    resources=[passed.role_arn],
                )
            )
        self.data.lake.grant_get(self.machine_role, prefix=TRAINING)  # the list of profile files
        for function in self.functions.values():
            self.machine_role.add_to_policy(
                iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[function.function.function_arn])
            )
        self.functions["report"].role.add_to_policy(
            iam.PolicyStatement(
                actions=["states:GetExecutionHistory"], resources=[self._states("execution", f"{self._machine_name}:*")]
            )
        )
        self._acknowledge_machine(jobs, endpoint)

    def _acknowledge_machine(self, jobs: str, endpoint: str) -> None:
        wildcards = [
            self._sagemaker("processing-job", jobs),
            self._sagemaker("training-job", jobs),
            self._sagemaker("model", f"{endpoint}-a-*"),
            self._sagemaker("endpoint-config", f"{endpoint}-a-*"),
            self._sagemaker("model-package", f"{endpoint}/*"),
            self._states("execution", f"{self._machine_name}/*"),
        ]
        for arn in wildcards:
            nag.acknowledge(
                self.machine_role,
                nag.wildcard_resource(self, arn),
                reason="Jobs, models and executions are named after their run, of which one begins each day.",
            )
        nag.acknowledge(
            self.machine_role,
            f"{nag.SOLUTIONS}IAM5[Resource::*]",
            reason="Delivery of logs to CloudWatch and traces to X-Ray know no resource (CDK writes these statements).",
        )
        nag.acknowledge(
            self.functions["report"].role,
            nag.wildcard_resource(self, self._states("execution", f"{self._machine_name}:*")),
            reason="It reads the history of the execution that calls it; each has a name of its own.",
        )

    def _sagemaker(self, kind: str, name: str) -> str:
        return self.format_arn(service="sagemaker", resource=kind, resource_name=name)

    def _states(self, kind: str, name: str) -> str:
        return self.format_arn(
            service="states", resource=kind, resource_name=name, arn_format=ArnFormat.COLON_RESOURCE_NAME
        )

    def _run_alarm(self) -> None:
        failed = cloudwatch.MathExpression(
            expression="failed + timedout + aborted",
            using_metrics={
                "failed": self.machine.metric_failed(),
                "timedout": self.machine.metric_timed_out(),
                "aborted": self.machine.metric_aborted(),
            },
            period=Duration.minutes(5),
        )
        self._alarm(
            "RunFailed", failed, threshold=1, of=(1, 1), description="A run of the daily loop was stopped or failed"
        )

    def _schedule(self) -> scheduler.CfnSchedule:
        settings = self.stage.training
        missed = sqs.Queue(
            self,
            "MissedRuns",
            encryption=sqs.QueueEncryption.KMS,
            encryption_master_key=self.online.key,
            enforce_ssl=True,
            removal_policy=removal_policy(keep=False),
            retention_period=Duration.days(14),
        )
        nag.acknowledge(
            missed, f"{nag.SOLUTIONS}SQS3", reason="It is a dead-letter queue itself: runs that could not be started."
        )
        role = ServiceRole(self, "ScheduleRole", service="scheduler.amazonaws.com")
        self.machine.grant_start_execution(role)
        role.add_to_policy(iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[missed.queue_arn]))
        self.online.key.grant(role, "kms:Decrypt", "kms:GenerateDataKey")
        return scheduler.CfnSchedule(
            self,
            "Daily",
            description="Starts the daily release",
            flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
            name=f"slidr-{self.stage.name}-daily",
            schedule_expression=settings.schedule,
            schedule_expression_timezone="UTC",
            state="ENABLED" if settings.enabled else "DISABLED",
            target=scheduler.CfnSchedule.TargetProperty(
                arn=self.machine.state_machine_arn,
                dead_letter_config=scheduler.CfnSchedule.DeadLetterConfigProperty(arn=missed.queue_arn),
                input=json.dumps({"scheduled": "<aws.scheduler.scheduled-time>"}),
                retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(
                    maximum_event_age_in_seconds=21_600, maximum_retry_attempts=20
                ),
                role_arn=role.role_arn,
            ),
        )

    def _outputs(self) -> None:
        for key, value in {
            "ReleaseMachineArn": self.machine.state_machine_arn,
            "ScheduleName": str(self.schedule.name),
            "ModelPackageGroup": str(self.packages.model_package_group_name),
        }.items():
            CfnOutput(self, key, value=value)
