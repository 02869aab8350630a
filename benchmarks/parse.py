"""Parsing a batch of 500 clicks: pydantic against msgspec, same contract, interleaved rounds in one run.

Both give objects with a timezone-aware event time, checked lengths, ranges,
pattern and enumeration; canonical IPs and arrival checks come after either and are left out.
"""

from __future__ import annotations

import datetime as dt
import gc
import json
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final, Literal

import msgspec
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from benchmarks.harness import Measured
from slidr.click import Click, Device, parse_clicks

FIGURES: Final = {
    "clicks_per_s": "parse_clicks, as served, median round",
    "times_faster_than_pydantic": "msgspec's decoder against pydantic's, median rounds",
}
ROUNDS: Final = 200
BATCH = 500
AT = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
ARRIVED_MS = [1_795_435_200_000] * BATCH

Identifier = Annotated[str, Field(min_length=1, max_length=128)]
Text = Annotated[str, Field(max_length=2048)]


class PydanticClick(BaseModel):
    """The click contract in pydantic; field by field as in `slidr.click.Click`."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    version: Literal[1] = 1
    click_id: Identifier
    at: AwareDatetime
    user: Identifier | None = None
    session: Identifier | None = None
    ip: Text | None = None
    user_agent: Text | None = None
    device: Device = Device.OTHER
    logged_in: bool = False
    advertiser: Identifier
    campaign: Identifier | None = None
    ad: Identifier | None = None
    placement: Identifier | None = None
    marketplace: Identifier
    time_zone: Identifier = "UTC"
    cost_micros: Annotated[int, Field(ge=0, le=2**53)] = 0
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] = "USD"
    query: Text | None = None


def any_batch(seed: int = 1) -> list[bytes]:
    """500 whole clicks of 520 to 560 bytes."""
    draw = random.Random(seed)
    return [
        json.dumps(
            {
                "version": 1,
                "click_id": f"click-{draw.getrandbits(64):016x}",
                "at": (AT - dt.timedelta(milliseconds=draw.randrange(60_000))).isoformat(),
                "user": f"account-{draw.randrange(10_000)}",
                "session": f"session-{draw.getrandbits(48):012x}",
                "ip": f"192.0.2.{draw.randrange(256)}",
                "user_agent": f"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/{draw.randrange(140)}.0",
                "device": draw.choice(list(Device)).value,
                "logged_in": draw.random() < 0.5,
                "advertiser": f"advertiser-{draw.randrange(100)}",
                "campaign": f"campaign-{draw.randrange(1000)}",
                "ad": f"ad-{draw.randrange(5000)}",
                "placement": "search-top",
                "marketplace": "de",
                "time_zone": "Europe/Berlin",
                "cost_micros": draw.randrange(2_000_000),
                "currency": "EUR",
                "query": "running shoes",
            }
        ).encode()
        for _ in range(BATCH)
    ]


def measure() -> Measured:
    batch = any_batch()
    adapter = TypeAdapter(PydanticClick)
    decoder = msgspec.json.Decoder(Click)
    contenders: dict[str, Callable[[], Sequence[object]]] = {
        "floor: json.loads, unchecked": lambda: [json.loads(payload) for payload in batch],
        "pydantic TypeAdapter.validate_json": lambda: [adapter.validate_json(payload) for payload in batch],
        "msgspec Decoder.decode": lambda: [decoder.decode(payload) for payload in batch],
        "parse_clicks, as served": lambda: parse_clicks(batch, arrived_ms=ARRIVED_MS).clicks,
    }
    floor, pydantic, decoded, served = contenders
    for one, other in zip(contenders[pydantic](), contenders[decoded](), strict=True):
        assert isinstance(one, PydanticClick)
        assert one.model_dump() == msgspec.structs.asdict(other), "both must read the same"  # type: ignore[arg-type]
    times = _times(contenders)
    median = {name: statistics.median(took) for name, took in times.items()}
    return Measured(
        figures={
            "clicks_per_s": BATCH / median[served],
            "times_faster_than_pydantic": median[pydantic] / median[decoded],
        },
        spread={"clicks_per_s": (BATCH / max(times[served]), BATCH / min(times[served]))},
        floors={"json_loads_clicks_per_s": BATCH / median[floor]},
        rows=[
            {
                "parser": name,
                "median_ms": median[name] * 1e3,
                "min_ms": min(took) * 1e3,
                "max_ms": max(took) * 1e3,
                "clicks_per_s": BATCH / median[name],
                "times_msgspec": median[name] / median[decoded],
            }
            for name, took in times.items()
        ],
        notes=[
            f"{BATCH} clicks a batch, {len(batch[0])} bytes the first, {ROUNDS} rounds in shuffled turns; ms a batch"
        ],
    )


def _times(contenders: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Seconds a batch of each contender, without the garbage collector between two batches."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    gc.disable()
    try:
        for _ in range(ROUNDS):
            for name in random.sample(list(contenders), k=len(contenders)):
                start = time.perf_counter()
                contenders[name]()
                times[name].append(time.perf_counter() - start)
            gc.collect()
    finally:
        gc.enable()
    return times
