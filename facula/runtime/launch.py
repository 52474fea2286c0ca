"""From Python into a kernel: `launch(address, n, grain, *slots)`, a built-in function made at run time.

It is a C function in all but origin: compiled from the kernel language, handed to the interpreter (PyCFunction_NewEx).
A call costs some 60-100 ns. What comes in are numbers alone: addresses and integers go on as 64-bit integers, floats
as doubles. It never looks at what the addresses point to.
"""

import ctypes
import os
import threading
from typing import Any

from facula.kernel import link
from facula.kernel.language import (
    as_pointer,
    bitcast,
    call_extern,
    external,
    f64,
    i8,
    i64,
    kernel,
    offset,
    ptr,
    stack_array,
)
from facula.runtime import threads

__all__ = ["builtin", "python_api"]

MOST_SLOTS = 32
RELEASE = 4
"""A launch of more grains than this runs for some 100 us or more: other Python threads may run meanwhile."""

_TYPE_FIELD = (object.__basicsize__ - 8) // 8  # where an object's type stands, in words


def _pointer_at(item: Any, index: int) -> Any:
    """The pointer in word `index` of an object or array."""
    return as_pointer(item, ptr(i8))[index]


@kernel
def type_error() -> ptr(i8):
    """Raise TypeError with the usage."""
    call_extern("PyErr_SetString", None, external("facula_py_type_error", i8), external("facula_launch_usage", i8))
    return 0


@kernel
def launch_numbers(self: ptr(i8), arguments: ptr(ptr(i8)), count: i64) -> ptr(i8):
    """launch(address, n, grain, *slots), called as METH_FASTCALL."""
    if (count < 3) | (count > MOST_SLOTS + 3):
        return type_error()
    numbers = stack_array(i64, MOST_SLOTS + 3)
    for i in range(count):
        item = arguments[i]
        if _pointer_at(item, _TYPE_FIELD) == external("facula_py_float", i8):
            if i < 3:
                return type_error()
            numbers[i] = bitcast(call_extern("PyFloat_AsDouble", f64, item), i64)
        else:
            number = call_extern("PyLong_AsLongLong", i64, item)
            if number == -1:
                if call_extern("PyErr_Occurred", ptr(i8)) != ptr(i8)(0):
                    return 0
            numbers[i] = number
    function = _pointer_at(numbers, 0)
    slots = as_pointer(offset(numbers, 3), i8)
    n, grain = numbers[1], numbers[2]
    if n > max(grain, 1) * RELEASE:
        state = call_extern("PyEval_SaveThread", ptr(i8))
        call_extern("facula_launch", None, function, slots, n, grain)
        call_extern("PyEval_RestoreThread", None, state)
    else:
        call_extern("facula_launch", None, function, slots, n, grain)
    nothing = external("facula_py_none", i8)
    call_extern("Py_IncRef", None, nothing)
    return nothing


class _MethodDef(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_FASTCALL = 0x80
_USAGE = b"launch(address, n, grain, *slots) takes integers, then at most 32 integers or floats"
_kept: list[Any] = []  # what native code refers to lives as long as the process
_builtin: Any = None
_lock = threading.Lock()


def python_api() -> Any:
    """The interpreter's C functions, as a library of our own: argument types set on it disturb nobody."""
    if os.name == "nt":
        import sys

        return ctypes.PyDLL("python dll", handle=sys.dllhandle)  # type: ignore[attr-defined]
    return ctypes.PyDLL(None)


def make_builtin(name: str, address: int, doc: str, self: Any = None) -> Any:
    """A built-in function of the interpreter out of a native METH_FASTCALL function, with `self` as its first argument
    (NULL for None).
    """
    definition = _MethodDef(name.encode(), address, _FASTCALL, doc.encode())
    _kept.append(definition)
    new = python_api().PyCFunction_NewEx
    new.restype = ctypes.py_object
    new.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    return new(ctypes.addressof(definition), None if self is None else id(self), None)


def builtin() -> Any:
    """`launch(address, n, grain, *slots) -> None`: run function(slots, lo, hi) over [0, n) in pieces, on the thread
    pool when n > grain. `address` is a kernel's; each slot is an int (an address or an i64) or a float (a double).
    TypeError for anything else, OverflowError for integers of more than 64 bits.
    """
    global _builtin
    if _builtin is None:
        threads.install()
        with _lock:
            if _builtin is None:
                usage = ctypes.create_string_buffer(_USAGE)
                _kept.append(usage)
                link.define("facula_launch_usage", ctypes.addressof(usage))
                for symbol, item in (("none", None), ("float", float), ("type_error", TypeError)):
                    link.define(f"facula_py_{symbol}", id(item))
                _builtin = make_builtin("launch", launch_numbers.address(), builtin.__doc__ or "")
    return _builtin


def __getattr__(name: str) -> Any:
    if name == "launch":  # made when first asked for: importing this module compiles nothing
        globals()["launch"] = found = builtin()
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
