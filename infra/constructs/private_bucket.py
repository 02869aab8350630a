"""A bucket that nobody outside the account can read, over TLS only, encrypted with a key of ours."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra import nag


class PrivateBucket(s3.Bucket):
    """An S3 bucket with public access blocked, TLS enforced, KMS encryption and server access logs.

    Its own grants are narrower than CDK's, which would let a writer read and delete too.
    """

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
        self._key = key
        acknowledge_single_region(self)

    def grant_get(self, role: iam.Role, *, prefix: str) -> None:
        """Let `role` read objects under `prefix` (with its slash), and learn which do not exist."""
        self._allow_objects(role, ["s3:GetObject"], prefix=prefix)
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["s3:ListBucket"],
                conditions={"StringLike": {"s3:prefix": f"{prefix}*"}},
                resources=[self.bucket_arn],
            )
        )
        self._key.grant(role, "kms:Decrypt")

    def grant_add(self, role: iam.Role, *, prefix: str) -> None:
        """Let `role` write objects under `prefix`; it cannot read or delete them."""
        self._allow_objects(role, ["s3:PutObject"], prefix=prefix)
        self._key.grant(role, "kms:GenerateDataKey")

    def grant_erase(self, role: iam.Role, *, prefix: str) -> None:
        """Let `role` delete objects under `prefix`; a bucket with versions keeps them as its lifecycle says."""
        self._allow_objects(role, ["s3:DeleteObject"], prefix=prefix)

    def grant_deliver(self, role: iam.Role, *, prefixes: Sequence[str]) -> None:
        """Let Firehose write large objects in parts.

        Source: Amazon Data Firehose developer guide, "Grant Firehose access to an Amazon S3 destination".
        """
        for prefix in prefixes:
            self._allow_objects(role, ["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"], prefix=prefix)
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"],
                resources=[self.bucket_arn],
            )
        )
        self._key.grant(role, "kms:Decrypt", "kms:GenerateDataKey")

    def _allow_objects(self, role: iam.Role, actions: Sequence[str], *, prefix: str) -> None:
        role.add_to_policy(iam.PolicyStatement(actions=[*actions], resources=[self.arn_for_objects(f"{prefix}*")]))
        # The role is in another stack: what cdk-nag sees of the bucket is the name of an export.
        stack = Stack.of(self)
        exported = stack.resolve(stack.export_value(self.bucket_arn))["Fn::ImportValue"]
        nag.acknowledge(
            role,
            f"{nag.SOLUTIONS}IAM5[Resource::{exported}/{prefix}*]",
            reason=f"Keys under {prefix} hold times and ids that are not known before they are written.",
        )


def acknowledge_single_region(bucket: s3.Bucket) -> None:
    """Say why a bucket has neither a copy in another region nor object lock."""
    nag.acknowledge(
        bucket,
        nag.nist("S3BucketReplicationEnabled"),
        reason="One region serves; a second would hold pseudonymous data twice and must be decided by its operator.",
    )
    nag.acknowledge(
        bucket,
        f"{nag.NIST_R4}S3BucketDefaultLockEnabled",
        reason="Stored data must stay erasable (design rule 9): a lock would forbid the erasure that expiry promises.",
    )


def removal_policy(*, keep: bool) -> RemovalPolicy:
    """Retain what must outlive its stack, destroy the rest."""
    return RemovalPolicy.RETAIN if keep else RemovalPolicy.DESTROY
