"""What runs replays and what has matured: two state machines, their functions and roles, their schedules."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from aws_cdk import ArnFormat, Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as stepfunctions
from constructs import Construct

from functions.replay.settings import Settings
from infra import nag
from infra.constructs.bundled_function import BundledFunction, bundle_code
from infra.constructs.private_bucket import removal_policy
from infra.constructs.private_log_group import PrivateLogGroup
from infra.constructs.service_role import ServiceRole
from infra.constructs.training_role import RECORDS, REPLAYS
from infra.data_stack import DataStack
from infra.online_stack import OnlineStack
from infra.replay_machine import ReplayMachineSettings, hours_definition, replay_definition
from infra.settings import Stage
from infra.states import State
from slidr.billing import BILLING

FUNCTIONS: Final = {
    "plan": "Says what a replay reads",
    "summarise": "Adds up what a replay found",
    "publish": "Publishes the corrections of an hour",
    "finish": "Ends a replay and tells of it",
    "plan_hours": "Says which hours have matured or become final",
    "tell_hours": "Tells of matured clicks, moves the watermark of billing",
}
"""Handlers of functions/replay, each a function with a role of its own."""
_FUNCTION_S: Final = 840
_SYNC_RULE: Final = "StepFunctionsGetEventsForSageMakerProcessingJobsRule"


class ReplayRunner(Construct):
    """`replay` takes the input that functions/replay/plan_step.py describes; `hours` takes none."""

    def __init__(
        self, scope: Construct, construct_id: str, *, stage: Stage, data: DataStack, online: OnlineStack, bundle: Path
    ) -> None:
        super().__init__(scope, construct_id)
        self.stage, self.data, self.online = stage, data, online
        self.functions = self._functions(bundle)
        self._grants()
        self.role = ServiceRole(self, "MachineRole", service="states.amazonaws.com")
        logs = PrivateLogGroup(self, "MachineLogs", stage=stage, key=online.key)
        self.replay = self._machine("replay", replay_definition, logs, "SLIDR: past clicks decided again")
        self.hours = self._machine("hours", hours_definition, logs, "SLIDR: clicks that have matured")
        self._machine_grants()
        self._missed, self._schedule_role = self._scheduling()
        every = stage.operations
        undecided = {"undecided": True, "apply": True, "why": "the schedule"}
        self._schedule("undecided", self.replay, every.undecided_schedule, undecided)
        self._schedule("hours", self.hours, every.hours_schedule, {})

    def failed(self) -> cloudwatch.IMetric:
        """Runs of either machine that did not end well."""
        metrics = {
            f"{name}_{machine}": metric
            for machine, of in (("replay", self.replay), ("hours", self.hours))
            for name, metric in (
                ("failed", of.metric_failed()), ("timedout", of.metric_timed_out()), ("aborted", of.metric_aborted()),
            )
        }  # fmt: skip
        total = " + ".join(f"FILL({name}, 0)" for name in metrics)
        return cloudwatch.MathExpression(expression=total, using_metrics=metrics, period=Duration.minutes(5))

    def _functions(self, directory: Path) -> dict[str, BundledFunction]:
        data = self.data
        environment = Settings(
            stage=self.stage.name,
            lake_bucket=data.lake.bucket_name,
            release_bucket=data.releases.bucket_name,
            control_table=data.control.table_name,
            verdict_stream=data.verdicts.stream_name,
            undecided_queue_url=data.undecided.queue_url,
            topic_arn=data.topic.topic_arn,
            profile_days=self.stage.training.profile_days,
            settled_after_s=self.stage.operations.settled_after_s,
            final_after_h=self.stage.operations.final_after_h,
        ).to_environment()
        code = bundle_code(directory)
        return {
            name: BundledFunction(
                self,
                "".join(part.capitalize() for part in name.split("_")),
                stage=self.stage,
                code=code,
                handler=f"functions.replay.handler.{name}",
                description=description,
                environment=environment,
                memory_mb=2_048,
                timeout_s=_FUNCTION_S,
                concurrency=None,
                network=None,
                key=self.online.key,
                no_dead_letters="The machine waits for its answer, and tries again.",
            )
            for name, description in FUNCTIONS.items()
        }

    def _grants(self) -> None:
        data, role = self.data, {name: function.role for name, function in self.functions.items()}
        for prefix in (*RECORDS[::2], REPLAYS):
            data.lake.grant_get(role["plan"], prefix=prefix)
        for prefix in (*RECORDS, REPLAYS, BILLING):
            data.lake.grant_get(role["plan_hours"], prefix=prefix)
        for name in ("summarise", "publish", "finish"):
            data.lake.grant_get(role[name], prefix=REPLAYS)
        data.lake.grant_get(role["tell_hours"], prefix=BILLING)
        for name in ("plan", "summarise", "publish"):
            data.lake.grant_add(role[name], prefix=REPLAYS)
        for name in ("plan_hours", "tell_hours"):
            data.lake.grant_add(role[name], prefix=BILLING)
        data.lake.grant_erase(role["finish"], prefix=f"{REPLAYS}undecided/")
        data.releases.grant_get(role["plan"], prefix="releases/")
        for name in ("plan", "tell_hours"):
            data.control.grant_read_data(role[name])
        data.verdicts.grant_put(role["publish"])
        role["plan"].add_to_policy(
            iam.PolicyStatement(
                actions=["sqs:DeleteMessage", "sqs:ReceiveMessage"], resources=[data.undecided.queue_arn]
            )
        )
        role["finish"].add_to_policy(iam.PolicyStatement(actions=["sns:Publish"], resources=[data.topic.topic_arn]))
        for name in FUNCTIONS:
            data.key.grant(role[name], "kms:Decrypt", "kms:GenerateDataKey")

    def _machine(
        self, name: str, definition: Callable[[ReplayMachineSettings], State], logs: PrivateLogGroup, comment: str
    ) -> stepfunctions.StateMachine:
        stage, training = self.stage, self.stage.training
        settings = ReplayMachineSettings(
            functions={name: one.function.function_arn for name, one in self.functions.items()},
            function_s=_FUNCTION_S,
            lake_bucket=self.data.lake.bucket_name,
            lake_key=self.data.key.key_arn,
            image=self.online.image.uri,
            role=self.online.training_role.role_arn,
            instance_type=training.instance_type,
            volume_gb=training.volume_gb,
            job_timeout_s=training.job_timeout_s,
            retry_s=training.retry_s,
            timeout_s=86_400,
        )
        made = stepfunctions.StateMachine(
            self,
            name.capitalize(),
            comment=comment,
            definition_body=stepfunctions.DefinitionBody.from_string(
                Stack.of(self).to_json_string(definition(settings))
            ),
            logs=stepfunctions.LogOptions(
                destination=logs, include_execution_data=False, level=stepfunctions.LogLevel.ALL
            ),
            removal_policy=removal_policy(keep=False),
            role=self.role,
            state_machine_name=self._named(name),
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

    def _named(self, machine: str) -> str:
        return f"slidr-{self.stage.name}-{machine}"

    def _machine_grants(self) -> None:
        stack = Stack.of(self)
        jobs = [
            stack.format_arn(service="sagemaker", resource="processing-job", resource_name=f"{self._named(name)}-*")
            for name in ("replay", "hours")
        ]
        machine = self._states("stateMachine", self._named("replay"))
        executions = self._states("execution", f"{self._named('replay')}/*")
        allowed: list[tuple[list[str], list[str]]] = [
            (
                ["sagemaker:AddTags", "sagemaker:CreateProcessingJob", "sagemaker:DescribeProcessingJob",
                 "sagemaker:StopProcessingJob"],
                jobs,
            ),
            (
                ["events:DescribeRule", "events:PutRule", "events:PutTargets"],
                [stack.format_arn(service="events", resource="rule", resource_name=_SYNC_RULE)],
            ),
            (["states:StartExecution"], [machine]),
            (["states:DescribeExecution", "states:StopExecution"], [executions]),
            (["lambda:InvokeFunction"], [one.function.function_arn for one in self.functions.values()]),
        ]  # fmt: skip
        for did, on in allowed:
            self.role.add_to_policy(iam.PolicyStatement(actions=did, resources=on))
        self.role.add_to_policy(
            iam.PolicyStatement(
                actions=["iam:PassRole"],
                conditions={"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
                resources=[self.online.training_role.role_arn],
            )
        )
        self.data.lake.grant_get(self.role, prefix=REPLAYS)  # the lists of its maps
        for arn in (*jobs, executions):
            nag.acknowledge(
                self.role,
                nag.wildcard_resource(stack, arn),
                reason="Jobs and executions are named after the run and the day that they replay.",
            )
        nag.acknowledge(
            self.role,
            f"{nag.SOLUTIONS}IAM5[Resource::*]",
            reason="Delivery of logs to CloudWatch and traces to X-Ray know no resource (CDK writes these statements).",
        )

    def _states(self, kind: str, name: str) -> str:
        return Stack.of(self).format_arn(
            service="states", resource=kind, resource_name=name, arn_format=ArnFormat.COLON_RESOURCE_NAME
        )

    def _scheduling(self) -> tuple[sqs.Queue, ServiceRole]:
        """Where runs go that cannot be started, and the role that starts them."""
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
        for machine in (self.replay, self.hours):
            machine.grant_start_execution(role)
        role.add_to_policy(iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[missed.queue_arn]))
        self.online.key.grant(role, "kms:Decrypt", "kms:GenerateDataKey")
        return missed, role

    def _schedule(
        self, name: str, machine: stepfunctions.StateMachine, every: str, given: Mapping[str, object]
    ) -> None:
        scheduler.CfnSchedule(
            self,
            f"{name.capitalize()}Schedule",
            description=f"Starts {machine.node.id}",
            flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
            name=f"slidr-{self.stage.name}-{name}",
            schedule_expression=every,
            schedule_expression_timezone="UTC",
            state="ENABLED" if self.stage.operations.schedules_enabled else "DISABLED",
            target=scheduler.CfnSchedule.TargetProperty(
                arn=machine.state_machine_arn,
                dead_letter_config=scheduler.CfnSchedule.DeadLetterConfigProperty(arn=self._missed.queue_arn),
                input=json.dumps(given),
                retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(
                    maximum_event_age_in_seconds=3_600, maximum_retry_attempts=10
                ),
                role_arn=self._schedule_role.role_arn,
            ),
        )
