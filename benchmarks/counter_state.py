"""Counter state as one packed string a key, against sorted sets and hashes: memory and speed on a real server.

Both sides are one server-side call a key and click, in batches of 500, from one client to one server without
persistence. `plain` keeps the clicks of a key in a sorted set, its buckets in two hashes, each member set in a sorted
set; its arithmetic is the textbook's and slightly simpler (no caps, no trimming of hashes).
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np
from redis import Redis

from benchmarks.harness import Measured
from functions.adapters.counters import Counters
from local.valkey import Valkey, start_valkey
from slidr.counter_batch import IDENTIFIERS, CounterBatch
from slidr.counters import ENTITIES

FIGURES: Final = {
    "cache_bytes_per_click": "packed state, keys seen once, over all four keys of a click",
    "times_smaller_than_plain": "than sorted sets and hashes, keys seen once",
    "times_faster_than_plain": "than sorted sets and hashes, keys seen once, median batch",
}
CLICKS: Final = 20_000
PER_KEY: Final = (1, 4, 100)
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


def measure() -> Measured:
    rows: list[dict[str, Any]] = []
    for per_key in PER_KEY:
        for state, row in _measured(traffic(CLICKS, per_key=per_key)).items():
            rows.append({"clicks_a_key": per_key, "state": state, **row})
    packed, loose = rows[:2]  # of keys seen once: the worst
    return Measured(
        figures={
            "cache_bytes_per_click": packed["bytes_a_click"],
            "times_smaller_than_plain": loose["bytes_a_click"] / packed["bytes_a_click"],
            "times_faster_than_plain": packed["clicks_per_s"] / loose["clicks_per_s"],
        },
        rows=rows,
        notes=[
            f"{CLICKS:,} clicks over an hour, four keys a click, batches of {BATCH}; both take turns, no persistence",
            "figures are of keys seen once; clicks_per_s is the median batch's, best the best's",
        ],
    )


def _measured(log: CounterBatch) -> dict[str, dict[str, float]]:
    """By state: bytes of cache a click, and clicks a second of the median and of the best batch.

    Each state has a server of its own; they take turns, batch by batch.
    """
    seconds: dict[str, list[float]] = {"packed": [], "plain": []}
    used = {}
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        clients: dict[str, Redis] = {}
        apply: dict[str, Callable[[CounterBatch], object]] = {}
        for state in seconds:
            server = opened.enter_context(start_valkey(folder / state))
            clients[state] = opened.enter_context(Redis(host=server.host, port=server.port))
            apply[state] = _packed(server, opened) if state == "packed" else plain(clients[state])
            apply[state](log.rows(slice(0, 1)))
            used[state] = -int(clients[state].info("memory")["used_memory"])
        for start in range(0, log.clicks, BATCH):
            batch = log.rows(slice(start, start + BATCH))
            for state in random.sample(list(seconds), k=len(seconds)):
                started = time.perf_counter()
                apply[state](batch)
                seconds[state].append(time.perf_counter() - started)
        for state, client in clients.items():
            used[state] += int(client.info("memory")["used_memory"])
    return {
        state: {
            "bytes_a_click": used[state] / log.clicks,
            "clicks_per_s": BATCH / statistics.median(took),
            "best": BATCH / min(took),
        }
        for state, took in seconds.items()
    }


def _packed(server: Valkey, opened: ExitStack) -> Callable[[CounterBatch], object]:
    counters = Counters.connect(host=server.host, port=server.port, cluster=False, tls=False, timeout_ms=60_000)
    opened.callback(counters.close)
    return counters.apply
