"""A local cloud with a small release in force, for the benchmarks that send clicks through the whole deployed path.

    with deployed() as cloud:
        accounting = cloud.decide(simulated_clicks(10_000))

The stacks are deployed by the real `cdk`, the release is trained and deployed on them. It saw few clicks: what is
measured is the path, not the model. `cloud` is the journey of the end-to-end tests: its session, and how to send, to
wait for every outcome, and to read verdicts, rejects, queue and lake.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path

from local.cloud.deployment import REPOSITORY
from local.cloud.lifecycle import stop
from local.commands.cloud import bring_up
from local.console import Steps
from local.demonstration import simulated_traffic
from local.session import STATE_VARIABLE, Session
from local.sources.event import Event, Kind
from local.sources.simulated import simulated_chunks
from slidr.errors import SlidrError
from tests.cloud.journey import CLICKS_PER_DAY, SEED, TRAINING_DAYS, Journey, begin

FIRST_DAY = TRAINING_DAYS + 1
"""The first simulated day whose windows hold none of the training days."""


class CdkMissing(SlidrError):
    """The stacks cannot be deployed: the CDK's command is not installed."""


@contextmanager
def deployed() -> Iterator[Journey]:
    """A cloud of its own with a release in force, stopped and removed at the end, however that comes.

    Raises:
        CdkMissing: node_modules has no cdk.
    """
    with running_cloud() as folder:
        yield begin(folder / ".slidr", Session())


@contextmanager
def running_cloud() -> Iterator[Path]:
    """A cloud of its own without a release: the temporary folder that it is in, and that goes with it.

    Raises:
        CdkMissing: node_modules has no cdk.
    """
    if not (REPOSITORY / "node_modules" / ".bin" / "cdk").exists():
        raise CdkMissing("node_modules/.bin/cdk is required to deploy the stacks, it is missing: run make setup")
    before = os.environ.get(STATE_VARIABLE)
    with tempfile.TemporaryDirectory(prefix="slidr-bench-", ignore_cleanup_errors=True) as name:
        state = Path(name) / ".slidr"
        os.environ[STATE_VARIABLE] = str(state)  # where sessions look for their cloud
        try:
            bring_up(Steps())
            yield Path(name)
        finally:
            stop(state)
            if before is None:
                del os.environ[STATE_VARIABLE]
            else:
                os.environ[STATE_VARIABLE] = before


def simulated_clicks(clicks: int, *, first_day: int = FIRST_DAY) -> list[Event]:
    """So many clicks, without purchases, in event-time order, from `first_day` on, of the world that the release knows.

    A day has about 2,000; calls that must not share a click begin at days that lie far enough apart.
    """
    traffic = simulated_traffic(SEED, CLICKS_PER_DAY)
    days = (traffic.day(day) for day in count(first_day))
    events = (event for chunk in simulated_chunks(days) for event in chunk)
    return list(islice((event for event in events if event.kind is Kind.CLICK), clicks))
