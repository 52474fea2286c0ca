"""Distinct elements, search in sorted boundaries, and counts: unique, searchsorted, bucketize, bincount, histc."""

from __future__ import annotations

import math
from typing import Any

from facula.core import dtype as dt
from facula.core.layout import layout
from facula.core.promotion import promote_types
from facula.core.shapes import normalize_dim
from facula.ops.copy import convert
from facula.ops.define import FUNCTIONS, composite, layout_of, operator
from facula.ops.dispatch import Launch, host_read
from facula.ops.kernels.bins import count_bins, count_values, distinct, search
from facula.ops.reduction import WORK
from facula.ops.sort import argsort, sort
from facula.runtime.objects import TensorBase, new_tensor


def _function(name: str) -> Any:
    return FUNCTIONS["torch"][name]


def _dense(input: Any) -> Any:
    input = input.detach() if input._requires_grad else input
    return input if input._layout.contiguous else input.contiguous()


def _integers(shape: tuple[int, ...], like: Any) -> Any:
    return new_tensor(layout(shape, None, dt.int64, like._layout.device))


# -- distinct elements -----------------------------------------------------------------------------------------------
def _distinct(line: Any, order: Any) -> tuple[Any, Any, Any]:
    """(values, inverse, counts) of the runs of a line, whose elements stand at the places `order` in the input."""
    length, code = line._layout.numel, line._layout.dtype.code
    if not length:
        return line.new_empty((0,)), _integers((0,), line), _integers((0,), line)
    values, total = new_tensor(line._layout), _integers((1,), line)
    inverse, counts = _integers((length,), line), _integers((length,), line)
    Launch(distinct(code), 1, 1, (length,))((values, inverse, counts, total, line, order), 4)
    host_read(total, "unique() makes a tensor as long as there are distinct elements")
    found = int(total.item())
    return values.narrow(0, 0, found).clone(), inverse, counts.narrow(0, 0, found).clone()


def _chosen(values: Any, inverse: Any, counts: Any, return_inverse: bool, return_counts: bool) -> Any:
    results = (values, *((inverse,) if return_inverse else ()), *((counts,) if return_counts else ()))
    return results[0] if len(results) == 1 else results


def _unique(
    input: Any, return_inverse: bool, return_counts: bool, dim: int | None, name: str, consecutive: bool
) -> Any:
    own = layout_of(input, name)
    input = _dense(input)
    if dim is not None:
        return _unique_slices(
            input, normalize_dim(dim, len(own.shape)), return_inverse, return_counts, name, consecutive
        )
    line = input.reshape(-1)
    if consecutive:
        values, inverse, counts = _distinct(line, _function("arange")(own.numel, device=own.device))
    else:
        values, inverse, counts = _distinct(*sort(line))
    return _chosen(values, inverse.reshape(own.shape), counts, return_inverse, return_counts)


def _unique_slices(
    input: Any, dim: int, return_inverse: bool, return_counts: bool, name: str, consecutive: bool
) -> Any:
    """Slices along `dim` as rows: ordered by their columns, the last one first, then numbered by where they differ."""
    shape = input._layout.shape
    size = shape[dim]
    if not input._layout.numel:
        if size:
            raise RuntimeError(
                f"{name}(): There are 0 sized dimensions, and they aren't selected, so unique cannot be applied"
            )
        return _chosen(input, _integers((0,), input), _integers((0,), input), return_inverse, return_counts)
    rows = input.movedim(dim, 0).reshape(size, -1)
    order = _function("arange")(size, device=input._layout.device)
    if not consecutive:
        for column in range(rows.shape[1] - 1, -1, -1):
            order = order.index_select(0, argsort(rows.select(1, column).index_select(0, order), stable=True))
    ordered = rows.index_select(0, order)
    differs = (ordered.narrow(0, 1, size - 1) != ordered.narrow(0, 0, size - 1)).any(1)
    numbers = _function("cat")([differs.new_zeros((1,)), differs]).cumsum(0)
    found, inverse, counts = _distinct(numbers, order)
    firsts = order.index_select(0, counts.cumsum(0) - counts)
    _ = found
    return _chosen(input.index_select(dim, firsts), inverse, counts, return_inverse, return_counts)


@composite(method=True)
def unique(
    input: Any, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The distinct elements in order; with them, if asked for, the number of each element among them and their counts.

    With `dim` slices along it are compared instead of elements. The order is sorted in any case.

    >>> torch.unique(torch.tensor([3, 1, 3, 2]))
    tensor([1, 2, 3])
    """
    return _unique(input, return_inverse, return_counts, dim, "unique", False)


@composite(method=True)
def unique_consecutive(
    input: Any, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The elements that differ from the one before; if asked for, the number of each and the lengths of the runs.

    >>> torch.unique_consecutive(torch.tensor([1, 1, 2, 1]))
    tensor([1, 2, 1])
    """
    return _unique(input, return_inverse, return_counts, dim, "unique_consecutive", True)


# -- search ----------------------------------------------------------------------------------------------------------
def _search(name: str, boundaries: Any, values: Any, right: bool, out_int32: bool, order: Any) -> Any:
    own = layout_of(boundaries, name)
    if not isinstance(values, TensorBase):
        if not isinstance(values, (bool, int, float)):
            raise TypeError(f"{name}(): argument 'input' must be Tensor or Number, not {type(values).__name__}")
        values = _function("full")((), values, dtype=own.dtype, device=own.device)
    shape = values._layout.shape
    if len(own.shape) != 1 and (not shape or own.shape[:-1] != shape[:-1] or len(own.shape) != len(shape)):
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries tensor and "
            f"input value tensor must match, but we got boundaries tensor {list(own.shape)} and input value tensor {list(shape)}"
        )
    if own.dtype is not values._layout.dtype:
        common = promote_types(own.dtype, values._layout.dtype)
        boundaries, values = convert(boundaries, common), convert(values, common)
    boundaries, values = _dense(boundaries), _dense(values)
    count = own.shape[-1]
    lines = boundaries._layout.numel // count if count else 1
    per_line = shape[-1] if lines > 1 else max(1, values._layout.numel)
    result = dt.int32 if out_int32 else dt.int64
    out = new_tensor(layout(shape, None, result, own.device))
    kernel = search(boundaries._layout.dtype.code, right, result.code, order is not None)
    launch = Launch(kernel, out._layout.numel, WORK // 64, (count, lines, max(1, per_line)))
    launch((out, values, boundaries, boundaries if order is None else _dense(order)))
    return out


@composite(out=True)
def searchsorted(
    sorted_sequence: Any, input: Any = None, *, out_int32: bool = False, right: bool = False, side: str | None = None, sorter: Any = None,
    **named: Any,
) -> Any:  # fmt: skip
    """For each value of `input`, where it would be put into the sorted last dimension of `sorted_sequence`.

    Before equal elements, or after them with right=True (side="right"). `sorter` gives the indices that sort the
    sequence where it is not sorted itself.

    >>> torch.searchsorted(torch.tensor([1, 3, 5]), torch.tensor([3, 4]))
    tensor([1, 2])
    """
    values = named.pop("self", input)
    if side is not None:
        if side not in ("left", "right"):
            raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}")
        if side == "left" and right:
            raise RuntimeError(
                "torch.searchsorted(): side and right can't be set to opposites, got side of left while right was True"
            )
        right = side == "right"
    if sorter is not None:
        if sorter._layout.shape != sorted_sequence._layout.shape:
            raise RuntimeError(
                "torch.searchsorted(): boundary and sorter must have the same size, but got boundary tensor "
                f"{list(sorted_sequence._layout.shape)}and got sorter tensor {list(sorter._layout.shape)}"
            )
        if sorter._layout.dtype is not dt.int64:
            raise RuntimeError(
                f"torch.searchsorted(): sorter must be a tensor of long dtype but got dtype {sorter._layout.dtype.scalar_name}"
            )
    return _search("searchsorted", sorted_sequence, values, bool(right), out_int32, sorter)


@composite(out=True)
def bucketize(input: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False) -> Any:
    """For each value of `input` the number of boundaries (sorted, 1-d) below it, those equal to it included if `right`.

    >>> torch.bucketize(torch.tensor([3, 4]), torch.tensor([1, 3, 5]))
    tensor([1, 2])
    """
    shape = layout_of(boundaries, "bucketize", 2, "boundaries").shape
    if len(shape) != 1:
        raise RuntimeError(f"boundaries tensor must be 1 dimension, but got dim({len(shape)})")
    return _search("bucketize", boundaries, input, bool(right), out_int32, None)


# -- counts ----------------------------------------------------------------------------------------------------------
@composite(method=True)
def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Any:
    """How often each number from 0 on occurs in a 1-d tensor of integers, or the sum of the `weights` there.

    >>> torch.bincount(torch.tensor([0, 1, 1, 3]))
    tensor([1, 2, 0, 1])
    """
    own = layout_of(input, "bincount")
    if own.dtype.kind not in "iu":
        raise NotImplementedError(f"\"bincount_cpu\" not implemented for '{own.dtype.scalar_name}'")
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    if len(own.shape) != 1:
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is not None and weights._layout.shape != own.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    size = minlength
    if own.numel:
        low, high = input.aminmax()
        host_read(low, "bincount() makes a tensor as long as the largest number")
        if int(low.item()) < 0:
            raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
        size = max(minlength, int(high.item()) + 1)
    kind = dt.int64 if weights is None else dt.float32 if weights._layout.dtype is dt.float32 else dt.float64
    counts = _function("zeros")((size,), dtype=kind, device=own.device)
    input = _dense(input)
    weights = input if weights is None else _dense(weights.to(kind))
    Launch(count_values(own.dtype.code, "" if kind is dt.int64 else kind.code), min(1, own.numel), 1, (own.numel,))(
        (counts, input, weights)
    )
    return counts


@operator(method=True, out=True)
def histc(input: Any, bins: int = 100, min: float = 0, max: float = 0) -> Any:
    """How many elements lie in each of `bins` equal parts from `min` to `max` (of the data, if both are 0); what lies
    outside is not counted.

    >>> torch.histc(torch.tensor([1., 2., 1.]), bins=4, min=0, max=3)
    tensor([0., 2., 1., 0.])
    """
    own = layout_of(input, "histc")
    if own.dtype not in (dt.float32, dt.float64):
        raise NotImplementedError(f"\"histogram_cpu\" not implemented for '{own.dtype.scalar_name}'")
    if bins <= 0:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
    low, high = float(min), float(max)
    if low == high and own.numel:
        smallest, largest = input.detach().aminmax()
        host_read(smallest, "histc() without limits takes those of the data")
        low, high = float(smallest.item()), float(largest.item())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise RuntimeError(f"range of [{low:g}, {high:g}] is not finite")
    if low > high:
        raise RuntimeError("torch.histc: max must be larger than min")
    if low == high:
        low, high = low - 1, high + 1
    counts = _function("zeros")((bins,), dtype=own.dtype, device=own.device)
    Launch(count_bins(own.dtype.code), 1, 1, (own.numel, bins, low, high))((counts, _dense(input)))
    return counts
