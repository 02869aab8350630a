"""The seams fit the pinned emulator, and say so when they do not."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from local.cloud import seams

SOURCES = sorted(Path(seams.__file__).parent.glob("*.py"))


def test_every_declared_seam_exists_in_the_pinned_version() -> None:
    seams.assert_emulator_fits()


def test_another_version_is_refused_with_the_command_that_repairs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seams, "version", lambda _: "1.6.0")

    with pytest.raises(seams.EmulatorChanged, match=r"1\.5\.33 exactly, 1\.6\.0 is installed; run: pip install"):
        seams.assert_emulator_fits()


@pytest.mark.parametrize(
    ("seam", "complaint"),
    [
        (seams.Seam("services.kinesis._gone"), "services.kinesis._gone: does not exist"),
        (seams.Seam("services.nothing.at_all"), "No module named"),
        (seams.Seam("services.kinesis._streams", "a"), "must be callable"),
        (seams.Seam("services.lambda_svc._execute_function", "func"), r"must take \(func\), takes \(func, event\)"),
    ],
)
def test_a_seam_that_has_moved_is_named(monkeypatch: pytest.MonkeyPatch, seam: seams.Seam, complaint: str) -> None:
    monkeypatch.setattr(seams, "SEAMS", (*seams.SEAMS, seam))

    with pytest.raises(seams.EmulatorChanged, match=complaint):
        seams.assert_emulator_fits()


def test_what_is_not_declared_cannot_be_reached_nor_replaced() -> None:
    with pytest.raises(seams.UndeclaredSeam, match="add it to SEAMS"):
        seams.reach("services.kinesis._put_record")
    with pytest.raises(seams.UndeclaredSeam, match="not as replaced"):
        seams.replace("services.lambda_svc._execute_function", lambda: None)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_no_module_imports_the_emulator_but_through_the_seams(source: Path) -> None:
    imported = {name.split(".")[0] for node in ast.walk(ast.parse(source.read_text())) for name in _imports(node)}

    assert "ministack" not in imported


def test_every_declared_seam_is_used() -> None:
    text = "\n".join(path.read_text() for path in SOURCES if path.name != "seams.py")

    assert [seam.name for seam in seams.SEAMS if f'"{seam.name}"' not in text] == []


def _imports(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
