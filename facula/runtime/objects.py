"""Storages, and what every tensor is made of: a storage, an address in it, and a layout.

The fields are all there is on the hot path: an operation reads layouts, finds a plan, takes memory, calls a kernel with
addresses. Methods of tensors live above (`facula.tensor`), which registers its class here.
"""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING, Any, ClassVar

from facula.core import settings
from facula.core.layout import CPU, Layout
from facula.runtime import memory


class ReferenceStorage:
    """A block of memory: the allocator's own, or borrowed from an `owner` that is kept alive.

    Attributes: data (address), nbytes, version (counts in-place changes), views (how many were made), owner, device.
    """

    __slots__ = ("__weakref__", "block", "data", "device", "nbytes", "owner", "version", "views")

    block: int
    data: int
    device: Any
    nbytes: int
    owner: Any
    version: int
    views: int
    borrow: ClassVar[Any]
    resize: ClassVar[Any]
    move: ClassVar[Any]

    if TYPE_CHECKING:

        def __init__(self, nbytes: int, device: Any = CPU) -> None: ...

    def __del__(self, release: Any = memory.release) -> None:
        if self.block:
            release(self.data, self.block)


class ReferenceTensorBase:
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
    _storage: Any


class ReferenceNodeBase:
    """The fields of a node of the graph (see `facula.engine.graph`)."""

    __slots__ = (
        "edges", "hooks", "metadata_dict", "operator", "outputs", "pre_hooks", "released", "saved", "sequence", "tensor_hooks", "versions",
    )  # fmt: skip

    edges: tuple[Any, ...]
    hooks: dict[int, Any] | None
    metadata_dict: dict[Any, Any] | None
    operator: Any
    outputs: tuple[Any, ...]
    pre_hooks: dict[int, Any] | None
    released: int
    saved: Any
    sequence: int
    tensor_hooks: list[tuple[int, dict[int, Any]]] | None
    versions: Any


REFERENCE = settings.reference
"""Whether the plain Python classes and paths are used instead of the native ones."""

_new = object.__new__


def _initialise(self: Any, nbytes: int, device: Any = CPU) -> None:
    self.nbytes, self.version, self.views, self.owner, self.device = nbytes, 0, 0, None, device
    self.block = self.data = 0
    if device is CPU:  # other devices keep geometry without memory
        if REFERENCE:
            block = memory.size_class(nbytes)
            self.data = memory.allocate(block)
        else:
            block = memory.bin_address(nbytes)
            self.data = memory.take(block)
        self.block = block  # last: a storage that got no memory has none to give back


def _borrow(address: int, nbytes: int, owner: Any) -> Any:
    """A storage over memory that belongs to `owner`."""
    self = Storage.__new__(Storage)
    self.nbytes, self.version, self.views, self.owner, self.device = nbytes, 0, 0, owner, CPU
    self.block, self.data = 0, address
    return self


def _resize(self: Any, nbytes: int) -> None:
    """Change the size, keeping the bytes that fit. The tensor that asked must read `data` again."""
    import ctypes

    shared = sys.getrefcount(self) > _ALONE
    replacement = Storage(nbytes, self.device)
    if self.data and replacement.data:
        ctypes.memmove(replacement.data, self.data, min(self.nbytes, nbytes))
    _exchange(self, replacement, shared)


def _move(self: Any, address: int, owner: Any) -> None:
    """Go over to memory that belongs to `owner`, which holds a copy. The tensor that asked must read `data` again."""
    shared = sys.getrefcount(self) > _ALONE
    _exchange(self, Storage.borrow(address, self.nbytes, owner), shared)


def _exchange(self: Any, other: Any, shared: bool) -> None:
    """Swap memory with another storage, which dies with the old memory unless other tensors still look at that."""
    for field in ("data", "block", "owner", "nbytes"):
        mine, theirs = getattr(self, field), getattr(other, field)
        setattr(self, field, theirs)
        setattr(other, field, mine)
    if shared:
        self.owner = other if self.owner is None else (self.owner, other)


_ALONE = 3  # references to a storage of one tensor while a method of it runs: the tensor's, `self`, and the count's own


if TYPE_CHECKING:
    from facula.runtime import native

    Storage: Any
    TensorBase: Any  # operators are attached as methods, which no checker sees
    NodeBase = ReferenceNodeBase

    def next_sequence() -> int: ...
elif REFERENCE:
    Storage, TensorBase, NodeBase = ReferenceStorage, ReferenceTensorBase, ReferenceNodeBase
    next_sequence = itertools.count(1).__next__
else:
    from facula.runtime import native

    native.install()
    Storage, TensorBase, NodeBase = native.types.storage, native.types.tensor, native.types.node
    next_sequence = native.types.next_sequence

Storage.__init__, Storage.borrow, Storage.resize, Storage.move = _initialise, staticmethod(_borrow), _resize, _move
_tensor_class: Any = TensorBase


def register_tensor_class(cls: type[Any]) -> None:
    """Make `cls` the class of new tensors."""
    global _tensor_class
    _tensor_class = cls
    if not REFERENCE:
        native.STATE[native.S_TENSOR_TYPE] = id(cls)


def tensor_class() -> type[Any]:
    """The class of new tensors."""
    return _tensor_class  # type: ignore[no-any-return]


def register_parameter_class(cls: type[Any]) -> None:
    """Let operations take instances of `cls` (a subclass without behaviour of its own) as quickly as tensors."""
    if not REFERENCE:
        native.STATE[native.S_PARAMETER_TYPE] = id(cls)


def register_node_class(cls: type[Any]) -> None:
    """Make `cls` the class of nodes that native code makes."""
    if not REFERENCE:
        native.STATE[native.S_NODE_TYPE] = id(cls)


def _new_tensor(layout: Layout) -> Any:
    """An uninitialised dense tensor (`layout` must be non-overlapping and dense)."""
    storage = Storage(layout.nbytes, layout.device)
    return wrap(storage, storage.data, layout)


def _new_tensor_first(layout: Layout) -> Any:
    """The same, noting the allocator's bin in the layout so that native code serves the next call."""
    if layout.device is CPU:
        layout.bin = memory.bin_address(layout.nbytes)
    return _new_tensor(layout)


def _wrap(storage: Any, address: int, layout: Layout, cls: Any = None) -> Any:
    """A tensor over existing memory."""
    tensor = _new(cls or _tensor_class)
    tensor._storage, tensor._data, tensor._layout = storage, address, layout
    tensor._requires_grad, tensor._node, tensor._output, tensor._grad, tensor._meta = 0, None, 0, None, None
    tensor._base = tensor._base_node = None
    return tensor


if REFERENCE:
    new_tensor, wrap = _new_tensor, _wrap
else:
    new_tensor, wrap = native.types.new_tensor, native.types.wrap
    native.bind(_new_tensor_first, Layout, CPU)


def alias(tensor: Any, layout: Layout | None = None, offset: int = 0) -> Any:
    """Another tensor over the same storage, `offset` elements further, outside autograd."""
    if layout is None:
        layout = tensor._layout
    return wrap(tensor._storage, tensor._data + offset * tensor._layout.dtype.itemsize, layout)
