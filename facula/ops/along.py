"""Picking and placing along one dimension: `index_select`, `index_add`, `gather`, `scatter` and their relatives.

Slices go through `index` and `index_put` (rows are moved); single elements through kernels that walk the index tensor.
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
from facula.ops.define import FUNCTIONS, METHODS, composite, layout_of, operator
from facula.ops.dispatch import FAULT_ADDRESS, Launch
from facula.ops.index import SERIAL, _index_put
from facula.ops.index import index as index_at
from facula.ops.kernels import index as kernels
from facula.runtime.objects import TensorBase, new_tensor

_plans: dict[Any, Any] = register_cache({})


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
        return views._view(index_at(views._view(input, (1,)), (index_,)), ())
    return copies.contiguous(index_at(input, _one_slot(input, dim, index_)))


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
        METHODS["masked_fill_"](input, mask, value)
    elif size and picked._layout.numel:
        METHODS["masked_fill_"](input, views._view(mask, ()), value)
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
    return index_at(flat, (index,))


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


# -- samples ---------------------------------------------------------------------------------------------------------
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
