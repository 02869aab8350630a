"""Putting a release in force: the endpoint's artifact, the rollout, and one conditional write of the pointer."""

from __future__ import annotations

import datetime as dt
import getpass
import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from functions.adapters.serving_state import Change, PointerStore
from local.release_bucket import fetch_release
from local.sagemaker_sdk import roll_out
from local.session import Session
from slidr.errors import SlidrError
from slidr.pointer import Pointer, promoted


class PromotionFrozen(SlidrError):
    """The pointer is frozen: nothing is promoted until an operator lifts it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """What is about to change."""

    release_id: str
    before: Pointer
    after: Pointer


def planned(session: Session, release_id: str, *, name_stable: bool) -> Rollout:
    """The change of the pointer that puts a release in force. Nothing is written.

    Args:
        session: the stage.
        release_id: a published release.
        name_stable: name it the stable one too, which an operator may for the first release.

    Raises:
        PromotionFrozen: nothing may be promoted now.
    """
    before = PointerStore(session.client("dynamodb"), session.outputs.control_table).read()
    if before.frozen:
        raise PromotionFrozen(
            f"the pointer of stage {session.stage} is frozen (a rollback or an operator froze it): find out why, "
            "and unfreeze it, before a release is deployed."
        )
    after = promoted(before, release_id)
    if name_stable and before.stable is None:
        after = msgspec.structs.replace(after, stable=release_id)
    return Rollout(release_id=release_id, before=before, after=after)


def apply(
    session: Session, rollout: Rollout, *, why: str, on_status: Callable[[str], None] = lambda _status: None
) -> Pointer:
    """Load the release on every instance of the endpoint, then move the pointer; returns the pointer in force.

    Raises:
        ReleaseInvalid: the release is not published, or was changed.
        RolloutFailed: the endpoint did not take it; the pointer is as it was.
        ReleaseConflict: somebody moved the pointer meanwhile.
    """
    on_status("packing")
    artifact_key = _uploaded_artifact(session, rollout.after)
    name = artifact_key.split("/")[1]
    roll_out(
        session,
        name=f"{session.outputs.endpoint_name}-{name}-{dt.datetime.now(dt.UTC):%m%d%H%M%S}",
        artifact_uri=f"s3://{session.outputs.release_bucket}/{artifact_key}",
        on_status=on_status,
    )
    on_status("moving the pointer")
    store = PointerStore(session.client("dynamodb"), session.outputs.control_table)
    change = Change(who=_operator(session), why=why, at=dt.datetime.now(dt.UTC))
    return store.change(rollout.before, rollout.after, change)


def _uploaded_artifact(session: Session, pointer: Pointer) -> str:
    """The key of the archive with every release that the pointer names. Equal content is stored once."""
    from training.artifact import pack, write_manifest  # noqa: PLC0415 - heavy

    s3, bucket = session.client("s3"), session.outputs.release_bucket
    named = dict.fromkeys(name for name in (pointer.champion, pointer.stable, pointer.challenger) if name)
    with tempfile.TemporaryDirectory(prefix="slidr-artifact-") as folder:
        model_dir, archive = Path(folder) / "model", Path(folder) / "model.tar.gz"
        for identity in named:
            fetch_release(s3, bucket, identity, model_dir)
        write_manifest(model_dir, champion=str(pointer.champion), stable=pointer.stable)
        pack(model_dir, archive)
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()[:16]
        key = f"artifacts/a-{digest}/model.tar.gz"
        s3.upload_file(str(archive), bucket, key)
    return key


def _operator(session: Session) -> str:
    """Who is at the keyboard, for the audit item."""
    if session.is_local:
        return f"local:{getpass.getuser()}"
    try:
        return str(session.client("sts").get_caller_identity()["Arn"])
    except (ClientError, BotoCoreError):
        return f"unknown:{getpass.getuser()}"
