"""The inside of one Lambda execution environment: read an invocation, call the handler, write the answer.

Run by a bare interpreter (`python -I -S`), as `lambda_bootstrap.py <request fd> <answer fd>`. The search path is what
AWS gives a function: its bundle, its layers, the runtime's own boto3, the standard library, and nothing of this
machine's site-packages; so a bundle that misses a dependency fails here as it would there. Standard library only. A
frame is four bytes of length, big-endian, and that many bytes of JSON.
"""

import importlib
import json
import os
import struct
import sys
import time
import traceback
from typing import Any

# Written to the log after an invocation: what came before it belongs to that invocation.
END_OF_LOG = "\x1eend-of-invocation "


class _Context:
    """The context object that AWS passes as the handler's second argument."""

    def __init__(self, invocation: dict[str, Any]) -> None:
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.invoked_function_arn = invocation["function_arn"]
        self.aws_request_id = invocation["request_id"]
        self.identity = None
        self.client_context = None
        self._deadline = time.monotonic() + invocation["timeout_s"]

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the invocation is ended by its time limit."""
        return max(0, int((self._deadline - time.monotonic()) * 1000))


def _read_exactly(descriptor: int, size: int) -> bytes:
    chunks = []
    while size:
        chunk = os.read(descriptor, min(size, 1 << 20))
        if not chunk:
            sys.exit(0)  # the emulator is gone
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)


def _read_frame(descriptor: int) -> Any:
    (size,) = struct.unpack(">I", _read_exactly(descriptor, 4))
    return json.loads(_read_exactly(descriptor, size))


def _write_frame(descriptor: int, value: Any) -> None:
    body = json.dumps(value, ensure_ascii=False).encode()
    frame = memoryview(struct.pack(">I", len(body)) + body)
    while frame:
        frame = frame[os.write(descriptor, frame) :]


def _failure(error: BaseException) -> dict[str, Any]:
    """Return the error document of AWS's Python runtime: type, message and stack."""
    return {
        "errorMessage": str(error),
        "errorType": type(error).__name__,
        "stackTrace": traceback.format_tb(error.__traceback__),
    }


def _load(setup: dict[str, Any]) -> Any:
    """Import the handler as the runtime does, with the function's own bundle first."""
    sys.path[:0] = [setup["code"], *setup["layers"]]
    sys.path.append(setup["runtime"])
    module, _, function = setup["handler"].replace("/", ".").rpartition(".")
    return getattr(importlib.import_module(module), function)


def _invoke(handler: Any, invocation: dict[str, Any]) -> dict[str, Any]:
    os.environ["_X_AMZN_TRACE_ID"] = invocation["trace_id"]
    try:
        result = handler(invocation["event"], _Context(invocation))
        json.dumps(result)  # what cannot be serialised is the function's error, not the runtime's
    except Exception as error:  # noqa: BLE001 - the runtime reports every error of a handler
        traceback.print_exc()
        return {"error": _failure(error)}
    return {"result": result}


def main() -> None:
    """Serve invocations until the emulator closes the pipe."""
    requests, answers = int(sys.argv[1]), int(sys.argv[2])
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # what is printed keeps its order
    setup = _read_frame(requests)
    try:
        handler = _load(setup)
    except BaseException as error:  # noqa: BLE001 - an import may end in SystemExit too
        traceback.print_exc()
        sys.stderr.flush()
        _write_frame(answers, {"error": _failure(error)})
        return
    _write_frame(answers, {"ready": True})
    while True:
        invocation = _read_frame(requests)
        answer = _invoke(handler, invocation)
        sys.stdout.flush()
        print(END_OF_LOG + invocation["request_id"], file=sys.stderr, flush=True)
        _write_frame(answers, answer)


if __name__ == "__main__":
    main()
