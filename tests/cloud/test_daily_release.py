"""Days of the loop on the deployed stacks: the real state machine, its functions, jobs and endpoint.

One cloud serves all of these tests; days follow one another by the fixtures that they ask for, in any order of tests.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest

from functions.adapters.serving_state import AuditLog, PointerStore
from local.cloud.deployment import REPOSITORY
from local.cloud.lifecycle import stop
from local.cloud.s3_uri import split_uri
from local.commands.cloud import bring_up
from local.console import Steps
from local.daily_run import DailyRun, run_ended, start_run
from local.sagemaker_sdk import registered_releases
from local.session import STATE_VARIABLE, Session
from local.sources.simulated import FIRST_DAY
from slidr.guardrails import decode_results
from slidr.pointer import Pointer

from .journey import slidr

DAYS, CLICKS_PER_DAY = 11, 8_000
FIRST, SECOND, BROKEN = 7, 8, 9
"""Days of the simulation: a week lies before the first, which is what guardrails compare with."""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A cloud without a release, with simulated days in its lake."""
    if not (REPOSITORY / "node_modules" / ".bin" / "cdk").exists():
        pytest.skip("node_modules/.bin/cdk is required to deploy the stacks: run npm ci")
    state = tmp_path_factory.mktemp("loop") / ".slidr"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(STATE_VARIABLE, str(state))
        try:
            bring_up(Steps())
            code, said = slidr("backfill", "--simulate", str(DAYS), "--clicks-per-day", str(CLICKS_PER_DAY))
            assert code == 0, said
            yield Session()
        finally:
            stop(state)


def date_of(day: int) -> str:
    return f"{FIRST_DAY + dt.timedelta(days=day):%Y-%m-%d}"


def pointer_of(session: Session) -> Pointer:
    return PointerStore(session.client("dynamodb"), session.outputs.control_table).read()


@pytest.fixture(scope="module")
def first(session: Session) -> tuple[str, str]:
    """The first day's release, and what the command said."""
    code, said = slidr("train-day", "--day", date_of(FIRST), "--yes", "--why", "the first")
    assert code == 0, said
    return pointer_of(session).champion or "", said


@pytest.fixture(scope="module")
def second(session: Session, first: tuple[str, str]) -> tuple[DailyRun, DailyRun]:
    """The second day's run, and one that was started while it was under way."""
    execution = start_run(session, {"day": date_of(SECOND), "why": "the second"})
    meanwhile = run_ended(session, start_run(session, {"day": date_of(SECOND)}), within_s=240)
    return run_ended(session, execution, within_s=280), meanwhile


def test_the_first_day_puts_a_release_in_force(session: Session, first: tuple[str, str]) -> None:
    champion, said = first
    assert f"Promoted: {champion} is in force" in said
    entry, *_ = AuditLog(session.client("dynamodb"), session.outputs.control_table).entries()
    assert (entry.why, entry.who.startswith("daily-loop day-")) == ("the first", True)
    s3, outputs = session.client("s3"), session.outputs
    kept = s3.get_object(Bucket=outputs.release_bucket, Key=f"releases/{champion}/guardrails.json")["Body"].read()
    assert {"clicks_in_day", "auc"} <= {result.name for result in decode_results(kept)}
    registered = registered_releases(session, last=5)[-1]
    assert (registered.release_id, registered.version, registered.approval) == (champion, 1, "Approved")
    assert {"ivr", "fpr", "auc", "run"} <= set(registered.measured)
    assert session.client("dynamodb").scan(TableName=outputs.profile_table, Limit=1)["Items"]


def test_the_same_day_again_is_stopped_and_says_why(session: Session, first: tuple[str, str]) -> None:
    before = pointer_of(session)
    code, said = slidr("train-day", "--day", date_of(FIRST), "--yes")
    assert code == 1
    assert "Stopped: AlreadyReleased" in said
    assert pointer_of(session) == before


def test_a_challenger_takes_over_after_its_time_in_shadow_and_a_second_run_meanwhile_is_stopped(
    session: Session, first: tuple[str, str], second: tuple[DailyRun, DailyRun]
) -> None:
    run, meanwhile = second
    assert (meanwhile.outcome, meanwhile.why.partition(":")[0]) == ("stopped", "RunInProgress")
    assert run.outcome == "promoted", run.why
    after = pointer_of(session)
    assert (after.champion, after.challenger) == (run.release, None)
    assert run.release != first[0]
    changes = AuditLog(session.client("dynamodb"), session.outputs.control_table).entries()
    assert [entry.after.challenger for entry in changes if isinstance(entry.after, Pointer)] == [
        None, run.release, None,
    ]  # fmt: skip
    bucket, key = split_uri(run.page)
    page = session.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    for said in (run.release, "Verdict churn", "Thresholds", "logistic regression", "<svg", "BuildDataset"):
        assert said in page


@pytest.mark.usefixtures("second")
def test_a_day_that_lost_its_purchases_is_stopped_and_the_champion_serves_on(session: Session) -> None:
    before = pointer_of(session)
    s3, bucket = session.client("s3"), session.outputs.lake_bucket
    for item in s3.list_objects_v2(Bucket=bucket, Prefix=f"purchases/date={date_of(BROKEN)}/")["Contents"]:
        s3.delete_object(Bucket=bucket, Key=item["Key"])
    code, said = slidr("train-day", "--day", date_of(BROKEN), "--yes")
    assert code == 1
    assert "Stopped: GuardrailsStopped: purchases_in_day" in said
    assert pointer_of(session) == before
