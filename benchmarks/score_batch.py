"""One score_clicks invocation of 500 clicks, where AWS answers at once and the counters are on a real Valkey server.

`python -m benchmarks.score_batch`. Parsing, pseudonyms, features, decisions and encoding are the deployed ones.
What is left out is the network: add the endpoint's answer and one PutRecords.
"""

from __future__ import annotations

import argparse
import base64
import datetime as dt
import json
import random
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from functions.adapters.attempts import Attempts
from functions.adapters.counters import Counters
from functions.adapters.profiles import Profiles
from functions.adapters.verdict_stream import VerdictStream
from functions.score_clicks.records import read_records
from functions.score_clicks.scoring import score_clicks
from functions.score_clicks.services import Services
from local.valkey import start_valkey
from slidr.givt import packaged_crawlers
from tests.scoring_world import World

BATCH = 500


class InstantAws:
    """DynamoDB without profiles, and Kinesis that takes everything."""

    def batch_get_item(self, **_: Any) -> dict[str, Any]:
        return {"Responses": {}, "UnprocessedKeys": {}}

    def put_records(self, *, Records: list[Any], **_: Any) -> dict[str, Any]:  # noqa: N803 - the service's name
        return {"Records": [{} for _ in Records]}


def any_event(draw: random.Random, start_s: float) -> dict[str, Any]:
    """500 whole clicks within half a second; users, addresses and agents return as they do in traffic."""
    records = []
    for i in range(BATCH):
        click = {
            "click_id": f"{draw.getrandbits(64):016x}",
            "at": dt.datetime.fromtimestamp(start_s + i / 1000, dt.UTC).isoformat(),
            "user": f"account-{draw.randrange(5_000)}",
            "session": f"session-{draw.randrange(8_000)}",
            "ip": f"10.{draw.randrange(40)}.{draw.randrange(250)}.7",
            "user_agent": f"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/{draw.randrange(300)}.0",
            "device": "mobile",
            "logged_in": draw.random() < 0.5,
            "advertiser": f"advertiser-{draw.randrange(50)}",
            "campaign": "campaign",
            "ad": f"ad-{draw.randrange(500)}",
            "placement": "search-top",
            "marketplace": "de",
            "time_zone": "Europe/Berlin",
            "cost_micros": 250_000,
            "currency": "EUR",
        }
        records.append(
            {
                "eventID": f"shardId-000000000000:{i}",
                "eventSourceARN": "arn:aws:kinesis:us-east-1:000000000000:stream/clicks",
                "kinesis": {
                    "data": base64.b64encode(json.dumps(click).encode()).decode(),
                    "sequenceNumber": str(i),
                    "approximateArrivalTimestamp": start_s + 1,
                },
            }
        )
    return {"Records": records}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--batches", type=int, default=60)
    batches = options.parse_args().batches
    draw = random.Random(1)
    events = [any_event(draw, 1_795_435_200 + 0.5 * i) for i in range(batches)]
    aws: Any = InstantAws()
    once = Attempts(deadline_s=1.0)
    without: Services = replace(
        World().services(),
        crawlers=packaged_crawlers(),
        profiles=Profiles(aws, "profiles", attempts=once, keep_s=300, keep_keys=50_000),
        verdicts=VerdictStream(aws, "verdicts", attempts=once),
    )
    with tempfile.TemporaryDirectory() as directory, start_valkey(Path(directory)) as server:
        counters = Counters.connect(host=server.host, port=server.port, cluster=False, tls=False, timeout_ms=5_000)
        variants = {"without counters": without, "with counters on this machine": replace(without, counters=counters)}
        took: dict[str, list[float]] = {name: [] for name in variants}
        for event in events:
            for name, services in variants.items():
                start = time.perf_counter()
                outcome = score_clicks(read_records(event), services)
                took[name].append(time.perf_counter() - start)
                assert outcome.decisions.total() == BATCH, outcome.problems
                assert not outcome.problems, outcome.problems
        counters.close()
    sys.stdout.write(f"{batches} batches of {BATCH} clicks, interleaved; ms a batch\n")
    for name, times in took.items():
        median = statistics.median(times[3:])
        sys.stdout.write(
            f"{name:32} median {median * 1e3:6.1f}  min {min(times) * 1e3:6.1f}  max {max(times[3:]) * 1e3:6.1f}"
            f"  {BATCH / median:8,.0f} clicks/s\n"
        )


if __name__ == "__main__":
    main()
