"""Lookups in a table of vectors, and reductions of bags of them.

In: a table (rows, width), integer indices. Out: (*indices, width), or (bags, width). The gradient of the table is dense: it
is added up row by row in the order of the indices, so it is the same bits whenever it is computed.
"""

from __future__ import annotations

from typing import Any

from facula.core import dtype as dt
from facula.core.layout import Layout, layout, register_cache
from facula.ops.copy import contiguous, convert
from facula.ops.define import FUNCTIONS, METHODS, composite, layout_of, operator
from facula.ops.dispatch import FAULT_ADDRESS, Launch
from facula.ops.kernels import embedding as kernels
from facula.runtime.objects import new_tensor

_plans: dict[Any, Any] = register_cache({})
MOVED = {1: "u8", 2: "u16", 4: "f32", 8: "f64"}
BANDS = 8
"""Parts of a table that gradients are added to independently."""


def _dense(x: Any) -> Any:
    return x if x._layout.contiguous else contiguous(x)


def _check(weight: Layout, indices: Layout, name: str) -> None:
    if len(weight.shape) != 2:
        raise RuntimeError("'weight' must be 2-D")
    if indices.dtype not in (dt.int64, dt.int32):
        kind = indices.dtype.scalar_name
        shown = {"Bool": "CPUBoolType"}.get(kind, f"torch.{kind}Tensor")
        raise RuntimeError(
            f"Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got {shown} instead "
            f"(while checking arguments for {name})"
        )


def _lookup_plan(weight: Layout, indices: Layout) -> Any:
    key = ("lookup", weight, indices)
    plan = _plans.get(key)
    if plan is None:
        _check(weight, indices, "embedding")
        rows, width = weight.shape
        kernel = kernels.take_rows(
            MOVED[weight.dtype.itemsize] if weight.dtype.itemsize <= 8 else weight.dtype.code, indices.dtype.code
        )

        def fault(value: int, position: int) -> Exception:
            return IndexError(
                f"index out of range in self\n  index {value} at position {position}; the table has {rows} rows"
            )

        launch = Launch(
            kernel, indices.numel, max(1, 16384 // max(1, width)), (FAULT_ADDRESS, rows, width), fault=fault
        )
        plan = _plans[key] = launch, layout((*indices.shape, width), None, weight.dtype, weight.device)
    return plan


@operator("embedding")
def embedding(
    weight: Any, indices: Any, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Any:
    """The rows of `weight` (rows, width) at the indices: (*, width). Rows at `padding_idx` get no gradient.

    With scale_grad_by_freq a row's gradient is divided by how often its index occurs. IndexError for an index that is no row.

    >>> torch.embedding(torch.tensor([[1., 2.], [3., 4.]]), torch.tensor([1, 0]))
    tensor([[3., 4.],
            [1., 2.]])
    """
    launch, target = _lookup_plan(
        layout_of(weight, "embedding", 1, "weight"), layout_of(indices, "embedding", 2, "indices")
    )
    out = new_tensor(target)
    launch((out, _dense(weight), _dense(indices)))
    return out


@operator("embedding_dense_backward", function=False)
def _embedding_backward(upstream: Any, indices: Any, rows: int, padding_idx: int, scale_grad_by_freq: bool) -> Any:
    """The gradient of the table."""
    own = upstream._layout
    key = ("backward", own, indices._layout, rows, padding_idx, scale_grad_by_freq)
    plan = _plans.get(key)
    if plan is None:
        width, count = own.shape[-1], indices._layout.numel
        out = layout((rows, width), None, own.dtype, own.device)
        band = max(1, -(-rows // BANDS), -(-8192 // max(1, width)))
        tail = (count, rows, width, -1 if padding_idx is None else padding_idx, band)
        kernel = kernels.add_rows(own.dtype.code, indices._layout.dtype.code, bool(scale_grad_by_freq))
        counts = layout((rows if scale_grad_by_freq else 0,), None, dt.int64, own.device)
        plan = _plans[key] = Launch(kernel, -(-rows // band), 1, tail), out, counts
    launch, out, counts = plan
    result = new_tensor(out)
    launch((result, new_tensor(counts), _dense(upstream), _dense(indices)), 2)
    return result


embedding.gradient(
    weight=lambda grad, weight_layout, indices, padding_idx, scale_grad_by_freq: _embedding_backward(
        grad, indices, weight_layout.shape[0], padding_idx, scale_grad_by_freq
    )
)


@_embedding_backward.gradient
def _(grad: Any, indices: Any, padding_idx: Any, scale_grad_by_freq: Any) -> Any:
    taken = embedding(grad, indices)
    if padding_idx is not None and padding_idx >= 0:
        taken = taken.masked_fill((indices == padding_idx).unsqueeze(-1), 0)
    if scale_grad_by_freq:
        counts = FUNCTIONS["torch"]["bincount"](indices.reshape(-1), minlength=grad._layout.shape[0])
        taken = taken / counts[indices].unsqueeze(-1)
    return taken


# -- bags ------------------------------------------------------------------------------------------------------------
_MODES = ("sum", "mean", "max")


def _bag_plan(
    weight: Layout, indices: Layout, offsets: Layout, mode: str, weighted: bool, bags: int, padding: int
) -> Any:
    key = ("bag", weight, indices, offsets, mode, weighted, bags, padding)
    plan = _plans.get(key)
    if plan is None:
        _check(weight, indices, "embedding_bag")
        rows, width = weight.shape

        def fault(value: int, position: int) -> Exception:
            if position < 0:
                return RuntimeError(
                    f"offsets[-1] can not be greater than input's length {indices.numel} but got offsets[-1] of {value}"
                )
            return RuntimeError(
                f"Index {position} of input takes value {value} which is not in the valid range [0, {rows})"
            )

        kernel = kernels.reduce_bags(weight.dtype.code, indices.dtype.code, mode, weighted)
        per = max(1, indices.numel // max(1, bags)) * max(1, width)
        tail = (FAULT_ADDRESS, rows, width, indices.numel, offsets.numel, padding, int(bags < offsets.numel))
        launch = Launch(kernel, bags, max(1, 16384 // per), tail, fault=fault)
        out = layout((bags, width), None, weight.dtype, weight.device)
        sizes = layout((bags,), None, dt.int64, weight.device)
        each = layout(indices.shape, None, dt.int64, weight.device)
        plan = _plans[key] = launch, out, sizes, out.with_dtype(dt.int64) if mode == "max" else sizes, each
    return plan


@operator("reduced_bags", function=False)
def _bags(
    weight: Any,
    per_sample_weights: Any,
    indices: Any,
    offsets: Any,
    mode: str,
    bags: int,
    padding_idx: int,
    scale_grad_by_freq: bool,
) -> Any:
    """(reduced rows, how many each bag has, for the maximum: the row of each element, the bag of each index)."""
    weighted = per_sample_weights is not None
    launch, out, sizes, places, each = _bag_plan(
        weight._layout, indices._layout, offsets._layout, mode, weighted, bags, padding_idx
    )
    result, held = new_tensor(out), new_tensor(sizes)
    found = new_tensor(places) if mode == "max" else held
    bag_of = new_tensor(each)
    table = _dense(weight)
    launch(
        (
            result,
            held,
            found,
            bag_of,
            table,
            _dense(indices),
            _dense(offsets),
            _dense(per_sample_weights) if weighted else table,
        ),
        4,
    )
    return result, held, found, bag_of


_bags.operator.differentiable_outputs = (0,)
_bags.operator.backward_name = "EmbeddingBagBackward0"


@_bags.joint_gradient("weight", "per_sample_weights")
def _(
    grad: Any,
    weight: Any,
    per_sample_weights: Any,
    indices: Any,
    offsets: Any,
    mode: str,
    bags: int,
    padding_idx: int,
    scale_grad_by_freq: bool,
    out1: Any,
    out2: Any,
    out3: Any,
    needs: Any,
) -> Any:
    rows, width = weight._layout.shape
    if mode == "max":
        zeros = FUNCTIONS["torch"]["zeros"]((rows, width), dtype=grad._layout.dtype)
        return zeros.scatter_add(0, out2.clamp(min=0), grad.masked_fill(out2 < 0, 0)), None
    given = grad / out1.clamp(min=1).unsqueeze(1) if mode == "mean" else grad
    spread = embedding(given, out3.clamp(min=0))
    if bags < offsets._layout.numel:
        spread = spread.masked_fill((out3 < 0).unsqueeze(1), 0)
    by_sample = None
    if per_sample_weights is not None:
        if needs[1]:
            by_sample = METHODS["sum"](spread * embedding(weight, indices), -1)
            if padding_idx >= 0:
                by_sample = by_sample.masked_fill(indices == padding_idx, 0)
        spread = spread * per_sample_weights.unsqueeze(1)
    return _embedding_backward(spread, indices, rows, padding_idx, scale_grad_by_freq), by_sample


@composite()
def embedding_bag(
    weight: Any,
    indices: Any,
    offsets: Any,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    sparse: bool = False,
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    """(out, bag of each index, sizes of the bags, rows of the maxima): bags of rows, reduced.

    Bag b is the indices from offsets[b] up to offsets[b + 1] (the last one up to the end). mode: 0 for the sum (of rows
    times `per_sample_weights`, if given), 1 for the mean, 2 for the maximum. Rows at `padding_idx` are left out.
    """
    if offsets._layout.dtype is not indices._layout.dtype:
        offsets = convert(offsets, indices._layout.dtype)
    bags = offsets._layout.numel - (1 if include_last_offset else 0)
    padding = -1 if padding_idx is None else padding_idx + (weight._layout.shape[0] if padding_idx < 0 else 0)
    out, sizes, places, bag = _bags(
        weight, per_sample_weights, indices, offsets, _MODES[mode], bags, padding, bool(scale_grad_by_freq)
    )
    torch = FUNCTIONS["torch"]
    return out, bag if mode else bag[:0], sizes if mode else torch["zeros_like"](sizes), places


@embedding.sample
def _(make: Any) -> Any:
    yield (make(5, 3), make(4, dtype=dt.int64, low=0, high=5)), {}
    yield (make(5, 3), make(2, 3, dtype=dt.int64, low=0, high=5), 1), {}
