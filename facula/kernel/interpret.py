"""The reference interpreter: kernels in plain Python, one statement at a time.

`Interpreter` walks the same syntax tree as the compiler; `Simulator` offers the same operations as the emitter,
computed on NumPy scalars and arrays with the exact rounding and wrap-around of the types. What compiled code leaves to
chance is an error here: an access outside the memory that a kernel was given, or a division of integers by zero, is
refused with the line that performs it.

Comes in: a kernel, NumPy arrays for its pointers and numbers for the rest. Goes out: the result; arrays are changed in
place. Parallel loops run in order. This module must never be needed by a program, only by tests and by readers.
"""

from __future__ import annotations

import ast
import ctypes
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from facula.core.lazy import numpy as np
from facula.kernel import types as ty
from facula.kernel import values, verify
from facula.kernel.errors import KernelError
from facula.kernel.source import syntax
from facula.kernel.types import Type
from facula.kernel.values import Value
from facula.kernel.walk import Returned, RuntimeRange, Walker, parallel

_NUMPY = {
    "b1": "bool", "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64", "u8": "uint8", "u16": "uint16",
    "u32": "uint32", "u64": "uint64", "f16": "float16", "bf16": "float32", "f32": "float32", "f64": "float64",
}  # fmt: skip


class Memory:
    """A range of addresses that a kernel may use, and the array that keeps it alive."""

    def __init__(self, start: int, size: int, owner: Any) -> None:
        self.start, self.size, self.owner = start, size, owner


class Address(NamedTuple):
    """What a pointer is here: a number, and the memory it was derived from (None: unknown, not checked)."""

    number: int
    memory: Memory | None = None
    kernel: Any = None


def dtype(element: Type) -> Any:
    """The NumPy type that holds values of a scalar type. bfloat16 is held as float32, rounded after each operation."""
    return np.dtype("uint64" if element.kind == "p" else _NUMPY[element.name])


def round_bf16(x: Any) -> Any:
    """float32 values rounded to the nearest bfloat16, halves to even."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    quiet = (bits | np.uint32(0x00400000)) & np.uint32(0xFFFF0000)
    result = np.where(np.isnan(x), quiet, rounded).astype(np.uint32).view(np.float32)
    return result if np.ndim(x) else result[()]


def fused(a: Any, b: Any, c: Any) -> Any:
    """a * b + c rounded once, by the C library."""
    single = np.asarray(a).dtype == np.float32
    function = _c_library().fmaf if single else _c_library().fma
    number = ctypes.c_float if single else ctypes.c_double
    function.restype, function.argtypes = number, (number,) * 3
    if np.ndim(a) == 0:
        return np.asarray(a).dtype.type(function(a, b, c))
    return np.array(
        [function(*lane) for lane in zip(a.tolist(), b.tolist(), c.tolist(), strict=True)], np.asarray(a).dtype
    )


_libraries: list[Any] = []


def _c_library() -> Any:
    if not _libraries:
        import os

        _libraries.append(ctypes.CDLL("ucrtbase" if os.name == "nt" else None))
    return _libraries[0]


def _truncated_division(a: Any, b: Any) -> tuple[Any, Any]:
    """Quotient rounded towards zero, and remainder, of integers."""
    if np.any(b == 0):
        raise KernelError("division by zero")
    quotient, rest = np.floor_divide(a, b), np.remainder(a, b)
    inexact = (rest != 0) & ((a < 0) ^ (b < 0))
    one = np.asarray(a).dtype.type(1)
    return np.where(inexact, quotient + one, quotient)[()], np.where(inexact, rest - b, rest)[()]


_UNSIGNED = {1: "u1", 2: "u2", 4: "u4", 8: "u8"}


class Simulator:
    """The operations of the emitter on NumPy values."""

    def __init__(self, target: Any) -> None:
        self.target = target
        self.memories: list[Memory] = []
        self.call: Callable[[Any, Sequence[Value]], Any] = lambda kernel, arguments: None

    # -- values ---------------------------------------------------------------------------------------------------
    def wrap(self, type: Type, data: Any) -> Value:
        """A value of a type from whatever a NumPy operation gave."""
        element = type.element
        if element is ty.bf16:
            data = round_bf16(data)
        array = np.asarray(data).astype(dtype(element), copy=False)
        if type.lanes > 1:
            return Value(self, type, np.ascontiguousarray(np.broadcast_to(array, (type.lanes,))))
        return Value(self, type, array.reshape(()).item() if element.kind == "p" else array.reshape(())[()])

    def constant(self, type: Type, number: Any) -> Value:
        element = type.element
        if element.kind == "p":
            return Value(self, type, Address(int(number)))
        if element.kind == "b":
            return self.wrap(type, bool(number))
        if element.kind == "f":
            if element is ty.f16 or element is ty.bf16:
                return self.wrap(type, np.float32(float(number)))
            return self.wrap(type, dtype(element).type(float(number)))
        if isinstance(number, float) and number != int(number):
            raise KernelError(f"the number {number} beside a {type}: cast one of them")
        wrapped = int(number) % 2**element.bits
        if element.kind == "i" and wrapped >= 2 ** (element.bits - 1):
            wrapped -= 2**element.bits
        return self.wrap(type, dtype(element).type(wrapped))

    # -- arithmetic -----------------------------------------------------------------------------------------------
    def binary(self, op: str, a: Value, b: Value) -> Value:
        verify.check(op, a.type, b.type)
        return self.wrap(a.type, self._binary(op, a.type, a.ref, b.ref))

    def _binary(self, op: str, type: Type, a: Any, b: Any) -> Any:
        if type.element is ty.f16:  # as the compiler does: through float32
            a, b = np.float32(a), np.float32(b)
        if op in _PLAIN:
            return getattr(np, _PLAIN[op])(a, b)
        if type.is_float:
            return np.divide(a, b) if op == "div" else np.fmod(a, b)
        if op in ("div", "rem"):
            return _truncated_division(a, b)[op == "rem"]
        bits, unsigned = type.element.bits, _UNSIGNED[type.element.itemsize]
        if op in ("udiv", "urem"):
            return _truncated_division(a.view(unsigned), b.view(unsigned))[op == "urem"].view(dtype(type.element))
        if type.lanes == 1 and not 0 <= int(b) < bits:
            raise KernelError(f"a {type} shifted by {int(b)} bits")
        count = b & dtype(type.element).type(bits - 1)
        if op == "ushr":
            return np.right_shift(a.view(unsigned), count.view(unsigned)).view(dtype(type.element))
        return (np.left_shift if op == "shl" else np.right_shift)(a, count)

    def negate(self, a: Value) -> Value:
        verify.check("negate", a.type)
        return Value(self, a.type, np.negative(a.ref))

    def compare(self, op: str, a: Value, b: Value) -> Value:
        verify.check("compare", a.type, b.type)
        x, y = (v.ref.number if a.type.kind == "p" else v.ref for v in (a, b))
        if a.type.element.kind == "b":
            x, y = np.uint8(x), np.uint8(y)
        return self.wrap(a.type.with_element(ty.b1), getattr(np, _COMPARE[op])(x, y))

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        verify.check("fma", a.type, b.type, c.type)
        x, y, z = (np.float32(v.ref) if a.type.element.bits == 16 else v.ref for v in (a, b, c))
        return self.wrap(a.type, fused(x, y, z) if self.target.has_fma else x * y + z)

    def intrinsic(self, name: str, a: Value) -> Value:
        verify.check(name, a.type)
        if name == "popcount":
            rows = np.atleast_1d(a.ref).view(np.uint8).reshape(a.type.lanes, -1)
            return self.wrap(a.type, np.unpackbits(rows, axis=1).sum(axis=1))
        return self.wrap(a.type, getattr(np, name)(np.float32(a.ref) if a.type.element.bits == 16 else a.ref))

    def select(self, c: Value, a: Value, b: Value) -> Value:
        verify.check("select", c.type, a.type, b.type)
        if c.type.lanes == 1:
            return Value(self, a.type, a.ref if c.ref else b.ref)
        return Value(self, a.type, np.where(c.ref, a.ref, b.ref))

    def when(self, condition: Value, then: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
        verify.check("when", condition.type)
        return then() if condition.ref else otherwise()

    # -- conversions ----------------------------------------------------------------------------------------------
    def cast(self, a: Value, to: Type) -> Value:
        verify.check("cast", a.type, to)
        source, target = a.type.element, to.element
        narrow = (ty.f16, ty.bf16)
        if (source in narrow and target is not ty.f32) or (target in narrow and source is not ty.f32):
            return self.cast(self.cast(a, a.type.with_element(ty.f32)), to)
        if target is ty.b1:
            return self.wrap(to, a.ref != 0)
        if source.kind == "f" and target.kind in "iu":
            return self._float_to_integer(a, to)
        return self.wrap(to, a.ref.astype(dtype(target)))

    def _float_to_integer(self, a: Value, to: Type) -> Value:
        if to.element is ty.u64:
            return self.wrap(to, a.ref.astype(np.uint64))
        wide = ty.i64 if to.element.bits > 32 or to.element is ty.u32 else ty.i32
        bound = 2.0 ** (wide.bits - 1)
        x = np.trunc(np.float64(a.ref))
        inside = np.where((x < bound) & (x >= -bound), x, 0.0).astype(np.int64)
        limits = np.iinfo(np.int64 if wide is ty.i64 else np.int32)
        whole = np.where(x >= bound, limits.max, np.where(x < -bound, limits.min, inside))
        return self.wrap(to, whole.astype(dtype(wide)).astype(dtype(to.element)))

    def bitcast(self, a: Value, to: Type) -> Value:
        verify.check("bitcast", a.type, to)
        if a.type.kind == "p":
            return Value(self, to, a.ref)
        return self._from_bytes(self._to_bytes(a, packed=True), to, packed=True)

    def _to_bytes(self, a: Value, packed: bool = False) -> bytes:
        """The bytes of a value in memory; `packed`, truth values take one bit."""
        element = a.type.element
        if element.kind == "p":
            return int(a.ref.number).to_bytes(8, "little")
        if element.kind == "b":
            flags = np.atleast_1d(a.ref)
            return (np.packbits(flags, bitorder="little") if packed else flags.astype(np.uint8)).tobytes()
        if element is ty.bf16:
            return (np.atleast_1d(a.ref).view(np.uint32) >> np.uint32(16)).astype(np.uint16).tobytes()
        return np.atleast_1d(a.ref).tobytes()

    def _from_bytes(self, raw: bytes, type: Type, packed: bool = False) -> Value:
        element = type.element
        if element.kind == "p":
            return Value(self, type, self.address(int.from_bytes(raw, "little")))
        if element.kind == "b":
            flags = np.frombuffer(raw, np.uint8)
            data = np.unpackbits(flags, bitorder="little")[: type.lanes] if packed else flags != 0
        elif element is ty.bf16:
            data = (np.frombuffer(raw, np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
        else:
            data = np.frombuffer(raw, dtype(element)).copy()
        data = data.astype(dtype(element), copy=False)
        return Value(self, type, data if type.lanes > 1 else data[0])

    # -- lanes ----------------------------------------------------------------------------------------------------
    def splat(self, a: Value, lanes: int) -> Value:
        verify.check("splat", a.type)
        return self.wrap(ty.vec(a.type, lanes), a.ref)

    def iota(self, element: Type, lanes: int) -> Value:
        return self.wrap(ty.vec(element, lanes), np.arange(lanes) if lanes > 1 else 0)

    def _lane(self, a: Value, lane: Any) -> int:
        number = int(lane.ref if isinstance(lane, Value) else lane)
        if not 0 <= number < a.type.lanes:
            raise KernelError(f"lane {number} of a {a.type}")
        return number

    def extract(self, a: Value, lane: Any) -> Value:
        return Value(self, a.type.element, a.ref[self._lane(a, lane)])

    def insert(self, a: Value, lane: Any, x: Value) -> Value:
        data = a.ref.copy()
        data[self._lane(a, lane)] = x.ref
        return Value(self, a.type, data)

    def shuffle(self, a: Value, b: Value, lanes: list[int]) -> Value:
        both = np.concatenate([np.atleast_1d(a.ref), np.atleast_1d(b.ref)])
        return self.wrap(ty.vec(a.type.element, len(lanes)), both[lanes])

    def reduce(self, op: str, a: Value) -> Value:
        total = a.ref[0]
        for item in a.ref[1:]:
            total = self._binary(op, a.type.element, total, item)
        return self.wrap(a.type.element, total)

    # -- memory ---------------------------------------------------------------------------------------------------
    def address(self, number: int) -> Address:
        """An address read from memory, with the known memory that it lies in."""
        for memory in self.memories:
            if memory.start <= number <= memory.start + memory.size:
                return Address(number, memory)
        return Address(number)

    def array_pointer(self, array: Any, type: Type) -> Value:
        """A pointer parameter's value for an array that the caller gives."""
        reach = [(n - 1) * step for n, step in zip(array.shape, array.strides, strict=True)] if array.size else []
        low = array.ctypes.data + sum(r for r in reach if r < 0)
        size = sum(abs(r) for r in reach) + array.itemsize if array.size else 0
        memory = Memory(low, size, array)
        self.memories.append(memory)
        return Value(self, type, Address(array.ctypes.data, memory))

    def _checked(self, p: Value, index: int, size: int, what: str) -> int:
        """The address of element `index`, refused if `size` bytes there are not the kernel's to use."""
        element_size = p.type.target.itemsize  # type: ignore[attr-defined]
        start = p.ref.number + index * element_size
        memory = p.ref.memory
        if memory is None:
            if 0 <= start < 4096:
                raise KernelError(f"{what} through a null pointer")
        elif start < memory.start or start + size > memory.start + memory.size:
            first = (start - memory.start) // element_size
            count = memory.size // element_size
            raise KernelError(f"{what} of {size // element_size} elements at {first}, outside memory of {count}")
        return start  # type: ignore[no-any-return]

    def offset(self, p: Value, index: Value) -> Value:
        verify.check("offset", p.type, index.type)
        size = p.type.target.itemsize  # type: ignore[attr-defined]
        return Value(self, p.type, p.ref._replace(number=p.ref.number + int(index.ref) * size))

    def _read(self, p: Value, index: int, type: Type) -> Value:
        start = self._checked(p, index, type.itemsize, "load")
        return self._from_bytes(ctypes.string_at(start, type.itemsize), type)

    def _write(self, p: Value, index: int, a: Value) -> None:
        start = self._checked(p, index, a.type.itemsize, "store")
        raw = self._to_bytes(a)
        ctypes.memmove(start, raw, len(raw))

    def load(self, p: Value, lanes: int, mask: Value | None, aligned: bool) -> Value:
        verify.check("load", p.type)
        result = ty.vec(p.type.target, lanes)  # type: ignore[attr-defined]
        self._check_alignment(p, result, aligned)
        if mask is None:
            return self._read(p, 0, result)
        verify.check("mask", mask.type, result)
        return self._each(result, range(lanes), p, mask)

    def _each(self, result: Type, indices: Sequence[int], p: Value, mask: Value | None) -> Value:
        data = np.zeros(result.lanes, dtype(result.element))
        kept = np.ones(result.lanes, bool) if mask is None else np.atleast_1d(mask.ref)
        for lane in np.flatnonzero(kept):
            data[lane] = self._read(p, int(indices[int(lane)]), result.element).ref
        return Value(self, result, data if result.lanes > 1 else data[0])

    def _check_alignment(self, p: Value, type: Type, aligned: bool) -> None:
        if aligned and p.ref.number % type.itemsize:
            raise KernelError(f"an access declared aligned to {type.itemsize} bytes is not")

    def store(self, p: Value, a: Value, mask: Value | None, aligned: bool, stream: bool) -> None:
        verify.check("store", p.type, a.type)
        self._check_alignment(p, a.type, aligned or stream)
        if mask is None:
            self._write(p, 0, a)
            return
        verify.check("mask", mask.type, a.type)
        for lane in np.flatnonzero(np.atleast_1d(mask.ref)):
            self._write(p, int(lane), self.extract(a, lane) if a.type.lanes > 1 else a)

    def gather(self, p: Value, indices: Value, mask: Value | None) -> Value:
        verify.check("gather", p.type, indices.type)
        if indices.type.lanes == 1:
            return self.load(self.offset(p, indices), 1, mask, False)
        return self._each(indices.type.with_element(p.type.target), indices.ref, p, mask)  # type: ignore[attr-defined]

    def stack_array(self, element: Type, count: int) -> Value:
        array = np.full(count * element.itemsize + 64, 0xA5, np.uint8)
        start = -(-array.ctypes.data // 64) * 64
        memory = Memory(start, count * element.itemsize, array)
        self.memories.append(memory)
        return Value(self, ty.ptr(element), Address(start, memory))

    # -- atomics (one thread: plain memory) -----------------------------------------------------------------------
    def atomic(self, op: str, p: Value, a: Value) -> Value:
        verify.check("atomic", p.type, a.type)
        old = self._read(p, 0, a.type)
        self._write(p, 0, a if op == "xchg" else self.binary(op, old, a))
        return old

    def atomic_load(self, p: Value) -> Value:
        return self._read(p, 0, p.type.target)  # type: ignore[attr-defined]

    def atomic_store(self, p: Value, a: Value) -> None:
        verify.check("atomic", p.type, a.type)
        self._write(p, 0, a)

    def compare_exchange(self, p: Value, expected: Value, desired: Value) -> tuple[Value, Value]:
        verify.check("atomic", p.type, desired.type)
        old = self._read(p, 0, desired.type)
        same = self.compare("eq", old, expected)
        if same.ref:
            self._write(p, 0, desired)
        return old, same

    def pause(self) -> None:
        pass

    def barrier(self) -> None:
        pass

    def prefetch(self, p: Value) -> None:
        pass

    # -- calls ----------------------------------------------------------------------------------------------------
    def call_extern(self, name: str, result: Type | None, arguments: Sequence[Value]) -> Any:
        if name not in _EXTERN:
            raise KernelError(f"the interpreter has no C function {name!r}: it knows {', '.join(sorted(_EXTERN))}")
        return _EXTERN[name](self, result, arguments)

    def call_kernel(self, kernel: Any, arguments: Sequence[Any]) -> Any:
        bound = []
        for (name, type), given in zip(kernel.parameters, arguments, strict=True):
            value = given if isinstance(given, Value) else self.constant(type, given)
            if value.type is not type:
                raise KernelError(f"{kernel.name}: the argument {name} is {value.type}, not {type}")
            bound.append(value)
        return self.call(kernel, bound)

    def call_address(self, address: Value, result: Type | None, arguments: Sequence[Value]) -> Any:
        if address.ref.kernel is None:
            raise KernelError("the interpreter can call only the address of a kernel")
        return self.call(address.ref.kernel, arguments)

    def address_of(self, kernel: Any) -> Value:
        return Value(self, ty.ptr(ty.i8), Address(id(kernel), None, kernel))

    def external(self, symbol: str, target: Type) -> Value:
        raise KernelError(f"the interpreter has no variable {symbol!r} of the runtime")


_PLAIN = {
    "add": "add", "sub": "subtract", "mul": "multiply", "and": "bitwise_and", "or": "bitwise_or",
    "xor": "bitwise_xor", "min": "minimum", "max": "maximum", "copysign": "copysign",
}  # fmt: skip
_COMPARE = {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal",
}  # fmt: skip


def _memory_move(ops: Simulator, result: Type | None, arguments: Sequence[Value]) -> Value:
    to, source, size = arguments
    count = int(size.ref)
    raw = Value(ops, ty.ptr(ty.u8), source.ref), Value(ops, ty.ptr(ty.u8), to.ref)
    data = ctypes.string_at(ops._checked(raw[0], 0, count, "load"), count)
    ctypes.memmove(ops._checked(raw[1], 0, count, "store"), data, count)
    return to


def _memory_set(ops: Simulator, result: Type | None, arguments: Sequence[Value]) -> Value:
    to, byte, size = arguments
    count = int(size.ref)
    ctypes.memset(ops._checked(Value(ops, ty.ptr(ty.u8), to.ref), 0, count, "store"), int(byte.ref), count)
    return to


_EXTERN: dict[str, Callable[[Simulator, Type | None, Sequence[Value]], Any]] = {
    "memcpy": _memory_move, "memmove": _memory_move, "memset": _memory_set,
}  # fmt: skip


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class Interpreter(Walker):
    """Control flow, concrete."""

    def __init__(self, kernel: Any, ops: Simulator) -> None:
        super().__init__(kernel.function, ops)
        self.kernel = kernel

    def execute(self, arguments: Sequence[Any]) -> Any:
        """The kernel's result."""
        self.env = {name: value for (name, _), value in zip(self.kernel.parameters, arguments, strict=True)}
        try:
            self.run(syntax(self.function).body)
        except Returned as returned:
            return self._result(returned.value)
        return self._result(None)

    def _result(self, value: Any) -> Any:
        declared = self.kernel.result
        if self.kernel.inline:
            return value
        if declared is None:
            if value is not None:
                raise KernelError("this kernel returns a value but declares none", self.where())
            return None
        if value is None:
            raise KernelError(f"a path through this kernel returns no {declared}", self.where())
        if not isinstance(value, Value):
            value = self.ops.constant(declared, value)
        if value.type is not declared:
            raise KernelError(f"returns {value.type}, declared {declared}", self.where())
        return value

    def call_kernel(self, kernel: Any, arguments: list[Any], keywords: dict[str, Any]) -> Any:
        return self.ops.call(kernel, self.bind(kernel, arguments, keywords))

    def do_Return(self, node: ast.Return) -> None:
        raise Returned(None if node.value is None else self.eval(node.value))

    def holds(self, condition: Any) -> bool:
        if not isinstance(condition, Value):
            return bool(condition)
        if condition.type is not ty.b1:
            raise KernelError(f"a condition must be a truth value (b1), not {condition.type}")
        return bool(condition.ref)

    def do_If(self, node: ast.If) -> None:
        self.run(node.body if self.holds(self.eval(node.test)) else node.orelse)

    def do_For(self, node: ast.For) -> None:
        iterable = self.eval(node.iter)
        if isinstance(iterable, parallel):
            self.check_parallel(node)
            iterable = RuntimeRange(iterable.lo, iterable.hi)
        if isinstance(iterable, RuntimeRange):
            if not isinstance(node.target, ast.Name):
                raise KernelError("a range loop has one variable")
            self.env.update(self._carried(node.body, node.target.id))
            items: Any = self._indices(iterable)
        else:
            items = iterable
        for item in items:
            self.assign(node.target, item)
            if self._left(node.body):
                break

    def _indices(self, bounds: RuntimeRange) -> Iterator[Value]:
        like = next((b for b in (bounds.stop, bounds.start, bounds.step) if isinstance(b, Value)), None)
        type = like.type if like is not None else ty.i64
        start, stop, step = (
            int(b.ref if isinstance(b, Value) else b) for b in (bounds.start, bounds.stop, bounds.step)
        )
        descending = not isinstance(bounds.step, Value) and step < 0
        index = start
        while index > stop if descending else index < stop:
            yield self.ops.constant(type, index)
            index += step

    def _left(self, body: list[ast.stmt]) -> bool:
        """Run one iteration; whether `break` ended the loop."""
        try:
            self.run(body)
        except _Break:
            return True
        except _Continue:
            pass
        return False

    def do_While(self, node: ast.While) -> None:
        self.env.update(self._carried(node.body))
        while self.holds(self.eval(node.test)):
            if self._left(node.body):
                break

    def do_Break(self, node: ast.Break) -> None:
        raise _Break

    def do_Continue(self, node: ast.Continue) -> None:
        raise _Continue


def _parameter(ops: Simulator, name: str, type: Type, given: Any) -> Value:
    """A caller's argument as a value of the parameter's type."""
    if type.kind != "p":
        if type.lanes > 1 or isinstance(given, np.generic):
            return ops.wrap(type, given)
        return ops.constant(type, given)
    if not isinstance(given, np.ndarray):
        return Value(ops, type, ops.address(int(given)))
    target = type.target  # type: ignore[attr-defined]
    wanted = {"p": "uint64", "b": "bool"}.get(
        target.kind, "uint16" if target is ty.bf16 else target.name and _NUMPY.get(target.name)
    )
    compatible = given.dtype == wanted or (
        target.itemsize == given.itemsize and given.dtype.kind in "iub" and target.kind in "iubp"
    )
    if not compatible:
        raise KernelError(f"the argument {name} is an array of {given.dtype}, not {target} ({wanted})")
    return ops.array_pointer(given, type)


def run(kernel: Any, arguments: Sequence[Any]) -> Any:
    """Interpret `kernel` on NumPy arrays and numbers; gives its result as a NumPy value (None if it has none)."""
    from facula.kernel.target import host

    ops = Simulator(host())

    def call(called: Any, given: Sequence[Any]) -> Any:
        return Interpreter(called, ops).execute(given)

    ops.call = call
    if len(arguments) != len(kernel.parameters):
        raise KernelError(f"{kernel.name} takes {len(kernel.parameters)} arguments, not {len(arguments)}")
    with values.using_ops(ops), np.errstate(all="ignore"):
        bound = [
            _parameter(ops, name, type, given) for (name, type), given in zip(kernel.parameters, arguments, strict=True)
        ]
        result = call(kernel, bound)
    return result.ref if isinstance(result, Value) else result
