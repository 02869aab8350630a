"""Replays over a lake in memory: what changes, what is published, what a second or an interrupted one does."""

from __future__ import annotations

import datetime as dt
import gzip
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from functions.replay.apply_step import Publisher, apply_corrections
from slidr.errors import PublishFailed
from slidr.hours import HOUR
from slidr.ledger import Ledger
from slidr.replay import NEVER, Difference, ReplayRefused, corrections_key, merged, money
from slidr.slices import SliceMap, Thresholds
from slidr.verdict import Decision, Mode, Reason, Verdict
from tests import replay_world
from tests.replay_world import LATER, NOON, FakeLake, FakeStream, archived, features, judge, verdict
from training.replay.decide import Wanted
from training.replay.run import Ask, HourOutcome, replay


def ask(**changes: Any) -> Ask:
    values = {"start": NOON, "end": NOON + HOUR, "judge": judge()}
    return Ask(**(values | changes))


def outcomes(lake: FakeLake, asked: Ask, *, now: dt.datetime = LATER) -> list[HourOutcome]:
    return list(replay(asked, lake, now=now))


def difference(came: Sequence[HourOutcome]) -> Difference:
    return merged(outcome.found.difference for outcome in came)


def publish(lake: FakeLake, came: Sequence[HourOutcome], stream: FakeStream) -> int:
    publisher = Publisher(lake=lake, stream=stream, who="ada", why="test", now=lambda: LATER)  # type: ignore[arg-type]
    keys = [corrections_key(one.hour, one.found.chunk) for one in came if one.found.corrections]
    return sum(apply_corrections(key, publisher) for key in keys)


def kept_corrections(lake: FakeLake) -> list[Verdict]:
    bodies = [body for key, body in lake.objects.items() if key.startswith("replays/corrections/")]
    return [msgspec.json.decode(line, type=Verdict) for body in bodies for line in gzip.decompress(body).splitlines()]


def test_corrects_what_the_release_decides_otherwise_and_nothing_else() -> None:
    lake = FakeLake()
    # decided by a release whose threshold of 0.1 was ruined
    ruined = {"decision": Decision.INVALID, "reasons": (Reason.ROBOTIC_BEHAVIOUR,), "billable": False}
    lake.deliver([verdict("human", score=0.25, **ruined), verdict("robot", score=0.75), verdict("other", score=0.5)])
    came = outcomes(lake, ask())
    found = difference(came)
    assert (found.clicks, found.same, found.changed, found.without_features) == (3, 2, 1, 0)
    (change,) = found.changes
    assert (change.before, change.after, change.advertiser) == ("INVALID", Decision.VALID, "acme")
    assert change.reasons == ("robotic_behaviour",)  # why it was INVALID
    assert (change.refunded_micros, change.charged_micros) == (0, 250_000)
    (correction,) = kept_corrections(lake)
    assert (correction.click_id, correction.kind, correction.decision) == ("human", "correction", Decision.VALID)
    assert (correction.score, correction.threshold, correction.billable) == (0.25, 0.5, True)
    assert correction.release_id == judge().release_id
    assert correction.features is None  # the original logged them


def test_refunds_what_was_billed_and_is_robotic() -> None:
    lake = FakeLake()
    lake.deliver([verdict("robot", score=0.75, decision=Decision.VALID, reasons=(), billable=True)])
    assert [
        (one.currency, one.refunded_micros, one.charged_micros)
        for one in money(difference(outcomes(lake, ask())).changes)
    ] == [("EUR", 250_000, 0)]


def test_bills_every_click_of_observe_mode_whatever_comes_out() -> None:
    lake = FakeLake()
    lake.deliver([verdict("robot", score=0.75, decision=Decision.VALID, reasons=(), mode=Mode.OBSERVE, billable=True)])
    found = difference(outcomes(lake, ask()))
    assert found.changed == 1
    assert money(found.changes) == []
    assert kept_corrections(lake)[0].billable


def test_uses_the_thresholds_of_the_release_that_decides_again() -> None:
    lake = FakeLake()
    lake.deliver([verdict("mild", score=0.25), verdict("mild-tv", score=0.25, slice="device=tv|logged_in=false")])
    strict = judge(thresholds=Thresholds(default=0.5, by_slice={"device=tv|logged_in=false": 0.2}))
    outcomes(lake, ask(judge=strict))
    assert [one.click_id for one in kept_corrections(lake)] == ["mild-tv"]


def test_keeps_lists_in_force() -> None:
    lake = FakeLake()
    crawler = verdict("crawler", score=0.1, givt=True, decision=Decision.INVALID, reasons=(Reason.KNOWN_CRAWLER,))
    partner = verdict("partner", score=0.9, decision=Decision.VALID, reasons=(Reason.ALLOW_LISTED,), billable=True)
    lake.deliver([crawler, partner])
    assert difference(outcomes(lake, ask())).same == 2


def test_net_verdicts_equal_the_release_scoring_the_logged_features() -> None:
    lake = FakeLake()
    ruined = {"decision": Decision.INVALID, "reasons": (Reason.ROBOTIC_BEHAVIOUR,), "billable": False}
    decided = [verdict(f"c-{n}", score=n / 40, **ruined) for n in range(40)]
    lake.deliver(decided)
    stream = FakeStream()
    publish(lake, outcomes(lake, ask()), stream)
    net = Ledger[Verdict]([*decided, *stream.taken])
    assert {one.click_id: one.decision for one in net} == {
        f"c-{n}": Decision.INVALID if n / 40 >= 0.5 else Decision.VALID for n in range(40)
    }


def test_adds_nothing_when_it_runs_again_before_the_lake_has_the_corrections() -> None:
    lake, stream = FakeLake(), FakeStream()
    lake.deliver([verdict("robot", score=0.75, decision=Decision.VALID, reasons=(), billable=True)])
    assert publish(lake, outcomes(lake, ask()), stream) == 1
    again = outcomes(lake, ask(), now=LATER + HOUR)
    assert difference(again).changed == 0
    assert publish(lake, again, stream) == 0
    assert len(stream.taken) == 1


def test_adds_nothing_when_it_runs_again_after_the_lake_has_them() -> None:
    lake, stream = FakeLake(), FakeStream()
    lake.deliver([verdict("robot", score=0.75, decision=Decision.VALID, reasons=(), billable=True)])
    publish(lake, outcomes(lake, ask()), stream)
    lake.deliver(stream.taken, name="corrections")
    again = outcomes(lake, ask(), now=LATER + HOUR)
    assert difference(again).changed == 0
    assert publish(lake, again, stream) == 0


def test_dry_run_publishes_nothing_and_its_findings_are_applied_later() -> None:
    lake, stream = FakeLake(), FakeStream()
    lake.deliver([verdict("robot", score=0.75, decision=Decision.VALID, reasons=(), billable=True)])
    first = outcomes(lake, ask())
    assert not stream.taken
    second = outcomes(lake, ask(), now=LATER + HOUR)
    assert [one.reused for one in second] == [True]
    assert [one.found for one in second] == [one.found for one in first]
    assert publish(lake, second, stream) == 1
    assert stream.taken[0].decided_at == LATER  # of the dry run: the same bytes whoever applies


def test_goes_on_where_it_was_interrupted_while_deciding() -> None:
    lake = FakeLake()
    lake.deliver([verdict(f"c-{hour}", at=NOON + hour * HOUR) for hour in range(4)])
    asked = ask(end=NOON + 4 * HOUR)
    interrupted = replay(asked, lake, now=LATER)
    next(interrupted), next(interrupted)
    interrupted.close()
    assert [one.reused for one in outcomes(lake, asked)] == [True, True, False, False]


def test_an_hour_without_clicks_was_not_found_before() -> None:
    lake = FakeLake()
    lake.deliver([verdict("a")])
    asked = ask(end=NOON + 3 * HOUR)
    assert [one.reused for one in outcomes(lake, asked)] == [False, False, False]
    assert [one.reused for one in outcomes(lake, asked)] == [True, False, False]


def test_goes_on_where_it_was_interrupted_while_publishing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions.replay.apply_step.BATCH", 3)
    lake, stream = FakeLake(), FakeStream(room=7)
    lake.deliver([verdict(f"c-{n}", score=0.75, decision=Decision.VALID, reasons=()) for n in range(10)])
    came = outcomes(lake, ask())
    with pytest.raises(PublishFailed):
        publish(lake, came, stream)
    assert (len(stream.taken), lake.verdicts_published()) == (6, 6)
    stream.room = 100
    assert publish(lake, outcomes(lake, ask()), stream) == 4
    assert [one.click_id for one in stream.taken] == [f"c-{n}" for n in range(10)]
    assert publish(lake, came, stream) == 0


def test_publishing_killed_between_stream_and_marker_repeats_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    lake, stream = FakeLake(), FakeStream()
    lake.deliver([verdict("robot", score=0.75, decision=Decision.VALID, reasons=())])
    came = outcomes(lake, ask())
    with monkeypatch.context() as killed:
        killed.setattr(lake, "write", lambda *_a, **_k: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            publish(lake, came, stream)
    publish(lake, outcomes(lake, ask()), stream)
    assert len(stream.taken) == 2
    assert stream.taken[0] == stream.taken[1]
    assert len(Ledger[Verdict](stream.taken)) == 1


def test_a_lake_that_has_more_by_now_is_replayed_anew() -> None:
    lake = FakeLake()
    lake.deliver([verdict("a")])
    outcomes(lake, ask())
    lake.deliver([verdict("b")], name="late")
    (again,) = outcomes(lake, ask())
    assert (again.reused, again.found.difference.clicks) == (False, 2)


def test_goes_back_to_the_first_release_after_a_replay_with_another() -> None:
    lake, stream = FakeLake(), FakeStream()
    lake.deliver([verdict("mild", score=0.25)])
    publish(lake, outcomes(lake, ask(judge=judge(thresholds=Thresholds(default=0.2)))), stream)
    publish(lake, outcomes(lake, ask(), now=LATER + HOUR), stream)
    assert [one.decision for one in stream.taken] == [Decision.INVALID, Decision.VALID]
    assert next(iter(Ledger[Verdict](stream.taken))).decision is Decision.VALID


def test_leaves_clicks_without_features_as_they_are() -> None:
    lake = FakeLake()
    lake.deliver([verdict("lost", score=None), verdict("known"), verdict("older", feature_spec="another")])
    found = difference(outcomes(lake, ask()))
    assert (found.clicks, found.same, found.without_features, found.changed) == (3, 1, 2, 0)


def test_decides_again_only_what_is_asked_for() -> None:
    lake = FakeLake()
    waiting = {"decision": Decision.UNDECIDED, "reasons": (Reason.SCORING_UNAVAILABLE,), "score": None}
    known = {**waiting, "features": features(0.75)}
    lake.deliver([verdict("waiting", **known), verdict("bad", release_id="r-bad"), verdict("good")])
    assert difference(outcomes(lake, ask(wanted=Wanted(undecided=True)))).clicks == 1
    assert difference(outcomes(lake, ask(wanted=Wanted(decided_by="r-bad")))).clicks == 1


def test_undecided_clicks_are_decided_by_what_was_logged_or_else_counted() -> None:
    lake = FakeLake()
    waiting = {"decision": Decision.UNDECIDED, "reasons": (Reason.SCORING_UNAVAILABLE,), "score": None}
    lake.deliver([verdict("logged", **waiting, features=features(0.75)), verdict("counted", score=None)])
    lake.deliver([archived(name) for name in ("logged", "counted")])
    found = difference(outcomes(lake, ask(wanted=Wanted(undecided=True), recompute=True)))
    assert (found.clicks, found.changed) == (2, 2)
    assert {one.click_id: one.decision for one in kept_corrections(lake)} == {
        "logged": Decision.INVALID, "counted": Decision.VALID,
    }  # fmt: skip


def test_counts_anew_with_the_day_before_as_warm_up() -> None:
    lake = FakeLake()
    burst = [archived(f"c-{n:03d}", at=NOON + n * dt.timedelta(milliseconds=10)) for n in range(60)]
    before = [archived(f"b-{n}", at=NOON - dt.timedelta(seconds=1)) for n in range(10)]  # of the hour before
    lake.deliver([*before, *burst])
    lake.deliver([verdict(click.click_id, at=click.at, score=0.1) for click in burst])
    outcomes(lake, ask(recompute=True))
    corrected = [one.click_id for one in kept_corrections(lake)]
    # a score is a hundredth of the user's clicks in ten seconds: the 51st click has seen fifty, ten of them before noon
    assert corrected == [f"c-{n:03d}" for n in range(40, 60)]
    assert all(one.features is not None for one in kept_corrections(lake))


def test_counting_anew_gives_the_same_in_one_go_and_after_an_interruption() -> None:
    clicks = [archived(f"c-{n:03d}", at=NOON + n * dt.timedelta(minutes=7)) for n in range(40)]
    asked = ask(end=NOON + 6 * HOUR, recompute=True, judge=judge(thresholds=Thresholds(default=0.001)))
    kept = []
    for stop_after in (None, 2):
        lake = FakeLake()
        lake.deliver(clicks)
        lake.deliver([verdict(click.click_id, at=click.at) for click in clicks])
        if stop_after:
            begun = replay(asked, lake, now=LATER)
            for _ in range(stop_after):
                next(begun)
            begun.close()
        outcomes(lake, asked)
        kept.append({key: body for key, body in lake.objects.items() if key.startswith("replays/")})
    assert kept[0] == kept[1]


def test_decides_clicks_that_the_ledger_never_saw() -> None:
    lake = FakeLake()
    lake.deliver([archived("seen"), archived("lost", user="eve")])
    lake.deliver([verdict("seen", score=0.0)])
    found = difference(outcomes(lake, ask(recompute=True)))
    assert [(change.before, change.after, change.clicks) for change in found.changes] == [(NEVER, Decision.VALID, 1)]
    (correction,) = kept_corrections(lake)
    assert (correction.click_id, correction.mode) == ("lost", Mode.OBSERVE)
    assert correction.slice == "device=mobile|logged_in=false"


def test_names_slices_from_the_archive_where_the_release_has_others() -> None:
    lake = FakeLake()
    lake.deliver([verdict("a")])
    lake.deliver([archived("a", placement="top")])
    other = judge(slices=SliceMap(("placement",)), thresholds=Thresholds(default=0.5, by_slice={"placement=top": 0.2}))
    outcomes(lake, ask(judge=other))
    assert [one.slice for one in kept_corrections(lake)] == ["placement=top"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"end": NOON}, "must end after it begins"),
        ({"start": NOON + dt.timedelta(minutes=5)}, "whole hours"),
        ({"start": NOON.replace(tzinfo=None)}, "time zone"),
    ],
)
def test_refuses_an_interval_that_is_none(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ReplayRefused, match=told):
        ask(**changes)


def test_reads_verdicts_whose_reasons_the_delivery_wrote_as_null(monkeypatch: pytest.MonkeyPatch) -> None:
    lake = FakeLake()
    plain = replay_world._row
    monkeypatch.setattr(replay_world, "_row", lambda record: {**plain(record), "reasons": None})
    lake.deliver([verdict("a"), verdict("b", score=0.75, decision=Decision.VALID)])
    found = difference(outcomes(lake, ask()))
    assert (found.same, found.changed) == (1, 1)


def test_an_interval_without_a_click_changes_nothing() -> None:
    assert difference(outcomes(FakeLake(), ask(end=NOON + 3 * HOUR))).clicks == 0
