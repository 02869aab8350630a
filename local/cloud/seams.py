"""Every place where the local cloud reaches into the emulator (ministack), declared once and asserted at start-up.

The other modules of `local.cloud` touch ministack only through `reach` and `replace`, which refuse what is not
declared here. So a new ministack version fails at start-up with the list of what has moved, and not in the middle of
a demonstration.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from slidr.errors import SlidrError

EMULATOR_VERSION = "1.5.33"


class EmulatorChanged(SlidrError):
    """The installed ministack is not the one that the seams were written for."""


class UndeclaredSeam(SlidrError):
    """Code reached for a ministack attribute that `SEAMS` does not declare."""


@dataclass(frozen=True, slots=True)
class Seam:
    """One ministack attribute.

    `name` is "module.attribute" below the package; `parameters` are the parameter names of a function, comma
    separated, or None for a value or a class; `replaced` says that the local cloud puts its own function there.
    """

    name: str
    parameters: str | None = None
    replaced: bool = False


def _calls(names: dict[str, str]) -> tuple[Seam, ...]:
    return tuple(Seam(name, parameters) for name, parameters in names.items())


def _replaces(names: dict[str, str]) -> tuple[Seam, ...]:
    return tuple(Seam(name, parameters, replaced=True) for name, parameters in names.items())


def _values(*names: str) -> tuple[Seam, ...]:
    return tuple(Seam(name) for name in names)


SEAMS: tuple[Seam, ...] = (
    # Tables that ministack itself looks things up in: we register there (stable).
    *_values(
        "app.SERVICE_HANDLERS",
        "core.router.SERVICE_PATTERNS",
        "services.cloudformation.provisioners._RESOURCE_HANDLERS",
        "services.stepfunctions._SERVICE_DISPATCH",
        "services.stepfunctions._AWS_SDK_SERVICE_MAP",
    ),
    # Records and classes that we read.
    *_values(
        "services.stepfunctions._ExecutionError",
        "services.kinesis._streams",
        "services.firehose._streams",
        "services.glue._tables",
        "services.cloudwatch._alarms",
        "services.cloudwatch._composite_alarms",
        "services.cloudwatch._metrics",
        "services.cloudwatch_logs._log_groups",
        "services.scheduler._schedule_last_fired",
    ),
    # Functions that we call.
    *_calls(
        {
            "app.app": "scope, receive, send",
            "core.responses.request_scope": "account_id, region",
            "core.responses.get_account_id": "",
            "core.responses.get_region": "",
            "core.lambda_runtime.acquire_worker": "func_name, config, code_zip, qualifier, max_concurrency",
            "core.lambda_runtime.release_worker": "worker",
            "core.lambda_runtime.reset": "",
            "services.lambda_svc._ensure_reaper_thread": "",
            "services.lambda_svc._execute_function": "func, event",
            "services.lambda_svc._iter_all_esms": "",
            "services.lambda_svc._get_func_record_for_qualifier": "name, qualifier",
            "services.lambda_svc._resolve_name_and_qualifier": "name_or_arn",
            "services.lambda_svc._resolve_layer_zip": "attachment",
            "services.lambda_svc._apply_filter_criteria": "records, esm",
            "services.lambda_svc._emit_lambda_metrics": "function_name, duration_ms, error, throttle",
            "services.lambda_svc.invoke_async_with_retry": "func, event",
            "services.cloudwatch.record_metric": "namespace, metric_name, value, unit, dimensions",
            "services.cloudwatch._dims_key": "dims",
            "services.cloudwatch._calc_stats": "points",
            "services.cloudwatch._stat_value": "stats, stat_name, points",
            "services.cloudwatch._record_history": "alarm_name, old_state, new_state, reason, alarm_type, reason_data",
            "services.cloudwatch._evaluate_parent_alarms": "child, seen",
            "services.cloudwatch._put_composite_alarm": "params, cbor_data, is_cbor, is_json",
            "services.cloudwatch_logs._append_log_events": "stream, events",
            "services.cloudwatch_logs._make_group_arn": "name",
            "services.eventbridge._put_events": "data, allow_aws_source",
        }
    ),
    # Functions that we replace (fragile: the reason for the exact pin).
    *_replaces(
        {
            "app._docker_socket_present": "",
            "core.lambda_runtime._worker_class_for": "config",
            "services.lambda_svc._execute_function_warm": "func, event, request_id",
            "services.lambda_svc._emit_lambda_logs": "func, request_id, log_text, error, duration_ms, log_source",
            "services.lambda_svc._poll_kinesis": "",
            "services.kinesis._expire_records": "stream",
            "services.firehose.ingest_from_kinesis_source": "stream_arn, records",
            "services.firehose._deliver_records_to_s3": "stream, dest, records",
            "services.cloudwatch._evaluate_alarm": "alarm",
            "services.cloudwatch._dispatch_alarm_actions": "alarm, old_state, new_state, reason",
            "services.cloudformation.provisioners._cw_metric_alarm_record": "name, props",
            "services.cloudformation.provisioners._ec_rg_attrs": "rg_id",
            "services.cloudformation.provisioners._sm_secret_string": "props",
            "services.cloudformation.stacks._runs_on_worker_thread": "resource_type",
            "services.elasticache._get_docker": "",
            "services.scheduler._update_schedule": "name, body",
            "services.eventbridge._invoke_target": "target, event, rule, view",
        }
    ),
)

_DECLARED = {seam.name: seam for seam in SEAMS}


def _locate(name: str) -> tuple[Any, str]:
    """Return the ministack module and the attribute that "module.attribute" names."""
    module, _, attribute = name.rpartition(".")
    return importlib.import_module(f"ministack.{module}"), attribute


def _parameters(function: Callable[..., Any]) -> str:
    return ", ".join(inspect.signature(function).parameters)


def _misfits() -> Iterator[str]:
    """Yield one line for each declared seam that the installed ministack does not have."""
    for seam in SEAMS:
        try:
            module, attribute = _locate(seam.name)
        except ImportError as missing:
            yield f"{seam.name}: {missing}"
            continue
        if not hasattr(module, attribute):
            yield f"{seam.name}: does not exist"
            continue
        found = getattr(module, attribute)
        if seam.parameters is None:
            continue
        if not callable(found):
            yield f"{seam.name}: must be callable, is {type(found).__name__}"
        elif _parameters(found) != seam.parameters:
            yield f"{seam.name}: must take ({seam.parameters}), takes ({_parameters(found)})"


def assert_emulator_fits() -> None:
    """Check the version and every seam of the installed ministack.

    Raises:
        EmulatorChanged: with every seam that does not fit.
    """
    try:
        installed = version("ministack")
    except PackageNotFoundError as absent:
        raise EmulatorChanged(
            f"the local cloud needs ministack {EMULATOR_VERSION}, which is not installed; "
            "install the project with its `local` extra under constraints.txt"
        ) from absent
    if installed != EMULATOR_VERSION:
        raise EmulatorChanged(
            f"the local cloud needs ministack {EMULATOR_VERSION} exactly, {installed} is installed; "
            f"run: pip install ministack=={EMULATOR_VERSION}"
        )
    misfits = list(_misfits())
    if misfits:
        raise EmulatorChanged(
            "ministack does not fit the seams declared in local/cloud/seams.py; adapt each of these:\n  "
            + "\n  ".join(misfits)
        )


def _declared(name: str) -> Seam:
    seam = _DECLARED.get(name)
    if seam is None:
        raise UndeclaredSeam(f"ministack.{name} is not declared in local/cloud/seams.py; add it to SEAMS first")
    return seam


def reach(name: str) -> Any:
    """Return the declared ministack attribute `name` ("module.attribute")."""
    _declared(name)
    module, attribute = _locate(name)
    return getattr(module, attribute)


def replace(name: str, ours: Callable[..., Any]) -> Callable[..., Any]:
    """Put `ours` where ministack has the declared function `name`; return the function that was there."""
    if not _declared(name).replaced:
        raise UndeclaredSeam(
            f"ministack.{name} is declared as read or called, not as replaced; mark it in local/cloud/seams.py"
        )
    module, attribute = _locate(name)
    theirs: Callable[..., Any] = getattr(module, attribute)
    setattr(module, attribute, ours)
    return theirs
