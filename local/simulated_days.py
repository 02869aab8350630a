"""Which simulated day comes next: sending a day twice would be redelivery, and an earlier one would come late."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from local.session import LOCAL_STAGE, state_directory

TRAINING_DAYS: Final = 10
"""Days 0 to 9: fewer show the weekend to the threshold alone, not to the weights (training/LOG.md)."""
FIRST_LIVE_DAY: Final = TRAINING_DAYS + 1
"""A Friday: after the training days and the day in which their last orders come in."""


def next_day(stage: str) -> int:
    """The first simulated day that a stage has not been sent from here."""
    try:
        return int(_file(stage).read_text())
    except (FileNotFoundError, ValueError):
        return FIRST_LIVE_DAY


def note_sent(stage: str, *, until: int) -> None:
    """Remember that all days before `until` were sent."""
    file = _file(stage)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(str(max(until, next_day(stage))))


def _file(stage: str) -> Path:
    # What is under run/ ends with the local cloud, as do its counters and streams.
    folder = state_directory() / ("run" if stage == LOCAL_STAGE else "positions")
    return folder / f"simulated-days-{stage}.txt"
