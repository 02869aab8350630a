"""Lambda execution environments: one process each, warm between invocations, with AWS's errors and log contract."""

from __future__ import annotations

import json
import os
import queue
import select
import struct
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

from local.cloud.children import ChildOptions, start_child, stop_child
from local.cloud.gateway import ACCESS_KEY, REGION, SECRET_KEY, endpoint_url
from local.cloud.lambda_bootstrap import END_OF_LOG
from local.cloud.lambda_bundle import runtime_directory, unpack

_BOOTSTRAP = Path(__file__).with_name("lambda_bootstrap.py")
_INIT_LIMIT_S = 60.0
_LOG_WAIT_S = 0.5
# The only variables of this machine that an execution environment sees.
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "SSL_CERT_FILE", "LANG")


class _EnvironmentDied(Exception):
    """The process ended before it answered."""


class _TimeLimitReached(Exception):
    """The invocation did not answer within the function's timeout."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """What one invocation gave back: `result`, or `error` as AWS's error document; and its log lines."""

    result: Any = None
    error: dict[str, Any] | None = None
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FunctionFiles:
    """Where a function's files and logs are."""

    code: Path
    layers: tuple[Path, ...]
    runtime: Path
    log: Path


@dataclass(slots=True)
class _Environment:
    """One running execution environment and its pipes."""

    process: Popen[bytes]
    requests: int
    answers: int
    log: queue.Queue[str] = field(default_factory=queue.Queue)

    def send(self, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        frame = memoryview(struct.pack(">I", len(body)) + body)
        try:
            while frame:
                frame = frame[os.write(self.requests, frame) :]
        except BrokenPipeError as gone:
            raise _EnvironmentDied from gone

    def receive(self, limit_s: float) -> dict[str, Any]:
        deadline = time.monotonic() + limit_s
        (size,) = struct.unpack(">I", self._read(4, deadline))
        answer: dict[str, Any] = json.loads(self._read(size, deadline))
        return answer

    def _read(self, size: int, deadline: float) -> bytes:
        chunks = []
        while size:
            ready, _, _ = select.select([self.answers], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise _TimeLimitReached
            chunk = os.read(self.answers, min(size, 1 << 20))
            if not chunk:
                raise _EnvironmentDied
            chunks.append(chunk)
            size -= len(chunk)
        return b"".join(chunks)

    def log_of(self, request_id: str | None) -> tuple[str, ...]:
        """Return the lines written so far, up to the end mark of `request_id` (or all that are there, for None)."""
        lines: list[str] = []
        end = time.monotonic() + _LOG_WAIT_S
        while (left := end - time.monotonic()) > 0:
            try:
                line = self.log.get(timeout=left if request_id else 0.05)
            except queue.Empty:
                break
            if request_id and line == END_OF_LOG + request_id:
                break
            lines.append(line)
        return tuple(line for line in lines if not line.startswith(END_OF_LOG))

    def end(self) -> None:
        stop_child(self.process, grace_s=0.2)
        for descriptor in (self.requests, self.answers):
            os.close(descriptor)


def _environment_variables(config: dict[str, Any], files: FunctionFiles) -> dict[str, str]:
    """Return what the function sees in os.environ: AWS's reserved variables, its own, and where the local AWS is."""
    name = config["FunctionName"]
    own = {str(key): str(value) for key, value in ((config.get("Environment") or {}).get("Variables") or {}).items()}
    inherited = {key: os.environ[key] for key in _INHERITED if key in os.environ}
    reserved = {
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{config.get('Runtime', 'python3.13')}",
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(config.get("MemorySize", 128)),
        "AWS_LAMBDA_FUNCTION_VERSION": config.get("Version", "$LATEST"),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": log_group(config),
        "AWS_LAMBDA_LOG_STREAM_NAME": log_stream(config),
        "LAMBDA_TASK_ROOT": str(files.code),
        "LAMBDA_RUNTIME_DIR": str(files.runtime),
        "_HANDLER": config["Handler"],
        "AWS_EC2_METADATA_DISABLED": "true",
        "TZ": ":UTC",
    }
    return {**inherited, "AWS_ENDPOINT_URL": endpoint_url(), **own, **reserved}


def log_group(config: dict[str, Any]) -> str:
    """Return the CloudWatch log group of a function."""
    configured: str | None = (config.get("LoggingConfig") or {}).get("LogGroup")
    return configured or f"/aws/lambda/{config['FunctionName']}"


def log_stream(config: dict[str, Any]) -> str:
    """Return the log stream of a function version: one for all its environments, so that they stay few."""
    return f"[{config.get('Version', '$LATEST')}]{uuid.uuid5(uuid.NAMESPACE_URL, config['FunctionArn']).hex}"


class LambdaWorker:
    """One execution environment of a function; used by one invocation at a time."""

    def __init__(self, config: dict[str, Any], files: FunctionFiles) -> None:
        self._config = config
        self._files = files
        self._environment: _Environment | None = None

    def invoke(self, event: Any, request_id: str) -> Invocation:
        """Run one invocation; every way to fail is the invocation's error, and the next one starts a new process."""
        timeout_s = float(self._config.get("Timeout", 3))
        try:
            environment = self._environment or self._start()
        except _EnvironmentDied:
            return self._died(request_id, "Runtime.ExitError", "the function's process ended while it was starting")
        except _TimeLimitReached:
            return self._died(request_id, "Sandbox.Timedout", f"initialisation took over {_INIT_LIMIT_S:.0f} seconds")
        if isinstance(environment, Invocation):
            return environment
        try:
            environment.send(
                {
                    "event": event,
                    "request_id": request_id,
                    "function_arn": self._config["FunctionArn"],
                    "timeout_s": timeout_s,
                    "trace_id": f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Sampled=0",
                }
            )
            answer = environment.receive(timeout_s)
        except _TimeLimitReached:
            return self._died(request_id, "Sandbox.Timedout", f"Task timed out after {timeout_s:.2f} seconds")
        except _EnvironmentDied:
            code = environment.process.wait()
            return self._died(
                request_id, "Runtime.ExitError", f"Runtime exited with error: {_exit_in_words(code)}", prefix=True
            )
        return Invocation(answer.get("result"), answer.get("error"), environment.log_of(request_id))

    def stop(self) -> None:
        """End the process, if there is one."""
        environment, self._environment = self._environment, None
        if environment is not None:
            environment.end()

    def _died(self, request_id: str, kind: str, message: str, *, prefix: bool = False) -> Invocation:
        log = self._environment.log_of(None) if self._environment else ()
        self.stop()
        text = f"RequestId: {request_id} Error: {message}" if prefix else message
        return Invocation(error={"errorType": kind, "errorMessage": text}, log=(*log, text))

    def _start(self) -> _Environment | Invocation:
        """Start the process and import the handler; an import that fails is the invocation's error, as on AWS."""
        request_in, request_out = os.pipe()
        answer_in, answer_out = os.pipe()
        log_in, log_out = os.pipe()
        try:
            process = start_child(
                [sys.executable, "-I", "-S", str(_BOOTSTRAP), str(request_in), str(answer_out)],
                ChildOptions(
                    environment=_environment_variables(self._config, self._files),
                    directory=self._files.code,
                    output=log_out,
                    pass_fds=(request_in, answer_out),
                ),
            )
        finally:
            for descriptor in (request_in, answer_out, log_out):
                os.close(descriptor)
        environment = self._environment = _Environment(process, request_out, answer_in)
        threading.Thread(target=_follow_log, args=(log_in, self._files.log, environment.log), daemon=True).start()
        environment.send(
            {
                "code": str(self._files.code),
                "layers": [str(layer) for layer in self._files.layers],
                "runtime": str(self._files.runtime),
                "handler": self._config["Handler"],
            }
        )
        answer = environment.receive(_INIT_LIMIT_S)
        if "error" in answer:
            failed = Invocation(error=answer["error"], log=environment.log_of(None))
            self.stop()
            return failed
        return environment


def _exit_in_words(code: int) -> str:
    return f"signal: {-code}" if code < 0 else f"exit status {code}"


def _follow_log(descriptor: int, path: Path, lines: queue.Queue[str]) -> None:
    """Copy what the function prints to its log file, and queue it for the invocation that printed it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as source, path.open("a", buffering=1) as target:
        for raw in source:
            line, mark, request_id = raw.rstrip("\n").partition(END_OF_LOG)
            if line or not mark:
                lines.put(line)
                target.write(line + "\n")
            if mark:
                lines.put(mark + request_id)


def function_files(config: dict[str, Any], bundle: bytes, layers: list[bytes], directory: Path) -> FunctionFiles:
    """Unpack a function's bundle and layers below `directory`; its log is `logs/lambda-<function>.log` there."""
    unpacked = directory / "lambda"
    layer_paths = [unpack(layer, unpacked) for layer in layers]
    return FunctionFiles(
        code=unpack(bundle, unpacked),
        layers=tuple(path / "python" if (path / "python").is_dir() else path for path in layer_paths),
        runtime=runtime_directory(unpacked),
        log=directory / "logs" / f"lambda-{config['FunctionName']}.log",
    )
