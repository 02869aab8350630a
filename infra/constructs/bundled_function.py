"""A Lambda function made from a bundle, with its own role and log group; inside the private network, or outside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from aws_cdk import Duration
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra import nag
from infra.constructs.private_log_group import PrivateLogGroup
from infra.constructs.private_network import PrivateNetwork
from infra.constructs.service_role import ServiceRole
from infra.settings import Stage

_NETWORK_POLICY: Final = "service-role/AWSLambdaVPCAccessExecutionRole"
_LOGS_POLICY: Final = "service-role/AWSLambdaBasicExecutionRole"


class BundledFunction(Construct):
    """A Python function. Grants go to `role`.

    Without a `network` it can reach the public addresses of AWS and nothing of ours that is private.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: Stage,
        code: lambda_.Code,
        handler: str,
        description: str,
        environment: Mapping[str, str],
        memory_mb: int,
        timeout_s: int,
        concurrency: int | None,
        network: PrivateNetwork | None,
        key: kms.IKey,
        no_dead_letters: str = "Never invoked asynchronously: what fails goes to the event source's failure "
        "destination, or back to Firehose.",
    ) -> None:
        """A function.

        Args:
            scope: see Construct.
            construct_id: see Construct.
            stage: see there.
            code: of the bundle.
            handler: module and function.
            description: what it is for.
            environment: its variables.
            memory_mb: of the function.
            timeout_s: of one invocation.
            concurrency: reserved executions; None for none.
            network: where it runs; None outside of it.
            key: of its logs.
            no_dead_letters: why it needs no queue for invocations that failed.
        """
        super().__init__(scope, construct_id)
        self._no_dead_letters = no_dead_letters
        self.log_group = PrivateLogGroup(self, "Logs", stage=stage, key=key)
        self.role = ServiceRole(
            self,
            "Role",
            service="lambda.amazonaws.com",
            managed_policy=_NETWORK_POLICY if network else _LOGS_POLICY,
        )
        self.function = lambda_.Function(
            self,
            "Function",
            architecture=(
                lambda_.Architecture.ARM_64 if stage.functions.architecture == "arm64" else lambda_.Architecture.X86_64
            ),
            code=code,
            description=description,
            environment=dict(environment),
            handler=handler,
            log_group=self.log_group,
            memory_size=memory_mb,
            reserved_concurrent_executions=concurrency,
            role=self.role,
            runtime=lambda_.Runtime(f"python{stage.functions.python}", lambda_.RuntimeFamily.PYTHON),
            security_groups=[network.functions_group] if network else None,
            timeout=Duration.seconds(timeout_s),
            tracing=lambda_.Tracing.ACTIVE if stage.tracing else lambda_.Tracing.DISABLED,
            vpc=network.vpc if network else None,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED) if network else None,
        )
        self._acknowledge(traced=stage.tracing, inside=network is not None, reserved=concurrency is not None)

    def _acknowledge(self, *, traced: bool, inside: bool, reserved: bool) -> None:
        nag.acknowledge(
            self.role,
            f"{nag.SOLUTIONS}IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/"
            f"{_NETWORK_POLICY if inside else _LOGS_POLICY}]",
            reason="What Lambda needs to attach a function to a network; AWS keeps it current. No API of EC2 can be "
            "reached from inside: the network has no route to one."
            if inside
            else "What Lambda needs to write a function's logs; AWS keeps it current.",
        )
        if not inside:
            nag.acknowledge(
                self.function,
                nag.nist("LambdaInsideVPC"),
                reason="It calls APIs of AWS only, over TLS and with its role; the private network has no endpoint for "
                "Step Functions or SNS, and nothing else that it needs.",
            )
        if not reserved:
            nag.acknowledge(
                self.function,
                nag.nist("LambdaConcurrency")[1],
                reason="One run a day invokes it a few times; reserved executions would be taken from all others.",
            )
        if traced:
            nag.acknowledge(
                self.role,
                f"{nag.SOLUTIONS}IAM5[Resource::*]",
                reason="xray:PutTraceSegments and PutTelemetryRecords know no resource.",
            )
        nag.acknowledge(
            self.function,
            nag.nist("LambdaDLQ")[1],
            reason=self._no_dead_letters,
        )
        nag.acknowledge(
            self.function,
            f"{nag.SOLUTIONS}L1",
            reason="Python 3.13 is supported until 2029; the newest runtime is taken once every locked package has "
            "wheels for it on arm64.",
        )


def bundle_code(directory: Path) -> lambda_.Code:
    """A bundle as a CDK asset."""
    return lambda_.Code.from_asset(str(directory))
