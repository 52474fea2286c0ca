"""Scattering that combines: `scatter_reduce`, `index_reduce`, `put`; and questions about indices: `isin`, `unravel_index`."""

from __future__ import annotations

import math
from typing import Any

from facula.core import dtype as dt
from facula.core import shapes
from facula.ops import along
from facula.ops import copy as copies
from facula.ops import view as views
from facula.ops.define import FUNCTIONS, METHODS, composite, layout_of, operator
from facula.ops.index import _index_put
from facula.ops.inplace import derived_in_place
from facula.runtime.objects import TensorBase

torch = FUNCTIONS["torch"]


@operator(function=False, name="scatter_combined")
def _combined(input: Any, dim: int, index: Any, src: Any, action: str) -> Any:
    """A copy of input with src combined where index points: action 'amin', 'amax' or 'multiply'."""
    out = copies.clone(input)
    return along._scatter_into("scatter_reduce", action, out, dim, index, src)


@_combined.joint_gradient("input", "src")
def _combined_gradient(grad: Any, input: Any, dim: Any, index: Any, src: Any, action: str, out: Any) -> tuple[Any, Any]:
    if action == "multiply":
        return _product_gradient(grad, input, dim, index, src)
    here = input == out
    there = src == along.gather(out, dim, index)
    sharing = along.scatter_add(here.to(grad.dtype), dim, index, there.to(grad.dtype))
    part = grad / torch["clamp"](sharing, min=1)
    return part * here, along.gather(part, dim, index) * there


def _product_gradient(grad: Any, input: Any, dim: Any, index: Any, src: Any) -> tuple[Any, Any]:
    """Products of the other factors, also where one of them is zero."""
    zeros_here, zeros_there = input == 0, src == 0
    count = along.scatter_add(zeros_here.to(grad.dtype), dim, index, zeros_there.to(grad.dtype))
    a, b = torch["where"](zeros_here, 1.0, input), torch["where"](zeros_there, 1.0, src)
    rest = _combined(a, dim, index, b, "multiply")
    by_input = torch["where"](
        zeros_here, torch["where"](count == 1, rest, 0.0), torch["where"](count == 0, rest / a, 0.0)
    )
    own_count, own_rest = along.gather(count, dim, index), along.gather(rest, dim, index)
    by_src = torch["where"](
        zeros_there, torch["where"](own_count == 1, own_rest, 0.0), torch["where"](own_count == 0, own_rest / b, 0.0)
    )
    return grad * by_input, along.gather(grad, dim, index) * by_src


@_combined.sample
def _(make: Any) -> Any:
    columns = torch["tensor"]([[2, 0, 1], [1, 1, 0]])
    for action in ("amin", "amax", "multiply"):
        yield (make(2, 4), 1, columns, make(2, 3), action), {}


def _identity(reduce: str, dtype: dt.dtype) -> Any:
    """What changes nothing, for the elements that do not take part themselves."""
    if reduce in ("sum", "mean"):
        return 0
    if reduce == "prod":
        return 1
    if dtype.kind == "f":
        return math.inf if reduce == "amin" else -math.inf
    if dtype.kind == "b":
        return reduce == "amin"
    info = dt.iinfo(dtype)
    return info.max if reduce == "amin" else info.min


@composite(method=True, out=True)
def scatter_reduce(input: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True) -> Any:
    """A copy of input in which the elements of src are combined where index points.

    reduce: 'sum', 'prod', 'mean', 'amin' or 'amax'. include_self=False leaves out the element that stood there.
    """
    if reduce not in ("sum", "prod", "mean", "amin", "amax"):
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    layout_of(input, "scatter_reduce")
    if index._layout.dtype is not dt.int64:
        raise RuntimeError("scatter(): Expected dtype int64 for index")
    if src._layout.dtype is not input._layout.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    if not index._layout.numel:
        return copies.clone(input)
    start = input
    if not include_self:
        start = along.scatter(input, dim, index, _identity(reduce, input._layout.dtype))
    if reduce not in ("sum", "mean"):
        return _combined(start, dim, index, src, {"prod": "multiply"}.get(reduce, reduce))
    total = along.scatter_add(start, dim, index, src)
    if reduce == "sum":
        return total
    ones = torch["ones_like"] if include_self else torch["zeros_like"]
    count = along.scatter_add(ones(input), dim, index, torch["ones"](index._layout.shape, dtype=input._layout.dtype))
    return torch["div"](
        total, torch["clamp"](count, min=1), rounding_mode=None if input._layout.dtype.kind in "fc" else "floor"
    )


@composite(method=True, out=True)
def index_reduce(input: Any, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True) -> Any:
    """`scatter_reduce` of whole slices: slices of source are combined with the slices that index names."""
    if reduce not in ("prod", "mean", "amin", "amax"):
        raise RuntimeError(f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}.")
    picked = along._index_vector("index_reduce", index)
    dim = shapes.normalize_dim(dim, len(layout_of(input, "index_reduce").shape))
    if not input._layout.shape:
        lifted = index_reduce(
            views._view(input, (1,)), 0, picked, views.reshape(source, (-1,)), reduce, include_self=include_self
        )
        return views._view(lifted, ())
    if not source._layout.shape:
        source = views._view(source, (1,) * len(input._layout.shape))
    spread = views._view(picked, tuple([-1 if d == dim else 1 for d in range(len(input._layout.shape))]))
    places = copies.convert(views._expand(spread, source._layout.shape), dt.int64)
    return scatter_reduce(input, dim, places, source, reduce, include_self=include_self)


derived_in_place("scatter_reduce_", scatter_reduce)
derived_in_place("index_reduce_", index_reduce)


@composite(method=True)
def put_(input: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    """Write (or add) the elements of source at positions in the flattened tensor."""
    if index._layout.dtype is not dt.int64:
        raise RuntimeError(f"put_(): Expected a long tensor for index, but got {index._layout.dtype.scalar_name}")
    if source._layout.dtype is not input._layout.dtype:
        raise RuntimeError(
            f"put_(): self and source expected to have the same dtype, but got self.dtype = {input._layout.dtype.scalar_name} and "
            f"source.dtype = {source._layout.dtype.scalar_name}"
        )
    if index._layout.numel != source._layout.numel:
        raise RuntimeError(
            f"put_(): Expected source and index to have the same number of elements, but got source.numel() = {source._layout.numel}, "
            f"index.numel() = {index._layout.numel}"
        )
    total, places = input._layout.numel, views.reshape(index, (-1,))
    if not places._layout.numel:
        return input
    source = views.reshape(source, (-1,))
    if not input._layout.shape:
        _index_put(views._view(input, (1,)), (places,), source, accumulate)
        return input
    columns = unravel_index(torch["where"](places < 0, places + total, places), input._layout.shape)
    return _index_put(input, tuple(columns), source, accumulate)


@composite(method=True)
def put(input: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    """A copy with the elements of source written (or added) at positions in the flattened tensor."""
    return put_(copies.clone(input), index, source, accumulate)


@composite()
def unravel_index(indices: Any, shape: Any) -> Any:
    """Positions in a flattened array of a shape as one tensor of indices per dimension."""
    if indices._layout.dtype.kind not in "iu":
        raise ValueError(f"expected 'indices' to be integer dtype, but got {indices._layout.dtype}")
    sizes = (shape,) if isinstance(shape, int) else tuple([int(s) for s in shape])
    if any(s < 0 for s in sizes):
        raise ValueError(f"'shape' cannot have negative values, but got {sizes}")
    columns, rest = [], indices
    for size in reversed(sizes[1:]):
        columns.append(METHODS["remainder"](rest, size))
        rest = METHODS["floor_divide"](rest, size)
    return (rest, *reversed(columns)) if sizes else ()


@composite(out=True)
def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Any:
    """Truth where an element occurs among the test elements (invert: where it does not)."""
    if not isinstance(elements, TensorBase) and not isinstance(test_elements, TensorBase):
        raise TypeError("isin() received an invalid combination of arguments: one of them must be a Tensor")
    given = [x if isinstance(x, TensorBase) else torch["tensor"](x) for x in (elements, test_elements)]
    elements, tests = given[0], views.reshape(given[1], (-1,))
    found = torch["zeros"](elements._layout.shape, dtype=dt.bool)
    step = max(1, (1 << 22) // max(1, elements._layout.numel))
    for start in range(0, tests._layout.numel, step):  # in pieces, so that the table of comparisons stays small
        few = views.slice_dim(tests, 0, start, start + step, 1)
        found = found | METHODS["any"](views.unsqueeze(elements, -1) == few, -1)
    return METHODS["logical_not"](found) if invert else found
