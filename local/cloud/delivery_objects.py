"""The objects that Firehose writes: records together or as Parquet, and what it says about those that failed."""

from __future__ import annotations

import base64
import uuid
from datetime import datetime
from typing import Any

from local.cloud.delivery_config import Conversion, DeliveryConfig
from local.cloud.gateway import ACCOUNT, REGION, client
from local.cloud.parquet import ConversionFailed, fits, read_document, schema_of, to_parquet
from local.cloud.transform import Refused, SourceRecord, Transformed


def body_of(conversion: Conversion | None, records: list[Transformed]) -> tuple[bytes, list[Refused]]:
    """Return the object's bytes and the records that could not be converted."""
    if conversion is None:
        return b"".join(record.data for record in records), []
    if conversion.columns is None:
        message = f"The table {conversion.database}.{conversion.table} could not be found."
        return b"", [Refused(record.source, "DataFormatConversion.EntityNotFound", message, 1) for record in records]
    schema = schema_of(conversion.columns)
    rows: list[dict[str, Any]] = []
    sources: list[SourceRecord] = []
    refused: list[Refused] = []
    for record in records:
        try:
            rows.append(read_document(record.data, conversion.columns))
            sources.append(record.source)
        except ConversionFailed as failed:
            refused.append(Refused(record.source, failed.code, str(failed), 1))
    try:
        return (to_parquet(rows, schema, compression=conversion.compression) if rows else b""), refused
    except ConversionFailed as failed:  # rare: find the rows that do not fit
        fitting = [fits(row, schema) for row in rows]
        checked = list(zip(rows, sources, fitting, strict=True))
        refused += [Refused(source, failed.code, str(failed), 1) for _, source, fit in checked if not fit]
        left = [row for row, _, fit in checked if fit]
        return (to_parquet(left, schema, compression=conversion.compression) if left else b""), refused


def put_object(config: DeliveryConfig, prefix: str, body: bytes, now: datetime, extension: str) -> int:
    """Write one object under the service's name for it; return how many that are."""
    key = f"{prefix}{config.name}-{config.version}-{now:%Y-%m-%d-%H-%M-%S}-{uuid.uuid4()}{extension}"
    client("s3").put_object(Bucket=config.bucket, Key=key, Body=body)
    return 1


def failure_document(config: DeliveryConfig, kind: str, refused: Refused, now: datetime) -> dict[str, Any]:
    """Return what Firehose writes about a record to the error prefix."""
    source = refused.source
    document: dict[str, Any] = {
        "attemptsMade": refused.attempts,
        "arrivalTimestamp": int(source.arrived_at * 1000),
        "attemptEndingTimestamp": int(now.timestamp() * 1000),
        "rawData": base64.b64encode(source.data).decode(),
    }
    if kind == "format-conversion-failed" and config.conversion is not None:
        return {
            **document,
            "lastErrorCode": refused.code,
            "lastErrorMessage": refused.message,
            "sequenceNumber": source.sequence,
            "subSequenceNumber": None,
            "dataCatalogTable": {
                "catalogId": ACCOUNT,
                "databaseName": config.conversion.database,
                "tableName": config.conversion.table,
                "region": REGION,
                "versionId": "LATEST",
            },
        }
    return {**document, "errorCode": refused.code, "errorMessage": refused.message, "lambdaARN": config.transform_arn}
