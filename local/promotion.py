"""Promotion of the challenger: one conditional write, where the endpoint holds the release."""

from __future__ import annotations

import io
import tarfile

from functions.adapters.serving_state import PointerStore
from local.audited import by_operator
from local.cloud.s3_uri import split_uri
from local.session import Session
from slidr.errors import SlidrError
from slidr.pointer import Pointer, challenger_promoted
from slidr.release import RELEASE_FILE


class ReleaseNotLoaded(SlidrError):
    """The endpoint does not hold a release that is to serve, or is being changed."""


def promote(session: Session, release_id: str, *, over: str | None, why: str) -> Pointer:
    """Make the challenger the champion in the place of `over`; returns the pointer in force.

    Exactly once: of several that try at the same time one succeeds. Where another change of the pointer came first, it
    is tried again if the release still is the challenger of `over`, and nothing is frozen.

    Raises:
        PromotionFrozen: nothing may be promoted now.
        PromotionOutdated: it is not the challenger of `over`, or no longer.
        ReleaseNotLoaded: the endpoint does not hold it.
    """
    store = PointerStore(session.client("dynamodb"), session.outputs.control_table)

    def step(pointer: Pointer) -> Pointer:
        return promotion(session, pointer, release_id, over=over)

    return store.apply(step, by_operator(session, why))


def promotion(session: Session, pointer: Pointer, release_id: str, *, over: str | None) -> Pointer:
    """The pointer after the promotion, where it may be made; nothing is written. Raises as `promote`."""
    after = challenger_promoted(pointer, release_id, over=over)
    held = held_releases(session)
    if release_id not in held:
        raise ReleaseNotLoaded(
            f"every instance of the endpoint {session.outputs.endpoint_name} must hold {release_id}, it holds "
            f"{', '.join(sorted(held)) or 'none'}. Load it: slidr deploy {release_id} --challenger."
        )
    return after


def held_releases(session: Session) -> frozenset[str]:
    """The releases that every instance of the stage's endpoint holds: those in the artifact that it serves.

    Raises:
        ReleaseNotLoaded: the endpoint is not in service, or is just being changed.
    """
    sagemaker, name = session.client("sagemaker"), session.outputs.endpoint_name
    endpoint = sagemaker.describe_endpoint(EndpointName=name)
    if endpoint["EndpointStatus"] != "InService":
        raise ReleaseNotLoaded(
            f"the endpoint {name} must be InService before anything is promoted, it is {endpoint['EndpointStatus']}. "
            "Wait until slidr status says that it is well."
        )
    config = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    held = [
        _packed(session, sagemaker.describe_model(ModelName=variant["ModelName"])["PrimaryContainer"])
        for variant in config["ProductionVariants"]
    ]
    return frozenset.intersection(*held)


def _packed(session: Session, container: dict[str, str]) -> frozenset[str]:
    """The releases in a container's artifact; none before the first deployment."""
    if not container.get("ModelDataUrl"):
        return frozenset()
    bucket, key = split_uri(container["ModelDataUrl"])
    archive = session.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        return frozenset(name.split("/")[-2] for name in tar.getnames() if name.endswith(f"/{RELEASE_FILE}"))
