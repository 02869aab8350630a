"""The endpoint adapter: what it sends, what it accepts, when it stops asking."""

from __future__ import annotations

import io
import time
from typing import Any

import boto3
import numpy as np
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from botocore.response import StreamingBody
from botocore.stub import Stubber
from pybreaker import CircuitBreaker

from functions.adapters.endpoint import Endpoint, endpoint_config
from slidr.errors import ScoringUnavailable
from slidr.features import FEATURE_COUNT, SPEC_HASH

RESET_S = 0.05
MATRIX = np.arange(2 * FEATURE_COUNT, dtype=np.float32).reshape(2, FEATURE_COUNT)


class FakeRuntime:
    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def invoke_endpoint(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        scores, attributes = answer
        body = np.array(scores, dtype="<f4").tobytes() if isinstance(scores, list) else scores
        return {"Body": io.BytesIO(body), "CustomAttributes": attributes}


def endpoint(runtime: Any, *, failures: int = 3) -> Endpoint:
    breaker = CircuitBreaker(fail_max=failures, reset_timeout=RESET_S)
    return Endpoint(runtime, "slidr-test", breaker=breaker)


TIMEOUT = ReadTimeoutError(endpoint_url="https://runtime")
GOOD = ([0.25, 0.75], "release=r-1;shadow=")


def test_sends_little_endian_rows_with_feature_hash_and_release_ids() -> None:
    runtime = FakeRuntime(GOOD)

    endpoint(runtime).score(MATRIX, release_id="r-1", shadows=("r-2", "r-3"))

    (asked,) = runtime.asked
    assert (asked["EndpointName"], asked["ContentType"]) == ("slidr-test", "application/x-slidr-features")
    assert asked["CustomAttributes"] == f"features={SPEC_HASH};release=r-1;shadow=r-2,r-3;rows=2"
    assert np.frombuffer(asked["Body"], dtype="<f4").reshape(2, -1).tolist() == MATRIX.tolist()


def test_sends_rows_in_order_whatever_the_memory_layout() -> None:
    runtime = FakeRuntime(GOOD)

    endpoint(runtime).score(np.asfortranarray(MATRIX), release_id="r-1")

    assert runtime.asked[0]["Body"] == MATRIX.tobytes()


def test_reads_scores_and_the_shadows_that_answered() -> None:
    runtime = FakeRuntime(([0.25, 0.75, 0.5, 1.0], "release=r-0;shadow=r-3"))

    scores = endpoint(runtime).score(MATRIX, release_id="r-1", shadows=("r-2", "r-3"))

    assert scores.release_id == "r-0"
    assert scores.scores.tolist() == [0.25, 0.75]
    assert {name: values.tolist() for name, values in scores.shadows.items()} == {"r-3": [0.5, 1.0]}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.5, 1.5])
def test_value_that_is_no_score_is_none_for_its_row_only(bad: float) -> None:
    scores = endpoint(FakeRuntime(([bad, 0.75], "release=r-1;shadow="))).score(MATRIX, release_id="r-1")

    assert np.isnan(scores.scores).tolist() == [True, False]


@pytest.mark.parametrize(
    "answer",
    [
        ([0.25], "release=r-1;shadow="),
        ([0.25, 0.75], "release=r-1;shadow=r-2"),
        ([0.25, 0.75], ""),
        ([0.25, 0.75], "release=;shadow="),
        (b"", "release=r-1;shadow="),
        (b"12345678901", "release=r-1"),
    ],
)
def test_answer_of_a_wrong_form_is_no_score(answer: Any) -> None:
    with pytest.raises(ScoringUnavailable, match="is required"):
        endpoint(FakeRuntime(answer)).score(MATRIX, release_id="r-1")


@pytest.mark.parametrize(
    "failure",
    [
        TIMEOUT,
        ClientError({"Error": {"Code": "ModelError", "Message": "503 no release"}}, "InvokeEndpoint"),
        ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow"}}, "InvokeEndpoint"),
    ],
)
def test_failed_invocation_is_named(failure: Exception) -> None:
    with pytest.raises(ScoringUnavailable, match="must score 2 rows"):
        endpoint(FakeRuntime(failure)).score(MATRIX, release_id="r-1")


def test_stops_asking_after_failures_in_a_row_and_probes_once() -> None:
    runtime = FakeRuntime(TIMEOUT)
    scoring = endpoint(runtime, failures=3)
    for _ in range(10):
        with pytest.raises(ScoringUnavailable):
            scoring.score(MATRIX, release_id="r-1")
    assert len(runtime.asked) == 3

    time.sleep(RESET_S)
    for _ in range(5):
        with pytest.raises(ScoringUnavailable):
            scoring.score(MATRIX, release_id="r-1")
    assert len(runtime.asked) == 4  # one probe, which failed

    runtime.answers = [GOOD]
    time.sleep(RESET_S)
    for _ in range(5):
        scoring.score(MATRIX, release_id="r-1")
    assert len(runtime.asked) == 9  # the probe was answered: closed again


def test_a_success_between_failures_keeps_the_circuit_closed() -> None:
    runtime = FakeRuntime(TIMEOUT, TIMEOUT, GOOD, TIMEOUT, TIMEOUT, GOOD)
    scoring = endpoint(runtime, failures=3)

    outcomes = []
    for _ in range(6):
        try:
            outcomes.append(scoring.score(MATRIX, release_id="r-1").release_id)
        except ScoringUnavailable:
            outcomes.append("")

    assert outcomes == ["", "", "r-1", "", "", "r-1"]


@pytest.mark.parametrize("matrix", [MATRIX.astype(np.float64), MATRIX[:, 1:], MATRIX[0]])
def test_refuses_to_send_another_shape_or_dtype(matrix: Any) -> None:
    runtime = FakeRuntime(GOOD)

    with pytest.raises(ValueError, match="float32"):
        endpoint(runtime).score(matrix, release_id="r-1")

    assert runtime.asked == []


def test_speaks_the_services_own_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    config = endpoint_config(connect_timeout_ms=100, read_timeout_ms=200, attempts=2)
    client = boto3.session.Session(region_name="us-east-1").client("sagemaker-runtime", config=config)
    body = np.array([0.25, 0.75], dtype="<f4").tobytes()
    with Stubber(client) as stubber:
        stubber.add_response(
            "invoke_endpoint",
            {"Body": StreamingBody(io.BytesIO(body), len(body)), "CustomAttributes": "release=r-1;shadow="},
        )
        scores = endpoint(client).score(MATRIX, release_id="r-1")

    assert scores.scores.tolist() == [0.25, 0.75]
    used: Any = client.meta.config
    assert (used.connect_timeout, used.read_timeout) == (0.1, 0.2)
    assert used.retries["total_max_attempts"] == 2
