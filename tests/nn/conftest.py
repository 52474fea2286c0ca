"""What the tests of `facula.nn` share: running the same lines on facula and on PyTorch, and comparing what comes out."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import facula


def outcome(program: Callable[[Any], Any], torch: Any) -> str:
    """What a program gives, or the error that it raises, as text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = repr(program(torch))
        except Exception as error:
            result = f"{type(error).__name__}: {error}"
    return re.sub(r"0x[0-9a-f]+", "0x", result).replace("facula.", "torch.").replace("torch.nn.modules.container.", "")


@pytest.fixture
def agree() -> Callable[[Callable[[Any], Any]], str]:
    """`agree(program)` runs `program(torch)` on both and fails unless the outcomes are the same text, which it returns."""
    torch = pytest.importorskip("torch")

    def check(program: Callable[[Any], Any]) -> str:
        expected = outcome(program, torch).replace("torch.nn.modules.container.", "")
        assert outcome(program, facula) == expected
        return expected

    return check


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    facula.manual_seed(0)
    yield
