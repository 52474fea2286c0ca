"""Special functions (`torch.special`), and functions of a number's representation: gcd, frexp, nextafter, ..."""

from __future__ import annotations

import math
from typing import Any

from facula import return_types
from facula.core import dtype as dt
from facula.core.layout import layout, register_cache
from facula.core.promotion import promote_types
from facula.core.shapes import broadcast_shapes
from facula.kernel.values import Value
from facula.ops import copy as copies
from facula.ops import pointwise as pw
from facula.ops import scalar as sc
from facula.ops import view as views
from facula.ops.define import FUNCTIONS, composite, layout_of, operator, publish
from facula.ops.dispatch import Launch
from facula.ops.elementwise import pointwise
from facula.ops.expression import Expr, make, rule
from facula.ops.inplace import derived_in_place
from facula.ops.kernels import polygamma as kernels
from facula.runtime.objects import new_tensor

torch = FUNCTIONS["torch"]
_plans: dict[Any, Any] = register_cache({})
SPECIAL = ("torch.special",)

# -- of one number ---------------------------------------------------------------------------------------------------
_i0, _i0e, _i1, _i1e = (sc._function(name) for name in ("i0", "i0e", "i1", "i1e"))
_erfcx, _ndtr, _ndtri, _log_ndtr = (sc._function(name) for name in ("erfcx", "ndtr", "ndtri", "log_ndtr"))


def _by_x(numerator: Any, x: Any) -> Any:
    """numerator / x, and 1/2 at 0: the limit for the Bessel functions of order 1."""
    return sc.select(make("eq", x, 0.0), 0.5, numerator / x)


rule("i0")(lambda g, y, x: (g * _i1(x),))
rule("i0e")(lambda g, y, x: (g * (_i1e(x) - sc.sign(x) * y),))
rule("i1")(lambda g, y, x: (g * (_i0(x) - _by_x(y, x)),))
rule("i1e")(lambda g, y, x: (g * (_i0e(x) - sc.sign(x) * y - _by_x(y, x)),))
rule("erfcx")(lambda g, y, x: (g * (x * y * 2.0 - 2.0 / math.sqrt(math.pi)),))
rule("ndtr")(lambda g, y, x: (g * (sc.exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))),))
rule("ndtri")(lambda g, y, x: (g * (sc.exp(y * y * 0.5) * math.sqrt(2 * math.pi)),))
rule("log_ndtr")(lambda g, y, x: (g * (math.sqrt(2 / math.pi) / _erfcx(x * -math.sqrt(0.5))),))


@pointwise(result="float", namespaces=("torch", *SPECIAL))
def i0(input: Any) -> Any:
    """The modified Bessel function of the first kind, of order 0."""
    return _i0(input)


def _only_special(name: str, body: Any, doc: str, domain: tuple[float, float] = (-2.0, 2.0)) -> Any:
    def function(input: Any) -> Any:
        return body(input)

    function.__name__, function.__doc__ = name, doc
    made = pointwise(result="float", method=False, in_place=False, namespaces=SPECIAL, domain=domain)(function)
    publish(name, made, namespaces=SPECIAL)
    return made


i0e = _only_special("i0e", _i0e, "exp(-|x|) i0(x).")
i1 = _only_special("i1", _i1, "The modified Bessel function of the first kind, of order 1.")
i1e = _only_special("i1e", _i1e, "exp(-|x|) i1(x).")
erfcx = _only_special("erfcx", _erfcx, "exp(x ** 2) erfc(x), without overflow.")
ndtr = _only_special("ndtr", _ndtr, "The probability that a standard normal variable lies below x.")
ndtri = _only_special("ndtri", _ndtri, "The inverse of ndtr.", (0.1, 0.9))
log_ndtr = _only_special("log_ndtr", _log_ndtr, "The logarithm of ndtr, accurate far below 0.")


@pointwise(result="float", method=False, in_place=False, namespaces=SPECIAL, domain=(0.1, 2.0))
def entr(input: Any) -> Any:
    """-x log(x); 0 at 0 and minus infinity below."""
    return sc.select(
        input > 0, -(input * sc.log(input)), sc.select(input == 0, 0.0, sc.select(input < 0, -math.inf, input))
    )


@entr.gradient
def _(grad: Any, input: Any) -> Any:
    return grad * (-sc.log(input) - 1.0)


@pointwise(result="float", method=False, in_place=False, namespaces=SPECIAL, accepts="one", domain=(0.1, 2.0))
def xlog1py(input: Any, other: Any) -> Any:
    """input * log1p(other), 0 where input is 0 (unless other is NaN)."""
    return sc.select(sc.is_nan(other), other, sc.select(input == 0, input * 0.0, input * sc.log1p(other)))


@xlog1py.gradient
def _(grad: Any, input: Any, other: Any) -> Any:
    return sc.select((input == 0) & (other <= -1), 0.0, grad * sc.log1p(other)), grad * (input / (other + 1.0))


def _polygamma_scalar(n: int) -> Any:
    """The scalar function, which enters the vocabulary when it is first needed."""
    name = f"polygamma{n}"
    if name not in sc.KERNEL:
        sc.KERNEL[name] = lambda x: kernels.polygamma(n, x)
        rule(name)(lambda g, y, x: (g * _polygamma_scalar(n + 1)(x),))

    def function(x: Expr | Value) -> Any:
        return make(name, x)

    return function


rule("digamma")(lambda g, y, x: (g * _polygamma_scalar(1)(x),))
MOST_DERIVATIVES = 170  # of digamma: 171! is beyond float64
_polygammas: dict[int, Any] = {}


@composite(out=True, namespaces=("torch", *SPECIAL))
def polygamma(n: int, input: Any) -> Any:
    """The n-th derivative of digamma. RuntimeError for negative n."""
    if not isinstance(n, int):
        n, input = input, n  # the method: input.polygamma(n)
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    if n > MOST_DERIVATIVES:
        raise RuntimeError(
            f"polygamma(n, x) supports n up to {MOST_DERIVATIVES}, since {n}! exceeds the largest float64; got n = {n}"
        )
    if n == 0:
        return pw.digamma(input)
    found = _polygammas.get(n)
    if found is None:
        scalar = _polygamma_scalar(n)
        found = _polygammas[n] = pointwise(
            name=f"polygamma_{n}", result="float", method=False, in_place=False, function=False, domain=(0.5, 4.0)
        )(lambda input: scalar(input))
    return found(input)


publish("polygamma", lambda input, n: polygamma(n, input), method=True, namespaces=())
derived_in_place("polygamma_", lambda input, n: polygamma(n, input))


@composite(method=True, out=True)
def mvlgamma(input: Any, p: int) -> Any:
    """The logarithm of the p-dimensional gamma function: a sum of p lgamma's."""
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    if not input._layout.dtype.is_floating_point:
        input = input.to(dt.get_default_dtype())
    steps = torch["arange"](-p * 0.5 + 0.5, 0.5, 0.5, dtype=input._layout.dtype)
    total = torch["sum"](pw.lgamma(views.unsqueeze(input, -1) + steps), -1)
    return total + p * (p - 1) * math.log(math.pi) / 4.0


derived_in_place("mvlgamma_", mvlgamma)
publish("multigammaln", mvlgamma, namespaces=SPECIAL)


# -- of the representation -------------------------------------------------------------------------------------------
@operator(out=True, method=True)
def gcd(input: Any, other: Any) -> Any:
    """The greatest common divisor of two integers, not negative."""
    a, b = layout_of(input, "gcd"), layout_of(other, "gcd", 2, "other")
    if a.dtype.kind not in "iu" or b.dtype.kind not in "iu":
        odd = a.dtype if a.dtype.kind not in "iu" else b.dtype
        raise NotImplementedError(f"\"gcd_cpu\" not implemented for '{odd.scalar_name}'")
    dtype, shape = promote_types(a.dtype, b.dtype), broadcast_shapes(a.shape, b.shape)
    x, y = (
        copies.contiguous(views._expand(t if t._layout.dtype is dtype else copies.convert(t, dtype), shape))
        for t in (input, other)
    )
    out = new_tensor(layout(shape, None, dtype, a.device))
    plan = _plans.get(out._layout)
    if plan is None:
        plan = _plans[out._layout] = Launch(kernels.gcd(dtype.code), out._layout.numel, 1024)
    plan((out, x, y))
    return out


@gcd.sample
def _(make: Any) -> Any:
    yield (make(3, 4, integer=True, low=-20, high=20), make(4, integer=True, low=-20, high=20)), {}


@composite(out=True, method=True)
def lcm(input: Any, other: Any) -> Any:
    """The least common multiple of two integers, not negative."""
    divisor = gcd(input, other)
    return torch["abs"](torch["floor_divide"](input, torch["clamp"](divisor, min=1)) * other)


derived_in_place("gcd_", gcd, True)
derived_in_place("lcm_", lcm, True)


@composite(out=True, method=True)
def ldexp(input: Any, other: Any) -> Any:
    """input * 2 ** other."""
    layout_of(input, "ldexp")
    layout_of(other, "ldexp", 2, "other")
    return input * torch["pow"](2.0, other)


derived_in_place("ldexp_", ldexp, True)


def _bits(input: Any) -> tuple[Any, int, int]:
    """(the number as an integer, bits of the mantissa, largest exponent)."""
    dtype = input._layout.dtype
    if dtype not in (dt.float16, dt.bfloat16, dt.float32, dt.float64):
        raise RuntimeError(f"this operator needs a floating point tensor, but got {dtype.scalar_name}")
    whole, mantissa, exponents = {
        dt.float64: (dt.int64, 52, 0x7FF), dt.float32: (dt.int32, 23, 0xFF), dt.float16: (dt.int16, 10, 0x1F),
        dt.bfloat16: (dt.int16, 7, 0xFF),
    }[dtype]  # fmt: skip
    return views.view_as_dtype(copies.contiguous(input.detach()), whole), mantissa, exponents


@composite(method=True)
def frexp(input: Any, *, out: Any = None) -> Any:
    """(mantissa, exponent) with input = mantissa * 2 ** exponent and 1/2 <= |mantissa| < 1; the exponent is int32."""
    dtype = layout_of(input, "frexp").dtype
    if dtype.kind != "f":
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    scale = 2.0 ** {dt.float64: 60, dt.float32: 30, dt.bfloat16: 30}.get(dtype, 12)
    small = torch["abs"](input.detach()) < dt.finfo(dtype).tiny
    raised = torch["where"](small, input * scale, input)  # so that what follows meets no subnormal numbers
    bits, mantissa_bits, most = _bits(raised)
    field = torch["bitwise_and"](torch["bitwise_right_shift"](bits, mantissa_bits), most)
    bias = most // 2 - 1
    plain = (field == 0) | (field == most)
    exponent = torch["where"](plain, 0, field.to(dt.int32) - bias).to(dt.int32)
    half = torch["bitwise_or"](torch["bitwise_and"](bits, ~(most << mantissa_bits)), bias << mantissa_bits)
    value = torch["where"](plain, raised.detach(), views.view_as_dtype(half, dtype))
    exponent = torch["where"](small & ~plain, exponent - int(math.log2(scale)), exponent)
    if input._requires_grad:
        value = value + (raised - raised.detach()) * torch["pow"](2.0, -exponent.to(dtype))
    if out is not None:
        value, exponent = (
            FUNCTIONS["internal"]["copy_result"](o, r) for o, r in zip(out, (value, exponent), strict=True)
        )
    return return_types.frexp((value, exponent)) if hasattr(return_types, "frexp") else (value, exponent)


@composite(out=True, method=True)
def nextafter(input: Any, other: Any) -> Any:
    """The next number after input on the way to other."""
    a, b = layout_of(input, "nextafter").dtype, layout_of(other, "nextafter", 2, "other").dtype
    dtype = promote_types(a, b)
    if dtype.kind != "f":
        raise NotImplementedError(f"\"nextafter_cpu\" not implemented for '{dtype.scalar_name}'")
    x, y = torch["broadcast_tensors"](input.to(dtype), other.to(dtype))
    bits, _, _ = _bits(x)
    outward = torch["logical_not"]((y > x) ^ (x > 0))
    moved = views.view_as_dtype(bits + torch["where"](outward, 1, -1).to(bits.dtype), dtype)
    least = views.view_as_dtype(torch["ones_like"](bits), dtype)
    moved = torch["where"](x == 0, torch["copysign"](least, y), moved)
    return torch["where"](torch["isnan"](x) | torch["isnan"](y), x + y, torch["where"](x == y, y, moved))


derived_in_place("nextafter_", nextafter)
