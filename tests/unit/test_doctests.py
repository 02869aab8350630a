"""Every example in a docstring of the domain is run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import slidr

MODULES = [f"slidr.{module.name}" for module in pkgutil.iter_modules(slidr.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_hold(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))

    assert result.failed == 0
