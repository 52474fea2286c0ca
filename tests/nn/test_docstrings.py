"""The examples in the documentation of `facula.nn` give what they say."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module

import pytest

import facula

NAMES = [module.name for module in pkgutil.walk_packages(facula.nn.__path__, "facula.nn.")]


@pytest.mark.parametrize("name", NAMES)
def test_examples_run(name: str) -> None:
    module = import_module(name)
    assert doctest.testmod(module, globs={**vars(module), "torch": facula}).failed == 0
