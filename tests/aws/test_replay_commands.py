"""`slidr replay`, `explain` and `billing` over a lake in moto, with a real network."""

from __future__ import annotations

import csv
import datetime as dt
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from functions.adapters.lake import Lake
from functions.adapters.serving_state import Change, PointerStore
from local.session import Session
from slidr.features import FEATURE_COUNT, SPEC_HASH
from slidr.hours import HOUR
from slidr.pointer import promoted
from slidr.release import EVIDENCE_FILE, RELEASE_FILE, WEIGHTS_FILE, Release
from slidr.slices import SliceMap, Thresholds
from slidr.verdict import Decision, Mode, Reason, Verdict
from tests.aws.test_command_line import OUTPUTS, credentials, records_of, run, stage
from tests.replay_world import NOON, FakeLake, archived, verdict
from training.artifact import LoadedRelease, read_release, weights_sha256, write_release
from training.billing import close_hours
from training.mlp_weights import save_weights, standardisation
from training.model import Mlp
from training.scoring import open_scorer

pytestmark = pytest.mark.aws
__all__ = ["credentials", "stage"]
INTERVAL = ("--from", "2026-11-23T12:00Z", "--to", "2026-11-23T13:00Z")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> LoadedRelease:
    """A network with weights of no meaning and a threshold in the middle of its scores."""
    rows = np.random.default_rng(5).gamma(0.3, 50.0, size=(500, FEATURE_COUNT)).astype(np.float32)
    weights = Mlp(*standardisation(rows), seed=1).to_weights()
    middle = float(np.median(open_scorer(weights, "cpu").score(rows)))
    payload = save_weights(weights)
    bundle = Release(
        weights_sha256=weights_sha256(payload),
        feature_spec=SPEC_HASH,
        slices=SliceMap(),
        thresholds=Thresholds(default=middle),
        lists={},
        expected_ivr=(0.1,) * 168,
    )
    folder = tmp_path_factory.mktemp("release")
    name = write_release(folder, release=bundle, weights=payload, evidence={})
    return read_release(folder / "releases" / name)


def rows_of(count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(9).gamma(0.3, 50.0, size=(count, FEATURE_COUNT)).astype(np.float32)


@pytest.fixture
def lake(stage: Session, release: LoadedRelease, tmp_path: Path, control: Any) -> Lake:
    """Forty clicks whose verdicts all say INVALID, scored by the release, and the release in force."""
    s3 = stage.client("s3")
    s3.create_bucket(Bucket=OUTPUTS.lake_bucket)
    name = write_release(tmp_path, release=release.release, weights=save_weights(release.weights), evidence={})
    for file in (RELEASE_FILE, WEIGHTS_FILE, EVIDENCE_FILE):
        body = (tmp_path / "releases" / name / file).read_bytes()
        s3.put_object(Bucket=OUTPUTS.release_bucket, Key=f"releases/{name}/{file}", Body=body)
    change = Change(who="test", why="test", at=NOON)
    PointerStore(control, OUTPUTS.control_table).apply(lambda pointer: promoted(pointer, name), change)
    made = FakeLake()
    made.deliver([*decided(release), *(archived(f"c-{n}") for n in range(40))])
    for key, body in made.objects.items():
        s3.put_object(Bucket=OUTPUTS.lake_bucket, Key=key, Body=body)
    return Lake(s3, OUTPUTS.lake_bucket)


def decided(release: LoadedRelease) -> list[Verdict]:
    rows = rows_of(40)
    scores = open_scorer(release.weights, "cpu").score(rows)
    return [
        verdict(
            f"c-{n}", score=float(scores[n]), decision=Decision.INVALID, reasons=(Reason.ROBOTIC_BEHAVIOUR,),
            billable=False, features=tuple(rows[n].tolist()), release_id=release.id,
            advertiser="acme" if n % 2 else "house",
        )
        for n in range(40)
    ]  # fmt: skip


def corrections_of(stage: Session) -> list[Verdict]:
    return [msgspec.json.decode(data, type=Verdict) for data in records_of(stage, OUTPUTS.verdict_stream)]


def wrong(release: LoadedRelease) -> set[str]:
    """The clicks that the release finds VALID."""
    scores = open_scorer(release.weights, "cpu").score(rows_of(40))
    return {f"c-{n}" for n in range(40) if scores[n] < np.float32(release.release.thresholds.default)}


def test_replay_shows_the_difference_and_publishes_nothing(stage: Session, lake: Lake, release: LoadedRelease) -> None:
    code, text = run("replay", *INTERVAL)
    assert code == 0
    assert f"{len(wrong(release)):,}" in text
    assert "INVALID -> VALID" in text
    assert "Nothing was published" in text
    assert not corrections_of(stage)


def test_replay_applies_once_however_often_it_runs(stage: Session, lake: Lake, release: LoadedRelease) -> None:
    assert 0 < len(wrong(release)) < 40
    for _ in range(2):
        code, _ = run("replay", *INTERVAL, "--apply", "--yes", "--why", "INC-1")
        assert code == 0
    corrected = corrections_of(stage)
    assert {one.click_id for one in corrected} == wrong(release)
    assert len(corrected) == len(wrong(release))
    assert all(one.kind == "correction" and one.billable for one in corrected)


def test_replay_asks_before_it_publishes(stage: Session, lake: Lake) -> None:
    code, _ = run("replay", *INTERVAL, "--apply")
    assert code == 1  # nobody answered
    assert not corrections_of(stage)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--from", "yesterday", "--to", "2026-11-23T13:00Z"), "--from takes a whole hour"),
        (("--from", "2026-11-23T12:30Z", "--to", "2026-11-23T13:00Z"), "--from takes a whole hour"),
        (("--from", "2026-11-23T12:00Z", "--to", "2026-11-23T11:00Z"), "must end after it begins"),
        ((*INTERVAL, "--release", "stable"), "names no stable release"),
        ((*INTERVAL, "--release", "r-unknown"), "there is no such object"),
    ],
)
def test_replay_says_what_is_wrong(stage: Session, lake: Lake, words: tuple[str, ...], told: str) -> None:
    code, text = run("replay", *words)
    assert code != 0
    assert told in " ".join(text.split())


def test_explain_gives_the_score_again_and_what_moved_it(stage: Session, lake: Lake) -> None:
    code, text = run("explain", "c-7")
    assert code == 0, text
    assert "the same, to the bit" in text
    assert "robotic_behaviour" in text
    assert "moved the logit by" in text


def test_explain_tells_of_corrections(stage: Session, lake: Lake, release: LoadedRelease) -> None:
    run("replay", *INTERVAL, "--apply", "--yes")
    click = min(wrong(release))
    code, text = run("explain", click, "--at", "2026-11-23T12:00Z", "--features", "3")
    assert code == 0, text
    assert "correction" in text
    assert "VALID, enforce mode: billed" in text


def test_explain_fails_where_the_score_does_not_come_out_the_same(
    stage: Session, lake: Lake, release: LoadedRelease
) -> None:
    forged = msgspec.structs.replace(decided(release)[0], click_id="forged", score=0.123)
    made = FakeLake()
    made.deliver([forged], name="forged")
    for key, body in made.objects.items():
        lake.write(key, body)
    code, text = run("explain", "forged")
    assert code == 1
    assert "NOT THE SAME" in text


@pytest.mark.parametrize("at", [(), ("--at", "2026-11-23T12:00Z")])
def test_explain_says_where_it_looked_for_an_unknown_click(stage: Session, lake: Lake, at: tuple[str, ...]) -> None:
    code, text = run("explain", "nobody", *at)
    assert code == 1
    assert "ClickUnknown" in text


def test_billing_follows_corrections_and_says_what_changed_in_final_hours(
    stage: Session, lake: Lake, release: LoadedRelease, tmp_path: Path
) -> None:
    closed = close_hours(lake, now=NOON + 50 * HOUR, since=NOON)
    assert closed == 2
    run("replay", *INTERVAL, "--apply", "--yes")
    code, text = run("billing", *INTERVAL, "--export", str(tmp_path / "bill.csv"))
    assert code == 0
    assert "final until" in text
    assert "2026-11-23 14:00 UTC" in text
    assert "adjustment 2026-11-23 12:00" in text
    rows = list(csv.DictReader((tmp_path / "bill.csv").read_text().splitlines()))
    assert {row["advertiser"] for row in rows} == {"acme", "house"}
    assert sum(int(row["billed"]) for row in rows) == len(wrong(release))
    assert sum(int(row["net_micros"]) for row in rows) == 250_000 * len(wrong(release))
    assert sum(int(row["clicks"]) for row in rows) == 40


def test_billing_shows_the_largest_and_the_sum_of_all(stage: Session, lake: Lake) -> None:
    made = FakeLake()
    at = NOON + dt.timedelta(hours=5)
    made.deliver([verdict(f"m-{n}", at=at, score=0.1, advertiser=f"shop-{n % 50}") for n in range(120)])
    for key, body in made.objects.items():
        lake.write(key, body)
    code, text = run("billing", "--from", "2026-11-23T17:00Z", "--to", "2026-11-23T18:00Z")
    assert code == 0
    shown = [line.split() for line in text.splitlines() if "shop-" in line]
    assert [int(row[1]) for row in shown] == [3] * 20 + [2] * 20
    assert "and 10 more" in text
    (total,) = [line.split() for line in text.splitlines() if line.split()[:1] == ["all"]]
    assert total[1] == "120"
    assert total[-2] == "30.00"


@pytest.mark.parametrize("command", ["replay", "billing"])
def test_an_interval_without_clicks_is_told_where_the_clicks_are(stage: Session, lake: Lake, command: str) -> None:
    code, text = run(command, "--from", "2026-11-24T00:00Z", "--to", "2026-11-24T02:00Z")
    assert code == 0
    assert "no click of these hours" in text
    assert "from 2026-11-23T12:00Z to 2026-11-23T13:00Z" in text
    for key in lake.keys("verdicts/"):
        lake.delete(key)
    _, text = run(command, *INTERVAL)
    assert "no click yet" in text


def test_billing_must_end_after_it_begins(stage: Session, lake: Lake) -> None:
    code, text = run("billing", "--from", "2026-11-24T02:00Z", "--to", "2026-11-24T00:00Z")
    assert code == 2
    assert "--to must be after --from" in text


def test_an_hour_is_closed_once(stage: Session, lake: Lake) -> None:
    assert close_hours(lake, now=NOON + 50 * HOUR, since=NOON) == 2
    before = {key: lake.read(key) for key in lake.keys("billing/final/")}
    run("replay", *INTERVAL, "--apply", "--yes")
    assert close_hours(lake, now=NOON + 50 * HOUR, since=NOON) == 0
    assert {key: lake.read(key) for key in lake.keys("billing/final/")} == before
    assert close_hours(lake, now=NOON + 51 * HOUR, since=NOON) == 1


def test_observe_mode_is_billed_whatever_the_verdict(stage: Session, lake: Lake) -> None:
    made = FakeLake()
    at = NOON + dt.timedelta(hours=5)
    made.deliver([verdict("seen", at=at, score=0.9, mode=Mode.OBSERVE)])
    for key, body in made.objects.items():
        lake.write(key, body)
    code, text = run("billing", "--from", "2026-11-23T17:00Z", "--to", "2026-11-23T18:00Z", "--by", "hour")
    assert code == 0
    assert "2026-11-23 17:00" in text
    assert "0.25" in text
