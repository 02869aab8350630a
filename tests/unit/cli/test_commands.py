from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from local.cli import app
from local.commands.verdicts import instant
from local.session import Outputs, StageNotDeployed

COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]
WITHOUT_A_CLOUD = {"backtest", "cost", "map"}
"""Commands that only read and write files here."""
REFERENCE = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No cloud here, and no account."""
    monkeypatch.setenv("SLIDR_STATE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words))
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, re.sub(r"\s+", " ", result.output)


@pytest.mark.parametrize("command", COMMANDS)
def test_teaches_every_command_with_an_example(command: str) -> None:
    code, text = run(command, "--help")
    assert code == 0
    assert f"slidr {command}" in text.split("Example", 1)[1]


@pytest.mark.parametrize("command", COMMANDS)
def test_documents_every_command_and_all_of_its_options(command: str) -> None:
    section = REFERENCE.split(f"\n## slidr {command}\n", 1)
    assert len(section) == 2, f"docs/cli.md must have a section '## slidr {command}'"
    body = section[1].split("\n## ", 1)[0]
    described = get_command(app).commands[command]  # type: ignore[attr-defined]
    options = {name for parameter in described.params for name in parameter.opts if name.startswith("--")}
    everywhere = {"--stage", "--profile", "--region", "--help"}
    missing = [name for name in sorted(options - everywhere) if f"`{name}" not in body and f" {name}" not in body]
    assert not missing, f"docs/cli.md must describe {missing} of slidr {command}"


def test_documents_no_command_that_does_not_exist() -> None:
    assert set(re.findall(r"^## slidr (\S+)$", REFERENCE, re.MULTILINE)) == set(COMMANDS)


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in WITHOUT_A_CLOUD])
def test_takes_a_stage_a_profile_and_a_region_everywhere(command: str) -> None:
    _, text = run(command, "--help")
    assert all(option in text for option in ("--stage", "--profile", "--region"))


@pytest.mark.parametrize(
    "words",
    [("send", "--simulate", "1"), ("verdicts",), ("redrive",), ("reproduce",), ("deploy", "r-1", "--yes"), ("train",)],
)
def test_says_how_to_start_the_cloud_when_there_is_none(words: tuple[str, ...]) -> None:
    code, text = run(*words)
    assert code == 1
    assert "slidr up" in text
    assert "Traceback" not in text


def test_fails_when_asked_for_the_status_of_nothing() -> None:
    code, text = run("status")
    assert (code, "slidr up" in text) == (1, True)


def test_stops_nothing_when_nothing_runs() -> None:
    assert run("down") == (0, "Nothing was running. ")


@pytest.mark.parametrize("words", [("send",), ("send", "log.csv", "--simulate", "1")])
def test_asks_for_a_log_or_a_simulation(words: tuple[str, ...]) -> None:
    code, text = run(*words)
    assert code == 2
    assert "either the PATH of a log or --simulate DAYS" in text


@pytest.mark.parametrize("command", ["up", "down"])
def test_refuses_to_start_or_stop_what_is_not_on_this_machine(command: str) -> None:
    code, text = run(command, "--stage", "prod")
    assert code == 1
    assert "cdk deploy --all -c stage=prod" in text


def test_asks_for_a_region_where_none_is_known() -> None:
    code, text = run("verdicts", "--stage", "dev")
    assert code == 1
    assert "pass --region" in text


def test_names_a_profile_that_does_not_exist() -> None:
    code, text = run("verdicts", "--stage", "dev", "--profile", "nobody")
    assert code == 1
    assert "came --profile nobody" in text


@pytest.mark.parametrize("since", ["yesterday", "2026-11-23T10:00:00", "5 m"])
def test_says_what_times_it_takes(since: str) -> None:
    from datetime import UTC, datetime  # noqa: PLC0415

    import typer  # noqa: PLC0415

    with pytest.raises(typer.BadParameter, match="--since takes"):
        instant(since, now=datetime(2026, 11, 23, tzinfo=UTC))


def test_writes_only_formats_that_it_knows() -> None:
    code, text = run("verdicts", "--export", "verdicts.xls")
    assert (code, "--export writes .jsonl, .csv, .parquet" in text) == (2, True)


def test_lists_no_logs_before_the_first_start() -> None:
    code, text = run("logs")
    assert (code, "slidr up" in text) == (0, True)


def test_shows_the_end_of_a_log_by_a_part_of_its_name(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "lambda-ScoreClicksFunction1.log").write_text("one\ntwo\nthree\n")
    code, text = run("logs", "score-clicks", "--last", "2")
    assert (code, text) == (0, "two three ")


def test_names_the_outputs_that_a_stage_lacks() -> None:
    with pytest.raises(StageNotDeployed, match=r"ClickStream.*cdk deploy --all -c stage=dev"):
        Outputs.of({"VerdictStream": "v"}, stage="dev")
