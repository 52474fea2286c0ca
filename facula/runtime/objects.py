"""Storages, and what every tensor is made of: a storage, an address in it, and a layout.

The fields are all there is on the hot path: an operation reads layouts, finds a plan, takes memory, calls a kernel with
addresses. Methods of tensors live above (`facula.tensor`), which registers its class here.
"""

from __future__ import annotations

from typing import Any

from facula.core.layout import CPU, Layout
from facula.runtime import memory


class Storage:
    """A block of memory: the allocator's own, or borrowed from an `owner` that is kept alive.

    Attributes: data (address), nbytes, version (counts in-place changes), views (how many were made), owner, device.
    """

    __slots__ = ("__weakref__", "block", "data", "device", "nbytes", "owner", "version", "views")

    def __init__(self, nbytes: int, device: Any = CPU) -> None:
        self.nbytes, self.version, self.views, self.owner, self.device = nbytes, 0, 0, None, device
        if device is CPU:
            self.block = memory.size_class(nbytes)
            self.data = memory.allocate(self.block)
        else:  # meta: geometry without memory
            self.block = self.data = 0

    @staticmethod
    def borrow(address: int, nbytes: int, owner: Any) -> Storage:
        """A storage over memory that belongs to `owner`."""
        self = Storage.__new__(Storage)
        self.nbytes, self.version, self.views, self.owner, self.device = nbytes, 0, 0, owner, CPU
        self.block, self.data = 0, address
        return self

    def resize(self, nbytes: int) -> None:
        """Change the size, keeping the bytes that fit. Tensors over it must read `data` again."""
        import ctypes

        replacement = Storage(nbytes, self.device)
        if self.data and replacement.data:
            ctypes.memmove(replacement.data, self.data, min(self.nbytes, nbytes))
        for field in ("data", "block", "owner"):
            mine, theirs = getattr(self, field), getattr(replacement, field)
            setattr(self, field, theirs)
            setattr(replacement, field, mine)
        self.nbytes, replacement.nbytes = nbytes, self.nbytes

    def __del__(self, release: Any = memory.release) -> None:
        if self.block:
            release(self.data, self.block)


class TensorBase:
    """The fields of a tensor.

    _storage, _data (address of the first element), _layout; _requires_grad (1 if it takes part in autograd), _node
    (what computed it, None for leaves), _output (which output of the node), _grad, _base (what it is a view of) with
    _base_node (the base's node when the view's own was made), and _meta: the rarely used rest (hooks, names), None
    until needed.
    """

    __slots__ = (
        "_base", "_base_node", "_data", "_grad", "_layout", "_meta", "_node", "_output", "_requires_grad", "_storage",
    )  # fmt: skip

    _base: Any
    _base_node: Any

    _data: int
    _grad: Any
    _layout: Layout
    _meta: Any
    _node: Any
    _output: int
    _requires_grad: int
    _storage: Storage


_tensor_class: type[Any] = TensorBase
_new = object.__new__


def register_tensor_class(cls: type[Any]) -> None:
    """Make `cls` the class of new tensors."""
    global _tensor_class
    _tensor_class = cls


def new_tensor(layout: Layout) -> Any:
    """An uninitialised dense tensor (`layout` must be non-overlapping and dense)."""
    storage = Storage(layout.nbytes, layout.device)
    tensor = _new(_tensor_class)
    tensor._storage, tensor._data, tensor._layout = storage, storage.data, layout
    tensor._requires_grad, tensor._node, tensor._output, tensor._grad, tensor._meta = 0, None, 0, None, None
    tensor._base = tensor._base_node = None
    return tensor


def wrap(storage: Storage, address: int, layout: Layout, cls: Any = None) -> Any:
    """A tensor over existing memory."""
    tensor = _new(cls or _tensor_class)
    tensor._storage, tensor._data, tensor._layout = storage, address, layout
    tensor._requires_grad, tensor._node, tensor._output, tensor._grad, tensor._meta = 0, None, 0, None, None
    tensor._base = tensor._base_node = None
    return tensor


def alias(tensor: Any, layout: Layout | None = None, offset: int = 0) -> Any:
    """Another tensor over the same storage, `offset` elements further, outside autograd."""
    if layout is None:
        layout = tensor._layout
    return wrap(tensor._storage, tensor._data + offset * tensor._layout.dtype.itemsize, layout)
