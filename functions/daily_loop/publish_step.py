"""Publication: the release, write-once, with the results that let it through; and the archive of the endpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from functions.adapters.lake import Lake
from functions.adapters.published_releases import find_file, publish_files
from functions.adapters.serving_state import PointerStore
from functions.daily_loop.judge_step import results_of, verdict_of
from functions.daily_loop.run_plan import RunPlan
from slidr.artifact import MANIFEST_FILE, checked_release, decode_manifest, encode_manifest, member, packed, unpacked
from slidr.errors import ReleaseInvalid, SlidrError
from slidr.guardrails import GUARDRAILS_FILE, Result, encode_results, stopped_by
from slidr.pointer import Pointer, challenged, matured, promoted, releases_to_load
from slidr.release import EVIDENCE_FILE, REALISED_FILE, RELEASE_FILE, WEIGHTS_FILE

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

EVALUATION_FILE: Final = "evaluation.json"


class NothingNew(SlidrError):
    """The training made the release that is in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishServices:
    """What publication talks to."""

    lake: Lake
    s3: S3Client
    release_bucket: str
    pointers: PointerStore


def publish(plan: RunPlan, model_key: str, services: PublishServices, *, endpoint: str) -> dict[str, Any]:
    """Publish what the training job made; what the next steps need to know of it.

    Args:
        plan: of the run.
        model_key: of the job's model.tar.gz in the lake.
        services: see there.
        endpoint: its name, with which the names of its models begin.

    Raises:
        ReleaseInvalid: the archive holds no whole release, or a release that the pointer names is damaged.
        ReleaseConflict: other content is published under its id.
        NothingNew: it is the champion.
        GuardrailsStopped: results stop it (they were judged before: somebody changed them).
        GuardrailsUnreadable: results are missing.
    """
    files = unpacked(services.lake.read(model_key))
    identity = decode_manifest(_file(files, MANIFEST_FILE)).champion
    bundle = {name: _file(files, member(identity, name)) for name in (RELEASE_FILE, WEIGHTS_FILE, EVIDENCE_FILE)}
    checked_release(identity, bundle[RELEASE_FILE], bundle[WEIGHTS_FILE])
    before = services.pointers.read()
    if before.champion == identity:
        raise NothingNew(f"a new release is required, the training made {identity} again, which is in force.")
    results = [result for key in result_keys(plan) for result in results_of(services.lake, key)]
    verdict_of(results)
    evaluation = services.lake.read(f"{plan.prefix}evaluation/{EVALUATION_FILE}")
    new = publish_files(
        services.s3,
        services.release_bucket,
        identity,
        {**bundle, GUARDRAILS_FILE: encode_results(results), EVALUATION_FILE: evaluation},
    )
    mature = _matured(plan, services)
    archive, names = _archive(plan, before, identity, mature, services)
    digest = hashlib.sha256(archive).hexdigest()[:16]
    key = f"artifacts/a-{digest}/model.tar.gz"
    services.s3.put_object(Bucket=services.release_bucket, Key=key, Body=archive)
    return {
        "release_id": identity,
        "known": not new,
        "loads": names,
        "artifact_uri": f"s3://{services.release_bucket}/{key}",
        "config": f"{endpoint}-a-{digest}-{plan.run.rpartition('-')[2]}",
        "first": before.champion is None,
        "over": before.champion or "",
        "mature": mature,
        "evaluation_uri": f"s3://{services.release_bucket}/releases/{identity}/{EVALUATION_FILE}",
        "metadata": _metadata(plan, identity, msgspec.json.decode(evaluation)["metrics"]),
    }


def _metadata(plan: RunPlan, identity: str, metrics: Mapping[str, float]) -> dict[str, str]:
    """What the Model Registry keeps beside a model package: text by name."""
    measured = {name: f"{value:.6g}" for name, value in metrics.items()}
    return {"release_id": identity, "run": plan.run, "day": f"{plan.day}", **measured}


def result_keys(plan: RunPlan) -> tuple[str, ...]:
    """Where the results are that a release rests on."""
    return f"{plan.prefix}checks/guardrails-data.json", f"{plan.prefix}evaluation/guardrails-model.json"


def _matured(plan: RunPlan, services: PublishServices) -> str:
    """The former champion that may become stable: judged, and stopped by nothing. What it came to is kept beside it."""
    if not plan.former:
        return ""
    content = services.lake.find(f"{plan.prefix}evaluation/guardrails-stable.json")
    results = msgspec.json.decode(content, type=tuple[Result, ...]) if content else ()
    realised = services.lake.find(f"{plan.prefix}evaluation/{REALISED_FILE}")
    if realised is not None:
        services.s3.put_object(
            Bucket=services.release_bucket, Key=f"releases/{plan.former}/{REALISED_FILE}", Body=realised
        )
    return plan.former if results and not stopped_by(results) else ""


def _archive(
    plan: RunPlan, before: Pointer, identity: str, mature: str, services: PublishServices
) -> tuple[bytes, list[str]]:
    """The archive of every release that the pointer names before or after, and of a former champion still to mature."""
    after = matured(before, mature) if mature and not before.frozen else before
    after = challenged(after, identity) if after.champion else promoted(after, identity)
    wanted = dict.fromkeys((*releases_to_load(before, after), *(one for one in (plan.former, plan.kept) if one)))
    releases: dict[str, tuple[bytes, bytes]] = {}
    for name in wanted:
        content = tuple(
            find_file(services.s3, services.release_bucket, name, file) or b"" for file in (RELEASE_FILE, WEIGHTS_FILE)
        )
        try:
            checked_release(name, *content)
        except ReleaseInvalid:
            if name in after.named:
                raise
            continue  # a damaged former champion must not keep its successor out
        releases[name] = (content[0], content[1])
    manifest = encode_manifest(champion=str(after.champion), stable=after.stable)
    return packed(manifest, releases), list(releases)


def _file(files: Mapping[str, bytes], name: str) -> bytes:
    if name not in files:
        raise ReleaseInvalid(
            f"a training job's archive must hold {name}, it holds {', '.join(sorted(files)) or 'nothing'}."
        )
    return files[name]
