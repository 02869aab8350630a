"""What score_clicks needs of the world."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from functions.adapters.counters import Counters
from functions.adapters.endpoint import Endpoint
from functions.adapters.profiles import Profiles
from functions.adapters.reject_store import RejectStore
from functions.adapters.release_store import ReleaseStore
from functions.adapters.serving_state import ServingStateReader
from functions.adapters.undecided_queue import UndecidedQueue
from functions.adapters.verdict_stream import VerdictStream
from slidr.givt import CrawlerList
from slidr.pseudonym import Pseudonymiser


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Adapters and values, made once a cold start and passed to every step."""

    pseudonymiser: Pseudonymiser
    crawlers: CrawlerList
    counters: Counters
    profiles: Profiles
    serving_state: ServingStateReader
    endpoint: Endpoint
    releases: ReleaseStore
    verdicts: VerdictStream
    undecided: UndecidedQueue
    rejects: RejectStore
    now: Callable[[], dt.datetime]
    """The time of a decision, UTC."""
