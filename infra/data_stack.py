"""What must outlive any deployment: streams, buckets, tables, queues, the pseudonym key, the lake's schema."""

from __future__ import annotations

from typing import Any

from aws_cdk import CfnOutput, Duration, Fn, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_glue as glue
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra import nag
from infra.constructs.event_stream import EventStream
from infra.constructs.lake_table import LakeTable
from infra.constructs.private_bucket import PrivateBucket, acknowledge_single_region, removal_policy
from infra.settings import Stage
from slidr.archive import ArchivedClick, ArchivedPurchase
from slidr.verdict import Verdict

FAILED_DELIVERIES = "failed-deliveries"
"""Prefix of the lake where Firehose puts what it could not transform or write; gone after the quarantine's days."""


class DataStack(Stack):
    """The stateful half; retained, encrypted with keys of ours, closed to the public."""

    def __init__(self, scope: Construct, construct_id: str, *, stage: Stage, **stack: Any) -> None:
        super().__init__(scope, construct_id, description="SLIDR: streams, lake, tables (retained)", **stack)
        self.stage = stage
        self.key = self._key("DataKey", "SLIDR streams, lake, releases, tables, queues and secrets")
        self.quarantine_key = self._key("QuarantineKey", "SLIDR rejects and failure payloads: raw records, 7 days")
        self._streams()
        self._buckets()
        self._tables()
        self._queues()
        self._secret()
        self._schema()
        self._outputs()

    @property
    def availability_zones(self) -> list[str]:
        """Zones by position: no look-up, so no credentials at synth."""
        return [Fn.select(index, Fn.get_azs()) for index in range(self.stage.zones)]

    def _key(self, construct_id: str, description: str) -> kms.Key:
        return kms.Key(
            self,
            construct_id,
            alias=f"slidr-{self.stage.name}-{construct_id.removesuffix('Key').lower()}",
            description=description,
            enable_key_rotation=True,
            removal_policy=removal_policy(keep=self.stage.keep_data),
        )

    def _streams(self) -> None:
        keep, settings = self.stage.keep_data, self.stage.streams
        self.clicks = EventStream(self, "Clicks", key=self.key, settings=settings, keep=keep)
        self.purchases = EventStream(self, "Purchases", key=self.key, settings=settings, keep=keep)
        self.verdicts = EventStream(self, "Verdicts", key=self.key, settings=settings, keep=keep)

    def _buckets(self) -> None:
        keep, days = self.stage.keep_data, self.stage.lake
        self.access_logs = s3.Bucket(
            self,
            "AccessLogs",
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            encryption=s3.BucketEncryption.S3_MANAGED,  # log delivery cannot write with a KMS key
            enforce_ssl=True,
            lifecycle_rules=[s3.LifecycleRule(id="expire", expiration=Duration.days(days.access_log_days))],
            minimum_tls_version=1.2,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            removal_policy=removal_policy(keep=keep),
        )
        acknowledge_single_region(self.access_logs)
        nag.acknowledge(
            self.access_logs,
            nag.nist("S3BucketVersioningEnabled"),
            reason="Log delivery writes every object once, under a new name.",
        )
        nag.acknowledge(
            self.access_logs,
            f"{nag.NIST_R5}S3DefaultEncryptionKMS",
            reason="S3 delivers access logs only to buckets encrypted with its own keys (SSE-S3).",
        )
        self.lake = PrivateBucket(
            self,
            "Lake",
            key=self.key,
            access_logs=self.access_logs,
            versioned=True,
            keep=keep,
            lifecycle=[
                s3.LifecycleRule(
                    id="erase",
                    expiration=Duration.days(days.lake_days),
                    noncurrent_version_expiration=Duration.days(7),
                ),
                s3.LifecycleRule(
                    id="erase-failed-deliveries",
                    expiration=Duration.days(days.quarantine_days),
                    noncurrent_version_expiration=Duration.days(1),
                    prefix=f"{FAILED_DELIVERIES}/",
                ),
            ],
        )
        self.releases = PrivateBucket(
            self,
            "Releases",
            key=self.key,
            access_logs=self.access_logs,
            versioned=True,
            keep=keep,
            lifecycle=[s3.LifecycleRule(id="old-versions", noncurrent_version_expiration=Duration.days(90))],
        )
        self.quarantine = PrivateBucket(
            self,
            "Quarantine",
            key=self.quarantine_key,
            access_logs=self.access_logs,
            versioned=False,  # raw records: an expired object must be gone, not noncurrent
            keep=keep,
            lifecycle=[s3.LifecycleRule(id="erase", expiration=Duration.days(days.quarantine_days))],
        )
        nag.acknowledge(
            self.quarantine,
            nag.nist("S3BucketVersioningEnabled"),
            reason="Raw records must be gone after their days; versions would keep them longer.",
        )

    def _tables(self) -> None:
        self.control = self._table("Control", partition_key="name")
        self.profiles = self._table("Profiles", partition_key="key")

    def _table(self, construct_id: str, *, partition_key: str) -> dynamodb.Table:
        table = dynamodb.Table(
            self,
            construct_id,
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            deletion_protection=self.stage.keep_data,
            encryption=dynamodb.TableEncryption.CUSTOMER_MANAGED,
            encryption_key=self.key,
            partition_key=dynamodb.Attribute(name=partition_key, type=dynamodb.AttributeType.STRING),
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True, recovery_period_in_days=35
            ),
            removal_policy=removal_policy(keep=self.stage.keep_data),
            time_to_live_attribute="expires_at",
        )
        nag.acknowledge(
            table,
            nag.nist("DynamoDBInBackupPlan"),
            reason="Point-in-time recovery covers 35 days to the second; a backup plan would add nothing.",
        )
        return table

    def _queues(self) -> None:
        self.undecided_dead = self._queue("UndecidedDeadLetters", dead_letters=None)
        self.undecided = self._queue(
            "Undecided", dead_letters=sqs.DeadLetterQueue(max_receive_count=5, queue=self.undecided_dead)
        )
        self.topic = sns.Topic(
            self, "Alerts", display_name=f"SLIDR {self.stage.name}", enforce_ssl=True, master_key=self.key
        )
        for service in ("cloudwatch", "events"):
            self.key.grant_encrypt_decrypt(
                iam.ServicePrincipal(
                    f"{service}.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": self.account}}
                )
            )
        if self.stage.alarm_email:
            self.topic.add_subscription(subscriptions.EmailSubscription(self.stage.alarm_email))

    def _queue(self, construct_id: str, *, dead_letters: sqs.DeadLetterQueue | None) -> sqs.Queue:
        return sqs.Queue(
            self,
            construct_id,
            dead_letter_queue=dead_letters,
            encryption=sqs.QueueEncryption.KMS,
            encryption_master_key=self.key,
            enforce_ssl=True,
            removal_policy=removal_policy(keep=self.stage.keep_data),
            retention_period=Duration.days(14),
            visibility_timeout=Duration.minutes(5),
        )

    def _secret(self) -> None:
        # CloudFormation makes a new value whenever this generator changes, and a new value breaks every counter
        # and every join with history (rule 9). 64 letters and digits are valid base64 for 48 bytes.
        self.pseudonym_secret = secretsmanager.Secret(
            self,
            "PseudonymKey",
            description="HMAC key of all pseudonyms. Changing it resets counters and joins; see the runbook first.",
            encryption_key=self.key,
            generate_secret_string=secretsmanager.SecretStringGenerator(
                exclude_punctuation=True,
                generate_string_key="key_base64",
                include_space=False,
                password_length=64,
                secret_string_template='{"version": 1}',  # noqa: S106  # a template, not a secret
            ),
            removal_policy=removal_policy(keep=self.stage.keep_data),
        )
        nag.acknowledge(
            self.pseudonym_secret,
            (f"{nag.SOLUTIONS}SMG4", f"{nag.NIST_R5}SecretsManagerRotationEnabled"),
            reason="A new key resets every counter and join (design rule 9): rotation is a runbook, never a timer.",
        )

    def grant_read_pseudonym_key(self, grantee: iam.IGrantable) -> None:
        """Let `grantee` read the pseudonym key.

        The secret's own grant would name the grantee in the key's policy: this stack would depend on the grantee's.
        """
        self.key.grant_decrypt(grantee)
        iam.Grant.add_to_principal(
            actions=["secretsmanager:GetSecretValue"],
            grantee=grantee,
            resource_arns=[self.pseudonym_secret.secret_arn],
        )

    def grant_queue_undecided(self, role: iam.Role) -> None:
        """Let `role` queue undecided clicks, and no more."""
        role.add_to_policy(iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[self.undecided.queue_arn]))
        self.key.grant(role, "kms:Decrypt", "kms:GenerateDataKey")

    def _schema(self) -> None:
        self.database = glue.CfnDatabase(
            self,
            "Database",
            catalog_id=self.account,
            database_input=glue.CfnDatabase.DatabaseInputProperty(
                name=f"slidr_{self.stage.name}", description="The SLIDR lake"
            ),
        )
        self.click_table = self._lake_table("ClickTable", "clicks", ArchivedClick)
        self.purchase_table = self._lake_table("PurchaseTable", "purchases", ArchivedPurchase)
        self.verdict_table = self._lake_table("VerdictTable", "verdicts", Verdict)

    def _lake_table(self, construct_id: str, name: str, record: type) -> LakeTable:
        return LakeTable(self, construct_id, database=self.database, lake=self.lake, name=name, record=record)

    def _outputs(self) -> None:
        for key, value in {
            "ClickStream": self.clicks.stream_name,
            "PurchaseStream": self.purchases.stream_name,
            "VerdictStream": self.verdicts.stream_name,
            "LakeBucket": self.lake.bucket_name,
            "LakeKey": self.key.key_arn,
            "ReleaseBucket": self.releases.bucket_name,
            "QuarantineBucket": self.quarantine.bucket_name,
            "ControlTable": self.control.table_name,
            "ProfileTable": self.profiles.table_name,
            "UndecidedQueueUrl": self.undecided.queue_url,
            "PseudonymSecret": self.pseudonym_secret.secret_arn,  # as good a SecretId as the name
        }.items():
            CfnOutput(self, key, value=value)
