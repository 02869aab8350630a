"""A Firehose stream: records of one kind, pseudonymised by a function, as Parquet by event hour in the lake."""

from __future__ import annotations

from aws_cdk import Duration, Size
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kinesis as kinesis
from aws_cdk import aws_kinesisfirehose as firehose
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra import nag
from infra.constructs.lake_table import LakeTable
from infra.constructs.private_bucket import PrivateBucket
from infra.constructs.private_log_group import PrivateLogGroup
from infra.constructs.service_role import ServiceRole
from infra.settings import Stage


class ArchiveDelivery(Construct):
    """Kinesis -> transform -> Parquet at `<table>/date=YYYY-MM-DD/hour=HH/`, the event's UTC hour.

    The transform names the partition of each record. What it cannot transform it quarantines itself; only when it
    cannot run at all does the service write under `failed-deliveries/`, which expires with the quarantine's days.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: Stage,
        source: kinesis.IStream,
        transform: lambda_.IFunction,
        table: LakeTable,
        lake: PrivateBucket,
        lake_key: kms.IKey,
        log_key: kms.IKey,
        failed_prefix: str,
    ) -> None:
        super().__init__(scope, construct_id)
        self.role = ServiceRole(self, "Role", service="firehose.amazonaws.com")
        log_group = PrivateLogGroup(self, "Logs", stage=stage, key=log_key)
        source.grant_read(self.role)
        log_group.grant_write(self.role)
        table.grant_read_schema(self.role)
        lake.grant_deliver(self.role, prefixes=[f"{table.name}/", f"{failed_prefix}/{table.name}/"])
        self.role.add_to_policy(
            iam.PolicyStatement(
                actions=["lambda:GetFunctionConfiguration", "lambda:InvokeFunction"],
                resources=[transform.function_arn],
            )
        )
        role = self.role.without_policy_updates()  # the construct's own grants would let Firehose delete objects
        self.delivery = firehose.DeliveryStream(
            self,
            "Delivery",
            delivery_stream_name=f"slidr-{stage.name}-{table.name}-archive",
            destination=firehose.S3Bucket(
                lake,
                buffering_interval=Duration.seconds(stage.lake.buffer_s),
                buffering_size=Size.mebibytes(stage.lake.buffer_mb),
                data_format_conversion=firehose.DataFormatConversionProps(
                    input_format=firehose.InputFormat.OPENX_JSON,
                    output_format=firehose.ParquetOutputFormat(compression=firehose.ParquetCompression.SNAPPY),
                    schema_configuration=firehose.SchemaConfiguration.from_cfn_table(table.table),
                ),
                data_output_prefix=(
                    f"{table.name}/date=!{{partitionKeyFromLambda:date}}/hour=!{{partitionKeyFromLambda:hour}}/"
                ),
                dynamic_partitioning=firehose.DynamicPartitioningProps(
                    enabled=True, retry_duration=Duration.minutes(5)
                ),
                encryption_key=lake_key,
                error_output_prefix=(
                    f"{failed_prefix}/{table.name}/!{{firehose:error-output-type}}/!{{timestamp:yyyy-MM-dd}}/"
                ),
                logging_config=firehose.EnableLogging(log_group),
                processors=[
                    firehose.LambdaFunctionProcessor(
                        transform,
                        buffer_interval=Duration.seconds(60),
                        buffer_size=Size.mebibytes(1),
                        retries=10,
                    )
                ],
                role=role,
            ),
            role=role,
            source=firehose.KinesisStreamSource(source),
        )
        self.delivery.node.add_dependency(self.role)
        nag.acknowledge(
            self.delivery,
            f"{nag.SOLUTIONS}KDF1",
            reason="Firehose stores nothing itself when it reads a Kinesis stream; that stream is encrypted.",
        )
