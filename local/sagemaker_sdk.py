"""SageMaker through its own SDK (v3, typed resources): training and processing jobs and the endpoint.

The SDK takes 2 s to import, so it is imported where a command needs it. It finds the account or the local cloud by
the environment, so that is set for as long as it works.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from local.session import Session
from slidr.errors import SlidrError

_POLL_S: Final = 1.0
_PROCESSING: Final = "/opt/ml/processing"
CHANNEL: Final = "training"
"""Name of the training channel (training.train.CHANNEL)."""


class TrainingFailed(SlidrError):
    """A training job did not complete."""


class ProcessingFailed(SlidrError):
    """A processing job did not complete."""


class RolloutFailed(SlidrError):
    """The endpoint did not take the new releases; it serves what it served before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """A training job to run."""

    name: str
    image: str
    role_arn: str
    dataset_uri: str
    output_uri: str
    instance_type: str
    hyperparameters: Mapping[str, str]
    kms_key: str | None = None
    """Key of what the job writes; None is S3's own key of the account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessingPlan:
    """A processing step of the image to run (training.container.entrypoint.PROCESSING_STEPS)."""

    name: str
    step: str
    image: str
    role_arn: str
    inputs: Mapping[str, str]
    """By the name of their folder: an S3 prefix, or a manifest that lists objects (its name ends so)."""
    output_uri: str
    """Where the step's output goes, whose folder is named as the step."""
    instance_type: str
    kms_key: str | None = None
    """As of a JobPlan."""
    options: tuple[str, ...] = ()
    """Of the step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredRelease:
    """A release in the Model Registry."""

    release_id: str
    version: int
    """Of its model package in the stage's group."""
    approval: str
    """Approved where it was promoted."""
    measured: Mapping[str, str]
    """What its evaluation measured, and its run and day, by name."""


MANIFEST: Final = ".manifest"
"""How the name of a manifest ends."""


@contextmanager
def sdk_environment(session: Session) -> Iterator[None]:
    """The process's environment pointed at the session's AWS, and put back afterwards."""
    wanted = session.environment()
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    from sagemaker.core.utils.utils import SageMakerClient  # noqa: PLC0415

    SageMakerClient.reset()  # it keeps the first client of the process, which may be of another stage
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def run_training(session: Session, plan: JobPlan, *, on_status: Callable[[str], None] = lambda _status: None) -> str:
    """Run a training job to its end; returns the S3 URI of its model.tar.gz.

    Raises:
        TrainingFailed: the job failed or was stopped.
    """
    with sdk_environment(session):
        from sagemaker.core.resources import TrainingJob  # noqa: PLC0415
        from sagemaker.core.shapes import (  # noqa: PLC0415
            AlgorithmSpecification,
            Channel,
            DataSource,
            OutputDataConfig,
            ResourceConfig,
            S3DataSource,
            StoppingCondition,
        )

        source = S3DataSource(
            s3_data_type="S3Prefix", s3_uri=plan.dataset_uri, s3_data_distribution_type="FullyReplicated"
        )
        job: Any = TrainingJob.create(
            training_job_name=plan.name,
            role_arn=plan.role_arn,
            algorithm_specification=AlgorithmSpecification(
                training_image=plan.image, training_input_mode="File", container_arguments=["train"]
            ),
            hyper_parameters=dict(plan.hyperparameters),
            input_data_config=[Channel(channel_name=CHANNEL, data_source=DataSource(s3_data_source=source))],
            output_data_config=OutputDataConfig(s3_output_path=plan.output_uri, kms_key_id=plan.kms_key),
            enable_network_isolation=True,  # the service brings the data; training itself calls nobody
            resource_config=ResourceConfig(instance_type=plan.instance_type, instance_count=1, volume_size_in_gb=30),
            stopping_condition=StoppingCondition(max_runtime_in_seconds=3 * 3_600),
            region=session.region_name,
        )
        while job.training_job_status not in {"Completed", "Failed", "Stopped"}:
            on_status(str(job.secondary_status))
            time.sleep(_POLL_S)
            job.refresh()
        if job.training_job_status != "Completed":
            raise TrainingFailed(
                f"the training job {plan.name} must complete, it {job.training_job_status.lower()}: "
                f"{getattr(job, 'failure_reason', '')}. See slidr logs training."
            )
        return str(job.model_artifacts.s3_model_artifacts)


def run_processing(
    session: Session, plan: ProcessingPlan, *, on_status: Callable[[str], None] = lambda _status: None
) -> None:
    """Run a processing job to its end.

    Raises:
        ProcessingFailed: the job failed or was stopped.
    """
    with sdk_environment(session):
        from sagemaker.core.resources import ProcessingJob  # noqa: PLC0415
        from sagemaker.core.shapes import (  # noqa: PLC0415
            AppSpecification,
            NetworkConfig,
            ProcessingClusterConfig,
            ProcessingInput,
            ProcessingOutput,
            ProcessingOutputConfig,
            ProcessingResources,
            ProcessingS3Input,
            ProcessingS3Output,
            ProcessingStoppingCondition,
        )

        inputs = [
            ProcessingInput(
                input_name=name,
                s3_input=ProcessingS3Input(
                    s3_uri=uri,
                    s3_data_type="ManifestFile" if uri.endswith(MANIFEST) else "S3Prefix",
                    local_path=f"{_PROCESSING}/input/{name}",
                    s3_input_mode="File",
                ),
            )
            for name, uri in plan.inputs.items()
        ]
        output = ProcessingOutput(
            output_name=plan.step,
            s3_output=ProcessingS3Output(
                s3_uri=plan.output_uri, local_path=f"{_PROCESSING}/output/{plan.step}", s3_upload_mode="EndOfJob"
            ),
        )
        job: Any = ProcessingJob.create(
            processing_job_name=plan.name,
            role_arn=plan.role_arn,
            app_specification=AppSpecification(
                image_uri=plan.image, container_arguments=["process", plan.step, *plan.options]
            ),
            processing_inputs=inputs,
            processing_output_config=ProcessingOutputConfig(outputs=[output], kms_key_id=plan.kms_key),
            processing_resources=ProcessingResources(
                cluster_config=ProcessingClusterConfig(
                    instance_count=1, instance_type=plan.instance_type, volume_size_in_gb=30
                )
            ),
            network_config=NetworkConfig(enable_network_isolation=True),
            stopping_condition=ProcessingStoppingCondition(max_runtime_in_seconds=3 * 3_600),
            region=session.region_name,
        )
        while job.processing_job_status not in {"Completed", "Failed", "Stopped"}:
            on_status(str(job.processing_job_status))
            time.sleep(_POLL_S)
            job.refresh()
        if job.processing_job_status != "Completed":
            raise ProcessingFailed(
                f"the processing job {plan.name} must complete, it {job.processing_job_status.lower()}: "
                f"{getattr(job, 'failure_reason', '')}. See slidr logs processing."
            )


def roll_out(
    session: Session, *, name: str, artifact_uri: str, on_status: Callable[[str], None] = lambda _status: None
) -> None:
    """Have the stage's endpoint serve the artifact: a model and a configuration named `name`, then the update.

    Everything but the artifact (image, role, network, instances) is copied from what serves now.

    Raises:
        RolloutFailed: the endpoint did not get into service with it.
    """
    with sdk_environment(session):
        from sagemaker.core.resources import Endpoint, EndpointConfig, Model  # noqa: PLC0415

        region = session.region_name
        endpoint: Any = Endpoint.get(endpoint_name=session.outputs.endpoint_name, region=region)
        config: Any = EndpointConfig.get(endpoint_config_name=endpoint.endpoint_config_name, region=region)
        variants = list(config.production_variants)
        model: Any = Model.get(model_name=variants[0].model_name, region=region)
        container = model.primary_container.model_copy(update={"model_data_url": artifact_uri})
        Model.create(
            model_name=name,
            primary_container=container,
            region=region,
            **_assigned(model, "execution_role_arn", "vpc_config", "enable_network_isolation"),
        )
        EndpointConfig.create(
            endpoint_config_name=name,
            production_variants=[variant.model_copy(update={"model_name": name}) for variant in variants],
            region=region,
            **_assigned(config, "kms_key_id", "async_inference_config", "explainer_config"),
        )
        endpoint.endpoint_config_name = name  # `update` sends what the object holds
        endpoint.update(retain_all_variant_properties=True)
        endpoint.refresh()
        while endpoint.endpoint_status in {"Creating", "Updating", "SystemUpdating", "RollingBack"}:
            on_status(endpoint.endpoint_status)
            time.sleep(_POLL_S)
            endpoint.refresh()
        if endpoint.endpoint_status != "InService" or endpoint.endpoint_config_name != name:
            raise RolloutFailed(
                f"the endpoint {endpoint.endpoint_name} must be InService with {name}, it is "
                f"{endpoint.endpoint_status} with {endpoint.endpoint_config_name}: "
                f"{getattr(endpoint, 'failure_reason', '')}. It serves what it served before; see slidr logs endpoint."
            )


def registered_releases(session: Session, *, last: int) -> list[RegisteredRelease]:
    """The newest `last` model packages of the stage's group, newest first."""
    with sdk_environment(session):
        from sagemaker.core.resources import ModelPackage  # noqa: PLC0415

        group, region = session.outputs.model_package_group, session.region_name
        listed = ModelPackage.get_all(
            model_package_group_name=group, sort_by="CreationTime", sort_order="Descending", region=region
        )
        found = []
        for summary in islice(listed, last):
            package: Any = ModelPackage.get(model_package_name=summary.model_package_arn, region=region)
            told = dict(_assigned(package, "customer_metadata_properties").get("customer_metadata_properties", {}))
            found.append(
                RegisteredRelease(
                    release_id=told.pop("release_id", "unknown"),
                    version=int(package.model_package_version),
                    approval=str(package.model_approval_status),
                    measured=told,
                )
            )
        return found


def _assigned(resource: Any, *names: str) -> dict[str, Any]:
    """What the resource really has of these attributes: the SDK marks the others, and takes its marks back nowhere."""
    from sagemaker.core.utils.utils import Unassigned  # noqa: PLC0415

    values = {name: getattr(resource, name, None) for name in names}
    return {name: value for name, value in values.items() if value is not None and not isinstance(value, Unassigned)}
