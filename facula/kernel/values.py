"""Values of the kernel language, and the operations on them that kernels and macros may use.

A `Value` is a type and a reference: the name of an SSA value when compiling, a NumPy scalar or array when
interpreting. All it can do goes through its `ops`, so that everything written with values (the mathematics library,
operator bodies, tile helpers) serves the compiler and the interpreter alike.
Python numbers among the operands take the type of the value beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from facula.kernel import types as ty
from facula.kernel.errors import KernelError
from facula.kernel.types import Type

Operand = Any  # a Value, or a Python number that adapts to its neighbour


class Value:
    """One typed value. Supports Python's operators with the semantics of Python (floor division included)."""

    __slots__ = ("ops", "ref", "type")
    __array_ufunc__ = None  # a NumPy scalar to the left must not swallow the operation

    def __init__(self, ops: Any, type: Type, ref: Any) -> None:
        self.ops, self.type, self.ref = ops, type, ref

    def __repr__(self) -> str:
        return f"<{self.type} {self.ref}>"

    def __bool__(self) -> bool:
        raise KernelError(f"a {self.type} known only at run time decides a branch taken while compiling")

    def __add__(self, other: Operand) -> Value:
        return binary("add", self, other)

    def __radd__(self, other: Operand) -> Value:
        return binary("add", other, self)

    def __sub__(self, other: Operand) -> Value:
        return binary("sub", self, other)

    def __rsub__(self, other: Operand) -> Value:
        return binary("sub", other, self)

    def __mul__(self, other: Operand) -> Value:
        return binary("mul", self, other)

    def __rmul__(self, other: Operand) -> Value:
        return binary("mul", other, self)

    def __truediv__(self, other: Operand) -> Value:
        return binary("div", self, other)

    def __rtruediv__(self, other: Operand) -> Value:
        return binary("div", other, self)

    def __floordiv__(self, other: Operand) -> Value:
        return floor_divide(self, other)

    def __rfloordiv__(self, other: Operand) -> Value:
        return floor_divide(other, self)

    def __mod__(self, other: Operand) -> Value:
        return modulo(self, other)

    def __rmod__(self, other: Operand) -> Value:
        return modulo(other, self)

    def __and__(self, other: Operand) -> Value:
        return binary("and", self, other)

    __rand__ = __and__

    def __or__(self, other: Operand) -> Value:
        return binary("or", self, other)

    __ror__ = __or__

    def __xor__(self, other: Operand) -> Value:
        return binary("xor", self, other)

    __rxor__ = __xor__

    def __lshift__(self, other: Operand) -> Value:
        return binary("shl", self, other)

    def __rshift__(self, other: Operand) -> Value:
        return binary("shr", self, other)

    def __neg__(self) -> Value:
        return self.ops.negate(self) if self.type.is_float else binary("sub", 0, self)

    def __pos__(self) -> Value:
        return self

    def __invert__(self) -> Value:
        return binary("xor", self, -1 if self.type.element.kind != "b" else True)

    def __lt__(self, other: Operand) -> Value:
        return compare("lt", self, other)

    def __le__(self, other: Operand) -> Value:
        return compare("le", self, other)

    def __gt__(self, other: Operand) -> Value:
        return compare("gt", self, other)

    def __ge__(self, other: Operand) -> Value:
        return compare("ge", self, other)

    def __eq__(self, other: Operand) -> Any:
        return compare("eq", self, other)

    def __ne__(self, other: Operand) -> Any:
        return compare("ne", self, other)

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, index: Operand) -> Value:
        if self.type.kind == "p":
            return load(self, index)
        return self.ops.extract(self, index)  # type: ignore[no-any-return]

    def __setitem__(self, index: Operand, value: Operand) -> None:
        store(self, index, value)


def _any_value(operands: Sequence[Operand]) -> Value:
    for operand in operands:
        if isinstance(operand, Value):
            return operand
    raise KernelError("this operation needs at least one run-time value")


def adapt(operand: Operand, like: Value) -> Value:
    """`operand` as a value that fits beside `like`: numbers take its type, scalars are spread over its lanes."""
    if isinstance(operand, Value):
        if like.type.lanes > 1 and operand.type.lanes == 1 and operand.type is like.type.element:
            return operand.ops.splat(operand, like.type.lanes)  # type: ignore[no-any-return]
        return operand
    return like.ops.constant(like.type, operand)  # type: ignore[no-any-return]


def _pair(a: Operand, b: Operand, what: str) -> tuple[Value, Value]:
    like = a if isinstance(a, Value) else _any_value((b,))
    if isinstance(a, Value) and isinstance(b, Value) and b.type.lanes > a.type.lanes:
        like = b
    a, b = adapt(a, like), adapt(b, like)
    if a.type is not b.type:
        raise KernelError(f"{what} of {a.type} and {b.type}: cast one of them, for example {b.type}(x)")
    return a, b


def binary(op: str, a: Operand, b: Operand) -> Value:
    """a `op` b for add sub mul div and or xor shl shr min max rem (C's remainder) copysign."""
    if isinstance(a, Value) and a.type.kind == "p" and op in ("add", "sub"):
        return offset(a, b if op == "add" else -b)
    a, b = _pair(a, b, op)
    return a.ops.binary(op, a, b)  # type: ignore[no-any-return]


def compare(op: str, a: Operand, b: Operand) -> Value:
    """a truth value for lt le gt ge eq ne; comparisons with NaN are false, except ne."""
    a, b = _pair(a, b, op)
    return a.ops.compare(op, a, b)  # type: ignore[no-any-return]


def floor_divide(a: Operand, b: Operand) -> Value:
    """Division rounded towards minus infinity, as Python's //."""
    if (
        isinstance(b, int)
        and not isinstance(b, bool)
        and b > 0
        and b & (b - 1) == 0
        and _any_value((a,)).type.is_integer
    ):
        return a >> (b.bit_length() - 1)  # type: ignore[no-any-return]
    a, b = _pair(a, b, "//")
    if a.type.is_float:
        return floor(a / b)  # type: ignore[no-any-return]
    quotient = a.ops.binary("div", a, b)
    if a.type.element.kind == "u":
        return quotient  # type: ignore[no-any-return]
    inexact = a.ops.binary("rem", a, b) != 0
    return select(inexact & ((a < 0) ^ (b < 0)), quotient - 1, quotient)


def modulo(a: Operand, b: Operand) -> Value:
    """The remainder with the sign of the divisor, as Python's %."""
    if (
        isinstance(b, int)
        and not isinstance(b, bool)
        and b > 0
        and b & (b - 1) == 0
        and _any_value((a,)).type.is_integer
    ):
        return a & (b - 1)  # type: ignore[no-any-return]
    a, b = _pair(a, b, "%")
    remainder = a.ops.binary("rem", a, b)
    if a.type.element.kind == "u":
        return remainder  # type: ignore[no-any-return]
    return select((remainder != 0) & ((remainder < 0) ^ (b < 0)), remainder + b, remainder)


def udiv(a: Operand, b: Operand) -> Value:
    """Quotient of integers known not to be negative: one instruction."""
    a, b = _pair(a, b, "udiv")
    return a.ops.binary("udiv", a, b)  # type: ignore[no-any-return]


def urem(a: Operand, b: Operand) -> Value:
    """Remainder of integers known not to be negative: one instruction."""
    a, b = _pair(a, b, "urem")
    return a.ops.binary("urem", a, b)  # type: ignore[no-any-return]


def ushr(a: Value, b: Operand) -> Value:
    """Shift right, filling with zeros."""
    a, b = _pair(a, b, "ushr")
    return a.ops.binary("ushr", a, b)  # type: ignore[no-any-return]


def remainder(a: Operand, b: Operand) -> Value:
    """The remainder with the sign of the dividend, as C's fmod and %."""
    a, b = _pair(a, b, "remainder")
    return a.ops.binary("rem", a, b)  # type: ignore[no-any-return]


def cast(value: Operand, to: Type) -> Any:
    """Convert to another scalar type, lane by lane. Floats to integers truncate towards zero (and saturate)."""
    if not isinstance(value, Value):
        return current_ops().constant(to, value)
    if value.type.lanes > 1 and to.lanes == 1:
        to = value.type.with_element(to)
    elif to.lanes > 1 and value.type.lanes == 1:
        return value.ops.splat(cast(value, to.element), to.lanes)
    if value.type is to:
        return value
    return value.ops.cast(value, to)


def bitcast(value: Value, to: Type) -> Value:
    """The same bits read as another type of the same width."""
    if value.type.lanes > 1 and to.lanes == 1 and to.bits == value.type.element.bits:
        to = value.type.with_element(to)
    return value if value.type is to else value.ops.bitcast(value, to)


def select(condition: Operand, a: Operand, b: Operand) -> Value:
    """`a` where the condition holds, else `b`. Both are computed."""
    if isinstance(condition, bool):
        return a if condition else b  # type: ignore[no-any-return]
    if not isinstance(a, Value) and not isinstance(b, Value):
        if isinstance(a, bool) and isinstance(b, bool):
            a = condition.ops.constant(ty.b1, a)
        elif isinstance(a, int) and isinstance(b, int):
            a = condition.ops.constant(ty.i64, a)
        else:
            raise KernelError(f"{a!r} or {b!r}, chosen at run time: give one of them a type, f32({a!r})")
    a, b = _pair(a, b, "select")
    if condition.type.lanes == 1 and a.type.lanes > 1:
        condition = condition.ops.splat(condition, a.type.lanes)
    if condition.type.lanes > 1 and a.type.lanes == 1:
        a, b = (x.ops.splat(x, condition.type.lanes) for x in (a, b))
    return a.ops.select(condition, a, b)  # type: ignore[no-any-return]


def when(condition: Value, then: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
    """`then()` if the condition (one truth value) holds, else `otherwise()`, by a branch: only one of them is computed.

    For macros, which have no `if` on run-time values. Both give a value, or tuples of values, of the same types.
    """
    return condition.ops.when(condition, then, otherwise)


def any_lane(condition: Value) -> Value:
    """Whether a truth value holds in at least one lane."""
    return reduce("or", condition)


def call_kernel(kernel: Any, *arguments: Operand) -> Any:
    """Call a kernel from a macro, as a function of its own."""
    return current_ops().call_kernel(kernel, arguments)


def fma(a: Operand, b: Operand, c: Operand) -> Value:
    """a * b + c, rounded once where the processor can."""
    like = max((x for x in (a, b, c) if isinstance(x, Value)), key=lambda x: x.type.lanes)
    a, b, c = adapt(a, like), adapt(b, like), adapt(c, like)
    if not a.type is b.type is c.type:
        raise KernelError(f"fma of {a.type}, {b.type} and {c.type}: cast to one type")
    return like.ops.fma(a, b, c)  # type: ignore[no-any-return]


def _unary(name: str, doc: str) -> Any:
    def function(x: Value) -> Value:
        return x.ops.intrinsic(name, x)  # type: ignore[no-any-return]

    function.__name__, function.__doc__ = name, doc
    return function


sqrt = _unary("sqrt", "Square root, correctly rounded.")
floor = _unary("floor", "Round towards minus infinity.")
ceil = _unary("ceil", "Round towards plus infinity.")
trunc = _unary("trunc", "Round towards zero.")
rint = _unary("rint", "Round to the nearest integer, halves to even.")
popcount = _unary("popcount", "Number of bits that are set.")


def absolute(x: Value) -> Value:
    """The absolute value; of the smallest integer, itself."""
    if x.type.is_float:
        return x.ops.intrinsic("fabs", x)  # type: ignore[no-any-return]
    return x if x.type.element.kind in "ub" else select(x < 0, -x, x)


def minimum(a: Operand, b: Operand) -> Any:
    """The smaller; for floats, NaN if either is NaN."""
    if not isinstance(a, Value) and not isinstance(b, Value):
        return min(a, b)
    a, b = _pair(a, b, "minimum")
    if a.type.is_float:
        return select((a < b) | (a != a), a, b)
    return a.ops.binary("min", a, b)


def maximum(a: Operand, b: Operand) -> Any:
    """The larger; for floats, NaN if either is NaN."""
    if not isinstance(a, Value) and not isinstance(b, Value):
        return max(a, b)
    a, b = _pair(a, b, "maximum")
    if a.type.is_float:
        return select((a > b) | (a != a), a, b)
    return a.ops.binary("max", a, b)


def copysign(a: Value, b: Operand) -> Value:
    """|a| with the sign of b."""
    return binary("copysign", a, b)


def splat(value: Value, lanes: int) -> Value:
    """A vector with `value` in every lane."""
    return value if lanes == 1 else value.ops.splat(value, lanes)


def iota(element: Type, lanes: int) -> Value:
    """The vector 0, 1, 2, ... of integer type."""
    return current_ops().iota(element, lanes)  # type: ignore[no-any-return]


def shuffle(a: Value, b: Value, lanes: Sequence[int]) -> Value:
    """Lanes picked by (static) number out of a followed by b."""
    return a.ops.shuffle(a, b, list(lanes))  # type: ignore[no-any-return]


def insert(vector: Value, lane: Operand, value: Value) -> Value:
    """The vector with one lane replaced."""
    return vector.ops.insert(vector, lane, value)  # type: ignore[no-any-return]


def reduce(op: str, vector: Value) -> Value:
    """All lanes combined by add, mul, min, max, and, or, xor; a float sum is taken as a balanced tree."""
    if vector.type.lanes == 1:
        return vector
    if vector.type.is_float:
        lanes = vector.type.lanes
        while lanes > 1:
            half = lanes // 2
            low = shuffle(vector, vector, range(half))
            high = shuffle(vector, vector, range(half, lanes))
            vector = {"min": minimum, "max": maximum}.get(op, lambda a, b: binary(op, a, b))(low, high)  # type: ignore[no-untyped-call]
            lanes = half
        return vector[0] if vector.type.lanes > 1 else vector
    return vector.ops.reduce(op, vector)  # type: ignore[no-any-return]


def tail_mask(lanes: int, count: Value) -> Value:
    """Truth for the first `count` lanes."""
    clipped = cast(minimum(count, lanes), ty.i32)
    return iota(ty.i32, lanes) < clipped if lanes > 1 else clipped > 0  # type: ignore[no-any-return]


def offset(pointer: Value, index: Operand) -> Value:
    """The address `index` elements further."""
    if not isinstance(index, Value) and index == 0:
        return pointer
    if not isinstance(index, Value):
        index = pointer.ops.constant(ty.i64, index)
    return pointer.ops.offset(pointer, index)  # type: ignore[no-any-return]


def as_pointer(pointer: Value, target: Type) -> Value:
    """The same address seen as values of another type."""
    return pointer.ops.bitcast(pointer, ty.ptr(target))  # type: ignore[no-any-return]


def load(pointer: Value, index: Operand = 0, lanes: int = 1, mask: Value | None = None, aligned: bool = False) -> Value:
    """Read one value, or `lanes` consecutive ones; lanes where `mask` is false are not touched and read as zero."""
    return pointer.ops.load(offset(pointer, index), lanes, mask, aligned)  # type: ignore[no-any-return]


def store(
    pointer: Value,
    index: Operand,
    value: Operand,
    mask: Value | None = None,
    aligned: bool = False,
    stream: bool = False,
) -> None:
    """Write one value or a vector. `stream` bypasses the caches (address aligned to the vector)."""
    target = pointer.type.target  # type: ignore[attr-defined]
    if not isinstance(value, Value):
        value = pointer.ops.constant(target, value)
    if value.type.element is not target:
        raise KernelError(f"storing {value.type} through {pointer.type}: cast it, {target}(x)")
    pointer.ops.store(offset(pointer, index), value, mask, aligned, stream)


def gather(pointer: Value, indices: Value, mask: Value | None = None) -> Value:
    """Read one value for each lane of `indices` (i64, in elements)."""
    return pointer.ops.gather(pointer, indices, mask)  # type: ignore[no-any-return]


def stack_array(element: Type, count: int) -> Value:
    """Uninitialised memory for `count` values that lives until the kernel returns."""
    return current_ops().stack_array(element, count)  # type: ignore[no-any-return]


def atomic(op: str, pointer: Value, value: Operand) -> Value:
    """Read-modify-write (add sub and or xor xchg) as one indivisible, sequentially consistent step; gives the old value."""
    if not isinstance(value, Value):
        value = pointer.ops.constant(pointer.type.target, value)  # type: ignore[attr-defined]
    return pointer.ops.atomic(op, pointer, value)  # type: ignore[no-any-return]


def atomic_load(pointer: Value) -> Value:
    """Sequentially consistent read."""
    return pointer.ops.atomic_load(pointer)  # type: ignore[no-any-return]


def atomic_store(pointer: Value, value: Operand) -> None:
    """Sequentially consistent write."""
    if not isinstance(value, Value):
        value = pointer.ops.constant(pointer.type.target, value)  # type: ignore[attr-defined]
    pointer.ops.atomic_store(pointer, value)


def compare_exchange(pointer: Value, expected: Value, desired: Value) -> tuple[Value, Value]:
    """Write `desired` if the memory holds `expected`; gives (old value, whether it was written)."""
    return pointer.ops.compare_exchange(pointer, expected, desired)  # type: ignore[no-any-return]


def pause() -> None:
    """Tell the processor that this is a spinning loop."""
    current_ops().pause()


def barrier() -> None:
    """Keep the compiler from moving memory accesses across this line (no instruction)."""
    current_ops().barrier()


def prefetch(pointer: Value, index: Operand = 0) -> None:
    """Ask for a cache line early."""
    pointer.ops.prefetch(offset(pointer, index))


def call_extern(name: str, result: Type | None, *arguments: Value) -> Any:
    """Call a C function of the process or of the runtime by its symbol."""
    return current_ops().call_extern(name, result, arguments)


def call_address(address: Value, result: Type | None, *arguments: Value) -> Any:
    """Call the function at an address known at run time."""
    return address.ops.call_address(address, result, arguments)


def external(symbol: str, target: Type) -> Value:
    """The address of a variable of the runtime (`link.define`), as values of type `target`."""
    return current_ops().external(symbol, target)  # type: ignore[no-any-return]


def address_of(kernel: Any) -> Value:
    """The address of another kernel, to be handed on as a callback."""
    return current_ops().address_of(kernel)  # type: ignore[no-any-return]


_ops_stack: list[Any] = []


def current_ops() -> Any:
    """The compiler or interpreter at work (macros that receive no value need it)."""
    if not _ops_stack:
        raise KernelError("kernel values exist only while a kernel is compiled or interpreted")
    return _ops_stack[-1]


class using_ops:
    """Make `ops` the one that `current_ops` gives, for a `with` block."""

    def __init__(self, ops: Any) -> None:
        self.ops = ops

    def __enter__(self) -> Any:
        _ops_stack.append(self.ops)
        return self.ops

    def __exit__(self, *exc: object) -> None:
        _ops_stack.pop()
