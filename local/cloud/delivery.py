"""Seam: Firehose as the service delivers: buffered, transformed, partitioned, one object a partition and buffer.

ministack writes each record at once, as an object of its own. Here one thread a delivery stream reads its Kinesis
stream (or takes direct puts), and delivers what it holds when the buffer is old or large enough, or when flushed.
"""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from local.cloud import seams
from local.cloud.delivery_config import DeliveryConfig, delivery_config
from local.cloud.delivery_objects import body_of, failure_document, put_object
from local.cloud.s3_prefix import PrefixInvalid, evaluate_prefix
from local.cloud.transform import Refused, SourceRecord, Transformed, chunks, transform, transformation_event

_LOGGER = logging.getLogger("slidr.delivery")
_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class _StreamId:
    account: str
    region: str
    name: str


class _Delivery:
    """One delivery stream's buffer and the thread that empties it."""

    def __init__(self, identity: _StreamId, record: dict[str, Any], interval_s: float) -> None:
        self._id = identity
        self._record = record
        self._interval_s = interval_s
        self._starts_at = float(record.get("created_at", 0))
        self._behind: dict[str, str] = {}  # shard -> sequence number of the last record taken
        self._put_directly: deque[SourceRecord] = deque()
        self._buffer: list[SourceRecord] = []
        self._buffered_bytes = 0
        self._since = 0.0
        self._working = threading.Lock()
        self.wanted = True

    def add(self, records: Iterable[tuple[str, bytes]]) -> None:
        """Take direct puts, (record id, data). Runs on the event loop, which a delivery needs: it never waits."""
        now = time.time()
        self._put_directly.extend(SourceRecord(identity, data, now) for identity, data in records)

    def run(self) -> None:
        with seams.reach("core.responses.request_scope")(self._id.account, self._id.region):
            while self.wanted:
                try:
                    self.work(flush=False)
                except Exception:
                    _LOGGER.exception("delivery stream %s could not deliver and tries again", self._id.name)
                time.sleep(_LOOK_S)

    def work(self, *, flush: bool) -> int:
        """Take what has come; deliver it if it is time to, or if told. Return how many objects were written."""
        with self._working:
            config = delivery_config(self._record, seams.reach("services.glue._tables"))
            if config is None:
                return 0
            self._hold(self._take(config))
            interval_s = min(self._interval_s, config.buffer_s)
            due = time.monotonic() - self._since >= interval_s or self._buffered_bytes >= config.buffer_bytes
            if not self._buffer or not (due or flush):
                return 0
            written = self._deliver(config)
            self._buffer, self._buffered_bytes = [], 0
            return written

    def _hold(self, records: list[SourceRecord]) -> None:
        if records and not self._buffer:
            self._since = time.monotonic()
        self._buffer += records
        self._buffered_bytes += sum(len(record.data) for record in records)

    def _take(self, config: DeliveryConfig) -> list[SourceRecord]:
        """Return the new records of the source; a stream is read from the delivery stream's creation on."""
        if config.source_arn is None:
            return [self._put_directly.popleft() for _ in range(len(self._put_directly))]
        stream = seams.reach("services.kinesis._streams").get(config.source_arn.rpartition("/")[2])
        taken: list[SourceRecord] = []
        for shard, values in (stream or {"shards": {}})["shards"].items():
            held = values["records"]
            behind = self._behind.get(shard)
            first = (
                bisect_right(held, behind, key=lambda entry: entry["SequenceNumber"])
                if behind is not None
                else bisect_left(held, self._starts_at, key=lambda entry: entry["ApproximateArrivalTimestamp"])
            )
            new = held[first:]
            if new:
                self._behind[shard] = new[-1]["SequenceNumber"]
                taken += [_source_record(shard, entry) for entry in new]
        return taken

    def _deliver(self, config: DeliveryConfig) -> int:
        """Transform the buffer and write one object for each partition, and one for each kind of failure."""
        good: list[Transformed] = []
        bad: dict[str, list[Refused]] = defaultdict(list)
        for outcome in self._transformed(config):
            if isinstance(outcome, Transformed):
                good.append(outcome)
            else:
                bad["processing-failed"].append(outcome)
        now = datetime.now(UTC)
        by_prefix: dict[str, list[Transformed]] = defaultdict(list)
        for record in good:
            arrived = datetime.fromtimestamp(self._buffer[0].arrived_at, UTC)
            keys = record.partition_keys if config.partitioned else {}
            try:
                by_prefix[evaluate_prefix(config.prefix, arrived, partition_keys=keys)].append(record)
            except PrefixInvalid as invalid:
                code = "DynamicPartitioning.MetadataExtractionFailed"
                bad["processing-failed"].append(Refused(record.source, code, str(invalid), 1))
        written = 0
        for prefix, records in sorted(by_prefix.items()):
            body, refused = body_of(config.conversion, records)
            bad["format-conversion-failed"] += refused
            if body:
                extension = config.extension or (".parquet" if config.conversion else "")
                written += put_object(config, prefix, body, now, extension)
        for kind, refusals in bad.items():
            if refusals:
                prefix = (
                    evaluate_prefix(config.error_prefix, now, error_type=kind)
                    if config.error_prefix
                    else (f"{kind}/{now:%Y/%m/%d/%H}/")
                )
                lines = [json.dumps(failure_document(config, kind, refused, now)) for refused in refusals]
                written += put_object(config, prefix, ("\n".join(lines) + "\n").encode(), now, "")
        _measure(config.name, len(good), self._buffer[0].arrived_at)
        return written

    def _transformed(self, config: DeliveryConfig) -> Iterable[Transformed | Refused]:
        if config.transform_arn is None:
            yield from (Transformed(record, record.data, {}) for record in self._buffer)
            return
        name, qualifier = seams.reach("services.lambda_svc._resolve_name_and_qualifier")(config.transform_arn)
        for group in chunks(self._buffer):
            event = transformation_event(group, arn=config.arn, source_arn=config.source_arn, region=self._id.region)
            yield from transform(group, partial(_invoke, name, qualifier), event, retries=config.transform_retries)


def _source_record(shard: str, entry: dict[str, Any]) -> SourceRecord:
    data = entry["Data"]
    return SourceRecord(
        # Firehose's record ids of a Kinesis source are the sequence number and a subsequence number.
        identity=f"{entry['SequenceNumber']}000000",
        data=data if isinstance(data, bytes) else base64.b64decode(data),
        arrived_at=entry["ApproximateArrivalTimestamp"],
        shard=shard,
        sequence=entry["SequenceNumber"],
        partition_key=entry["PartitionKey"],
    )


def _invoke(name: str, qualifier: str | None, event: dict[str, Any]) -> dict[str, Any]:
    function, _ = seams.reach("services.lambda_svc._get_func_record_for_qualifier")(name, qualifier)
    if function is None:
        return {"error": True, "body": f"there is no function {name}"}
    began = time.perf_counter()
    answer: dict[str, Any] = seams.reach("services.lambda_svc._execute_function")(function, event)
    seams.reach("services.lambda_svc._emit_lambda_metrics")(
        name,
        duration_ms=(time.perf_counter() - began) * 1000,
        error=bool(answer.get("error")),
        throttle=bool(answer.get("throttle")),
    )
    return answer


def _measure(name: str, records: int, oldest: float) -> None:
    record = seams.reach("services.cloudwatch.record_metric")
    dimensions = {"DeliveryStreamName": name}
    record("AWS/Firehose", "DeliveryToS3.Records", records, "Count", dimensions)
    record("AWS/Firehose", "DeliveryToS3.DataFreshness", time.time() - oldest, "Seconds", dimensions)


class Deliveries:
    """Keeps one delivery running for every delivery stream."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._running: dict[_StreamId, _Delivery] = {}
        self._changing = threading.Lock()

    def run(self) -> None:
        """Follow ministack's delivery streams for as long as the process lives."""
        while True:
            self._reconcile()
            time.sleep(_LOOK_S)

    def flush(self) -> int:
        """Deliver everything that has come so far; return how many objects were written."""
        self._reconcile()
        written = 0
        for identity, delivery in list(self._running.items()):
            with seams.reach("core.responses.request_scope")(identity.account, identity.region):
                written += delivery.work(flush=True)
        return written

    def _reconcile(self) -> None:
        """Start a delivery for each new delivery stream; end those of deleted ones."""
        held = seams.reach("services.firehose._streams")
        for (account, region, name), record in held.all_items():
            self._delivery(_StreamId(account, region, name), record)
        for identity in list(self._running):
            if not held.contains_scoped(identity.account, identity.region, identity.name):
                self._running.pop(identity).wanted = False

    def direct(self, stream: dict[str, Any], _destination: object, records: list[tuple[str, bytes]]) -> None:
        """Take PutRecord and PutRecordBatch; stands for ministack's _deliver_records_to_s3."""
        account, region = seams.reach("core.responses.get_account_id")(), seams.reach("core.responses.get_region")()
        self._delivery(_StreamId(account, region, stream["name"]), stream).add(records)

    def _delivery(self, identity: _StreamId, record: dict[str, Any]) -> _Delivery:
        with self._changing:
            found = self._running.get(identity)
            if found is None:
                found = self._running[identity] = _Delivery(identity, record, self._interval_s)
                threading.Thread(target=found.run, name=f"delivery-{identity.name}", daemon=True).start()
            return found


def install(interval_s: float) -> Deliveries:
    """Deliver by buffers of at most `interval_s`; return what can flush them."""
    deliveries = Deliveries(interval_s)
    seams.replace("services.firehose.ingest_from_kinesis_source", lambda stream_arn, records: None)  # noqa: ARG005
    seams.replace("services.firehose._deliver_records_to_s3", deliveries.direct)
    threading.Thread(target=deliveries.run, name="deliveries", daemon=True).start()
    return deliveries
