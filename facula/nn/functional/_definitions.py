"""Operators as they were defined: `_definitions.NAME` takes tensors by position and numbers by keyword only.

That is the fastest form to call where no number is given; `_operators` has the public forms.

In: a name. Out: a function. It must never know what an operator does.
"""

from __future__ import annotations

from typing import Any

from facula.ops.define import REGISTRY


def __getattr__(name: str) -> Any:
    if name in REGISTRY:
        globals()[name] = found = REGISTRY[name]
        return found
    raise AttributeError(f"no operator is called {name!r}")
