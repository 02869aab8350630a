"""The Firehose transform: nothing personal in clear reaches the lake, and every record finds its hour."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from functions.adapters.reject_store import Reject
from functions.prepare_archive.settings import RecordKind
from functions.prepare_archive.transform import Prepared, preparation, transform
from slidr.givt import CrawlerList
from slidr.pseudonym import Pseudonymiser

KEY = Pseudonymiser(bytes(range(32)), version=3)
ARRIVED_MS = 1_795_435_200_000  # 2026-11-23T12:00:00Z
CLICK = {
    "click_id": "c-1",
    "at": "2026-11-24T00:59:30+13:00",
    "user": "ada",
    "session": "s-1",
    "ip": "192.0.2.77",
    "user_agent": "Googlebot/2.1",
    "advertiser": "acme",
    "marketplace": "nz",
    "query": "private words",
}
PURCHASE = {"order_id": "o-1", "at": "2026-11-23T09:00:00Z", "user": "ada", "session": "s-1", "amount_micros": 5}
VERDICT = {
    "version": 1,
    "click_id": "c-1",
    "kind": "original",
    "at": "2026-11-23T11:59:30Z",
    "arrived_at": "2026-11-23T12:00:00Z",
    "decided_at": "2026-11-23T12:00:01Z",
    "decision": "VALID",
    "mode": "observe",
    "billable": True,
    "reasons": [],
    "score": 0.25,
    "threshold": 0.5,
    "slice": "all",
    "release_id": "r-1",
    "shadow_scores": {},
    "givt": False,
    "late": False,
    "marketplace": "nz",
    "advertiser": "acme",
    "campaign": None,
    "cost_micros": 0,
    "currency": "USD",
    "feature_spec": "f",
    "features": [0.0, 1.5],
}


@dataclass
class FakeRejects:
    kept: list[Reject] = field(default_factory=list)

    def store(self, rejects: Sequence[Reject]) -> None:
        self.kept += rejects


def run(kind: RecordKind, *payloads: Any, rejects: FakeRejects | None = None) -> Prepared:
    event = {
        "invocationId": "i-1",
        "deliveryStreamArn": "arn:aws:firehose:us-east-1:000000000000:deliverystream/archive",
        "sourceKinesisStreamArn": "arn:aws:kinesis:us-east-1:000000000000:stream/purchases",
        "region": "us-east-1",
        "records": [
            {
                "recordId": f"r-{i}",
                "approximateArrivalTimestamp": ARRIVED_MS + 999,
                "data": base64.b64encode(p if isinstance(p, bytes) else json.dumps(p).encode()).decode(),
                "kinesisRecordMetadata": {
                    "sequenceNumber": str(700 + i),
                    "subsequenceNumber": "",
                    "partitionKey": "k",
                    "shardId": "shardId-000000000000",
                    "approximateArrivalTimestamp": ARRIVED_MS,
                },
            }
            for i, p in enumerate(payloads)
        ],
    }
    prepare = preparation(kind, pseudonymiser=lambda: KEY, crawlers=lambda: CrawlerList(["Googlebot"], version="test"))
    return transform(event, prepare=prepare, rejects=cast("Any", rejects or FakeRejects()))


def line(answer: dict[str, Any]) -> bytes:
    return base64.b64decode(answer["data"])


def test_click_is_partitioned_by_the_utc_hour_of_its_event_time() -> None:
    (answer,) = run("click", CLICK).answer["records"]

    assert (answer["recordId"], answer["result"]) == ("r-0", "Ok")
    assert answer["metadata"] == {"partitionKeys": {"date": "2026-11-23", "hour": "11"}}


def test_archived_click_keeps_no_person_but_joins_by_token() -> None:
    (answer,) = run("click", CLICK).answer["records"]

    archived = json.loads(line(answer))

    assert archived["at"] == "2026-11-23T11:59:30Z"  # Firehose reads no other offset
    assert archived["user_token"] == KEY.token("user", "ada")
    assert archived["ip_token"] == KEY.token("ip", "192.0.2.77")
    assert archived["ip_prefix"] == "192.0.2.0/24"
    assert archived["givt"] is True
    assert archived["arrived_at"] == "2026-11-23T12:00:00Z"  # the click stream's stamp, not Firehose's
    for personal in (b"192.0.2.77", b'"ada"', b"s-1", b"Googlebot", b"private words"):
        assert personal not in line(answer)


def test_purchase_carries_the_same_tokens_as_the_click() -> None:
    click = json.loads(line(run("click", CLICK).answer["records"][0]))
    purchase = json.loads(line(run("purchase", PURCHASE).answer["records"][0]))

    assert purchase["user_token"] == click["user_token"]
    assert purchase["session_token"] == click["session_token"]
    assert b"ada" not in line(run("purchase", PURCHASE).answer["records"][0])


def test_every_line_ends_with_one_newline() -> None:
    for kind, payload in (("click", CLICK), ("purchase", PURCHASE), ("verdict", VERDICT)):
        data = line(run(cast("RecordKind", kind), payload).answer["records"][0])
        assert data.endswith(b"}\n")
        assert data.count(b"\n") == 1


def test_verdict_passes_through_unchanged() -> None:
    payload = json.dumps(VERDICT | {"reasons": ["robotic_behaviour"], "shadow_scores": {"r-2": 0.5}}).encode()
    (answer,) = run("verdict", payload).answer["records"]

    assert line(answer) == payload + b"\n"
    assert answer["metadata"]["partitionKeys"] == {"date": "2026-11-23", "hour": "11"}


def test_a_verdicts_empty_lists_and_maps_are_null_in_the_lake() -> None:
    (answer,) = run("verdict", json.dumps(VERDICT | {"reasons": []}).encode()).answer["records"]
    assert json.loads(line(answer)) == VERDICT | {"reasons": None, "shadow_scores": None}


def test_verdicts_need_no_key() -> None:
    def refuse() -> Any:
        raise AssertionError("the key was asked for")

    preparation("verdict", pseudonymiser=refuse, crawlers=refuse)


def test_invalid_purchase_is_rejected_with_its_origin_and_dropped() -> None:
    rejects = FakeRejects()

    prepared = run("purchase", PURCHASE, {**PURCHASE, "user": None, "session": None}, b"no", rejects=rejects)

    assert [answer["result"] for answer in prepared.answer["records"]] == ["Ok", "Dropped", "Dropped"]
    assert [(reject.reason, reject.sequence) for reject in rejects.kept] == [
        ("missing_field", "701"),
        ("not_json", "702"),
    ]
    assert rejects.kept[0].stream == "purchases"
    assert rejects.kept[0].arrived_at == dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)


def test_invalid_click_is_dropped_and_left_to_score_clicks() -> None:
    rejects = FakeRejects()

    prepared = run("click", b"no", rejects=rejects)

    assert prepared.answer["records"] == [{"recordId": "r-0", "result": "Dropped"}]
    assert rejects.kept == []


def test_invalid_verdict_is_reported_as_failed() -> None:
    prepared = run("verdict", b'{"click_id": "c"}')

    assert prepared.answer["records"] == [{"recordId": "r-0", "result": "ProcessingFailed"}]


@pytest.mark.parametrize("kind", ["click", "purchase", "verdict"])
def test_empty_invocation_gives_an_empty_answer(kind: RecordKind) -> None:
    assert run(kind).answer == {"records": []}
