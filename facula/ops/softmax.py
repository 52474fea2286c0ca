"""Softmax and its logarithm along one dimension.

In: a tensor, a dimension. Out: a dense tensor of the same shape. One kernel forward, one backward; the gradients are
operators too, so that they can be differentiated again.
"""

from __future__ import annotations

from typing import Any

from facula.core import errors, shapes
from facula.core.layout import Layout, register_cache
from facula.ops.copy import contiguous, convert
from facula.ops.define import METHODS, composite, layout_of, operator
from facula.ops.dispatch import Launch
from facula.ops.kernels import rows as kernels
from facula.runtime.objects import new_tensor

_plans: dict[Any, tuple[Launch, Layout]] = register_cache({})


def _plan(own: Layout, dim: int, logarithm: bool, gradient: bool) -> tuple[Launch, Layout]:
    """The launch for tensors of this geometry, and the layout of the result."""
    if type(dim) is not int:
        raise TypeError(f"softmax(): argument 'dim' (position 2) must be int, not {type(dim).__name__}")
    where = shapes.normalize_dim(dim, len(own.shape))
    if own.dtype.kind != "f":
        raise errors.not_implemented(
            "log_softmax_lastdim_kernel_impl" if logarithm else "softmax_lastdim_kernel_impl", own.dtype
        )
    out = own.dense()
    n = own.shape[where] if own.shape else 1
    inner = 1
    for size in own.shape[where + 1 :]:
        inner *= size
    outer = own.numel // (n * inner) if own.numel else 0
    code = own.dtype.code
    if inner == 1:
        make = kernels.softmax_rows_gradient if gradient else kernels.softmax_rows
        return Launch(make(code, logarithm), outer, max(1, 8192 // max(1, n)), (n,)), out
    make = kernels.softmax_columns_gradient if gradient else kernels.softmax_columns
    strip = kernels.host().lanes(kernels.compute_type(code).itemsize) * kernels.COLUMNS
    return Launch(
        make(code, logarithm), outer * -(-inner // strip), max(1, 8192 // (max(1, n) * strip)), (n, inner)
    ), out


def _define(name: str, logarithm: bool) -> Any:
    """The operator and the operator of its gradient."""

    def forward(input: Any, dim: int) -> Any:
        own = input._layout
        key = (own, dim, logarithm, False)
        plan = _plans.get(key)
        if plan is None:
            plan = _plans[key] = _plan(own, dim, logarithm, False)
        launch, target = plan
        out = new_tensor(target)
        launch((out, input if own.contiguous else contiguous(input)))
        return out

    def backward(upstream: Any, result: Any, dim: int) -> Any:
        own = result._layout
        key = (own, dim, logarithm, True)
        plan = _plans.get(key)
        if plan is None:
            plan = _plans[key] = _plan(own, dim, logarithm, True)
        launch, target = plan
        slope = new_tensor(target)
        launch(
            (
                slope,
                upstream if upstream._layout.contiguous else contiguous(upstream),
                result if own.contiguous else contiguous(result),
            )
        )
        return slope

    return operator(name, function=False)(forward), operator(f"{name}_backward", function=False)(backward)


def _sum(x: Any, dim: int) -> Any:
    return METHODS["sum"](x, dim, True) if x._layout.shape else x


_softmax, _softmax_backward = _define("softmax", False)
_log_softmax, _log_softmax_backward = _define("log_softmax", True)
_softmax.gradient(input=lambda grad, out, dim: _softmax_backward(grad, out, dim))
_log_softmax.gradient(input=lambda grad, out, dim: _log_softmax_backward(grad, out, dim))
_softmax_backward.gradient(
    upstream=lambda grad, result, dim: _softmax_backward(grad, result, dim),
    result=lambda grad, upstream, result, dim: (
        grad * (upstream - _sum(upstream * result, dim)) - upstream * _sum(grad * result, dim)
    ),
)
_log_softmax_backward.gradient(
    upstream=lambda grad, result, dim: grad - _sum(grad * result.exp(), dim),
    result=lambda grad, upstream, result, dim: -(grad * result.exp() * _sum(upstream, dim)),
)


def _named(core: Any, name: str) -> Any:
    """The public function: it converts first where a dtype is asked for."""

    def function(input: Any, dim: int, dtype: Any = None) -> Any:
        if dtype is not None and layout_of(input, name).dtype is not dtype:
            input = convert(input, dtype)
        return core(input, dim)

    function.__name__ = function.__qualname__ = name
    return function


softmax = _named(_softmax, "softmax")
softmax.__doc__ = """exp(x) / sum(exp(x)) along `dim`, computed in `dtype` if given. Floating point only; the shape is the input's.

>>> torch.softmax(torch.zeros(4), 0)
tensor([0.2500, 0.2500, 0.2500, 0.2500])
"""
log_softmax = _named(_log_softmax, "log_softmax")
log_softmax.__doc__ = """The logarithm of `softmax`, without loss where that is small.

>>> torch.log_softmax(torch.zeros(4), 0)
tensor([-1.3863, -1.3863, -1.3863, -1.3863])
"""
for _function in (softmax, log_softmax):
    composite(_function.__name__, method=True, out=True, namespaces=("torch", "torch.special"))(_function)


@_softmax.sample
@_log_softmax.sample
def _(make: Any) -> Any:
    yield (make(5), 0), {}
    yield (make(3, 7), -1), {}
    yield (make(2, 3, 4), 1), {}
