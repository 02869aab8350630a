"""Clicks a second of score_clicks in batches of 500, beside a bare client that replays the same counter calls.

The function's own code from the Kinesis event to the encoded verdicts, on a real Valkey and the real endpoint
(`benchmarks/online_path.py` says what stands in for AWS). The floor is a socket and hiredis's parser on a second,
equally filled Valkey: it sends the encoded counter calls of the same batch and reads the replies, and does nothing
else. Both take turns, batch by batch. Traffic is one simulated day, so keys return as they do there.
"""

from __future__ import annotations

import random
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import hiredis
from redis import Redis

from benchmarks.harness import Measured
from benchmarks.online_path import (
    HOST,
    NotDecided,
    counter_commands,
    decide,
    online_path,
    simulated_clicks,
    stream_event,
)
from functions.adapters.counter_calls import library
from local.sources.event import Event
from local.valkey import Valkey, start_valkey

FIGURES: Final = {
    "clicks_per_s": "clicks decided a second, median run",
    "share_of_counter_floor": "of the bare client's clicks a second, median run",
    "cache_bytes_per_click": "bytes of cache a click, over all its keys, at the end of the simulated day",
}
BATCH: Final = 500
RUNS: Final = 10
BATCHES: Final = 12
"""A run's batches."""
LEAST_SHARE: Final = 0.5
LEAST_CLICKS_PER_S: Final = 3_000


class BareClient:
    """A socket and hiredis's parser."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()

    def replay(self, commands: Sequence[bytes]) -> None:
        """Send encoded calls and read their replies."""
        self._socket.sendall(b"".join(commands))
        read = 0
        while read < len(commands):
            self._reader.feed(self._socket.recv(65_536))
            while (reply := self._reader.gets()) is not False:
                if not isinstance(reply, bytes):
                    raise NotDecided(f"every counter call must be answered by counts, came {reply!r}")
                read += 1

    def close(self) -> None:
        self._socket.close()


def measure() -> Measured:
    clicks = simulated_clicks((1 + RUNS * BATCHES) * BATCH)
    function_s, floor_s, bytes_per_click = _measure([clicks[i : i + BATCH] for i in range(0, len(clicks), BATCH)])
    speeds, floors = _clicks_per_s(function_s), _clicks_per_s(floor_s)
    shares = [speed / floor for speed, floor in zip(speeds, floors, strict=True)]
    speed, share = statistics.median(speeds), statistics.median(shares)
    missed = []
    if share < LEAST_SHARE:
        missed.append(f"at least {LEAST_SHARE} of the counter floor, came {share:.2f}")
    if speed < LEAST_CLICKS_PER_S:
        missed.append(f"at least {LEAST_CLICKS_PER_S:,} clicks/s, came {speed:,.0f}")
    return Measured(
        figures={
            "clicks_per_s": speed,
            "share_of_counter_floor": share,
            "cache_bytes_per_click": bytes_per_click,
        },
        spread={"clicks_per_s": (min(speeds), max(speeds)), "share_of_counter_floor": (min(shares), max(shares))},
        floors={"bare_client_clicks_per_s": statistics.median(floors)},
        notes=[
            f"{RUNS} runs of {BATCHES} batches of {BATCH} clicks of one simulated day, {len(clicks):,} clicks in all",
            "the floor takes turns with the function, batch by batch, on a cache of its own with the same history",
            "real: Valkey, counters, endpoint process (ONNX Runtime, CPU), signed invocation over HTTP",
            "from memory: Kinesis, DynamoDB, S3; no TLS, no network",
        ],
        missed=missed,
    )


def _measure(batches: Sequence[Sequence[Event]]) -> tuple[list[float], list[float], float]:
    """Seconds a batch of the function and of the floor, and bytes of cache a click after the last batch."""
    function_s: list[float] = []
    floor_s: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        start_valkey(Path(folder) / "floor") as floor_cache,
        online_path(Path(folder)) as path,
    ):
        with Redis(host=HOST, port=floor_cache.port) as client:
            client.function_load(library().source)
        bare, empty = BareClient(floor_cache.port), _used_memory(floor_cache)
        for batch in batches:
            event = stream_event(batch)
            commands = counter_commands(event, path.services.pseudonymiser)
            both = [
                (function_s, partial(decide, event, path.services)),
                (floor_s, partial(bare.replay, commands)),
            ]
            for seconds, work in random.sample(both, k=2):
                seconds.append(_seconds(work))
        filled = _used_memory(floor_cache)
        bare.close()
    return function_s, floor_s, (filled - empty) / sum(map(len, batches))


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _used_memory(cache: Valkey) -> int:
    with Redis(host=HOST, port=cache.port) as client:
        used: int = client.info("memory")["used_memory"]
        return used


def _clicks_per_s(batches_s: Sequence[float]) -> list[float]:
    """Of each run; the first batch, which opens the connections, is in none."""
    return [BATCHES * BATCH / sum(batches_s[start : start + BATCHES]) for start in range(1, len(batches_s), BATCHES)]
