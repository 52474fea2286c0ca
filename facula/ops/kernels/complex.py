"""Pointwise kernels over complex numbers: each is a pair (real, imaginary) of values of the kernel language.

The same scalar expressions as for real numbers, evaluated with the arithmetic of this file. A real operand stays a single
value, so that a real times a complex number costs two products. Elements are strided: one at a time, no vectors.
Slots: output addresses, input addresses, numbers (two slots each where the computation is complex), the address of the geometry block as in
`facula.ops.kernels.pointwise`, its strides counted in parts.
"""

import ctypes
import math
from collections.abc import Callable, Sequence
from typing import Any

from facula.kernel import math as kernel_math
from facula.kernel import values
from facula.kernel.language import (
    as_pointer,
    f16,
    f32,
    f64,
    i64,
    kernel,
    load,
    offset,
    ptr,
    specialise,
    store,
    udiv,
    unroll,
    urem,
)
from facula.kernel.types import Type, b1
from facula.kernel.values import Value, cast
from facula.ops.dispatch import Launch
from facula.ops.expression import evaluate
from facula.ops.kernels.pointwise import KERNEL_TYPES, Signature
from facula.ops.scalar import KERNEL

PARTS: dict[str, Type] = {"c32": f16, "c64": f32, "c128": f64}
"""code of a complex dtype -> the type of its parts."""


class Pair:
    """A complex value."""

    __slots__ = ("im", "re")

    def __init__(self, re: Any, im: Any) -> None:
        self.re, self.im = re, im


def _parts(x: Any) -> tuple[Any, Any]:
    """(real, imaginary); the imaginary part of a real number is None."""
    if isinstance(x, Pair):
        return x.re, x.im
    return (x.real, x.imag) if isinstance(x, complex) else (x, None)


def _both(x: Any) -> tuple[Any, Any]:
    re, im = _parts(x)
    return re, 0.0 if im is None else im


def _value(x: Any, like: Value) -> Value:
    return x if isinstance(x, Value) else values.adapt(x, like)


def _some(*candidates: Any) -> Value:
    """A value of the kernel, from which numbers take their type."""
    return next(v for x in candidates for v in _parts(x) if isinstance(v, Value))


def _is_real(*arguments: Any) -> bool:
    return all(not isinstance(a, (Pair, complex)) for a in arguments)


def _add(a: Any, b: Any) -> Any:
    (ar, ai), (br, bi) = _parts(a), _parts(b)
    return Pair(ar + br, bi if ai is None else ai if bi is None else ai + bi)


def _subtract(a: Any, b: Any) -> Any:
    return _add(a, _negative(b))


def _negative(a: Any) -> Any:
    re, im = _parts(a)
    return -re if im is None else Pair(-re, -im)


def _multiply(a: Any, b: Any) -> Any:
    (ar, ai), (br, bi) = _parts(a), _parts(b)
    if ai is None:
        return Pair(ar * br, ar * bi)
    if bi is None:
        return Pair(ar * br, ai * br)
    return Pair(ar * br - ai * bi, ar * bi + ai * br)


def _divide(a: Any, b: Any) -> Any:
    """Smith 1962: scaled by the larger part of the divisor, so that nothing overflows on the way."""
    (ar, ai), (br, bi) = _parts(a), _parts(b)
    if bi is None:
        return Pair(ar / br, ai / br)
    like = _some(a, b)
    ar, ai, br, bi = _value(ar, like), _value(0.0 if ai is None else ai, like), _value(br, like), _value(bi, like)
    swap = values.absolute(br) < values.absolute(bi)
    large, small = values.select(swap, bi, br), values.select(swap, br, bi)
    ratio = small / large
    below = large + small * ratio
    first, second = values.select(swap, ai, ar), values.select(swap, ar, ai)
    re = (first + second * ratio) / below
    im = values.select(swap, ai * ratio - ar, ai - ar * ratio) / below
    return Pair(re, im)


def _absolute(a: Any) -> Any:
    re, im = _parts(a)
    like = _some(a)
    x, y = values.absolute(_value(re, like)), values.absolute(_value(im, like))
    large, small = values.maximum(x, y), values.minimum(x, y)
    ratio = small / large
    length = values.select(large == 0, large, large * values.sqrt(ratio * ratio + 1.0))
    infinity = _value(math.inf, like)
    return values.select((x == infinity) | (y == infinity), infinity, length)


def _sign(a: Any) -> Any:
    length = _absolute(a)
    zero = length == 0
    return Pair(*(values.select(zero, p * 0.0, p / length) for p in _parts(a)))


def _exp(a: Any) -> Any:
    size = kernel_math.exp(a.re)
    return Pair(size * kernel_math.cos(a.im), size * kernel_math.sin(a.im))


def _log(a: Any) -> Any:
    return Pair(kernel_math.log(_absolute(a)), kernel_math.atan2(a.im, a.re))


def _log1p(a: Any) -> Any:
    gain = a.re * (a.re + 2.0) + a.im * a.im
    return Pair(kernel_math.log1p(gain) * 0.5, kernel_math.atan2(a.im, a.re + 1.0))


def _sqrt(a: Any) -> Any:
    half = values.sqrt((_absolute(a) + values.absolute(a.re)) * 0.5)
    other = values.absolute(a.im) / (half + half)
    right = a.re >= 0
    zero = half == 0
    re = values.select(zero, half, values.select(right, half, other))
    im = values.select(zero, a.im, values.copysign(values.select(right, other, half), a.im))
    return Pair(re, im)


def _sinh(a: Any) -> Any:
    return Pair(kernel_math.sinh(a.re) * kernel_math.cos(a.im), kernel_math.cosh(a.re) * kernel_math.sin(a.im))


def _cosh(a: Any) -> Any:
    return Pair(kernel_math.cosh(a.re) * kernel_math.cos(a.im), kernel_math.sinh(a.re) * kernel_math.sin(a.im))


def _tanh(a: Any) -> Any:
    """(sinh 2x + i sin 2y) / (cosh 2x + cos 2y); for large |x| it is +-1."""
    far = values.absolute(a.re) > 20.0
    x, y = values.select(far, a.re * 0.0, a.re + a.re), a.im + a.im
    below = kernel_math.cosh(x) + kernel_math.cos(y)
    one = values.copysign(_value(1.0, a.re), a.re)
    return Pair(
        values.select(far, one, kernel_math.sinh(x) / below), values.select(far, a.im * 0.0, kernel_math.sin(y) / below)
    )


def _asinh(a: Any) -> Any:
    return _log(_add(a, _sqrt(_add(_multiply(a, a), 1.0))))


def _atanh(a: Any) -> Any:
    return _multiply(_subtract(_log1p(a), _log1p(_negative(a))), 0.5)


def _acosh(a: Any) -> Any:
    return _log(_add(a, _multiply(_sqrt(_add(a, 1.0)), _sqrt(_add(a, -1.0)))))


def _turned(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """-i f(i z): circular functions from hyperbolic ones."""

    def circular(a: Any) -> Any:
        result = function(Pair(-a.im, a.re))
        return Pair(result.im, -result.re)

    return circular


_asin = _turned(_asinh)


def _power(a: Any, b: Any) -> Any:
    like = _some(a, b)
    ar, ai = _both(a)
    base = Pair(_value(ar, like), _value(ai, like))
    result = _exp(_pair(_multiply(_log(base), b), like))
    br, bi = _both(b)
    none = (base.re == 0) & (base.im == 0)
    at_zero = values.select((_value(br, like) == 0) & (_value(bi, like) == 0), _value(1.0, like), _value(0.0, like))
    return Pair(values.select(none, at_zero, result.re), values.select(none, _value(0.0, like), result.im))


def _pair(x: Any, like: Value) -> Pair:
    re, im = _both(x)
    return Pair(_value(re, like), _value(im, like))


def _equal(a: Any, b: Any) -> Any:
    (ar, ai), (br, bi) = _both(a), _both(b)
    like = _some(a, b)
    return (_value(ar, like) == _value(br, like)) & (_value(ai, like) == _value(bi, like))


def _unequal(a: Any, b: Any) -> Any:
    (ar, ai), (br, bi) = _both(a), _both(b)
    like = _some(a, b)
    return (_value(ar, like) != _value(br, like)) | (_value(ai, like) != _value(bi, like))


def _select(condition: Any, a: Any, b: Any) -> Any:
    (ar, ai), (br, bi) = _both(a), _both(b)
    like = _some(a, b)
    return Pair(
        values.select(condition, _value(ar, like), _value(br, like)),
        values.select(condition, _value(ai, like), _value(bi, like)),
    )


def _scaled(function: Callable[[Any], Any], factor: float) -> Callable[[Any], Any]:
    return lambda a: _multiply(function(a), factor)


def _ordered(name: str) -> Callable[[Any, Any], Any]:
    """Comparisons look at the real parts (they occur in conditions of gradients only)."""
    return lambda a, b: KERNEL[name](_parts(a)[0], _parts(b)[0])


COMPLEX: dict[str, Callable[..., Any]] = {
    "add": _add, "sub": _subtract, "mul": _multiply, "div": _divide, "neg": _negative, "abs": _absolute, "sign": _sign, "exp": _exp,
    "exp2": lambda a: _exp(_multiply(a, math.log(2))), "expm1": lambda a: _add(_exp(a), -1.0), "log": _log,
    "log2": _scaled(_log, 1 / math.log(2)), "log10": _scaled(_log, 1 / math.log(10)), "log1p": _log1p, "sqrt": _sqrt,
    "rsqrt": lambda a: _divide(1.0, _sqrt(a)), "sinh": _sinh, "cosh": _cosh, "tanh": _tanh, "sin": _turned(_sinh),
    "cos": lambda a: _cosh(Pair(-a.im, a.re)), "tan": _turned(_tanh), "asinh": _asinh, "acosh": _acosh, "atanh": _atanh,
    "asin": _asin, "acos": lambda a: _subtract(math.pi / 2, _asin(a)), "atan": _turned(_atanh),
    "sigmoid": lambda a: _divide(1.0, _add(_exp(_negative(a)), 1.0)), "pow": _power, "conj": lambda a: Pair(a.re, -a.im),
    "realpart": lambda a: a.re, "imagpart": lambda a: a.im,
    "eq": _equal, "ne": _unequal, "select": _select, "test": lambda a: (a.re != 0) | (a.im != 0),
    **{name: _ordered(name) for name in ("lt", "le", "gt", "ge")},
}  # fmt: skip


_LEAVING = {"log", "log2", "log10", "log1p", "sqrt", "rsqrt", "pow", "asin", "acos", "acosh", "atanh"}
"""Functions that take some real numbers to complex ones."""


def _operation(name: str) -> Callable[..., Any]:
    def apply(*arguments: Any) -> Any:
        if name in _LEAVING and any(isinstance(a, Value) for a in arguments):
            arguments = tuple([Pair(a, cast(0.0, a.type)) if isinstance(a, Value) else a for a in arguments])
        if _is_real(*arguments) or (name == "select" and _is_real(*arguments[1:])):
            return KERNEL[name](*arguments)
        if name not in COMPLEX:
            raise NotImplementedError(f'"{name}" not implemented for complex numbers')
        return COMPLEX[name](*arguments)

    return apply


OPERATIONS = {name: _operation(name) for name in {*KERNEL, *COMPLEX}} | {"pair": Pair}


@specialise
def complex_pointwise(signature: Signature) -> Any:
    """The launchable kernel for a signature in which complex numbers occur."""
    operands = signature.outputs + signature.inputs
    compute: Type = PARTS.get(signature.compute) or KERNEL_TYPES[signature.compute]
    compute = f32 if compute is f16 else compute
    types = [PARTS.get(o.code) or KERNEL_TYPES[o.code] for o in operands]
    pairs = [o.code in PARTS for o in operands]
    outputs, rank, count, numbers = len(signature.outputs), signature.rank, len(operands), signature.numbers

    each = 2 if signature.compute in PARTS else 1

    def numbers_of(slots: Value) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for k, (name, kind) in enumerate(numbers):
            first = offset(slots, count + each * k)
            if each == 2:
                found[name] = Pair(*(cast(load(as_pointer(offset(first, part), f64)), compute) for part in (0, 1)))
            else:
                found[name] = cast(load(as_pointer(first, f64) if kind == "f" else first), compute)
        return found

    def element(pointers: list[Value], places: list[Value], given: dict[str, Any]) -> None:
        environment = dict(given)
        for k in range(outputs, count):
            part = cast(load(pointers[k], places[k]), compute)
            environment[operands[k].name] = (
                Pair(part, cast(load(pointers[k], places[k] + 1), compute)) if pairs[k] else part
            )
        for k, value in enumerate(evaluate(signature.expressions, environment, OPERATIONS)):
            re, im = _parts(value)
            if types[k] is b1 and im is not None:
                re = _value(re, _some(*environment.values())) != 0
                re = re | (_value(im, re) != 0) if isinstance(im, Value) else re
            store(pointers[k], places[k], cast(re, types[k]))
            if pairs[k]:
                store(pointers[k], places[k] + 1, cast(0.0 if im is None else im, types[k]))

    @kernel
    def complex_pointwise(slots: ptr(i64), lo: i64, hi: i64):
        starts = [load(as_pointer(offset(slots, k), ptr(types[k]))) for k in unroll(range(count))]
        given = numbers_of(slots)
        block = load(as_pointer(offset(slots, count + each * len(numbers)), ptr(i64)))
        sizes = [load(block, d) for d in unroll(range(rank))]
        strides = [[load(block, rank + k * rank + d) for d in unroll(range(rank))] for k in unroll(range(count))]
        for i in range(lo, hi):
            rest = i
            places = [i64(0) for k in unroll(range(count))]
            for d in unroll(range(rank - 1, -1, -1)):
                index = rest
                if d > 0:
                    index = urem(rest, sizes[d])
                    rest = udiv(rest, sizes[d])
                for k in unroll(range(count)):
                    places[k] = places[k] + index * strides[k][d]
            element(starts, places, given)

    return complex_pointwise


def lower_complex(
    signature: Signature, sizes: Sequence[int], steps: Sequence[Sequence[int]], passed: Sequence[str]
) -> Launch:
    """The launch for operands of these sizes and steps (in elements). Numbers take two slots each."""
    operands = signature.outputs + signature.inputs
    total = math.prod(sizes)
    flat = list(sizes)
    for operand, step in zip(operands, steps, strict=True):
        flat += [s * (2 if operand.code in PARTS else 1) for s in step]
    block = (ctypes.c_int64 * len(flat))(*flat)
    plain = signature._replace(
        outputs=tuple([o._replace(pattern="g") for o in signature.outputs]), inputs=tuple([o._replace(pattern="g") for o in signature.inputs]),
        stream=False,
    )  # fmt: skip
    return Launch(complex_pointwise(plain), total, 2048, (ctypes.addressof(block),), block)
