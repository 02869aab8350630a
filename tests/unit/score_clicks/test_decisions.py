"""What score_clicks decides when everything works."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any, ClassVar, cast
from unittest.mock import Mock

import msgspec
import numpy as np
import pytest

from functions.observability import Telemetry
from functions.score_clicks.outcome import Outcome, report
from functions.score_clicks.records import read_records
from functions.score_clicks.scoring import score_clicks
from slidr.contract import epoch_ms
from slidr.decision import Evidence, decide
from slidr.features import FEATURE_COUNT, SPEC_HASH
from slidr.slices import SliceMap, Thresholds
from slidr.verdict import Decision, Mode, Reason, Verdict
from tests.scoring_world import ARRIVED_S, World, any_click, any_event, any_release, any_robot


def test_every_valid_record_gets_one_verdict_with_its_click(world: World) -> None:
    outcome = world.score(any_click("a"), any_robot("b"), any_click("c"))

    assert [verdict.click_id for verdict in world.verdicts.kept] == ["a", "b", "c"]
    assert [verdict.decision for verdict in world.verdicts.kept] == [
        Decision.VALID,
        Decision.INVALID,
        Decision.VALID,
    ]
    assert outcome.retry_from is None
    assert outcome.decisions == {Decision.VALID: 2, Decision.INVALID: 1}


def test_verdict_tells_all_that_the_ledger_needs(world: World) -> None:
    verdict = world.decide(any_robot("r", campaign="spring"))

    assert verdict == Verdict(
        click_id="r",
        at=dt.datetime(2026, 11, 23, 11, 59, 58, tzinfo=dt.UTC),
        arrived_at=dt.datetime(2026, 11, 23, 11, 59, 59, tzinfo=dt.UTC),
        decided_at=dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC),
        decision=Decision.INVALID,
        mode=Mode.OBSERVE,
        billable=True,
        reasons=(Reason.ROBOTIC_BEHAVIOUR,),
        score=float(np.float32(0.9)),
        threshold=0.5,
        slice="device=desktop|logged_in=true",
        release_id=world.champion,
        givt=False,
        late=False,
        marketplace="de",
        advertiser="acme",
        campaign="spring",
        cost_micros=250_000,
        currency="EUR",
        feature_spec=SPEC_HASH,
        features=tuple(world.endpoint.asked[0][2][0].tolist()),
    )


def test_verdict_survives_the_wire_exactly(world: World) -> None:
    verdict = world.decide(any_robot())

    read = msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict)

    assert read == verdict
    assert np.float32(read.score) == np.float32(0.9)
    assert np.array(read.features, dtype=np.float32).tobytes() == world.endpoint.asked[0][2][0].tobytes()


def test_verdict_holds_no_person(world: World) -> None:
    verdict = world.decide(any_click(query="shoes", user_agent="Mozilla/5.0 (Ada's phone)"))

    text = msgspec.json.encode(verdict).decode()

    for personal in ("ada", "Ada", "192.0.2.77", "s-1", "shoes", "phone"):
        assert personal not in text


def test_scores_a_whole_batch_in_one_invocation(world: World) -> None:
    world.score(*(any_click(str(i)) for i in range(500)))

    assert len(world.endpoint.asked) == 1
    assert world.endpoint.asked[0][2].shape == (500, FEATURE_COUNT)


def test_scores_and_thresholds_come_from_the_release_that_answered(world: World) -> None:
    stable = world.releases.add(any_release(weights_sha256="11", thresholds=Thresholds(default=0.95)))
    world.endpoint.loaded = stable

    verdict = world.decide(any_robot())

    assert world.endpoint.asked[0][0] == world.champion
    assert (verdict.release_id, verdict.threshold, verdict.decision) == (
        stable,
        float(np.float32(0.95)),
        Decision.VALID,
    )


def test_each_slice_has_its_own_threshold(world: World) -> None:
    by_slice = {"marketplace=de": 0.05}
    release = any_release(
        slices=SliceMap(columns=("marketplace",)), thresholds=Thresholds(default=0.95, by_slice=by_slice)
    )
    world.set_pointer(champion=world.releases.add(release))

    world.score(any_click("de"), any_robot("fr", marketplace="fr"))

    decided = [(v.slice, v.decision) for v in world.verdicts.kept]
    assert decided == [("marketplace=de", Decision.INVALID), ("marketplace=fr", Decision.VALID)]


def test_score_at_its_threshold_is_invalid() -> None:
    nothing = np.zeros(3, dtype=np.bool_)
    decided = decide(
        Evidence(
            scores=np.array([0.5, np.nextafter(np.float32(0.5), np.float32(0)), 0.6], dtype=np.float32),
            thresholds=np.full(3, 0.5, dtype=np.float32),
            doubts=np.zeros(3, dtype=np.uint8),
            crawlers=nothing,
            allowed=nothing,
        )
    )

    assert decided.decisions == [Decision.INVALID, Decision.VALID, Decision.INVALID]


def test_observe_mode_bills_invalid_clicks(world: World) -> None:
    verdict = world.decide(any_robot())

    assert (verdict.decision, verdict.mode, verdict.billable) == (Decision.INVALID, Mode.OBSERVE, True)


def test_enforce_mode_does_not_bill_invalid_clicks(world: World) -> None:
    world.set_policy(modes={"de": Mode.ENFORCE})

    outcome = world.score(any_robot(), any_click(), any_robot("fr", marketplace="fr"))

    assert [(v.mode, v.billable) for v in world.verdicts.kept] == [
        (Mode.ENFORCE, False),
        (Mode.ENFORCE, True),
        (Mode.OBSERVE, True),
    ]
    assert outcome.unbilled == 1


def test_kill_switch_bills_everything(world: World) -> None:
    world.set_policy(default=Mode.ENFORCE, kill_switch=True)

    assert world.decide(any_robot()).billable


def test_allow_listed_click_is_valid_and_still_scored(world: World) -> None:
    world.set_policy(default=Mode.ENFORCE, allowed_networks=("192.0.2.0/24",))

    verdict = world.decide(any_robot(user_agent="Googlebot/2.1"))

    assert (verdict.decision, verdict.reasons) == (Decision.VALID, (Reason.ALLOW_LISTED,))
    assert verdict.score == float(np.float32(0.9))


def test_givt_click_is_invalid_with_list_reason_and_still_scored(world: World) -> None:
    verdict = world.decide(any_click(user_agent="Googlebot/2.1"))

    assert (verdict.decision, verdict.reasons, verdict.givt) == (Decision.INVALID, (Reason.KNOWN_CRAWLER,), True)
    assert verdict.score == float(np.float32(0.1))
    assert world.counters.seen[0].clicks == 1


def test_robotic_givt_click_has_both_reasons(world: World) -> None:
    verdict = world.decide(any_robot(user_agent="Googlebot/2.1"))

    assert verdict.reasons == (Reason.KNOWN_CRAWLER, Reason.ROBOTIC_BEHAVIOUR)


def test_challenger_scores_in_shadow_and_decides_nothing(world: World) -> None:
    world.set_pointer(champion=world.champion, challenger="r-challenger")

    world.score(any_click("a"), any_robot("b"))

    low, high = float(np.float32(0.1)), float(np.float32(0.9))
    assert [v.shadow_scores for v in world.verdicts.kept] == [{"r-challenger": high}, {"r-challenger": low}]
    assert [v.decision for v in world.verdicts.kept] == [Decision.VALID, Decision.INVALID]


def test_redelivered_batch_gives_same_verdicts(world: World) -> None:
    batch = [any_click("a"), b"not json", any_robot("b", user_agent="Googlebot")]
    world.score(*batch)
    world.score(*batch)

    first, again = world.verdicts.kept[:2], world.verdicts.kept[2:]
    assert first == again
    assert world.rejects.kept[0] == world.rejects.kept[1]


def test_profiles_are_asked_for_by_pseudonym_as_of_the_click(world: World) -> None:
    world.score(any_click("a"), any_click("b", user=None, ip=None, user_agent=None))

    ((keys, at_ms),) = world.profiles.asked
    token = world.pseudonymiser.token
    assert (keys.ip, keys.user, keys.ua) == (
        [token("ip", "192.0.2.77"), None],
        [token("user", "ada"), None],
        [token("ua", "Mozilla/5.0"), None],
    )
    assert at_ms == [epoch_ms(world.verdicts.kept[0].at)] * 2


def test_tells_how_long_its_oldest_click_waited(world: World) -> None:
    event = any_event([any_click("old"), any_click("new")])
    event["Records"][0]["kinesis"]["approximateArrivalTimestamp"] = ARRIVED_S - 4.5

    assert score_clicks(read_records(event), world.services()).waited_ms == [5_500, 1_000]


def test_metrics_are_the_outcome() -> None:
    class Metrics:
        added: ClassVar[dict[str, float]] = {}

        def add_metric(self, *, name: str, unit: str, value: float) -> None:
            self.added[name] = value

    outcome = Outcome(
        records=9,
        rejects=Counter(not_json=1),
        retry_from=3,
        decisions=Counter({Decision.VALID: 4, Decision.INVALID: 3, Decision.UNDECIDED: 1}),
        late=2,
        crawlers=5,
        unbilled=6,
        waited_ms=[1_234],
    )
    report(outcome, Telemetry(logger=Mock(), tracer=None, metrics=cast("Any", Metrics()), service="score_clicks"))

    assert Metrics.added == {
        "Records": 9,
        "Rejects": 1,
        "Valid": 4,
        "Invalid": 3,
        "Undecided": 1,
        "KnownCrawlers": 5,
        "LateClicks": 2,
        "Unbilled": 6,
        "ReturnedBatches": 1,
        "ArrivalToVerdict": 1_234,
    }


def test_click_without_user_session_ip_or_agent_is_decided(world: World) -> None:
    bare = {key: any_click()[key] for key in ("click_id", "at", "advertiser", "marketplace")}

    verdict = world.decide(bare)

    assert verdict.decision is Decision.VALID
    assert not world.counters.seen[0].present[0, :5].any()


def test_late_click_says_so(world: World) -> None:
    world.counters.late = True

    assert world.decide(any_click()).late


def test_features_are_finite_whatever_the_click(world: World) -> None:
    world.score(any_click("a", at="2000-01-01T00:00:00Z"), any_click("b", time_zone="Pacific/Apia", ip="::1"))

    assert np.isfinite(world.endpoint.asked[0][2]).all()


def test_expected_invalid_counts_decided_clicks_by_local_hour(world: World) -> None:
    monday_noon = 12
    expected = [0.0] * 168
    expected[monday_noon], expected[monday_noon + 9] = 0.5, 0.125  # Berlin is UTC+1, Tokyo UTC+9
    release = any_release(expected_ivr=tuple(expected))
    world.set_pointer(champion=world.releases.add(release))

    outcome = world.score(
        any_click("utc", at="2026-11-23T12:00:00Z"),
        any_click("tokyo", at="2026-11-23T12:00:00Z", time_zone="Asia/Tokyo"),
        any_click("berlin", at="2026-11-23T12:00:00Z", time_zone="Europe/Berlin"),
    )

    assert sum(tally.expected_invalid for tally in outcome.roles) == 0.625
    assert sum(tally.expected_variance for tally in outcome.roles) == pytest.approx(0.5 * 0.5 + 0.125 * 0.875)
