"""The operators that functions here are composed of: `_operators.NAME` is the public function of that name.

It is looked up where `nn.functional`, or else `torch`, has it, when first used; then it is an attribute of this module.

In: a name. Out: a function. It must never know what an operator does.
"""

from __future__ import annotations

from typing import Any

from facula.ops.define import FUNCTIONS, REGISTRY


def __getattr__(name: str) -> Any:
    for functions in (FUNCTIONS.get("torch.nn.functional", {}), FUNCTIONS["torch"], REGISTRY):
        if name in functions:
            globals()[name] = found = functions[name]
            return found
    raise AttributeError(f"no operator is called {name!r}")
