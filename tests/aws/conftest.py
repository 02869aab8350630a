"""AWS in process, by moto."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

REGION = "us-east-1"


@pytest.fixture(scope="session")
def session() -> Any:
    """One session for all tests: it reads each service's model once."""
    return boto3.session.Session(region_name=REGION, aws_access_key_id="testing", aws_secret_access_key="testing")  # noqa: S106


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, session: Any) -> Iterator[Any]:
    """A session whose clients talk to moto."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        yield session


@pytest.fixture
def control(aws: Any) -> Any:
    """The control table, empty."""
    client = aws.client("dynamodb")
    client.create_table(
        TableName="control",
        KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return client
