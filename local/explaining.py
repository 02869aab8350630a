"""All that a stage knows of one click: its records, its verdict in force, and the score given again."""

from __future__ import annotations

import datetime as dt
import io
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from local.replaying import lake_of, loaded_release
from local.session import Session
from slidr.errors import SlidrError
from slidr.features import SPEC_HASH
from slidr.hours import hour_of_key
from slidr.ledger import Ledger
from slidr.verdict import Verdict

if TYPE_CHECKING:
    from training.explain import Explanation
    from training.replay.lake import LakeHours

LOOK_BACK: Final = dt.timedelta(days=14)


class ClickUnknown(SlidrError):
    """The lake has no verdict of a click."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What there is to say."""

    records: tuple[Verdict, ...]
    """All of them, in the order in which they were decided."""
    in_force: Verdict
    click: dict[str, Any] | None
    """As archived: pseudonyms, no person."""
    explanation: Explanation | None
    """None where no features of this spec were logged, or nothing scored."""
    again: float | None
    """The score, given again on the CPU."""

    @property
    def same(self) -> bool:
        """Whether the score came out the same, to the bit."""
        return self.again is not None and np.float32(self.again) == np.float32(self.in_force.score or np.nan)


def told_of(session: Session, click_id: str, *, at: dt.datetime | None) -> Told:
    """Find a click and explain its verdict.

    Args:
        session: see there.
        click_id: of the click.
        at: its hour, if it is known; else LOOK_BACK before the newest verdict is looked through, newest first.

    Raises:
        ClickUnknown: it is not found.
        ReleaseInvalid: the release that decided is not what its id says.
    """
    from training.explain import explain  # noqa: PLC0415 - numpy, polars, onnxruntime: seconds
    from training.replay.lake import LakeHours  # noqa: PLC0415
    from training.replay.read import archived_clicks, verdicts_of  # noqa: PLC0415
    from training.scoring import open_scorer  # noqa: PLC0415

    hours = LakeHours(lake_of(session))
    hour = at or _hour_of(hours, click_id)
    records = verdicts_of(hours.records(hour), click_id) if hour else []
    if hour is None or not records:
        where = f"of {hour:%Y-%m-%d %H}:00" if hour else f"of the newest {LOOK_BACK.days} days"
        raise ClickUnknown(
            f"a verdict of {click_id} in the lake is required, there is none {where}. Deliveries take some minutes; "
            "say the hour of an older click with --at."
        )
    verdict = next(iter(Ledger[Verdict](records)))
    features = verdict.features or next((one.features for one in records if one.features), None)
    explanation = again = None
    if features and verdict.release_id and verdict.score is not None and verdict.feature_spec == SPEC_HASH:
        release = loaded_release(session, verdict.release_id)
        explanation = explain(features, release.weights)
        again = float(open_scorer(release.weights, "cpu").score(np.array([features], dtype=np.float32))[0])
    clicks = archived_clicks(hours.bodies(hours.of("clicks/", hour)))
    return Told(
        records=tuple(records),
        in_force=verdict,
        click=next(clicks.filter(clicks["click_id"] == click_id).iter_rows(named=True), None),
        explanation=explanation,
        again=again,
    )


def _hour_of(hours: LakeHours, click_id: str) -> dt.datetime | None:
    """The newest hour that holds a verdict of the click."""
    from pyarrow.parquet import read_table  # noqa: PLC0415

    by_hour: defaultdict[dt.datetime, list[str]] = defaultdict(list)
    for key in hours.lake.keys("verdicts/"):
        if hour := hour_of_key(key):
            by_hour[hour].append(key)
    newest = max(by_hour, default=None)
    for hour in sorted(by_hour, reverse=True):
        if newest is not None and hour < newest - LOOK_BACK:
            return None
        for key in by_hour[hour]:
            ids = read_table(io.BytesIO(hours.lake.read(key)), columns=["click_id"]).column("click_id")
            if click_id in ids.to_pylist():
                return hour
    return None
