"""The lean client of the endpoint: what it sends and signs, and when it leaves an invocation to the SDK's client."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Mapping
from email.message import Message
from http.client import HTTPException
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.exceptions import ClientError
from botocore.response import StreamingBody
from botocore.stub import Stubber
from urllib3 import HTTPResponse

from functions.adapters.endpoint import endpoint_config
from functions.adapters.kept_connection import Answer
from functions.adapters.signature import signed_headers
from functions.adapters.signed_invocations import SignedInvocations

CREDENTIALS = Credentials("AKIDEXAMPLE", "secret", "token")
ASKED: dict[str, Any] = {
    "EndpointName": "slidr-test",
    "ContentType": "application/x-slidr-features",
    "Accept": "application/x-slidr-scores",
    "CustomAttributes": "features=abc;release=r-1;shadow=;rows=1",
    "Body": b"\x00\x01\xff",
}
ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"


class Wire:
    """Answers every request alike, and keeps them."""

    def __init__(self, answer: Answer | Exception) -> None:
        self.answer = answer
        self.sent: list[tuple[str, Mapping[str, str], bytes]] = []

    def __call__(self, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.sent.append((target, headers, body))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def answer_of(status: int, content: bytes = b"", *, attributes: str = "") -> Answer:
    headers = Message()
    headers["X-Amzn-SageMaker-Custom-Attributes"] = attributes
    return Answer(status, headers, content)


GOOD = answer_of(200, b"12345678", attributes="release=r-1;shadow=")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    config = endpoint_config(connect_timeout_ms=100, read_timeout_ms=200, attempts=1)
    keys = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secret", "aws_session_token": "token"}
    return boto3.session.Session(region_name="eu-west-1", **keys).client("sagemaker-runtime", config=config)


def text_of(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def test_sends_what_the_sdk_sends(client: Any) -> None:
    sdks: list[Any] = []

    def answer(request: Any, **_: Any) -> AWSResponse:
        sdks.append(request)
        return AWSResponse(request.url, 200, {}, HTTPResponse(io.BytesIO(b"scores"), preload_content=False))

    client.meta.events.register("before-send.sagemaker-runtime.InvokeEndpoint", answer)
    client.invoke_endpoint(**ASKED)
    wire = Wire(GOOD)

    SignedInvocations(client, CREDENTIALS, post=wire).invoke_endpoint(**ASKED)

    ((target, headers, body),), (sdk,) = wire.sent, sdks
    assert (f"https://{headers['host']}{target}", body) == (sdk.url, sdk.body)
    named = {"content-type", "accept", ATTRIBUTES, "x-amz-security-token"}
    theirs = {name.lower(): text_of(value) for name, value in sdk.headers.items()}
    assert {name: headers[name] for name in named} == {name: theirs[name] for name in named}
    assert theirs["user-agent"].startswith(headers["user-agent"])
    scope = "Credential=AKIDEXAMPLE/{}/eu-west-1/sagemaker/aws4_request".format(headers["x-amz-date"][:8])
    assert scope in headers["authorization"]
    assert scope in theirs["authorization"]


@pytest.mark.parametrize("token", [None, "session/token+=="])
@pytest.mark.parametrize("body", [b"", b"\x00\xff" * 1000])
def test_signature_is_the_one_of_botocores_signer(
    monkeypatch: pytest.MonkeyPatch, token: str | None, body: bytes
) -> None:
    at = dt.datetime(2026, 11, 25, 23, 59, 58, tzinfo=dt.UTC)
    credentials = ReadOnlyCredentials("AKIDEXAMPLE", "wJalr/XUtnFEMI", token)
    given = {
        "accept": "a/b",
        "content-type": "c/d",
        "host": "runtime.sagemaker.eu-west-1.amazonaws.com",
        ATTRIBUTES: "x=1;y=",
    }

    ours = signed_headers(
        "/endpoints/e-1/invocations", given, body, credentials=credentials, scope=("eu-west-1", "sagemaker"), at=at
    )

    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: at.replace(tzinfo=None))
    theirs = AWSRequest("POST", f"https://{given['host']}/endpoints/e-1/invocations", dict(given), body)
    SigV4Auth(credentials, "sagemaker", "eu-west-1").add_auth(theirs)
    assert ours["authorization"] == theirs.headers["Authorization"]
    assert ours["x-amz-date"] == theirs.headers["X-Amz-Date"]


def test_gives_the_answers_body_and_attributes(client: Any) -> None:
    answer = SignedInvocations(client, CREDENTIALS, post=Wire(GOOD)).invoke_endpoint(**ASKED)

    assert (answer["Body"].read(), answer["CustomAttributes"]) == (b"12345678", "release=r-1;shadow=")


@pytest.mark.parametrize(
    "failed",
    [
        answer_of(424),
        answer_of(503),
        answer_of(403, b"signature"),
        TimeoutError("silent"),
        ConnectionResetError("lost"),
        HTTPException("no answer"),
    ],
    ids=["model error", "unavailable", "refused", "silent", "connection lost", "nonsense"],
)
def test_leaves_to_the_sdk_what_is_not_answered_at_once(client: Any, failed: Answer | Exception) -> None:
    wire = Wire(failed)
    with Stubber(client) as stubber:
        stubber.add_response(
            "invoke_endpoint",
            {"Body": StreamingBody(io.BytesIO(b"late"), 4), "CustomAttributes": "release=r-1"},
            ASKED,
        )
        answer = SignedInvocations(client, CREDENTIALS, post=wire).invoke_endpoint(**ASKED)

    assert (answer["Body"].read(), answer["CustomAttributes"]) == (b"late", "release=r-1")
    assert len(wire.sent) == 1


def test_leaves_to_the_sdk_what_nobody_can_sign(client: Any) -> None:
    wire = Wire(GOOD)
    with Stubber(client) as stubber:
        stubber.add_client_error("invoke_endpoint", "AccessDenied")
        with pytest.raises(ClientError, match="AccessDenied"):
            SignedInvocations(client, None, post=wire).invoke_endpoint(**ASKED)

    assert not wire.sent


def test_failure_of_the_sdk_is_the_failure(client: Any) -> None:
    with Stubber(client) as stubber:
        stubber.add_client_error("invoke_endpoint", "ModelError", "no release", 424)
        with pytest.raises(ClientError, match="no release"):
            SignedInvocations(client, CREDENTIALS, post=Wire(answer_of(424))).invoke_endpoint(**ASKED)
