"""SageMaker training and processing jobs: channels in, the image's entry point as a process, artifacts out.

Each function runs one job to its end and returns what the job's record then says; it raises JobFailed with the
reason.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from local.cloud.children import stop_child
from local.cloud.containers import DEFAULT_COMMAND, ContainerHost
from local.cloud.s3_uri import download_manifest, download_prefix, upload_archive, upload_directory
from slidr.errors import SlidrError

_DEFAULT_LIMIT_S = 86_400
_REASON_LENGTH = 1024
_CONTAINER_ROOT = "/opt/ml"


class JobFailed(SlidrError):
    """A job ended badly; the message is the service's FailureReason."""


class JobStopped(SlidrError):
    """A job was stopped on request or reached its time limit."""


def _wait(process: subprocess.Popen[bytes], record: dict[str, Any], limit_s: float, status_key: str) -> int:
    """Return the exit status; end the process at the time limit or when the record says that it is stopping."""
    deadline = time.monotonic() + limit_s
    while process.poll() is None:
        if record[status_key] == "Stopping":
            stop_child(process)
            raise JobStopped("stopped on request")
        if time.monotonic() > deadline:
            stop_child(process)
            raise JobStopped(f"MaxRuntimeExceeded: {limit_s:.0f} seconds")
        time.sleep(0.05)
    return process.returncode


def _failure_reason(opt_ml: Path, log: Path, status: int) -> str:
    """Return what the container wrote to output/failure, else the end of its log."""
    written = opt_ml / "output" / "failure"
    text = (
        written.read_text(errors="replace") if written.is_file() else log.read_text(errors="replace")[-_REASON_LENGTH:]
    )
    return f"AlgorithmError: {text.strip()[-_REASON_LENGTH:]}, exit code: {status}"


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def run_training(host: ContainerHost, record: dict[str, Any]) -> dict[str, Any]:
    """Run a training job.

    Raises:
        JobFailed: the container failed.
        JobStopped: stopped, or out of time.
    """
    name = record["TrainingJobName"]
    opt_ml = host.opt_ml(name)
    _write_json(opt_ml / "input/config/hyperparameters.json", record.get("HyperParameters") or {})
    _write_json(opt_ml / "input/config/resourceconfig.json", {"current_host": "algo-1", "hosts": ["algo-1"]})
    channels = record.get("InputDataConfig") or []
    _write_json(
        opt_ml / "input/config/inputdataconfig.json",
        {
            channel["ChannelName"]: {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"}
            for channel in channels
        },
    )
    for channel in channels:
        uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
        download_prefix(uri, opt_ml / "input/data" / channel["ChannelName"])
    record["SecondaryStatus"] = "Training"
    log = host.log(f"training-{name}")
    algorithm = record.get("AlgorithmSpecification") or {}
    process = host.start(
        [*(algorithm.get("ContainerArguments") or ["train"])],
        opt_ml=opt_ml,
        environment={
            **{
                f"SM_CHANNEL_{channel['ChannelName'].upper()}": str(opt_ml / "input/data" / channel["ChannelName"])
                for channel in channels
            },
            "SM_OUTPUT_DATA_DIR": str(opt_ml / "output/data"),
            "TRAINING_JOB_NAME": name,
            **(record.get("Environment") or {}),
        },
        log=log,
    )
    limit_s = float((record.get("StoppingCondition") or {}).get("MaxRuntimeInSeconds", _DEFAULT_LIMIT_S))
    status = _wait(process, record, limit_s, "TrainingJobStatus")
    if status:
        raise JobFailed(_failure_reason(opt_ml, log, status))
    record["SecondaryStatus"] = "Uploading"
    output = record["OutputDataConfig"]["S3OutputPath"].rstrip("/") + f"/{name}/output"
    upload_archive(opt_ml / "model", f"{output}/model.tar.gz")
    if any((opt_ml / "output/data").iterdir()):
        upload_archive(opt_ml / "output/data", f"{output}/output.tar.gz")
    return {
        "ModelArtifacts": {"S3ModelArtifacts": f"{output}/model.tar.gz"},
        "FinalMetricDataList": _final_metrics(
            algorithm.get("MetricDefinitions") or [], log.read_text(errors="replace")
        ),
    }


def _final_metrics(definitions: list[dict[str, str]], log: str) -> list[dict[str, Any]]:
    """Return the last value that each metric's expression finds in the log."""
    found = []
    for definition in definitions:
        values = re.findall(definition["Regex"], log)
        if values:
            found.append({"MetricName": definition["Name"], "Value": float(values[-1]), "Timestamp": time.time()})
    return found


def run_processing(host: ContainerHost, record: dict[str, Any]) -> dict[str, Any]:
    """Run a processing job; the paths that it names below /opt/ml are below the container's own directory here.

    Raises:
        JobFailed: the container failed.
        JobStopped: stopped, or out of time.
    """
    name = record["ProcessingJobName"]
    opt_ml = host.opt_ml(name)

    def here(path: str) -> str:
        return str(opt_ml) + path.removeprefix(_CONTAINER_ROOT) if path.startswith(_CONTAINER_ROOT) else path

    for source in record.get("ProcessingInputs") or []:
        location = source["S3Input"]
        download = download_manifest if location["S3DataType"] == "ManifestFile" else download_prefix
        download(location["S3Uri"], Path(here(location["LocalPath"])))
    outputs = (record.get("ProcessingOutputConfig") or {}).get("Outputs") or []
    for output in outputs:
        Path(here(output["S3Output"]["LocalPath"])).mkdir(parents=True, exist_ok=True)
    _write_json(opt_ml / "config/processingjobconfig.json", {"ProcessingJobName": name})
    specification = record["AppSpecification"]
    entry = [here(part) for part in specification.get("ContainerEntrypoint") or host.command]
    if entry[0] in ("python", "python3"):
        entry[0] = DEFAULT_COMMAND[0]
    log = host.log(f"processing-{name}")
    process = host.start_command(
        [*entry, *(here(argument) for argument in specification.get("ContainerArguments") or [])],
        opt_ml=opt_ml,
        environment={"PROCESSING_JOB_NAME": name, **(record.get("Environment") or {})},
        log=log,
    )
    limit_s = float((record.get("StoppingCondition") or {}).get("MaxRuntimeInSeconds", _DEFAULT_LIMIT_S))
    status = _wait(process, record, limit_s, "ProcessingJobStatus")
    if status:
        raise JobFailed(_failure_reason(opt_ml, log, status))
    for output in outputs:
        upload_directory(Path(here(output["S3Output"]["LocalPath"])), output["S3Output"]["S3Uri"])
    return {"ExitMessage": ""}
