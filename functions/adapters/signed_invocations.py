"""InvokeEndpoint without the SDK's client: signed here, sent over a connection that is kept.

For one row that client works five times as long (parameters, rules, events, parsers) as signing, sending and reading
take, and longer than all else that a decision needs. Only the plain case is taken here: what is not answered
with 200 at once goes to the SDK's client, whose retries, quota and errors are the known ones. Figures:
docs/decisions/0005-lean-endpoint-client.md.
"""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final, Protocol, cast
from urllib.parse import urlsplit

from functions.adapters.kept_connection import Answer
from functions.adapters.signature import signed_headers

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

_SERVICE: Final = "sagemaker"
"""What requests to the runtime are signed for."""
_ATTRIBUTES: Final = "x-amzn-sagemaker-custom-attributes"

Post = Callable[[str, Mapping[str, str], bytes], Answer]
"""Sends target, headers and body: `KeptConnection.post`."""


class InvokesEndpoints(Protocol):
    """The one operation of SageMaker's runtime that scoring needs."""

    def invoke_endpoint(self, **request: Any) -> Any:
        """As the SDK's client has it: `Body` (to be read) and `CustomAttributes` of the answer."""


class SignedInvocations:
    """Invokes endpoints where `client` would."""

    def __init__(self, client: SageMakerRuntimeClient, credentials: Credentials | None, *, post: Post) -> None:
        self._client = client
        self._credentials = credentials
        self._post = post
        self._host = urlsplit(client.meta.endpoint_url).netloc
        self._scope = (client.meta.region_name, _SERVICE)
        self._user_agent: str = cast("Any", client).meta.config.user_agent  # not in the stubs

    def invoke_endpoint(self, **request: Any) -> Any:
        """The answer's `Body` (to be read) and `CustomAttributes`; one try before the SDK's own.

        Raises:
            ClientError, BotoCoreError: as the SDK's client raises them.
        """
        answer = self._answer(request, self._credentials) if self._credentials else None
        if answer is None or answer.status != 200:
            return self._client.invoke_endpoint(**request)
        return {"Body": io.BytesIO(answer.content), "CustomAttributes": answer.headers.get(_ATTRIBUTES, "")}

    def _answer(self, request: Mapping[str, Any], credentials: Credentials) -> Answer | None:
        """What the endpoint says; None where nothing came."""
        target = f"/endpoints/{request['EndpointName']}/invocations"
        headers = signed_headers(
            target,
            {
                "accept": request["Accept"],
                "content-type": request["ContentType"],
                "host": self._host,
                _ATTRIBUTES: request["CustomAttributes"],
            },
            request["Body"],
            credentials=credentials.get_frozen_credentials(),
            scope=self._scope,
            at=dt.datetime.now(dt.UTC),
        )
        try:
            return self._post(target, {**headers, "user-agent": self._user_agent}, request["Body"])
        except (OSError, HTTPException):
            return None
