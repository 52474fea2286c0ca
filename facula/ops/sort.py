"""Sorting and what is read off sorted lines: sort, argsort, topk, kthvalue, median, mode, quantile."""

from __future__ import annotations

import ctypes
import math
from typing import Any

from facula.core import dtype as dt
from facula.core.layout import Layout, layout, register_cache
from facula.core.shapes import normalize_dim
from facula.core.strides import collapse, dense_stride_like
from facula.ops.define import FUNCTIONS, Operator, composite, layout_of
from facula.ops.dispatch import Launch
from facula.ops.extremum import picker
from facula.ops.kernels.sort import SHORT, TOP_MOST, Order, pick_lines, sort_lines, top_lines, words_of
from facula.ops.reduction import WORK, index_of, numpy_names, result_type, with_numpy_names
from facula.runtime.objects import new_tensor

GROUPS = 64
"""Into how many parts the lines are divided, each with a workspace for one line."""


class Plan:
    """The layouts of the results and the workspace, and the launch."""

    __slots__ = ("indices", "launch", "values", "workspace")

    def __init__(self, values: Layout, launch: Launch, workspace: Layout | None) -> None:
        self.values, self.indices, self.launch, self.workspace = values, values.with_dtype(dt.int64), launch, workspace

    def run(self, input: Any) -> tuple[Any, Any]:
        values, indices = new_tensor(self.values), new_tensor(self.indices)
        if self.workspace is None:
            self.launch((values, indices, input), 2)
        else:
            self.launch((values, indices, new_tensor(self.workspace), input), 3)
        return values, indices


_plans: dict[Any, Plan] = register_cache({})


def _lines(own: Layout, out: Layout, dim: int) -> tuple[int, int, int, int, list[int]]:
    """(length, lines, step of the input, step of the results, sizes and strides of the other dimensions)."""
    if not own.shape:
        return 1, 1, 1, 1, [1, 1, 1]
    others = [d for d in range(len(own.shape)) if d != dim]
    sizes, (strides, out_strides) = collapse(
        tuple([own.shape[d] for d in others]),
        [tuple([own.stride[d] for d in others]), tuple([out.stride[d] for d in others])],
        reorder=False,
    )
    return own.shape[dim], math.prod(sizes), own.stride[dim], out.stride[dim], [*sizes, *strides, *out_strides]


def _code(name: str, own: Layout) -> str:
    if own.dtype.kind == "c":
        raise NotImplementedError(f"\"{name}\" not implemented for '{own.dtype.scalar_name}'")
    return own.dtype.code


def _sort_plan(own: Layout, dim: int, descending: bool) -> Plan:
    values = layout(own.shape, dense_stride_like(own.shape, own.stride), own.dtype, own.device)
    length, lines, step, out_step, others = _lines(own, values, dim)
    code = _code("sort", own)
    wide = own.dtype.itemsize == 8
    digit = 0 if length <= SHORT else 8 if wide or length < 1 << 15 else 11
    groups = min(lines, GROUPS)
    block = (ctypes.c_int64 * (5 + len(others)))(length, groups, lines, step, out_step, *others)
    work = length * (length if digit == 0 else 60) * max(1, lines // max(1, groups))
    launch = Launch(
        sort_lines(Order(code, descending, len(others) // 3, digit)), groups if length else 0, max(1, WORK // max(1, work)),
        (ctypes.addressof(block),), block,
    )  # fmt: skip
    # The launch's operands are (values, indices, workspace, input).
    return Plan(values, launch, layout((groups * words_of(code, length),), None, dt.int64, own.device))


def _sort(name: str, input: Any, dim: Any, descending: Any) -> tuple[Any, Any]:
    own = layout_of(input, name)
    key = (own, dim, bool(descending), 0)
    plan = _plans.get(key)
    if plan is None:
        plan = _plans[key] = _sort_plan(own, normalize_dim(index_of(dim, name), len(own.shape)), bool(descending))
    return plan.run(input)


def _to_places(grad: Any, out1: Any, input_layout: Layout, dim: Any) -> Any:
    """The gradient of a choice of elements along `dim`: to where each came from."""
    if not input_layout.shape:
        return grad.reshape(())
    return grad.new_zeros(input_layout.shape).scatter(dim, out1, grad)


_sort_operator = Operator("sort", lambda input, dim, descending: _sort("sort", input, dim, descending))
_sort_operator.differentiable_outputs = (0,)
_sort_operator.gradient(input=_to_places)


def _sort_arguments(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, Any]:
    """(input, dim=-1, descending=False) of a call that may also say `stable`."""
    numpy_names(kwargs)
    names = ("input", "dim", "descending")
    if len(args) > 4:
        raise TypeError(f"{name}() takes at most 4 positional arguments but {len(args)} were given")
    given = dict(zip(names, args, strict=False))
    kwargs.pop("stable", None)
    for key in kwargs:
        if key not in names:
            raise TypeError(f"{name}() got an unexpected keyword argument '{key}'")
    given.update(kwargs)
    if "input" not in given:
        raise TypeError(f'{name}() missing 1 required positional arguments: "input"')
    dim = given.get("dim", -1)
    if isinstance(dim, bool):
        raise TypeError(f"{name}(): argument 'dim' (position 2) must be int, not bool")
    return given["input"], dim, given.get("descending", False)


@composite(method=True, out=True)
def sort(*args: Any, **kwargs: Any) -> Any:
    """sort(input, dim=-1, descending=False, *, stable=False): (values, indices) in order along `dim`.

    Equal elements keep their order, whether asked for or not; NaN counts as larger than every number.

    >>> torch.sort(torch.tensor([3., 1., 2.])).values
    tensor([1., 2., 3.])
    """
    return result_type("sort")(*_sort_operator.call(*_sort_arguments("sort", args, kwargs)))


@composite(method=True)
def argsort(*args: Any, **kwargs: Any) -> Any:
    """argsort(input, dim=-1, descending=False, *, stable=False): the indices that sort along `dim`.

    >>> torch.argsort(torch.tensor([3., 1., 2.]))
    tensor([1, 2, 0])
    """
    return _sort("argsort", *_sort_arguments("argsort", args, kwargs))[1]


@composite(method=True, out=True)
def msort(input: Any) -> Any:
    """The elements in order along the first dimension.

    >>> torch.msort(torch.tensor([3., 1., 2.]))
    tensor([1., 2., 3.])
    """
    return _sort_operator.call(input, 0, False)[0]


# -- the first in order ----------------------------------------------------------------------------------------------
def _top(input: Any, k: int, dim: int, largest: bool) -> tuple[Any, Any]:
    own = input._layout
    key = (own, dim, largest, k, "top")
    plan = _plans.get(key)
    if plan is None:
        axis = normalize_dim(index_of(dim, "topk"), len(own.shape))
        size = own.shape[axis] if own.shape else 1
        if not 0 <= k <= size:
            raise RuntimeError("selected index k out of range")
        if own.dtype is dt.bool:
            raise RuntimeError("topk does not support bool dtypes on CPU")
        if k > TOP_MOST or k > size // 4 or not own.shape:
            values, indices = _sort("topk", input, axis, largest)
            if not own.shape:
                return values, indices
            return values.narrow(axis, 0, k).contiguous(), indices.narrow(axis, 0, k).contiguous()
        shape = (*own.shape[:axis], k, *own.shape[axis + 1 :])
        out = layout(shape, None, own.dtype, own.device)
        length, lines, step, out_step, others = _lines(own, out, axis)
        block = (ctypes.c_int64 * (5 + len(others)))(length, k, lines, step, out_step, *others)
        launch = Launch(
            top_lines(Order(_code("topk", own), largest, len(others) // 3, 0)), lines if k else 0, max(1, WORK // (8 * length + 1)),
            (ctypes.addressof(block),), block,
        )  # fmt: skip
        plan = _plans[key] = Plan(out, launch, None)
    return plan.run(input)


_top_operator = Operator("topk", lambda input, k, dim, largest: _top(input, k, dim, largest))
_top_operator.differentiable_outputs = (0,)
_top_operator.gradient(input=_to_places)


@composite(method=True, out=True)
@with_numpy_names
def topk(input: Any, k: Any, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """(values, indices) of the `k` largest (or smallest) elements along `dim`, in order; of equal ones the first.

    >>> torch.topk(torch.tensor([1., 4., 2., 3.]), 2).values
    tensor([4., 3.])
    """
    layout_of(input, "topk")
    return result_type("topk")(*_top_operator.call(input, int(k), dim, bool(largest)))


# -- one element of the order ----------------------------------------------------------------------------------------
def _pick(name: str, what: str, input: Any, dim: Any, keepdim: bool, k: int = 0) -> tuple[Any, Any]:
    """An element of each sorted line along `dim`, by its rank."""
    own = input._layout
    axis = normalize_dim(index_of(dim, name), len(own.shape))
    last = input.transpose(axis, -1) if own.shape else input
    length = last.shape[-1] if own.shape else 1
    if length == 0 and what != "kth":
        raise IndexError(f"{name.removeprefix('nan')}(): Expected reduction dim {axis} to have non-zero size.")
    values, indices = _sort(name, last.contiguous(), -1, False)
    shape = last.shape[:-1]
    picked = (
        new_tensor(layout(shape, None, own.dtype, own.device)),
        new_tensor(layout(shape, None, dt.int64, own.device)),
    )
    key = (values._layout, what, k)
    launch = _picks.get(key)
    if launch is None:
        launch = _picks[key] = Launch(
            pick_lines(own.dtype.code, what), picked[0]._layout.numel, max(1, WORK // (4 * length + 1)), (length, k)
        )
    launch((*picked, values, indices), 2)
    if not own.shape:
        return picked
    if axis == len(own.shape) - 1:
        return tuple([p.unsqueeze(-1) for p in picked]) if keepdim else picked  # type: ignore[return-value]
    # The sizes stand as in the input with its last dimension moved to `axis`.
    whole = [p.unsqueeze(-1).transpose(axis, -1) for p in picked]
    whole = whole if keepdim else [p.squeeze(axis) for p in whole]
    return tuple([p.contiguous() for p in whole])  # type: ignore[return-value]


_picks: dict[Any, Launch] = register_cache({})
_median_along = picker("median", lambda input, dim, keepdim: _pick("median", "median", input, dim, keepdim))
_nanmedian_along = picker("nanmedian", lambda input, dim, keepdim: _pick("nanmedian", "nanmedian", input, dim, keepdim))
_mode_along = picker("mode", lambda input, dim, keepdim: _pick("mode", "mode", input, dim, keepdim))
_kth_along = Operator("kthvalue", lambda input, k, dim, keepdim: _pick("kthvalue", "kth", input, dim, keepdim, k - 1))
_kth_along.differentiable_outputs = (0,)
_kth_along.gradient(input=_median_along.rules["input"])


def _median(name: str, along: Operator, input: Any, dim: Any, keepdim: bool) -> Any:
    own = layout_of(input, name)
    if dim is None:
        if not own.numel:
            nothing = math.nan if own.dtype.kind == "f" else dt.iinfo(own.dtype).min if own.dtype.itemsize >= 4 else 0
            return FUNCTIONS["torch"]["full"]((), nothing, dtype=own.dtype, device=own.device)
        return along.call(input.reshape(-1), 0, False)[0]
    return result_type(name)(*along.call(input, dim, keepdim))


@composite(method=True, out=True)
@with_numpy_names
def median(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The middle element in order (the lower of two), of all, or (values, indices) along `dim`; NaN if there is one.

    >>> torch.median(torch.tensor([3., 1., 2., 4.]))
    tensor(2.)
    """
    return _median("median", _median_along, input, dim, keepdim)


@composite(method=True, out=True)
@with_numpy_names
def nanmedian(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The middle element (the lower of two) of those that are not NaN, of all, or (values, indices) along `dim`.

    >>> torch.nanmedian(torch.tensor([3., float('nan'), 2., 4.]))
    tensor(3.)
    """
    return _median("nanmedian", _nanmedian_along, input, dim, keepdim)


@composite(method=True, out=True)
@with_numpy_names
def mode(input: Any, dim: int = -1, keepdim: bool = False) -> Any:
    """(values, indices) of the most frequent element along `dim`, the smallest of several.

    >>> torch.mode(torch.tensor([2., 1., 2., 3.])).values
    tensor(2.)
    """
    layout_of(input, "mode")
    return result_type("mode")(*_mode_along.call(input, dim, keepdim))


@composite(method=True, out=True)
@with_numpy_names
def kthvalue(input: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """(values, indices) of the `k`-th smallest element along `dim`, counted from 1.

    >>> torch.kthvalue(torch.tensor([3., 1., 2.]), 2).values
    tensor(2.)
    """
    shape = layout_of(input, "kthvalue").shape
    if shape and input._layout.dtype is dt.bool:
        raise NotImplementedError("\"kthvalue_cpu\" not implemented for 'Bool'")
    size = shape[normalize_dim(dim, len(shape))] if shape else 1
    if not 1 <= k <= size:
        raise RuntimeError(
            "kthvalue(): selected number k out of range for dimension " + str(normalize_dim(dim, len(shape)))
        )
    return result_type("kthvalue")(*_kth_along.call(input, k, dim, keepdim))


# -- quantiles -------------------------------------------------------------------------------------------------------
def _quantile(name: str, input: Any, q: Any, dim: Any, keepdim: bool, interpolation: str, ignore_nan: bool) -> Any:
    own = layout_of(input, name)
    torch = FUNCTIONS["torch"]
    if own.numel == 0:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    if own.dtype not in (dt.float32, dt.float64):
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype")
    if isinstance(q, (int, float)):
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q}")
        q = torch["full"]((), float(q), dtype=own.dtype)
    if q._layout.dtype is not own.dtype:
        raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
    if len(q._layout.shape) > 1:
        raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
    if interpolation not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise RuntimeError(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got {interpolation}"
        )
    ndim = len(own.shape)
    if dim is None:
        flat, shape = input.reshape(-1), (1,) * ndim if keepdim else ()
    else:
        axis = normalize_dim(dim, ndim)
        flat = input.unsqueeze(0) if not ndim else input.transpose(axis, -1)
        flat = input.movedim(axis, -1) if ndim else flat
        shape = tuple([1 if d == axis else s for d, s in enumerate(own.shape) if d != axis or keepdim])
    ordered = _sort_operator.call(flat, -1, False)[0]
    last = ordered.shape[-1] - 1
    is_nan = ordered != ordered
    ranks = q.reshape((-1,) + (1,) * ordered.ndim)
    if ignore_nan:
        known = torch["sum"](~is_nan, -1, True)
        ranks = (ranks * (known - 1)).clamp_min(0)
    else:
        ranks = ranks * last
        ranks = torch["where"](torch["any"](is_nan, -1, True), torch["full"]((), float(last), dtype=own.dtype), ranks)
    if interpolation == "lower":
        ranks = ranks.floor()
    elif interpolation == "higher":
        ranks = ranks.ceil()
    elif interpolation == "nearest":
        ranks = ranks.round()
    lines = (ranks.shape[0], *ordered.shape[:-1], 1)
    ordered = ordered.unsqueeze(0).expand(ranks.shape[0], *ordered.shape)
    below = ranks.floor()
    result = ordered.gather(-1, below.to(dt.int64).expand(lines))
    if interpolation in ("linear", "midpoint"):
        above = ordered.gather(-1, ranks.ceil().to(dt.int64).expand(lines))
        weight = ranks - below if interpolation == "linear" else torch["full"]((), 0.5, dtype=own.dtype)
        result = torch["lerp"](result, above, weight)
    return result.reshape((*q._layout.shape, *shape))


@composite(method=True, out=True)
@with_numpy_names
def quantile(input: Any, q: Any, dim: Any = None, keepdim: bool = False, *, interpolation: str = "linear") -> Any:
    """The `q`-th quantiles (a number or a 1-d tensor in [0, 1]) of all elements or along `dim`; NaN if there is one.

    Several quantiles make a new first dimension. interpolation: linear, lower, higher, midpoint or nearest.

    >>> torch.quantile(torch.tensor([0., 1., 2., 3.]), 0.5)
    tensor(1.5000)
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation, False)


@composite(method=True, out=True)
@with_numpy_names
def nanquantile(input: Any, q: Any, dim: Any = None, keepdim: bool = False, *, interpolation: str = "linear") -> Any:
    """`quantile` of the elements that are not NaN.

    >>> torch.nanquantile(torch.tensor([0., 1., float('nan')]), 0.5)
    tensor(0.5000)
    """
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, True)
