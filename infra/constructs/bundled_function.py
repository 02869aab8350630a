"""A Lambda function made from a bundle, inside the private network, with its own role and log group."""

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


class BundledFunction(Construct):
    """A Python function in the private network. Grants go to `role`."""

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
        concurrency: int,
        network: PrivateNetwork,
        key: kms.IKey,
    ) -> None:
        super().__init__(scope, construct_id)
        self.log_group = PrivateLogGroup(self, "Logs", stage=stage, key=key)
        self.role = ServiceRole(
            self,
            "Role",
            service="lambda.amazonaws.com",
            managed_policy=_NETWORK_POLICY,
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
            security_groups=[network.functions_group],
            timeout=Duration.seconds(timeout_s),
            tracing=lambda_.Tracing.ACTIVE if stage.tracing else lambda_.Tracing.DISABLED,
            vpc=network.vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED),
        )
        self._acknowledge(traced=stage.tracing)

    def _acknowledge(self, *, traced: bool) -> None:
        nag.acknowledge(
            self.role,
            f"{nag.SOLUTIONS}IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/{_NETWORK_POLICY}]",
            reason="What Lambda needs to attach a function to a network; AWS keeps it current. No API of EC2 can be "
            "reached from inside: the network has no route to one.",
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
            reason="Never invoked asynchronously: what fails goes to the event source's failure destination, or back "
            "to Firehose.",
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
