"""Indexing: `x[...]` and `x[...] = y` in every form, and the operators that pick or place elements by index tensors.

Basic indices (integers, slices, None, ...) are views. Index tensors are turned into one tensor of offsets, checked
against the sizes as they are read, and rows are moved by a kernel.
"""

from __future__ import annotations

import ctypes
from typing import Any

from facula.core import dtype as dt
from facula.core import shapes
from facula.core.layout import layout, register_cache
from facula.core.shapes import broadcast_shapes
from facula.ops import copy as copies
from facula.ops import view as views
from facula.ops.define import FUNCTIONS, METHODS, composite, layout_of, operator, publish
from facula.ops.dispatch import FAULT_ADDRESS, Launch, host_read
from facula.ops.inplace import derived_in_place
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
    columns = nonzero(mask)
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


# -- along one dimension ---------------------------------------------------------------------------------------------
def _index_vector(name: str, index_: Any) -> Any:
    if not isinstance(index_, TensorBase):
        raise TypeError(f"{name}(): argument 'index' must be Tensor, not {type(index_).__name__}")
    if len(index_._layout.shape) > 1:
        raise IndexError(
            f"{name}(): Index is supposed to be a vector, but got dim: {len(index_._layout.shape)} with type: {index_._layout.dtype.scalar_name}"
        )
    if index_._layout.dtype not in (dt.int32, dt.int64):
        raise RuntimeError(
            f"{name}(): Expected dtype int32 or int64 for index but got: {index_._layout.dtype.scalar_name}"
        )
    return index_ if index_._layout.shape else views._view(index_, (1,))


def _one_slot(x: Any, dim: int, index_: Any) -> tuple[Any, ...]:
    return tuple([index_ if d == dim else None for d in range(len(x._layout.shape))])


@composite(method=True, out=True)
def index_select(input: Any, dim: int, index: Any) -> Any:
    """The slices of a dimension that `index` (a vector, no negative numbers) names, in its order."""
    index_ = _index_vector("index_select", index)
    ndim = len(layout_of(input, "index_select").shape)
    dim = shapes.normalize_dim(dim, ndim)
    if not ndim:
        return views._view(globals()["index"](views._view(input, (1,)), (index_,)), ())
    return copies.contiguous(globals()["index"](input, _one_slot(input, dim, index_)))


def _changed_along(name: str, input: Any, dim: int, index_: Any, source: Any, accumulate: bool) -> Any:
    index_ = _index_vector(name, index_)
    if not isinstance(source, TensorBase):
        raise TypeError(f"{name}(): argument 'source' must be Tensor, not {type(source).__name__}")
    dim = shapes.normalize_dim(dim, len(input._layout.shape))
    a, b = list(input._layout.shape), list(source._layout.shape)
    if a and b and (len(a) != len(b) or a[:dim] != b[:dim] or a[dim + 1 :] != b[dim + 1 :]):
        raise RuntimeError(
            f"{name}(): source tensor shape must match self tensor shape, excluding the specified dimension. Got self.shape = {a} "
            f"source.shape = {b}"
        )
    if source._layout.dtype is not input._layout.dtype:
        raise RuntimeError(
            f"{name}(): self and source expected to have the same dtype, but got (self) {input._layout.dtype.scalar_name} and (source) "
            f"{source._layout.dtype.scalar_name}"
        )
    if source._layout.shape and index_._layout.numel != source._layout.shape[dim]:
        raise (RuntimeError if name == "index_add_" else IndexError)(
            f"{name}: Number of indices ({index_._layout.numel}) should be equal to source.size(dim): ({source._layout.shape[dim]}), for dim: {dim}"
        )
    if not a:
        _index_put(views._view(input, (1,)), (index_,), views.reshape(source, (index_._layout.numel,)), accumulate)
        return input
    return _index_put(
        input, _one_slot(input, dim, index_), source if b else views._view(source, (1,) * len(a)), accumulate
    )


@composite(method=True)
def index_add_(input: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Any:
    """Add slices of `source` to the slices that `index` names; repeated indices add up."""
    return _changed_along("index_add_", input, dim, index, source if alpha == 1 else source * alpha, True)


@composite(method=True, out=True)
def index_add(input: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Any:
    """A copy with slices of `source` added."""
    return index_add_(copies.clone(input), dim, index, source, alpha=alpha)


@composite(method=True)
def index_copy_(input: Any, dim: int, index: Any, source: Any) -> Any:
    """Write slices of `source` over the slices that `index` names."""
    return _changed_along("index_copy_", input, dim, index, source, False)


@composite(method=True, out=True)
def index_copy(input: Any, dim: int, index: Any, source: Any) -> Any:
    """A copy with slices of `source` written."""
    return index_copy_(copies.clone(input), dim, index, source)


@composite(method=True)
def index_fill_(input: Any, dim: int, index: Any, value: Any) -> Any:
    """Write one number into the slices that `index` names."""
    if not isinstance(value, TensorBase):
        value = FUNCTIONS["torch"]["full"]((), value, dtype=input._layout.dtype)
    if value._layout.shape:
        raise RuntimeError(
            f"index_fill_ only supports a 0-dimensional value tensor, but got tensor with {len(value._layout.shape)} dimension(s)."
        )
    dim = shapes.normalize_dim(dim, len(input._layout.shape))
    picked = _index_vector("index_fill_", index)
    size = input._layout.shape[dim] if input._layout.shape else 1
    mask = FUNCTIONS["torch"]["zeros"]((size,), dtype=dt.bool)
    _index_put(mask, (picked,), FUNCTIONS["torch"]["ones"]((1,), dtype=dt.bool))
    if input._layout.shape:
        mask = views._view(mask, tuple([size if d == dim else 1 for d in range(len(input._layout.shape))]))
        masked_fill_(input, mask, value)
    elif size and picked._layout.numel:
        masked_fill_(input, views._view(mask, ()), value)
    return input


@composite(method=True, out=True)
def index_fill(input: Any, dim: int, index: Any, value: Any) -> Any:
    """A copy with one number in the slices that `index` names."""
    return index_fill_(copies.clone(input), dim, index, value)


def _along(name: str, action: str, written: Any, read: Any, index_: Any, indexed: Any, dim: int, other: Any) -> None:
    """Run gather or scatter; `indexed` is the tensor that the index points into, `other` the one beside the index."""
    key = (action, indexed._layout, index_._layout, other._layout, dim)
    launch = _plans.get(key)
    if launch is None:
        shape = index_._layout.shape
        for d, (a, b, c) in enumerate(zip(shape, indexed._layout.shape, other._layout.shape, strict=True)):
            if (d != dim and a > b) or a > c:
                raise RuntimeError(
                    f"Expected index {list(shape)} to be no larger than self {list(indexed._layout.shape)} apart from dimension {dim}"
                    + (f" and to be no larger size than src {list(other._layout.shape)}" if action != "gather" else "")
                )
        steps = [0 if d == dim else s for d, s in enumerate(indexed._layout.stride)]
        table = [*shape, *index_._layout.stride, *steps, *other._layout.stride]
        block = (ctypes.c_int64 * max(1, len(table)))(*table)
        size = indexed._layout.shape[dim]
        kernel = kernels.along(indexed._layout.dtype.code, index_._layout.dtype.code, action, len(shape))
        tail = (FAULT_ADDRESS, size, indexed._layout.stride[dim], ctypes.addressof(block))

        def fault(value: int, position: int) -> Exception:
            return RuntimeError(f"index {value} is out of bounds for dimension {dim} with size {size} (in {name})")

        grain = 8192 if action == "gather" else SERIAL
        launch = _plans[key] = Launch(kernel, index_._layout.numel, grain, tail, block, fault=fault)
    launch((written, read, index_))


def _check_along(name: str, input: Any, dim: int, index_: Any, other: Any = None) -> tuple[Any, int, Any, Any]:
    layout_of(input, name)
    dim = shapes.normalize_dim(dim, len(input._layout.shape))
    if index_._layout.dtype not in (dt.int64, dt.int32):
        if index_._layout.numel:
            raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index")
        index_ = copies.convert(index_, dt.int64)
    if len(index_._layout.shape) != len(input._layout.shape) and index_._layout.numel:
        if len(input._layout.shape) + len(index_._layout.shape) != 1:
            raise RuntimeError("Index tensor must have the same number of dimensions as input tensor")
    if other is not None and len(index_._layout.shape) != len(other._layout.shape) and index_._layout.numel:
        if len(other._layout.shape) + len(index_._layout.shape) != 1:
            raise RuntimeError("Index tensor must have the same number of dimensions as src tensor")
    if not input._layout.shape or not index_._layout.shape:
        input, index_ = (views._view(t, (1,)) if not t._layout.shape else t for t in (input, index_))
    if other is not None and not other._layout.shape:
        other = views._view(other, (1,))
    return input, dim, index_, other


@operator(method=True, out=True)
def gather(input: Any, dim: int, index: Any, *, sparse_grad: bool = False) -> Any:
    """out[i][j] = input[index[i][j]][j] (for dim 0): one element for each index, along a dimension.

    RuntimeError for an index out of range or an index tensor larger than the input in another dimension.
    """
    shape = index._layout.shape
    source, dim, index_, _ = _check_along("gather", input, dim, index)
    out = new_tensor(layout(index_._layout.shape, None, source._layout.dtype, source._layout.device))
    if index_._layout.numel:
        _along("gather", "gather", out, source, index_, source, dim, out)
    return out if out._layout.shape == shape else views._view(out, shape)


gather.gradient(
    input=lambda grad, input_layout, dim, index: scatter_add(
        FUNCTIONS["torch"]["zeros"](input_layout.shape, dtype=grad._layout.dtype), dim, index, grad
    )
)


def _scatter_into(name: str, action: str, input: Any, dim: int, index: Any, src: Any) -> Any:
    if src._layout.dtype is not input._layout.dtype:
        raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype")
    target, dim, index_, source = _check_along(name, input, dim, index, src)
    if index_._layout.numel:
        _along(name, action, target, source, index_, target, dim, source)
    return input


@operator(in_place=True, method=True, function=False, name="scatter_add_")
def scatter_add_(input: Any, dim: int, index: Any, src: Any) -> Any:
    """input[index[i][j]][j] += src[i][j] (for dim 0)."""
    return _scatter_into("scatter_add_", "add", input, dim, index, src)


def _source_gradient(grad: Any, dim: Any, index: Any, src_layout: Any) -> Any:
    picked = gather(grad, dim, index)
    if picked._layout.shape == src_layout.shape:
        return picked
    whole = FUNCTIONS["torch"]["zeros"](src_layout.shape, dtype=grad._layout.dtype)
    part = whole
    for d, size in enumerate(picked._layout.shape):
        part = views._narrow(part, d, 0, size)
    copies.copy_(part, picked)
    return whole


scatter_add_.gradient(input=lambda grad: grad, src=_source_gradient)


@composite(method=True, out=True)
def scatter_add(input: Any, dim: int, index: Any, src: Any) -> Any:
    """A copy of input with src added where index points."""
    return scatter_add_(copies.clone(input), dim, index, src)


@operator(in_place=True, function=False, name="scatter_set_")
def _scatter_set(input: Any, dim: int, index: Any, src: Any) -> Any:
    return _scatter_into("scatter_", "set", input, dim, index, src)


_scatter_set.gradient(
    input=lambda grad, dim, index: _scatter_set(
        copies.clone(grad), dim, index, FUNCTIONS["torch"]["zeros"](index._layout.shape, dtype=grad._layout.dtype)
    ),
    src=_source_gradient,
)

_REDUCTIONS = {"add": "add", "sum": "add", "multiply": "multiply", "prod": "multiply", "amin": "amin", "amax": "amax"}


@composite(method=True)
def scatter_(input: Any, dim: int, index: Any, src: Any = None, *, value: Any = None, reduce: str | None = None) -> Any:
    """input[index[i][j]][j] = src[i][j] (for dim 0); src may be a number. reduce='add' or 'multiply' combines."""
    src = value if src is None else src
    if not isinstance(src, TensorBase):
        src = FUNCTIONS["torch"]["full"](index._layout.shape, src, dtype=input._layout.dtype)
    if reduce is None:
        return _scatter_set(input, dim, index, src)
    if reduce == "add":
        return scatter_add_(input, dim, index, src)
    if reduce != "multiply":
        raise RuntimeError("reduce argument must be either add or multiply.")
    return _scatter_reduced(input, dim, index, src, "multiply")


@operator(in_place=True, function=False, name="scatter_reduced_")
def _scatter_reduced(input: Any, dim: int, index: Any, src: Any, action: str) -> Any:
    return _scatter_into("scatter_reduce_", action, input, dim, index, src)


@composite(method=True, out=True)
def scatter(input: Any, dim: int, index: Any, src: Any = None, *, value: Any = None, reduce: str | None = None) -> Any:
    """A copy of input with src written where index points."""
    return scatter_(copies.clone(input), dim, index, src, value=value, reduce=reduce)


@composite(method=True, out=True)
def take(input: Any, index: Any) -> Any:
    """Elements by their position in the flattened tensor."""
    flat = views.reshape(input, (-1,))
    return globals()["index"](flat, (index,))


@composite(method=True, out=True)
def take_along_dim(input: Any, indices: Any, dim: int | None = None) -> Any:
    """`gather` with broadcasting; dim=None works on the flattened tensors."""
    if dim is None:
        return gather(views.reshape(input, (-1,)), 0, views.reshape(indices, (-1,)))
    dim = shapes.normalize_dim(dim, len(input._layout.shape))
    a, b = list(input._layout.shape), list(indices._layout.shape)
    a[dim] = b[dim] = 1
    shape = list(broadcast_shapes(tuple(a), tuple(b)))
    source, index_ = list(shape), list(shape)
    source[dim], index_[dim] = input._layout.shape[dim], indices._layout.shape[dim]
    if indices._layout.dtype is not dt.int64:
        raise RuntimeError(
            f"torch.take_along_dim(): dtype of indices should be Long but got {indices._layout.dtype.scalar_name}"
        )
    indices = FUNCTIONS["torch"]["where"](indices < 0, indices + source[dim], indices)
    return gather(views._expand(input, tuple(source)), dim, views._expand(indices, tuple(index_)))


# -- masks -----------------------------------------------------------------------------------------------------------
@composite(method=True)
def nonzero(input: Any, *, as_tuple: bool = False, out: Any = None) -> Any:
    """Indices of the elements that are not zero: one row each, or with as_tuple=True one vector per dimension."""
    own = layout_of(input, "nonzero")
    if out is not None:
        return copies.copy_result(out, nonzero(input))
    mask = copies.contiguous(input if own.dtype is dt.bool else input != 0)
    flat = _true_positions(mask)
    if as_tuple and not own.shape:
        return (flat,)
    columns, rest = [], flat
    for size in reversed(own.shape[1:]):
        columns.append(METHODS["remainder"](rest, size))
        rest = METHODS["floor_divide"](rest, size)
    columns.append(rest)
    columns.reverse()
    if as_tuple:
        return tuple(columns)
    if not own.shape:
        return FUNCTIONS["torch"]["zeros"]((flat._layout.numel, 0), dtype=dt.int64)
    return FUNCTIONS["torch"]["stack"](columns, 1)


def _true_positions(mask: Any) -> Any:
    """Flat positions of the truth values that are set. Their number is known only after counting."""
    n = mask._layout.numel
    blocks = (n + 4095) // 4096
    counts = new_tensor(layout((max(1, blocks),), None, dt.int64))
    Launch(kernels.count_true(), blocks, 8, (n,))((counts, mask))
    host_read(counts, "the number of elements that a mask selects")
    each = (ctypes.c_int64 * max(1, blocks)).from_address(counts._data)
    total = 0
    for block in range(blocks):
        each[block], total = total, total + each[block]
    out = new_tensor(layout((total,), None, dt.int64))
    if total:
        Launch(kernels.positions_of_true(), blocks, 8, (n,))((out, mask, counts))
    return out


@composite(method=True, out=True)
def masked_select(input: Any, mask: Any) -> Any:
    """The elements where the mask is true, as a vector."""
    if mask._layout.dtype is not dt.bool:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    shape = broadcast_shapes(input._layout.shape, mask._layout.shape)
    return (
        getitem(views._expand(input, shape), views._expand(mask, shape))
        if shape
        else getitem(views.reshape(input, (1,)), views.reshape(mask, (1,)))
    )


@operator(method=True, function=False, in_place=True)
def masked_fill_(input: Any, mask: Any, value: Any) -> Any:
    """Write one number where the mask is true."""
    if mask._layout.dtype is not dt.bool:
        raise RuntimeError(f"masked_fill only supports boolean masks, but got mask with dtype {mask._layout.dtype}")
    if isinstance(value, TensorBase):
        if value._layout.shape:
            raise RuntimeError(
                f"masked_fill only supports a 0-dimensional value tensor, but got tensor with {len(value._layout.shape)} dimension(s)."
            )
        value = value if value._layout.dtype is input._layout.dtype else copies.convert(value, input._layout.dtype)
    _select_into(mask, value, input)
    return input


def _select_into(mask: Any, value: Any, target: Any) -> None:
    from facula.ops.pointwise import where_operator

    where_operator.operator([mask, value, target], None, target)
    target._storage.version -= 1  # the caller counts the change


masked_fill_.gradient(
    input=lambda grad, mask: masked_fill(grad, mask, 0),
    value=lambda grad, mask: METHODS["sum"](FUNCTIONS["torch"]["where"](mask, grad, 0)),
)


@composite(method=True)
def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    """A copy with one number where the mask is true; mask and input are broadcast."""
    shape = broadcast_shapes(input._layout.shape, mask._layout.shape)
    return masked_fill_(
        copies.clone(views._expand(input, shape)) if shape != input._layout.shape else copies.clone(input), mask, value
    )


@composite(method=True)
def masked_scatter_(input: Any, mask: Any, source: Any) -> Any:
    """Write the elements of source, in order, where the mask is true."""
    if mask._layout.dtype is not dt.bool:
        raise RuntimeError(
            f"masked_scatter_ only supports boolean masks, but got mask with dtype {mask._layout.dtype.scalar_name}"
        )
    if source._layout.dtype is not input._layout.dtype:
        raise RuntimeError(
            f"masked_scatter: expected self and source to have same dtypes but got {input._layout.dtype.scalar_name} and "
            f"{source._layout.dtype.scalar_name}"
        )
    shape = input._layout.shape
    chosen = nonzero(views._expand(mask, shape), as_tuple=True)
    count = chosen[0]._layout.numel if chosen else 0
    if source._layout.numel < count:
        raise RuntimeError("Number of elements of source < number of ones in mask")
    return index_put_(input, chosen, views._narrow(views.reshape(source, (-1,)), 0, 0, count))


@composite(method=True)
def masked_scatter(input: Any, mask: Any, source: Any) -> Any:
    """A copy with the elements of source where the mask is true."""
    shape = broadcast_shapes(input._layout.shape, mask._layout.shape)
    return masked_scatter_(copies.clone(views._expand(input, shape)), mask, source)


@composite(method=True)
def argwhere(input: Any) -> Any:
    """Same as `nonzero`."""
    return nonzero(input)


def _triangle(upper: bool, name: str) -> Any:
    def function(input: Any, diagonal: int = 0) -> Any:
        own = layout_of(input, name)
        if len(own.shape) < 2:
            raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
        dense = copies.contiguous(input)
        key = (name, dense._layout, diagonal)
        launch = _plans.get(key)
        if launch is None:
            rows, columns = own.shape[-2:]
            code = _moved_as(own.dtype.code, "put")
            count = own.numel // columns if columns else 0
            launch = _plans[key] = Launch(
                kernels.triangle(code, upper), count, max(1, 16384 // max(1, columns)), (rows, columns, diagonal)
            )
        out = new_tensor(dense._layout)
        launch((out, dense))
        return out

    function.__name__ = name
    function.__doc__ = f"The {'upper' if upper else 'lower'} triangle of matrices; elements beyond `diagonal` become 0."
    return function


tril = operator("tril", method=True, out=True)(_triangle(False, "tril"))
triu = operator("triu", method=True, out=True)(_triangle(True, "triu"))
derived_in_place("tril_", tril)
derived_in_place("triu_", triu)
tril.gradient(input=lambda grad, diagonal: tril(grad, diagonal))
triu.gradient(input=lambda grad, diagonal: triu(grad, diagonal))


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


def _cells(make: Any, size: int, *shape: int) -> Any:
    return make(*shape, integer=True, low=0, high=size)


@gather.sample
def _(make: Any) -> Any:
    yield (make(4, 3), 0, _cells(make, 4, 2, 3)), {}
    yield (make(4, 3), -1, _cells(make, 3, 4, 5)), {}
    yield (make(4), 0, _cells(make, 4, 0)), {}
    yield (make(), 0, _cells(make, 1)), {}


@scatter_add_.sample
@_scatter_set.sample
def _(make: Any) -> Any:
    columns = FUNCTIONS["torch"]["tensor"]([[2, 0, 1], [1, 2, 0]])
    yield (make(2, 4), 1, columns, make(2, 3)), {}
    yield (make(3, 3), 0, columns, make(2, 4)), {}
    yield (make(3), 0, _cells(make, 3, 0), make(2)), {}


@masked_fill_.sample
def _(make: Any) -> Any:
    yield (make(3, 4), make(3, 4) > 0, 2.5), {}
    yield (make(3, 4), make(4) > 0, make()), {}
    yield (make(0), make(0) > 0, 1), {}


@tril.sample
@triu.sample
def _(make: Any) -> Any:
    yield (make(3, 4), 0), {}
    yield (make(2, 4, 3), -1), {}
    yield (make(3, 3), 1), {}
    yield (make(0, 3), 0), {}
