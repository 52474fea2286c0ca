"""The operators that functions here are composed of, found by name in the registry when first used.

In: a name. Out: the public function of that operator. It must never know what an operator does.
"""

from __future__ import annotations

from typing import Any

from facula.ops.define import REGISTRY


class Operators:
    """`operators.NAME` is the operator of that name; the second look-up is a plain attribute."""

    def __getattr__(self, name: str) -> Any:
        try:
            found = REGISTRY[name]
        except KeyError:
            raise AttributeError(f"no operator is called {name!r}") from None
        self.__dict__[name] = found
        return found


operators = Operators()
