"""How fast the local cloud is: up and down, a warm Invoke, and records a second through its Kinesis event source.

`python -m benchmarks.local_cloud`. A function that only parses its records stands behind the event source, so this is
the ceiling of the local stack; `slidr demo` shows what score_clicks makes of it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from local.cloud import lifecycle
from tests.cloud.conftest import Emulator, eventually

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="runs of the event source (default 3)")
    parser.add_argument("--records", type=int, default=10_000, help="records a run (default 10,000)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        began = time.perf_counter()
        cloud = lifecycle.start(state, app=None)
        up_s = time.perf_counter() - began
        try:
            emulator = Emulator(cloud.endpoint_url, state)
            rates = [records_per_second(emulator, chosen.records) for _ in range(chosen.rounds)]
            times = invoke_ms(emulator, 200)
        finally:
            began = time.perf_counter()
            lifecycle.stop(state)
            down_s = time.perf_counter() - began
    sys.stdout.write(
        f"event source   {statistics.median(rates):>7,.0f} records/s  min {min(rates):,.0f}  max {max(rates):,.0f}"
        "  (0.6 kB, one shard, batches of 500, cold start included)\n"
        f"warm Invoke    p50 {times[100]:.1f} ms  p99 {times[198]:.1f} ms over HTTP\n"
        f"without stacks up {up_s:.1f} s  down {down_s:.1f} s\n"
    )


if __name__ == "__main__":
    main()
