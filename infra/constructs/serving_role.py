"""The role of the serving containers' host."""

from __future__ import annotations

from aws_cdk import Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from constructs import Construct

from infra import nag
from infra.constructs.private_bucket import PrivateBucket
from infra.constructs.sagemaker_role import SageMakerRole


class ServingRole(SageMakerRole):
    """What SageMaker does for the endpoint besides: fetch the model, attach to the network.

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
        super().__init__(scope, construct_id, log_group=f"/aws/sagemaker/Endpoints/{endpoint_name}")
        releases.grant_get(self, prefix="artifacts/")
        key.grant(self, "kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey")
        self._attach_to_network(vpc=vpc, group=group)

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
