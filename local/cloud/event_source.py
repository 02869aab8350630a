"""Seam: Kinesis event source mappings, as AWS's Lambda service runs them.

One lane (thread) for each mapping, shard and unit of ParallelizationFactor, so that shards do not wait for each
other. A lane takes the records of its shard whose partition key falls to it, in order; it invokes the function with a
batch when the batch is full (BatchSize, 6 MB) or its batching window has passed; and it does not go on before the
batch is settled.

How a failed batch is settled (Source: Lambda developer guide, "How Lambda processes records from stream sources"):
partial responses move the batch's start to the first failed record; a batch that failed without progress is halved
when BisectBatchOnFunctionError is set (halving costs no retry) and else retried; what has used up
MaximumRetryAttempts, or is older than MaximumRecordAgeInSeconds, goes to the on-failure destination, and the lane
goes on behind it.
"""

from __future__ import annotations

import base64
import logging
import threading
import time
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from local.cloud import seams
from local.cloud.event_source_mapping import is_true, mapping_of
from local.cloud.failure_destination import FailedBatch, send_failed_batch
from local.cloud.kinesis_batch import Batch, Record, failed_from, record_event, settle

_LOGGER = logging.getLogger("slidr.event_source")

_IDLE_S = 0.02  # between looks at an empty shard
_MAPPINGS_S = 0.1  # between looks for new mappings, shards and settings
_PAYLOAD_LIMIT_BYTES = 6_000_000
_RECORD_OVERHEAD_BYTES = 500  # of the JSON around a record's data
_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 5.0
_THROTTLED = "Rate Exceeded"


@dataclass(frozen=True, slots=True)
class _LaneId:
    account: str
    region: str
    uuid: str
    shard: str
    lane: int


class _Lane:
    """One thread's work: the records of one shard that fall to one unit of parallelism, for one mapping."""

    def __init__(self, identity: _LaneId, record: dict[str, Any], still_wanted: Callable[[], bool]) -> None:
        self._id = identity
        self._record = record
        self._mapping = mapping_of(record)
        self._still_wanted = still_wanted
        self._behind: str | None = None  # sequence number of the last settled record
        self._execute = seams.reach("services.lambda_svc._execute_function")
        self._emit = seams.reach("services.lambda_svc._emit_lambda_metrics")
        self._metric = seams.reach("services.cloudwatch.record_metric")
        self._filter = seams.reach("services.lambda_svc._apply_filter_criteria")

    def run(self) -> None:
        with seams.reach("core.responses.request_scope")(self._id.account, self._id.region):
            while self._still_wanted():
                try:
                    if not self._step():
                        time.sleep(_IDLE_S)
                except Exception:
                    _LOGGER.exception("lane %s could not settle a batch and tries again", self._id)
                    time.sleep(1.0)

    def _step(self) -> bool:
        """Settle one batch if there is one; return whether there was."""
        self._mapping = mapping_of(self._record)
        records = self._next_records()
        if not records:
            return False
        self._settle(Batch(tuple(records)))
        self._behind = records[-1].sequence
        return True

    def _shard_records(self) -> list[dict[str, Any]]:
        stream = seams.reach("services.kinesis._streams").get(self._mapping.stream_name)
        if not stream or stream["StreamStatus"] != "ACTIVE" or self._id.shard not in stream["shards"]:
            return []
        shard_records: list[dict[str, Any]] = stream["shards"][self._id.shard]["records"]
        return shard_records

    def _next_records(self) -> list[Record]:
        """Return the next batch, waiting for its batching window once it has begun."""
        records = self._take()
        if not records:
            return records
        full = len(records) >= self._mapping.batch_size
        deadline = time.monotonic() + self._mapping.window_s
        while not full and time.monotonic() < deadline and self._still_wanted():
            time.sleep(min(_IDLE_S, max(0.0, deadline - time.monotonic())))
            records = self._take()
            full = len(records) >= self._mapping.batch_size
        return records

    def _take(self) -> list[Record]:
        held = self._shard_records()
        taken: list[Record] = []
        size = 0
        for index in range(self._first_index(held), len(held)):
            entry = held[index]
            if self._mapping.lanes > 1 and self._lane_of(entry["PartitionKey"]) != self._id.lane:
                continue
            size += len(entry["Data"]) + _RECORD_OVERHEAD_BYTES
            if taken and size > _PAYLOAD_LIMIT_BYTES:
                break
            taken.append(_record_of(entry))
            if len(taken) >= self._mapping.batch_size:
                break
        return taken

    def _first_index(self, held: list[dict[str, Any]]) -> int:
        if self._behind is not None:
            return bisect_right(held, self._behind, key=lambda entry: entry["SequenceNumber"])
        if self._mapping.start == "TRIM_HORIZON":
            return 0
        return bisect_left(held, self._mapping.start_timestamp, key=lambda entry: entry["ApproximateArrivalTimestamp"])

    def _lane_of(self, partition_key: str) -> int:
        return zlib.crc32(partition_key.encode()) % self._mapping.lanes

    def _settle(self, batch: Batch) -> None:
        """Invoke the function with `batch` and what it splits into, until each record is done or given away."""
        pending = [batch]
        delay_s = _FIRST_DELAY_S
        while pending and self._still_wanted():
            current = pending.pop(0)
            fresh, expired = self._by_age(current)
            if expired is not None:
                self._give_away(expired, "RecordAgeExceeded", {})
            if fresh is None:
                continue
            answer = self._invoke(fresh)
            first_failed = failed_from(fresh, answer, partial=self._mapping.partial)
            if first_failed is None:
                self._record["LastProcessingResult"] = "OK"
                self._report_age(fresh)
                delay_s = _FIRST_DELAY_S
                continue
            self._record["LastProcessingResult"] = "PROBLEM: Function call failed"
            next_step = settle(
                fresh,
                first_failed,
                bisect=self._mapping.bisect,
                max_retries=self._mapping.max_retries,
                counted=not answer.get("throttle"),
            )
            if next_step.given_up is not None:
                self._give_away(next_step.given_up, "RetryAttemptsExhausted", answer)
            pending[:0] = next_step.again
            if next_step.wait:
                time.sleep(delay_s)
                delay_s = min(2 * delay_s, _LONGEST_DELAY_S)

    def _by_age(self, batch: Batch) -> tuple[Batch | None, Batch | None]:
        """Split `batch` into what may still be processed and what is too old; AWS checks before each attempt."""
        if self._mapping.max_age_s < 0:
            return batch, None
        oldest = time.time() - self._mapping.max_age_s
        cut = bisect_left(batch.records, oldest, key=lambda record: record.arrived_at)
        if cut == 0:
            return batch, None
        expired = Batch(batch.records[:cut], batch.failures)
        return (Batch(batch.records[cut:], batch.failures) if cut < len(batch.records) else None), expired

    def _invoke(self, batch: Batch) -> dict[str, Any]:
        function, _ = seams.reach("services.lambda_svc._get_func_record_for_qualifier")(
            self._mapping.function, self._mapping.qualifier
        )
        if function is None:
            return {"error": True, "throttle": True, "body": None}  # not there yet, or being replaced: not counted
        events = self._events(batch)
        if not events:
            return {"body": None}
        began = time.perf_counter()
        answer: dict[str, Any] = self._execute(function, {"Records": events})
        duration_ms = (time.perf_counter() - began) * 1000
        throttled = bool(answer.get("throttle"))
        self._emit(
            self._mapping.function,
            duration_ms=duration_ms,
            error=bool(answer.get("error")) and not throttled,
            throttle=throttled,
        )
        if answer.get("error"):
            body = answer.get("body") or {}
            problem = f"{body.get('errorType')}: {body.get('errorMessage')}" if isinstance(body, dict) else body
            _LOGGER.warning("%s failed a batch of %d: %s", self._mapping.function, len(events), problem)
        return answer

    def _events(self, batch: Batch) -> list[dict[str, Any]]:
        events = [
            record_event(record, self._id.shard, self._mapping.stream_arn, self._id.account, self._id.region)
            for record in batch.records
        ]
        filtered: list[dict[str, Any]] = self._filter(events, self._record)
        return filtered

    def _report_age(self, batch: Batch) -> None:
        age_ms = (time.time() - batch.records[-1].arrived_at) * 1000
        self._metric("AWS/Lambda", "IteratorAge", age_ms, "Milliseconds", {"FunctionName": self._mapping.function})

    def _give_away(self, batch: Batch, condition: str, answer: dict[str, Any]) -> None:
        if self._mapping.destination is None:
            _LOGGER.error("%s: %d records dropped, no on-failure destination", condition, len(batch.records))
            return
        send_failed_batch(
            self._mapping.destination,
            FailedBatch(
                mapping=self._mapping.uuid,
                function_arn=self._mapping.function_arn,
                stream_arn=self._mapping.stream_arn,
                shard=self._id.shard,
                condition=condition,
                attempts=batch.failures,
                invoked=bool(answer),
                records=tuple((record.sequence, record.arrived_at) for record in batch.records),
                event={"Records": self._events(batch)},
            ),
        )


def _record_of(entry: dict[str, Any]) -> Record:
    data = entry["Data"]
    encoded = base64.b64encode(data).decode() if isinstance(data, bytes) else data
    return Record(entry["SequenceNumber"], entry["PartitionKey"], encoded, entry["ApproximateArrivalTimestamp"])


class EventSources:
    """Keeps one lane running for everything that ministack's mappings ask for."""

    def __init__(self) -> None:
        self._lanes: dict[_LaneId, threading.Thread] = {}
        self._wanted: frozenset[_LaneId] = frozenset()

    def reconcile(self) -> None:
        """Start the lanes that are missing; those no longer wanted end by themselves."""
        records = dict(self._asked_for())
        self._wanted = frozenset(records)
        for identity, record in records.items():
            running = self._lanes.get(identity)
            if running is not None and running.is_alive():
                continue
            lane = _Lane(identity, record, lambda identity=identity: identity in self._wanted)  # type: ignore[misc]
            thread = threading.Thread(target=lane.run, name=f"{identity.shard}-{identity.lane}", daemon=True)
            self._lanes[identity] = thread
            thread.start()
        for identity in [identity for identity in self._lanes if identity not in self._wanted]:
            del self._lanes[identity]

    def run(self) -> None:
        """Reconcile for as long as the process lives."""
        while True:
            try:
                self.reconcile()
            except Exception:
                _LOGGER.exception("the event source mappings could not be read; trying again")
            time.sleep(_MAPPINGS_S)

    @staticmethod
    def _asked_for() -> Iterable[tuple[_LaneId, dict[str, Any]]]:
        for account, region, esm in seams.reach("services.lambda_svc._iter_all_esms")():
            if ":kinesis:" not in esm.get("EventSourceArn", "") or not is_true(esm.get("Enabled", True)):
                continue
            mapping = mapping_of(esm)
            stream = seams.reach("services.kinesis._streams").get_scoped(account, region, mapping.stream_name)
            for shard in list((stream or {}).get("shards", {})):
                for lane in range(mapping.lanes):
                    yield _LaneId(account, region, mapping.uuid, shard, lane), esm


def _expire_cheaply(stream: dict[str, Any]) -> None:
    """Drop expired records; ministack's own copies every record of the shard at every put."""
    oldest = time.time() - stream["RetentionPeriodHours"] * 3600
    for shard in stream["shards"].values():
        held = shard["records"]
        if held and held[0]["ApproximateArrivalTimestamp"] < oldest:
            shard["records"] = [record for record in held if record["ApproximateArrivalTimestamp"] >= oldest]


def install() -> None:
    """Run Kinesis event source mappings by lanes, and not by ministack's one poller."""
    seams.replace("services.lambda_svc._poll_kinesis", lambda: False)
    seams.replace("services.kinesis._expire_records", _expire_cheaply)
    threading.Thread(target=EventSources().run, name="event-sources", daemon=True).start()
