"""The transform of one Firehose invocation, as the service documents its event and its answer.

Source: "Transform source data in Amazon Data Firehose" and "Understand partitioning keys", Amazon Data Firehose
developer guide.
"""

from __future__ import annotations

import datetime as dt
from binascii import a2b_base64, b2a_base64
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from functions.adapters.reject_store import Reject, RejectStore
from functions.prepare_archive.settings import RecordKind
from slidr.archive import archive_click, archive_purchase
from slidr.click import parse_click
from slidr.contract import from_epoch_ms
from slidr.errors import InvalidClick, InvalidPurchase, InvalidRecord
from slidr.givt import CrawlerList
from slidr.pseudonym import Pseudonymiser
from slidr.purchase import parse_purchase
from slidr.verdict import Verdict

Prepare = Callable[[bytes, int], tuple[dt.datetime, bytes]]
"""From a payload and its arrival (epoch ms) to its event time and its JSON in the lake; raises InvalidRecord."""

_ENCODER: Final = msgspec.json.Encoder()
_RESULT: Final[Mapping[type[InvalidRecord], str]] = {InvalidClick: "Dropped", InvalidPurchase: "Dropped"}
_VERDICT: Final = msgspec.json.Decoder(Verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The answer to Firehose, and what became of the records, by result or by reject reason."""

    answer: dict[str, Any]
    results: Counter[str]
    rejects: Counter[str]


def preparation(
    kind: RecordKind, *, pseudonymiser: Callable[[], Pseudonymiser], crawlers: Callable[[], CrawlerList]
) -> Prepare:
    """How a record of this kind is brought into its lake form; the key is asked for only where it is needed."""
    if kind == "verdict":
        return _verdict
    key = pseudonymiser()
    if kind == "purchase":

        def purchase(payload: bytes, arrived_ms: int) -> tuple[dt.datetime, bytes]:
            parsed = parse_purchase(payload, arrived_ms=arrived_ms)
            archived = archive_purchase(parsed, arrived_at=from_epoch_ms(arrived_ms), pseudonymiser=key)
            return parsed.at, _ENCODER.encode(archived)

        return purchase
    known = crawlers()

    def click(payload: bytes, arrived_ms: int) -> tuple[dt.datetime, bytes]:
        parsed = parse_click(payload, arrived_ms=arrived_ms)
        archived = archive_click(parsed, arrived_at=from_epoch_ms(arrived_ms), pseudonymiser=key, crawlers=known)
        return parsed.at, _ENCODER.encode(archived)

    return click


def _verdict(payload: bytes, arrived_ms: int) -> tuple[dt.datetime, bytes]:  # noqa: ARG001 - a Prepare
    try:
        verdict = _VERDICT.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as failure:
        raise InvalidRecord("not_a_verdict", str(failure)) from failure
    if verdict.reasons and verdict.shadow_scores:
        return verdict.at, payload
    # Hive's Parquet writers before 2.1 refuse an empty list or map (HIVE-13632); Firehose does not say which it runs.
    full = {
        **msgspec.structs.asdict(verdict),
        "reasons": verdict.reasons or None,
        "shadow_scores": verdict.shadow_scores or None,
    }
    return verdict.at, _ENCODER.encode(full)


def transform(event: Mapping[str, Any], *, prepare: Prepare, rejects: RejectStore) -> Prepared:
    """Bring every record of an invocation into its lake form, partitioned by the UTC hour of its event time.

    An invalid purchase is stored as a reject and dropped. An invalid click is only dropped: score_clicks rejects it. An
    invalid verdict is a defect of ours and holds no person: Firehose keeps it among its failed deliveries.

    Raises:
        PublishFailed: the rejects are not stored; Firehose tries the invocation again.
    """
    answers: list[dict[str, Any]] = []
    refused: list[Reject] = []
    reasons: Counter[str] = Counter()
    stream = str(event.get("sourceKinesisStreamArn", "")).rpartition("/")[2]
    for record in event["records"]:
        origin = record.get("kinesisRecordMetadata", {})
        arrived_ms = int(origin.get("approximateArrivalTimestamp", record["approximateArrivalTimestamp"]))
        payload = a2b_base64(record["data"])
        try:
            at, line = prepare(payload, arrived_ms)
        except InvalidRecord as error:
            reasons[error.reason] += 1
            answers.append({"recordId": record["recordId"], "result": _RESULT.get(type(error), "ProcessingFailed")})
            if isinstance(error, InvalidPurchase):
                refused.append(
                    Reject(
                        reason=error.reason,
                        detail=error.detail,
                        stream=stream,
                        shard=origin.get("shardId", ""),
                        sequence=origin.get("sequenceNumber", record["recordId"]),
                        arrived_at=from_epoch_ms(arrived_ms),
                        payload_base64=payload,
                    )
                )
            continue
        hour = at.astimezone(dt.UTC)
        answers.append(
            {
                "recordId": record["recordId"],
                "result": "Ok",
                "data": b2a_base64(line + b"\n", newline=False).decode(),
                "metadata": {"partitionKeys": {"date": f"{hour:%Y-%m-%d}", "hour": f"{hour:%H}"}},
            }
        )
    rejects.store(refused)
    return Prepared(
        answer={"records": answers}, results=Counter(answer["result"] for answer in answers), rejects=reasons
    )
