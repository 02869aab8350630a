"""One really started emulator for all tests of the local cloud, and small functions to put into it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
import uuid
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import boto3
import psutil
import pytest
from botocore.config import Config

from local.cloud.containers import free_port
from local.cloud.gateway import ACCESS_KEY, REGION, SECRET_KEY

HERE = Path(__file__).parent
Value = TypeVar("Value")
ROLE = "arn:aws:iam::000000000000:role/local"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in Path(item.path).parents:
            item.add_marker(pytest.mark.cloud)


@cache
def client_at(url: str, service: str) -> Any:
    return boto3.session.Session().client(
        service,  # type: ignore[call-overload]
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(retries={"max_attempts": 1}, read_timeout=70),
    )


@dataclass(frozen=True)
class Emulator:
    """A started emulator."""

    url: str
    state: Path
    process: subprocess.Popen[bytes] | None = None

    def client(self, service: str) -> Any:
        return client_at(self.url, service)

    def function(self, source: str, *, timeout_s: int = 10, **environment: str) -> str:
        """Create a function from the source of its module; return its name."""
        name = f"fn-{uuid.uuid4().hex[:8]}"
        self.client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.13",
            Role=ROLE,
            Handler="handler.handler",
            Timeout=timeout_s,
            Code={"ZipFile": bundle({"handler.py": source})},
            Environment={"Variables": environment},
        )
        return name

    def stream(self, shards: int = 1) -> tuple[str, str]:
        """Create a stream; return its name and ARN."""
        name = f"stream-{uuid.uuid4().hex[:8]}"
        kinesis = self.client("kinesis")
        kinesis.create_stream(StreamName=name, ShardCount=shards)
        kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
        return name, kinesis.describe_stream(StreamName=name)["StreamDescription"]["StreamARN"]

    def bucket(self) -> str:
        name = f"bucket-{uuid.uuid4().hex[:8]}"
        self.client("s3").create_bucket(Bucket=name)
        return name

    def queue(self) -> tuple[str, str]:
        """Create a queue; return its URL and ARN."""
        sqs = self.client("sqs")
        url = sqs.create_queue(QueueName=f"queue-{uuid.uuid4().hex[:8]}")["QueueUrl"]
        return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def put(self, stream: str, values: list[Any], *, key: str | None = None) -> list[str]:
        """Put JSON values, in order; return their sequence numbers."""
        kinesis, sequences = self.client("kinesis"), []
        for begin in range(0, len(values), 500):
            records = [
                {"Data": json.dumps(value).encode(), "PartitionKey": key or f"k{begin + index}"}
                for index, value in enumerate(values[begin : begin + 500])
            ]
            answer = kinesis.put_records(StreamName=stream, Records=records)
            sequences += [record["SequenceNumber"] for record in answer["Records"]]
        return sequences

    def flush(self) -> int:
        """Deliver what Firehose buffers; return how many objects that made."""
        with urllib.request.urlopen(f"{self.url}/_slidr/flush", timeout=30) as answer:  # noqa: S310
            return int(json.loads(answer.read())["objects"])

    def objects(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        s3 = self.client("s3")
        listed = s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
        return {item["Key"]: s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read() for item in listed}


def bundle(files: dict[str, str]) -> bytes:
    """Zip source files as a Lambda bundle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        for name, source in files.items():
            zipped.writestr(name, textwrap.dedent(source))
    return buffer.getvalue()


def eventually(look: Callable[[], Value], *, within_s: float = 15.0) -> Value:
    """Return what `look` returns as soon as it is true; fail when it is not within the time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    pytest.fail(f"did not happen within {within_s} s; last seen: {look()!r}")


def belonging_to(state: Path, *, running: str = "") -> list[psutil.Process]:
    """Every process of the state directory (by command, directory or environment) with `running` in its command."""
    found = []
    for process in psutil.process_iter():
        try:
            command = " ".join(process.cmdline())
            named = " ".join([command, process.cwd(), *process.environ().values()])
        except psutil.Error:  # ended meanwhile, or is a zombie
            continue
        if str(state) in named and running in command and process.pid != os.getpid():
            found.append(process)
    return found


def start_emulator(state: Path, *arguments: str) -> Emulator:
    port = free_port()
    state.mkdir(parents=True, exist_ok=True)
    with (state / "emulator.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, str(HERE.parents[1] / "local/cloud/child.py"), str(os.getpid())),
                *(sys.executable, "-m", "local.cloud.emulator", "--port", str(port), "--valkey-port", "16390"),
                *("--state-dir", str(state), "--buffer-interval", "30", *arguments),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    emulator = Emulator(f"http://127.0.0.1:{port}", state, process)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{emulator.url}/_ministack/health", timeout=1):  # noqa: S310
                return emulator
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    process.kill()
    pytest.fail("the emulator did not start:\n" + (state / "emulator.log").read_text())


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    container = f"{sys.executable} {HERE / 'fake_container.py'}"
    started = start_emulator(tmp_path_factory.mktemp("cloud"), "--container-command", container)
    yield started
    started.process.terminate()
    started.process.wait(timeout=10)
