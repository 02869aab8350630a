"""A role that SageMaker assumes to run one of our containers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra import nag
from infra.constructs.service_role import ServiceRole


class SageMakerRole(ServiceRole):
    """What SageMaker does in our name for any container: pull the image, write its logs and metrics.

    The container itself is isolated and can call nothing.
    Source: Amazon SageMaker AI developer guide, "How to use SageMaker AI execution roles".
    """

    def __init__(self, scope: Construct, construct_id: str, *, log_group: str) -> None:
        super().__init__(scope, construct_id, service="sagemaker.amazonaws.com")
        self.write_logs(log_group)
        self._allow(
            ["cloudwatch:PutMetricData"],
            ["*"],
            conditions={"StringLike": {"cloudwatch:namespace": ["/aws/sagemaker/*", "AWS/SageMaker"]}},
        )
        nag.acknowledge(
            self,
            f"{nag.SOLUTIONS}IAM5[Resource::*]",
            reason="ecr:GetAuthorizationToken, cloudwatch:PutMetricData and, for a network, ec2:Describe* know no "
            "resource; a condition holds the metrics to SageMaker's namespaces.",
        )

    def write_logs(self, log_group: str) -> None:
        """Let the containers write to this group, which SageMaker makes."""
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
