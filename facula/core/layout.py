"""Layouts: shape, strides, dtype and device of a tensor, interned so that identity is equality and a cache key.

A tensor is (storage, address, layout). Everything that depends on the geometry alone (how many elements, whether they
lie densely, which kernel an operation needs) is computed once per layout or per combination of layouts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from facula.core.device import device as Device
from facula.core.dtype import on_default_dtype
from facula.core.shapes import contiguous_stride
from facula.core.strides import is_contiguous

if TYPE_CHECKING:
    from facula.core.dtype import dtype as DType

Shape = tuple[int, ...]


class Size(tuple[int, ...]):
    """The shape of a tensor: a tuple of ints that prints as `torch.Size([2, 3])`."""

    __slots__ = ()

    def __new__(cls, sizes: Iterable[Any] = ()) -> Size:
        made = tuple.__new__(cls, sizes)
        for i, size in enumerate(made):
            if type(size) is not int:
                if not hasattr(size, "__index__"):
                    raise TypeError(f"torch.Size() takes an iterable of 'int' (item {i} is '{type(size).__name__}')")
                return tuple.__new__(cls, [each.__index__() for each in made])
        return made

    def __repr__(self) -> str:
        return f"torch.Size([{', '.join(map(str, self))}])"

    __str__ = __repr__

    def numel(self) -> int:
        """The number of elements of a tensor of this shape."""
        count = 1
        for size in self:
            count *= size
        return count

    def __getitem__(self, index: Any) -> Any:
        picked = tuple.__getitem__(self, index)
        return Size(picked) if isinstance(index, slice) else picked

    def __add__(self, other: Any) -> Size:
        if not isinstance(other, tuple):
            raise TypeError(f'can only concatenate tuple (not "{type(other).__name__}") to torch.Size')
        return Size(tuple.__add__(self, other))

    def __radd__(self, other: Any) -> Size:
        if not isinstance(other, tuple):
            raise TypeError(f'can only concatenate torch.Size (not "{type(other).__name__}") to torch.Size')
        return Size(other + tuple(self))

    def __mul__(self, count: Any) -> Size:
        return Size(tuple.__mul__(self, count))

    __rmul__ = __mul__

    def __reduce__(self) -> Any:
        return Size, (tuple(self),)


class Layout:
    """Interned geometry. Make one with `layout(...)`, never directly.

    Attributes: shape, stride (in elements), dtype, device, numel, nbytes (of the elements alone), contiguous (row-major
    and dense), size (the shape as `torch.Size`).
    """

    __slots__ = ("bin", "contiguous", "device", "dtype", "nbytes", "numel", "shape", "size", "stride")

    bin: int | None  # where the allocator keeps blocks of this size; the allocator's own note
    contiguous: bool
    device: Device
    dtype: DType
    nbytes: int
    numel: int
    shape: Shape
    size: Size
    stride: Shape

    def __repr__(self) -> str:
        return f"Layout({self.shape}, {self.stride}, {self.dtype}, {self.device})"

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def with_shape(self, shape: Shape, stride: Shape | None = None) -> Layout:
        """Another geometry of the same dtype and device (dense if no stride is given)."""
        return layout(shape, stride, self.dtype, self.device)

    def with_dtype(self, dtype: DType) -> Layout:
        """The same geometry with elements of another type."""
        return layout(self.shape, self.stride, dtype, self.device)

    def dense(self) -> Layout:
        """Row-major without gaps."""
        return self if self.contiguous else layout(self.shape, None, self.dtype, self.device)


CPU = Device("cpu")
LIMIT = 1 << 16
_interned: dict[tuple[Shape, Shape | None, DType, Device], Layout] = {}
_caches: list[dict[Any, Any]] = []


def register_cache(cache: dict[Any, Any]) -> dict[Any, Any]:
    """A dictionary keyed by layouts, to be emptied when a program of ever new shapes fills the table of layouts."""
    _caches.append(cache)
    return cache


def forget_plans() -> None:
    """Empty every registered dictionary."""
    for cache in _caches:
        cache.clear()


on_default_dtype(forget_plans)


def layout(shape: Iterable[int], stride: Shape | None, dtype: DType, device: Device = CPU) -> Layout:
    """The layout with these fields; dense and row-major when `stride` is None."""
    shape = tuple(shape)
    key = (shape, stride, dtype, device)
    found = _interned.get(key)
    if found is not None:
        return found
    dense = contiguous_stride(shape)
    if stride is None:
        stride = dense
    full_key = (shape, stride, dtype, device)
    found = _interned.get(full_key)
    if found is None:
        if len(_interned) >= _limit:
            _sweep()
        found = Layout()
        numel = 1
        for size in shape:
            numel *= size
        found.shape, found.stride, found.dtype, found.device = shape, stride, dtype, device
        found.numel, found.nbytes, found.bin = numel, numel * dtype.itemsize, None
        found.contiguous = stride == dense or is_contiguous(shape, stride)
        found.size = Size(shape)
        found = _interned.setdefault(full_key, found)
    _interned[key] = found
    return found


def _references(table: dict[Any, Any], key: Any) -> int:
    """How many references the object at `key` has, those of this function itself included."""
    kept = table.get(key)
    return sys.getrefcount(kept)


_own_references = _references({0: object()}, 0) - 1
_limit = LIMIT


def _sweep() -> None:
    """Forget the plans of every operator, then every layout that no tensor holds."""
    global _limit
    forget_plans()
    counts: dict[int, int] = {}
    for address in map(id, _interned.values()):
        counts[address] = counts.get(address, 0) + 1
    for key in list(_interned):
        address = id(_interned[key])
        if _references(_interned, key) - _own_references <= counts[address]:
            del _interned[key]
            counts[address] -= 1
    _limit = max(LIMIT, 2 * len(_interned))  # many live layouts: sweep less often
