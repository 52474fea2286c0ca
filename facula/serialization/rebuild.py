"""What a checkpoint calls a tensor, and tensors from what a checkpoint says.

A pickled tensor names one of PyTorch's `_rebuild_*` functions with a storage, an offset, sizes and strides. The
functions here stand under those names in both directions: `save` writes references to them, `load` calls them. They
check that every element lies in the storage, whatever the file says.

Comes in: values from a file. Goes out: tensors, parameters. This module must never know archives or opcodes.
"""

from __future__ import annotations

from pickle import UnpicklingError
from typing import TYPE_CHECKING

import facula
from facula.serialization.storages import new_storage, storage_bytes, tensor_over
from facula.tensor.storage import TypedStorage

if TYPE_CHECKING:
    from typing import Any, NoReturn

    from facula import Tensor

MAX_DIMENSIONS = 64
MAX_NUMEL = 1 << 62


class StorageType:
    """PyTorch's name of a storage with elements of one type: `FloatStorage`."""

    __slots__ = ("dtype", "name")

    def __init__(self, name: str, dtype: Any) -> None:
        self.name = name
        self.dtype = dtype

    def __repr__(self) -> str:
        return f"StorageType(dtype={self.dtype})"


UntypedStorage = StorageType("UntypedStorage", facula.uint8)
_TYPED = {
    "DoubleStorage": facula.float64,
    "FloatStorage": facula.float32,
    "HalfStorage": facula.float16,
    "LongStorage": facula.int64,
    "IntStorage": facula.int32,
    "ShortStorage": facula.int16,
    "CharStorage": facula.int8,
    "ByteStorage": facula.uint8,
    "BoolStorage": facula.bool,
    "BFloat16Storage": facula.bfloat16,
    "ComplexDoubleStorage": facula.complex128,
    "ComplexFloatStorage": facula.complex64,
}
STORAGE_TYPES = {name: StorageType(name, dtype) for name, dtype in _TYPED.items()}
STORAGE_TYPE_OF = {kind.dtype: kind for kind in STORAGE_TYPES.values()}


def _refuse(what: str) -> NoReturn:
    raise UnpicklingError(f"the checkpoint describes a tensor that can't be: {what}")


def _integers(values: Any, what: str) -> tuple[int, ...]:
    if not isinstance(values, (tuple, list)) or len(values) > MAX_DIMENSIONS:
        _refuse(f"{what} {values!r:.100}")
    for value in values:
        if type(value) is not int or not 0 <= value < MAX_NUMEL:
            _refuse(f"{what} {tuple(values)!r:.100}")
    return tuple(values)


def _checked_geometry(size: Any, stride: Any) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Sizes and strides, and how many elements of a storage they reach over."""
    size, stride = _integers(size, "sizes"), _integers(stride, "strides")
    if len(size) != len(stride):
        _refuse(f"{len(size)} sizes but {len(stride)} strides")
    numel = 1
    for length in size:
        numel *= length
        if numel >= MAX_NUMEL:
            _refuse(f"sizes {size}")
    extent = 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if numel else 0
    return size, stride, extent


def _tensor(storage: Any, dtype: Any, offset: Any, size: Any, stride: Any, requires_grad: Any) -> Tensor:
    if type(storage) is not TypedStorage:
        _refuse(f"its storage is a {type(storage).__name__}")
    size, stride, extent = _checked_geometry(size, stride)
    (offset,) = _integers((offset,), "storage offset")
    needed = (offset + extent) * dtype.itemsize if extent else 0
    if needed > storage.nbytes():
        raise RuntimeError(
            f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset}, and itemsize "
            f"{dtype.itemsize} requiring a storage size of {needed} are out of bounds for storage of size "
            f"{storage.nbytes()}: the checkpoint is damaged"
        )
    floating = dtype.is_floating_point or dtype.is_complex
    return tensor_over(storage._storage, dtype, offset if extent else 0, size, stride, bool(requires_grad) and floating)


def _rebuild_tensor(storage: Any, storage_offset: Any, size: Any, stride: Any) -> Tensor:
    return _tensor(storage, _dtype_of(storage), storage_offset, size, stride, False)


def _rebuild_tensor_v2(
    storage: Any,
    storage_offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any,
    backward_hooks: Any,
    metadata: Any = None,
) -> Tensor:
    tensor = _tensor(storage, _dtype_of(storage), storage_offset, size, stride, requires_grad)
    return _with_metadata(tensor, metadata)


def _rebuild_tensor_v3(
    storage: Any,
    storage_offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any,
    backward_hooks: Any,
    dtype: Any,
    metadata: Any = None,
) -> Tensor:
    tensor = _tensor(storage, _checked_dtype(dtype), storage_offset, size, stride, requires_grad)
    return _with_metadata(tensor, metadata)


def _dtype_of(storage: Any) -> Any:
    if type(storage) is not TypedStorage:
        _refuse(f"its storage is a {type(storage).__name__}")
    return storage.dtype


def _checked_dtype(dtype: Any) -> Any:
    if not isinstance(dtype, facula.dtype):
        _refuse(f"its dtype is a {type(dtype).__name__}")
    return dtype


def _with_metadata(tensor: Any, metadata: Any) -> Tensor:
    """PyTorch notes there that a tensor is to be read conjugated or negated; ours hold what they mean."""
    if isinstance(metadata, dict):
        if metadata.get("conj") is True:
            tensor = tensor.conj()
        if metadata.get("neg") is True:
            tensor = tensor.neg()
    return tensor


def _rebuild_parameter(data: Any, requires_grad: Any, backward_hooks: Any) -> Any:
    if not isinstance(data, facula.Tensor):
        _refuse(f"a parameter of a {type(data).__name__}")
    return facula.nn.Parameter(data, requires_grad=bool(requires_grad))


def _rebuild_parameter_with_state(data: Any, requires_grad: Any, backward_hooks: Any, state: Any) -> Any:
    return _set_attributes(_rebuild_parameter(data, requires_grad, backward_hooks), state)


def _rebuild_from_type_v2(function: Any, cls: Any, arguments: Any, state: Any) -> Any:
    """A tensor with attributes of its own, or of a class of its own."""
    if not any(function is known for known in TENSOR_FUNCTIONS) or type(arguments) is not tuple:
        _refuse(f"made by {function!r:.100}")
    tensor = function(*arguments)
    if cls is facula.nn.Parameter:
        tensor = facula.nn.Parameter(tensor, requires_grad=tensor.requires_grad)
    elif cls is not facula.Tensor:
        if not isinstance(cls, type) or not issubclass(cls, facula.Tensor):
            _refuse(f"of class {cls!r:.100}")
        tensor = tensor.as_subclass(cls)
    return _set_attributes(tensor, state)


def _set_attributes(target: Any, state: Any) -> Any:
    """What `__dict__` held. Only into `__dict__`: assigning an attribute could run code of the class."""
    plain, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    if plain is None and slots is None:
        return target
    if type(plain) is not dict or slots or not all(type(name) is str for name in plain):
        _refuse("its attributes are not a dictionary")
    attributes = getattr(target, "__dict__", None)
    if attributes is None:
        _refuse(f"a {type(target).__name__} can't have attributes")
    attributes.update(plain)
    return target


def _rebuild_meta_tensor_no_storage(dtype: Any, size: Any, stride: Any, requires_grad: Any) -> Tensor:
    size, stride, extent = _checked_geometry(size, stride)
    dtype = _checked_dtype(dtype)
    storage = new_storage(extent * dtype.itemsize, facula.device("meta"))
    return tensor_over(storage, dtype, 0, size, stride, bool(requires_grad) and dtype.is_floating_point)


def _rebuild_device_tensor_from_cpu_tensor(data: Any, dtype: Any, device: Any, requires_grad: Any) -> Tensor:
    if not isinstance(data, facula.Tensor):
        _refuse(f"a copy of a {type(data).__name__}")
    return data.to(device=device, dtype=_checked_dtype(dtype)).requires_grad_(bool(requires_grad))


def _get_layout(name: Any) -> Any:
    """The layout of that name, `torch.strided`."""
    if name != "torch.strided":
        raise UnpicklingError(f"tensors of layout {name!r:.50} are not supported")
    return facula.strided


def _rebuild_generator(device: Any) -> Any:
    return facula.Generator(device=device)


TENSOR_FUNCTIONS = (
    _rebuild_tensor,
    _rebuild_tensor_v2,
    _rebuild_tensor_v3,
    _rebuild_parameter,
    _rebuild_parameter_with_state,
    _rebuild_meta_tensor_no_storage,
    _rebuild_device_tensor_from_cpu_tensor,
)

# Where PyTorch keeps what stands here.
TORCH_MODULES = {function.__name__: "torch._utils" for function in TENSOR_FUNCTIONS}
TORCH_MODULES |= {
    "_rebuild_from_type_v2": "torch._tensor",
    "_get_layout": "torch.serialization",
    "UntypedStorage": "torch.storage",
}
TORCH_MODULES |= dict.fromkeys(STORAGE_TYPES, "torch")


def swap_bytes(storage: Any, itemsize: int) -> None:
    """Turn big-endian elements into little-endian ones or back, in place."""
    data = storage_bytes(storage)
    copy = bytes(data)
    for position in range(itemsize):
        data[position::itemsize] = copy[itemsize - 1 - position :: itemsize]
