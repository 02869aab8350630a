"""The container: its entry point, and what of the image can be checked without building it."""

from __future__ import annotations

import ast
import importlib
import json
import re
import sys
import tomllib
import types
from pathlib import Path

import pytest

import training
from training.container import entrypoint
from training.container.entrypoint import CommandInvalid, MlPaths, run

ROOT = Path(__file__).parents[3]
CONTAINER = ROOT / "training" / "container"
DOCKERFILE = (CONTAINER / "Dockerfile").read_text(encoding="utf-8")
DISTRIBUTIONS = {"crawleruseragents": "crawler-user-agents", "ibis": "ibis-framework"}
DEVELOPMENT_ONLY = {"lightgbm", "sagemaker"}
"""Imported by training code that does not run in the container."""


def instructions(name: str) -> list[str]:
    return [line.removeprefix(f"{name} ") for line in DOCKERFILE.splitlines() if line.startswith(f"{name} ")]


def required() -> set[str]:
    lines = (CONTAINER / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return {line.strip().partition("[")[0] for line in lines if line.strip() and not line.startswith("#")}


def test_every_source_that_the_image_copies_exists() -> None:
    sources = [source for line in instructions("COPY") for source in line.split()[:-1]]

    assert {"slidr/", "training/", "constraints.txt"} <= set(sources)
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_image_starts_the_entry_point_with_the_words_that_sagemaker_appends() -> None:
    (words,) = (json.loads(line) for line in instructions("ENTRYPOINT"))

    assert words == ["python", "-m", "training.container.entrypoint"]
    assert importlib.util.find_spec(words[2]) is not None
    assert [json.loads(line) for line in instructions("CMD")] == [["serve"]]


def test_image_installs_packages_that_the_project_declares_and_pins() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["training"]]
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }

    assert required() <= {re.split(r"[\[<>=;]", name)[0] for name in declared}
    assert required() - pinned == set()


def test_image_installs_what_its_code_imports() -> None:
    imported = set()
    for path in [*(ROOT / "slidr").rglob("*.py"), *(ROOT / "training").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                imported.add(node.module.partition(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"slidr", "training"} - DEVELOPMENT_ONLY

    assert {DISTRIBUTIONS.get(name, name) for name in foreign} <= required()


def test_train_hands_channels_model_directory_and_hyperparameters_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "input" / "data" / "clicks").mkdir(parents=True)
    (tmp_path / "input" / "data" / "purchases").mkdir()
    (tmp_path / "input" / "data" / "clicks-manifest").write_text("")
    (tmp_path / "input" / "config").mkdir()
    (tmp_path / "input" / "config" / "hyperparameters.json").write_text('{"epochs": "3"}')
    came: list[object] = []
    train = types.ModuleType("training.train")
    train.main = lambda *arguments: came.extend(arguments)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "training.train", train)
    monkeypatch.setattr(training, "train", train, raising=False)

    run(["train"], {"SLIDR_OPT_ML": str(tmp_path)})

    data = tmp_path / "input" / "data"
    channels = {"clicks": data / "clicks", "purchases": data / "purchases"}
    assert came == [channels, tmp_path / "model", {"epochs": "3"}]
    assert (tmp_path / "model").is_dir()


def test_job_without_input_has_no_channels_and_no_hyperparameters(tmp_path: Path) -> None:
    assert MlPaths(tmp_path).channels() == {}
    assert MlPaths(tmp_path).hyperparameters() == {}


@pytest.mark.parametrize("text", ["{", "[]", '{"epochs": 3}'])
def test_refuses_hyperparameters_that_are_not_strings(text: str, tmp_path: Path) -> None:
    path = tmp_path / "input" / "config" / "hyperparameters.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)

    with pytest.raises(CommandInvalid, match=r"hyperparameters\.json must be"):
        MlPaths(tmp_path).hyperparameters()


@pytest.mark.parametrize("words", [[], ["sevre"], ["serve", "now"], ["process"], ["process", "unheard-of"]])
def test_refuses_words_it_does_not_know(words: list[str]) -> None:
    with pytest.raises(CommandInvalid, match="must be one of"):
        run(words, {})


def test_process_runs_the_named_step_with_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    came = []
    steps = {"count": lambda paths, options: came.append((paths, options))}
    monkeypatch.setattr(entrypoint, "PROCESSING_STEPS", steps)

    run(["process", "count", "--all"], {"SLIDR_OPT_ML": str(tmp_path)})

    assert came == [(MlPaths(tmp_path), ["--all"])]


def test_failed_command_writes_its_reason_and_exits_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["entrypoint", "sevre"])
    monkeypatch.setenv("SLIDR_OPT_ML", str(tmp_path))
    monkeypatch.setattr(entrypoint.logging.getLogger(), "handlers", [])

    assert entrypoint.main() == 1
    reason = (tmp_path / "output" / "failure").read_text()
    assert reason.startswith("CommandInvalid: the command must be one of")
    line = json.loads(capsys.readouterr().out)
    assert (line["message"], line["level"], line["reason"]) == ("container_failed", "ERROR", reason)
