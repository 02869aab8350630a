"""Clients of the emulator's own endpoint, for seams that do through AWS's public interface what they do not own."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import boto3
from botocore.config import Config

ACCOUNT = "000000000000"
REGION = "us-east-1"
# The access key is the account number: the emulator takes a twelve-digit key as the account, and the CDK command
# line remembers the account of a key for good, so no other key may stand for this account.
ACCESS_KEY = ACCOUNT
SECRET_KEY = "local"  # noqa: S105 - the local cloud checks no signature


def endpoint_url() -> str:
    """Return the address of the emulator that this process is, or talks to (AWS_ENDPOINT_URL)."""
    return os.environ["AWS_ENDPOINT_URL"]


@cache
def client(service: str) -> Any:
    """Return a boto3 client of `service` at the emulator; one for all threads (clients are thread-safe)."""
    return boto3.session.Session().client(
        service,  # type: ignore[call-overload]  # the name is not a literal here
        endpoint_url=endpoint_url(),
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(max_pool_connections=32, retries={"max_attempts": 2, "mode": "standard"}),
    )
