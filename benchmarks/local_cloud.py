"""How fast the local cloud is: up and down, a warm Invoke, and records a second through its Kinesis event source.

A function that only parses its records stands behind the event source, so this is
the ceiling of the local stack; `slidr demo` shows what score_clicks makes of it.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks.harness import Measured
from local.cloud import lifecycle
from tests.cloud.conftest import Emulator, eventually

FIGURES: Final = {
    "records_per_s": "through the Kinesis event source into a function, median run",
    "invoke_p50_ms": "one warm Invoke",
    "invoke_p99_ms": "one warm Invoke",
    "up_s": "from nothing to a cloud without stacks",
    "down_s": "from there to nothing",
}
ROUNDS: Final = 3
RECORDS: Final = 10_000

COUNTING_FUNCTION = """
    import base64, json, os
    import boto3
    seen = 0
    def handler(event, context):
        global seen
        seen += len([json.loads(base64.b64decode(record["kinesis"]["data"])) for record in event["Records"]])
        if seen == int(os.environ["COUNT"]):
            boto3.client("s3").put_object(Bucket=os.environ["BUCKET"], Key="all", Body=str(seen))
"""


def records_per_second(emulator: Emulator, count: int) -> float:
    bucket, (stream, arn) = emulator.bucket(), emulator.stream()
    function = emulator.function(COUNTING_FUNCTION, BUCKET=bucket, COUNT=str(count))
    click = {"user": "u" * 20, "agent": "a" * 300, "page": "p" * 200}
    emulator.put(stream, [{"n": n, **click} for n in range(count)])
    began = time.perf_counter()
    emulator.client("lambda").create_event_source_mapping(
        FunctionName=function, EventSourceArn=arn, StartingPosition="TRIM_HORIZON", BatchSize=500
    )
    eventually(lambda: emulator.objects(bucket), within_s=60)
    return count / (time.perf_counter() - began)


def invoke_ms(emulator: Emulator, rounds: int) -> list[float]:
    function = emulator.function("def handler(event, context): return event")
    client = emulator.client("lambda")
    times = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        client.invoke(FunctionName=function, Payload=b'{"a": 1}')["Payload"].read()
        times.append((time.perf_counter() - began) * 1000)
    return sorted(times[1:])  # the first one starts the environment


def measure() -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        began = time.perf_counter()
        cloud = lifecycle.start(state, app=None)
        up_s = time.perf_counter() - began
        try:
            emulator = Emulator(cloud.endpoint_url, state)
            rates = [records_per_second(emulator, RECORDS) for _ in range(ROUNDS)]
            times = invoke_ms(emulator, 200)
        finally:
            began = time.perf_counter()
            lifecycle.stop(state)
            down_s = time.perf_counter() - began
    return Measured(
        figures={
            "records_per_s": statistics.median(rates),
            "invoke_p50_ms": times[100],
            "invoke_p99_ms": times[198],
            "up_s": up_s,
            "down_s": down_s,
        },
        spread={"records_per_s": (min(rates), max(rates))},
        notes=[
            f"{ROUNDS} runs of {RECORDS:,} records of 0.6 kB, one shard, batches of 500, cold start included",
            "Invoke is warm and over HTTP",
        ],
    )
