"""Masks: `nonzero`, `masked_select`, `masked_fill`, `masked_scatter`; and the triangles of matrices."""

from __future__ import annotations

import ctypes
from typing import Any

from facula.core import dtype as dt
from facula.core.layout import layout, register_cache
from facula.core.shapes import broadcast_shapes
from facula.ops import copy as copies
from facula.ops import view as views
from facula.ops.define import FUNCTIONS, METHODS, composite, layout_of, operator
from facula.ops.dispatch import Launch, host_read
from facula.ops.index import _moved_as, getitem, index_put_
from facula.ops.inplace import derived_in_place
from facula.ops.kernels import index as kernels
from facula.runtime.objects import TensorBase, new_tensor

_plans: dict[Any, Any] = register_cache({})


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
