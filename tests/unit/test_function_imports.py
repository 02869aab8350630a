"""Rule 10 and 11: importing a handler reads no environment, makes no client, and brings in nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from infra.bundle import FORBIDDEN

PROBE = """
import json, os, socket, sys

import botocore.session

OURS = ("functions.", "slidr.")
BETWEEN = ("os", "collections.abc", "_collections_abc")
reads, clients = [], []

class Environment(type(os.environ)):
    def __getitem__(self, key):
        frame = sys._getframe(1)
        while frame.f_globals.get("__name__", "") in BETWEEN:
            frame = frame.f_back
        if frame.f_globals.get("__name__", "").startswith(OURS):
            reads.append(key)
        return super().__getitem__(key)

os.environ.__class__ = Environment
botocore.session.Session.create_client = lambda *a, **k: clients.append(a)
socket.socket.connect = lambda *a, **k: clients.append(a)
exec(sys.argv[1], {"__name__": "functions.probe"})
modules = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps({"reads": reads, "clients": [str(c) for c in clients], "modules": modules}))
"""
RUNTIME = {"boto3", "botocore", "s3transfer"}  # no bundle may hold them, and the Lambda runtime has them
HEAVY = (FORBIDDEN - RUNTIME) | {"pydantic", "training", "infra", "local"}


def probe(code: str) -> dict[str, list[str]]:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROBE, code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    answer: dict[str, list[str]] = json.loads(result.stdout)
    return answer


@pytest.mark.parametrize(
    ("function", "unneeded"),
    [("score_clicks", set()), ("prepare_archive", {"numpy", "redis", "hiredis"}), ("daily_loop", {"redis", "hiredis"})],
)
def test_import_makes_no_client_and_reads_no_environment(function: str, unneeded: set[str]) -> None:
    answer = probe(f"import functions.{function}.handler")

    assert answer["clients"] == []
    assert answer["reads"] == []
    assert not (HEAVY | unneeded) & set(answer["modules"])


def test_the_probe_sees_reads_and_clients() -> None:
    answer = probe(
        "import os; os.environ['HOME']; os.environ.get('PATH'); os.getenv('TERM'); "
        "import boto3; boto3.client('s3', region_name='us-east-1')"
    )

    assert answer["reads"] == ["HOME", "PATH", "TERM"]
    assert answer["clients"]


TRACED = """
import os
os.environ.update({
    "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:9", "LAMBDA_TASK_ROOT": "/var/task", "AWS_DEFAULT_REGION": "us-east-1",
    "_X_AMZN_TRACE_ID": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=557abcec3ee5a047;Sampled=1",
    "SLIDR_STAGE": "test", "SLIDR_RECORD_KIND": "verdict", "SLIDR_QUARANTINE_BUCKET": "b",
    "SLIDR_PSEUDONYM_SECRET_ID": "s",
})
from types import SimpleNamespace
from functions.prepare_archive.handler import handler
from aws_xray_sdk.core import xray_recorder
sent = []
xray_recorder.emitter.send_entity = lambda entity: sent.append(entity.name)
context = SimpleNamespace(
    function_name="f", memory_limit_in_mb=1, invoked_function_arn="a", aws_request_id="r", tenant_id=None
)
assert handler({"records": []}, context) == {"records": []}
assert sent == ["## handler"], sent
"""


def test_handler_is_traced_where_lambda_names_a_daemon() -> None:
    subprocess.run([sys.executable, "-c", TRACED], check=True, capture_output=True)
