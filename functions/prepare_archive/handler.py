"""Entry point of prepare_archive: a Firehose transform of clicks, purchases or verdicts, as its settings say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import boto3
from botocore.config import Config

from functions.adapters.reject_store import RejectStore
from functions.adapters.secrets import Secrets
from functions.observability import observed, telemetry
from functions.prepare_archive.settings import Settings
from functions.prepare_archive.transform import Prepare, preparation, transform
from slidr.givt import packaged_crawlers

SERVICE: Final = "prepare_archive"


@observed(SERVICE)
def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001
    """Bring the records of one Firehose invocation into their lake form."""
    prepare, rejects = _services()
    prepared = transform(event, prepare=prepare, rejects=rejects)
    tools = telemetry(SERVICE)
    tools.logger.info("batch prepared", extra={"results": prepared.results, "rejects": prepared.rejects})
    for result in ("Ok", "Dropped", "ProcessingFailed"):
        tools.metrics.add_metric(name=f"Archive{result}", unit="Count", value=prepared.results[result])
    return prepared.answer


@cache
def _services() -> tuple[Prepare, RejectStore]:
    settings = Settings.from_environment(os.environ)
    session = boto3.session.Session()
    patient = Config(connect_timeout=1.0, read_timeout=5.0, retries={"mode": "standard", "total_max_attempts": 3})
    secrets = Secrets(session.client("secretsmanager", config=patient))
    prepare = preparation(
        settings.record_kind,
        pseudonymiser=lambda: secrets.pseudonymiser(settings.pseudonym_secret_id),
        crawlers=packaged_crawlers,
    )
    return prepare, RejectStore(session.client("s3", config=patient), settings.quarantine_bucket)
