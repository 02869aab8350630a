from __future__ import annotations

import datetime as dt
import json

import polars as pl

from local.judging import judged
from local.sources.event import Event, Kind
from slidr.contract import epoch_ms
from slidr.ledger import LedgerEntry
from slidr.verdict import Decision, Mode

NOON = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)


def any_event(kind: Kind, key: str, *, minute: int, **fields: str) -> Event:
    at = NOON + dt.timedelta(minutes=minute)
    name = "click_id" if kind is Kind.CLICK else "order_id"
    return Event(epoch_ms(at), kind, key, json.dumps({name: key, "at": at.isoformat(), **fields}).encode())


def any_verdict(click_id: str, decision: Decision) -> LedgerEntry:
    return LedgerEntry(
        click_id=click_id, kind="original", at=NOON, arrived_at=NOON, decided_at=NOON, decision=decision,
        mode=Mode.OBSERVE, billable=True, reasons=(), score=0.5, threshold=0.5, slice="s", release_id="r", givt=False,
        late=False, marketplace="de", advertiser="acme", cost_micros=0, currency="EUR",
    )  # fmt: skip


EVENTS = [
    any_event(Kind.CLICK, "bought", minute=0, user="ada", advertiser="acme"),
    any_event(Kind.CLICK, "also", minute=1, session="s", advertiser="acme"),
    any_event(Kind.CLICK, "robot", minute=2, session="r", advertiser="acme"),
    any_event(Kind.CLICK, "rejected", minute=2, advertiser="acme"),
    Event(0, Kind.CLICK, "line-5", b"{"),
    Event(0, Kind.CLICK, "line-6", b'{"advertiser": "acme"}'),
    any_event(Kind.PURCHASE, "o1", minute=5, user="ada", advertiser="acme"),
    any_event(Kind.PURCHASE, "o2", minute=6, session="s", advertiser="acme"),
]
VERDICTS = [
    any_verdict("bought", Decision.VALID),
    any_verdict("also", Decision.INVALID),
    any_verdict("robot", Decision.INVALID),
]


def test_attributes_purchases_and_leaves_out_what_has_no_verdict() -> None:
    judgement = judged(EVENTS, VERDICTS, truth=None)
    assert (judgement.ivr.count, judgement.ivr.total) == (2, 3)
    assert (judgement.fpr.count, judgement.fpr.total) == (1, 2)


def test_finds_recall_by_family_where_the_truth_is_known() -> None:
    truth = pl.DataFrame(
        {"click_id": ["bought", "also", "robot"], "family": ["a", "a", "b"], "robot": [False, False, True]}
    )
    judgement = judged(EVENTS, VERDICTS, truth=truth)
    assert judgement.families["b"].value == 1.0
    assert (judgement.true_fpr.count, judgement.true_fpr.total) == (1, 2)
