"""Counter state as one packed string a key, against sorted sets and hashes: memory and speed on a real server.

    python benchmarks/counter_state.py [clicks]

Both sides are one server-side call a key and click, in batches of 500, from one client to one server without
persistence. `plain` keeps the clicks of a key in a sorted set, its buckets in two hashes, each member set in a sorted
set; its arithmetic is the textbook's and slightly simpler (no caps, no trimming of hashes).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from redis import Redis

from functions.adapters.counters import Counters
from local.valkey import start_valkey
from slidr.counter_batch import IDENTIFIERS, CounterBatch
from slidr.counters import ENTITIES

BATCH = 500
NOON_MS = 1_795_435_200_000

PLAIN = """#!lua name=plain
redis.register_function('plain', function(keys, args)
  local at, id, row, ttl = tonumber(args[1]), args[2], {}, 87600000
  local clicks, fine, coarse = keys[1], keys[2], keys[3]
  if redis.call('ZADD', clicks, 'NX', at, id) == 1 then
    redis.call('HINCRBY', fine, math.floor(at / 300000), 1)
    redis.call('HINCRBY', coarse, math.floor(at / 3600000), 1)
    redis.call('ZREMRANGEBYSCORE', clicks, '-inf', at - 86400000)
    for _, key in ipairs({clicks, fine, coarse}) do redis.call('PEXPIRE', key, ttl) end
    for i = 4, #keys do
      if args[i - 1] ~= '' then
        redis.call('ZADD', keys[i], 'GT', at, args[i - 1])
        redis.call('ZREMRANGEBYSCORE', keys[i], '-inf', at - 87000000)
        redis.call('PEXPIRE', keys[i], ttl)
      end
    end
  end
  for _, window in ipairs({10000, 60000, 600000}) do
    row[#row + 1] = redis.call('ZCOUNT', clicks, '(' .. (at - window), at)
  end
  for _, part in ipairs({{fine, 300000, 12}, {coarse, 3600000, 24}}) do
    local fields, total = {}, 0
    for i = 0, part[3] - 1 do fields[#fields + 1] = math.floor(at / part[2]) - i end
    for _, n in ipairs(redis.call('HMGET', part[1], unpack(fields))) do total = total + (tonumber(n) or 0) end
    row[#row + 1] = total
  end
  for _, other in ipairs(redis.call('ZRANGE', clicks, at, '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, 9, 'WITHSCORES')) do
    row[#row + 1] = other[2] or other
  end
  for i = 4, #keys do row[#row + 1] = redis.call('ZCOUNT', keys[i], '(' .. (at - 86400000), '+inf') end
  return #row
end)"""


def traffic(clicks: int, *, per_key: int, seed: int = 0) -> CounterBatch:
    """Clicks in order over an hour, each key seen `per_key` times on average; agents, ads and advertisers shared."""
    rng = np.random.default_rng(seed)
    ids = np.empty((clicks, len(IDENTIFIERS)), dtype=np.uint64)
    for i, name in enumerate(IDENTIFIERS):
        most = {"user_agent": 300, "ad": 5_000, "advertiser": 500}.get(name, max(1, clicks // per_key))
        numbers = np.arange(clicks) if per_key == 1 and most == clicks else rng.integers(0, most, clicks)
        ids[:, i] = (numbers.astype(np.uint64) + np.uint64(1 + i)) * np.uint64(0x9E3779B97F4A7C15)
    return CounterBatch(
        at_ms=NOON_MS + np.sort(rng.integers(0, 3_600_000, clicks)),
        click_id=rng.integers(0, 2**63, clicks).astype(np.uint64),
        ids=ids,
        present=np.ones(ids.shape, dtype=np.bool_),
    )


def plain(client: Redis) -> Callable[[CounterBatch], None]:
    client.function_load(PLAIN, replace=True)

    def apply(batch: CounterBatch) -> None:
        pipeline = client.pipeline(transaction=False)
        digests = [[value.to_bytes(8, "big") for value in row] for row in batch.ids.tolist()]
        for at, click_id, ids in zip(batch.at_ms.tolist(), batch.click_id.tolist(), digests, strict=True):
            named = dict(zip(IDENTIFIERS, ids, strict=True))
            for entity in ENTITIES:
                key = entity.name[:1].encode() + named[entity.name]
                members = [named[m.member] for m in entity.members]
                keys = [b"%d" % part + key for part in range(3 + len(members))]
                pipeline.fcall("plain", len(keys), *keys, at, click_id.to_bytes(8, "big"), *members)
        pipeline.execute()

    return apply


def measure(directory: Path, name: str, log: CounterBatch) -> tuple[float, float, float]:
    """Bytes of cache a click, and clicks a second of the median and of the best batch, on a server of its own."""
    with start_valkey(directory) as server, Redis(host=server.host, port=server.port) as client:
        counters = Counters.connect(host=server.host, port=server.port, cluster=False, tls=False, timeout_ms=60_000)
        apply = counters.apply if name == "packed" else plain(client)
        apply(log.rows(slice(0, 1)))
        before, seconds = client.info("memory")["used_memory"], []
        for start in range(0, log.clicks, BATCH):
            batch = log.rows(slice(start, start + BATCH))
            started = time.perf_counter()
            apply(batch)
            seconds.append(time.perf_counter() - started)
        used = client.info("memory")["used_memory"] - before
        counters.close()
    return used / log.clicks, BATCH / statistics.median(seconds), BATCH / min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clicks", nargs="?", type=int, default=20_000)
    clicks = parser.parse_args().clicks
    with tempfile.TemporaryDirectory() as directory:
        print(f"{'clicks a key':>12} {'state':>8} {'bytes a click':>14} {'clicks/s':>9} {'best':>7}")
        for per_key in (1, 4, 100):
            log = traffic(clicks, per_key=per_key)
            for name in ("packed", "plain"):
                memory, speed, best = measure(Path(directory), name, log)
                print(f"{per_key:>12} {name:>8} {memory:>14.0f} {speed:>9.0f} {best:>7.0f}")


if __name__ == "__main__":
    main()
