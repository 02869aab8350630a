"""The role of the serving containers' host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from infra import nag
from infra.constructs.private_bucket import PrivateBucket
from infra.constructs.service_role import ServiceRole


class ServingRole(ServiceRole):
    """What SageMaker does in our name: fetch the model, attach to the network, write logs and metrics.

    The container itself is isolated and can call nothing.
    Source: Amazon SageMaker AI developer guide, "CreateModel API: Execution Role Permissions".
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        endpoint_name: str,
        releases: PrivateBucket,
        vpc: ec2.IVpc,
        group: ec2.ISecurityGroup,
        key: kms.IKey,
    ) -> None:
        super().__init__(scope, construct_id, service="sagemaker.amazonaws.com")
        releases.grant_get(self, prefix="artifacts/")
        key.grant(self, "kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey")
        self._attach_to_network(vpc=vpc, group=group)
        self._write_logs(f"/aws/sagemaker/Endpoints/{endpoint_name}")
        self._allow(
            ["cloudwatch:PutMetricData"],
            ["*"],
            conditions={"StringLike": {"cloudwatch:namespace": ["/aws/sagemaker/*", "AWS/SageMaker"]}},
        )
        nag.acknowledge(
            self,
            f"{nag.SOLUTIONS}IAM5[Resource::*]",
            reason="ec2:Describe*, ecr:GetAuthorizationToken and cloudwatch:PutMetricData know no resource; a "
            "condition holds the metrics to SageMaker's namespaces.",
        )

    def _attach_to_network(self, *, vpc: ec2.IVpc, group: ec2.ISecurityGroup) -> None:
        stack = Stack.of(self)
        interfaces = stack.format_arn(service="ec2", resource="network-interface", resource_name="*")
        places = [
            stack.format_arn(service="ec2", resource="security-group", resource_name=group.security_group_id),
            *(
                stack.format_arn(service="ec2", resource="subnet", resource_name=subnet.subnet_id)
                for subnet in vpc.isolated_subnets
            ),
        ]
        self._allow(
            [
                "ec2:CreateNetworkInterface",
                "ec2:CreateNetworkInterfacePermission",
                "ec2:DeleteNetworkInterface",
                "ec2:DeleteNetworkInterfacePermission",
            ],
            [interfaces, *places],
        )
        self._allow(
            [
                "ec2:DescribeDhcpOptions",
                "ec2:DescribeNetworkInterfaces",
                "ec2:DescribeSecurityGroups",
                "ec2:DescribeSubnets",
                "ec2:DescribeVpcs",
            ],
            ["*"],
        )
        nag.acknowledge(
            self,
            nag.wildcard_resource(stack, interfaces),
            reason="A network interface has no id before it is created; subnets and security group are named.",
        )

    def _write_logs(self, log_group: str) -> None:
        stack = Stack.of(self)
        arn = stack.format_arn(
            service="logs",
            resource="log-group",
            resource_name=f"{log_group}:*",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        self._allow(
            ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"], [arn]
        )
        nag.acknowledge(
            self,
            nag.wildcard_resource(stack, arn),
            reason="SageMaker names a log stream after each instance that it starts.",
        )

    def _allow(
        self,
        actions: Sequence[str],
        resources: Sequence[str],
        *,
        conditions: Mapping[str, Mapping[str, list[str]]] | None = None,
    ) -> None:
        self.add_to_policy(iam.PolicyStatement(actions=[*actions], conditions=conditions, resources=[*resources]))
