"""The settings of a Firehose delivery stream that decide what is written where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local.cloud.parquet import Column

_MEGABYTE = 1 << 20
_DEFAULT_SIZE_MB = 5
_DEFAULT_INTERVAL_S = 300
_DEFAULT_RETRIES = 3


@dataclass(frozen=True, slots=True)
class Conversion:
    """Format conversion to Parquet by a Glue table."""

    database: str
    table: str
    compression: str
    columns: tuple[Column, ...] | None  # None: there is no such table


@dataclass(frozen=True, slots=True)
class DeliveryConfig:
    """A delivery stream with an S3 destination."""

    name: str
    arn: str
    version: int
    source_arn: str | None
    bucket: str
    prefix: str
    error_prefix: str
    extension: str
    buffer_bytes: int
    buffer_s: float
    partitioned: bool
    transform_arn: str | None
    transform_retries: int
    conversion: Conversion | None


def _is_on(configuration: Mapping[str, Any], *, default: bool = False) -> bool:
    return str(configuration.get("Enabled", default)).lower() == "true"


def _transform(configuration: Mapping[str, Any]) -> tuple[str | None, int]:
    """Return the transform function's ARN and how often a failed invocation is tried again."""
    if not _is_on(configuration):
        return None, 0
    for processor in configuration.get("Processors") or []:
        if processor.get("Type") == "Lambda":
            parameters = {item["ParameterName"]: item["ParameterValue"] for item in processor.get("Parameters") or []}
            return parameters.get("LambdaArn"), int(parameters.get("NumberOfRetries", _DEFAULT_RETRIES))
    return None, 0


def _conversion(configuration: Mapping[str, Any], tables: Mapping[str, Any]) -> Conversion | None:
    if not configuration or not _is_on(configuration, default=True):
        return None
    schema = configuration.get("SchemaConfiguration") or {}
    database, table = schema.get("DatabaseName", ""), schema.get("TableName", "")
    found = tables.get(f"{database}/{table}")
    columns = ((found or {}).get("StorageDescriptor") or {}).get("Columns")
    serializer = (configuration.get("OutputFormatConfiguration") or {}).get("Serializer") or {}
    compression = (serializer.get("ParquetSerDe") or {}).get("Compression", "SNAPPY")
    return Conversion(
        database=database,
        table=table,
        compression={"UNCOMPRESSED": "none"}.get(compression, compression.lower()),
        columns=tuple(Column(column["Name"], column.get("Type", "string")) for column in columns) if columns else None,
    )


def delivery_config(stream: Mapping[str, Any], tables: Mapping[str, Any]) -> DeliveryConfig | None:
    """Read ministack's record of a delivery stream; None when its destination is not S3."""
    destination = next((item for item in stream["destinations"] if item["type"] in ("ExtendedS3", "S3")), None)
    if destination is None:
        return None
    config = destination["config"]
    hints = config.get("BufferingHints") or {}
    transform_arn, retries = _transform(config.get("ProcessingConfiguration") or {})
    return DeliveryConfig(
        name=stream["name"],
        arn=stream["arn"],
        version=int(stream.get("version", 1)),
        source_arn=(stream.get("kinesis_source") or {}).get("KinesisStreamARN"),
        bucket=config["BucketARN"].rpartition(":")[2],
        prefix=config.get("Prefix") or "",
        error_prefix=config.get("ErrorOutputPrefix") or "",
        extension=config.get("FileExtension") or "",
        buffer_bytes=int(hints.get("SizeInMBs", _DEFAULT_SIZE_MB)) * _MEGABYTE,
        buffer_s=float(hints.get("IntervalInSeconds", _DEFAULT_INTERVAL_S)),
        partitioned=_is_on(config.get("DynamicPartitioningConfiguration") or {}),
        transform_arn=transform_arn,
        transform_retries=retries,
        conversion=_conversion(config.get("DataFormatConversionConfiguration") or {}, tables),
    )
