"""A Glue table over one prefix of the lake: the schema Firehose writes by and Athena reads by."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from aws_cdk import Stack
from aws_cdk import aws_glue as glue
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.glue_columns import glue_columns

PARTITIONS = (("date", "string"), ("hour", "string"))
"""Event time in UTC: date=YYYY-MM-DD/hour=HH."""

_PARQUET_INPUT = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat"
_PARQUET_OUTPUT = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat"
_PARQUET_SERDE = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"


class LakeTable(Construct):
    """Columns of a record type at `s3://<lake>/<name>/`, partitioned by event date and hour.

    Partitions are projected, so a new hour can be queried without a crawler.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        database: glue.CfnDatabase,
        lake: s3.IBucket,
        name: str,
        record: type[msgspec.Struct],
    ) -> None:
        super().__init__(scope, construct_id)
        self.name = name
        location = lake.s3_url_for_object(f"{name}/")
        self.table = glue.CfnTable(
            self,
            "Table",
            catalog_id=Stack.of(self).account,
            database_name=database.ref,
            table_input=glue.CfnTable.TableInputProperty(
                name=name,
                description=f"{record.__name__} records, generated from the type",
                parameters={
                    "classification": "parquet",
                    "projection.enabled": "true",
                    "projection.date.type": "date",
                    "projection.date.format": "yyyy-MM-dd",
                    "projection.date.range": "2015-01-01,NOW+1DAYS",
                    "projection.hour.type": "integer",
                    "projection.hour.range": "0,23",
                    "projection.hour.digits": "2",
                    "storage.location.template": f"{location}date=${{date}}/hour=${{hour}}/",
                },
                partition_keys=_columns(PARTITIONS),
                storage_descriptor=glue.CfnTable.StorageDescriptorProperty(
                    columns=_columns(glue_columns(record)),
                    input_format=_PARQUET_INPUT,
                    location=location,
                    output_format=_PARQUET_OUTPUT,
                    serde_info=glue.CfnTable.SerdeInfoProperty(serialization_library=_PARQUET_SERDE),
                ),
                table_type="EXTERNAL_TABLE",
            ),
        )

    def grant_read_schema(self, role: iam.Role) -> None:
        """Let `role` read this table's columns."""
        stack = Stack.of(self)
        database = self.table.database_name
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["glue:GetTable", "glue:GetTableVersion", "glue:GetTableVersions"],
                resources=[
                    stack.format_arn(service="glue", resource="catalog"),
                    stack.format_arn(service="glue", resource="database", resource_name=database),
                    stack.format_arn(service="glue", resource="table", resource_name=f"{database}/{self.name}"),
                ],
            )
        )


def _columns(columns: Sequence[tuple[str, str]]) -> list[glue.CfnTable.ColumnProperty]:
    return [glue.CfnTable.ColumnProperty(name=name, type=kind) for name, kind in columns]
