"""Secrets: the key of the pseudonyms and the cache's auth token."""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from slidr.errors import SlidrError
from slidr.pseudonym import Pseudonymiser

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient


class SecretUnavailable(SlidrError):
    """A secret cannot be read, or has the wrong form; without it no batch starts, so the stream retries."""


class PseudonymKey(msgspec.Struct, frozen=True):
    """The pseudonym secret's JSON."""

    version: int
    key_base64: bytes


class Secrets:
    """Reads secrets from Secrets Manager. Their values never reach a message."""

    def __init__(self, client: SecretsManagerClient) -> None:
        self._client = client

    def text(self, secret_id: str) -> str:
        """The string of a secret.

        Raises:
            SecretUnavailable: it cannot be read.
        """
        try:
            return self._client.get_secret_value(SecretId=secret_id)["SecretString"]
        except (ClientError, BotoCoreError, KeyError) as failure:
            raise SecretUnavailable(
                f"secret {secret_id} must be readable, however: {type(failure).__name__}: {failure}. "
                "Check that it has a value and that the function may read it."
            ) from failure

    def pseudonymiser(self, secret_id: str) -> Pseudonymiser:
        """The pseudonymiser under the key in a secret.

        Raises:
            SecretUnavailable: it cannot be read, or is not {"version": ..., "key_base64": ...} with 32 bytes or more.
        """
        text = self.text(secret_id)
        try:
            secret = msgspec.json.decode(text, type=PseudonymKey)
            return Pseudonymiser(secret.key_base64, version=secret.version)
        except (msgspec.DecodeError, binascii.Error, ValueError) as failure:
            # Not `from failure`: the cause's own message could show a part of the secret.
            raise SecretUnavailable(
                f'secret {secret_id} must hold {{"version": 1, "key_base64": "<32 bytes or more>"}}, '
                f"however: {type(failure).__name__}"
            ) from None
