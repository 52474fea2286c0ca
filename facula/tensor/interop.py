"""Tensors and other people's arrays over the same memory: NumPy, the buffer protocol, DLPack.

A borrowed block is kept alive by its storage; a lent one keeps the storage alive. Nothing is copied.
"""

from __future__ import annotations

import ctypes
from typing import Any

from facula.core import dtype as dt
from facula.core.layout import CPU, layout
from facula.core.lazy import numpy as np
from facula.ops.define import publish
from facula.ops.dispatch import host_read
from facula.runtime.objects import Storage, wrap


def from_array(array: Any) -> Any:
    """A tensor over a NumPy array or scalar; read-only and negative-stride arrays are refused as PyTorch does."""
    if not isinstance(array, np.ndarray):
        array = np.asarray(array)
    dtype = dt.from_numpy_name(array.dtype.name)
    if dtype is None or not array.dtype.isnative:
        if dtype is not None:
            raise ValueError(
                "given numpy array has byte order different from the native byte order. Conversion between byte orders is currently not supported."
            )
        raise TypeError(
            f"can't convert np.ndarray of type {array.dtype.type.__module__}.{array.dtype.name}_. The only supported types are: float64, "
            "float32, float16, complex64, complex128, int64, int32, int16, int8, uint64, uint32, uint16, uint8, and bool."
        )
    itemsize = dtype.itemsize
    if any(s < 0 for s in array.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative strides are not currently supported. "
            "(You can probably work around this by making a copy of your array  with array.copy().) "
        )
    if any(s % itemsize for s in array.strides):
        raise ValueError(
            "given numpy array strides not a multiple of the element byte size. Copy the numpy array to reallocate the memory."
        )
    if not array.flags.writeable:
        import warnings

        warnings.warn(
            "The given NumPy array is not writable, and PyTorch does not support non-writable tensors. This means writing to this tensor "
            "will result in undefined behavior. You may want to copy the array to protect its data or make it writable before converting "
            "it to a tensor. This type of warning will be suppressed for the rest of this program.",
            UserWarning,
            stacklevel=3,
        )
    strides = tuple([s // itemsize for s in array.strides])
    geometry = layout(array.shape, strides, dtype)
    address = array.__array_interface__["data"][0]
    extent = 1 + sum((n - 1) * s for n, s in zip(array.shape, strides, strict=True)) if array.size else 0
    return wrap(Storage.borrow(address, extent * itemsize, array), address, geometry)


def from_numpy(ndarray: Any) -> Any:
    """A tensor over the memory of a NumPy array: changing one changes the other.

    >>> a = numpy.zeros(2); t = torch.from_numpy(a); a[0] = 1; t
    tensor([1., 0.], dtype=torch.float64)
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    return from_array(ndarray)


class _Lent:
    """Memory as NumPy sees it (`__array_interface__`), keeping the storage alive."""

    __slots__ = ("__array_interface__", "storage")

    def __init__(self, tensor: Any) -> None:
        own = tensor._layout
        self.storage = tensor._storage
        kind = {"b": "b1", "f": f"f{own.dtype.itemsize}", "c": f"c{own.dtype.itemsize}"}.get(
            own.dtype.kind, f"{own.dtype.kind}{own.dtype.itemsize}"
        )
        self.__array_interface__ = {
            "shape": own.shape, "typestr": ("|" if own.dtype.itemsize == 1 else "<") + kind, "data": (tensor._data or 64, False),
            "strides": tuple([s * own.dtype.itemsize for s in own.stride]), "version": 3,
        }  # fmt: skip


def numpy_(tensor: Any, *, force: bool = False) -> Any:
    """A NumPy array over the tensor's memory: changing one changes the other."""
    if tensor._requires_grad and not force:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
    own = tensor._layout
    if own.device is not CPU:
        raise TypeError(
            f"can't convert {own.device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
        )
    if own.dtype.numpy_name is None:
        raise TypeError(f"Got unsupported ScalarType {own.dtype.scalar_name}")
    host_read(tensor, ".numpy()")
    return np.asarray(_Lent(tensor))


publish("from_numpy", from_numpy)
publish("numpy", numpy_, method=True, namespaces=())


def frombuffer(buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Any:
    """A 1-d tensor over an object that offers the buffer protocol."""
    view = memoryview(buffer).cast("B")
    if len(view) == 0:
        raise ValueError(
            "both buffer length (0) and count (-1) must not be 0"
            if count < 0
            else f"both buffer length (0) and count ({count}) must not be 0"
        )
    if not 0 <= offset < len(view):
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length ({len(view)} bytes) minus 1"
        )
    available = len(view) - offset
    if count < 0:
        if available % dtype.itemsize:
            raise ValueError(
                f"buffer length ({available} bytes) after offset ({offset} bytes) must be a multiple of element size ({dtype.itemsize})"
            )
        count = available // dtype.itemsize
    if count * dtype.itemsize > available:
        raise ValueError(
            f"requested buffer length ({count} * {dtype.itemsize} bytes) after offset ({offset} bytes) must not be greater than actual "
            f"buffer length ({len(view)} bytes)"
        )
    array = np.frombuffer(view, np.uint8)
    address = array.__array_interface__["data"][0] + offset
    made = wrap(Storage.borrow(address, count * dtype.itemsize, array), address, layout((count,), None, dtype))
    if requires_grad:
        made._requires_grad = 1
    return made


publish("frombuffer", frombuffer)


# -- DLPack ----------------------------------------------------------------------------------------------------------
class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32), ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64),
    )  # fmt: skip


class _DLManaged(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_DLManaged))
_DLManaged._fields_ = (("tensor", _DLTensor), ("context", ctypes.c_void_p), ("deleter", _Deleter))
_CODES = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}
_lent: dict[int, Any] = {}


@_Deleter
def _delete(managed: Any) -> None:
    _lent.pop(ctypes.addressof(managed.contents), None)


_CapsuleDestructor = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def _api() -> Any:
    api = ctypes.PyDLL(None)
    api.PyCapsule_New.restype = ctypes.py_object
    api.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    api.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]
    return api


@_CapsuleDestructor
def _drop(capsule: int) -> None:
    """A capsule that nobody took gives its tensor back."""
    api = ctypes.PyDLL(None)
    api.PyCapsule_IsValid.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    if api.PyCapsule_IsValid(capsule, b"dltensor"):
        _lent.pop(api.PyCapsule_GetPointer(capsule, b"dltensor"), None)


def to_dlpack(tensor: Any, **options: Any) -> Any:
    """A DLPack capsule over the tensor's memory."""
    if tensor._requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    own = tensor._layout
    if own.device is not CPU:
        raise BufferError(f"cannot export a tensor of the device {own.device}: it has no memory here")
    host_read(tensor, "DLPack")
    n = len(own.shape)
    shape, strides = (ctypes.c_int64 * max(1, n))(*own.shape), (ctypes.c_int64 * max(1, n))(*own.stride)
    code = 4 if own.dtype is dt.bfloat16 else _CODES[own.dtype.kind]
    managed = _DLManaged(
        _DLTensor(
            tensor._data, 1, 0, n, code, 8 * own.dtype.itemsize, 1, ctypes.cast(shape, ctypes.POINTER(ctypes.c_int64)),
            ctypes.cast(strides, ctypes.POINTER(ctypes.c_int64)), 0,
        ), None, _delete,
    )  # fmt: skip
    _lent[ctypes.addressof(managed)] = (managed, shape, strides, tensor._storage)
    return _api().PyCapsule_New(ctypes.addressof(managed), b"dltensor", ctypes.cast(_drop, ctypes.c_void_p))


class _Owner:
    """Calls the producer's deleter when the last tensor over the memory is gone."""

    def __init__(self, managed: Any) -> None:
        self.managed = managed

    def __del__(self) -> None:
        if self.managed.contents.deleter:
            self.managed.contents.deleter(self.managed)


def from_dlpack(ext_tensor: Any, **options: Any) -> Any:
    """A tensor over the memory of any object with `__dlpack__` (or a capsule)."""
    capsule = ext_tensor.__dlpack__() if hasattr(ext_tensor, "__dlpack__") else ext_tensor
    api = _api()
    address = api.PyCapsule_GetPointer(capsule, b"dltensor")
    managed = ctypes.cast(address, ctypes.POINTER(_DLManaged))
    given = managed.contents.tensor
    if given.device_type not in (1, 3, 11, 13):
        raise RuntimeError(
            f"from_dlpack: memory of device type {given.device_type} cannot be used here (only the CPU's)"
        )
    kind = {0: "i", 1: "u", 2: "f", 5: "c", 6: "b"}.get(given.code)
    dtype = (
        dt.bfloat16
        if given.code == 4
        else next((d for d in dt.ALL_DTYPES if d.kind == kind and d.itemsize * 8 == given.bits and d.numpy_name), None)
    )
    if dtype is None or given.lanes != 1:
        raise RuntimeError(
            f"from_dlpack: elements of code {given.code}, {given.bits} bits, {given.lanes} lanes have no dtype here"
        )
    api.PyCapsule_SetName(capsule, b"used_dltensor")
    shape = tuple(given.shape[i] for i in range(given.ndim))
    strides = tuple(given.strides[i] for i in range(given.ndim)) if given.strides else None
    geometry = layout(shape, strides, dtype)
    start = (given.data or 0) + given.byte_offset
    extent = 1 + sum((n - 1) * s for n, s in zip(shape, geometry.stride, strict=True)) if geometry.numel else 0
    return wrap(Storage.borrow(start, extent * dtype.itemsize, _Owner(managed)), start, geometry)


publish("from_dlpack", from_dlpack)
publish("__dlpack__", to_dlpack, method=True, namespaces=())


def item(tensor: Any) -> Any:
    """The one element as a Python number; RuntimeError for tensors of more."""
    own = tensor._layout
    if own.numel != 1:
        raise RuntimeError(f"a Tensor with {own.numel} elements cannot be converted to Scalar")
    if own.device is not CPU:
        raise RuntimeError("Tensor.item() cannot be called on meta tensors")
    host_read(tensor, ".item()")
    reader = _READERS.get(own.dtype.code)
    if reader is not None:
        return reader.from_address(tensor._data).value
    return to_list(tensor.detach().reshape(1))[0]


_READERS: dict[str, Any] = {
    "u8": ctypes.c_uint8, "i8": ctypes.c_int8, "i16": ctypes.c_int16, "i32": ctypes.c_int32, "i64": ctypes.c_int64,
    "u16": ctypes.c_uint16, "u32": ctypes.c_uint32, "u64": ctypes.c_uint64, "f32": ctypes.c_float, "f64": ctypes.c_double,
    "b8": ctypes.c_bool,
}  # fmt: skip


def to_list(tensor: Any) -> Any:
    """Nested lists of Python numbers (a number for a 0-d tensor)."""
    own = tensor._layout
    if own.device is not CPU:
        raise NotImplementedError("Cannot copy out of meta tensor; no data!")
    plain = tensor.detach()
    if own.dtype.numpy_name is None:
        plain = plain.to(dt.float32)
    return numpy_(plain).tolist()


publish("item", item, method=True, namespaces=())
publish("tolist", to_list, method=True, namespaces=())
