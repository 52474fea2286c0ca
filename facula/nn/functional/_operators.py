"""The operators that functions here are composed of, found by name when first used.

In: a name. Out: the public function of that name, as `nn.functional` or else `torch` has it. It must never know what
an operator does.
"""

from __future__ import annotations

from typing import Any

from facula.ops.define import FUNCTIONS, REGISTRY


def find(name: str) -> Any:
    """The function called `name`, or None."""
    for namespace in ("torch.nn.functional", "torch"):
        functions = FUNCTIONS.get(namespace, {})
        if name in functions:
            return functions[name]
    return REGISTRY.get(name)


class Operators:
    """`operators.NAME` is the operator of that name; the second look-up is a plain attribute."""

    def __getattr__(self, name: str) -> Any:
        found = find(name)
        if found is None:
            raise AttributeError(f"no operator is called {name!r}")
        self.__dict__[name] = found
        return found


operators = Operators()
