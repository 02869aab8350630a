from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from local.cli import app
from local.sources.simulated import simulated_chunks
from tests.backtest_world import TRAFFIC

QUICK = ("--no-baselines", "--fpr-budget", "0.05", "--set", "epochs=1", "--set", "certify_share=0.3")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Clicks and purchases of three days as JSON lines, one click twice and one broken record among them."""
    folder = tmp_path_factory.mktemp("log")
    clicks, purchases = folder / "clicks.jsonl", folder / "orders.jsonl"
    events = [event for chunk in simulated_chunks(TRAFFIC.days(3)) for event in chunk]
    lines = {kind: [event.payload for event in events if event.kind == kind] for kind in ("click", "purchase")}
    broken = json.dumps({**json.loads(lines["click"][9]), "click_id": "broken", "ip": "nowhere"}).encode()
    clicks.write_bytes(b"\n".join([*lines["click"], lines["click"][5], broken]) + b"\n")
    purchases.write_bytes(b"\n".join(lines["purchase"]) + b"\n")
    return clicks, purchases


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["backtest", *words])
    return result.exit_code, re.sub(r"\s+", " ", result.output)


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


def test_backtests_a_log_of_ones_own_without_a_cloud(log: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    code, said = run(str(log[0]), "--purchases", str(log[1]), "--out", str(out), *QUICK)

    assert code == 0, said
    assert "1 rejected, 1 came twice" in said
    assert "rejected: bad_ip 1" in said
    assert "Few purchases" in said
    page = out.read_text("utf-8")
    assert "<h1>Backtest of clicks.jsonl and orders.jsonl</h1>" in page
    for line in log[0].read_bytes().splitlines()[:50]:
        click = json.loads(line)
        assert all(click[name] not in page for name in ("user", "session", "ip", "click_id") if click.get(name))


def test_backtests_simulated_days_and_says_who_was_found(tmp_path: Path) -> None:
    code, said = run("--simulate", "3", "--clicks-per-day", "1500", "--seed", "3", *QUICK)

    assert code == 0, said
    assert "Who was found" in (tmp_path / "backtest.html").read_text("utf-8")


def test_says_that_purchases_are_needed(log: tuple[Path, Path]) -> None:
    code, said = run(str(log[0]), *QUICK)
    assert code == 1
    assert "BacktestImpossible: purchases are required" in said
    assert "--purchases FILE" in said


def test_overwrites_an_earlier_report_and_no_other_file(log: tuple[Path, Path], tmp_path: Path) -> None:
    code, said = run(str(log[0]), "--out", str(log[1]))
    assert (code, "ReportExists" in said) == (1, True)
    assert log[1].read_bytes().startswith(b"{")

    (tmp_path / "old.html").write_text("<!doctype html>\nold")
    code, said = run(str(log[0]), "--out", str(tmp_path / "old.html"))
    assert "BacktestImpossible" in said  # it got past the file


@pytest.mark.parametrize("words", [(), ("log.jsonl", "--simulate", "4"), ("--simulate", "4", "--purchases", "x")])
def test_takes_a_log_or_simulated_days(words: tuple[str, ...]) -> None:
    assert run(*words)[0] == 2
