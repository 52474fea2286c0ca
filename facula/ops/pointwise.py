"""Arithmetic, comparison, logic and elementary mathematics, element by element: one body each."""

from __future__ import annotations

import math
from typing import Any

from facula.core import dtype as dt
from facula.ops import scalar as sc
from facula.ops.define import FUNCTIONS, METHODS, composite, layout_of, publish
from facula.ops.elementwise import pointwise
from facula.ops.inplace import derived_in_place
from facula.runtime.objects import TensorBase

_BOOL_MINUS = (
    "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, use the `~` or "
    "`logical_not()` operator instead."
)
_BOOL_NEGATIVE = (
    "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use the `~` or "
    "`logical_not()` operator instead."
)


# -- arithmetic ------------------------------------------------------------------------------------------------------
@pointwise(accepts="numbers")
def add(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """input + alpha * other, broadcast.

    >>> torch.add(torch.tensor([1., 2.]), torch.tensor([3., 4.]), alpha=2)
    tensor([ 7., 10.])
    """
    return input + alpha * other


@pointwise(aliases=("subtract",), refuse_bool=_BOOL_MINUS, accepts="numbers")
def sub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """input - alpha * other, broadcast."""
    return input - alpha * other


@composite(method=True)
def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """other - alpha * input."""
    layout_of(input, "rsub")
    return sub(other, input, alpha=alpha)


@pointwise(aliases=("multiply",), accepts="numbers")
def mul(input: Any, other: Any) -> Any:
    """input * other, broadcast."""
    return input * other


@pointwise(result="float", accepts="numbers", domain=(0.3, 3.0))
def true_divide(input: Any, other: Any) -> Any:
    """input / other, broadcast; integers give the default float dtype."""
    return input / other


@pointwise(accepts="numbers", domain=(0.3, 3.0))
def floor_divide(input: Any, other: Any) -> Any:
    """The quotient rounded towards minus infinity."""
    return sc.floor_divide(input, other)


@pointwise(method=False, in_place=False, function=False, accepts="numbers", domain=(0.3, 3.0))
def divide_towards_zero(input: Any, other: Any) -> Any:
    """The quotient rounded towards zero."""
    return sc.trunc_divide(input, other)


@composite(method=True, aliases=("divide",))
def div(input: Any, other: Any, *, rounding_mode: str | None = None, out: Any = None) -> Any:
    """input / other; rounding_mode 'floor' or 'trunc' keeps integers integers.

    >>> torch.div(torch.tensor([7, -7]), 2, rounding_mode="floor")
    tensor([ 3, -4])
    """
    if rounding_mode is None:
        return true_divide(input, other) if out is None else true_divide(input, other, out=out)
    if rounding_mode == "floor":
        return floor_divide(input, other, out=out)
    if rounding_mode == "trunc":
        return divide_towards_zero(input, other, out=out)
    raise RuntimeError(f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'")


def div_(input: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    """In-place version of `div`."""
    if rounding_mode is None:
        return METHODS["true_divide_"](input, other)
    return _divided(input, other, rounding_mode=rounding_mode)


_divided = derived_in_place("div_", div)
publish("div_", div_, method=True, namespaces=(), aliases=("divide_",))


@pointwise(accepts="one", domain=(0.3, 3.0))
def remainder(input: Any, other: Any) -> Any:
    """The remainder with the sign of the divisor, as Python's %."""
    return sc.remainder(input, other)


@pointwise(domain=(0.3, 3.0))
def fmod(input: Any, other: Any) -> Any:
    """The remainder with the sign of the dividend, as C's fmod."""
    return sc.fmod(input, other)


@pointwise(aliases=("negative",), refuse_bool=_BOOL_NEGATIVE)
def neg(input: Any) -> Any:
    """-input."""
    return -input


@composite(method=True)
def positive(input: Any) -> Any:
    """The tensor itself; RuntimeError for bool."""
    if input._layout.dtype is dt.bool:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


@pointwise(name="pow", accepts="one", domain=(0.3, 3.0))
def power(input: Any, exponent: Any) -> Any:
    """input ** exponent, broadcast."""
    return input**exponent


_general_power = METHODS["pow"]


def pow(input: Any, exponent: Any, *, out: Any = None) -> Any:
    """input to a power, broadcast. Integers to negative integer powers are refused: RuntimeError."""
    if isinstance(exponent, (int, float)) and isinstance(input, TensorBase):
        kind = input._layout.dtype.kind
        if isinstance(exponent, int) and exponent < 0 and kind in "iub":
            raise RuntimeError("Integers to negative integer powers are not allowed.")
        if out is None and kind == "f":
            if exponent == 2:
                return _power_two(input)
            if exponent == 0.5:
                return _power_half(input)
            if exponent == 3:
                return _power_three(input)
            if exponent == -1:
                return _power_minus_one(input)
            if exponent == 1:
                return METHODS["clone"](input)
    return _general_power(input, exponent) if out is None else _general_power(input, exponent, out=out)


publish("pow", pow, method=True)


def _special_power(body: Any) -> Any:
    made = pointwise(name="pow", method=False, function=False, in_place=False)(body)
    return made


_power_two = _special_power(lambda input: input * input)
_power_three = _special_power(lambda input: input * input * input)
_power_half = _special_power(lambda input: sc.sqrt(input))
_power_minus_one = _special_power(lambda input: 1.0 / input)


@composite(out=True, method=True)
def float_power(input: Any, exponent: Any) -> Any:
    """The power computed in double precision."""
    if isinstance(input, TensorBase):
        input = input.to(dt.complex128 if input.is_complex() else dt.float64)
    if isinstance(exponent, TensorBase):
        exponent = exponent.to(dt.complex128 if exponent.is_complex() else dt.float64)
    return pow(input, exponent)


@composite(method=True, out=True)
def square(input: Any) -> Any:
    """input * input."""
    return _power_two(input) if input._layout.dtype.kind == "f" else mul(input, input)


derived_in_place("square_", square, True)
derived_in_place("float_power_", float_power)


@pointwise(result="float", domain=(0.3, 3.0))
def reciprocal(input: Any) -> Any:
    """1 / input."""
    return 1.0 / input


@reciprocal.gradient
def _(grad: Any, out: Any) -> Any:
    return -grad * (out * out)


@pointwise(aliases=("absolute",), result="real")
def abs(input: Any) -> Any:
    """The absolute value."""
    return sc.absolute(input)


@pointwise()
def sign(input: Any) -> Any:
    """-1, 0 or 1."""
    return sc.sign(input)


@pointwise()
def sgn(input: Any) -> Any:
    """-1, 0 or 1 (for complex numbers, the number divided by its absolute value)."""
    return sc.sign(input)


@pointwise(result="float")
def copysign(input: Any, other: Any) -> Any:
    """|input| with the sign of other."""
    return sc.copysign(input, other)


@pointwise(accepts="tensors")
def maximum(input: Any, other: Any) -> Any:
    """The larger of two; NaN if either is."""
    return sc.maximum(input, other)


@pointwise(accepts="tensors")
def minimum(input: Any, other: Any) -> Any:
    """The smaller of two; NaN if either is."""
    return sc.minimum(input, other)


@pointwise(accepts="tensors")
def fmax(input: Any, other: Any) -> Any:
    """The larger of two; a NaN loses against a number."""
    return sc.select((input >= other) | sc.is_nan(other), input, other)


@pointwise(accepts="tensors")
def fmin(input: Any, other: Any) -> Any:
    """The smaller of two; a NaN loses against a number."""
    return sc.select((input <= other) | sc.is_nan(other), input, other)


@pointwise(method=False, in_place=True, function=False, name="clamp_min")
def _clamp_min(input: Any, min: Any) -> Any:
    return sc.select(sc.is_nan(input), input, sc.maximum(input, min))


@pointwise(method=False, in_place=True, function=False, name="clamp_max")
def _clamp_max(input: Any, max: Any) -> Any:
    return sc.select(sc.is_nan(input), input, sc.minimum(input, max))


@pointwise(method=False, function=False, in_place=False, name="clamp")
def _clamp(input: Any, min: Any, max: Any) -> Any:
    return sc.minimum(sc.maximum(input, min), max)


@_clamp_min.gradient
def _(grad: Any, input: Any, min: Any) -> Any:
    return sc.select(input >= min, grad, 0.0), sc.select(input < min, grad, 0.0)


@_clamp_max.gradient
def _(grad: Any, input: Any, max: Any) -> Any:
    return sc.select(input <= max, grad, 0.0), sc.select(input > max, grad, 0.0)


@_clamp.gradient
def _(grad: Any, input: Any, min: Any, max: Any) -> Any:
    inside = (input >= min) & (input <= max)
    below = (min < max) & (input < min)
    above = (input > max) | (max < min)
    return sc.select(inside, grad, 0.0), sc.select(below, grad, 0.0), sc.select(above, grad, 0.0)


@composite(method=True, aliases=("clip",))
def clamp(input: Any, min: Any = None, max: Any = None, *, out: Any = None) -> Any:
    """Elements below min become min, above max become max; either bound may be missing, a number or a tensor."""
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if max is None:
        return _clamp_min(input, min, out=out) if out is not None else _clamp_min(input, min)
    if min is None:
        return _clamp_max(input, max, out=out) if out is not None else _clamp_max(input, max)
    return _clamp(input, min, max, out=out) if out is not None else _clamp(input, min, max)


derived_in_place("clamp_", clamp, True)
publish("clip_", METHODS["clamp_"], method=True)


@composite(method=True, out=True)
def clamp_min(input: Any, min: Any) -> Any:
    """Elements below min become min."""
    return _clamp_min(input, min)


@composite(method=True, out=True)
def clamp_max(input: Any, max: Any) -> Any:
    """Elements above max become max."""
    return _clamp_max(input, max)


derived_in_place("clamp_min_", clamp_min, True)
derived_in_place("clamp_max_", clamp_max, True)


@pointwise()
def lerp(input: Any, end: Any, weight: Any) -> Any:
    """input + weight * (end - input), computed from the nearer end."""
    gap = end - input
    return sc.select(sc.absolute(weight) < 0.5, input + weight * gap, end - gap * (1.0 - weight))


@lerp.gradient
def _(grad: Any, input: Any, end: Any, weight: Any) -> Any:
    return grad * (1.0 - weight), grad * weight, grad * (end - input)


@pointwise(accepts="tensors")
def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """input + value * tensor1 * tensor2."""
    return input + value * tensor1 * tensor2


@pointwise(accepts="tensors")
def addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """input + value * tensor1 / tensor2."""
    return input + value * (tensor1 / tensor2)


# -- rounding --------------------------------------------------------------------------------------------------------
@pointwise()
def floor(input: Any) -> Any:
    """Rounded towards minus infinity."""
    return sc.floor(input)


@pointwise()
def ceil(input: Any) -> Any:
    """Rounded towards plus infinity."""
    return sc.ceil(input)


@pointwise(aliases=("fix",))
def trunc(input: Any) -> Any:
    """Rounded towards zero."""
    return sc.trunc(input)


@pointwise()
def frac(input: Any) -> Any:
    """The part after the point, with the sign."""
    return input - sc.trunc(input)


@pointwise(name="round")
def _round(input: Any) -> Any:
    return sc.round_even(input)


_round_public = METHODS["round"]


def round(input: Any, *, decimals: int = 0, out: Any = None) -> Any:
    """Rounded to the nearest integer (halves to even), or to a number of decimals."""
    if decimals == 0:
        return _round_public(input) if out is None else _round_public(input, out=out)
    if input._layout.dtype.kind != "f":
        raise NotImplementedError(f"\"round_cpu\" not implemented for '{input._layout.dtype.scalar_name}'")
    scale = 10.0 ** builtin_abs(decimals)
    scaled = _round_public(input * scale) / scale if decimals > 0 else _round_public(input / scale) * scale
    return scaled if out is None else FUNCTIONS["internal"]["copy_result"](out, scaled)


def builtin_abs(number: int) -> int:
    """The absolute value of a Python number (`abs` here is the operator)."""
    return -number if number < 0 else number


publish("round", round, method=True, namespaces=("torch", "torch.special"))
derived_in_place("round_", round, True)


# -- elementary functions ----------------------------------------------------------------------------------------------
def _elementary(
    name: str, doc: str, aliases: tuple[str, ...] = (), special: bool = False, domain: tuple[float, float] = (-2.0, 2.0)
) -> Any:
    body = getattr(sc, name)
    namespaces = ("torch", "torch.special") if special else ("torch",)

    def function(input: Any) -> Any:
        return body(input)

    function.__name__ = name
    function.__doc__ = doc
    return pointwise(result="float", aliases=aliases, namespaces=namespaces, domain=domain)(function)


exp = _elementary("exp", "e to the power of each element.")
exp2 = _elementary("exp2", "2 to the power of each element.", special=True)
expm1 = _elementary("expm1", "exp(x) - 1, accurate near 0.", special=True)
log = _elementary("log", "The natural logarithm.", domain=(0.1, 3.0))
log2 = _elementary("log2", "The logarithm to base 2.", domain=(0.1, 3.0))
log10 = _elementary("log10", "The logarithm to base 10.", domain=(0.1, 3.0))
log1p = _elementary("log1p", "log(1 + x), accurate near 0.", special=True, domain=(-0.9, 2.0))
sqrt = _elementary("sqrt", "The square root; NaN for negative numbers.", domain=(0.1, 3.0))
rsqrt = _elementary("rsqrt", "1 / sqrt(x).", domain=(0.1, 3.0))
sin, cos, tan = (
    _elementary("sin", "Sine of radians."),
    _elementary("cos", "Cosine of radians."),
    _elementary("tan", "Tangent of radians.", domain=(-1.3, 1.3)),
)
asin = _elementary("asin", "Arc sine, in radians.", ("arcsin",), domain=(-0.9, 0.9))
acos = _elementary("acos", "Arc cosine, in radians.", ("arccos",), domain=(-0.9, 0.9))
atan = _elementary("atan", "Arc tangent, in radians.", ("arctan",))
sinh, cosh = _elementary("sinh", "Hyperbolic sine."), _elementary("cosh", "Hyperbolic cosine.")
tanh = _elementary("tanh", "Hyperbolic tangent.")
asinh = _elementary("asinh", "Inverse hyperbolic sine.", ("arcsinh",))
acosh = _elementary("acosh", "Inverse hyperbolic cosine.", ("arccosh",), domain=(1.1, 3.0))
atanh = _elementary("atanh", "Inverse hyperbolic tangent.", ("arctanh",), domain=(-0.9, 0.9))
sigmoid = _elementary("sigmoid", "1 / (1 + exp(-x)).")
publish("expit", METHODS["sigmoid"], namespaces=("torch.special",))
erf = _elementary("erf", "The error function.", special=True)
erfc = _elementary("erfc", "1 - erf(x), accurate for large x.", special=True)
erfinv = _elementary("erfinv", "The inverse of erf.", special=True, domain=(-0.9, 0.9))
lgamma = _elementary("lgamma", "The logarithm of |gamma(x)|.", domain=(0.5, 4.0))
publish("gammaln", METHODS["lgamma"], namespaces=("torch.special",))
digamma = _elementary("digamma", "The derivative of lgamma.", special=True, domain=(0.5, 4.0))
publish("psi", METHODS["digamma"], namespaces=("torch.special",))


@pointwise(result="float", aliases=("arctan2",), accepts="tensors")
def atan2(input: Any, other: Any) -> Any:
    """The angle of the point (other, input), in radians."""
    return sc.atan2(input, other)


@pointwise(result="float", accepts="tensors")
def hypot(input: Any, other: Any) -> Any:
    """sqrt(input ** 2 + other ** 2)."""
    return sc.sqrt(input * input + other * other)


@pointwise(result="float", in_place=False, accepts="tensors")
def logaddexp(input: Any, other: Any) -> Any:
    """log(exp(input) + exp(other)), without overflow."""
    larger = sc.maximum(input, other)
    return sc.select(input == other, input + math.log(2), larger + sc.log1p(sc.exp(-sc.absolute(input - other))))


@logaddexp.gradient
def _(grad: Any, input: Any, other: Any) -> Any:
    return grad * sc.sigmoid(input - other), grad * sc.sigmoid(other - input)


@pointwise(result="float", in_place=False, accepts="tensors")
def logaddexp2(input: Any, other: Any) -> Any:
    """log2(2 ** input + 2 ** other), without overflow."""
    larger = sc.maximum(input, other)
    return sc.select(
        input == other, input + 1.0, larger + sc.log1p(sc.exp2(-sc.absolute(input - other))) * (1 / math.log(2))
    )


@pointwise(result="float", namespaces=("torch", "torch.special"))
def sinc(input: Any) -> Any:
    """sin(pi x) / (pi x), 1 at 0."""
    return sc.select(input == 0, 1.0 + input, sc.sin(input * math.pi) / (input * math.pi))


@sinc.gradient
def _(grad: Any, out: Any, input: Any) -> Any:
    return sc.select(input == 0, 0.0, grad * ((sc.cos(input * math.pi) - out) / input))


@pointwise(result="float", accepts="one", domain=(0.3, 3.0), namespaces=("torch", "torch.special"))
def xlogy(input: Any, other: Any) -> Any:
    """input * log(other), 0 where input is 0 (unless other is NaN)."""
    return sc.select(sc.is_nan(other), other, sc.select(input == 0, input * 0.0, input * sc.log(other)))


@xlogy.gradient
def _(grad: Any, input: Any, other: Any) -> Any:
    return sc.select((input == 0) & (other <= 0), 0.0, grad * sc.log(other)), grad * (input / other)


@pointwise(result="float", name="logit", domain=(0.1, 0.9), method=False, function=False, in_place=False)
def _logit(input: Any) -> Any:
    return sc.log(input / (1.0 - input))


@_logit.gradient
def _(grad: Any, input: Any) -> Any:
    return grad / (input * (1.0 - input))


@composite(method=True, out=True, namespaces=("torch", "torch.special"))
def logit(input: Any, eps: float | None = None) -> Any:
    """log(x / (1 - x)); with eps, x is first kept within [eps, 1 - eps]."""
    return _logit(input if eps is None else clamp(input, eps, 1 - eps))


derived_in_place("logit_", logit, True)


@pointwise(result="float")
def deg2rad(input: Any) -> Any:
    """Degrees to radians."""
    return input * (math.pi / 180)


@pointwise(result="float")
def rad2deg(input: Any) -> Any:
    """Radians to degrees."""
    return input * (180 / math.pi)


@pointwise(accepts="tensors")
def heaviside(input: Any, values: Any) -> Any:
    """0 below zero, 1 above, `values` at zero."""
    return sc.select(input == 0, values, sc.maximum(sc.sign(input), 0))


@composite(method=True, out=True)
def nan_to_num(input: Any, nan: float | None = None, posinf: float | None = None, neginf: float | None = None) -> Any:
    """NaN and the infinities replaced, by default with 0 and the largest and smallest number of the dtype."""
    dtype = input._layout.dtype
    if dtype.kind not in "fc":
        return METHODS["clone"](input)
    info = dt.finfo(dtype)
    return _nan_to_num(
        input,
        nan=nan or 0.0,
        posinf=info.max if posinf is None else posinf,
        neginf=info.min if neginf is None else neginf,
    )


@pointwise(name="nan_to_num", method=False, function=False, in_place=False)
def _nan_to_num(input: Any, *, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    finite = sc.select(input == math.inf, posinf, sc.select(input == -math.inf, neginf, input))
    return sc.select(sc.is_nan(input), nan, finite)


@_nan_to_num.sample
def _(make: Any) -> Any:
    x = make(3, 4)
    yield (where(x > 1, x * math.inf, where(x < -1, x * math.nan, x)),), {"posinf": 9.0, "neginf": -9.0}
    yield (make(5),), {"posinf": 3.0, "neginf": 2.0}


@_nan_to_num.gradient
def _(grad: Any, input: Any) -> Any:
    return sc.select((input - input) == 0, grad, 0.0)


derived_in_place("nan_to_num_", nan_to_num, True)


@pointwise(in_place=False, method=False, function=False, name="where")
def where_operator(condition: Any, input: Any, other: Any) -> Any:
    """input where the condition is true, else other."""
    return sc.select(sc.truth(condition), input, other)


@where_operator.sample
def _(make: Any) -> Any:
    yield (make(3, 4) > 0, make(3, 4), make(3, 4)), {}
    yield (make(4) > 0, make(3, 1), make()), {}
    yield (make(0) > 0, make(0), make(0)), {}


@composite(out=True)
def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """input where the condition is true, else other; with the condition alone, the indices where it is true."""
    if input is None:
        return METHODS["nonzero"](condition, as_tuple=True)
    if condition._layout.dtype not in (dt.bool, dt.uint8):
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition._layout.dtype.scalar_name}"
        )
    return where_operator(condition, input, other)


def _where_method(input: Any, condition: Any, other: Any) -> Any:
    """The elements where the condition is true, else those of `other`."""
    return where(condition, input, other)


publish("where", _where_method, method=True, namespaces=())
