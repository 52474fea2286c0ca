"""How the Tensor class gets its operators: methods by name, Python's operators, conversions such as `.float()`.

The class comes in; what is attached comes from the operators' registry, with a native method where there is one.
"""

from __future__ import annotations

from typing import Any

from facula.core import dtype as dt
from facula.ops import copy as copies
from facula.ops import view as views
from facula.ops.define import FUNCTIONS, METHODS, on_method
from facula.runtime.objects import TensorBase
from facula.tensor import creation, interop


def attach(tensor: type) -> None:
    """Give the tensor class its operators: methods by name, and Python's operators."""
    for name, function in METHODS.items():
        if name not in tensor.__dict__:
            setattr(tensor, name, _native_method(tensor, name, function, None))
    for name, target in _OPERATORS.items():
        if target in METHODS:
            setattr(tensor, name, _native_method(tensor, name, METHODS[target], _operator(METHODS[target], name)))
    for name, target in _REFLECTED.items():
        if target in FUNCTIONS["torch"]:
            setattr(tensor, name, _reflected(FUNCTIONS["torch"][target], name))
    on_method(lambda name, function: setattr(tensor, name, _native_method(tensor, name, function, None)))
    for rare in (fill_diagonal_, apply_, map_):
        setattr(tensor, rare.__name__, rare)
    for name, dtype in (
        ("float", dt.float32), ("double", dt.float64), ("half", dt.float16), ("bfloat16", dt.bfloat16), ("int", dt.int32), ("long", dt.int64),
        ("short", dt.int16), ("char", dt.int8), ("byte", dt.uint8), ("bool", dt.bool), ("cfloat", dt.complex64), ("cdouble", dt.complex128),
        ("chalf", dt.complex32),
    ):  # fmt: skip
        setattr(tensor, name, _converter(name, dtype))


def _native_method(tensor: type, name: str, function: Any, slow: Any) -> Any:
    """A method that native code serves, where the operator has one; the given Python function otherwise."""
    from facula.ops.elementwise import NATIVE

    found = NATIVE.get(function) if type(function).__name__ == "builtin_function_or_method" else None
    if found is None:
        return slow or function
    from facula.ops import fastpath

    table: Any
    operator, general = found
    table = operator.table
    made: Any = fastpath.method(tensor, name, table, len(operator.inputs), slow or general, function.__doc__)
    if made is None:

        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            return function(self, *args, **kwargs)

        return slow or method
    return made


_OPERATORS = {
    "__add__": "add", "__sub__": "sub", "__mul__": "mul", "__truediv__": "div", "__floordiv__": "floor_divide", "__mod__": "remainder",
    "__pow__": "pow", "__matmul__": "matmul", "__and__": "bitwise_and", "__or__": "bitwise_or", "__xor__": "bitwise_xor",
    "__lshift__": "bitwise_left_shift", "__rshift__": "bitwise_right_shift", "__radd__": "add", "__rmul__": "mul", "__rand__": "bitwise_and",
    "__ror__": "bitwise_or", "__rxor__": "bitwise_xor", "__lt__": "lt", "__le__": "le", "__gt__": "gt", "__ge__": "ge", "__eq__": "eq",
    "__ne__": "ne", "__neg__": "neg", "__idiv__": "div_", "__div__": "div", "__invert__": "bitwise_not", "__abs__": "abs", "__pos__": "positive", "__iadd__": "add_",
    "__isub__": "sub_", "__imul__": "mul_", "__itruediv__": "div_", "__ifloordiv__": "floor_divide_", "__imod__": "remainder_",
    "__ipow__": "pow_", "__iand__": "bitwise_and_", "__ior__": "bitwise_or_", "__ixor__": "bitwise_xor_",
    "__ilshift__": "bitwise_left_shift_", "__irshift__": "bitwise_right_shift_",
}  # fmt: skip
_REFLECTED = {
    "__rsub__": "sub", "__rtruediv__": "div", "__rdiv__": "div", "__rfloordiv__": "floor_divide", "__rmod__": "remainder", "__rpow__": "pow",
    "__rmatmul__": "matmul", "__rlshift__": "bitwise_left_shift", "__rrshift__": "bitwise_right_shift",
}  # fmt: skip


def _operand(other: Any) -> bool:
    return isinstance(other, (TensorBase, bool, int, float, complex)) or type(other).__module__ == "numpy"


def _operator(function: Any, name: str) -> Any:
    if name in ("__neg__", "__invert__", "__abs__", "__pos__"):
        return function

    def method(self: Any, other: Any) -> Any:
        if not isinstance(other, (TensorBase, float, int)):
            if not _operand(other):
                return NotImplemented
            if type(other).__module__ == "numpy":
                other = interop.from_array(other) if getattr(other, "ndim", 0) else other.item()
        return function(self, other)

    method.__name__ = name
    return method


def _reflected(function: Any, name: str) -> Any:
    def method(self: Any, other: Any) -> Any:
        if not _operand(other):
            return NotImplemented
        if type(other).__module__ == "numpy":
            other = interop.from_array(other) if getattr(other, "ndim", 0) else other.item()
        return function(other, self)

    method.__name__ = name
    return method


def _converter(name: str, dtype: dt.dtype) -> Any:
    def method(self: Any, memory_format: Any = None) -> Any:
        return self.to(dtype)

    method.__name__ = name
    method.__doc__ = f"The tensor with dtype {dtype}."
    return method


# -- rarely used methods -------------------------------------------------------------------------------------------
def fill_diagonal_(self: Any, fill_value: Any, wrap: bool = False) -> Any:
    """Write one number on the main diagonal; with wrap, again below each block of a tall matrix."""
    shape, stride = self._layout.shape, self._layout.stride
    if len(shape) < 2:
        raise RuntimeError("dimensions must larger than 1")
    if len(shape) > 2 and len(set(shape)) > 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    count = min(shape)
    copies.fill_(views.as_strided(self, (count,), (sum(stride),), self.storage_offset()), fill_value)
    if wrap and len(shape) == 2 and shape[0] > shape[1] + 1:
        for start in range(shape[1] + 1, shape[0], shape[1] + 1):
            copies.fill_(views.diagonal(views._narrow(self, 0, start, shape[0] - start)), fill_value)
    return self


def apply_(self: Any, callable: Any) -> Any:
    """Replace each element by callable(element); slow, in Python."""
    values = [callable(x) for x in self.reshape(-1).tolist()]
    copies.copy_(self, creation.tensor(values, dtype=self._layout.dtype).reshape(self._layout.shape))
    return self


def map_(self: Any, other: Any, callable: Any) -> Any:
    """Replace each element by callable(element, element of other); slow, in Python."""
    pairs = zip(self.reshape(-1).tolist(), other.expand(self._layout.shape).reshape(-1).tolist(), strict=True)
    copies.copy_(
        self,
        creation.tensor([callable(a, b) for a, b in pairs], dtype=self._layout.dtype).reshape(self._layout.shape),
    )
    return self
