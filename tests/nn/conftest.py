"""What the tests of `facula.nn` share: running the same lines on facula and on PyTorch, and comparing what comes
out.
"""

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
    """`agree(program)` runs `program(torch)` on both and fails unless the outcomes are the same text, which it
    returns.
    """
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


def numbers(value: Any) -> Any:
    """A result as nested lists of Python numbers, with shapes and dtypes."""
    if hasattr(value, "detach"):
        return str(value.dtype), tuple(value.shape), value.detach().reshape(-1).tolist()
    if isinstance(value, (list, tuple)):
        return [numbers(part) for part in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def close(a: Any, b: Any, tolerance: float) -> bool:
    """Whether nested lists of numbers agree within a tolerance, relative to the larger."""
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all(close(x, y, tolerance) for x, y in zip(a, b))
    if isinstance(a, float):
        return a == b or (a != a and b != b) or abs(a - b) <= tolerance * max(1.0, abs(a), abs(b))
    return a == b


@pytest.fixture
def agree_closely() -> Callable[..., None]:
    """`agree_closely(program)` runs `program(torch)` on both from one seed; the numbers, or the errors, must agree."""
    torch = pytest.importorskip("torch")

    def run(program: Callable[[Any], Any], which: Any) -> Any:
        which.manual_seed(5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return numbers(program(which))
            except Exception as error:
                return type(error).__name__, str(error).replace("facula.", "torch.")

    def check(program: Callable[[Any], Any], tolerance: float = 2e-5) -> None:
        ours, theirs = run(program, facula), run(program, torch)
        assert close(ours, theirs, tolerance), f"\nfacula: {ours}\ntorch:  {theirs}"

    return check
