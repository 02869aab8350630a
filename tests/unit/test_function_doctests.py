"""Every example in a docstring of the functions is run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import functions

MODULES = [module.name for module in pkgutil.walk_packages(functions.__path__, "functions.") if not module.ispkg]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_hold(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
