"""torch.special: special functions of mathematics, by their names there. They are defined with the other operators."""

from __future__ import annotations

from typing import Any

from facula.ops.define import FUNCTIONS

_ALSO = ("softmax", "log_softmax", "logsumexp")


def __getattr__(name: str) -> Any:
    """A function by name."""
    found = FUNCTIONS["torch.special"].get(name) or (FUNCTIONS["torch"].get(name) if name in _ALSO else None)
    if found is None:
        raise AttributeError(f"module 'torch.special' has no attribute {name!r}")
    return found


def __dir__() -> list[str]:
    return sorted([*FUNCTIONS["torch.special"], *_ALSO])
