"""A Kinesis stream of JSON records, encrypted with a key of ours."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kinesis as kinesis
from aws_cdk import aws_kms as kms
from constructs import Construct

from infra import nag
from infra.constructs.private_bucket import removal_policy
from infra.settings import StreamSettings


class EventStream(kinesis.Stream):
    """A stream in on-demand mode, or with the stage's fixed shards."""

    def __init__(
        self, scope: Construct, construct_id: str, *, key: kms.IKey, settings: StreamSettings, keep: bool
    ) -> None:
        on_demand = settings.shards == 0
        super().__init__(
            scope,
            construct_id,
            encryption=kinesis.StreamEncryption.KMS,
            encryption_key=key,
            removal_policy=removal_policy(keep=keep),
            retention_period=Duration.hours(settings.retention_h),
            shard_count=None if on_demand else settings.shards,
            stream_mode=kinesis.StreamMode.ON_DEMAND if on_demand else kinesis.StreamMode.PROVISIONED,
        )
        self._key = key
        nag.acknowledge(
            self,
            f"{nag.SOLUTIONS}KDS3",
            reason="Records hold personal data before pseudonymisation: a key of ours can be audited and withdrawn.",
        )

    def grant_put(self, role: iam.Role) -> None:
        """Let `role` put records, and no more: CDK's own grant would let it re-encrypt with the key too."""
        role.add_to_policy(iam.PolicyStatement(actions=["kinesis:PutRecords"], resources=[self.stream_arn]))
        self._key.grant(role, "kms:GenerateDataKey")
