"""Operators: every function of tensors, one file per family. `define`, `elementwise` and `reduction` are the ways to define one."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "show":
        from facula.ops.listing import show

        return show
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
