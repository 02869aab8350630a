"""SageMaker's control plane, which ministack does not have: models, endpoint configurations, endpoints, jobs, tags."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from local.cloud import seams
from local.cloud.containers import ContainerFailed, ContainerHost
from local.cloud.endpoints import Endpoints, VariantPlan
from local.cloud.jobs import JobFailed, JobStopped, run_processing, run_training
from local.cloud.model_registry import ModelRegistry
from local.cloud.s3_uri import InvalidS3Uri
from slidr.errors import SlidrError

_LOGGER = logging.getLogger("slidr.sagemaker")
_BAKE_POLL_S = 0.2


class SageMakerRefused(SlidrError):
    """The service refuses a request; `code` is its error code."""

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def _refused(message: str) -> SageMakerRefused:
    return SageMakerRefused("ValidationException", message)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of resource: its name in operations and ARNs, and which of its fields a list shows."""

    name: str
    arn_kind: str
    status: str | None = None

    @property
    def key(self) -> str:
        """The field that holds the resource's name."""
        return f"{self.name}Name"

    @property
    def arn_key(self) -> str:
        """The field that holds the resource's ARN."""
        return f"{self.name}Arn"


MODEL = Kind("Model", "model")
ENDPOINT_CONFIG = Kind("EndpointConfig", "endpoint-config")
ENDPOINT = Kind("Endpoint", "endpoint", "EndpointStatus")
TRAINING_JOB = Kind("TrainingJob", "training-job", "TrainingJobStatus")
PROCESSING_JOB = Kind("ProcessingJob", "processing-job", "ProcessingJobStatus")
KINDS = (MODEL, ENDPOINT_CONFIG, ENDPOINT, TRAINING_JOB, PROCESSING_JOB)


@dataclass(slots=True)
class SageMaker:
    """The service's records and running containers (one account, one region)."""

    host: ContainerHost
    endpoints: Endpoints = field(init=False)
    registry: ModelRegistry = field(default_factory=lambda: ModelRegistry(_refused))
    _records: dict[Kind, dict[str, dict[str, Any]]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    _tags: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.endpoints = Endpoints(self.host)

    def call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one control plane operation.

        Raises:
            SageMakerRefused: with the service's error code.
        """
        special: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "CreateEndpointConfig": self._create_endpoint_config,
            "CreateEndpoint": self._create_endpoint,
            "UpdateEndpoint": self._update_endpoint,
            "UpdateEndpointWeightsAndCapacities": lambda asked: {
                "EndpointArn": self._find(ENDPOINT, asked)["EndpointArn"]
            },
            "DeleteEndpoint": self._delete_endpoint,
            "CreateTrainingJob": lambda asked: self._start_job(TRAINING_JOB, asked, run_training),
            "CreateProcessingJob": lambda asked: self._start_job(PROCESSING_JOB, asked, run_processing),
            "StopTrainingJob": lambda asked: self._stop_job(TRAINING_JOB, asked),
            "StopProcessingJob": lambda asked: self._stop_job(PROCESSING_JOB, asked),
            "AddTags": self._add_tags,
            "DeleteTags": self._delete_tags,
            "ListTags": lambda asked: {"Tags": _tag_list(self._tags.get(asked["ResourceArn"], {}))},
            **self.registry.operations(_arns()),
        }
        if operation in special:
            return special[operation](request)
        for kind in KINDS:
            if operation == f"Create{kind.name}":
                return {kind.arn_key: self._create(kind, request)[kind.arn_key]}
            if operation == f"Describe{kind.name}":
                return {key: value for key, value in self._find(kind, request).items() if value is not None}
            if operation == f"Delete{kind.name}":
                self._find(kind, request)
                del self._records[kind][request[kind.key]]
                return {}
            if operation == f"List{kind.name}s":
                return self._list(kind, request)
        raise SageMakerRefused("UnknownOperationException", f"{operation} is not part of the local SageMaker")

    def record(self, kind: Kind, name: str) -> dict[str, Any]:
        """Return the live record of a resource (it changes while the resource does)."""
        return self._find(kind, {kind.key: name})

    def _create(self, kind: Kind, request: dict[str, Any]) -> dict[str, Any]:
        name = request[kind.key]
        arn = f"{_arns()}:{kind.arn_kind}/{name}"
        if name in self._records[kind]:
            raise SageMakerRefused("ValidationException", f'Cannot create already existing {kind.arn_kind} "{arn}".')
        now = time.time()
        record = {**request, kind.arn_key: arn, "CreationTime": now, "LastModifiedTime": now}
        self._tags[arn] = {tag["Key"]: tag["Value"] for tag in record.pop("Tags", None) or []}
        self._records[kind][name] = record
        return record

    def _find(self, kind: Kind, request: dict[str, Any]) -> dict[str, Any]:
        name = request.get(kind.key)
        record = self._records[kind].get(str(name))
        if record is None:
            raise SageMakerRefused("ValidationException", f'Could not find {kind.arn_kind.replace("-", " ")} "{name}".')
        return record

    def _list(self, kind: Kind, request: dict[str, Any]) -> dict[str, Any]:
        shown = (kind.key, kind.arn_key, kind.status, "CreationTime", "LastModifiedTime")
        wanted = str(request.get("NameContains", ""))
        listed = [
            {key: value for key, value in record.items() if key in shown}
            for name, record in self._records[kind].items()
            if wanted in name
        ]
        listed.sort(
            key=lambda item: item["CreationTime"], reverse=request.get("SortOrder", "Descending") == "Descending"
        )
        plural = {ENDPOINT: "Endpoints", ENDPOINT_CONFIG: "EndpointConfigs", MODEL: "Models"}
        return {plural.get(kind, f"{kind.name}Summaries"): listed[: int(request.get("MaxResults", 100))]}

    def _create_endpoint_config(self, request: dict[str, Any]) -> dict[str, Any]:
        for variant in request["ProductionVariants"]:
            self._find(MODEL, variant)
        return {"EndpointConfigArn": self._create(ENDPOINT_CONFIG, request)["EndpointConfigArn"]}

    def _create_endpoint(self, request: dict[str, Any]) -> dict[str, Any]:
        config = self._find(ENDPOINT_CONFIG, request)
        record = self._create(ENDPOINT, request)
        record["EndpointStatus"] = "Creating"
        _in_background(self._roll, record, config)
        return {"EndpointArn": record["EndpointArn"]}

    def _update_endpoint(self, request: dict[str, Any]) -> dict[str, Any]:
        record, config = self._find(ENDPOINT, request), self._find(ENDPOINT_CONFIG, request)
        if record["EndpointStatus"] in ("Creating", "Updating"):
            raise SageMakerRefused(
                "ValidationException", f'Cannot update in-progress endpoint "{record["EndpointArn"]}".'
            )
        record["EndpointStatus"] = "Updating"
        record.pop("LastDeploymentConfig", None)
        if "DeploymentConfig" in request:
            record["LastDeploymentConfig"] = request["DeploymentConfig"]
        _in_background(self._roll, record, config)
        return {"EndpointArn": record["EndpointArn"]}

    def _delete_endpoint(self, request: dict[str, Any]) -> dict[str, Any]:
        self._find(ENDPOINT, request)
        del self._records[ENDPOINT][request["EndpointName"]]
        self.endpoints.remove(request["EndpointName"])
        return {}

    def _roll(self, record: dict[str, Any], config: dict[str, Any]) -> None:
        """Bring the endpoint to `config`; on failure the old fleet, if any, keeps serving and the reason is kept."""
        name = record["EndpointName"]
        try:
            plans = tuple(self._plan(variant) for variant in config["ProductionVariants"])
            self.endpoints.roll(name, plans, baked=lambda: _alarmed(record.get("LastDeploymentConfig") or {}))
        except (ContainerFailed, SageMakerRefused, InvalidS3Uri, OSError, ClientError) as failure:
            _LOGGER.warning("endpoint %s was not brought to %s: %s", name, config["EndpointConfigName"], failure)
            record["FailureReason"] = str(failure)
            record["EndpointStatus"] = "InService" if self.endpoints.runs(name) else "Failed"
        else:
            record.pop("FailureReason", None)
            record["EndpointConfigName"] = config["EndpointConfigName"]
            record["ProductionVariants"] = [_variant_summary(variant) for variant in config["ProductionVariants"]]
            record["EndpointStatus"] = "InService"
        record["LastModifiedTime"] = time.time()
        if name not in self._records[ENDPOINT]:
            self.endpoints.remove(name)  # deleted while it was being created

    def _plan(self, variant: dict[str, Any]) -> VariantPlan:
        model = self._find(MODEL, variant)
        container = model.get("PrimaryContainer") or (model.get("Containers") or [{}])[0]
        data = container.get("ModelDataUrl") or (
            (container.get("ModelDataSource") or {}).get("S3DataSource") or {}
        ).get("S3Uri")
        return VariantPlan(
            name=variant["VariantName"],
            model_data_url=data,
            environment={key: str(value) for key, value in (container.get("Environment") or {}).items()},
            weight=float(variant.get("InitialVariantWeight", 1)),
        )

    def _start_job(
        self, kind: Kind, request: dict[str, Any], run: Callable[[ContainerHost, dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        record = self._create(kind, request)
        status = str(kind.status)
        record.update({status: "InProgress", "SecondaryStatus": "Starting"})

        def work() -> None:
            try:
                record.update(run(self.host, record))
                end = "Completed"
            except JobStopped as stopped:
                end, record["FailureReason"] = "Stopped", str(stopped)
            except (JobFailed, InvalidS3Uri, OSError, KeyError, ClientError) as failure:
                end, record["FailureReason"] = "Failed", str(failure)
            now = time.time()
            record.update({f"{kind.name.removesuffix('Job')}EndTime": now, "LastModifiedTime": now})
            record.update({"SecondaryStatus": end, status: end})

        _in_background(work)
        return {kind.arn_key: record[kind.arn_key]}

    def _stop_job(self, kind: Kind, request: dict[str, Any]) -> dict[str, Any]:
        record = self._find(kind, request)
        if record[str(kind.status)] == "InProgress":
            record[str(kind.status)] = "Stopping"
        return {}

    def _add_tags(self, request: dict[str, Any]) -> dict[str, Any]:
        tags = self._tags.setdefault(request["ResourceArn"], {})
        tags.update({tag["Key"]: tag["Value"] for tag in request["Tags"]})
        return {"Tags": _tag_list(tags)}

    def _delete_tags(self, request: dict[str, Any]) -> dict[str, Any]:
        for key in request["TagKeys"]:
            self._tags.get(request["ResourceArn"], {}).pop(key, None)
        return {}


def _arns() -> str:
    """How ARNs of this account and region begin."""
    return f"arn:aws:sagemaker:{seams.reach('core.responses.get_region')()}:{_account()}"


def _account() -> str:
    account: str = seams.reach("core.responses.get_account_id")()
    return account


def _tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _alarmed(deployment: Mapping[str, Any]) -> str:
    """Wait until a blue/green update has baked; the name of the alarm that takes it back, or none.

    Source: SageMaker AI developer guide, "Auto-Rollback Configuration and Monitoring".
    """
    wait_s = (deployment.get("BlueGreenUpdatePolicy") or {}).get("TerminationWaitInSeconds", 0)
    watched = [alarm["AlarmName"] for alarm in (deployment.get("AutoRollbackConfiguration") or {}).get("Alarms", [])]
    deadline = time.monotonic() + float(wait_s)
    while True:
        alarms = seams.reach("services.cloudwatch._alarms")
        for name in watched:
            if (alarms.get(name) or {}).get("StateValue") == "ALARM":
                return str(name)
        if time.monotonic() >= deadline:
            return ""
        time.sleep(_BAKE_POLL_S)


def _variant_summary(variant: dict[str, Any]) -> dict[str, Any]:
    weight, count = float(variant.get("InitialVariantWeight", 1)), int(variant.get("InitialInstanceCount", 1))
    return {
        "VariantName": variant["VariantName"],
        "CurrentWeight": weight,
        "DesiredWeight": weight,
        "CurrentInstanceCount": count,
        "DesiredInstanceCount": count,
    }


def _in_background(work: Callable[..., None], *arguments: Any) -> None:
    """Run `work` on a thread of its own that keeps the request's account and region."""
    threading.Thread(target=contextvars.copy_context().run, args=(work, *arguments), daemon=True).start()
