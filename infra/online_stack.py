"""What decides clicks: the network, the counter cache, the endpoint, the functions, the deliveries to the lake."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from aws_cdk import ArnFormat, CfnOutput, Duration, Fn, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kinesis as kinesis
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as event_sources
from constructs import Construct

from functions.prepare_archive.settings import RecordKind
from functions.prepare_archive.settings import Settings as ArchiveSettings
from functions.score_clicks.settings import Settings as ScoreSettings
from infra.constructs.archive_delivery import ArchiveDelivery
from infra.constructs.bundled_function import BundledFunction, bundle_code
from infra.constructs.counter_cache import CounterCache
from infra.constructs.failure_destination import PutOnlyFailureDestination
from infra.constructs.lake_table import LakeTable
from infra.constructs.private_bucket import removal_policy
from infra.constructs.private_log_group import PrivateLogGroup
from infra.constructs.private_network import PrivateNetwork
from infra.constructs.scoring_endpoint import ScoringEndpoint
from infra.constructs.serving_image import ServingImage
from infra.constructs.training_role import TrainingRole
from infra.data_stack import FAILED_DELIVERIES, DataStack
from infra.settings import Stage, StageInvalid

REJECTS: Final = "rejects/"
"""Prefix of the quarantine bucket where functions put records that break their contract."""


class OnlineStack(Stack):
    """The stateless half: it can be deleted and deployed again without losing a click."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: Stage,
        data: DataStack,
        bundles: Mapping[str, Path],
        **stack: Any,
    ) -> None:
        super().__init__(scope, construct_id, description="SLIDR: clicks to verdicts", **stack)
        self.stage = stage
        self.data = data
        self.key = self._key()
        self.network = PrivateNetwork(
            self,
            "Network",
            stage=stage,
            account=self.account,
            log_group=PrivateLogGroup(self, "FlowLogs", stage=stage, key=self.key),
        )
        self.cache = CounterCache(
            self,
            "Cache",
            stage=stage,
            vpc=self.network.vpc,
            clients=self.network.functions_group,
            key=self.key,
        )
        self.image = ServingImage(self, "Image", stage=stage)
        self.endpoint = ScoringEndpoint(
            self,
            "Scoring",
            stage=stage,
            image=self.image.uri,
            releases=data.releases,
            vpc=self.network.vpc,
            key=self.key,
        )
        self.image.grant_pull(self.endpoint.role)
        self.training_role = TrainingRole(self, "TrainingRole", lake=data.lake, lake_key=data.key)
        self.image.grant_pull(self.training_role)
        self.score_clicks = self._score_clicks(bundles["score_clicks"])
        archive_code = bundle_code(bundles["prepare_archive"])
        self._archive("ClickArchive", "click", data.clicks, data.click_table, archive_code)
        self._archive("PurchaseArchive", "purchase", data.purchases, data.purchase_table, archive_code)
        self._archive("VerdictArchive", "verdict", data.verdicts, data.verdict_table, archive_code)
        self._outputs()

    @property
    def availability_zones(self) -> list[str]:
        """Zones by position: no look-up, so no credentials at synth."""
        return [Fn.select(index, Fn.get_azs()) for index in range(self.stage.zones)]

    def _key(self) -> kms.Key:
        key = kms.Key(
            self,
            "OnlineKey",
            alias=f"slidr-{self.stage.name}-online",
            description="SLIDR logs, counter cache and endpoint volumes",
            enable_key_rotation=True,
            removal_policy=removal_policy(keep=self.stage.keep_data),
        )
        log_arns = self.format_arn(
            service="logs", resource="log-group", resource_name="*", arn_format=ArnFormat.COLON_RESOURCE_NAME
        )
        key.grant_encrypt_decrypt(
            iam.ServicePrincipal(
                f"logs.{self.region}.amazonaws.com",
                conditions={"ArnLike": {"kms:EncryptionContext:aws:logs:arn": log_arns}},
            )
        )
        return key

    def _score_clicks(self, directory: Path) -> BundledFunction:
        data, settings = self.data, self.stage.functions
        scoring = ScoreSettings(
            stage=self.stage.name,
            verdict_stream=data.verdicts.stream_name,
            quarantine_bucket=data.quarantine.bucket_name,
            undecided_queue_url=data.undecided.queue_url,
            control_table=data.control.table_name,
            profile_table=data.profiles.table_name,
            release_bucket=data.releases.bucket_name,
            endpoint_name=self.endpoint.name,
            cache_host=self.cache.address,
            cache_port=cast("int", self.cache.port),  # a CloudFormation token: text until it is deployed
            cache_tls=self.stage.cache.tls,
            cache_cluster=self.stage.cache.cluster_mode,
            cache_secret_id=self.cache.auth_secret.secret_arn if self.cache.auth_secret else None,
            pseudonym_secret_id=data.pseudonym_secret.secret_arn,
        )
        if settings.score_timeout_s <= scoring.longest_batch_s:
            raise StageInvalid(
                f"functions.score_timeout_s must be over {scoring.longest_batch_s:.0f}, what a batch may wait for its "
                f"services, came {settings.score_timeout_s}; raise it, or shorten the function's own timeouts"
            )
        scorer = BundledFunction(
            self,
            "ScoreClicks",
            stage=self.stage,
            code=bundle_code(directory),
            handler="functions.score_clicks.handler.handler",
            description="Clicks to verdicts, one batch at a time",
            environment=scoring.to_environment(),
            memory_mb=settings.score_memory_mb,
            timeout_s=settings.score_timeout_s,
            concurrency=settings.score_concurrency,
            network=self.network,
            key=self.key,
        )
        role = scorer.role
        data.verdicts.grant_put(role)
        data.quarantine.grant_add(role, prefix=REJECTS)
        data.grant_queue_undecided(role)
        data.control.grant_read_data(role)
        data.profiles.grant_read_data(role)
        data.releases.grant_get(role, prefix="releases/")
        data.grant_read_pseudonym_key(role)
        if self.cache.auth_secret:
            self.cache.auth_secret.grant_read(role)
        self.endpoint.grant_invoke(role)
        start = lambda_.StartingPosition
        scorer.function.add_event_source(
            event_sources.KinesisEventSource(
                data.clicks,
                batch_size=settings.batch_size,
                bisect_batch_on_error=True,
                max_batching_window=Duration.seconds(settings.batching_window_s),
                max_record_age=Duration.seconds(settings.max_record_age_s),
                on_failure=PutOnlyFailureDestination(bucket=data.quarantine, role=role),
                parallelization_factor=settings.parallelisation,
                report_batch_item_failures=True,
                retry_attempts=settings.retry_attempts,
                starting_position=start.TRIM_HORIZON if settings.from_start else start.LATEST,
            )
        )
        return scorer

    def _archive(
        self, construct_id: str, kind: RecordKind, source: kinesis.IStream, table: LakeTable, code: lambda_.Code
    ) -> None:
        data, settings = self.data, self.stage.functions
        transform = BundledFunction(
            self,
            f"Prepare{construct_id}",
            stage=self.stage,
            code=code,
            handler="functions.prepare_archive.handler.handler",
            description=f"Makes the lake's form of each {kind}",
            environment=ArchiveSettings(
                stage=self.stage.name,
                record_kind=kind,
                quarantine_bucket=data.quarantine.bucket_name,
                pseudonym_secret_id=data.pseudonym_secret.secret_arn,
            ).to_environment(),
            memory_mb=settings.archive_memory_mb,
            timeout_s=settings.archive_timeout_s,
            concurrency=settings.archive_concurrency,
            network=self.network,
            key=self.key,
        )
        if kind != "verdict":  # verdicts hold no person: nothing to pseudonymise
            data.grant_read_pseudonym_key(transform.role)
        if kind == "purchase":  # score_clicks rejects clicks
            data.quarantine.grant_add(transform.role, prefix=REJECTS)
        ArchiveDelivery(
            self,
            construct_id,
            stage=self.stage,
            source=source,
            transform=transform.function,
            table=table,
            lake=data.lake,
            lake_key=data.key,
            log_key=self.key,
            failed_prefix=FAILED_DELIVERIES,
        )

    def _outputs(self) -> None:
        for key, value in {
            "ScoreClicksFunction": self.score_clicks.function.function_name,
            "EndpointName": self.endpoint.name,
            "CacheAddress": self.cache.address,
            "CachePort": self.cache.port,
            "ServingRoleArn": self.endpoint.role.role_arn,
            "TrainingRoleArn": self.training_role.role_arn,
            "ContainerImage": self.image.uri,
        }.items():
            CfnOutput(self, key, value=value)
