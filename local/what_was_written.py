"""What a stage holds: the lake's prefixes, releases, quarantine, streams and tables, with how much is in them."""

from __future__ import annotations

from local.session import Session

_PREFIXES = (
    ("lake_bucket", "clicks/", "clicks, pseudonymised, Parquet by event hour"),
    ("lake_bucket", "purchases/", "purchases, pseudonymised, Parquet by event hour"),
    ("lake_bucket", "verdicts/", "verdicts with their features, Parquet by event hour"),
    ("lake_bucket", "training/", "training sets and what the jobs wrote"),
    ("release_bucket", "releases/", "releases: decision content, weights, evidence"),
    ("release_bucket", "artifacts/", "what the endpoint loads"),
    ("quarantine_bucket", "rejects/", "records that broke the contract, 7 days"),
    ("quarantine_bucket", "aws/lambda/", "batches given up, for slidr redrive, 7 days"),
)


def lake_contents(session: Session) -> list[tuple[str, str, str]]:
    """Where, what, and how many objects or items."""
    s3, outputs = session.client("s3"), session.outputs
    rows = []
    for bucket_output, prefix, what in _PREFIXES:
        bucket = getattr(outputs, bucket_output)
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        rows.append(
            (
                f"{bucket_output.removesuffix('_bucket')} {prefix}",
                what,
                f"{sum(page.get('KeyCount', 0) for page in pages):,}",
            )
        )
    rows += [
        ("control table", "pointer, policy, audit", _items(session, outputs.control_table)),
        ("profile table", "long-horizon traffic of IPs, users, user agents", _items(session, outputs.profile_table)),
    ]
    return rows


def full_names(session: Session) -> list[tuple[str, str]]:
    """The short names of `lake_contents` and the streams, each with what it is called on AWS."""
    outputs = session.outputs
    return [
        ("lake", f"s3://{outputs.lake_bucket}"),
        ("release", f"s3://{outputs.release_bucket}"),
        ("quarantine", f"s3://{outputs.quarantine_bucket}"),
        ("clicks, purchases", f"kinesis {outputs.click_stream}, {outputs.purchase_stream}"),
        ("verdicts", f"kinesis {outputs.verdict_stream}"),
        ("control table", f"dynamodb {outputs.control_table}"),
        ("profile table", f"dynamodb {outputs.profile_table}"),
    ]


def _items(session: Session, table: str) -> str:
    if not session.is_local:
        return ""  # counting a table on AWS reads all of it
    pages = session.client("dynamodb").get_paginator("scan").paginate(TableName=table, Select="COUNT")
    return f"{sum(page['Count'] for page in pages):,} items"
