"""The one place where files and pipes meet tensors: a tensor's storage as bytes, and bytes as a storage.

Comes in: tensors, or memory. Goes out: memory, or tensors. Whoever stores or sends tensors uses these functions and
never looks into a tensor itself; this module must never know pickles, archives or processes.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from facula.core.layout import CPU, layout
from facula.runtime.objects import Storage, new_tensor, wrap

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from facula.core.device import device as Device
    from facula.core.dtype import dtype as DType


def storage_of(tensor: Any) -> tuple[Storage, int]:
    """A tensor's storage, and where in it the tensor starts, counted in elements."""
    storage = tensor._storage
    return storage, (tensor._data - storage.data) // tensor._layout.dtype.itemsize


def storage_bytes(storage: Storage) -> memoryview:
    """The memory of a CPU storage, writable; valid while the storage lives."""
    if not storage.nbytes:
        return memoryview(bytearray())
    return memoryview((ctypes.c_ubyte * storage.nbytes).from_address(storage.data)).cast("B")


def new_storage(nbytes: int, device: Device = CPU) -> Storage:
    """An uninitialised storage."""
    return Storage(nbytes, device)


def borrow_storage(memory: Any, offset: int, nbytes: int, owner: Any = None) -> Storage:
    """A storage over a part of `memory`, a writable buffer, which it keeps alive together with `owner`."""
    if not nbytes:
        return Storage(0)
    held = (ctypes.c_ubyte * nbytes).from_buffer(memory, offset)
    return Storage.borrow(ctypes.addressof(held), nbytes, (held, owner))


def stacked(tensors: Sequence[Any], cls: Any) -> Any:
    """`stack(tensors, 0)` for many small tensors: a new tensor with their bytes one after the other.

    None unless all are plain tensors of one dense layout on the CPU that take no part in autograd.
    """
    geometry = tensors[0]._layout
    if not geometry.contiguous or geometry.device is not CPU:
        return None
    for tensor in tensors:
        if type(tensor) is not cls or tensor._layout is not geometry or tensor._requires_grad:
            return None
    result = new_tensor(layout((len(tensors), *geometry.shape), None, geometry.dtype))
    address, nbytes, move = result._data, geometry.nbytes, ctypes.memmove
    for tensor in tensors:
        move(address, tensor._data, nbytes)
        address += nbytes
    return result


def tensor_over(
    storage: Storage,
    dtype: DType,
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    requires_grad: bool = False,
) -> Any:
    """A tensor whose element `i` lies at `offset + i * stride`. The caller has checked that all do lie in the
    storage."""
    tensor = wrap(storage, storage.data + offset * dtype.itemsize, layout(size, stride, dtype, storage.device))
    if requires_grad:
        tensor.requires_grad_(True)
    return tensor
