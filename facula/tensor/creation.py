"""Tensors out of nothing: from Python data, constants, ranges.

`torch.tensor` reads nested sequences; the rest allocate and fill. Everything takes dtype, device, requires_grad and, where
PyTorch has it, `out`.
"""

import ctypes
import math
from typing import Any

from facula.core import dtype as dt
from facula.core.device import device as Device
from facula.core.device import get_default_device
from facula.core.layout import CPU, layout
from facula.core.shapes import check_sizes
from facula.ops.copy import clone, convert, copy_result, resize_output, strided_like, write_number
from facula.ops.define import composite, publish
from facula.ops.dispatch import Launch, host_write
from facula.ops.kernels.ramp import ramp, ramp_f32
from facula.ops.view import sizes_of
from facula.runtime.objects import Storage, TensorBase, new_tensor, wrap


def device_of(device: Any) -> Device:
    """The device an argument means; RuntimeError for devices that this build or machine lacks."""
    if device is None:
        found = get_default_device()
    else:
        found = device if isinstance(device, Device) else Device(device)
    if found.type == "cpu":
        return CPU
    if found.type == "meta":
        return found
    if found.type == "cuda":
        raise AssertionError("Torch not compiled with CUDA enabled")
    raise RuntimeError(f"the device {found} is not available: this machine offers cpu and meta")


def dtype_of(dtype: Any, default: dt.dtype | None = None) -> dt.dtype:
    """The dtype an argument means; the default float dtype where it is None."""
    if dtype is None:
        return default or dt.get_default_dtype()
    if dtype is float:
        return dt.float64
    if dtype is int:
        return dt.int64
    if dtype is bool:
        return dt.bool
    if not isinstance(dtype, dt.dtype):
        raise TypeError(f"dtype must be a torch.dtype, not {type(dtype).__name__}")
    return dtype


def allocate(shape: tuple[int, ...], dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """An uninitialised dense tensor."""
    made = new_tensor(layout(shape, None, dtype_of(dtype), device_of(device)))
    if requires_grad:
        require_grad(made)
    return made


def require_grad(tensor: Any) -> Any:
    """Make a leaf that autograd follows; RuntimeError for integers."""
    if tensor._layout.dtype.kind not in "fc":
        raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
    tensor._requires_grad = 1
    return tensor


def _sizes(size: tuple[Any, ...], named: Any = None) -> tuple[int, ...]:
    shape = sizes_of(size if size or named is None else (named,))
    check_sizes(shape)
    return shape


def _made(out: Any, shape: tuple[int, ...], dtype: Any, device: Any) -> Any:
    """A new tensor, or the `out=` argument in this shape."""
    if out is None:
        return allocate(shape, dtype, device)
    if dtype is not None and dtype is not out._layout.dtype:
        raise RuntimeError(f"dtype {dtype} does not match dtype of out parameter ({out._layout.dtype})")
    return out if out._layout.shape == shape else resize_output(out, shape)


def _dense(out: Any, made: Any) -> Any:
    """Where a kernel that writes row by row puts what belongs into `made`."""
    return made if out is None or made._layout.contiguous else new_tensor(made._layout.dense())


def _filled(value: Any) -> Any:
    def function(
        *size: Any, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
        requires_grad: bool = False, names: Any = None, **named: Any,
    ) -> Any:  # fmt: skip
        shape = _sizes(size, named.get("size"))
        made = _made(out, shape, dtype, device)
        if value is not None:
            write_number(made, value)
        return require_grad(made) if requires_grad else made

    return function


zeros, ones, empty = _filled(0), _filled(1), _filled(None)
zeros.__doc__ = "A tensor of the given sizes filled with 0: `zeros(2, 3)` or `zeros((2, 3))`."
ones.__doc__ = "A tensor of the given sizes filled with 1."
empty.__doc__ = """A tensor of the given sizes whose memory is not initialised: its elements are whatever was there before.

Use it when every element will be written; otherwise use `zeros`."""
for _name, _function in (("zeros", zeros), ("ones", ones), ("empty", empty)):
    _function.__name__ = _function.__qualname__ = _name
    publish(_name, _function)


def _like(value: Any) -> Any:
    def function(
        input: Any, *, dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
        requires_grad: bool = False, memory_format: Any = None,
    ) -> Any:  # fmt: skip
        source = strided_like(input._layout, memory_format)
        made = new_tensor(_relayout(source, dtype, device))
        if value is not None:
            write_number(made, value)
        return require_grad(made) if requires_grad else made

    return function


def _relayout(source: Any, dtype: Any, device: Any) -> Any:
    return layout(
        source.shape,
        source.stride,
        source.dtype if dtype is None else dtype_of(dtype),
        source.device if device is None else device_of(device),
    )


zeros_like, ones_like, empty_like = _like(0), _like(1), _like(None)
for _name, _function in (("zeros_like", zeros_like), ("ones_like", ones_like), ("empty_like", empty_like)):
    _function.__name__ = _function.__qualname__ = _name
    _function.__doc__ = f"`{_name[:-5]}` with the sizes, strides, dtype and device of another tensor."
    publish(_name, _function)


@composite()
def full(size: Any, fill_value: Any, *, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
         pin_memory: bool = False, requires_grad: bool = False, names: Any = None) -> Any:  # fmt: skip
    """A tensor filled with one number, whose kind decides the dtype unless one is given."""
    if isinstance(fill_value, TensorBase):
        fill_value = fill_value.item()
    if dtype is None and out is None:
        dtype = _number_dtype(fill_value)
    made = _made(out, _sizes((size,)), dtype, device)
    write_number(made, fill_value)
    return require_grad(made) if requires_grad else made


@composite()
def full_like(input: Any, fill_value: Any, *, dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
              requires_grad: bool = False, memory_format: Any = None) -> Any:  # fmt: skip
    """`full` with the sizes and dtype of another tensor."""
    made = empty_like(input, dtype=dtype, device=device, memory_format=memory_format)
    if isinstance(fill_value, TensorBase):
        fill_value = fill_value.item()
    write_number(made, fill_value)
    return require_grad(made) if requires_grad else made


@composite()
def empty_strided(size: Any, stride: Any, *, dtype: Any = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
                  pin_memory: bool = False) -> Any:  # fmt: skip
    """An uninitialised tensor with given strides."""
    from facula.core.layout import layout as layout_
    from facula.core.strides import extent

    shape, strides = sizes_of((size,)), sizes_of((stride,))
    wanted = layout_(shape, strides, dtype_of(dtype), device_of(device))
    storage = Storage(extent(shape, strides) * wanted.dtype.itemsize, wanted.device)
    made = wrap(storage, storage.data, wanted)
    return require_grad(made) if requires_grad else made


def _number_dtype(value: Any) -> dt.dtype:
    if isinstance(value, bool):
        return dt.bool
    if isinstance(value, int):
        return dt.int64
    if isinstance(value, complex):
        return dt.get_default_dtype().to_complex()
    return dt.get_default_dtype()


# -- ranges ----------------------------------------------------------------------------------------------------------
def _bounds(name: str, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any, Any]:
    values = [a.item() if isinstance(a, TensorBase) else a for a in args]
    if len(values) == 1 and "end" not in named:
        start, end, step = 0, values[0], named.get("step", 1)
    else:
        bound = dict(zip(("start", "end", "step"), values, strict=False))
        bound.update({k: v.item() if isinstance(v, TensorBase) else v for k, v in named.items()})
        start, end, step = bound.get("start", 0), bound["end"], bound.get("step", 1)
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if not -math.inf < start < math.inf or not -math.inf < end < math.inf:
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    return start, end, step


def arange(*args: Any, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
           requires_grad: bool = False, **named: Any) -> Any:  # fmt: skip
    """start, start + step, ... up to but without end: `arange(end)`, `arange(start, end, step)`. Integers give int64.

    >>> torch.arange(1, 2.5, 0.5)
    tensor([1.0000, 1.5000, 2.0000])
    """
    start, end, step = _bounds("arange", args, named)
    whole = all(isinstance(x, int) for x in (start, end, step))
    if dtype is None:
        dtype = out._layout.dtype if out is not None else dt.int64 if whole else dt.get_default_dtype()
    dtype = dtype_of(dtype)
    if dtype.kind in "bc":
        raise NotImplementedError(f"\"arange_cpu\" not implemented for '{dtype.scalar_name}'")
    count = int(-(-(end - start) // step) if whole else math.ceil((end - start) / step))
    made = _made(out, (count,), dtype, device)
    dense = _dense(out, made)
    if dtype.kind == "f":
        start, step = float(start), float(step)
    else:
        start, step = int(start), int(step)
    Launch(ramp(dtype.code), count, 16384, (start, step, start, count, count))((dense,))
    if dense is not made:
        copy_result(made, dense)
    return require_grad(made) if requires_grad else made


publish("arange", arange)


@composite()
def linspace(start: Any, end: Any, steps: int, *, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
             pin_memory: bool = False, requires_grad: bool = False) -> Any:  # fmt: skip
    """`steps` numbers from start to end, both included."""
    start, end = (x.item() if isinstance(x, TensorBase) else x for x in (start, end))
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    dtype = dtype_of(dtype, None if out is None else out._layout.dtype)
    if dtype.kind == "c":
        raise NotImplementedError("linspace of complex numbers")
    made = _made(out, (steps,), dtype, device)
    dense = _dense(out, made)
    middle = steps if steps == 1 else steps // 2
    if dtype is dt.float32:
        gap = ctypes.c_float(ctypes.c_float(end).value - ctypes.c_float(start).value).value / max(1, steps - 1)
        Launch(ramp_f32(), steps, 16384, (float(start), float(gap), float(end), middle, steps - 1))((dense,))
    elif dtype.kind == "f":
        Launch(
            ramp(dtype.code),
            steps,
            16384,
            (float(start), (float(end) - float(start)) / max(1, steps - 1), float(end), middle, steps - 1),
        )((dense,))
    else:
        return copy_result(made, convert(linspace(int(start), int(end), steps, dtype=dt.float64), dtype))
    if dense is not made:
        copy_result(made, dense)
    return require_grad(made) if requires_grad else made


@composite()
def logspace(start: Any, end: Any, steps: int, base: float = 10.0, *, out: Any = None, dtype: Any = None, layout: Any = None,
             device: Any = None, pin_memory: bool = False, requires_grad: bool = False) -> Any:  # fmt: skip
    """base to the powers `linspace(start, end, steps)`."""
    from facula.ops.define import FUNCTIONS

    dtype = dtype_of(dtype, None if out is None else out._layout.dtype)
    start, end = (x.item() if isinstance(x, TensorBase) else x for x in (start, end))
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    if dtype.kind == "i":
        start, end = int(start), int(end)
    powers = FUNCTIONS["torch"]["pow"](float(base), linspace(start, end, steps, dtype=dt.float64))
    made = convert(powers, dtype)
    if out is not None:
        return copy_result(out, made)
    return require_grad(made) if requires_grad else made


@composite()
def eye(n: int, m: int | None = None, *, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
        pin_memory: bool = False, requires_grad: bool = False) -> Any:  # fmt: skip
    """Ones on the diagonal, zeros elsewhere."""
    m = n if m is None else m
    for name, size in (("n", n), ("m", m)):
        if size < 0:
            raise RuntimeError(f"{name} must be greater or equal to 0, got {size}")
    made = zeros(n, m, dtype=dtype, device=device, out=out)
    if made._layout.numel:
        write_number(made.diagonal(), 1)
    return require_grad(made) if requires_grad else made


# -- from data -------------------------------------------------------------------------------------------------------
def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False
) -> Any:
    """A new tensor with a copy of `data`: a number, nested sequences, a NumPy array, or a tensor.

    The dtype follows the data: bool, int64, the default float dtype or its complex partner.

    >>> torch.tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]])
    """
    made = _copy_of(data, dtype, device)
    return require_grad(made) if requires_grad else made


def _copy_of(data: Any, dtype: Any, device: Any) -> Any:
    if isinstance(data, TensorBase):
        import warnings

        warnings.warn(
            "To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() or "
            "sourceTensor.detach().clone().requires_grad_(True), rather than torch.tensor(sourceTensor).",
            UserWarning,
            stacklevel=3,
        )
        detached = wrap(data._storage, data._data, data._layout)
        return clone(detached) if dtype is None or dtype is data._layout.dtype else convert(detached, dtype_of(dtype))
    if hasattr(data, "__array_interface__") or type(data).__module__ == "numpy":
        from facula.tensor.interop import from_array

        made = clone(from_array(data))
        return made if dtype is None else convert(made, dtype_of(dtype))
    return from_sequence(data, dtype, device)


def from_sequence(data: Any, dtype: Any, device: Any) -> Any:
    """Nested Python data as a dense tensor."""
    shape, flat = flatten(data)
    target = dtype_of(dtype, _kind_of(flat)) if dtype is not None else _kind_of(flat)
    where = device_of(device)
    made = new_tensor(layout(shape, None, target, where))
    if where is CPU and flat:
        _write(made, flat, target)
        host_write(made)
    return made


_FORMATS = {
    "u8": ctypes.c_uint8, "i8": ctypes.c_int8, "i16": ctypes.c_int16, "i32": ctypes.c_int32, "i64": ctypes.c_int64,
    "u16": ctypes.c_uint16, "u32": ctypes.c_uint32, "u64": ctypes.c_uint64, "f32": ctypes.c_float, "f64": ctypes.c_double,
    "b8": ctypes.c_bool,
}  # fmt: skip


def _write(made: Any, flat: list[Any], target: dt.dtype) -> None:
    code = target.code
    if code in _FORMATS:
        try:
            if target.kind in "iu":
                flat = [int(x) for x in flat]
                _check_range(flat, target)
            elif target.kind == "b":
                flat = [bool(x) for x in flat]
            element: Any = _FORMATS[code]
            (element * len(flat)).from_address(made._data)[:] = flat
        except (TypeError, OverflowError) as error:
            raise type(error)(f"cannot make a {target} tensor from this data: {error}") from None
        return
    if target.kind == "c":
        part = ctypes.c_float if code == "c64" else ctypes.c_double
        pairs = [p for x in flat for p in (complex(x).real, complex(x).imag)]
        (part * len(pairs)).from_address(made._data)[:] = pairs
        return
    wide = from_sequence(flat, dt.float32, None)
    copy_result(made, convert(wide, target).reshape(made._layout.shape))


def _check_range(flat: list[int], target: dt.dtype) -> None:
    bits = 8 * target.itemsize
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if target.is_signed else (0, (1 << bits) - 1)
    for x in flat:
        if not low <= x <= high:
            if target.itemsize == 8:
                raise ValueError("Overflow when unpacking long long")
            raise RuntimeError(f"value cannot be converted to type {target.name} without overflow")


def _kind_of(flat: list[Any]) -> dt.dtype:
    kinds = {type(x) for x in flat}
    if not kinds:
        return dt.get_default_dtype()
    if kinds <= {bool}:
        return dt.bool
    if kinds <= {bool, int}:
        return dt.int64
    if any(issubclass(k, complex) for k in kinds):
        return dt.get_default_dtype().to_complex()
    if all(issubclass(k, int) or hasattr(k, "__index__") for k in kinds):
        return dt.int64
    return dt.get_default_dtype()


_MOST_DIMENSIONS = 128


def flatten(data: Any) -> tuple[tuple[int, ...], list[Any]]:
    """(shape, elements row by row) of nested sequences; torch's errors for ragged data and foreign objects."""
    shape: list[int] = []
    level = [data]
    outside: list[Any] = []  # what the first element is nested in
    while True:
        first = level[0] if level else None
        if isinstance(first, TensorBase) and first._layout.shape:
            level = [x.tolist() if isinstance(x, TensorBase) else x for x in level]
            first = level[0]
        if isinstance(first, (dict, set, frozenset)):
            raise RuntimeError(f"Could not infer dtype of {type(first).__name__}")
        if isinstance(first, (str, bytes)) or (first is None and level):
            if first is None:
                raise RuntimeError("Could not infer dtype of NoneType")
            raise TypeError(f"new(): invalid data type '{type(first).__name__}'")
        if not hasattr(first, "__len__") or isinstance(first, TensorBase):
            break
        if any(first is outer for outer in outside):
            raise TypeError("new(): self-referential lists are incompatible")
        if len(outside) == _MOST_DIMENSIONS:
            raise ValueError(f"too many dimensions '{type(first).__name__}'")
        outside.append(first)
        length = len(first)  # type: ignore[arg-type]
        below: list[Any] = []
        for item in level:
            if not hasattr(item, "__len__"):
                raise TypeError(
                    f"expected sequence of length {length} at dim {len(shape)} (got a {type(item).__name__})"
                )
            if len(item) != length:
                raise ValueError(f"expected sequence of length {length} at dim {len(shape)} (got {len(item)})")
            below.extend(item)
        shape.append(length)
        level = below
        if not level:
            break
    shape = shape if not isinstance(data, (bool, int, float, complex)) else []
    for i, item in enumerate(level):
        kind = type(item)
        if kind in (float, int, bool, complex):
            continue
        if isinstance(item, TensorBase) or hasattr(item, "item"):
            level[i] = item.item()
        elif isinstance(item, (str, bytes)):
            raise TypeError(f"new(): invalid data type '{kind.__name__}'")
        elif hasattr(item, "__len__"):
            raise ValueError(f"expected a number at dim {len(shape)} (got a sequence of length {len(item)})")
        elif (
            not isinstance(item, (int, float, complex))
            and not hasattr(item, "__index__")
            and not hasattr(item, "__float__")
        ):
            raise RuntimeError(f"Could not infer dtype of {kind.__name__}")
    return tuple(shape), level


publish("tensor", tensor)


@composite()
def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Any:
    """A tensor over `data`, sharing its memory where it is a tensor or a NumPy array of the right dtype."""
    if isinstance(data, TensorBase):
        return data if dtype is None or dtype is data._layout.dtype else convert(data, dtype_of(dtype))
    if hasattr(data, "__array_interface__"):
        from facula.tensor.interop import from_array

        made = from_array(data)
        return made if dtype is None or dtype is made._layout.dtype else convert(made, dtype_of(dtype))
    return from_sequence(data, dtype, device)


@composite()
def scalar_tensor(s: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """A 0-d tensor of the default float dtype."""
    made = allocate((), dtype, device)
    write_number(made, s)
    return require_grad(made) if requires_grad else made


@composite()
def asarray(
    obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False
) -> Any:
    """A tensor from nearly anything, copied only where it must be (or as `copy` says)."""
    made = as_tensor(obj, dtype, device)
    if copy and made is obj:
        made = clone(made)
    return require_grad(made) if requires_grad else made


def to_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, bool, Any]:
    """What the arguments of `Tensor.to` say: (dtype, device, copy, memory format)."""
    dtype, device = kwargs.pop("dtype", None), kwargs.pop("device", None)
    copy, memory_format = kwargs.pop("copy", False), kwargs.pop("memory_format", None)
    kwargs.pop("non_blocking", None)
    other = kwargs.pop("other", None)
    if kwargs:
        raise TypeError(f"to() got an unexpected keyword argument '{next(iter(kwargs))}'")
    positional = [a for a in args if not isinstance(a, bool)]
    flags = [a for a in args if isinstance(a, bool)]
    if len(flags) > 1:
        copy = flags[1]
    for a in positional:
        if isinstance(a, dt.dtype):
            dtype = a
        elif isinstance(a, TensorBase):
            other = a
        elif isinstance(a, (str, Device, int)):
            device = a if not isinstance(a, int) else f"cuda:{a}"
        elif a is not None:
            raise TypeError(f"to() received an invalid argument of type {type(a).__name__}")
    if other is not None:
        dtype, device = other._layout.dtype, other._layout.device
    return dtype, None if device is None else device_of(device), copy, memory_format
