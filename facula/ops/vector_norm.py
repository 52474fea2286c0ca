"""Norms of vectors: torch.linalg.vector_norm of every order, and torch.norm, which is older and more lenient."""

from __future__ import annotations

import math
from typing import Any

from facula.ops import scalar as sc
from facula.ops.copy import convert, copy_result
from facula.ops.define import FUNCTIONS, composite, layout_of
from facula.ops.reduce import sum as sum_of
from facula.ops.reduction import reduction, with_numpy_names


@reduction(name="linalg_vector_norm", result="float", public=False)
def _count(input: Any) -> Any:
    """The order 0: how many elements are not zero."""
    return sc.select(input == 0.0, input * 0.0, 1.0)


@reduction(name="linalg_vector_norm", result="float", public=False)
def _taxicab(input: Any) -> Any:
    """The order 1."""
    return sc.absolute(input)


@reduction(name="linalg_vector_norm", result="float", public=False, finish=lambda a: sc.sqrt(a))
def _euclidean(input: Any) -> Any:
    """The order 2."""
    return input * input


@reduction(name="linalg_vector_norm", result="float", public=False, finish=lambda a, order: a ** (1.0 / order))
def _general(input: Any, *, order: float = 3.0) -> Any:
    return sc.absolute(input) ** order


@reduction(name="linalg_vector_norm", result="float", combine=sc.maximum, identity=0.0, public=False)
def _largest(input: Any) -> Any:
    """The order inf."""
    return sc.absolute(input)


@reduction(name="linalg_vector_norm", result="float", combine=sc.minimum, identity=math.inf, public=False)
def _smallest(input: Any) -> Any:
    """The order -inf."""
    return sc.absolute(input)


_count.gradient(input=lambda grad, input: grad * input * 0)
_taxicab.gradient(input=lambda grad, input: grad * input.sign())
_euclidean.gradient(input=lambda grad, input, out: input * (grad / out).masked_fill(out == 0, 0))


@_general.gradient
def _(grad: Any, input: Any, out: Any, order: float) -> Any:
    """grad * sign(x) * (|x| / norm) ** (order - 1), 0 where that would divide by zero."""
    magnitude = input.abs()
    if order < 1:
        slope = input.sign() * magnitude.pow(order - 1).masked_fill(input == 0, 0)
        return slope * grad * out.pow(1 - order)
    if order < 2:
        return input.sign() * magnitude.pow(order - 1) * (grad / out.pow(order - 1)).masked_fill(out == 0, 0)
    return input * magnitude.pow(order - 2) * (grad / out.pow(order - 1)).masked_fill(out == 0, 0)


def _of_extreme(grad: Any, input: Any, out: Any, dims: Any) -> Any:
    """Shared among the elements whose magnitude is the norm."""
    mask = (input.abs() == out) | ((input != input) & (out != out))
    return input.sign() * mask * (grad / sum_of(mask, dims, True))


_largest.gradient(input=_of_extreme)
_smallest.gradient(input=_of_extreme)


@composite(namespaces=("torch.linalg",), out=True)
@with_numpy_names
def vector_norm(x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The norm of order `ord` (a number, inf or -inf) of the elements along `dim` (an int or several), of all if None.

    sum(|x| ** ord) ** (1 / ord); the order 0 counts what is not zero, inf and -inf give the extreme magnitudes.

    >>> torch.linalg.vector_norm(torch.tensor([3., 4.]))
    tensor(5.)
    """
    own = layout_of(x, "linalg_vector_norm", argument="x")
    if own.dtype.kind not in "fc":
        raise RuntimeError(
            f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {own.dtype.scalar_name}"
        )
    if dtype is not None:
        if dtype.kind not in "fc":
            raise RuntimeError(
                f"linalg.vector_norm: dtype should be floating point or complex, but got {dtype.scalar_name}"
            )
        x = x if own.dtype is dtype else convert(x, dtype)
    if x._layout.dtype.kind == "c":
        x = x.abs()
    if not isinstance(ord, (int, float)):
        raise TypeError(f"linalg_vector_norm(): argument 'ord' (position 2) must be Number, not {type(ord).__name__}")
    order = float(ord)
    if order in (math.inf, -math.inf) or order < 0:
        _check_not_empty(x._layout, order, dim)
    if order == 2:
        return _euclidean(x, dim, keepdim)
    if order == 1:
        return _taxicab(x, dim, keepdim)
    if order == 0:
        return _count(x, dim, keepdim)
    if order in (math.inf, -math.inf):
        return (_largest if order > 0 else _smallest)(x, dim, keepdim)
    return _general(x, dim, keepdim, order=order)


def _check_not_empty(own: Any, order: float, dim: Any) -> None:
    """The norms that nothing has no value for."""
    if own.numel:
        return
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        raise RuntimeError(
            f"linalg.vector_norm cannot compute the {order:g} norm on an empty tensor because the operation does not have an identity"
        )
    for d in dim if isinstance(dim, (tuple, list)) else (dim,):
        if own.shape[d] == 0:
            raise RuntimeError(
                f"linalg.vector_norm cannot compute the {order:g} norm on the dimension {d} because this dimension is empty and "
                "the operation does not have an identity"
            )


@composite(method=True)
@with_numpy_names
def norm(input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, out: Any = None, dtype: Any = None) -> Any:
    """The norm of order `p` of all elements or along `dim`: a number, "fro" (the order 2) or "nuc" (of matrices).

    >>> torch.norm(torch.tensor([[3., 0.], [0., 4.]]))
    tensor(5.)
    """
    own = layout_of(input, "norm")
    if p == "nuc":
        found = FUNCTIONS["torch.linalg"]["matrix_norm"](
            input, "nuc", (-2, -1) if dim is None else dim, keepdim, dtype=dtype
        )
    else:
        if isinstance(p, str) and p != "fro":
            raise RuntimeError(f"linalg.matrix_norm: Order {p} not supported.")
        order = 2 if p is None or p == "fro" else p
        if own.dtype.kind not in "fc" and dtype is None:
            raise RuntimeError(
                f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {own.dtype.scalar_name}"
            )
        if dtype is not None and own.dtype is not dtype:
            input = convert(input, dtype)
        found = vector_norm(input, order, dim, keepdim)
    return found if out is None else copy_result(out, found)
