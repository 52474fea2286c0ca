"""The examples in the docstrings of `utils.data` and `serialization`."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

import facula

MODULES = [
    "facula.serialization",
    "facula.utils.data.dataloader",
    "facula.utils.data.dataset",
    "facula.utils.data.distributed",
    "facula.utils.data.sampler",
    "facula.utils.data._utils.collate",
    "facula.utils.data._utils.worker",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    data = import_module("facula.utils.data")
    names = {each: getattr(data, each) for each in data.__all__} | {"facula": facula}
    failed, run = doctest.testmod(import_module(name), extraglobs=names)
    assert run
    assert not failed
