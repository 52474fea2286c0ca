"""The tensor operations that the backward walk itself needs, handed to the engine."""

from __future__ import annotations

from typing import Any

from facula.core.layout import Layout
from facula.engine import backward
from facula.ops import copy, pointwise
from facula.ops.define import FUNCTIONS, METHODS, composite
from facula.runtime.objects import wrap


def _add_in_place(a: Any, b: Any) -> Any:
    return METHODS["add_"](a, b)


def _zeros(layout: Layout) -> Any:
    return FUNCTIONS["torch"]["zeros"](layout.shape, dtype=layout.dtype, device=layout.device)


def _to_dtype(gradient: Any, to: Any) -> Any:
    """A gradient for an input of another dtype; the real part where the input is real."""
    if gradient._layout.dtype.kind == "c" and to.kind != "c":
        gradient = FUNCTIONS["torch"]["real"](gradient)
    return gradient if gradient._layout.dtype is to else copy.convert(gradient, to)


def _has_nan(gradient: Any) -> bool:
    return bool(METHODS["any"](FUNCTIONS["torch"]["isnan"](gradient)).item())


def _clone(gradient: Any) -> Any:
    """A copy for a leaf's `.grad`; recorded only if the gradient itself is being differentiated."""
    if gradient._requires_grad:
        return copy.clone(gradient)
    return copy.clone(wrap(gradient._storage, gradient._data, gradient._layout))


@composite(method=True, function=False)
def sum_to_size(input: Any, *size: Any) -> Any:
    """Summed over the dimensions in which `size` is 1 or missing: the reverse of broadcasting."""
    from facula.ops.view import reshape, sizes_of

    target = sizes_of(size)
    shape = input._layout.shape
    if shape == target:
        return input
    lead = len(shape) - len(target)
    if lead < 0 or any(t not in (1, s) for s, t in zip(shape[lead:], target, strict=True)):
        raise RuntimeError(f"size {list(target)} is not expandable to size {list(shape)}.")
    dims = [*range(lead), *[lead + i for i, (s, t) in enumerate(zip(shape[lead:], target, strict=True)) if t != s]]
    summed = FUNCTIONS["torch"]["sum"](input, tuple(dims), keepdim=True) if dims else input
    return reshape(summed, target)


backward.install(
    add=pointwise.add, add_in_place=_add_in_place, clone=_clone, sum_to=sum_to_size, to_dtype=_to_dtype, zeros=_zeros, has_nan=_has_nan,
)  # fmt: skip
