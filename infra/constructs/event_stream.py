"""A Kinesis stream of JSON records, encrypted with a key of ours."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_kinesis as kinesis
from aws_cdk import aws_kms as kms
from constructs import Construct

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
