"""A real LocalStack: the one at AWS_ENDPOINT_URL, else one started here in host mode, else a skip that says why."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import boto3
import pytest
from botocore.config import Config
from pytest_socket import enable_socket

from local.cloud.containers import free_port
from local.valkey import _end_with_parent
from tests.localstack import install

HERE = Path(__file__).parent
REGION, KEY = "us-east-1", "test"
STARTS_WITHIN_S = 90
Value = TypeVar("Value")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in Path(item.path).parents:
            item.add_marker(pytest.mark.localstack)


@dataclass(frozen=True)
class LocalStack:
    """A LocalStack that answers, and what the tests make there; names are new each time, so runs may share it."""

    url: str

    @cache  # noqa: B019 - one instance a session
    def client(self, service: str) -> Any:
        return boto3.session.Session().client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=KEY,
            aws_secret_access_key=KEY,
            config=Config(retries={"total_max_attempts": 2}, read_timeout=60),
        )

    def bucket(self) -> str:
        name = new_name()
        self.client("s3").create_bucket(Bucket=name)
        return name

    def queue(self) -> Queue:
        sqs = self.client("sqs")
        url = sqs.create_queue(QueueName=new_name())["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        return Queue(sqs, url, arn)

    def stream(self, *, shards: int = 1) -> str:
        kinesis, name = self.client("kinesis"), new_name()
        kinesis.create_stream(StreamName=name, ShardCount=shards)
        kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
        return name


@dataclass(frozen=True)
class Queue:
    sqs: Any
    url: str
    arn: str

    def messages(self, count: int, *, within_s: float = 60) -> list[Any]:
        """The bodies of the next `count` messages, as JSON."""
        bodies: list[Any] = []
        deadline = time.monotonic() + within_s
        while len(bodies) < count:
            assert time.monotonic() < deadline, f"{count} messages were expected, came {len(bodies)}: {bodies}"
            answer = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10, WaitTimeSeconds=2)
            for message in answer.get("Messages", []):
                bodies.append(json.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return bodies

    def is_empty(self) -> bool:
        return not self.sqs.receive_message(QueueUrl=self.url).get("Messages")


def new_name() -> str:
    return f"slidr-{uuid.uuid4().hex[:10]}"


def eventually(ask: Callable[[], Value], *, within_s: float = 60) -> Value:
    """The first answer that is true; the last one, if none comes in time."""
    deadline = time.monotonic() + within_s
    while not (answer := ask()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return answer


def is_localstack(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/_localstack/health", timeout=5) as answer:  # noqa: S310
            return "services" in json.load(answer)
    except (OSError, ValueError, urllib.error.URLError):
        return False


@pytest.fixture(scope="session")
def localstack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    enable_socket()  # fixtures of a session come before the hook that knows the test's marks
    given = os.environ.get("AWS_ENDPOINT_URL", "").rstrip("/")
    if given and is_localstack(given):
        yield LocalStack(given)
        return
    if not install.is_installed():
        why = install.REASON.read_text() if install.REASON.exists() else "it was never tried"
        pytest.skip(f"no LocalStack at AWS_ENDPOINT_URL, and none installed here ({why}): run `make localstack`")
    yield from _started(tmp_path_factory.mktemp("localstack") / "log")


def _started(log: Path) -> Iterator[LocalStack]:
    address = f"127.0.0.1:{free_port()}"
    environment = {**install.environment(), "GATEWAY_LISTEN": address, "LOCALSTACK_HOST": address}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(install.PYTHON), "-m", "localstack.runtime.main"],
            env={**environment, "SQS_ENDPOINT_STRATEGY": "path"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - one system call between fork and exec
        )
    try:
        url = f"http://{address}"
        ready = eventually(lambda: process.poll() is not None or is_localstack(url), within_s=STARTS_WITHIN_S)
        assert ready, f"LocalStack stayed silent: {log.read_text()[-2000:]}"
        assert process.poll() is None, f"LocalStack ended with {process.returncode}: {log.read_text()[-2000:]}"
        yield LocalStack(url)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with suppress(ProcessLookupError):  # its own children, the Kinesis server among them
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
