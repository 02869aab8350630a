"""Lambda functions of the local cloud run as AWS runs them."""

from __future__ import annotations

import json
from typing import Any

import psutil

from .conftest import ROLE, Emulator, bundle, eventually


def invoke(emulator: Emulator, function: str, event: Any = None) -> tuple[Any, str | None]:
    """Return the payload, and the function error if there is one."""
    answer = emulator.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event))
    return json.loads(answer["Payload"].read()), answer.get("FunctionError")


def test_the_error_type_is_the_class_of_the_exception(emulator: Emulator) -> None:
    source = """
        class Poisoned(ValueError): ...
        def handler(event, context):
            raise Poisoned("what came")
    """
    payload, error = invoke(emulator, emulator.function(source))

    assert error == "Unhandled"
    assert (payload["errorType"], payload["errorMessage"]) == ("Poisoned", "what came")
    assert any("handler.py" in line for line in payload["stackTrace"])


def test_a_function_that_runs_out_of_time_ends_and_the_next_invocation_works(emulator: Emulator) -> None:
    source = """
        import time
        def handler(event, context):
            time.sleep(event["sleep_s"])
            return context.get_remaining_time_in_millis()
    """
    function = emulator.function(source, timeout_s=1)

    payload, error = invoke(emulator, function, {"sleep_s": 30})
    assert (error, payload["errorType"]) == ("Unhandled", "Sandbox.Timedout")
    assert "timed out after 1.00 seconds" in payload["errorMessage"]
    left, error = invoke(emulator, function, {"sleep_s": 0})
    assert error is None
    assert 0 < left <= 1000


def test_a_function_that_kills_its_process_is_an_exit_error(emulator: Emulator) -> None:
    function = emulator.function("import os\ndef handler(event, context):\n    os._exit(3)\n")

    payload, error = invoke(emulator, function)

    assert (error, payload["errorType"]) == ("Unhandled", "Runtime.ExitError")
    assert "exit status 3" in payload["errorMessage"]


def test_the_function_sees_its_bundle_first_and_nothing_of_this_machines_packages(emulator: Emulator) -> None:
    client = emulator.client("lambda")
    handler = """
        import importlib.util, sys
        import boto3, botocore, requests
        def handler(event, context):
            return {
                "requests": requests.WHO,
                "numpy": importlib.util.find_spec("numpy") is not None,
                "slidr": importlib.util.find_spec("slidr") is not None,
                "boto3": boto3.__version__,
            }
    """
    code = bundle({"handler.py": handler, "requests/__init__.py": "WHO = 'the bundle'"})
    client.create_function(
        FunctionName="isolated",
        Runtime="python3.13",
        Role=ROLE,
        Handler="handler.handler",
        Timeout=10,
        Code={"ZipFile": code},
    )

    seen, error = invoke(emulator, "isolated")

    assert error is None
    assert (seen["requests"], seen["numpy"], seen["slidr"]) == ("the bundle", False, False)


def test_a_missing_dependency_fails_the_invocation_as_on_aws(emulator: Emulator) -> None:
    payload, error = invoke(emulator, emulator.function("import pyarrow\ndef handler(event, context): ...\n"))

    assert error == "Unhandled"
    assert payload["errorType"] == "ModuleNotFoundError"


def test_the_environment_is_that_of_the_service(emulator: Emulator) -> None:
    source = "import os\ndef handler(event, context):\n    return dict(os.environ)\n"
    function = emulator.function(source, COLOUR="blue", AWS_REGION="eu-west-9")

    seen, _ = invoke(emulator, function)

    assert seen["COLOUR"] == "blue"
    assert seen["AWS_REGION"] == "us-east-1"  # reserved: the function's own value does not win
    assert seen["AWS_ENDPOINT_URL"] == emulator.url
    assert seen["AWS_LAMBDA_FUNCTION_NAME"] == function
    assert seen["_X_AMZN_TRACE_ID"].startswith("Root=1-")
    assert "VIRTUAL_ENV" not in seen


def test_what_a_function_prints_is_in_its_log_file_and_in_cloudwatch(emulator: Emulator) -> None:
    source = """
        import logging, sys
        def handler(event, context):
            print("to standard output")
            print("to standard error", file=sys.stderr)
            sys.stdout.write("without a newline")
    """
    function = emulator.function(source)
    invoke(emulator, function)

    log = emulator.state / "logs" / f"lambda-{function}.log"
    eventually(lambda: log.exists() and "without a newline" in log.read_text())
    assert "to standard output\nto standard error\n" in log.read_text()
    events = emulator.client("logs").filter_log_events(logGroupName=f"/aws/lambda/{function}")["events"]
    messages = [event["message"] for event in events]
    assert messages[0].startswith("START RequestId")
    assert "to standard output" in messages
    assert "without a newline" in messages


def test_concurrent_invocations_run_at_the_same_time(emulator: Emulator) -> None:
    source = "import time\ndef handler(event, context):\n    time.sleep(1.0)\n    return time.time()\n"
    function = emulator.function(source)
    client = emulator.client("lambda")
    for _ in range(3):
        client.invoke(FunctionName=function, InvocationType="Event", Payload=b"{}")
    environments = eventually(lambda: _environments(emulator, function, 3))

    assert len(environments) == 3


def _environments(emulator: Emulator, function: str, at_least: int) -> list[psutil.Process]:
    found = [
        process
        for process in psutil.Process(emulator.process.pid).children(recursive=True)
        if process.environ().get("AWS_LAMBDA_FUNCTION_NAME") == function
    ]
    return found if len(found) >= at_least else []


def test_new_code_replaces_the_running_environments(emulator: Emulator) -> None:
    function = emulator.function("def handler(event, context): return 1")
    assert invoke(emulator, function) == (1, None)

    code = bundle({"handler.py": "def handler(event, context): return 2"})
    emulator.client("lambda").update_function_code(FunctionName=function, ZipFile=code)

    assert invoke(emulator, function) == (2, None)
