"""Seam: SageMaker's control plane and runtime at the emulator's endpoint, in Step Functions and in CloudFormation."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from local.cloud import seams
from local.cloud.endpoints import EndpointMissing, ModelError
from local.cloud.sagemaker import (
    ENDPOINT,
    ENDPOINT_CONFIG,
    MODEL,
    PROCESSING_JOB,
    TRAINING_JOB,
    Kind,
    SageMaker,
    SageMakerRefused,
)
from slidr.errors import SlidrError

Response = tuple[int, dict[str, str], bytes]
Attributes = tuple[str, dict[str, str]]
_JSON = "application/x-amz-json-1.1"
_POLL_S = 0.1
_STEP_FUNCTIONS_ARN = "arn:aws:states:::sagemaker:"
_NAME_LIMIT = 63


class EndpointNotInService(SlidrError):
    """A stack's endpoint did not come into service."""


def _error(status: int, code: str, message: str, **more: object) -> Response:
    body = {"__type": code, "message": message, "Message": message, **more}
    return status, {"Content-Type": _JSON, "x-amzn-errortype": code}, json.dumps(body, default=str).encode()


def _invoke(service: SageMaker, path: str, headers: dict[str, str], body: bytes) -> Response:
    """Answer InvokeEndpoint."""
    name = unquote(path.split("/")[2])
    try:
        answer = service.endpoints.invoke(name, body, headers)
    except EndpointMissing as missing:
        return _error(400, "ValidationError", str(missing))
    except ModelError as failed:
        message = f"Received error ({failed.status}) from the model: {failed}"
        return _error(424, "ModelError", message, OriginalStatusCode=failed.status, OriginalMessage=str(failed))
    answered = {"Content-Type": answer.content_type, "x-Amzn-Invoked-Production-Variant": answer.variant}
    if answer.custom_attributes is not None:
        answered["X-Amzn-SageMaker-Custom-Attributes"] = answer.custom_attributes
    return 200, answered, answer.body


def _handler(service: SageMaker) -> Callable[..., Any]:
    """Return the emulator's handler of requests signed for `sagemaker`."""

    def answer(path: str, headers: dict[str, str], body: bytes) -> Response:
        if path.startswith("/endpoints/"):
            return _invoke(service, path, headers, body)
        try:
            request = json.loads(body or b"{}")
            result = service.call(headers.get("x-amz-target", "").rpartition(".")[2], request)
        except SageMakerRefused as refused:
            return _error(refused.status, refused.code, str(refused))
        except KeyError as absent:
            return _error(400, "ValidationException", f"{absent} is required")
        return 200, {"Content-Type": _JSON}, json.dumps(result, default=str).encode()

    async def handle(_method: str, path: str, headers: dict[str, str], body: bytes, _query: object) -> Response:
        return await asyncio.to_thread(answer, path, headers, body)

    return handle


def _step_functions(service: SageMaker) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    """Return the optimised integration: `sagemaker:createTrainingJob.sync` and its like."""
    failed = seams.reach("services.stepfunctions._ExecutionError")

    def run(resource: str, request: dict[str, Any]) -> dict[str, Any]:
        action, _, waits = resource.removeprefix(_STEP_FUNCTIONS_ARN).partition(".")
        operation = action[0].upper() + action[1:]
        try:
            answer = service.call(operation, request)
            kind = {"CreateTrainingJob": TRAINING_JOB, "CreateProcessingJob": PROCESSING_JOB}.get(operation)
            if not waits or kind is None:
                return answer
            record = service.record(kind, request[kind.key])
            while record[str(kind.status)] in ("InProgress", "Stopping"):
                time.sleep(_POLL_S)
            described = service.call(f"Describe{kind.name}", request)
        except SageMakerRefused as refused:
            raise failed("SageMaker.AmazonSageMakerException", str(refused)) from refused
        if described[str(kind.status)] != "Completed":
            raise failed("States.TaskFailed", json.dumps(described, default=str))
        return described

    return run


def _physical_name(kind: Kind, properties: dict[str, Any], stack: str, logical_id: str) -> str:
    """Return the template's name, or one of CloudFormation's form: <logical id>-<random>."""
    named: str | None = properties.get(kind.key)
    return named or f"{logical_id}-{uuid.uuid4().hex[:12]}"[-_NAME_LIMIT:].lstrip("-") or stack


def _wait_in_service(service: SageMaker, name: str) -> None:
    record = service.record(ENDPOINT, name)
    while record["EndpointStatus"] in ("Creating", "Updating"):
        time.sleep(_POLL_S)
    if record["EndpointStatus"] != "InService" or record.get("FailureReason"):
        raise EndpointNotInService(f"endpoint {name} is {record['EndpointStatus']}: {record.get('FailureReason')}")


def _attributes(service: SageMaker, kind: Kind, name: str) -> Attributes:
    arn = service.record(kind, name)[kind.arn_key]
    # Ref of these types is the ARN in the service; CDK asks for the name with GetAtt.
    return arn, {kind.key: name, "Id": arn, "Arn": arn}


def _name_of(physical_id: str) -> str:
    return physical_id.rpartition("/")[2]


def _cloudformation(service: SageMaker, kind: Kind) -> dict[str, Callable[..., Any]]:
    """Return create, update and delete of one resource type; endpoints wait for their containers."""

    def create(logical_id: str, properties: dict[str, Any], stack: str) -> Attributes:
        name = _physical_name(kind, properties, stack, logical_id)
        service.call(f"Create{kind.name}", {**properties, kind.key: name})
        if kind is ENDPOINT:
            _wait_in_service(service, name)
        return _attributes(service, kind, name)

    def delete(physical_id: str, _properties: dict[str, Any]) -> None:
        try:
            service.call(f"Delete{kind.name}", {kind.key: _name_of(physical_id)})
        except SageMakerRefused:
            return  # gone already

    def update(physical_id: str, old: dict[str, Any], new: dict[str, Any], stack: str) -> Attributes:
        name = _name_of(physical_id)
        if kind is ENDPOINT and new.get(kind.key, name) == name:
            if {**old, "Tags": None} != {**new, "Tags": None}:
                service.call("UpdateEndpoint", {**new, kind.key: name})
                _wait_in_service(service, name)
            return _attributes(service, kind, name)
        if new.get(kind.key) == name:
            delete(physical_id, old)
            return create(name, new, stack)
        # Replaced under a new name; CloudFormation removes the old one when nothing uses it any more.
        return create(name.rpartition("-")[0] or name, new, stack)

    return {"create": create, "update": update, "delete": delete}


def _package_group(service: SageMaker) -> dict[str, Callable[..., Any]]:
    """Return create and delete of a group of model packages; its name is given, and changes replace it."""

    def create(_logical_id: str, properties: dict[str, Any], _stack: str) -> Attributes:
        arn = service.call("CreateModelPackageGroup", properties)["ModelPackageGroupArn"]
        return arn, {"ModelPackageGroupArn": arn, "Id": arn, "Arn": arn}

    def delete(physical_id: str, _properties: dict[str, Any]) -> None:
        try:
            service.call("DeleteModelPackageGroup", {"ModelPackageGroupName": _name_of(physical_id)})
        except SageMakerRefused:
            return  # gone already, or it still holds packages: with the emulator they end

    def update(physical_id: str, _old: dict[str, Any], _new: dict[str, Any], _stack: str) -> Attributes:
        return physical_id, {"ModelPackageGroupArn": physical_id, "Id": physical_id, "Arn": physical_id}

    return {"create": create, "update": update, "delete": delete}


def install(service: SageMaker) -> None:
    """Register SageMaker wherever ministack looks a service up."""
    seams.reach("app.SERVICE_HANDLERS")["sagemaker"] = _handler(service)
    seams.reach("core.router.SERVICE_PATTERNS")["sagemaker"] = {
        "target_prefixes": ["SageMaker."],
        "host_patterns": [],
        "path_patterns": [],
    }
    seams.reach("services.stepfunctions._AWS_SDK_SERVICE_MAP")["sagemaker"] = {
        "target_prefix": "SageMaker",
        "protocol": "json",
    }
    seams.reach("services.stepfunctions._SERVICE_DISPATCH")[_STEP_FUNCTIONS_ARN] = _step_functions(service)
    handlers = seams.reach("services.cloudformation.provisioners._RESOURCE_HANDLERS")
    for kind in (MODEL, ENDPOINT_CONFIG, ENDPOINT):
        handlers[f"AWS::SageMaker::{kind.name}"] = _cloudformation(service, kind)
    handlers["AWS::SageMaker::ModelPackageGroup"] = _package_group(service)
    runs_on_a_thread = seams.replace(
        "services.cloudformation.stacks._runs_on_worker_thread",
        # Waiting for a container on the event loop would stop the emulator that the container needs.
        lambda resource_type: resource_type.startswith("AWS::SageMaker::") or runs_on_a_thread(resource_type),
    )
