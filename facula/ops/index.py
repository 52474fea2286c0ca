"""Indexing: `x[...]` and `x[...] = y` in every form, and the operators that pick or place elements by index tensors.

Basic indices (integers, slices, None, ...) are views. Index tensors are turned into one tensor of offsets, checked
against the sizes as they are read, and rows are moved by a kernel.
"""

from __future__ import annotations

from typing import Any

from facula.core import dtype as dt
from facula.core.layout import layout, register_cache
from facula.core.shapes import broadcast_shapes
from facula.ops import copy as copies
from facula.ops import view as views
from facula.ops.define import FUNCTIONS, METHODS, composite, operator, publish
from facula.ops.dispatch import FAULT_ADDRESS, Launch
from facula.ops.kernels import index as kernels
from facula.runtime.objects import TensorBase, new_tensor

_plans: dict[Any, Any] = register_cache({})
SERIAL = 1 << 60


# -- parsing ---------------------------------------------------------------------------------------------------------
def _basic(x: Any, key: Any) -> Any:
    """Apply integers, slices, None and Ellipsis; gives (view, [(dimension, index tensor), ...])."""
    items = list(key) if type(key) is tuple else [key]
    consumed = 0
    for item in items:
        if item is None or item is Ellipsis or isinstance(item, bool):
            continue
        consumed += len(item._layout.shape) if isinstance(item, TensorBase) and _is_mask(item) else 1
    ndim = len(x._layout.shape)
    if consumed > ndim:
        raise IndexError(f"too many indices for tensor of dimension {ndim}")
    advanced: list[tuple[int, Any]] = []
    dim = 0
    for item in items:
        if type(item) is int:
            x = _pick(x, dim, item)
        elif isinstance(item, slice):
            start, stop, step = (
                None if part is None else part.__index__() for part in (item.start, item.stop, item.step)
            )
            if step is not None and step <= 0:
                raise ValueError("step must be greater than zero")
            if start is not None or stop is not None or step not in (None, 1):
                x = views.slice_dim(x, dim, start, stop, 1 if step is None else step)
            dim += 1
        elif item is Ellipsis:
            dim += ndim - consumed
        elif item is None:
            x = views.unsqueeze(x, dim)
            dim += 1
        elif isinstance(item, bool):
            x = views.unsqueeze(x, dim)
            advanced.append((dim, FUNCTIONS["torch"]["tensor"]([0] if item else [], dtype=dt.int64)))
            dim += 1
        else:
            index = _index_tensor(item)
            if index is None:
                x = _pick(x, dim, item.__index__())
            elif _is_mask(index):
                dim = _expand_mask(x, dim, index, advanced)
            elif not index._layout.shape and isinstance(item, TensorBase) and index._layout.dtype.kind in "iu":
                x = _pick(x, dim, METHODS["item"](index))
            else:
                advanced.append((dim, index))
                dim += 1
    return x, advanced


def _pick(x: Any, dim: int, index: int) -> Any:
    size = x._layout.shape[dim] if dim < len(x._layout.shape) else 0
    if not -size <= index < size:
        if not x._layout.shape:
            raise IndexError(
                "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a 0-dim tensor to a number"
            )
        raise IndexError(f"index {index} is out of bounds for dimension {dim} with size {size}")
    return views.select(x, dim, index)


def _is_mask(index: Any) -> bool:
    return index._layout.dtype is dt.bool or index._layout.dtype is dt.uint8


def _index_tensor(item: Any) -> Any:
    if isinstance(item, TensorBase):
        if item._layout.dtype.kind not in "iub":
            raise IndexError(
                f"tensors used as indices must be long, int, byte or bool tensors, got {item._layout.dtype}"
            )
        return item
    if isinstance(item, (list, tuple)) or hasattr(item, "__array_interface__"):
        made = FUNCTIONS["torch"]["as_tensor"](item)
        if made._layout.dtype.kind not in "iub":
            if made._layout.numel == 0:
                return copies.convert(made, dt.int64)
            raise IndexError(
                f"tensors used as indices must be long, int, byte or bool tensors, got {made._layout.dtype}"
            )
        return made if made._layout.shape or made._layout.dtype is dt.bool else None
    if hasattr(item, "__index__"):
        return None
    raise TypeError(
        f"only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices (got {type(item).__name__})"
    )


def _expand_mask(x: Any, dim: int, mask: Any, advanced: list[tuple[int, Any]]) -> int:
    shape = mask._layout.shape
    for k, size in enumerate(shape):
        if x._layout.shape[dim + k] != size:
            raise IndexError(
                f"The shape of the mask {list(shape)} at index {k} does not match the shape of the indexed tensor "
                f"{list(x._layout.shape)} at index {dim + k}"
            )
    if not shape:
        raise IndexError("a 0-d mask indexes a tensor only as x[mask] of its own")
    columns = METHODS["nonzero"](mask)
    for k in range(len(shape)):
        advanced.append((dim, views.select(columns, 1, k)))
        dim += 1
    return dim


def getitem(x: Any, key: Any) -> Any:
    """`x[key]`: a view for basic indices, a copy where index tensors or masks take part."""
    if type(key) is int and x._layout.shape:
        return _pick(x, 0, key)
    if isinstance(key, TensorBase) and key._layout.dtype is dt.bool and not key._layout.shape:
        key = bool(METHODS["item"](key))
    view, advanced = _basic(x, key)
    if not advanced:
        return (
            view
            if view is not x
            else views._view(x, x._layout.shape)
            if x._layout.contiguous
            else views.slice_dim(x, 0, None, None, 1)
            if x._layout.shape
            else x
        )
    return index(view, _slots(view, advanced))


def setitem(x: Any, key: Any, value: Any) -> None:
    """`x[key] = value`, with broadcasting and conversion."""
    if isinstance(key, TensorBase) and key._layout.dtype is dt.bool and not key._layout.shape:
        key = bool(METHODS["item"](key))
    view, advanced = _basic(x, key)
    if not advanced:
        if isinstance(value, TensorBase):
            lead = len(value._layout.shape) - len(view._layout.shape)
            if lead > 0 and all(s == 1 for s in value._layout.shape[:lead]):
                value = views.reshape(value, value._layout.shape[lead:])
            copies.copy_(view, value)
        elif isinstance(value, (bool, int, float, complex)):
            copies.fill_(view, value)
        else:
            copies.copy_(view, _as_value(value, x))
        return
    if not isinstance(value, TensorBase):
        value = _as_value(value, x)
    if (
        isinstance(key, TensorBase) and key._layout.dtype is dt.bool and not value._layout.shape and not value._requires_grad
        and key._layout.shape == x._layout.shape
    ):  # fmt: skip
        METHODS["masked_fill_"](x, key, value)
        return
    if value._layout.dtype is not x._layout.dtype:
        if value._layout.shape == () or not isinstance(value, TensorBase):
            value = copies.convert(value, x._layout.dtype)
        else:
            raise RuntimeError(
                f"Index put requires the source and destination dtypes match, got {x._layout.dtype.scalar_name} for the destination and "
                f"{value._layout.dtype.scalar_name} for the source."
            )
    index_put_(view, _slots(view, advanced), value)


def _as_value(value: Any, like: Any) -> Any:
    made = FUNCTIONS["torch"]["as_tensor"](value)
    return made if made._layout.dtype is like._layout.dtype else copies.convert(made, like._layout.dtype)


publish("__getitem__", getitem, method=True, namespaces=())
publish("__setitem__", setitem, method=True, namespaces=())


def _slots(x: Any, advanced: list[tuple[int, Any]]) -> tuple[Any, ...]:
    """One entry per dimension of x: an index tensor or None."""
    slots: list[Any] = [None] * len(x._layout.shape)
    for dim, index_ in advanced:
        slots[dim] = index_
    return tuple(slots)


# -- offsets ---------------------------------------------------------------------------------------------------------
class Places:
    """Where index tensors point in a strided tensor: offsets (one per row), and how rows and results are shaped."""

    def __init__(self, x: Any, indices: tuple[Any, ...]) -> None:
        dims = [d for d, i in enumerate(indices) if i is not None]
        tensors = [indices[d] for d in dims]
        try:
            shape = (
                broadcast_shapes(*[t._layout.shape for t in tensors]) if len(tensors) > 1 else tensors[0]._layout.shape
            )
        except RuntimeError:
            raise IndexError(
                "shape mismatch: indexing tensors could not be broadcast together with shapes "
                + ", ".join(str(list(t._layout.shape)) for t in tensors)
            ) from None
        source = x._layout
        self.rest = [d for d in range(len(source.shape)) if indices[d] is None]
        self.dims, self.shape = dims, shape
        self.adjacent = dims == list(range(dims[0], dims[-1] + 1))
        if any(source.shape[d] == 0 for d in dims) and 0 not in shape:
            d = next(d for d in dims if source.shape[d] == 0)
            raise IndexError(f"index is out of bounds for dimension {d} with size 0")
        self.offsets = _offsets(x, dims, tensors, shape)
        self.row = tuple([source.shape[d] for d in self.rest])
        self.row_stride = tuple([source.stride[d] for d in self.rest])
        self.moved = (*shape, *self.row)

    def restore(self, moved: Any) -> Any:
        """Index dimensions from the front to where they stood (if they stood together)."""
        lead = self.dims[0]
        if not self.adjacent or lead == 0:
            return moved
        count = len(self.shape)
        order = [*range(count, count + lead), *range(count), *range(count + lead, len(self.moved))]
        return views._permute(moved, tuple(order))

    def front(self, value: Any) -> Any:
        """The reverse for a value of the result's shape: index dimensions to the front, dense."""
        lead = self.dims[0]
        if self.adjacent and lead:
            count = len(self.shape)
            order = [*range(lead, lead + count), *range(lead), *range(lead + count, len(self.moved))]
            value = views._permute(value, tuple(order))
        return copies.contiguous(value)

    def result_shape(self) -> tuple[int, ...]:
        if not self.adjacent:
            return self.moved
        lead = self.dims[0]
        return (*self.row[:lead], *self.shape, *self.row[lead:])


def _offsets(x: Any, dims: list[int], tensors: list[Any], shape: tuple[int, ...]) -> Any:
    source = x._layout
    code = tensors[0]._layout.dtype
    if any(t._layout.dtype is not code for t in tensors):
        tensors = [t if t._layout.dtype is dt.int64 else copies.convert(t, dt.int64) for t in tensors]
        code = dt.int64
    dense = [copies.contiguous(t if t._layout.shape == shape else views._expand(t, shape)) for t in tensors]
    key = ("offsets", source, tuple(dims), shape, code)
    plan = _plans.get(key)
    if plan is None:
        tail: list[Any] = [FAULT_ADDRESS]
        for d in dims:
            tail += [source.shape[d], source.stride[d]]
        out = layout(shape, None, dt.int64, source.device)
        sizes = [(d, source.shape[d]) for d in dims]

        def fault(value: int, position: int) -> Exception:
            d, size = sizes[position]
            return IndexError(f"index {value} is out of bounds for dimension {d} with size {size}")

        plan = _plans[key] = (
            Launch(kernels.offsets(code.code, len(dims)), out.numel, 4096, tuple(tail), fault=fault),
            out,
        )
    launch, out = plan
    made = new_tensor(out)
    launch((made, *dense))
    return made


def _move(direction: str, written: Any, read: Any, places: Places) -> None:
    """Rows between a dense tensor and the strided one."""
    strided = read if direction == "take" else written
    key = ("move", direction, strided._layout, places.offsets._layout, places.row, places.row_stride)
    launch = _plans.get(key)
    if launch is None:
        width = 1
        for size in places.row:
            width *= size
        code = strided._layout.dtype.code
        rows = places.offsets._layout.numel if width else 0
        serial = direction != "take"
        grain = SERIAL if serial else max(1, 32768 // max(1, width))
        if _is_dense(places.row, places.row_stride):
            launch = Launch(kernels.move_rows(_moved_as(code, direction), direction, 0), rows, grain, (width,))
        else:
            tail = (width, *places.row, *places.row_stride)
            launch = Launch(
                kernels.move_rows(_moved_as(code, direction), direction, len(places.row)), rows, grain, tail
            )
        _plans[key] = launch
    launch((written, read, places.offsets))


def _moved_as(code: str, direction: str) -> str:
    """Moving needs only the width of an element, so that kernels are shared among types."""
    if direction == "add":
        return code
    return {"b8": "u8", "f16": "i16", "bf16": "i16", "c64": "i64"}.get(code, code)


def _is_dense(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    expected = 1
    for size, step in zip(reversed(shape), reversed(stride), strict=True):
        if size != 1 and step != expected:
            return False
        expected *= size
    return True


# -- index and index_put ---------------------------------------------------------------------------------------------
@operator(function=False)
def index(input: Any, indices: tuple[Any, ...]) -> Any:
    """The elements that index tensors (None for a dimension taken whole) point to."""
    places = Places(input, indices)
    out = new_tensor(layout(places.moved, None, input._layout.dtype, input._layout.device))
    _move("take", out, input, places)
    return places.restore(out)


index.gradient(input=lambda grad, input_layout, indices: _add_at(grad, input_layout, indices))


@operator(function=False)
def _add_at(values: Any, source: Any, indices: tuple[Any, ...]) -> Any:
    """A tensor of layout `source`, zero but for `values` added at the places that `indices` point to."""
    whole = FUNCTIONS["torch"]["zeros"](source.shape, dtype=values._layout.dtype, device=source.device)
    places = Places(whole, indices)
    _move("add", whole, places.front(values), places)
    return whole


_add_at.gradient(values=lambda grad, indices: index(grad, indices))


@operator(function=False, in_place=True, name="index_put_")
def _index_put(input: Any, indices: tuple[Any, ...], values: Any, accumulate: bool = False) -> Any:
    places = Places(input, indices)
    shape = places.result_shape()
    if values._layout.shape != shape:
        try:
            values = views._expand(values, shape)
        except RuntimeError:
            raise RuntimeError(
                f"shape mismatch: value tensor of shape {list(values._layout.shape)} cannot be broadcast to indexing result of shape {list(shape)}"
            ) from None
    if values._storage is input._storage:
        values = copies.clone(values)
    _move("add" if accumulate else "put", input, places.front(values), places)
    return input


def _put_gradient(grad: Any, indices: Any, accumulate: Any) -> Any:
    if accumulate:
        return grad
    zeroed = copies.clone(grad)
    zero = FUNCTIONS["torch"]["zeros"]((), dtype=grad._layout.dtype)
    _index_put(zeroed, indices, zero)
    return zeroed


_index_put.gradient(input=_put_gradient, values=lambda grad, indices: index(grad, indices))


def _given_indices(input: Any, indices: Any) -> tuple[Any, ...]:
    if not indices:
        raise IndexError("index_put requires at least one index tensor")
    _, advanced = _basic(input, tuple([slice(None) if i is None else i for i in indices]))
    return _slots(input, advanced)


@composite(name="index_put_", method=True, function=True)
def index_put_(input: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """Write `values` (or add them, with accumulate=True) where the index tensors point."""
    if (
        not isinstance(indices, tuple)
        or len(indices) != len(input._layout.shape)
        or any(i is not None and _is_mask(i) for i in indices)
    ):
        indices = _given_indices(input, indices)
    if values._layout.dtype is not input._layout.dtype:
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {input._layout.dtype.scalar_name} for the destination and "
            f"{values._layout.dtype.scalar_name} for the source."
        )
    return _index_put(input, indices, values, accumulate)


@composite(method=True)
def index_put(input: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """A copy with `values` written (or added) where the index tensors point."""
    return index_put_(copies.clone(input), indices, values, accumulate)


# -- samples ---------------------------------------------------------------------------------------------------------
def _vector(make: Any, size: int, *shape: int) -> Any:
    """Indices into a dimension of a size, negative ones too."""
    return make(*shape, integer=True, low=-size, high=size)


@index.sample
def _(make: Any) -> Any:
    yield (make(4, 3), (_vector(make, 4, 5), None)), {}
    yield (make(4, 3), (_vector(make, 4, 2, 1), _vector(make, 3, 3))), {}
    yield (make(2, 3, 4), (_vector(make, 2, 2), None, _vector(make, 4, 2))), {}
    yield (make(2, 3, 4), (None, _vector(make, 3, 2), None)), {}
    yield (make(4, 0), (_vector(make, 4, 2), None)), {}
    yield (make(4), (_vector(make, 4, 0),)), {}


@_add_at.sample
def _(make: Any) -> Any:
    yield (make(5, 3), make(4, 3)._layout, (_vector(make, 4, 5), None)), {}


@_index_put.sample
def _(make: Any) -> Any:
    yield (make(4, 3), (FUNCTIONS["torch"]["tensor"]([2, -4]), None), make(2, 3)), {}
    yield (make(4, 3), (FUNCTIONS["torch"]["tensor"]([2, 2]), None), make(3), True), {}
    yield (make(2, 3), (None, FUNCTIONS["torch"]["tensor"]([1])), make()), {}
