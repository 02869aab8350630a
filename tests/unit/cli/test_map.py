from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from local.cli import app
from local.sources.event import Kind, LogUnreadable
from local.sources.formats import format_of
from local.sources.mapped_csv import mapping_beside, read_mapping
from local.sources.mapping_proposal import proposed, sample_of
from slidr.click import parse_click

FAR_MS = 4_000_000_000_000
CLICKS = """\
clickId;When;IP Address;User Agent;cpc;Device Type;Member;Merchant;Country;note
1;03/04/2026 10:00:01;192.0.2.1;Mozilla/5.0 (X);0,45;Phone;yes;acme;de;x
2;03/04/2026 10:00:02;192.0.2.2;Mozilla/5.0 (X);0,50;PC;no;acme;de;x
3;03/04/2026 10:00:03;-;Mozilla/5.0 (X);0,50;TV;no;acme;de;x
4;03/04/2026 10:00:03;unknown;Mozilla/5.0 (X);0,50;TV;no;acme;de;x
"""


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def written(tmp_path: Path, content: str = CLICKS, name: str = "clicks.csv") -> Path:
    path = tmp_path / name
    path.write_text(content)
    return path


def run(*words: str, says: str = "") -> tuple[int, str]:
    result = CliRunner().invoke(app, ["map", *words], input=says)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, re.sub(r"\s+", " ", result.output)


def test_proposes_a_mapping_from_names_and_values(tmp_path: Path) -> None:
    proposal = proposed(sample_of(written(tmp_path)))
    columns = {field: source.column for field, source in proposal.mapping.fields.items()}
    assert columns == {
        "click_id": "clickId", "at": "When", "ip": "IP Address", "user_agent": "User Agent", "device": "Device Type",
        "logged_in": "Member", "advertiser": "Merchant", "marketplace": "Country", "cost_micros": "cpc",
        "currency": None,
    }  # fmt: skip
    assert (proposal.mapping.kind, proposal.mapping.delimiter, proposal.mapping.absent) == ("click", ";", ("", "-"))
    assert [(doubt.field, doubt.about) for doubt in proposal.doubts] == [
        ("currency", "source"), ("at", "format"), ("at", "zone")
    ]  # fmt: skip


def test_writes_what_it_was_told_and_says_how_many_rows_pass_and_why_others_do_not(tmp_path: Path) -> None:
    log = written(tmp_path)
    code, text = run(str(log), says="=EUR\n2\nBerlin\nEurope/Berlin\ny\n")
    assert code == 0
    assert "Not used: note" in text
    assert "No such time zone" in text
    assert "3 of the first 4 rows are valid clicks. 1 bad_ip" in text
    [chunk] = format_of(log).read(log, kind=Kind.CLICK)
    click = parse_click(chunk[0].payload, arrived_ms=FAR_MS)
    assert click.at.isoformat() == "2026-03-04T09:00:01+00:00"
    assert (click.click_id, click.currency, click.cost_micros) == ("1", "EUR", 450_000)


def test_takes_the_proposal_and_says_what_it_took(tmp_path: Path) -> None:
    log, out = written(tmp_path), tmp_path / "m.toml"
    code, text = run(str(log), "--yes", "--out", str(out))
    assert (code, mapping_beside(log).exists()) == (0, False)
    assert "taken: %d/%m/%Y %H:%M:%S" in text
    assert f"--map {out}" in text
    content = out.read_text()
    assert "does not say in which time zone; taken: UTC" in content
    assert "192.0.2" not in content  # nobody's address is kept


def test_asks_for_a_column_of_times_and_for_what_is_required(tmp_path: Path) -> None:
    log = written(tmp_path, "a,b\n23rd of 11 2026,192.0.2.1\n24th of 11 2026,192.0.2.2\n")
    code, text = run(str(log), says="c\na\n%drd of %m %Y\nUTC\n=acme\n=de\ny\n")
    assert "No such column" in text
    assert "1 of the first 2 rows are valid clicks. 1 wrong_value" in text
    assert code == 0
    assert read_mapping(mapping_beside(log)).fields["advertiser"].constant == "acme"


def test_takes_no_proposal_without_times(tmp_path: Path) -> None:
    log = written(tmp_path, "a,b\nx,y\n")
    code, text = run(str(log), "--yes")
    assert (code, mapping_beside(log).exists()) == (1, False)
    assert "a column of event times is required" in text


def test_leaves_a_mapping_that_exists_as_it_is(tmp_path: Path) -> None:
    log = written(tmp_path)
    mapping_beside(log).write_text("mine")
    assert run(str(log), "--yes")[0] == run(str(log), says="n\n")[0] == 1
    assert mapping_beside(log).read_text() == "mine"


def test_writes_nothing_that_was_not_confirmed(tmp_path: Path) -> None:
    log = written(tmp_path)
    code, _ = run(str(log), says="=EUR\n1\nUTC\nn\n")
    assert (code, mapping_beside(log).exists()) == (1, False)


def test_fails_when_no_row_passes(tmp_path: Path) -> None:
    log = written(
        tmp_path, "time,ip,advertiser,marketplace\n2999-01-01T00:00:00Z,192.0.2.1,a,m\n".replace("2999", "2099")
    )
    code, text = run(str(log), "--yes")
    assert code == 1
    assert "0 of the first 1 rows are valid clicks. 1 ahead_of_arrival" in text


def test_knows_a_file_of_orders_by_its_columns(tmp_path: Path) -> None:
    log = written(tmp_path, "order_id,ts,customer_id,total,currency\no,1795435200,u,19.99,EUR\n", "orders.csv")
    proposal = proposed(sample_of(log))
    assert (proposal.mapping.kind, proposal.doubts) == ("purchase", ())
    assert proposal.mapping.fields["at"].format == "epoch_s"
    code, text = run(str(log), "--yes", "--rows", "5")
    assert code == 0
    assert f"slidr send CLICKS --purchases {log}" in text
    assert proposed(sample_of(log), kind=Kind.CLICK).mapping.kind == "click"


@pytest.mark.parametrize("content", ["only\nx\n", "a,a\n1,2\n", "a,b\n", "\n\n"])
def test_asks_for_a_header_and_rows(tmp_path: Path, content: str) -> None:
    with pytest.raises(LogUnreadable, match="whose first line names its columns"):
        sample_of(written(tmp_path, content))


def test_takes_another_encoding_and_a_head_that_ends_within_a_row(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_bytes("zeit|käufer\n".encode("cp1252") + b"2026-11-23T12:00:00Z|u\n" * 5_000)
    sample = sample_of(path)
    assert (sample.encoding, sample.delimiter, sample.header) == ("cp1252", "|", ["zeit", "käufer"])
    assert set(sample.values("käufer")) == {"u"}
    path.write_bytes(("a,b\n" + "é,é\n" * 20_000).encode())
    assert sample_of(path).encoding == "utf-8-sig"
