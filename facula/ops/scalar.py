"""The vocabulary of pointwise operators: elementary functions of one element, each with its derivative.

A function here takes expressions (when an operator's body is run on symbols) or kernel values (in a kernel's macro).
`KERNEL` tells how each operation is computed; the rules tell how it is differentiated. One line each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

from facula.kernel import math as kernel_math
from facula.kernel import types as ty
from facula.kernel import values
from facula.kernel.values import Value
from facula.ops import expression as ex
from facula.ops.expression import Expr, make, rule, select, zero


def _number_or(kernel: Callable[..., Any], plain: Callable[..., Any] | None = None) -> Callable[..., Any]:
    def function(*arguments: Any) -> Any:
        if any(isinstance(a, Value) for a in arguments):
            return kernel(*arguments)
        if plain is None:
            raise TypeError("this function needs a value known at run time")
        return plain(*arguments)

    return function


def _round_half_even(x: Value) -> Value:
    return values.rint(x) if x.type.is_float else x


def _integral(function: Callable[[Value], Value]) -> Callable[[Value], Value]:
    """Rounding leaves integers alone."""
    return lambda x: function(x) if x.type.is_float else x


def _sign(x: Value) -> Value:
    if x.type.element.kind in "ub":
        return values.cast(x != 0, x.type) if x.type.element.kind == "u" else x
    one = values.cast(1, x.type)
    return values.select(x > 0, one, values.select(x < 0, -one, values.cast(0, x.type)))


def _not(x: Value) -> Value:
    return ~x


def _integer_power(base: Value, exponent: Value) -> Value:
    """By squaring, wrapping around; a negative exponent gives 0, except for a base of 1 or -1."""
    one = values.cast(1, base.type)
    result, square, left = one, base, values.maximum(exponent, 0)
    for _ in range(base.type.element.bits if base.type.element.bits < 64 else 63):
        result = values.select((left & 1) != 0, result * square, result)
        square = square * square
        left = left >> 1
        if _ >= 6:  # an exponent of 64 or more overflows every base but 0, 1, -1, whose powers repeat
            break
    return values.select(
        exponent < 0,
        values.select(
            base == 1, one, values.select(base == -1, values.select((exponent & 1) != 0, -one, one), one * 0)
        ),
        result,
    )


def _power(a: Any, b: Any) -> Any:
    like = a if isinstance(a, Value) else b
    a, b = values.adapt(a, like), values.adapt(b, like)
    return kernel_math.pow(a, b) if like.type.is_float else _integer_power(a, b)


KERNEL: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b if not _is_bool(a, b) else a | b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b if not _is_bool(a, b) else a & b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "floordiv": lambda a, b: _floor_divide(a, b),
    "mod": lambda a, b: _remainder(a, b),
    "truncdiv": lambda a, b: _truncating_divide(a, b),
    "signbit": lambda a: _sign_bit(a),
    "fmod": lambda a, b: _truncating_remainder(a, b),
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "not": _not,
    "shl": lambda a, b: _shift(a, b, False),
    "shr": lambda a, b: _shift(a, b, True),
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "select": lambda c, a, b: values.select(c, *_typed(c, a, b)),
    "min": values.minimum,
    "max": values.maximum,
    "abs": _number_or(values.absolute, abs),
    "sign": _sign,
    "floor": _integral(values.floor),
    "ceil": _integral(values.ceil),
    "trunc": _integral(values.trunc),
    "round": _round_half_even,
    "copysign": lambda a, b: values.copysign(values.adapt(a, b) if not isinstance(a, Value) else a, b),
    "sqrt": _number_or(values.sqrt, math.sqrt),
    "pow": lambda a, b: _power(a, b),
    "atan2": lambda a, b: kernel_math.atan2(a, b),
    "conj": lambda a: a,
    "realpart": lambda a: a,
    "imagpart": lambda a: a * 0,
    "test": lambda a: values.cast(a, ty.b1),
    "cast": lambda a, like: values.cast(a, like.type.element),
}


def _is_bool(a: Any, b: Any) -> bool:
    return any(isinstance(x, Value) and x.type.element.kind == "b" for x in (a, b))


def _typed(condition: Value, a: Any, b: Any) -> tuple[Any, Any]:
    if isinstance(a, Value) or isinstance(b, Value):
        return a, b
    raise TypeError("select() between two numbers: give one of them the type of an operand, for example x * 0 + 1")


def _shift(a: Any, b: Any, right: bool) -> Any:
    """Shifts by the width or more (or by negative amounts) leave nothing but the sign."""
    like = a if isinstance(a, Value) else b
    a, b = values.adapt(a, like), values.adapt(b, like)
    bits = like.type.element.bits
    beyond = (b < 0) | (b >= bits)
    within = values.select(beyond, values.cast(bits - 1, b.type), b)
    return a >> within if right else values.select(beyond, values.cast(0, a.type), a << within)


def _integers(divide: Callable[[Value, Value], Value], a: Any, b: Any, quotient: bool) -> Value:
    """Integer division that cannot trap: the smallest number by -1 wraps around; by 0 gives anything (who launches the
    kernel looks for zeros)."""
    if isinstance(b, int) and not isinstance(b, bool) and b not in (0, -1):
        return divide(a, b)  # type: ignore[arg-type]
    like = a if isinstance(a, Value) else b
    a, b = values.adapt(a, like), values.adapt(b, like)
    if like.type.element.kind == "u":
        return divide(a, values.select(b == 0, values.cast(1, b.type), b))
    one = values.cast(1, b.type)
    result = divide(a, values.select((b == 0) | (b == -1), one, b))
    return values.select(b == -1, -a, result) if quotient else result


def _floor_divide(a: Any, b: Any) -> Any:
    like = a if isinstance(a, Value) else b
    if not like.type.is_float:
        return _integers(lambda x, y: x // y, a, b, True)
    a, b = values.adapt(a, like), values.adapt(b, like)
    rest = values.remainder(a, b)
    quotient = (a - rest) / b
    quotient = values.select((rest != 0) & ((rest < 0) ^ (b < 0)), quotient - 1.0, quotient)
    whole = values.floor(quotient)
    whole = values.select(quotient - whole > 0.5, whole + 1.0, whole)
    whole = values.select(quotient == 0, values.copysign(quotient, a / b), whole)
    return values.select(b == 0, a / b, whole)


def _truncating_divide(a: Any, b: Any) -> Any:
    like = a if isinstance(a, Value) else b
    if not like.type.is_float:
        return _integers(lambda x, y: values.binary("div", x, y), a, b, True)
    return values.trunc(values.binary("div", values.adapt(a, like), values.adapt(b, like)))


def _truncating_remainder(a: Any, b: Any) -> Any:
    like = a if isinstance(a, Value) else b
    return values.remainder(a, b) if like.type.is_float else _integers(values.remainder, a, b, False)


def _sign_bit(x: Value) -> Value:
    if x.type.is_float:
        return values.copysign(values.cast(1, x.type), x) < 0
    return x < 0


def _remainder(a: Any, b: Any) -> Any:
    like = a if isinstance(a, Value) else b
    if not like.type.is_float:
        return _integers(lambda x, y: x % y, a, b, False)
    a, b = values.adapt(a, like), values.adapt(b, like)
    rest = values.remainder(a, b)
    return values.select((rest != 0) & ((rest < 0) ^ (b < 0)), rest + b, rest)


def _library(name: str) -> Callable[[Any], Any]:
    """A function of the kernel library: the elementary ones, or the special ones."""
    found = getattr(kernel_math, name, None)
    return found if found is not None else getattr(import_module("facula.kernel.special"), name)  # type: ignore[no-any-return]


def _function(name: str) -> Callable[[Any], Any]:
    """An elementary function of one argument, computed by the kernel library's function of that name."""
    KERNEL[name] = _number_or(lambda x: _library(name)(x), getattr(math, name, None))

    def function(x: Any) -> Any:
        return make(name, x) if isinstance(x, Expr) else KERNEL[name](x)

    function.__name__ = name
    return function


exp, exp2, expm1 = _function("exp"), _function("exp2"), _function("expm1")
log, log2, log10, log1p = _function("log"), _function("log2"), _function("log10"), _function("log1p")
sin, cos, tan = _function("sin"), _function("cos"), _function("tan")
asin, acos, atan = _function("asin"), _function("acos"), _function("atan")
sinh, cosh, tanh = _function("sinh"), _function("cosh"), _function("tanh")
asinh, acosh, atanh = _function("asinh"), _function("acosh"), _function("atanh")
sigmoid, erf, erfc, erfinv = _function("sigmoid"), _function("erf"), _function("erfc"), _function("erfinv")
lgamma, digamma, rsqrt = _function("lgamma"), _function("digamma"), _function("rsqrt")


# erf(z) = z P(z^2) / Q(z^2) on [-4, 4]: the rational approximation of single-precision libraries (Eigen's coefficients);
# within 3e-7 of erf everywhere, at less than half the cost of the kernel library's erf.
_ERF_P = (
    -2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05, -7.34990630326855e-04,
    -2.95459980854025e-03, -1.60960333262415e-02,
)  # fmt: skip
_ERF_Q = (
    -1.45660718464996e-05,
    -2.13374055278905e-04,
    -1.68282697438203e-03,
    -7.37332916720468e-03,
    -1.42647390514189e-02,
)


def _rational_erf(x: Value) -> Value:
    if x.type.element is not ty.f32:
        return _library("erf")(x)
    z = values.select(x > 4.0, values.cast(4.0, x.type), values.select(x < -4.0, values.cast(-4.0, x.type), x))
    square = z * z
    p = values.cast(_ERF_P[0], x.type)
    for c in _ERF_P[1:]:
        p = values.fma(p, square, c)
    q = values.cast(_ERF_Q[0], x.type)
    for c in _ERF_Q[1:]:
        q = values.fma(q, square, c)
    return z * p / q


KERNEL["rational_erf"] = _rational_erf
rule("rational_erf")(lambda g, y, x: (g * (exp(-(x * x)) * (2.0 / math.sqrt(math.pi))),))


def _operation(name: str) -> Callable[..., Any]:
    def function(*arguments: Any) -> Any:
        return make(name, *arguments) if any(isinstance(a, Expr) for a in arguments) else KERNEL[name](*arguments)

    function.__name__ = name
    return function


sqrt, sign, copysign, atan2 = _operation("sqrt"), _operation("sign"), _operation("copysign"), _operation("atan2")
floor, ceil, trunc, round_even = _operation("floor"), _operation("ceil"), _operation("trunc"), _operation("round")
absolute, minimum, maximum = _operation("abs"), _operation("min"), _operation("max")
fmod, remainder, floor_divide = _operation("fmod"), _operation("mod"), _operation("floordiv")
rational_erf = _operation("rational_erf")
truth, trunc_divide, sign_bit = _operation("test"), _operation("truncdiv"), _operation("signbit")
where = select
conjugate = ex.conjugate
complex_pair = _operation("pair")


def is_nan(x: Any) -> Any:
    """Truth where x is not a number."""
    return x != x


# -- derivatives: (gradient, result, arguments) -> gradients of the arguments ------------------------------------------
rule("add")(lambda g, y, a, b: (g, g))
rule("sub")(lambda g, y, a, b: (g, -g))
rule("mul")(lambda g, y, a, b: (g * b, g * a))
rule("div")(lambda g, y, a, b: (g / b, None if b.number is not None else -g * (y / b)))
rule("neg")(lambda g, y, a: (-g,))
rule("select")(lambda g, y, c, a, b: (None, select(c, g, 0.0), select(c, 0.0, g)))
rule("min")(lambda g, y, a, b: _shared(g, a, b, a < b))
rule("max")(lambda g, y, a, b: _shared(g, a, b, a > b))
rule("abs")(lambda g, y, x: (g * sign(x),))
rule("copysign")(lambda g, y, a, b: (select(make("eq", a, 0.0), 0.0, g * (y / a)), None))
rule("conj")(lambda g, y, x: (ex.conjugate(g),))
rule("realpart")(lambda g, y, x: (make("realpart", g),))
rule("imagpart", ex.COMPLEX_RULES)(lambda g, y, x: (make("realpart", g) * -1j,))
rule("pair")(lambda g, y, a, b: (make("realpart", g), make("imagpart", g)))
rule("acosh", ex.COMPLEX_RULES)(lambda g, y, x: (g / (sqrt(x - 1.0) * sqrt(x + 1.0)),))
rule("abs", ex.COMPLEX_RULES)(lambda g, y, x: (make("realpart", g) * ex.conjugate(sign(x)),))
rule("sign", ex.COMPLEX_RULES)(
    lambda g, y, x: (select(make("eq", x, 0.0), 0.0, (g - make("realpart", g * y) * ex.conjugate(y)) / absolute(x)),)
)
rule("exp")(lambda g, y, x: (g * y,))
rule("exp2")(lambda g, y, x: (g * y * math.log(2),))
rule("expm1")(lambda g, y, x: (g * (y + 1.0),))
rule("log")(lambda g, y, x: (g / x,))
rule("log2")(lambda g, y, x: (g / (x * math.log(2)),))
rule("log10")(lambda g, y, x: (g / (x * math.log(10)),))
rule("log1p")(lambda g, y, x: (g / (x + 1.0),))
rule("sin")(lambda g, y, x: (g * cos(x),))
rule("cos")(lambda g, y, x: (-g * sin(x),))
rule("tan")(lambda g, y, x: (g * (y * y + 1.0),))
rule("asin")(lambda g, y, x: (g * rsqrt(1.0 - x * x),))
rule("acos")(lambda g, y, x: (-g * rsqrt(1.0 - x * x),))
rule("atan")(lambda g, y, x: (g / (x * x + 1.0),))
rule("sinh")(lambda g, y, x: (g * cosh(x),))
rule("cosh")(lambda g, y, x: (g * sinh(x),))
rule("tanh")(lambda g, y, x: (g * (1.0 - y * y),))
rule("asinh")(lambda g, y, x: (g * rsqrt(x * x + 1.0),))
rule("acosh")(lambda g, y, x: (g * rsqrt(x * x - 1.0),))
rule("atanh")(lambda g, y, x: (g / (1.0 - x * x),))
rule("sigmoid")(lambda g, y, x: (g * ((1.0 - y) * y),))
rule("erf")(lambda g, y, x: (g * (exp(-(x * x)) * (2.0 / math.sqrt(math.pi))),))
rule("erfc")(lambda g, y, x: (-g * (exp(-(x * x)) * (2.0 / math.sqrt(math.pi))),))
rule("erfinv")(lambda g, y, x: (g * (exp(y * y) * (math.sqrt(math.pi) / 2.0)),))
rule("lgamma")(lambda g, y, x: (g * digamma(x),))
rule("sqrt")(lambda g, y, x: (g / (y * 2.0),))
rule("rsqrt")(lambda g, y, x: (g * (-0.5 * (y * y * y)),))
rule("atan2")(lambda g, y, a, b: (g * (b / (a * a + b * b)), g * (-a / (a * a + b * b))))
rule("fmod")(lambda g, y, a, b: (g, -g * trunc(a / b)))
rule("mod")(lambda g, y, a, b: (g, -g * floor(a / b)))
for _flat in ("floor", "ceil", "trunc", "round", "sign", "floordiv", "truncdiv"):
    rule(_flat)(lambda g, y, *arguments: (zero,) * len(arguments))


def _shared(g: Expr, a: Expr, b: Expr, first: Expr) -> tuple[Expr, Expr]:
    """Where both are equal, each gets half."""
    equal = make("eq", a, b)
    return select(equal, g * 0.5, select(first, g, 0.0)), select(equal, g * 0.5, select(first, 0.0, g))


@rule("pow")
def _power_rule(g: Expr, y: Expr, a: Expr, b: Expr) -> tuple[Any, Any]:
    """0 ** 0 has derivative 0 in the base; the derivative in the exponent is 0 where the base is 0 and b >= 0."""
    by_base: Any
    if b.number is not None:
        by_base = zero if b.number == 0 else g * (b.number * ex.power(a, b.number - 1))
    else:
        by_base = select(make("eq", b, 0.0), 0.0, g * (b * make("pow", a, b - 1.0)))
    by_exponent = None
    if b.number is None:
        base = a if a.number is None else a * 1.0
        in_zero = make("and", make("eq", a, 0.0), make("ge", b, 0.0)) if a.number is None else None
        slope = g * (y * log(base) if a.number is None else y * math.log(a.number))
        by_exponent = select(in_zero, 0.0, slope) if in_zero is not None else slope
    return by_base, by_exponent
