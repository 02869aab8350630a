"""The local cloud comes up, says how it is, and leaves nothing behind however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from redis import Redis

from local.cloud import emulator, lifecycle
from local.cloud.deployment import CdkApp, DeploymentFailed

from .conftest import HERE, belonging_to, bundle, eventually

CONTAINER = f"{sys.executable} {HERE / 'fake_container.py'}"
# An app of one stack that needs no bundling: what is tested is the command line against the emulator.
APP = """
    import sys
    from aws_cdk import App, CfnOutput, CfnParameter, Environment, Stack, aws_s3 as s3, aws_sqs as sqs
    app = App()
    where = Environment(account="000000000000", region="us-east-1")
    stack = Stack(app, "small-" + app.node.get_context("stage"), env=where)
    CfnOutput(stack, "Queue", value=sqs.CfnQueue(stack, "Q").attr_queue_name)
    app.synth()
"""
UP = """
    import sys, time
    from pathlib import Path
    from local.cloud import lifecycle
    def report(step):
        if "answers" in step and sys.argv[3:] == ["hang"]:
            print("hanging", flush=True)
            time.sleep(60)
    lifecycle.start(Path(sys.argv[1]), app=None, container_command=sys.argv[2], report=report)
"""


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / ".slidr"
    lifecycle.stop(tmp_path / ".slidr")


def busy(state: Path) -> lifecycle.Cloud:
    """Start a cloud that runs a function and a model server."""
    cloud = lifecycle.start(state, app=None, container_command=CONTAINER)
    functions = cloud.client("lambda")
    functions.create_function(
        FunctionName="f",
        Runtime="python3.13",
        Role="arn:aws:iam::000000000000:role/local",
        Handler="handler.handler",
        Code={"ZipFile": bundle({"handler.py": "def handler(event, context): return 1"})},
    )
    functions.invoke(FunctionName="f")
    sagemaker = cloud.client("sagemaker")
    sagemaker.create_model(ModelName="m", PrimaryContainer={"Image": "i"})
    variant = {"VariantName": "main", "ModelName": "m", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
    eventually(lambda: sagemaker.describe_endpoint(EndpointName="e")["EndpointStatus"] == "InService")
    return cloud


def test_a_started_cloud_is_healthy_in_every_part_and_stops_without_a_trace(state: Path) -> None:
    cloud = busy(state)

    with Redis(port=cloud.valkey_port) as cache:
        assert cache.ping()
    status = lifecycle.status(state)
    assert status.healthy
    assert {part.part for part in status.parts} == {"emulator", "valkey", "container e/main", "endpoint e"}
    assert len(belonging_to(state)) >= 4
    (emulator,) = belonging_to(state, running="local.cloud.emulator")
    lifecycle.stop(state)
    assert belonging_to(state) == []
    assert not psutil.pid_exists(emulator.pid)  # collected, where this process started it
    assert sorted(path.name for path in state.iterdir()) == ["logs"]
    assert not lifecycle.status(state).running


def test_the_status_names_a_model_server_that_died(state: Path) -> None:
    busy(state)
    (server,) = belonging_to(state, running="fake_container.py serve")
    server.kill()

    status = eventually(lambda: _unhealthy(state))

    assert [part.part for part in status.parts if not part.healthy] == ["container e/main"]


def test_a_dead_model_server_and_a_dead_cache_are_started_again_unasked(state: Path) -> None:
    cloud = busy(state)
    with Redis(port=cloud.valkey_port) as cache:
        cache.set("counted", "before")
    for name in ("fake_container.py serve", "valkey-server"):
        (process,) = belonging_to(state, running=name)
        process.kill()
    waiting = eventually(lambda: _unhealthy(state, parts=2))
    assert all(part.detail.startswith("has ended, is started again in") for part in waiting.parts if not part.healthy)

    status = eventually(lambda: _healthy(state))

    details = {part.part: part.detail for part in status.parts}
    assert details["valkey"].endswith(", restarted once")
    assert details["container e/main"].endswith(", restarted once")
    with Redis(port=cloud.valkey_port) as cache:
        assert cache.get("counted") is None
    assert cloud.client("sagemaker-runtime").invoke_endpoint(EndpointName="e", Body=b"\x01")["Body"].read()
    lifecycle.stop(state)
    assert belonging_to(state) == []


def test_nothing_is_left_when_the_emulator_is_killed(state: Path) -> None:
    busy(state)
    (emulator,) = belonging_to(state, running="local.cloud.emulator")
    emulator.kill()

    eventually(lambda: belonging_to(state) == [])

    with pytest.raises(lifecycle.CloudNotRunning, match="slidr up"):
        lifecycle.connect(state)
    assert not lifecycle.status(state).healthy


def test_nothing_is_left_when_the_launcher_is_killed_half_way(state: Path) -> None:
    launcher = _launch(state, "hang")
    assert len(belonging_to(state)) >= 3
    launcher.kill()
    launcher.wait()

    eventually(lambda: belonging_to(state) == [])


def test_nothing_is_left_after_ctrl_c(state: Path) -> None:
    launcher = _launch(state, "hang")
    launcher.send_signal(signal.SIGINT)
    launcher.wait(timeout=20)

    eventually(lambda: belonging_to(state) == [])


def test_the_cloud_outlives_the_command_that_started_it(state: Path) -> None:
    assert _launch(state).wait(timeout=30) == 0

    cloud = lifecycle.connect(state)

    assert cloud.client("s3").list_buckets()["Buckets"] == []
    assert lifecycle.status(state).healthy


def test_the_next_start_ends_what_a_crash_left(state: Path) -> None:
    first = busy(state)
    (state / "run" / "ready").unlink()  # as a crash between start and ready leaves it

    second = lifecycle.start(state, app=None)

    assert second.endpoint_url != first.endpoint_url
    assert lifecycle.status(state).healthy
    assert second.client("lambda").list_functions()["Functions"] == []


def test_the_emulator_writes_nowhere_else(state: Path) -> None:
    read = emulator.settings_from(["--port", "1", "--valkey-port", "2", "--state-dir", str(state)])
    environment = emulator._environment(read)
    assert {environment["STATE_DIR"], environment["TMPDIR"]} == {str(state.absolute() / "tmp")}


def test_cdk_deploys_an_app_and_a_second_start_only_deploys_again(state: Path, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(textwrap.dedent(APP))
    (tmp_path / "cdk.json").write_text('{"app": "exit 1"}')  # bootstrapping synthesises nothing
    app = CdkApp(directory=tmp_path, command=f"{sys.executable} app.py", context={"stage": "local"})

    cloud = lifecycle.start(state, app=app)
    again = lifecycle.start(state, app=app)

    queue = cloud.outputs["small-local"]["Queue"]
    assert cloud.client("sqs").get_queue_url(QueueName=queue)["QueueUrl"]
    assert again.endpoint_url == cloud.endpoint_url
    assert lifecycle.connect(state).outputs == cloud.outputs
    assert any(part.part == "stack small-local" and part.healthy for part in lifecycle.status(state).parts)
    lifecycle.stop(state)
    assert sorted(path.name for path in state.iterdir()) == ["logs"]


def test_an_app_that_does_not_synthesise_is_reported_and_leaves_nothing(state: Path, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("raise SystemExit('the stage is unknown')")

    with pytest.raises(DeploymentFailed, match="the stage is unknown"):
        lifecycle.start(state, app=CdkApp(directory=tmp_path, command=f"{sys.executable} app.py"))

    assert belonging_to(state) == []


def _launch(state: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the cloud from another process; return when it is up, or the process when it has ended."""
    launcher = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(UP), str(state), CONTAINER, *arguments],
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
        stdout=subprocess.PIPE,
        text=True,
    )
    if arguments:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == "hanging\n"
        launcher.stdout.close()
    elif launcher.stdout is not None:
        launcher.stdout.close()
    return launcher


def _unhealthy(state: Path, *, parts: int = 1) -> lifecycle.CloudStatus | None:
    status = lifecycle.status(state)
    return status if sum(not part.healthy for part in status.parts) == parts else None


def _healthy(state: Path) -> lifecycle.CloudStatus | None:
    status = lifecycle.status(state)
    return status if status.healthy else None
