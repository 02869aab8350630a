"""The endpoint as SageMaker starts it: a process of the container's entry point, spoken to over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from slidr.features import FEATURE_COUNT, SPEC_HASH
from slidr.release import Release
from slidr.slices import SliceMap, Thresholds
from training.artifact import load_releases, weights_sha256, write_manifest, write_release
from training.mlp_weights import Floats, save_weights, standardisation
from training.model import Mlp
from training.scoring import OnnxScorer

pytestmark = pytest.mark.enable_socket
ROOT = Path(__file__).parents[2]
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


def any_rows(rows: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).gamma(0.3, 50.0, size=(rows, FEATURE_COUNT)).astype(np.float32)


def any_model(directory: Path) -> list[str]:
    """Champion and stable in a model directory; returns their ids."""
    ids = []
    for seed in (1, 2):
        payload = save_weights(Mlp(*standardisation(any_rows(300, 9)), seed=seed).to_weights())
        release = Release(
            weights_sha256=weights_sha256(payload),
            feature_spec=SPEC_HASH,
            slices=SliceMap(),
            thresholds=Thresholds(default=0.5),
            lists={},
            expected_ivr=(0.1,) * 168,
        )
        ids.append(write_release(directory, release=release, weights=payload, evidence={}))
    write_manifest(directory, champion=ids[0], stable=ids[1])
    return ids


@dataclass(frozen=True)
class Running:
    port: int
    process: subprocess.Popen[str]

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def invoke(self, features: Floats, attributes: str = "") -> tuple[int, dict[str, str], bytes]:
        told = {"Content_Type": "application/x-slidr-features"}
        told[ATTRIBUTES.replace("-", "_")] = f"features={SPEC_HASH};{attributes}"
        return self.ask("POST", "/invocations", features.tobytes(), **told)


@contextmanager
def serving(opt_ml: Path, **environment: str) -> Iterator[Running]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "training.container.entrypoint", "serve"],
        cwd=ROOT,
        env={
            **os.environ,
            "SLIDR_OPT_ML": str(opt_ml),
            "SLIDR_SERVE_HOST": "127.0.0.1",
            "SAGEMAKER_BIND_TO_PORT": str(port),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    running = Running(port, process)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                running.ask("GET", "/ping")
                break
            except ConnectionError:
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    pytest.fail(f"the endpoint did not start:\n{process.stdout.read() if process.stdout else ''}")
                time.sleep(0.05)
        yield running
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


@pytest.fixture(scope="module")
def opt_ml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("opt-ml")
    any_model(root / "model")
    return root


@pytest.fixture(scope="module")
def endpoint(opt_ml: Path) -> Iterator[Running]:
    with serving(opt_ml) as running:
        yield running


def test_serves_a_release_over_http(endpoint: Running, opt_ml: Path) -> None:
    loaded, rows = load_releases(opt_ml / "model"), any_rows(500)
    status, headers, body = endpoint.invoke(rows, f"shadow={loaded.stable};rows=500")

    assert (status, headers["content-type"]) == (200, "application/x-slidr-scores")
    assert headers[ATTRIBUTES.lower()] == f"release={loaded.champion};shadow={loaded.stable}"
    expected = [OnnxScorer(loaded.by_id[str(name)].weights).score(rows) for name in (loaded.champion, loaded.stable)]
    assert body == np.stack(expected).tobytes()


def test_sixteen_clients_at_once_each_get_their_own_rows(endpoint: Running, opt_ml: Path) -> None:
    loaded = load_releases(opt_ml / "model")
    scorer = OnnxScorer(loaded.by_id[str(loaded.champion)].weights)

    def client(number: int) -> list[bool]:
        right = []
        for turn in range(12):
            rows = any_rows(1 + (37 * number + 11 * turn) % 300, seed=100 * number + turn)
            status, _, body = endpoint.invoke(rows)
            right.append(status == 200 and body == scorer.score(rows).tobytes())
        return right

    with ThreadPoolExecutor(16) as pool:
        assert all(all(answers) for answers in pool.map(client, range(16)))


def test_connection_stays_usable_after_a_refusal(endpoint: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=10)
    large = any_rows(5_000).tobytes()
    connection.request("POST", "/invocations", large, {"Content-Type": "application/json"})
    refused = connection.getresponse()
    told = json.loads(refused.read())
    connection.request("GET", "/ping")
    healthy = connection.getresponse()
    healthy.read()
    connection.close()

    assert (refused.status, told["error"], told["came"]) == (415, "content_type_differs", "application/json")
    assert healthy.status == 200


def test_starts_without_model_data_and_answers_503(tmp_path: Path) -> None:
    with serving(tmp_path) as running:
        assert running.ask("GET", "/ping")[0] == 200
        status, _, body = running.invoke(any_rows(1))

    assert (status, json.loads(body)["error"]) == (503, "no_release")


def test_stops_on_sigterm_and_logs_json_lines_only(opt_ml: Path) -> None:
    with serving(opt_ml) as running:
        assert running.invoke(any_rows(1))[0] == 200
        running.process.terminate()
        lines = running.process.communicate(timeout=10)[0].splitlines()

    assert [json.loads(line)["message"] for line in lines] == ["releases_loaded", "endpoint_started"]


def test_does_not_start_on_a_bundle_that_was_changed(tmp_path: Path) -> None:
    ids = any_model(tmp_path / "model")
    (tmp_path / "model" / "releases" / ids[0] / "weights.safetensors").write_bytes(b"changed")
    ended = subprocess.run(
        [sys.executable, "-m", "training.container.entrypoint", "serve"],
        cwd=ROOT,
        env={**os.environ, "SLIDR_OPT_ML": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 1
    assert (tmp_path / "output" / "failure").read_text().startswith("ReleaseInvalid: ")
    assert json.loads(ended.stdout)["message"] == "container_failed"


def test_serving_on_the_cpu_does_not_import_torch(opt_ml: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from training.serve import *\n"
        f"open_endpoint(Path({str(opt_ml / 'model')!r}), ServeSettings(device='cpu'))\n"
        "print('torch' in sys.modules)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )

    assert ended.stdout.strip() == "False"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_becomes_the_named_account_after_it_has_read_the_model(opt_ml: Path) -> None:
    with serving(opt_ml, SLIDR_SERVE_USER="nobody") as running:
        status = Path(f"/proc/{running.process.pid}/status").read_text()
        answered, _, _ = running.invoke(any_rows(1))

    uids = next(line.split()[1:] for line in status.splitlines() if line.startswith("Uid:"))
    assert (answered, "0" in uids) == (200, False)
