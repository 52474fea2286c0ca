"""The rules that a kernel's operations must keep, one line each, and the check that applies them.

Compiler and interpreter both ask here before they perform an operation, so a kernel that is not well typed is refused
with its source line instead of reaching LLVM.
"""

from __future__ import annotations

from collections.abc import Callable

from facula.kernel.errors import KernelError
from facula.kernel.types import Pointer, Type

Rule = tuple[str, Callable[..., bool]]


def _number(t: Type) -> bool:
    return t.is_float or t.is_integer


def _bits(t: Type) -> bool:
    return t.is_integer or t.element.kind == "b"


def _same(a: Type, b: Type) -> bool:
    return a is b


RULES: dict[str, Rule] = {
    "add": ("two numbers of one type", lambda a, b: _same(a, b) and _number(a)),
    "sub": ("two numbers of one type", lambda a, b: _same(a, b) and _number(a)),
    "mul": ("two numbers of one type", lambda a, b: _same(a, b) and _number(a)),
    "div": ("two numbers of one type", lambda a, b: _same(a, b) and _number(a)),
    "rem": ("two numbers of one type", lambda a, b: _same(a, b) and _number(a)),
    "udiv": ("two integers of one type", lambda a, b: _same(a, b) and a.is_integer),
    "urem": ("two integers of one type", lambda a, b: _same(a, b) and a.is_integer),
    "min": ("two integers of one type", lambda a, b: _same(a, b) and a.is_integer),
    "max": ("two integers of one type", lambda a, b: _same(a, b) and a.is_integer),
    "and": ("two integers or truth values", lambda a, b: _same(a, b) and _bits(a)),
    "or": ("two integers or truth values", lambda a, b: _same(a, b) and _bits(a)),
    "xor": ("two integers or truth values", lambda a, b: _same(a, b) and _bits(a)),
    "shl": ("two integers of one type", lambda a, b: _same(a, b) and a.is_integer),
    "shr": ("two integers of one type", lambda a, b: _same(a, b) and a.is_integer),
    "ushr": ("two integers of one type", lambda a, b: _same(a, b) and a.is_integer),
    "copysign": ("two floats of one type", lambda a, b: _same(a, b) and a.is_float),
    "compare": ("two values of one type", _same),
    "negate": ("a float", lambda a: a.is_float),
    "fma": ("three floats of one type", lambda a, b, c: _same(a, b) and _same(b, c) and a.is_float),
    "select": (
        "a truth value and two values of one type, of as many lanes",
        lambda c, a, b: c.element.kind == "b" and _same(a, b) and c.lanes in (1, a.lanes),
    ),
    "when": ("one truth value", lambda c: c.name == "b1"),
    "join": ("two values of one type", _same),
    "sqrt": ("a float", lambda a: a.is_float),
    "fabs": ("a float", lambda a: a.is_float),
    "floor": ("a float", lambda a: a.is_float),
    "ceil": ("a float", lambda a: a.is_float),
    "trunc": ("a float", lambda a: a.is_float),
    "rint": ("a float", lambda a: a.is_float),
    "popcount": ("an integer", lambda a: a.is_integer),
    "bitcast": (
        "two types of as many bits",
        lambda a, b: a.bits == b.bits and (a.kind == "p") == (b.kind == "p"),
    ),
    "cast": (
        "numbers or truth values with as many lanes",
        lambda a, b: a.lanes == b.lanes and "p" not in (a.kind, b.kind),
    ),
    "splat": ("a scalar", lambda a: a.lanes == 1),
    "load": ("a pointer", lambda p: isinstance(p, Pointer)),
    "store": ("a pointer and a value of its type", lambda p, v: isinstance(p, Pointer) and p.target is v.element),
    "offset": ("a pointer and an i64", lambda p, i: isinstance(p, Pointer) and i.name == "i64"),
    "gather": ("a pointer and a vector of i64", lambda p, i: isinstance(p, Pointer) and i.element.name == "i64"),
    "mask": ("truth values, one for each lane", lambda m, v: m.element.kind == "b" and m.lanes == v.lanes),
    "atomic": ("a pointer and an integer of its type", lambda p, v: isinstance(p, Pointer) and p.target is v),
}


def check(op: str, *types: Type) -> None:
    """Raise KernelError unless `op` takes operands of these types."""
    description, holds = RULES[op]
    if not holds(*types):
        given = ", ".join(map(repr, types))
        raise KernelError(f"{op} takes {description}, not {given}")
