"""Operators as they were defined: `_definitions.NAME` takes tensors by position and numbers by keyword only.

That is the fastest form to call where no number is given; `_operators` has the public forms. `fixed` gives an operator
whose numbers are part of it, as the slope of a layer is: it is as fast as one without numbers.

In: a name, and numbers. Out: a function. It must never know what an operator does.
"""

from __future__ import annotations

from typing import Any

from facula.ops.define import REGISTRY
from facula.ops.elementwise import OPERATORS, PointwiseOperator, fast_function

_MOST_FIXED = 64
"""How many operators are made: each has kernels of its own, so numbers that change all the time are passed instead."""

_fixed: dict[tuple[Any, ...], Any] = {}


def __getattr__(name: str) -> Any:
    if name in REGISTRY:
        globals()[name] = found = REGISTRY[name]
        return found
    raise AttributeError(f"no operator is called {name!r}")


def fixed(name: str, *numbers: Any) -> Any:
    """The pointwise operator `name` with its first numbers given, as a function of tensors."""
    found = _fixed.get((name, numbers))
    return _fix(name, numbers) if found is None else found


def _fix(name: str, numbers: tuple[Any, ...]) -> Any:
    base = OPERATORS[name]
    given = dict(zip(base.numbers, numbers))
    if len(_fixed) >= _MOST_FIXED or not all(type(number) in (int, float) for number in numbers):
        plain = {key: number.item() if hasattr(number, "item") else number for key, number in given.items()}
        return lambda *operands: base(operands, plain)
    own = PointwiseOperator(
        base.name,
        base.expressions,
        base.inputs,
        {**base.numbers, **given},
        base.result,
        base.override,
        base.integers,
        base.backward_name,
        base.refuse_bool,
    )
    _fixed[name, numbers] = function = fast_function(own) or (lambda *operands: own(operands))
    return function
