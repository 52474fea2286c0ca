"""Reductions: one body each, with its gradient. Norms are in `vector_norm.py`, what picks elements in `extremum.py`."""

from __future__ import annotations

import math
from typing import Any

from facula.core import dtype as dt
from facula.engine.modes import modes
from facula.ops import scalar as sc
from facula.ops.copy import convert, copy_result
from facula.ops.define import FUNCTIONS, composite, layout_of, operator
from facula.ops.reduction import index_of, numpy_names, reduced_to, reduction, result_type, with_numpy_names


# -- sums ------------------------------------------------------------------------------------------------------------
@reduction(result="accumulate", native=True)
def sum(input: Any) -> Any:
    """The sum of the elements, of all or along `dim` (an int or several); integers are summed in int64.

    >>> torch.sum(torch.tensor([[1., 2.], [3., 4.]]), dim=0)
    tensor([4., 6.])
    """
    return input


sum.gradient(input=lambda grad: grad)


@reduction(result="accumulate")
def nansum(input: Any) -> Any:
    """The sum of the elements that are not NaN.

    >>> torch.nansum(torch.tensor([1., float('nan'), 2.]))
    tensor(3.)
    """
    return sc.select(sc.is_nan(input), 0.0, input)


nansum.gradient(input=lambda grad, input: grad * (input == input))


@reduction(result="float", finish=lambda a, n: a / n, native=True)
def mean(input: Any) -> Any:
    """The mean of the elements, of all or along `dim`. The dtype must be floating point.

    >>> torch.mean(torch.tensor([[1., 2.], [3., 4.]]), dim=1)
    tensor([1.5000, 3.5000])
    """
    return input


mean.gradient(input=lambda grad, n: grad / n)


@composite(method=True, out=True)
@with_numpy_names
def nanmean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The mean of the elements that are not NaN.

    >>> torch.nanmean(torch.tensor([1., float('nan'), 2.]))
    tensor(1.5000)
    """
    kind = layout_of(input, "nanmean").dtype.kind
    if kind not in "fc":
        raise RuntimeError(
            f"nanmean(): expected input to have floating point or complex dtype but got {input.dtype.scalar_name}"
        )
    return nansum(input, dim, keepdim, dtype=dtype) / sum(input == input, dim, keepdim)


@reduction(result=dt.int64, public=False)
def _count(input: Any) -> Any:
    return sc.truth(input)


@composite(method=True)
@with_numpy_names
def count_nonzero(input: Any, dim: Any = None) -> Any:
    """How many elements are not zero, of all or along `dim`.

    >>> torch.count_nonzero(torch.tensor([[0, 1], [2, 3]]), dim=0)
    tensor([1, 2])
    """
    return _count(input, dim)


@operator(name="sum_to_shape", function=False)
def _sum_to_shape(input: Any, shape: tuple[int, ...]) -> Any:
    return reduced_to(sum.operator, input, shape)


_sum_to_shape.gradient(input=lambda grad, input_layout: grad.expand(input_layout.shape))


def sum_to_shape(input: Any, shape: tuple[int, ...]) -> Any:
    """Summed over what broadcasting `shape` to the input's has repeated: the opposite of `expand`."""
    return input if input._layout.shape == shape else _sum_to_shape(input, shape)


# -- products and truth ----------------------------------------------------------------------------------------------
@reduction(combine="mul", result="accumulate", several=False)
def prod(input: Any) -> Any:
    """The product of the elements, of all or along one dimension; integers are multiplied in int64.

    >>> torch.prod(torch.tensor([1., 2., 3.]))
    tensor(6.)
    """
    return input


@prod.gradient
def _(grad: Any, input: Any, out: Any, dims: Any) -> Any:
    """The product of the others. Without zeros that is out / input; where it is differentiated again it is computed
    from running products, which stays right at zeros."""
    if modes.grad_enabled:
        return grad * _product_of_others(input, dims)
    is_zero = input == 0
    zeros = sum(is_zero, dims, True)
    filled = input.masked_fill(is_zero, 1)
    others = prod(filled, dims[0], True) if len(dims) == 1 else prod(filled)
    where = FUNCTIONS["torch"]["where"]
    alone = where(is_zero & (zeros == 1), others, others * 0)
    return grad * where(zeros == 0, out / input, alone)


def _product_of_others(input: Any, dims: tuple[int, ...]) -> Any:
    """For each element the product of all others along `dims` (one dimension, or all)."""
    cat, cumprod = FUNCTIONS["torch"]["cat"], FUNCTIONS["torch"]["cumprod"]
    if len(dims) != 1:
        return (
            _product_of_others(input.reshape(-1), (0,)).reshape(input.shape) if input.ndim else input / input.detach()
        )
    dim = dims[0]
    ones, size = input.new_ones(()).expand(input.narrow(dim, 0, 1).shape), input.shape[dim]
    before = cumprod(cat([ones, input.narrow(dim, 0, size - 1)], dim), dim)
    reverse = input.flip(dim)
    after = cumprod(cat([ones, reverse.narrow(dim, 0, size - 1)], dim), dim).flip(dim)
    return before * after


@reduction(combine="and", result="bool")
def all(input: Any) -> Any:
    """Whether every element is true (not zero); of no elements, True.

    >>> torch.all(torch.tensor([[True, False], [True, True]]), dim=1)
    tensor([False,  True])
    """
    return sc.truth(input)


@reduction(combine="or", result="bool")
def any(input: Any) -> Any:
    """Whether some element is true (not zero); of no elements, False.

    >>> torch.any(torch.tensor([0, 0, 3]))
    tensor(True)
    """
    return sc.truth(input)


# -- extrema by value ------------------------------------------------------------------------------------------------
@reduction(combine="max", needs_elements=True)
def amax(input: Any) -> Any:
    """The largest element, of all or along `dim` (an int or several); NaN if there is one. The gradient is shared
    evenly among equal ones.

    >>> torch.amax(torch.tensor([[1., 5.], [7., 2.]]), dim=1)
    tensor([5., 7.])
    """
    return input


@reduction(combine="min", needs_elements=True)
def amin(input: Any) -> Any:
    """The smallest element, of all or along `dim` (an int or several); NaN if there is one. The gradient is shared
    evenly among equal ones.

    >>> torch.amin(torch.tensor([[1., 5.], [7., 2.]]), dim=1)
    tensor([1., 2.])
    """
    return input


def shared_evenly(grad: Any, input: Any, out: Any, dims: Any) -> Any:
    """The gradient of an extremum: to the elements that equal it."""
    mask = (input == out) | ((input != input) & (out != out))
    return mask * (grad / sum(mask, dims, True))


amax.gradient(input=shared_evenly)
amin.gradient(input=shared_evenly)


@composite(method=True)
@with_numpy_names
def aminmax(input: Any, *, dim: Any = None, keepdim: bool = False, out: Any = None) -> Any:
    """(the smallest, the largest) element, of all or along one dimension.

    >>> torch.aminmax(torch.tensor([1., 3., 2.])).max
    tensor(3.)
    """
    pair = result_type("aminmax")
    if dim is None and not layout_of(input, "aminmax").numel:
        raise RuntimeError(
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity."
        )
    if isinstance(dim, (tuple, list)):
        raise TypeError(f"aminmax(): argument 'dim' must be int, not {type(dim).__name__}")
    found = amin(input, dim, keepdim), amax(input, dim, keepdim)
    if out is not None:
        return pair(*(copy_result(target, part) for target, part in zip(out, found, strict=True)))
    return pair(*found)


# -- logsumexp -------------------------------------------------------------------------------------------------------
@reduction(name="logsumexp", combine="max", public=False)
def _shift(input: Any) -> Any:
    return input


def _finite(shift: Any) -> Any:
    return sc.select(sc.absolute(shift) == math.inf, 0.0, shift)


@reduction(name="logsumexp", public=False, finish=lambda a, shift: sc.log(a) + _finite(shift))
def _log_sum_exp(input: Any, shift: Any) -> Any:
    return sc.exp(input - _finite(shift))


_log_sum_exp.gradient(input=lambda grad, input, out: grad * (input - out.masked_fill(out.abs() == math.inf, 0)).exp())


@composite(method=True, out=True)
@with_numpy_names
def logsumexp(input: Any, dim: Any, keepdim: bool = False) -> Any:
    """log(sum(exp(input))) along `dim` (an int or several), without overflow.

    >>> torch.logsumexp(torch.tensor([1000., 1000.]), 0)
    tensor(1000.6931)
    """
    if layout_of(input, "logsumexp").dtype.kind not in "fc":
        input = convert(input, dt.get_default_dtype())
    return _log_sum_exp(input, _in_compute_type(_shift(_plain(input), dim, True)), dim, keepdim)


def _plain(input: Any) -> Any:
    """The same without autograd."""
    return input.detach() if input._requires_grad else input


def _in_compute_type(kept: Any) -> Any:
    return convert(kept, dt.float32) if kept._layout.dtype in (dt.float16, dt.bfloat16) else kept


# -- variance --------------------------------------------------------------------------------------------------------
def _degrees(n: Any, correction: Any) -> Any:
    return sc.maximum(n - correction, 0.0)


@reduction(name="var", public=False, finish=lambda a, n, correction: a / _degrees(n, correction))
def _variance(input: Any, mean: Any, *, correction: float = 1.0) -> Any:
    return (input - mean) * (input - mean)


@reduction(name="std", public=False, finish=lambda a, n, correction: sc.sqrt(a / _degrees(n, correction)))
def _deviation(input: Any, mean: Any, *, correction: float = 1.0) -> Any:
    return (input - mean) * (input - mean)


def _from_mean(input: Any, dims: Any) -> Any:
    return input - mean(input, dims, True) if dims else input - input


@_variance.gradient
def _(grad: Any, input: Any, n: Any, dims: Any, correction: Any) -> Any:
    return grad * _from_mean(input, dims) * (2.0 / (n - correction) if n != correction else math.nan)


@_deviation.gradient
def _(grad: Any, input: Any, out: Any, n: Any, dims: Any, correction: Any) -> Any:
    scaled = (grad / (out * (n - correction))).masked_fill(out == 0, 0) if n != correction else grad * math.nan
    return scaled * _from_mean(input, dims)


def _spread(name: str, made: Any, args: tuple[Any, ...], kwargs: dict[str, Any], with_mean: bool = False) -> Any:
    """The forms of var and std: (input, unbiased), (input, dim, unbiased, keepdim) and (input, dim, *, correction,
    keepdim)."""
    numpy_names(kwargs)
    input, *rest = (kwargs.pop("input"), *args) if "input" in kwargs else args
    if rest and isinstance(rest[0], bool):
        rest = [None, rest[0]]
    names = ("dim", "unbiased", "keepdim")
    given = dict(zip(names, rest, strict=False))
    unknown = [k for k in kwargs if k not in (*names, "correction")]
    if unknown or len(rest) > 3:
        raise TypeError(
            f"{name}() got an unexpected keyword argument '{unknown[0]}'"
            if unknown
            else f"{name}() received too many arguments"
        )
    given.update(kwargs)
    correction = given.get("correction")
    if correction is None:
        correction = 1 if given.get("unbiased") in (None, True) else 0
    dtype = layout_of(input, name).dtype
    if dtype.kind not in "fc":
        raise RuntimeError(f"{name if with_mean else 'std and var'} only support floating point and complex dtypes")
    if dtype.kind == "c":
        if with_mean or name == "std":
            raise NotImplementedError(f"{name}() of a complex tensor")
        real = FUNCTIONS["torch"]["view_as_real"](input)
        return _spread(name, made, (real.select(-1, 0),), dict(given), False) + _spread(
            name, made, (real.select(-1, 1),), dict(given), False
        )
    dim, keepdim = given.get("dim"), given.get("keepdim", False)
    if dim is not None and not isinstance(dim, (tuple, list)):
        dim = index_of(dim, name)
    centre = mean(_plain(input), dim, True, dtype=dt.float32 if dtype in (dt.float16, dt.bfloat16) else None)
    if centre._layout.numel and input._layout.numel // centre._layout.numel <= correction:
        import warnings

        warnings.warn(
            f"{name}(): degrees of freedom is <= 0. Correction should be strictly less than the reduction factor "
            "(input numel divided by output numel).", UserWarning, stacklevel=3,
        )  # fmt: skip
    spread = made(input, centre, dim, keepdim, correction=correction)
    return (spread, mean(input, dim, keepdim)) if with_mean else spread


@composite(method=True, out=True)
def var(*args: Any, **kwargs: Any) -> Any:
    """var(input, dim=None, *, correction=1, keepdim=False): the variance, of all or along `dim` (an int or several).

    The sum of squared distances from the mean, divided by max(0, count - correction); unbiased=False: correction 0.

    >>> torch.var(torch.tensor([1., 2., 3., 4.]))
    tensor(1.6667)
    """
    return _spread("var", _variance, args, kwargs)


@composite(method=True, out=True)
def std(*args: Any, **kwargs: Any) -> Any:
    """std(input, dim=None, *, correction=1, keepdim=False): the square root of `var`.

    >>> torch.std(torch.tensor([1., 2., 3., 4.]), correction=0)
    tensor(1.1180)
    """
    return _spread("std", _deviation, args, kwargs)


@composite()
def var_mean(*args: Any, **kwargs: Any) -> Any:
    """(variance, mean), with the arguments of `var`."""
    return _spread("var_mean", _variance, args, kwargs, with_mean=True)


@composite()
def std_mean(*args: Any, **kwargs: Any) -> Any:
    """(standard deviation, mean), with the arguments of `std`."""
    return _spread("std_mean", _deviation, args, kwargs, with_mean=True)


# -- samples ---------------------------------------------------------------------------------------------------------
def _dims(make: Any, **options: Any) -> Any:
    yield (make(3, 4, **options),), {}
    yield (make(3, 4, **options), 0), {}
    yield (make(2, 3, 4, **options), -1, True), {}
    yield (make(**options),), {}


def _several(make: Any, **options: Any) -> Any:
    yield from _dims(make, **options)
    yield (make(2, 3, 4, **options), (0, 2)), {}
    yield (make(2, 3, 4, **options).transpose(0, 2), (0, 1), True), {}


for _each in (sum, nansum, mean, all, any, amax, amin):
    _each.sample(_several)
prod.sample(_dims)
