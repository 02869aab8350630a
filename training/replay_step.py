"""The processing step `replay`: the objects of a day in, what a replay finds of its hours out.

Layout, below SageMaker's /opt/ml/processing: input/ask/ask.json (`slidr.replay.ReplayAsked`), input/release (the bundle
of the release that decides), input/lake (the objects that the day needs, under their keys); output/replays takes what
is written below `replays/` in the lake.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from slidr.replay import REPLAYS, HourFound, ReplayAsked, merged
from training.artifact import LoadedRelease, read_release
from training.labels import UnusableTrainingData
from training.replay.decide import Judge, Wanted
from training.replay.run import Ask, replay
from training.scoring import open_scorer

log = logging.getLogger("slidr.replay")


@dataclass(frozen=True, slots=True)
class MountedLake:
    """The lake as a job has it: objects to read in one folder, what is written below one prefix in another."""

    objects: Path
    output: Path
    prefix: str = REPLAYS

    def keys(self, prefix: str) -> list[str]:
        """All keys under a prefix that ends a folder."""
        return sorted(
            str(path.relative_to(self.objects)) for path in (self.objects / prefix).rglob("*") if path.is_file()
        )

    def read(self, key: str) -> bytes:
        """An object's content."""
        return (self.objects / key).read_bytes()

    def find(self, key: str) -> bytes | None:
        """An object's content; None where there is none."""
        path = self.objects / key
        return path.read_bytes() if path.exists() else None

    def write(self, key: str, content: bytes, *, content_type: str = "") -> None:  # noqa: ARG002 - S3's
        """Write an object below the prefix."""
        path = self.output / key.removeprefix(self.prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def process_replay(processing: Path) -> None:
    """Run the step.

    Raises:
        UnusableTrainingData: there is no ask.
        ReleaseInvalid: the release is not what its id says.
        ReplayRefused: see training/replay/run.py.
    """
    asked = _asked(processing / "input" / "ask" / "ask.json")
    release = _release(processing / "input" / "release", asked.release_id)
    lake = MountedLake(processing / "input" / "lake", processing / "output" / "replays")
    ask = Ask(
        start=asked.start,
        end=asked.end,
        judge=Judge(release_id=release.id, release=release.release, scorer=open_scorer(release.weights, "cpu")),
        wanted=Wanted(undecided=asked.undecided, decided_by=asked.decided_by),
        recompute=asked.recompute,
        profile_days=asked.profile_days,
    )
    found = [HourFound(hour=one.hour, found=one.found) for one in replay(ask, lake, now=asked.now)]
    lake.write(asked.found, msgspec.json.encode(found))
    total = merged(one.found.difference for one in found)
    told = {"hours": len(found), "clicks": total.clicks, "changed": total.changed, "same": total.same}
    log.info("day_replayed", extra={"fields": told})


def _asked(path: Path) -> ReplayAsked:
    try:
        return msgspec.json.decode(path.read_bytes(), type=ReplayAsked)
    except (OSError, msgspec.DecodeError) as failure:
        raise UnusableTrainingData(
            f"what to replay is required in {path}, came: {failure}. Start the replay again."
        ) from failure


def _release(folder: Path, identity: str) -> LoadedRelease:
    """The release; its folder must have its name."""
    with tempfile.TemporaryDirectory(prefix="slidr-release-") as work:
        return read_release(Path(shutil.copytree(folder, Path(work) / identity)))
