"""Calling kernels from tests: compiled through ctypes, interpreted, or both with the results compared bit by bit."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from facula.kernel.language import Kernel

_C_TYPES = {
    "b1": ctypes.c_uint8, "i8": ctypes.c_int8, "i16": ctypes.c_int16, "i32": ctypes.c_int32, "i64": ctypes.c_int64,
    "u8": ctypes.c_uint8, "u16": ctypes.c_uint16, "u32": ctypes.c_uint32, "u64": ctypes.c_uint64,
    "f32": ctypes.c_float, "f64": ctypes.c_double,
}  # fmt: skip


def native(kernel: Kernel, *arguments: Any) -> Any:
    """Call the compiled kernel: arrays for pointers, numbers for the rest."""
    if kernel.launchable:
        return _launch(kernel, arguments)
    types = [ctypes.c_void_p if t.kind == "p" else _C_TYPES[t.name] for _, t in kernel.parameters]
    result = None if kernel.result is None else _C_TYPES[kernel.result.name]
    given = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments]
    returned = ctypes.CFUNCTYPE(result, *types)(kernel.address())(*given)
    return returned & 1 if kernel.result is not None and kernel.result.name == "b1" else returned


def _launch(kernel: Kernel, arguments: tuple[Any, ...]) -> None:
    slots = np.zeros(max(1, len(arguments) - 2), np.int64)
    for i, ((_, kind), given) in enumerate(zip(kernel.parameters[:-2], arguments)):
        if kind.kind == "p":
            slots[i] = given.ctypes.data
        elif kind.is_float:
            slots[i : i + 1].view(np.float64)[0] = given
        else:
            slots[i] = given
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(kernel.address())
    function(slots.ctypes.data, *arguments[-2:])


def same_bits(a: Any, b: Any) -> bool:
    """Equal in every bit, but one NaN is as good as another."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    nan = np.isnan(a)
    return bool(np.array_equal(nan, np.isnan(b)) and np.array_equal(a[~nan].tobytes(), b[~nan].tobytes()))


def both(kernel: Kernel, *arguments: Any) -> Any:
    """Compile and interpret on copies of the arguments; the same result and the same arrays, which are given back.

    Gives (result, array, array, ...): the result of the kernel and its arrays afterwards.
    """
    copies = [[a.copy() if isinstance(a, np.ndarray) else a for a in arguments] for _ in range(2)]
    compiled = native(kernel, *copies[0])
    interpreted = kernel.interpret(*copies[1])
    if kernel.result is not None:
        kind = type(interpreted)
        assert same_bits(kind(compiled), interpreted), f"result: compiled {compiled}, interpreted {interpreted}"
    for i, (a, b) in enumerate(zip(*copies)):
        if isinstance(a, np.ndarray):
            assert same_bits(a, b), f"argument {i}: compiled\n{a}\ninterpreted\n{b}"
    arrays = [a for a in copies[0] if isinstance(a, np.ndarray)]
    return (compiled, *arrays) if arrays else compiled
