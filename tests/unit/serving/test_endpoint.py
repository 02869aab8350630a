"""The ASGI application, called directly: routes, answers, refusals, batching and its bounds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slidr.errors import SlidrError
from slidr.features import FEATURE_COUNT, SPEC_HASH
from training.artifact import load_releases
from training.batching import BatchLimits
from training.mlp_weights import Floats
from training.scoring import OnnxScorer, Scorer
from training.serve import Endpoint, ServeSettings, SettingInvalid, open_endpoint

from .conftest import AnyRows, ModelDir

FEATURES_TYPE = "application/x-slidr-features"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def scores(self, rows: int) -> Floats:
        assert self.status == 200, self.body
        return np.frombuffer(self.body, dtype="<f4").reshape(-1, rows)


class CountedScorer:
    """Counts the rows of each call."""

    backend = "counted"

    def __init__(self, inner: Scorer) -> None:
        self.inner = inner
        self.calls: list[int] = []

    def score(self, features: Floats) -> Floats:
        self.calls.append(len(features))
        return self.inner.score(features)


class BrokenScorer:
    backend = "broken"

    def __init__(self, inner: Scorer) -> None:
        self.inner = inner
        self.broken = True

    def score(self, features: Floats) -> Floats:
        if self.broken:
            raise RuntimeError("out of memory")
        return self.inner.score(features)


async def call(endpoint: Endpoint, method: str, path: str, body: list[bytes], headers: dict[str, str]) -> Answer:
    parts = list(body)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    await endpoint(scope, receive, send)
    start, end = sent
    answered = {name.decode(): value.decode() for name, value in start["headers"]}
    assert int(answered["content-length"]) == len(end["body"])
    return Answer(start["status"], answered, end["body"])


def invocation(endpoint: Endpoint, features: Floats, attributes: str = "", **headers: str) -> Awaitable[Answer]:
    sent = {
        "content-type": FEATURES_TYPE,
        "x-amzn-sagemaker-custom-attributes": f"features={SPEC_HASH};{attributes}",
        "content-length": str(features.nbytes),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return call(endpoint, "POST", "/invocations", [features.tobytes()], sent)


def invoke(endpoint: Endpoint, features: Floats, attributes: str = "", **headers: str) -> Answer:
    async def once() -> Answer:
        return await invocation(endpoint, features, attributes, **headers)

    return asyncio.run(once())


def alone(directory: Path, release: str, features: Floats) -> Floats:
    """What the release gives a batch that nobody shares."""
    return OnnxScorer(load_releases(directory).by_id[release].weights).score(features)


def counted(directory: Path, limits: BatchLimits | None = None) -> tuple[Endpoint, dict[str, CountedScorer]]:
    loaded = load_releases(directory)
    scorers = {name: CountedScorer(OnnxScorer(release.weights)) for name, release in loaded.by_id.items()}
    return Endpoint(loaded, scorers, ServeSettings(limits=limits or BatchLimits())), scorers


def test_scores_with_the_champion_and_names_it(model_dir: ModelDir, any_rows: AnyRows) -> None:
    directory, ids = model_dir(1, 2)
    rows = any_rows(9)
    answer = invoke(open_endpoint(directory, ServeSettings()), rows)

    assert answer.headers["content-type"] == "application/x-slidr-scores"
    assert answer.headers["x-amzn-sagemaker-custom-attributes"] == f"release={ids[0]};shadow="
    np.testing.assert_array_equal(answer.scores(9), [alone(directory, ids[0], rows)])


def test_scores_the_chosen_release_and_its_shadows_in_one_call(model_dir: ModelDir, any_rows: AnyRows) -> None:
    directory, ids = model_dir(1, 2, 3)
    rows = any_rows(5)
    asked = f"release={ids[1]};shadow={ids[2]},r-absent,{ids[0]};rows=5"
    answer = invoke(open_endpoint(directory, ServeSettings()), rows, asked)

    assert answer.headers["x-amzn-sagemaker-custom-attributes"] == f"release={ids[1]};shadow={ids[2]},{ids[0]}"
    expected = [alone(directory, name, rows) for name in (ids[1], ids[2], ids[0])]
    np.testing.assert_array_equal(answer.scores(5), expected)
    assert not np.array_equal(expected[0], expected[1])


def test_stable_answers_for_a_release_that_is_not_loaded(model_dir: ModelDir, any_rows: AnyRows) -> None:
    directory, ids = model_dir(1, 2)
    rows = any_rows(3)
    answer = invoke(open_endpoint(directory, ServeSettings()), rows, "release=r-absent")

    assert answer.headers["x-amzn-sagemaker-custom-attributes"] == f"release={ids[1]};shadow="
    np.testing.assert_array_equal(answer.scores(3), [alone(directory, ids[1], rows)])


def test_is_healthy_and_answers_503_before_the_first_release(tmp_path: Path, any_rows: AnyRows) -> None:
    endpoint = open_endpoint(tmp_path / "nothing", ServeSettings())
    ping = asyncio.run(call(endpoint, "GET", "/ping", [b""], {}))
    answer = invoke(endpoint, any_rows(1))

    assert (ping.status, json.loads(ping.body)["champion"]) == (200, None)
    assert (answer.status, json.loads(answer.body)["error"]) == (503, "no_release")


def test_ping_tells_what_is_loaded(model_dir: ModelDir) -> None:
    directory, ids = model_dir(1, 2)
    ping = asyncio.run(call(open_endpoint(directory, ServeSettings()), "GET", "/ping", [b""], {}))

    told = json.loads(ping.body)
    assert (ping.status, told["champion"], told["stable"], told["features"]) == (200, ids[0], ids[1], SPEC_HASH)
    assert told["releases"] == sorted(ids)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"content_type": "application/json"}, 415, "content_type_differs"),
        ({"x_amzn_sagemaker_custom_attributes": "features=00"}, 409, "feature_spec_differs"),
        ({"x_amzn_sagemaker_custom_attributes": f"features={SPEC_HASH};rows=3"}, 400, "rows_differ"),
        ({"content_length": str(5 * 4 * FEATURE_COUNT)}, 413, "too_many_rows"),
    ],
)
def test_refuses_by_header(
    change: dict[str, str], status: int, code: str, model_dir: ModelDir, any_rows: AnyRows
) -> None:
    endpoint = open_endpoint(model_dir(1)[0], ServeSettings(max_request_rows=4))
    answer = invoke(endpoint, any_rows(2), **change)

    assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
    told = json.loads(answer.body)
    assert told["error"] == code
    assert {"expected", "came"} <= set(told)


def test_refuses_by_body(model_dir: ModelDir, any_rows: AnyRows) -> None:
    endpoint = open_endpoint(model_dir(1)[0], ServeSettings())
    holed = any_rows(2)
    holed[1, 0] = np.nan

    assert json.loads(invoke(endpoint, any_rows(2)[:, :-1].copy()).body)["error"] == "shape_differs"
    assert json.loads(invoke(endpoint, any_rows(0)).body)["error"] == "shape_differs"
    assert json.loads(invoke(endpoint, holed).body)["error"] == "not_finite"


@pytest.mark.parametrize(("method", "path"), [("GET", "/invocations"), ("POST", "/ping"), ("GET", "/")])
def test_refuses_other_routes(method: str, path: str, model_dir: ModelDir) -> None:
    endpoint = open_endpoint(model_dir(1)[0], ServeSettings())

    assert asyncio.run(call(endpoint, method, path, [b""], {})).status == 404


def test_joins_a_body_that_comes_in_pieces_and_bounds_it(model_dir: ModelDir, any_rows: AnyRows) -> None:
    directory, ids = model_dir(1)
    endpoint = open_endpoint(directory, ServeSettings(max_request_rows=8))
    rows = any_rows(8)
    body = rows.tobytes()
    headers = {
        "content-type": FEATURES_TYPE,
        "x-amzn-sagemaker-custom-attributes": f"features={SPEC_HASH}",
    }
    pieces = [body[:7], body[7:900], b"", body[900:]]
    whole = asyncio.run(call(endpoint, "POST", "/invocations", pieces, headers))
    longer = asyncio.run(call(endpoint, "POST", "/invocations", [*pieces, bytes(4), body], headers))

    np.testing.assert_array_equal(whole.scores(8), [alone(directory, ids[0], rows)])
    assert longer.status == 413


def test_concurrent_invocations_run_together_and_get_their_own_rows(model_dir: ModelDir, any_rows: AnyRows) -> None:
    directory, ids = model_dir(1, 2)
    endpoint, scorers = counted(directory)
    batches = [any_rows(1 + 7 * i, seed=i) for i in range(16)]

    async def all_at_once() -> list[Answer]:
        asked = (invocation(endpoint, rows, f"shadow={ids[1]}" if i % 2 else "") for i, rows in enumerate(batches))
        return await asyncio.gather(*asked)

    answers = asyncio.run(all_at_once())
    for i, (rows, answer) in enumerate(zip(batches, answers, strict=True)):
        scored = [alone(directory, name, rows) for name in ids[: 1 + i % 2]]
        assert answer.scores(len(rows)).tobytes() == np.stack(scored).tobytes()
    assert scorers[ids[0]].calls == [sum(map(len, batches))]
    assert scorers[ids[1]].calls == [sum(map(len, batches[1::2]))]


def test_batches_stay_within_their_bound_and_a_larger_invocation_goes_alone(
    model_dir: ModelDir, any_rows: AnyRows
) -> None:
    directory, ids = model_dir(1)
    endpoint, scorers = counted(directory, BatchLimits(batch_rows=10))

    async def all_at_once() -> list[Answer]:
        return await asyncio.gather(*(invocation(endpoint, any_rows(n)) for n in (4, 4, 4, 25, 10, 1)))

    assert {answer.status for answer in asyncio.run(all_at_once())} == {200}
    assert scorers[ids[0]].calls == [8, 4, 25, 10, 1]


def test_lone_invocation_is_scored_in_the_next_turn_of_the_loop(model_dir: ModelDir, any_rows: AnyRows) -> None:
    endpoint, _ = counted(model_dir(1)[0])

    async def turns() -> int:
        task = asyncio.ensure_future(invocation(endpoint, any_rows(1)))
        count = 0
        while not task.done():
            await asyncio.sleep(0)
            count += 1
        return count

    assert asyncio.run(turns()) <= 4


def test_full_queue_answers_429_with_retry_after_and_serves_the_others(model_dir: ModelDir, any_rows: AnyRows) -> None:
    endpoint, _ = counted(model_dir(1)[0], BatchLimits(batch_rows=10, queued_rows=30))

    async def flood() -> list[Answer]:
        return await asyncio.gather(*(invocation(endpoint, any_rows(10)) for _ in range(5)))

    answers = asyncio.run(flood())
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[3].headers["retry-after"] == "1"
    assert json.loads(answers[3].body)["error"] == "busy"
    assert invoke(endpoint, any_rows(10)).status == 200


def test_invocation_larger_than_the_queue_is_served_when_nobody_waits(model_dir: ModelDir, any_rows: AnyRows) -> None:
    endpoint, _ = counted(model_dir(1)[0], BatchLimits(queued_rows=5))

    assert invoke(endpoint, any_rows(6)).status == 200


def test_invocation_that_waited_too_long_is_not_scored(model_dir: ModelDir, any_rows: AnyRows) -> None:
    directory, ids = model_dir(1)
    endpoint, scorers = counted(directory, BatchLimits(wait_ms=5))

    async def late() -> Answer:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        loop.time = lambda: now_s  # type: ignore[method-assign]
        task = asyncio.ensure_future(invocation(endpoint, any_rows(1)))
        await asyncio.sleep(0)
        loop.time = lambda: now_s + 0.006  # type: ignore[method-assign]
        return await task

    assert asyncio.run(late()).status == 429
    assert scorers[ids[0]].calls == []
    assert invoke(endpoint, any_rows(1)).status == 200


def test_invocation_whose_caller_hung_up_is_not_scored(model_dir: ModelDir, any_rows: AnyRows) -> None:
    directory, ids = model_dir(1)
    endpoint, scorers = counted(directory)

    async def hang_up() -> Answer:
        gone, stays = (asyncio.ensure_future(invocation(endpoint, any_rows(rows))) for rows in (3, 2))
        await asyncio.sleep(0)
        gone.cancel()
        return await stays

    assert asyncio.run(hang_up()).status == 200
    assert scorers[ids[0]].calls == [2]


def test_failed_batch_fails_its_callers_and_not_the_next_ones(model_dir: ModelDir, any_rows: AnyRows) -> None:
    directory, ids = model_dir(1)
    loaded = load_releases(directory)
    scorer = BrokenScorer(OnnxScorer(loaded.by_id[ids[0]].weights))
    endpoint = Endpoint(loaded, {ids[0]: scorer}, ServeSettings())

    async def both() -> list[Any]:
        asked = (invocation(endpoint, any_rows(1)) for _ in range(2))
        return await asyncio.gather(*asked, return_exceptions=True)

    assert [str(failure) for failure in asyncio.run(both())] == ["out of memory"] * 2
    scorer.broken = False
    assert invoke(endpoint, any_rows(1)).status == 200


def test_refuses_to_speak_anything_but_http(model_dir: ModelDir) -> None:
    endpoint, _ = counted(model_dir(1)[0])

    async def websocket() -> None:
        await endpoint({"type": "websocket"}, None, None)  # type: ignore[arg-type]

    with pytest.raises(SlidrError, match="speaks HTTP"):
        asyncio.run(websocket())


def test_reads_settings_from_the_environment() -> None:
    settings = ServeSettings.from_environment(
        {
            "SLIDR_SERVE_HOST": "127.0.0.1",
            "SAGEMAKER_BIND_TO_PORT": "9001",
            "SLIDR_SERVE_DEVICE": "cpu",
            "SLIDR_SERVE_USER": "nobody",
            "SLIDR_SERVE_MAX_REQUEST_ROWS": "7",
            "SLIDR_SERVE_BATCH_ROWS": "3",
            "SLIDR_SERVE_QUEUED_ROWS": "4",
            "SLIDR_SERVE_WAIT_MS": "5",
        }
    )

    assert settings == ServeSettings(
        host="127.0.0.1",
        port=9001,
        user="nobody",
        device="cpu",
        max_request_rows=7,
        limits=BatchLimits(batch_rows=3, queued_rows=4, wait_ms=5),
    )
    assert ServeSettings.from_environment({}) == ServeSettings()


@pytest.mark.parametrize(
    ("name", "value"),
    [("SAGEMAKER_BIND_TO_PORT", "http"), ("SLIDR_SERVE_BATCH_ROWS", "0"), ("SLIDR_SERVE_DEVICE", "tpu")],
)
def test_refuses_settings_it_cannot_use(name: str, value: str) -> None:
    with pytest.raises(SettingInvalid, match=f"{name} must be .* came '{value}'"):
        ServeSettings.from_environment({name: value})
