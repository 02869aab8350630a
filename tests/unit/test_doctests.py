"""Every example in a docstring is run."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path
from types import ModuleType

import pytest

import functions
import infra
import local
import slidr
import training

ROOMS = (slidr, functions, training, infra, local)


def modules_with_examples(room: ModuleType) -> list[str]:
    root = Path(room.__path__[0])
    files = sorted(path for path in root.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8"))
    return [".".join(path.relative_to(root.parent).with_suffix("").parts) for path in files]


@pytest.mark.parametrize("name", [name for room in ROOMS for name in modules_with_examples(room)])
def test_docstring_examples_hold(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))

    assert result.attempted > 0
    assert result.failed == 0
