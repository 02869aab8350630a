"""The local SageMaker runs models and jobs as the service does."""

from __future__ import annotations

import io
import json
import tarfile
import threading
import time
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import ROLE, Emulator, eventually

IMAGE = "000000000000.dkr.ecr.us-east-1.amazonaws.com/slidr:1"


def archive(**files: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name.replace("_", "."))
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def named(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex[:8]}"


class Endpoints:
    """Makes models and endpoints."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.sagemaker = emulator.client("sagemaker")
        self.bucket = emulator.bucket()

    def config(self, weights: str | None, **environment: str) -> str:
        container: dict[str, Any] = {"Image": IMAGE, "Environment": environment}
        if weights is not None:
            key = f"{named('model')}/model.tar.gz"
            self.emulator.client("s3").put_object(Bucket=self.bucket, Key=key, Body=archive(weights_txt=weights))
            container["ModelDataUrl"] = f"https://s3.us-east-1.amazonaws.com/{self.bucket}/{key}"
        model, config = named("model"), named("config")
        self.sagemaker.create_model(ModelName=model, PrimaryContainer=container, ExecutionRoleArn=ROLE)
        variant = {"VariantName": "main", "ModelName": model, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
        self.sagemaker.create_endpoint_config(EndpointConfigName=config, ProductionVariants=[variant])
        return config

    def endpoint(self, weights: str | None = None, **environment: str) -> str:
        name = named("endpoint")
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=self.config(weights, **environment))
        assert self.settled(name)["EndpointStatus"] == "InService"
        return name

    def settled(self, name: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.sagemaker.describe_endpoint(EndpointName=name)
            return None if found["EndpointStatus"] in ("Creating", "Updating") else found

        return eventually(look)

    def ask(self, name: str, body: bytes = b"\x00\x01", **more: Any) -> dict[str, Any]:
        runtime = self.emulator.client("sagemaker-runtime")
        answer = runtime.invoke_endpoint(
            EndpointName=name, Body=body, ContentType="application/x-slidr-features", **more
        )
        return {**json.loads(answer.pop("Body").read()), "answer": answer}


def test_an_invocation_passes_body_type_and_custom_attributes_both_ways(emulator: Emulator) -> None:
    endpoints = Endpoints(emulator)
    name = endpoints.endpoint("seven", GREETING="hello")

    said = endpoints.ask(
        name,
        bytes(range(256)),
        Accept="application/x-slidr-scores",
        CustomAttributes="features=1",
        TargetVariant="main",
    )

    assert said["body"] == bytes(range(256)).hex()
    assert (said["weights"], said["environment"]) == ("seven", "hello")
    assert said["content_type"] == "application/x-slidr-features"
    assert said["accept"] == "application/x-slidr-scores"
    assert said["custom"] == "features=1"
    assert said["answer"]["CustomAttributes"] == "release=abc"
    assert said["answer"]["ContentType"] == "application/x-said"
    assert said["answer"]["InvokedProductionVariant"] == "main"


def test_a_model_without_data_starts_with_an_empty_model_directory(emulator: Emulator) -> None:
    endpoints = Endpoints(emulator)

    assert endpoints.ask(endpoints.endpoint())["weights"] is None


def test_an_error_of_the_container_is_a_model_error_with_its_status(emulator: Emulator) -> None:
    endpoints = Endpoints(emulator)
    name = endpoints.endpoint()

    with pytest.raises(ClientError) as raised:
        endpoints.ask(name, b"refuse")

    assert raised.value.response["Error"]["Code"] == "ModelError"
    assert raised.value.response["OriginalStatusCode"] == 400


def test_an_unknown_endpoint_is_refused(emulator: Emulator) -> None:
    with pytest.raises(ClientError, match="not found"):
        Endpoints(emulator).ask("nowhere")


def test_the_old_fleet_answers_until_the_new_one_does_and_no_request_fails(emulator: Emulator) -> None:
    endpoints = Endpoints(emulator)
    name = endpoints.endpoint("old")
    answers: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            answers.append(endpoints.ask(name)["weights"])

    asking = threading.Thread(target=ask)
    asking.start()
    endpoints.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=endpoints.config("new", SLOW_S="0.5"))
    endpoints.settled(name)
    eventually(lambda: answers[-1] == "new")
    time.sleep(1.3)  # past the drain of the old fleet
    stop.set()
    asking.join()

    assert "old" in answers
    assert answers == sorted(answers, key=["old", "new"].index)


def test_a_fleet_that_does_not_come_up_leaves_the_old_one_serving(emulator: Emulator) -> None:
    endpoints = Endpoints(emulator)
    name = endpoints.endpoint("old")
    before = endpoints.sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]

    endpoints.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=endpoints.config("new", BREAK="1"))
    after = endpoints.settled(name)

    assert after["EndpointStatus"] == "InService"
    assert "/ping" in after["FailureReason"]
    assert after["EndpointConfigName"] == before
    assert endpoints.ask(name)["weights"] == "old"


def test_a_training_job_reads_its_channels_and_writes_the_model(emulator: Emulator) -> None:
    bucket, name = emulator.bucket(), named("job")
    for day in (1, 2):
        emulator.client("s3").put_object(Bucket=bucket, Key=f"days/day={day}/rows.csv", Body=f"row{day}")
    sagemaker = emulator.client("sagemaker")
    sagemaker.create_training_job(
        TrainingJobName=name,
        RoleArn=ROLE,
        AlgorithmSpecification={
            "TrainingImage": IMAGE,
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "auc", "Regex": r"auc=([0-9.]+)"}],
        },
        HyperParameters={"epochs": "2"},
        InputDataConfig=[
            {
                "ChannelName": "days",
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/days/"}},
            }
        ],
        OutputDataConfig={"S3OutputPath": f"s3://{bucket}/models"},
        ResourceConfig={"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
    )

    job = eventually(lambda: _ended(sagemaker.describe_training_job(TrainingJobName=name), "TrainingJobStatus"))

    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{bucket}/models/{name}/output/model.tar.gz"
    assert [(metric["MetricName"], metric["Value"]) for metric in job["FinalMetricDataList"]] == [("auc", 2.5)]
    (model,) = emulator.objects(bucket, "models/").values()
    with tarfile.open(fileobj=io.BytesIO(model)) as tar:
        extracted = tar.extractfile("weights.txt")
        assert extracted is not None
        assert extracted.read() == b"row1 row2"


def test_a_training_job_that_fails_says_what_the_container_wrote(emulator: Emulator) -> None:
    bucket, name = emulator.bucket(), named("job")
    sagemaker = emulator.client("sagemaker")
    sagemaker.create_training_job(
        TrainingJobName=name,
        RoleArn=ROLE,
        AlgorithmSpecification={"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        HyperParameters={"fail": "yes"},
        OutputDataConfig={"S3OutputPath": f"s3://{bucket}/models"},
        ResourceConfig={"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
    )

    job = eventually(lambda: _ended(sagemaker.describe_training_job(TrainingJobName=name), "TrainingJobStatus"))

    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"] == "AlgorithmError: the data is bad, exit code: 1"


@pytest.mark.parametrize(("kind", "where"), [("S3Prefix", "in/"), ("ManifestFile", "in.manifest")])
def test_a_processing_job_moves_its_inputs_and_outputs(emulator: Emulator, kind: str, where: str) -> None:
    bucket, name = emulator.bucket(), named("job")
    s3 = emulator.client("s3")
    s3.put_object(Bucket=bucket, Key="in/a.csv", Body=b"abc")
    s3.put_object(Bucket=bucket, Key="out-of-it/b.csv", Body=b"not asked for")
    manifest = [{"prefix": f"s3://{bucket}/in/"}, "a.csv"]
    s3.put_object(Bucket=bucket, Key="in.manifest", Body=json.dumps(manifest).encode())
    sagemaker = emulator.client("sagemaker")
    sagemaker.create_processing_job(
        ProcessingJobName=name,
        RoleArn=ROLE,
        AppSpecification={
            "ImageUri": IMAGE,
            "ContainerArguments": ["process", "/opt/ml/processing/input", "/opt/ml/processing/output"],
        },
        ProcessingInputs=[
            {
                "InputName": "in",
                "S3Input": {
                    "S3Uri": f"s3://{bucket}/{where}",
                    "LocalPath": "/opt/ml/processing/input",
                    "S3DataType": kind,
                },
            }
        ],
        ProcessingOutputConfig={
            "Outputs": [
                {
                    "OutputName": "out",
                    "S3Output": {
                        "S3Uri": f"s3://{bucket}/out",
                        "LocalPath": "/opt/ml/processing/output",
                        "S3UploadMode": "EndOfJob",
                    },
                }
            ]
        },
        ProcessingResources={"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}},
    )

    job = eventually(lambda: _ended(sagemaker.describe_processing_job(ProcessingJobName=name), "ProcessingJobStatus"))

    assert job["ProcessingJobStatus"] == "Completed", job.get("FailureReason")
    assert emulator.objects(bucket, "out/") == {"out/a.csv": b"ABC"}


def test_a_state_machine_waits_for_its_training_job_and_catches_its_failure(emulator: Emulator) -> None:
    bucket = emulator.bucket()
    states = emulator.client("stepfunctions")

    def training(**hyperparameters: str) -> dict[str, Any]:
        return {
            "Type": "Task",
            "Resource": "arn:aws:states:::sagemaker:createTrainingJob.sync",
            "Parameters": {
                "TrainingJobName": named("job"),
                "RoleArn": ROLE,
                "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
                "HyperParameters": hyperparameters,
                "InputDataConfig": [
                    {"ChannelName": "days", "DataSource": {"S3DataSource": {"S3Uri": f"s3://{bucket}/none/"}}}
                ],
                "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/models"},
            },
        }

    definition = {
        "StartAt": "Good",
        "States": {
            "Good": {**training(), "ResultPath": "$.good", "Next": "Bad"},
            "Bad": {
                **training(fail="yes"),
                "Catch": [{"ErrorEquals": ["States.TaskFailed"], "ResultPath": "$.caught", "Next": "Done"}],
                "End": True,
            },
            "Done": {"Type": "Succeed"},
        },
    }
    machine = states.create_state_machine(name=named("machine"), definition=json.dumps(definition), roleArn=ROLE)
    execution = states.start_execution(stateMachineArn=machine["stateMachineArn"], input="{}")["executionArn"]

    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = states.describe_execution(executionArn=execution)
        return None if found["status"] == "RUNNING" else found

    outcome = eventually(ended)

    assert outcome["status"] == "SUCCEEDED", outcome
    output = json.loads(outcome["output"])
    assert output["good"]["ModelArtifacts"]["S3ModelArtifacts"].endswith("/output/model.tar.gz")
    assert "the data is bad" in output["caught"]["Cause"]


def _ended(job: dict[str, Any], status: str) -> dict[str, Any] | None:
    return None if job[status] in ("InProgress", "Stopping") else job
