"""Putting a release in force: the endpoint's artifact, the rollout, and one conditional write of the pointer."""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from functions.adapters.serving_state import PointerStore
from local.audited import by_operator
from local.release_bucket import fetch_release
from local.sagemaker_sdk import roll_out
from local.session import Session
from slidr.artifact import RELEASES_DIR
from slidr.errors import ReleaseConflict, ReleaseInvalid
from slidr.pointer import Pointer, challenged, promoted, releases_to_load


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """What is about to change."""

    release_id: str
    before: Pointer
    after: Pointer

    @property
    def loads(self) -> tuple[str, ...]:
        """What the endpoint will hold."""
        return releases_to_load(self.before, self.after)


def planned(session: Session, release_id: str, *, name_stable: bool, as_challenger: bool = False) -> Rollout:
    """The change of the pointer that puts a release in force, or in shadow. Nothing is written.

    Args:
        session: the stage.
        release_id: a published release.
        name_stable: name it the stable one too, which an operator may for the first release.
        as_challenger: it only scores in shadow; `local.promotion` puts it in force later.

    Raises:
        PromotionFrozen: nothing may be put in force now.
        PromotionOutdated: as challenger, and there is no champion, or it is the champion.
    """
    before = _pointers(session).read()
    after = challenged(before, release_id) if as_challenger else promoted(before, release_id)
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
    artifact_key = _uploaded_artifact(session, rollout)
    if _pointers(session).read() != rollout.before:
        raise ReleaseConflict(
            "the pointer must still be as it was read, however somebody changed it. Nothing was touched; look at slidr "
            "releases and decide again."
        )
    name = artifact_key.split("/")[1]
    roll_out(
        session,
        name=f"{session.outputs.endpoint_name}-{name}-{dt.datetime.now(dt.UTC):%m%d%H%M%S}",
        artifact_uri=f"s3://{session.outputs.release_bucket}/{artifact_key}",
        on_status=on_status,
    )
    on_status("moving the pointer")
    try:
        return _pointers(session).change(rollout.before, rollout.after, by_operator(session, why))
    except ReleaseConflict as failure:
        in_force = _pointers(session).read()
        if lost := [name for name in in_force.named if name not in rollout.loads]:
            raise ReleaseConflict(
                f"the pointer must still be as it was read, however somebody put {', '.join(lost)} in it while the "
                f"endpoint was loading {', '.join(rollout.loads)}: what it lacks is answered by stable. At once: slidr "
                f"deploy {in_force.champion}"
            ) from failure
        raise


def _pointers(session: Session) -> PointerStore:
    return PointerStore(session.client("dynamodb"), session.outputs.control_table)


def _uploaded_artifact(session: Session, rollout: Rollout) -> str:
    """The key of the archive with every release that the rollout loads. Equal content is stored once."""
    from training.artifact import pack, read_release, write_manifest  # noqa: PLC0415 - heavy

    s3, bucket = session.client("s3"), session.outputs.release_bucket
    with tempfile.TemporaryDirectory(prefix="slidr-artifact-") as folder:
        model_dir, archive = Path(folder) / "model", Path(folder) / "model.tar.gz"
        for identity in rollout.loads:
            try:
                read_release(fetch_release(s3, bucket, identity, model_dir))
            except ReleaseInvalid:
                if identity in rollout.after.named:
                    raise
                # A former champion that is damaged, or of another version, must not keep its successor out.
                shutil.rmtree(model_dir / RELEASES_DIR / identity)
        write_manifest(model_dir, champion=str(rollout.after.champion), stable=rollout.after.stable)
        pack(model_dir, archive)
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()[:16]
        key = f"artifacts/a-{digest}/model.tar.gz"
        s3.upload_file(str(archive), bucket, key)
    return key
