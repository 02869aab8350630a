"""What an operator does to the pointer and the policy, by the command line, against AWS in process."""

from __future__ import annotations

import io
import json
import re
import tarfile
from typing import Any
from unittest.mock import Mock

import pytest
from typer.testing import CliRunner

import local.rollout
from functions.adapters.serving_state import AuditLog, PointerStore, PolicyStore
from local.audited import by_operator
from local.cli import app
from local.promotion import promote
from local.rollout import Rollout, apply
from local.session import Outputs, Session
from slidr.errors import PromotionOutdated, ReleaseConflict
from slidr.pointer import Pointer, frozen
from slidr.policy import Policy
from slidr.verdict import Mode

pytestmark = pytest.mark.aws
REGION = "us-east-1"
BUCKET = "the-releases"
EVIDENCE = {
    "hyperparameters": {"fpr_budget": 0.01},
    "calibration_fpr": {"count": 1, "total": 200},
    "later_ivr": {"count": 5, "total": 100},
    "calibration": {"certificate": {"says": "needs 299, has 120"}},
}


@pytest.fixture
def stage(aws: Any, control: Any, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A stage whose endpoint holds r-1, the champion and stable release, and r-2, the challenger."""
    for name, value in (("AWS_ACCESS_KEY_ID", "testing"), ("AWS_SECRET_ACCESS_KEY", "testing"), ("COLUMNS", "200")):
        monkeypatch.setenv(name, value)
    outputs = Mock(Outputs, control_table="control", release_bucket=BUCKET, endpoint_name="slidr-dev")
    monkeypatch.setattr(Session, "outputs", outputs)
    session = Session(stage="dev", region=REGION)
    s3 = session.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    for release in ("r-1", "r-2"):
        s3.put_object(Bucket=BUCKET, Key=f"releases/{release}/release.json", Body=b"{}")
    s3.put_object(Bucket=BUCKET, Key="releases/r-2/evidence.json", Body=json.dumps(EVIDENCE).encode())
    serve(session, "r-1", "r-2")
    pointer = Pointer(champion="r-1", stable="r-1", challenger="r-2")
    PointerStore(control, "control").change(Pointer(), pointer, by_operator(session, "set up"))
    return session


def serve(session: Session, *releases: str) -> None:
    """Have the endpoint hold these releases."""
    archive, name = io.BytesIO(), "-".join(("holds", *releases))
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for release in releases:
            tar.addfile(tarfile.TarInfo(f"releases/{release}/release.json"))
    session.client("s3").put_object(Bucket=BUCKET, Key=f"artifacts/{name}", Body=archive.getvalue())
    sagemaker, endpoint = session.client("sagemaker"), session.outputs.endpoint_name
    container = {"Image": "image:1", "ModelDataUrl": f"s3://{BUCKET}/artifacts/{name}"}
    sagemaker.create_model(
        ModelName=name, PrimaryContainer=container, ExecutionRoleArn="arn:aws:iam::123456789012:role/serving"
    )
    variant = {"VariantName": "All", "ModelName": name, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    if sagemaker.list_endpoints()["Endpoints"]:
        sagemaker.delete_endpoint(EndpointName=endpoint)
    sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=name)


def run(*words: str, answer: str | None = None) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*words, "--stage", "dev", "--region", REGION], input=answer)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result.exit_code, re.sub(r"\s+", " ", result.output)


def pointer_of(session: Session) -> Pointer:
    return PointerStore(session.client("dynamodb"), "control").read()


def policy_of(session: Session) -> Policy:
    return PolicyStore(session.client("dynamodb"), "control").read()


def test_promotes_the_challenger_when_the_operator_agrees_and_only_once(stage: Session) -> None:
    assert run("promote", "r-2", "--why", "a good day", answer="n\n")[0] == 1
    assert pointer_of(stage).champion == "r-1"

    code, text = run("promote", "r-2", "--why", "a good day", answer="y\n")

    assert (code, "champion r-1 -> r-2" in text) == (0, True)
    assert pointer_of(stage) == Pointer(champion="r-2", stable="r-1", generation=2)
    code, text = run("promote", "r-2", "--why", "again", "--yes")
    assert (code, "PromotionOutdated" in text) == (1, True)
    assert pointer_of(stage).generation == 2


def test_does_not_promote_what_the_endpoint_does_not_hold(stage: Session) -> None:
    serve(stage, "r-1")

    code, text = run("promote", "r-2", "--why", "a good day", "--yes")

    assert (code, "must hold r-2, it holds r-1" in text) == (1, True)
    assert pointer_of(stage).champion == "r-1"


def test_does_not_promote_while_the_endpoint_is_being_changed(stage: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage.client("sagemaker"), "describe_endpoint", lambda **_: {"EndpointStatus": "Updating"})

    with pytest.raises(local.promotion.ReleaseNotLoaded, match="it is Updating"):
        promote(stage, "r-2", over="r-1", why="a good day")

    assert pointer_of(stage).champion == "r-1"


def test_does_not_promote_over_a_champion_that_was_not_shown(stage: Session) -> None:
    with pytest.raises(PromotionOutdated, match="challenger of the champion r-0"):
        promote(stage, "r-2", over="r-0", why="a good day")


def test_freezes_without_asking_and_holds_promotion_until_unfrozen(stage: Session) -> None:
    assert run("freeze", "--why", "sale weekend")[0] == 0
    assert "Frozen already" in run("freeze", "--why", "again")[1]

    code, text = run("promote", "r-2", "--why", "a good day", "--yes")
    assert (code, "PromotionFrozen" in text) == (1, True)
    assert "sale weekend" in run("releases")[1]

    assert run("unfreeze", "--why", "it is over", answer="n\n")[0] == 1
    assert pointer_of(stage).frozen
    assert run("unfreeze", "--why", "it is over", "--yes")[0] == 0
    assert not pointer_of(stage).frozen
    assert "Nothing to do" in run("unfreeze", "--why", "again")[1]


def test_lists_releases_with_what_they_measured_and_their_roles(stage: Session) -> None:
    run("promote", "r-2", "--why", "a good day", "--yes")

    _, text = run("releases")

    assert all(figure in text for figure in ("0.50% (1.00%)", "5.00%", "needs 299", "champion", "stable"))
    assert text.count(" now ") == 1  # one is in force


def test_shows_every_change_of_pointer_and_policy_in_order(stage: Session) -> None:
    run("freeze", "--why", "a sale")
    run("mode", "enforce", "de/acme", "--why", "[seen]", "--yes")
    run("unfreeze", "--why", "sale over", "--yes")

    code, text = run("releases", "--history")

    assert code == 0, text
    told = [text.find(words) for words in ("a sale", "mode of de/acme", "frozen: yes")]
    assert -1 not in told, text
    assert told == sorted(told)
    assert "[seen]" in text  # as it was typed, no markup
    assert "2 earlier ones" in run("releases", "--history", "--last", "2")[1]


def test_sets_modes_and_shows_them(stage: Session) -> None:
    run("mode", "enforce", "default", "--why", "go", "--yes")
    run("mode", "observe", "*/acme", "--why", "go", "--yes")
    assert policy_of(stage) == Policy(default=Mode.ENFORCE, modes={"*/acme": Mode.OBSERVE}, generation=2)
    assert "*/acme observe" in run("mode")[1]

    run("mode", "unset", "*/acme", "--why", "as the others", "--yes")

    assert policy_of(stage).modes == {}


def test_switches_the_kill_switch_and_lists_who_is_always_valid(stage: Session) -> None:
    words = ("--allow-network", "192.0.2.7", "--allow-advertiser", "house", "--kill-switch", "on", "--why", "now")
    assert run("mode", *words, answer="n\n")[0] == 1
    assert policy_of(stage) == Policy()
    run("mode", *words, answer="y\n")
    policy = policy_of(stage)
    assert (policy.kill_switch, policy.generation) == (True, 1)  # one change
    assert (policy.allowed_networks, policy.allowed_advertisers) == (("192.0.2.7/32",), ("house",))

    run("mode", "--disallow-network", "192.0.2.7", "--why", "done", "--yes")

    assert policy_of(stage).allowed_networks == ()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("enforce", "--why", "w"), 2, "say of what"),
        (("enforce", "de"), 2, "say why"),
        (("enforce", "de/", "--why", "w"), 1, "came 'de/'"),
        (("--allow-network", "everyone", "--why", "w"), 1, "came 'everyone'"),
        (("--disallow-advertiser", "nobody", "--why", "w"), 1, "came nobody"),
        (("observe", "default", "--why", "w"), 0, "Nothing to do"),
    ],
)
def test_changes_no_mode_where_it_is_not_clear_what_or_why(
    stage: Session, words: tuple[str, ...], code: int, says: str
) -> None:
    came, text = run("mode", *words)
    assert (came, says in text) == (code, True), text
    assert policy_of(stage) == Policy()


def test_a_deployment_touches_no_endpoint_where_the_pointer_moved_while_it_packed(
    stage: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = pointer_of(stage)
    PointerStore(stage.client("dynamodb"), "control").apply(frozen, by_operator(stage, "stop"))
    monkeypatch.setattr(local.rollout, "_uploaded_artifact", lambda *_: "artifacts/a-1/model.tar.gz")
    rolled_out = Mock()
    monkeypatch.setattr(local.rollout, "roll_out", rolled_out)

    with pytest.raises(ReleaseConflict, match="Nothing was touched"):
        apply(stage, Rollout(release_id="r-2", before=before, after=before), why="late")

    rolled_out.assert_not_called()


def test_a_deployment_that_another_overtook_says_what_the_endpoint_lacks(
    stage: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, before = PointerStore(stage.client("dynamodb"), "control"), pointer_of(stage)

    def overtaken(*_: Any, **__: Any) -> None:
        store.change(before, Pointer(champion="r-9"), by_operator(stage, "another deployment"))

    monkeypatch.setattr(local.rollout, "_uploaded_artifact", lambda *_: "artifacts/a-1/model.tar.gz")
    monkeypatch.setattr(local.rollout, "roll_out", overtaken)

    with pytest.raises(ReleaseConflict, match="slidr deploy r-9"):
        apply(stage, Rollout(release_id="r-2", before=before, after=Pointer(champion="r-2")), why="slow")

    assert pointer_of(stage).champion == "r-9"
    assert len(AuditLog(stage.client("dynamodb"), "control").entries()) == 2
