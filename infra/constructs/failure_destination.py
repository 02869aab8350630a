"""Where an event source puts what its function cannot process."""

from __future__ import annotations

import jsii
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_

from infra.constructs.private_bucket import PrivateBucket

PREFIX = "aws/lambda/"
"""Lambda writes `aws/lambda/<event source mapping>/<shard>/YYYY/MM/DD/...`, invocation record and payload."""


@jsii.implements(lambda_.IEventSourceDlq)
class PutOnlyFailureDestination:
    """An S3 on-failure destination, payload included.

    Unlike CDK's S3OnFailureDestination it does not let the function read and delete what lies in the bucket.
    Source: AWS Lambda developer guide, "Retaining discarded batch records for a Kinesis event source".
    """

    def __init__(self, *, bucket: PrivateBucket, role: iam.Role) -> None:
        self._bucket = bucket
        self._role = role

    def bind(
        self, _target: lambda_.IEventSourceMapping, _target_handler: lambda_.IFunction
    ) -> lambda_.DlqDestinationConfig:
        """Grant what the service asks of the function's role, and name the bucket."""
        self._bucket.grant_add(self._role, prefix=PREFIX)
        self._role.add_to_policy(iam.PolicyStatement(actions=["s3:ListBucket"], resources=[self._bucket.bucket_arn]))
        return lambda_.DlqDestinationConfig(destination=self._bucket.bucket_arn)
