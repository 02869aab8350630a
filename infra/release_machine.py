"""The daily release as a state machine: what a run does, in the order in which it does it.

`definition` gives the Amazon States Language of one stage. A run's state grows by one key a step; docs/architecture.md
tells what the steps are for. Every task has a timeout, retries with backoff and jitter for what is transient, and a
catch that leads to the report: whatever stops a run leaves the champion serving. No path is null, since CDK drops nulls
where it resolves tokens.
Source: https://states-language.net/spec.html; AWS Step Functions developer guide, "Integrating services".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from infra.states import DEPENDENCIES, LAMBDA_ERRORS, State, caught_by, retry

_PROCESSING: Final = "/opt/ml/processing"
_STEP_S: Final = 300
"""Longer than any function of the loop may take (see TrainingStack)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSettings:
    """What differs between stages; names and ARNs may be tokens of CloudFormation."""

    functions: Mapping[str, str]
    """ARN of each function of functions/daily_loop, by its handler's name."""
    lake_bucket: str
    lake_key: str
    image: str
    training_role: str
    serving_role: str
    instance_type: str
    volume_gb: int
    job_timeout_s: int
    hyperparameters: Mapping[str, str]
    endpoint: str
    endpoint_key: str
    variant: Mapping[str, Any]
    """The production variant in the API's form, but for its model."""
    container_environment: Mapping[str, str]
    security_groups: Sequence[str]
    subnets: Sequence[str]
    retain_variant: bool
    """Whether an update keeps the instances that autoscaling has added."""
    rollback_alarms: Sequence[str]
    """Names of the alarms on which the service itself takes an update back."""
    bake_s: int
    """How long the old fleet stays beside the new one."""
    update_timeout_s: int
    poll_s: int
    package_group: str
    shadow_s: int
    canary_share: float
    canary_s: int
    retry_s: int
    """First wait before a failed job or a busy endpoint is tried again."""
    timeout_s: int


def definition(settings: MachineSettings) -> State:
    """The machine, as a JSON object."""
    canary = settings.canary_share > 0
    states: dict[str, State] = {
        "Plan": _function(
            settings, "plan", {"input.$": "$$.Execution.Input", "execution.$": "$$.Execution.Id"}, to="$.plan",
            then="BuildDataset", caught="Report",
        ),
        "BuildDataset": _build_dataset(settings) | _job(settings, then="JudgeData", keeps="$.built"),
        "JudgeData": _function(
            settings, "judge", {"prefix.$": "$.plan.prefix", "results": ["checks/guardrails-data.json"]}, to="$.data",
            then="TrainBesideProfiles", caught="Report",
        ),
        "TrainBesideProfiles": {
            "Type": "Parallel",
            "Branches": [_training_branch(settings), _profile_branch(settings)],
            "ResultSelector": {"training.$": "$[0].training", "profiles.$": "$[1].profiles"},
            "ResultPath": "$.made",
            "Catch": caught_by("Report"),
            "Next": "Evaluate",
        },
        "Evaluate": _evaluate(settings) | _job(settings, then="JudgeModel", keeps="$.evaluated"),
        "JudgeModel": _function(
            settings, "judge", {"prefix.$": "$.plan.prefix", "results": ["evaluation/guardrails-model.json"]},
            to="$.model", then="Publish", caught="Report",
        ),
        "Publish": _function(
            settings, "publish", {"plan.$": "$.plan", "model_uri.$": "$.made.training.model_uri"}, to="$.release",
            then="Register", caught="Report",
        ),
        "Register": _register(settings),
        "CreateModel": _create_model(settings),
        "CreateEndpointConfig": _create_endpoint_config(settings),
        "UpdateEndpoint": _update_endpoint(settings),
        "WaitForEndpoint": {"Type": "Wait", "Seconds": settings.poll_s, "Next": "DescribeEndpoint"},
        "DescribeEndpoint": _sdk(
            "describeEndpoint", {"EndpointName": settings.endpoint}, to="$.rollout", then="EndpointUpdated",
            selects={"status.$": "$.EndpointStatus", "config.$": "$.EndpointConfigName"},
        ),
        "EndpointUpdated": {
            "Type": "Choice",
            "Choices": [
                {
                    "And": [
                        {"Variable": "$.rollout.status", "StringEquals": "InService"},
                        {"Variable": "$.rollout.config", "StringEqualsPath": "$.release.config"},
                    ],
                    "Next": "Challenge",
                },
                {
                    "Or": [
                        {"Variable": "$.rollout.status", "StringEquals": status}
                        for status in ("Updating", "SystemUpdating", "RollingBack", "Creating")
                    ],
                    "Next": "WaitForEndpoint",
                },
            ],
            "Default": "RolloutFailed",
        },
        "RolloutFailed": {
            "Type": "Pass",
            "Parameters": {
                "Error": "RolloutFailed",
                "Cause.$": "States.Format('the endpoint must be InService with {}, it is {} with {}. It serves what it "
                "served before.', $.release.config, $.rollout.status, $.rollout.config)",
            },
            "ResultPath": "$.stopped",
            "Next": "Withdraw",
        },
        "Challenge": _point(settings, "challenge", {"mature.$": "$.release.mature"}, to="$.challenge", then="First"),
        "First": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.release.first", "BooleanEquals": True, "Next": "Approve"}],
            "Default": "ShadowBegins",
        },
        "ShadowBegins": _moment("$.shadowing", then="Shadow"),
        "Shadow": {"Type": "Wait", "Seconds": settings.shadow_s, "Next": "WatchShadow"},
        "WatchShadow": _watch(settings, "shadow", since="$.shadowing.since", then="Canary" if canary else "Promote"),
        **(_canary(settings) if canary else {}),
        "Promote": _point(settings, "promote", {"over.$": "$.release.over"}, to="$.promotion", then="Approve"),
        "Approve": _sdk(
            "updateModelPackage",
            {"ModelPackageArn.$": "$.package.ModelPackageArn", "ModelApprovalStatus": "Approved"},
            to="$.approval", then="Report",
        ) | {"Catch": caught_by("Report", keeps="$.unapproved")},  # the release serves: the registry stops nothing
        "Withdraw": _point(settings, "withdraw", {}, to="$.withdrawal", then="Report")
        | {"Catch": caught_by("Report", keeps="$.not_withdrawn")},
        "Report": _function(
            settings, "report", {"state.$": "$", "execution.$": "$$.Execution.Id"}, to="$.report", then="Outcome",
            caught="NotReported",
        ),
        "NotReported": {"Type": "Fail", "Error": "NotReported", "CausePath": "$.stopped.Cause"},
        "Outcome": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.report.outcome", "StringEquals": "promoted", "Next": "Promoted"}],
            "Default": "Stopped",
        },
        "Promoted": {"Type": "Succeed"},
        "Stopped": {"Type": "Fail", "Error": "ReleaseStopped", "CausePath": "$.report.why"},
    }  # fmt: skip
    return {
        "Comment": "One release a day: data, guardrails, training, calibration, guardrails, shadow, promotion, report",
        "StartAt": "Plan",
        "States": states,
        "TimeoutSeconds": settings.timeout_s,
    }


def _function(settings: MachineSettings, name: str, given: State, *, to: str, then: str, caught: str) -> State:
    return {
        "Type": "Task",
        "Resource": settings.functions[name],
        "Parameters": given,
        "ResultPath": to,
        "TimeoutSeconds": _STEP_S,
        "Retry": [retry((*LAMBDA_ERRORS, *DEPENDENCIES), first_s=2, attempts=5)],
        "Catch": caught_by(caught),
        "Next": then,
    }


def _point(settings: MachineSettings, action: str, more: State, *, to: str, then: str) -> State:
    given = {
        "action": action,
        "release_id.$": "$.release.release_id",
        "run.$": "$.plan.run",
        "why.$": "$.plan.why",
        **more,
    }
    return _function(settings, "point", given, to=to, then=then, caught="Withdraw")


def _watch(settings: MachineSettings, name: str, *, since: str, then: str) -> State:
    given = {"prefix.$": "$.plan.prefix", "name": name, "since.$": since}
    return _function(settings, "watch", given, to=f"$.{name}", then=then, caught="Withdraw")


def _canary(settings: MachineSettings) -> dict[str, State]:
    return {
        "Canary": _point(
            settings, "canary", {"share": settings.canary_share}, to="$.canary_pointer", then="CanaryBegins"
        ),
        "CanaryBegins": _moment("$.canarying", then="CanaryServes"),
        "CanaryServes": {"Type": "Wait", "Seconds": settings.canary_s, "Next": "WatchCanary"},
        "WatchCanary": _watch(settings, "canary", since="$.canarying.since", then="Promote"),
    }


def _moment(to: str, *, then: str) -> State:
    return {"Type": "Pass", "Parameters": {"since.$": "$$.State.EnteredTime"}, "ResultPath": to, "Next": then}


def _job(settings: MachineSettings, *, then: str | None, keeps: str) -> State:
    """What all SageMaker jobs share: a failed one is tried once more, under another name."""
    return {
        "Type": "Task",
        "ResultPath": keeps,
        "TimeoutSeconds": settings.job_timeout_s + 900,  # for the machines to be found and started
        "Retry": [
            retry(("SageMaker.AmazonSageMakerException",), first_s=settings.retry_s, attempts=4),
            retry(("States.TaskFailed",), first_s=settings.retry_s, attempts=1),
        ],
        **({"Catch": caught_by("Report"), "Next": then} if then else {"End": True}),
    }


def _job_name(step: str) -> str:
    return f"States.Format('{{}}-{step}-{{}}', $.plan.job, $$.State.RetryCount)"


def _build_dataset(settings: MachineSettings) -> State:
    return _processing(
        settings,
        "day",
        inputs=[
            _s3_input("clicks", "$.plan.clicks", kind="ManifestFile"),
            _s3_input("purchases", "$.plan.purchases", kind="ManifestFile"),
            _s3_input("compare", "$.plan.compare"),
        ],
        outputs=("dataset", "later", "checks", "profiles"),
    )


def _evaluate(settings: MachineSettings) -> State:
    return _processing(
        settings,
        "evaluate",
        inputs=[
            _s3_input("candidate", "$.made.training.model_uri"),
            _s3_input("dataset", _under_run("dataset/")),
            _s3_input("later", _under_run("later/")),
            _s3_input("compare", "$.plan.compare"),
        ],
        outputs=("evaluation",),
    )


def _under_run(folder: str) -> str:
    return f"States.Format('{{}}{folder}', $.plan.uri)"


def _processing(settings: MachineSettings, step: str, *, inputs: list[State], outputs: Sequence[str]) -> State:
    return {
        "Resource": "arn:aws:states:::sagemaker:createProcessingJob.sync",
        "ResultSelector": {"job.$": "$.ProcessingJobName"},
        "Parameters": {
            "ProcessingJobName.$": _job_name(step),
            "RoleArn": settings.training_role,
            "AppSpecification": {"ImageUri": settings.image, "ContainerArguments": ["process", step]},
            "ProcessingInputs": inputs,
            "ProcessingOutputConfig": {
                "KmsKeyId": settings.lake_key,
                "Outputs": [
                    {
                        "OutputName": name,
                        "S3Output": {
                            "LocalPath": f"{_PROCESSING}/output/{name}",
                            "S3UploadMode": "EndOfJob",
                            "S3Uri.$": _under_run(f"{name}/"),
                        },
                    }
                    for name in outputs
                ],
            },
            "ProcessingResources": {
                "ClusterConfig": {
                    "InstanceCount": 1,
                    "InstanceType": settings.instance_type,
                    "VolumeSizeInGB": settings.volume_gb,
                }
            },
            "NetworkConfig": {"EnableNetworkIsolation": True},
            "StoppingCondition": {"MaxRuntimeInSeconds": settings.job_timeout_s},
        },
    }


def _s3_input(name: str, address: str, *, kind: str = "S3Prefix") -> State:
    return {
        "InputName": name,
        "S3Input": {
            "LocalPath": f"{_PROCESSING}/input/{name}",
            "S3DataType": kind,
            "S3InputMode": "File",
            "S3Uri.$": address,
        },
    }


def _training_branch(settings: MachineSettings) -> State:
    train = {
        "Resource": "arn:aws:states:::sagemaker:createTrainingJob.sync",
        "Parameters": {
            "TrainingJobName.$": _job_name("train"),
            "RoleArn": settings.training_role,
            "AlgorithmSpecification": {
                "TrainingImage": settings.image,
                "TrainingInputMode": "File",
                "ContainerArguments": ["train"],
            },
            "HyperParameters": dict(settings.hyperparameters),
            "InputDataConfig": [
                {
                    "ChannelName": "training",
                    "DataSource": {
                        "S3DataSource": {
                            "S3DataDistributionType": "FullyReplicated",
                            "S3DataType": "S3Prefix",
                            "S3Uri.$": _under_run("dataset/"),
                        }
                    },
                }
            ],
            "OutputDataConfig": {"KmsKeyId": settings.lake_key, "S3OutputPath.$": _under_run("output/")},
            "EnableNetworkIsolation": True,
            "ResourceConfig": {
                "InstanceCount": 1,
                "InstanceType": settings.instance_type,
                "VolumeSizeInGB": settings.volume_gb,
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": settings.job_timeout_s},
        },
        "ResultSelector": {"model_uri.$": "$.ModelArtifacts.S3ModelArtifacts"},
    }
    return {"StartAt": "Train", "States": {"Train": train | _job(settings, then=None, keeps="$.training")}}


def _profile_branch(settings: MachineSettings) -> State:
    """What serving reads of the weeks before. It is told and stops nothing where it fails: profiles live for weeks."""
    write = _function(settings, "write_profiles", {"Key.$": "$.Key"}, to="$", then="", caught="")
    del write["Catch"], write["Next"]
    return {
        "StartAt": "WriteProfiles",
        "States": {
            "WriteProfiles": {
                "Type": "Map",
                "ItemReader": {
                    "Resource": "arn:aws:states:::s3:listObjectsV2",
                    "Parameters": {
                        "Bucket": settings.lake_bucket,
                        "Prefix.$": "States.Format('{}profiles/', $.plan.prefix)",
                    },
                },
                "ItemProcessor": {
                    "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                    "StartAt": "WriteFile",
                    "States": {"WriteFile": write | {"End": True}},
                },
                "MaxConcurrency": 4,
                "ResultSelector": {"written": True},
                "ResultPath": "$.profiles",
                "Catch": caught_by("ProfilesNotWritten", keeps="$.profiles"),
                "End": True,
            },
            "ProfilesNotWritten": {"Type": "Pass", "End": True},
        },
    }


def _register(settings: MachineSettings) -> State:
    return _sdk(
        "createModelPackage",
        {
            "ClientToken.$": "$.plan.run",
            "ModelPackageGroupName": settings.package_group,
            "ModelPackageDescription.$": "States.Format('{} of {}', $.release.release_id, $.plan.run)",
            "ModelApprovalStatus": "PendingManualApproval",
            "InferenceSpecification": {
                "Containers": [{"Image": settings.image, "ModelDataUrl.$": "$.release.artifact_uri"}],
                "SupportedContentTypes": ["application/x-slidr-features"],
                "SupportedResponseMIMETypes": ["application/x-slidr-scores"],
                "SupportedRealtimeInferenceInstanceTypes": [settings.variant["InstanceType"]],
            },
            "ModelMetrics": {
                "ModelQuality": {
                    "Statistics": {"ContentType": "application/json", "S3Uri.$": "$.release.evaluation_uri"}
                }
            },
            "CustomerMetadataProperties.$": "$.release.metadata",
        },
        to="$.package",
        then="CreateModel",
    )


def _create_model(settings: MachineSettings) -> State:
    return _sagemaker(
        "createModel",
        {
            "ModelName.$": "$.release.config",
            "ExecutionRoleArn": settings.serving_role,
            "EnableNetworkIsolation": True,
            "PrimaryContainer": {
                "Image": settings.image,
                "ModelDataUrl.$": "$.release.artifact_uri",
                "Environment": dict(settings.container_environment),
            },
            "VpcConfig": {"SecurityGroupIds": [*settings.security_groups], "Subnets": [*settings.subnets]},
        },
        then="CreateEndpointConfig",
    )


def _create_endpoint_config(settings: MachineSettings) -> State:
    return _sagemaker(
        "createEndpointConfig",
        {
            "EndpointConfigName.$": "$.release.config",
            "KmsKeyId": settings.endpoint_key,
            "ProductionVariants": [{**settings.variant, "ModelName.$": "$.release.config"}],
        },
        then="UpdateEndpoint",
    )


def _update_endpoint(settings: MachineSettings) -> State:
    state = _sagemaker(
        "updateEndpoint",
        {
            "EndpointName": settings.endpoint,
            "EndpointConfigName.$": "$.release.config",
            "RetainAllVariantProperties": settings.retain_variant,
            "DeploymentConfig": {
                "BlueGreenUpdatePolicy": {
                    "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": settings.bake_s},
                    "TerminationWaitInSeconds": settings.bake_s,
                    "MaximumExecutionTimeoutInSeconds": settings.update_timeout_s,
                },
                "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in settings.rollback_alarms]},
            },
        },
        then="WaitForEndpoint",
    )
    # Autoscaling or an operator may be changing it just now.
    state["Retry"] = [retry(("SageMaker.AmazonSageMakerException",), first_s=settings.retry_s, attempts=6)]
    return state


def _sagemaker(action: str, given: State, *, then: str) -> State:
    return {
        "Type": "Task",
        "Resource": f"arn:aws:states:::sagemaker:{action}",
        "Parameters": given,
        "ResultPath": f"$.{action}",
        "TimeoutSeconds": _STEP_S,
        "Retry": [retry(("SageMaker.AmazonSageMakerException",), first_s=2, attempts=4)],
        "Catch": caught_by("Withdraw"),
        "Next": then,
    }


def _sdk(action: str, given: State, *, to: str, then: str, selects: State | None = None) -> State:
    return {
        "Type": "Task",
        "Resource": f"arn:aws:states:::aws-sdk:sagemaker:{action}",
        "Parameters": given,
        **({"ResultSelector": selects} if selects else {}),
        "ResultPath": to,
        "TimeoutSeconds": _STEP_S,
        "Retry": [retry(("SageMaker.SageMakerException", "SageMaker.SdkClientException"), first_s=2, attempts=4)],
        "Catch": caught_by("Withdraw"),
        "Next": then,
    }
