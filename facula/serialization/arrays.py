"""NumPy's arrays and scalars in a pickle, rebuilt without running NumPy's own unpickling.

Comes in: the names and arguments that NumPy's pickles use. Goes out: arrays that own their memory. A type is made from
its letter and size, an array from bytes of exactly its size; NumPy's `__setstate__`, which trusts its input, is never
called. This module must never know tensors or files.
"""

from __future__ import annotations

from math import prod
from pickle import UnpicklingError
from typing import TYPE_CHECKING

from facula.core.lazy import numpy as np
from facula.serialization.interpreter import Unfinished

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAX_EMPTY_ITEMS = 1 << 20
_KINDS = frozenset("biufcSUVOmM")
_UNITS = frozenset({"Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as", "generic"})


class NumpyName:
    """Stands for `numpy.ndarray` or `numpy.dtype` in a pickle: something that only the functions below accept."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


NDARRAY, DTYPE = NumpyName("ndarray"), NumpyName("dtype")


def rebuild_dtype(spec: Any, *_flags: Any) -> Unfinished:
    """`numpy.dtype(spec, align, copy)`, to be given its state."""
    if type(spec) is not str or not spec or spec[0] not in _KINDS or not (spec[1:] or "0").isdecimal():
        raise UnpicklingError(f"not a NumPy type that can be loaded: {spec!r}")
    return Unfinished(lambda state: _finish_dtype(spec, state))


def _finish_dtype(spec: str, state: Any) -> Any:
    if type(state) is not tuple or len(state) < 8 or state[1] not in ("<", ">", "|", "="):
        raise UnpicklingError(f"bad state of NumPy type {spec!r}")
    order, subtype, names, fields = state[1:5]
    if subtype is not None:
        return _check_dtype(np.dtype((_expect_dtype(subtype[0]), tuple(subtype[1]))))
    if names is not None:
        parts = [fields[name] for name in names]
        return _check_dtype(
            np.dtype(
                {
                    "names": list(names),
                    "formats": [_expect_dtype(part[0]) for part in parts],
                    "offsets": [part[1] for part in parts],
                    "itemsize": state[5],
                }
            )
        )
    kind = spec[0]
    if kind in "mM":
        unit, count = state[8][1][:2] if len(state) > 8 else ("generic", 1)
        unit = unit.decode() if isinstance(unit, bytes) else unit
        if unit not in _UNITS or type(count) is not int:
            raise UnpicklingError(f"bad unit of NumPy type {spec!r}")
        return np.dtype(f"{order}{kind}8" if unit == "generic" else f"{order}{kind}8[{count}{unit}]")
    return np.dtype(kind if kind == "O" else order + spec)


def _expect_dtype(value: Any) -> Any:
    if not isinstance(value, np.dtype):
        raise UnpicklingError(f"a NumPy type was expected, not {type(value)}")
    return value


def _check_dtype(dtype: Any) -> Any:
    if dtype.hasobject:
        raise UnpicklingError("NumPy records that hold Python objects cannot be loaded")
    return dtype


def rebuild_array(kind: Any, shape: Any = (0,), typecode: Any = b"b") -> Unfinished:
    """`numpy._core.multiarray._reconstruct(ndarray, (0,), b"b")`, to be given its state."""
    if kind is not NDARRAY:
        raise UnpicklingError("only plain NumPy arrays can be loaded, not subclasses of them")
    return Unfinished(_finish_array)


def _finish_array(state: Any) -> Any:
    if type(state) is not tuple or len(state) not in (4, 5):
        raise UnpicklingError("bad state of a NumPy array")
    shape, dtype, is_fortran, data = state[-4:]
    return _array(data, dtype, shape, "F" if is_fortran else "C")


def array_from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> Any:
    """`numpy._core.numeric._frombuffer(data, dtype, shape, order)`, as pickles of protocol 5 have it."""
    return _array(bytes(data), dtype, shape, order)


def _array(data: Any, dtype: Any, shape: Any, order: Any) -> Any:
    _expect_dtype(dtype)
    if (
        type(shape) is not tuple
        or not all(type(size) is int and size >= 0 for size in shape)
        or order not in ("C", "F")
    ):
        raise UnpicklingError(f"bad shape of a NumPy array: {shape!r}")
    count = prod(shape)
    if not dtype.itemsize and count > MAX_EMPTY_ITEMS:
        raise UnpicklingError(f"a NumPy array of shape {shape} whose elements have no size")
    if dtype.hasobject:
        if type(data) is not list or len(data) != count:
            raise UnpicklingError("bad content of a NumPy array of objects")
        array = np.empty(count, dtype=object)
        for position, item in enumerate(data):
            array[position] = item
    else:
        if type(data) is str:
            data = data.encode("latin-1")
        if not isinstance(data, (bytes, bytearray)) or len(data) != count * dtype.itemsize:
            size = len(data) if isinstance(data, (bytes, bytearray)) else type(data)
            raise UnpicklingError(f"a NumPy array of shape {shape} and type {dtype} with content of size {size}")
        array = np.frombuffer(data, dtype=dtype, count=count).copy() if data else np.empty(count, dtype=dtype)
    return array.reshape(shape, order=order)


def rebuild_scalar(dtype: Any, data: Any = b"") -> Any:
    """`numpy._core.multiarray.scalar(dtype, data)`."""
    return _array([data] if _expect_dtype(dtype).hasobject else data, dtype, (), "C")[()]


NAMES: dict[str, Any] = {"numpy.ndarray": NDARRAY, "numpy.dtype": DTYPE}
for _core in ("numpy.core", "numpy._core"):
    NAMES |= {
        f"{_core}.multiarray._reconstruct": rebuild_array,
        f"{_core}.multiarray.scalar": rebuild_scalar,
        f"{_core}.numeric._frombuffer": array_from_buffer,
    }
CALLS: dict[Any, Callable[..., Any]] = {
    rebuild_array: rebuild_array,
    rebuild_scalar: rebuild_scalar,
    array_from_buffer: array_from_buffer,
    DTYPE: rebuild_dtype,
}
