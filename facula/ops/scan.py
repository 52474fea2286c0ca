"""Scans: cumulative sums, products and extrema along a dimension, and differences of neighbours."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any

from facula.core import dtype as dt
from facula.core.layout import Layout, layout, register_cache
from facula.core.promotion import accumulating_result
from facula.core.shapes import contiguous_stride, normalize_dim
from facula.core.strides import collapse
from facula.ops import scalar as sc
from facula.ops.copy import convert
from facula.ops.define import FUNCTIONS, Operator, composite, layout_of
from facula.ops.dispatch import Launch
from facula.ops.expression import Expr, variable
from facula.ops.kernels.scan import Running, Scan, running_extremum, running_lanes, scan_columns, scan_lanes, scan_lines
from facula.ops.reduction import WORK, index_of, numpy_names, result_type, with_numpy_names
from facula.runtime.objects import new_tensor


class Plan:
    """The layouts of the results, the launch, and the dtype the input must be given first."""

    __slots__ = ("convert", "launch", "out")

    def __init__(self, out: Layout, launch: Launch, converted: dt.dtype | None = None) -> None:
        self.out, self.launch, self.convert = out, launch, converted


def _geometry(own: Layout, dim: int) -> tuple[tuple[int, ...], str, list[int], int]:
    """(sizes of the other dimensions, form of the walk, geometry block, length of the dimension)."""
    out = contiguous_stride(own.shape)
    if not own.shape:
        return (1,), "lines", [1, 1, 1, 1, 1, 1], 1
    others = [d for d in range(len(own.shape)) if d != dim]
    sizes, (out_strides, strides) = collapse(
        tuple([own.shape[d] for d in others]),
        [tuple([out[d] for d in others]), tuple([own.stride[d] for d in others])],
        reorder=False,
    )
    length, out_step, step = own.shape[dim], out[dim], own.stride[dim]
    if length == 1:
        out_step = step = 1
    shape = "strided"
    if out_step == 1 and step == 1:
        shape = "lines"
    elif out_strides[-1] == 1 and strides[-1] == 1 and sizes[-1] >= 4:
        shape = "columns"
    return sizes, shape, [length, out_step, step, *sizes, *out_strides, *strides], length


def _launch(kernel: Any, block: list[int], sizes: tuple[int, ...], length: int, strip: int, weight: int) -> Launch:
    memory = (ctypes.c_int64 * len(block))(*block)
    lines = math.prod(sizes)
    tasks = lines if strip == 0 else lines // max(1, sizes[-1]) * -(-sizes[-1] // strip)
    work = weight * length * (strip or 1)
    return Launch(kernel, tasks, max(1, WORK // max(1, work)), (ctypes.addressof(memory),), memory)


def scan(
    combine: Callable[[Any, Any], Any], identity: float, *, floating: bool = False
) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: define a scan by how what came before (`a`) and an element (`b`) combine; the decorated function
    carries the name and the documentation. `floating`: integers are refused, else they are accumulated in int64."""

    def define(described: Callable[..., Any]) -> Any:
        name, expression = described.__name__, combine(variable("a"), variable("b"))
        plans: dict[Any, Plan] = register_cache({})

        def forward(input: Any, dim: Any, dtype: Any = None) -> Any:
            key = (layout_of(input, name), dim, dtype)
            plan = plans.get(key)
            if plan is None:
                plan = plans[key] = _scan_plan(name, input._layout, dim, dtype, expression, identity, floating)
            if plan.convert is not None:
                input = convert(input, plan.convert)
            out = new_tensor(plan.out)
            plan.launch((out, input))
            return out

        made = Operator(name, forward)

        def call(input: Any, *args: Any, **kwargs: Any) -> Any:
            numpy_names(kwargs)
            return made.call(input, *args, **kwargs)

        call.__name__, call.__doc__ = name, described.__doc__
        public = composite(method=True, out=True)(call)
        public.operator, public.gradient, public.sample = made, made.gradient, made.sample
        return public

    return define


def _scan_plan(name: str, own: Layout, dim: Any, dtype: Any, expression: Expr, identity: float, floating: bool) -> Plan:
    dim = normalize_dim(index_of(dim, name), len(own.shape))
    if floating and own.dtype.kind not in "fc":
        raise NotImplementedError(f"\"{name}_out_cpu\" not implemented for '{own.dtype.scalar_name}'")
    result = dtype if dtype is not None else accumulating_result(own.dtype)
    if result.kind == "c" or own.dtype.kind == "c":
        raise NotImplementedError(f"\"{name}_out_cpu\" not implemented for '{result.scalar_name}'")
    converted = result if own.dtype is not result and own.dtype.kind == "f" else None
    if converted is not None:
        own = layout(own.shape, None, converted, own.device)
    sizes, shape, block, length = _geometry(own, dim)
    out = layout(own.shape, None, result, own.device)
    form = Scan(shape, expression, identity, own.dtype.code, result.code, len(sizes))
    kernel = scan_columns(form) if shape == "columns" else scan_lines(form)
    return Plan(
        out,
        _launch(kernel, block, sizes, length, scan_lanes(form) if shape == "columns" else 0, 4 + expression.weight),
        converted,
    )


@scan(lambda a, b: a + b, 0)
def cumsum() -> Any:
    """Running sums along `dim`; integers are summed in int64.

    >>> torch.cumsum(torch.tensor([1., 2., 3.]), dim=0)
    tensor([1., 3., 6.])
    """


def _reversed_sum(input: Any, dim: int) -> Any:
    """For each place the sum of it and all after it."""
    return cumsum(input.flip(dim), dim).flip(dim) if input.ndim else input


cumsum.gradient(input=lambda grad, dim: _reversed_sum(grad, dim))


@scan(lambda a, b: a * b, 1)
def cumprod() -> Any:
    """Running products along `dim`; integers are multiplied in int64.

    >>> torch.cumprod(torch.tensor([1., 2., 3.]), dim=0)
    tensor([1., 2., 6.])
    """


@cumprod.operator.joint_gradient("input")
def _(grad: Any, input: Any, out: Any, dim: int) -> Any:
    """Before the first zero, the products that hold an element divided by it; at the first zero, the products without
    it; nothing after it."""
    if not input.ndim:
        return grad
    where, is_zero = FUNCTIONS["torch"]["where"], input == 0
    zeros = cumsum(is_zero, dim)
    first = is_zero & (zeros == 1)
    without = cumprod(input.masked_fill(first, 1), dim)
    before = _reversed_sum(grad * out, dim) / input.masked_fill(is_zero, 1)
    at = _reversed_sum(grad * without, dim)
    return where(zeros == 0, before, at * first)


def _log_add_exp(a: Any, b: Any) -> Any:
    larger, smaller = sc.maximum(a, b), sc.minimum(a, b)
    return sc.select(
        larger == smaller,
        larger + math.log(2),
        sc.select(smaller == -math.inf, larger, larger + sc.log1p(sc.exp(smaller - larger))),
    )


@scan(_log_add_exp, -math.inf, floating=True)
def logcumsumexp() -> Any:
    """log of running sums of exp(input) along `dim`, without overflow.

    >>> torch.logcumsumexp(torch.tensor([0., 0.]), dim=0)
    tensor([0.0000, 0.6931])
    """


@logcumsumexp.operator.joint_gradient("input")
def _(grad: Any, input: Any, out: Any, dim: int) -> Any:
    """Positive and negative parts of the gradient apart, in logarithms; the smallest number stands for the logarithm
    of 0, because differences of infinities are not numbers."""
    if not input.ndim:
        return grad
    where = FUNCTIONS["torch"]["where"]
    nothing = grad.new_full((), dt.finfo(grad.dtype).min)
    parts = []
    for part in (grad, -grad):
        logarithm = where(part > 0, part.abs().log(), nothing)
        parts.append((logcumsumexp((logarithm - out).flip(dim), dim).flip(dim) + input).exp())
    return parts[0] - parts[1]


# -- running extrema -------------------------------------------------------------------------------------------------
_running_plans: dict[Any, Plan] = register_cache({})


def _running(name: str, largest: bool) -> Any:
    def forward(input: Any, dim: Any) -> Any:
        own = layout_of(input, name)
        key = (own, dim, largest)
        plan = _running_plans.get(key)
        if plan is None:
            axis = normalize_dim(index_of(dim, name), len(own.shape))
            if own.dtype.kind == "c":
                raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{own.dtype.scalar_name}'")
            sizes, shape, block, length = _geometry(own, axis)
            form = Running(shape, largest, "u8" if own.dtype is dt.bool else own.dtype.code, len(sizes))
            strip = running_lanes(form) if shape == "columns" else 0
            launch = _launch(running_extremum(form), block, sizes, length, strip, 6)
            plan = _running_plans[key] = Plan(own.dense(), launch)
        values, indices = new_tensor(plan.out), new_tensor(plan.out.with_dtype(dt.int64))
        plan.launch((values, indices, input), 2)
        return values, indices

    made = Operator(name, forward)
    made.differentiable_outputs = (0,)
    made.gradient(
        input=lambda grad, out1, dim: grad.new_zeros(grad.shape).scatter_add(dim, out1, grad) if grad.ndim else grad
    )
    return made


_cummax, _cummin = _running("cummax", True), _running("cummin", False)


@composite(method=True, out=True)
@with_numpy_names
def cummax(input: Any, dim: Any) -> Any:
    """(values, indices) of the largest element so far along `dim`; of equal ones the last.

    >>> torch.cummax(torch.tensor([1., 3., 2.]), dim=0).values
    tensor([1., 3., 3.])
    """
    return result_type("cummax")(*_cummax.call(input, dim))


@composite(method=True, out=True)
@with_numpy_names
def cummin(input: Any, dim: Any) -> Any:
    """(values, indices) of the smallest element so far along `dim`; of equal ones the last.

    >>> torch.cummin(torch.tensor([3., 1., 2.]), dim=0).values
    tensor([3., 1., 1.])
    """
    return result_type("cummin")(*_cummin.call(input, dim))


# -- composed --------------------------------------------------------------------------------------------------------
@composite(method=True, out=True)
@with_numpy_names
def diff(input: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """Differences of neighbours along `dim`, taken `n` times, with `prepend` and `append` joined on before.

    >>> torch.diff(torch.tensor([1, 4, 9]))
    tensor([3, 5])
    """
    ndim = len(layout_of(input, "diff").shape)
    if ndim < 1:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    dim = normalize_dim(dim, ndim)
    parts = [p for p in (prepend, input, append) if p is not None]
    if len(parts) > 1:
        input = FUNCTIONS["torch"]["cat"](parts, dim)
    for _ in range(min(n, input.shape[dim])):
        size = input.shape[dim]
        later, earlier = input.narrow(dim, 1, size - 1), input.narrow(dim, 0, size - 1)
        input = later ^ earlier if input.dtype is dt.bool else later - earlier
    return input


@composite(method=True, out=True)
def trace(input: Any) -> Any:
    """The sum of the diagonal of a matrix.

    >>> torch.trace(torch.tensor([[1., 2.], [3., 4.]]))
    tensor(5.)
    """
    ndim = len(layout_of(input, "trace").shape)
    if ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {ndim}")
    return FUNCTIONS["torch"]["sum"](input.diagonal())


def _samples(make: Any) -> Any:
    yield (make(5), 0), {}
    yield (make(3, 4), 0), {}
    yield (make(3, 4), -1), {}
    yield (make(2, 20, 3).transpose(0, 1), 0), {}
    yield (make(), 0), {}


for _each in (cumsum, cumprod, logcumsumexp):
    _each.sample(_samples)
