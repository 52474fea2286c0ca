"""The older names of torch's namespace: typed constructors, predicates, switches that have nothing to switch here."""

from __future__ import annotations

from typing import Any

from facula.core import dtype as dt
from facula.core.promotion import number_dtype, result_dtype
from facula.runtime.objects import TensorBase
from facula.tensor.storage import TypedStorage, UntypedStorage
from facula.tensor.tensor import Tensor, _legacy

__all__ = ["TypedStorage", "UntypedStorage"]


class _TypedMeta(type):
    dtype: dt.dtype

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, TensorBase) and instance._layout.dtype is cls.dtype

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return _legacy(args, kwargs.get("device"), cls.dtype)

    def __repr__(cls) -> str:
        return f"<class 'torch.{cls.__name__}'>"


def _typed(name: str, dtype: dt.dtype) -> Any:
    doc = f"`{name}(2, 3)` makes an uninitialised {dtype} tensor, `{name}([2, 3])` one with these elements."
    return _TypedMeta(name, (), {"dtype": dtype, "__doc__": doc})


FloatTensor, DoubleTensor = _typed("FloatTensor", dt.float32), _typed("DoubleTensor", dt.float64)
HalfTensor, BFloat16Tensor = _typed("HalfTensor", dt.float16), _typed("BFloat16Tensor", dt.bfloat16)
ByteTensor, CharTensor = _typed("ByteTensor", dt.uint8), _typed("CharTensor", dt.int8)
ShortTensor, IntTensor, LongTensor = (
    _typed("ShortTensor", dt.int16),
    _typed("IntTensor", dt.int32),
    _typed("LongTensor", dt.int64),
)
BoolTensor = _typed("BoolTensor", dt.bool)


def _typed_storage(name: str, dtype: dt.dtype) -> Any:
    def __init__(self: Any, *args: Any) -> None:
        TypedStorage.__init__(self, *args, dtype=dtype)

    return type(
        name, (TypedStorage,), {"__init__": __init__, "__doc__": f"A storage of {dtype}.", "__module__": __name__}
    )


FloatStorage, DoubleStorage = _typed_storage("FloatStorage", dt.float32), _typed_storage("DoubleStorage", dt.float64)
HalfStorage, BFloat16Storage = _typed_storage("HalfStorage", dt.float16), _typed_storage("BFloat16Storage", dt.bfloat16)
LongStorage, IntStorage = _typed_storage("LongStorage", dt.int64), _typed_storage("IntStorage", dt.int32)
ShortStorage, CharStorage = _typed_storage("ShortStorage", dt.int16), _typed_storage("CharStorage", dt.int8)
ByteStorage, BoolStorage = _typed_storage("ByteStorage", dt.uint8), _typed_storage("BoolStorage", dt.bool)
ComplexFloatStorage = _typed_storage("ComplexFloatStorage", dt.complex64)
ComplexDoubleStorage = _typed_storage("ComplexDoubleStorage", dt.complex128)


def set_default_tensor_type(t: Any) -> None:
    """Make new tensors have the dtype of a typed constructor ('torch.DoubleTensor')."""
    if isinstance(t, str):
        t = globals()[t.removeprefix("torch.")]
    dt.set_default_dtype(t.dtype)


def is_tensor(obj: Any) -> bool:
    """Whether `obj` is a tensor."""
    return isinstance(obj, Tensor)


def is_storage(obj: Any) -> bool:
    """Whether `obj` is a storage."""
    return isinstance(obj, (TypedStorage, UntypedStorage))


def is_floating_point(input: Any) -> bool:
    """Whether the dtype is a floating-point one."""
    return bool(input._layout.dtype.is_floating_point)


def is_complex(input: Any) -> bool:
    """Whether the dtype is complex."""
    return bool(input._layout.dtype.is_complex)


def numel(input: Any) -> int:
    """The number of elements."""
    return int(input._layout.numel)


def is_nonzero(input: Any) -> bool:
    """Whether a one-element tensor is not zero."""
    if input._layout.numel != 1:
        word = "no" if input._layout.numel == 0 else "more than one"
        raise RuntimeError(f"Boolean value of Tensor with {word} value{'s' if word == 'no' else ''} is ambiguous")
    return bool(input.item())


def result_type(tensor1: Any, tensor2: Any) -> dt.dtype:
    """The dtype that arithmetic between two operands gives."""
    operands = [
        (x._layout.dtype, not x._layout.shape, False) if isinstance(x, TensorBase) else (number_dtype(x), True, True)
        for x in (tensor1, tensor2)
    ]
    return result_dtype(operands)


def typename(obj: Any) -> str:
    """The full name of a type: 'torch.FloatTensor' for tensors."""
    if isinstance(obj, Tensor):
        return str(obj.type())
    kind = obj if isinstance(obj, type) else type(obj)
    module = kind.__module__
    return kind.__qualname__ if module in ("builtins", None) else f"{module}.{kind.__qualname__}"


_switches: dict[str, Any] = {"deterministic": False, "warn_only": False, "precision": "highest", "warn_always": False}


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Noted, and already so: every operator gives the same bits each time, on any number of threads."""
    _switches["deterministic"], _switches["warn_only"] = bool(mode), warn_only


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was told."""
    return bool(_switches["deterministic"])


def get_deterministic_debug_mode() -> int:
    """0 off, 1 warn, 2 error."""
    return (1 if _switches["warn_only"] else 2) if _switches["deterministic"] else 0


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """0 'default', 1 'warn', 2 'error'."""
    names = {"default": 0, "warn": 1, "error": 2}
    level = names[debug_mode] if isinstance(debug_mode, str) else debug_mode
    use_deterministic_algorithms(level > 0, warn_only=level == 1)


def set_float32_matmul_precision(precision: str) -> None:
    """Noted; float32 products are always computed in float32 here."""
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(f"{precision} is not one of 'highest', 'high', or 'medium'")
    _switches["precision"] = precision


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was told."""
    return str(_switches["precision"])


def set_warn_always(b: bool) -> None:
    """Whether warnings that are given once are repeated."""
    _switches["warn_always"] = bool(b)


def is_warn_always_enabled() -> bool:
    """What `set_warn_always` was told."""
    return bool(_switches["warn_always"])


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether `use_deterministic_algorithms` was told to warn only."""
    return bool(_switches["warn_only"])


def is_signed(input: Any) -> bool:
    """Whether the dtype has negative numbers."""
    return bool(input._layout.dtype.is_signed)


def is_conj(input: Any) -> bool:
    """Always False: conjugates are computed at once."""
    return bool(input.is_conj())


def is_neg(input: Any) -> bool:
    """Always False: negation is computed at once."""
    return bool(input.is_neg())


def is_inference(input: Any) -> bool:
    """Whether the tensor was made in inference mode."""
    return bool(input.is_inference())


def is_same_size(input: Any, other: Any) -> bool:
    """Whether both have the same shape."""
    return bool(input._layout.shape == other._layout.shape)


def get_device(input: Any) -> int:
    """The number of the tensor's device, -1 for the CPU."""
    return int(input.get_device())
