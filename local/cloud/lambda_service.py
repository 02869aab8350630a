"""Seam: ministack's Lambda runs functions in our execution environments (lambda_worker.py).

What differs from ministack's own: errorType is the exception's class (so retry and catch by error name work), the
function sees no site-packages of this machine, a process that dies or runs out of time is that invocation's error,
nothing outlives the emulator, logs are files, and embedded metrics reach CloudWatch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local.cloud import seams
from local.cloud.embedded_metrics import metrics_in
from local.cloud.lambda_worker import Invocation, LambdaWorker, function_files, log_group, log_stream

# A log stream in CloudWatch keeps the last lines only; the file has them all.
_KEPT_LOG_LINES = 5000


class _PooledWorker:
    """A LambdaWorker with the attributes that ministack's pool reads and writes."""

    def __init__(self, worker: LambdaWorker, config: dict[str, Any]) -> None:
        self.config = config
        self.in_use = False
        self.last_used = time.time()
        self.worker = worker

    @property
    def _proc(self) -> None:
        """The pool takes the process away to end it; ours is ended in _discard_tmpdir, which it calls next."""
        return

    @_proc.setter
    def _proc(self, _: object) -> None:
        return

    def _discard_tmpdir(self) -> None:
        self.worker.stop()


def _worker_factory(state: Path) -> Callable[[str, dict[str, Any], bytes], _PooledWorker]:
    resolve_layer = seams.reach("services.lambda_svc._resolve_layer_zip")

    def make(_name: str, config: dict[str, Any], bundle: bytes) -> _PooledWorker:
        layers = [resolve_layer(layer) for layer in config.get("Layers") or []]
        files = function_files(config, bundle, [layer for layer in layers if layer], state)
        return _PooledWorker(LambdaWorker(config, files), config)

    return make


def _execute(function: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
    """Run one invocation in a free environment; stands for ministack's _execute_function_warm."""
    config = function.get("config") or function
    seams.reach("services.lambda_svc._ensure_reaper_thread")()
    worker, _ = seams.reach("core.lambda_runtime.acquire_worker")(
        config["FunctionName"], config, function["code_zip"], qualifier=config.get("Version", "$LATEST")
    )
    try:
        invocation: Invocation = worker.worker.invoke(event, request_id)
    finally:
        seams.reach("core.lambda_runtime.release_worker")(worker)
    record = seams.reach("services.cloudwatch.record_metric")
    for metric in metrics_in(invocation.log):
        record(metric.namespace, metric.name, metric.value, metric.unit, metric.dimensions)
    log = "\n".join(invocation.log)
    if invocation.error is not None:
        return {"body": invocation.error, "error": True, "function_error": "Unhandled", "log": log}
    return {"body": invocation.result, "log": log}


def _keep_log(
    func: dict[str, Any],
    request_id: str,
    log_text: str,
    error: bool,
    duration_ms: int,
    *,
    log_source: str | None = None,  # noqa: ARG001 - ministack's signature
) -> None:
    """Put an invocation's lines into the function's CloudWatch stream; stands for ministack's _emit_lambda_logs."""
    config = func.get("config") or func
    group_name, stream_name = log_group(config), log_stream(config)
    now_ms = int(time.time() * 1000)
    groups = seams.reach("services.cloudwatch_logs._log_groups")
    if group_name not in groups:
        groups[group_name] = {
            "arn": seams.reach("services.cloudwatch_logs._make_group_arn")(group_name),
            "creationTime": now_ms,
            "retentionInDays": None,
            "tags": {},
            "subscriptionFilters": {},
            "streams": {},
        }
    stream = groups[group_name]["streams"].setdefault(
        stream_name,
        {
            "events": [],
            "uploadSequenceToken": "1",
            "creationTime": now_ms,
            "firstEventTimestamp": None,
            "lastEventTimestamp": None,
            "lastIngestionTime": None,
        },
    )
    lines = [
        f"START RequestId: {request_id} Version: {config.get('Version', '$LATEST')}",
        *log_text.splitlines(),
        f"END RequestId: {request_id}",
        f"REPORT RequestId: {request_id}\tDuration: {duration_ms} ms" + ("\tStatus: error" if error else ""),
    ]
    events = [{"timestamp": now_ms, "message": line, "ingestionTime": now_ms} for line in lines]
    seams.reach("services.cloudwatch_logs._append_log_events")(stream, events)
    del stream["events"][:-_KEPT_LOG_LINES]


def install(state: Path) -> None:
    """Put our execution environments under ministack's Lambda; their files and logs go below `state`."""
    make = _worker_factory(state)
    seams.replace("core.lambda_runtime._worker_class_for", lambda config: make)  # noqa: ARG005 - its signature
    seams.replace("services.lambda_svc._execute_function_warm", _execute)
    seams.replace("services.lambda_svc._emit_lambda_logs", _keep_log)
