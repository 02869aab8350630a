"""A bucket that nobody outside the account can read, over TLS only, encrypted with a key of ours."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct


class PrivateBucket(s3.Bucket):
    """An S3 bucket with public access blocked, TLS enforced, KMS encryption and server access logs."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        key: kms.IKey,
        access_logs: s3.IBucket,
        versioned: bool,
        keep: bool,
        lifecycle: Sequence[s3.LifecycleRule],
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            access_control=None,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            bucket_key_enabled=True,  # one KMS call a bucket key, not one an object
            encryption=s3.BucketEncryption.KMS,
            encryption_key=key,
            enforce_ssl=True,
            lifecycle_rules=[
                s3.LifecycleRule(id="abandoned-uploads", abort_incomplete_multipart_upload_after=Duration.days(7)),
                *lifecycle,
            ],
            minimum_tls_version=1.2,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            removal_policy=removal_policy(keep=keep),
            server_access_logs_bucket=access_logs,
            server_access_logs_prefix=f"{construct_id.lower()}/",
            versioned=versioned,
        )


def removal_policy(*, keep: bool) -> RemovalPolicy:
    """Retain what must outlive its stack, destroy the rest."""
    return RemovalPolicy.RETAIN if keep else RemovalPolicy.DESTROY
