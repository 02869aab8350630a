"""A replay from the command line, over a stage's lake: what would change, and on approval the corrections."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from functions.adapters.attempts import Attempts
from functions.adapters.lake import Lake
from functions.adapters.release_store import release_key
from functions.adapters.verdict_stream import VerdictStream
from functions.replay.apply_step import Publisher, apply_corrections
from local.session import Session
from slidr.hours import HOUR
from slidr.release import RELEASE_FILE, WEIGHTS_FILE
from slidr.replay import corrections_key

if TYPE_CHECKING:
    from training.artifact import LoadedRelease
    from training.replay.run import Ask, HourOutcome

_PUBLISHING = Attempts(deadline_s=60.0, longest_wait_s=5.0)


def lake_of(session: Session) -> Lake:
    """The stage's lake."""
    return Lake(session.client("s3"), session.outputs.lake_bucket)


def loaded_release(session: Session, release_id: str) -> LoadedRelease:
    """A release with its weights, checked.

    Raises:
        ObjectUnavailable: there is none of this id.
        ReleaseInvalid: it is not what its id says.
    """
    from training.artifact import read_release  # noqa: PLC0415 - numpy and safetensors

    releases = Lake(session.client("s3"), session.outputs.release_bucket)
    with tempfile.TemporaryDirectory(prefix="slidr-release-") as folder:
        bundle = Path(folder) / release_id
        bundle.mkdir()
        for name in (RELEASE_FILE, WEIGHTS_FILE):
            (bundle / name).write_bytes(releases.read(release_key(release_id, name)))
        return read_release(bundle)


def replayed(session: Session, ask: Ask, *, on_hour: Callable[[HourOutcome], None]) -> list[HourOutcome]:
    """Replay every hour that is asked for; nothing is published.

    Raises:
        ReplayRefused: see training/replay/run.py.
        ObjectUnavailable: the lake cannot be read or written.
    """
    from training.replay.run import replay  # noqa: PLC0415 - numba, polars: seconds

    outcomes = []
    for outcome in replay(ask, lake_of(session), now=dt.datetime.now(dt.UTC)):
        on_hour(outcome)
        outcomes.append(outcome)
    return outcomes


def nothing_there(lake: Lake, start: dt.datetime, end: dt.datetime) -> str | None:
    """What to tell where the ledger has no click of an interval: where its clicks lie; None where it has some.

    Raises:
        ObjectUnavailable: the lake cannot be listed.
    """
    from training.replay.lake import LakeHours  # noqa: PLC0415 - polars

    hours = LakeHours(lake).hours("verdicts/")
    if any(start <= hour < end for hour in hours):
        return None
    if not hours:
        return "The ledger has no click yet: verdicts reach the lake some minutes after they were given."
    return (
        "The ledger has no click of these hours. Intervals go by the time of the clicks; those of the ledger are from "
        f"{hours[0]:%Y-%m-%dT%H:%MZ} to {hours[-1] + HOUR:%Y-%m-%dT%H:%MZ}."
    )


def publish(
    session: Session, outcomes: Sequence[HourOutcome], *, who: str, why: str, on_published: Callable[[int], None]
) -> int:
    """Publish the corrections of the hours that are not published yet; how many they were.

    Raises:
        PublishFailed: the stream did not take some; run the same replay again, and it goes on there.
    """
    publisher = Publisher(
        lake=lake_of(session),
        stream=VerdictStream(session.client("kinesis"), session.outputs.verdict_stream, attempts=_PUBLISHING),
        who=who,
        why=why,
        now=lambda: dt.datetime.now(dt.UTC),
    )
    return sum(
        apply_corrections(corrections_key(outcome.hour, outcome.found.chunk), publisher, on_published=on_published)
        for outcome in outcomes
        if outcome.found.corrections
    )
