"""Random operators in place: tensors filled from a generator's stream, with PyTorch's numbers in its element order.

In: a tensor, the parameters of a distribution, a generator (None: the default one). Out: the tensor. What is drawn from
which words is the business of `facula.runtime.random`; here are signatures, checks, and the order in which the elements
of a strided tensor take their numbers: that of its memory.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

from facula.core import dtype as dt
from facula.core import errors
from facula.core.layout import CPU, Layout, layout
from facula.core.strides import dense_stride_like, has_internal_overlap
from facula.engine.graph import Node, edge_of
from facula.engine.modes import modes
from facula.ops.copy import copy_
from facula.ops.define import FUNCTIONS, METHODS, publish
from facula.ops.dispatch import Launch
from facula.ops.inplace import check_in_place, rebase
from facula.ops.kernels.pointwise import KERNEL_TYPES
from facula.runtime import random as streams
from facula.runtime.objects import TensorBase, new_tensor
from facula.runtime.random import Generator


# -- drawing ---------------------------------------------------------------------------------------------------------
def generator_of(generator: Any, function: str) -> Generator:
    """The generator to draw from."""
    if generator is None:
        return streams.default()
    if not isinstance(generator, Generator):
        raise TypeError(f"{function}(): argument 'generator' must be torch.Generator, not {type(generator).__name__}")
    return generator


def draw(
    generator: Generator, kernel: Any, n: int, tensors: tuple[Any, ...], numbers: tuple[Any, ...] = (), outputs: int = 1
) -> None:
    """Launch a drawing kernel over [0, n) whole: a stream has an order. The first `outputs` tensors are written.

    A recorder sees the state's address in the launch's tail and the generator in `keep`: whoever replays the launch
    draws on, and must neither drop, repeat nor reorder it.
    """
    if modes.recorder is None:
        if len(tensors) == 1:
            generator.draw(kernel, n, tensors[0]._data, *numbers)
        else:
            generator.draw(kernel, n, *[t._data for t in tensors], *numbers)
    elif n > 0:
        Launch(kernel, n, n, (generator.address(),), generator)(tensors, outputs, numbers)


def dense_fill(target: Any, generator: Generator, kernel: Any, numbers: tuple[Any, ...], per_element: int = 1) -> None:
    """Fill a tensor in the order of its memory; `per_element` is 2 for complex numbers, filled by their parts."""
    geometry: Layout = target._layout
    if geometry.device is CPU and geometry.numel:
        stride = geometry.stride if geometry.contiguous else dense_stride_like(geometry.shape, geometry.stride)
        if stride == geometry.stride:
            draw(generator, kernel, geometry.numel * per_element, (target,), numbers)
        else:
            if has_internal_overlap(geometry.shape, geometry.stride):
                raise errors.internal_overlap()
            beside = new_tensor(layout(geometry.shape, stride, geometry.dtype, CPU))
            draw(generator, kernel, geometry.numel * per_element, (beside,), numbers)
            overwrite(target, beside)
    target._storage.version += 1


def overwrite(target: Any, source: Any) -> None:
    """Copy without autograd; the caller counts the change."""
    enabled, modes.grad_enabled = modes.grad_enabled, False
    try:
        copy_(target, source)
    finally:
        modes.grad_enabled = enabled
    target._storage.version -= 1


class _Redrawn:
    """The operator of a tensor that was filled anew: nothing of what it held matters to the result."""

    def __init__(self, backward_name: str) -> None:
        self.backward_name = backward_name

    @staticmethod
    def backward(node: Any, gradients: Any) -> list[Any]:
        geometry = node.outputs[0]
        return [FUNCTIONS["torch"]["zeros"](geometry.shape, dtype=geometry.dtype, device=geometry.device)]


def _fills(backward_name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: a method that fills its tensor in place, given a function that checks and draws."""
    redrawn = _Redrawn(backward_name)

    def define(fill: Callable[..., None]) -> Callable[..., Any]:
        def call(input: Any, *args: Any, **kwargs: Any) -> Any:
            check_in_place(input)
            fill(input, *args, **kwargs)
            if modes.grad_enabled and input._requires_grad:
                rebase(input, Node(redrawn, (edge_of(input),), (input._layout,), (), ()), True)
            return input

        call.__name__ = call.__qualname__ = fill.__name__
        call.__doc__ = fill.__doc__
        call.operator = None  # type: ignore[attr-defined]
        publish(fill.__name__, call, method=True, namespaces=())
        return call

    return define


def number(function: str, name: str, position: int, value: Any) -> float:
    """A parameter of a distribution as a float."""
    if type(value) is float:
        return value
    if isinstance(value, (int, float)) or (hasattr(value, "__float__") and not isinstance(value, str)):
        return float(value)
    raise errors.wrong_type(function, name, position, "float", value)


def integer(function: str, name: str, position: int, value: Any) -> int:
    """An argument that must be an integer."""
    if type(value) is int:
        return value
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise errors.wrong_type(function, name, position, "int", value)
    return int(value.__index__())


def kernel_type(dtype: dt.dtype, message: str, kinds: str = "f") -> Any:
    """The kernel language's type for an element type of one of these kinds; torch's error for others."""
    found = KERNEL_TYPES.get(dtype.code) if dtype.kind in kinds else None
    if found is None:
        raise errors.not_implemented(message, dtype)
    return found


# -- continuous distributions ------------------------------------------------------------------------------------------
@_fills("UniformBackward0")
def uniform_(input: Any, *args: Any, generator: Any = None, **kwargs: Any) -> None:
    """Fill with numbers uniform on [from, to). Floating point and complex. Defaults: 0 and 1.

    RuntimeError if from > to, or if either or their difference is not representable.

    >>> torch.empty(3).uniform_(-1, 1).abs().max() <= 1
    tensor(True)
    """
    if kwargs or len(args) != 2:
        low, high = _pair("uniform_", args, kwargs, ("from", 0.0), ("to", 1.0))
    else:
        low, high = number("uniform_", "from", 1, args[0]), number("uniform_", "to", 2, args[1])
    fill_uniform(input, low, high, generator_of(generator, "uniform_"))


def fill_uniform(input: Any, low: float, high: float, stream: Generator) -> None:
    """`uniform_` without its calling conventions and autograd."""
    kernel, parts, real, limit = _uniform_kernel(input._layout.dtype)
    if not (-limit <= low <= high <= limit and high - low <= limit):
        for name, value in (("from", low), ("to", high)):
            if not -limit <= value <= limit:
                raise RuntimeError(f"{name} is out of bounds for {_C_NAMES[real]}")
        if low > high:
            raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low:g} > to={high:g}")
        raise RuntimeError(
            f"uniform_ expects to-from <= std::numeric_limits<{real.scalar_name}>::max(), but found to={high:g} "
            f"and from={low:g} which result in to-from to exceed the limit"
        )
    dense_fill(input, stream, kernel, (low, high), parts)


@functools.cache
def _uniform_kernel(dtype: dt.dtype) -> tuple[Any, int, dt.dtype, float]:
    """(kernel, numbers per element, their dtype, its largest value)."""
    real = dtype.to_real() if dtype.is_complex else dtype
    kernel = streams.continuous.uniform(kernel_type(real, "check_uniform_bounds"))
    return kernel, 2 if dtype.is_complex else 1, real, dt.finfo(real).max


def _pair(function: str, args: tuple[Any, ...], kwargs: dict[str, Any], *parameters: tuple[str, float]) -> list[float]:
    """Two float parameters by position or name (`from` cannot be written as a Python parameter)."""
    if len(args) > len(parameters):
        raise TypeError(f"{function}() takes {len(parameters)} positional arguments but {len(args)} were given")
    values = []
    for position, (name, default) in enumerate(parameters):
        if position < len(args):
            if name in kwargs:
                raise TypeError(f"{function}() got multiple values for argument '{name}'")
            value = args[position]
        else:
            value = kwargs.pop(name, default)
        values.append(number(function, name, position + 1, value))
    if kwargs:
        raise TypeError(f"{function}() got an unexpected keyword argument '{next(iter(kwargs))}'")
    return values


def fill_normal(input: Any, mean: float, std: float, stream: Generator) -> None:
    """Normal numbers; contiguous tensors of at least 16 take them in blocks, others one by one."""
    if not std >= 0.0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    geometry = input._layout
    singly, in_blocks, parts = _normal_kernels(geometry.dtype)
    blocks = geometry.contiguous and geometry.numel * parts >= streams.continuous.NORMAL_BLOCK
    dense_fill(input, stream, in_blocks if blocks else singly, (mean, std / math.sqrt(2) if parts == 2 else std), parts)


@functools.cache
def _normal_kernels(dtype: dt.dtype) -> tuple[Any, Any, int]:
    """(kernel for elements one by one, kernel for blocks, numbers per element)."""
    real = dtype.to_real() if dtype.is_complex else dtype
    element = kernel_type(real, "normal_kernel_cpu")
    parts = 2 if dtype.is_complex else 1
    return streams.continuous.normal(element), streams.continuous.normal_blocks(element), parts


@_fills("NormalBackward0")
def normal_(input: Any, mean: Any = 0, std: Any = 1, *, generator: Any = None) -> None:
    """Fill with normal numbers of the given mean and standard deviation. Floating point and complex.

    The parts of complex numbers have the variance std**2 / 2 each. RuntimeError if std is negative.
    """
    mean, std = number("normal_", "mean", 1, mean), number("normal_", "std", 2, std)
    fill_normal(input, mean, std, generator_of(generator, "normal_"))


@_fills("LogNormalBackward0")
def log_normal_(input: Any, mean: Any = 1, std: Any = 2, *, generator: Any = None) -> None:
    """Fill with exp of normal numbers whose mean and deviation are given. RuntimeError unless std > 0."""
    mean, std = number("log_normal_", "mean", 1, mean), number("log_normal_", "std", 2, std)
    if not std > 0.0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std:g}")
    kernel = streams.continuous.log_normal(kernel_type(input._layout.dtype, "log_normal_cpu"))
    dense_fill(input, generator_of(generator, "log_normal_"), kernel, (mean, std))


def _only_floats(distribution: str, dtype: dt.dtype, name: str) -> Any:
    if dtype.kind != "f":
        raise RuntimeError(
            f"{distribution} distribution is a continuous probability distribution. dtype must be a floating point but "
            f"you specified {name}"
        )
    return kernel_type(dtype, f"{distribution.lower()}_cpu")


@_fills("ExponentialBackward0")
def exponential_(input: Any, lambd: Any = 1, *, generator: Any = None) -> None:
    """Fill with exponentially distributed numbers of rate `lambd`. RuntimeError unless lambd > 0."""
    rate = number("exponential_", "lambd", 1, lambd)
    if not rate > 0.0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={rate:g}")
    dtype = input._layout.dtype
    kernel = streams.continuous.exponential(_only_floats("Exponential", dtype, dtype.scalar_name))
    dense_fill(input, generator_of(generator, "exponential_"), kernel, (rate, 0.0))


@_fills("CauchyBackward0")
def cauchy_(input: Any, median: Any = 0, sigma: Any = 1, *, generator: Any = None) -> None:
    """Fill with Cauchy-distributed numbers. RuntimeError unless sigma > 0."""
    median, sigma = number("cauchy_", "median", 1, median), number("cauchy_", "sigma", 2, sigma)
    if not sigma > 0.0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma:g}")
    dtype = input._layout.dtype
    kernel = streams.continuous.cauchy(_only_floats("Cauchy", dtype, _C_NAMES.get(dtype, dtype.scalar_name)))
    dense_fill(input, generator_of(generator, "cauchy_"), kernel, (median, sigma))


@_fills("GeometricBackward0")
def geometric_(input: Any, p: Any, *, generator: Any = None) -> None:
    """Fill with the number of trials up to the first success of probability p. RuntimeError unless 0 < p < 1."""
    p = number("geometric_", "p", 1, p)
    if not 0.0 < p < 1.0:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p:g}")
    kernel = streams.continuous.geometric(kernel_type(input._layout.dtype, "geometric_cpu", "fiu"))
    dense_fill(input, generator_of(generator, "geometric_"), kernel, (p, 0.0))


# -- integers ----------------------------------------------------------------------------------------------------------
_C_NAMES = {
    dt.float32: "float", dt.float64: "double", dt.float16: "c10::Half", dt.bfloat16: "c10::BFloat16",
    dt.int8: "signed char", dt.int16: "short int", dt.int32: "int", dt.int64: "long int", dt.bool: "bool",
    dt.uint8: "unsigned char", dt.uint16: "short unsigned int", dt.uint32: "unsigned int",
    dt.uint64: "long unsigned int",
}  # fmt: skip
DIGITS = {dt.float32: 24, dt.float64: 53, dt.float16: 11, dt.bfloat16: 8}
_SIGNIFICANT_32 = 1 << 28
"""From this span on an integer takes two words, so that its remainder is fair."""
_LOWEST = -(1 << 63)


def _limits(dtype: dt.dtype) -> tuple[float, float]:
    if dtype.kind == "b":
        return 0, 1
    info = dt.finfo(dtype) if dtype.kind == "f" else dt.iinfo(dtype)
    return info.min, info.max


def _rounded(value: int, dtype: dt.dtype) -> int:
    """The integer as the floating-point type holds it: to nearest, halves to even."""
    excess = abs(value).bit_length() - DIGITS[dtype]
    if excess <= 0:
        return value
    step = 1 << excess
    quotient, rest = divmod(abs(value), step)
    if rest > step // 2 or (rest == step // 2 and quotient & 1):
        quotient += 1
    return quotient * step if value > 0 else -quotient * step


def _inner_bounds(low: int, high: int, dtype: dt.dtype) -> tuple[int, int]:
    """[low, high) made smaller where rounding to the floating-point type would leave it."""
    digits = DIGITS[dtype]
    after = _rounded(low + 1, dtype)
    if after < low:
        low = after + (1 << (abs(low + 1).bit_length() - digits))
    last = _rounded(high - 1, dtype)
    if high <= last < 1 << 63:
        high = last - (1 << (abs(high - 1).bit_length() - digits))
    return low, high


def _check_in_type(low: int, last: int, dtype: dt.dtype) -> None:
    smallest, largest = _limits(dtype)
    for name, value in (("from", low), ("to - 1", last)):
        if not smallest <= value <= largest:
            raise RuntimeError(f"{name} is out of bounds for {_C_NAMES[dtype]}")
        digits = DIGITS.get(dtype, 64)
        if abs(value) > 1 << digits:
            warnings.warn(
                f"{name} is out of bounds [-(2^{digits}), 2^{digits}]. Due to precision limitations {_C_NAMES[dtype]} "
                "can support discrete uniform distribution only within this range. This warning will become an "
                "error in version 1.7 release, please fix the code in advance",
                UserWarning,
                stacklevel=5,
            )


def _fill_integers(input: Any, low: int, span: int, stream: Generator, words: int) -> None:
    family = streams.discrete.integers64 if words == 2 else streams.discrete.integers32
    signed = (span + (1 << 63)) % (1 << 64) - (1 << 63)
    dense_fill(input, stream, family(KERNEL_TYPES[input._layout.dtype.code]), (low, signed))


def fill_between(input: Any, low: int, high: int | None, stream: Generator) -> None:
    """Integers in [low, high), or from `low` to the largest that the type holds exactly."""
    dtype = input._layout.dtype
    if dtype not in _C_NAMES:
        raise RuntimeError("check_random_bounds handles only integral, floating-point and boolean types")
    if high is not None:
        if low >= high:
            raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
        _check_in_type(low, high - 1, dtype)
        if dtype.kind == "f":
            low, high = _inner_bounds(low, high, dtype)
            if low >= high:
                raise RuntimeError(
                    "random_ expects 'from' casted to dtype to be less than 'to' casted to dtype, but got "
                    f"from={low} >= to={high}"
                )
        span = high - low
    elif low != _LOWEST:
        last = 1 << DIGITS[dtype] if dtype.kind == "f" else int(_limits(dtype)[1])
        last = min(last, (1 << 63) - 1)
        _check_in_type(low, last, dtype)
        if dtype.kind == "f":
            low = _inner_bounds(low, low + 1, dtype)[0]
        if low > last:
            raise RuntimeError(
                "random_ expects 'from' casted to dtype to be less than or equal to 'to_inc' casted to dtype, but got "
                f"from={low} > to_inc={last}"
            )
        span = last - low + 1
    else:
        if dtype in (dt.float16, dt.bool, dt.uint16, dt.uint32, dt.uint64):
            raise errors.not_implemented("random_full_64_bits_range_kernel_cpu", dtype)
        if dtype not in (dt.int64, dt.float64, dt.float32, dt.bfloat16):
            raise RuntimeError("random_full_64_bits_range_kernel_cpu handles only int64, double, float and bfloat16")
        low, span = 0, 1 << 64
    _fill_integers(input, low, span, stream, 2 if span >= _SIGNIFICANT_32 else 1)


@_fills("RandomBackward0")
def random_(input: Any, *args: Any, generator: Any = None, **kwargs: Any) -> None:
    """Fill with integers: `random_()` over what the element type holds exactly, `random_(to)` in [0, to),
    `random_(from, to)` in [from, to), `random_(from, None)` from `from` up.

    RuntimeError for an empty range or one that the element type cannot hold.
    """
    bounds = dict(zip(("from", "to") if len(args) == 2 or kwargs.get("to", 0) != 0 else ("to",), args, strict=False))
    if len(args) > 2 or (kwargs.keys() - {"from", "to"}):
        raise TypeError("random_() takes (), (to), or (from, to), and generator=")
    bounds.update(kwargs)
    stream = generator_of(generator, "random_")
    if bounds:
        low = integer("random_", "from", 1, bounds.get("from", 0))
        high = bounds.get("to")
        fill_between(input, low, None if high is None else integer("random_", "to", 2, high), stream)
        return
    dtype = input._layout.dtype
    if dtype not in _C_NAMES or dtype in (dt.uint16, dt.uint32, dt.uint64):
        raise errors.not_implemented("random_kernel_cpu", dtype)
    span = (1 << DIGITS[dtype]) + 1 if dtype.kind == "f" else int(_limits(dtype)[1]) + 1
    _fill_integers(input, 0, span, stream, 2 if dtype in (dt.int64, dt.float64) else 1)


# -- Bernoulli ---------------------------------------------------------------------------------------------------------
@_fills("BernoulliBackward1")
def bernoulli_(input: Any, p: Any = 0.5, *, generator: Any = None) -> None:
    """Fill with 1 with probability p, else 0; p is a number, or a tensor of probabilities, expanded to the shape."""
    stream = generator_of(generator, "bernoulli_")
    dtype = input._layout.dtype
    if isinstance(p, TensorBase):
        _fill_bernoulli_each(input, p, stream)
        return
    p = number("bernoulli_", "p", 1, p)
    if not 0.0 <= p <= 1.0:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p:g}")
    dense_fill(input, stream, streams.discrete.bernoulli(kernel_type(dtype, "bernoulli_scalar_cpu_", "fiub")), (p, 0.0))


def _fill_bernoulli_each(input: Any, probability: Any, stream: Generator) -> None:
    geometry = input._layout
    out_type = kernel_type(geometry.dtype, "bernoulli_tensor_cpu_self_", "fiub")
    kernel = streams.discrete.bernoulli_each(
        out_type, kernel_type(probability._layout.dtype, "bernoulli_tensor_cpu_p_")
    )
    if has_internal_overlap(geometry.shape, geometry.stride):
        raise errors.internal_overlap()
    order = dense_stride_like(geometry.shape, geometry.stride)
    spread = METHODS["expand"](METHODS["detach"](probability), geometry.shape)
    if geometry.device is CPU and geometry.numel:
        each = new_tensor(layout(geometry.shape, order, spread._layout.dtype, CPU))
        overwrite(each, spread)
        beside = input if order == geometry.stride else new_tensor(layout(geometry.shape, order, geometry.dtype, CPU))
        refused = stream.draw_checked(kernel, geometry.numel, beside._data, each._data)
        if refused:
            raise RuntimeError(
                f"Expected p_in >= 0 && p_in <= 1 to be true, but got false. (bernoulli: {refused} of {geometry.numel} "
                "probabilities are not in [0, 1])"
            )
        if beside is not input:
            overwrite(input, beside)
    input._storage.version += 1
