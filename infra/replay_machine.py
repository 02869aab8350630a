"""A replay as a state machine: a day of the archive a job, all days at once; then, approved, the corrections.

    Plan -> ReplayDays (Distributed Map: a processing job a day) -> Summarise -> Publish (Distributed Map: a function an
    hour) -> Finish

Its input is that of functions/replay/plan_step.py. What an hour's replay found is named by its content, so a run that
was stopped is begun again and goes on where it was. No path is null, since CDK drops nulls where it resolves tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from infra.states import DEPENDENCIES, LAMBDA_ERRORS, State, caught_by, retry

_PROCESSING: Final = "/opt/ml/processing"
_JOBS: Final = 8
"""Days that are replayed at a time."""
_PUBLISHERS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayMachineSettings:
    """What differs between stages; names and ARNs may be tokens of CloudFormation."""

    functions: Mapping[str, str]
    """ARN of plan, summarise, publish and finish."""
    function_s: int
    """How long any of them may take."""
    lake_bucket: str
    lake_key: str
    image: str
    role: str
    instance_type: str
    volume_gb: int
    job_timeout_s: int
    retry_s: int
    timeout_s: int


def replay_definition(settings: ReplayMachineSettings) -> State:
    """The machine, as a JSON object."""
    states: dict[str, State] = {
        "Plan": _function(
            settings, "plan", {"input.$": "$$.Execution.Input", "execution.$": "$$.Execution.Name"}, to="$.plan",
            then="AnyDays",
        ),
        "AnyDays": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.plan.days", "NumericEquals": 0, "Next": "NothingToDo"}],
            "Default": "ReplayDays",
        },
        "NothingToDo": {"Type": "Succeed"},
        "ReplayDays": _map(
            settings, listed="days.json", state="ReplayDay", does=_job(settings), at_a_time=_JOBS, then="Summarise"
        ),
        "Summarise": _function(settings, "summarise", {"plan.$": "$.plan"}, to="$.found", then="AnyCorrections"),
        "AnyCorrections": {
            "Type": "Choice",
            "Choices": [
                {
                    "And": [
                        {"Variable": "$.plan.apply", "BooleanEquals": True},
                        {"Variable": "$.found.corrections", "NumericGreaterThan": 0},
                    ],
                    "Next": "Publish",
                }
            ],
            "Default": "Finish",
        },
        "Publish": _map(
            settings, listed="corrections.json", state="PublishHour",
            does=_function(
                settings, "publish", {"key.$": "$.key", "who.$": "$.who", "why.$": "$.why"}, to="$", then="",
                caught="",
            ),
            at_a_time=_PUBLISHERS, then="Finish",
        ),
        "Finish": _function(settings, "finish", {"plan.$": "$.plan", "found.$": "$.found"}, to="$.finished",
                            then="Done"),
        "Done": {"Type": "Succeed"},
        "Stopped": {"Type": "Fail", "ErrorPath": "$.stopped.Error", "CausePath": "$.stopped.Cause"},
    }  # fmt: skip
    return {
        "Comment": "Past clicks decided again, and corrected on approval",
        "StartAt": "Plan",
        "States": states,
        "TimeoutSeconds": settings.timeout_s,
    }


def hours_definition(settings: ReplayMachineSettings) -> State:
    """The hourly machine: what has matured is counted, what is old enough becomes final."""
    job = _processing(
        settings, "hours", name="States.Format('{}-{}', $.plan.job, $$.State.RetryCount)",
        inputs=[_input("ask", "$.plan.ask", kind="S3Prefix"), _input("lake", "$.plan.manifest", kind="ManifestFile")],
        output=("billing", "$.plan.output"),
    )  # fmt: skip
    del job["End"]
    states: dict[str, State] = {
        "PlanHours": _function(settings, "plan_hours", {"execution.$": "$$.Execution.Name"}, to="$.plan", then="Any"),
        "Any": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.plan.objects", "NumericEquals": 0, "Next": "NothingToDo"}],
            "Default": "Hours",
        },
        "NothingToDo": {"Type": "Succeed"},
        "Hours": job | {"ResultPath": "$.job", "Catch": caught_by("Stopped"), "Next": "TellHours"},
        "TellHours": _function(settings, "tell_hours", {"plan.$": "$.plan"}, to="$.told", then="Done"),
        "Done": {"Type": "Succeed"},
        "Stopped": {"Type": "Fail", "ErrorPath": "$.stopped.Error", "CausePath": "$.stopped.Cause"},
    }
    return {
        "Comment": "False positives of matured clicks; hours that become final",
        "StartAt": "PlanHours",
        "States": states,
        "TimeoutSeconds": settings.timeout_s,
    }


def _function(
    settings: ReplayMachineSettings, name: str, given: State, *, to: str, then: str, caught: str = "Stopped"
) -> State:
    return {
        "Type": "Task",
        "Resource": settings.functions[name],
        "Parameters": given,
        "ResultPath": to,
        "TimeoutSeconds": settings.function_s + 60,
        "Retry": [retry((*LAMBDA_ERRORS, *DEPENDENCIES), first_s=2, attempts=5)],
        **({"Catch": caught_by(caught), "Next": then} if then else {"End": True}),
    }


def _map(settings: ReplayMachineSettings, *, listed: str, state: str, does: State, at_a_time: int, then: str) -> State:
    """A state for each entry of a JSON list in the run's folder."""
    return {
        "Type": "Map",
        "ItemReader": {
            "Resource": "arn:aws:states:::s3:getObject",
            "ReaderConfig": {"InputType": "JSON"},
            "Parameters": {
                "Bucket": settings.lake_bucket,
                "Key.$": f"States.Format('{{}}{listed}', $.plan.prefix)",
            },
        },
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            "StartAt": state,
            "States": {state: does},
        },
        "MaxConcurrency": at_a_time,
        "ResultSelector": {"done": True},
        "ResultPath": f"$.{state[0].lower()}{state[1:]}",
        "Catch": caught_by("Stopped"),
        "Next": then,
    }


def _job(settings: ReplayMachineSettings) -> State:
    return _processing(
        settings, "replay", name="States.Format('{}-{}', $.job, $$.State.RetryCount)",
        inputs=[
            _input("ask", "$.ask", kind="S3Prefix"),
            _input("release", "$.release", kind="S3Prefix"),
            _input("lake", "$.manifest", kind="ManifestFile"),
        ],
        output=("replays", "$.output"),
    )  # fmt: skip


def _processing(
    settings: ReplayMachineSettings, step: str, *, name: str, inputs: list[State], output: tuple[str, str]
) -> State:
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::sagemaker:createProcessingJob.sync",
        "Parameters": {
            "ProcessingJobName.$": name,
            "RoleArn": settings.role,
            "AppSpecification": {"ImageUri": settings.image, "ContainerArguments": ["process", step]},
            "ProcessingInputs": inputs,
            "ProcessingOutputConfig": {
                "KmsKeyId": settings.lake_key,
                "Outputs": [
                    {
                        "OutputName": output[0],
                        "S3Output": {
                            "LocalPath": f"{_PROCESSING}/output/{output[0]}",
                            "S3UploadMode": "EndOfJob",
                            "S3Uri.$": output[1],
                        },
                    }
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
        "ResultSelector": {"job.$": "$.ProcessingJobName"},
        "TimeoutSeconds": settings.job_timeout_s + 900,
        "Retry": [
            retry(("SageMaker.AmazonSageMakerException",), first_s=settings.retry_s, attempts=6),
            retry(("States.TaskFailed",), first_s=settings.retry_s, attempts=1),
        ],
        "End": True,
    }


def _input(name: str, address: str, *, kind: str) -> State:
    return {
        "InputName": name,
        "S3Input": {
            "LocalPath": f"{_PROCESSING}/input/{name}",
            "S3DataType": kind,
            "S3InputMode": "File",
            "S3Uri.$": address,
        },
    }
