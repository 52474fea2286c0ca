"""Which implementation attention uses; programs name one, and the CPU has one.

In: names of implementations. Out: a context in which they are allowed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

__all__ = ["SDPBackend", "sdpa_kernel"]


class SDPBackend(Enum):
    """The implementations of `scaled_dot_product_attention` that programs may ask for."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


@contextmanager
def sdpa_kernel(backends: Any, set_priority: bool = False) -> Iterator[dict[Any, Any]]:
    """Allow only some implementations within the block. On the CPU all of them name the same one.

    Args:
        backends: a `SDPBackend` or a list of them.
        set_priority: the list is in order of preference. Default: False

    Raises:
        AssertionError: `backends` is neither.
    """
    if not isinstance(backends, (list, SDPBackend)):
        raise AssertionError(
            "Backend must be an instance of SDPBackend or a list of SDPBackend instances, got "
            f"{type(backends).__name__}"
        )
    yield {}
