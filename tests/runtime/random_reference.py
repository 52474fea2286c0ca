"""PyTorch's CPU random streams in plain NumPy: the reference that the kernels are compared with where torch is absent.

`Reference(seed)` holds a stream; its methods give the numbers that the calls of the same name give in PyTorch for the
element types 'float32', 'float64', 'float16' and 'bfloat16' (as float32 with 8 bits), or integers. `test_random.py`
checks this reference against torch, and the kernels against this reference.

NumPy's MT19937, seeded as its oldest releases did, is the same generator of 32-bit words.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

F32 = np.float32
Array = Any

c_log = np.vectorize(math.log, otypes=[float])
c_log1p = np.vectorize(math.log1p, otypes=[float])
c_exp = np.vectorize(math.exp, otypes=[float])
c_sin = np.vectorize(math.sin, otypes=[float])
c_cos = np.vectorize(math.cos, otypes=[float])
c_tan = np.vectorize(math.tan, otypes=[float])
fma64 = np.vectorize(lambda a, b, c: float(Fraction(a) * Fraction(b) + Fraction(c)), otypes=[float])


def fma32(a: Array, b: Array, c: Array) -> Array:
    """a * b + c rounded once to float32 (up to a double rounding that is met once in 2**29)."""
    return (np.float64(a) * np.float64(b) + np.float64(c)).astype(F32)


def to_bfloat16(x: Array) -> Array:
    """Rounded to the nearest bfloat16, as float32."""
    bits = np.asarray(x, F32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32).view(F32)


def narrow(x: Array, dtype: str) -> Array:
    """To the element type; double precision reaches the half types through single."""
    if dtype == "float64":
        return np.asarray(x, np.float64)
    x = np.asarray(x).astype(F32)
    return {"float32": lambda: x, "float16": lambda: x.astype(np.float16), "bfloat16": lambda: to_bfloat16(x)}[dtype]()


_LOG = (7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
        2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1)  # fmt: skip


def cephes_log(x: Array) -> Array:
    """Single-precision logarithm with the roundings of PyTorch's vectorised one."""
    mantissa, exponent = np.frexp(x)
    mantissa, exponent = mantissa.astype(F32), exponent.astype(F32)
    small = mantissa < F32(0.707106781186547524)
    exponent = exponent - small.astype(F32)
    x = np.where(small, mantissa + mantissa, mantissa) - F32(1)
    y = np.full_like(x, F32(_LOG[0]))
    for coefficient in _LOG[1:]:
        y = fma32(y, x, F32(coefficient))
    square = x * x
    y = fma32(y * x, square, exponent * F32(-2.12194440e-4)) - square * F32(0.5)
    return fma32(exponent, F32(0.693359375), x + y)


def cephes_sine_cosine(x: Array) -> tuple[Array, Array]:
    """Single-precision sine and cosine of x >= 0, likewise."""
    octant = ((x * F32(4 / math.pi)).astype(np.int32) + 1) & ~1
    for part in (0.78515625, 2.4187564849853515625e-4, 3.77489497744594108e-8):
        x = fma32(octant.astype(F32), F32(-part), x)
    square = x * x
    cosine = fma32(F32(2.443315711809948e-5), square, F32(-1.388731625493765e-3))
    cosine = fma32(cosine, square, F32(4.166664568298827e-2)) * square
    cosine = fma32(cosine, square, -(square * F32(0.5))) + F32(1)
    sine = fma32(F32(-1.9515295891e-4), square, F32(8.3321608736e-3))
    sine = fma32(sine, square, F32(-1.6666654611e-1)) * square
    sine = fma32(sine, x, x)
    straight = (octant & 2) == 0
    sine, cosine = np.where(straight, sine, cosine), np.where(straight, cosine, sine)
    return np.where(octant & 4, -sine, sine), np.where((octant + 2) & 4, -cosine, cosine)


class Reference:
    """The stream of one seed."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.MT19937()
        np.random.RandomState(self._bits).seed(seed & 0xFFFFFFFF)
        self._waiting: float | None = None

    def words(self, n: int) -> Array:
        """The next n 32-bit words."""
        return self._bits.random_raw(n).astype(np.uint32)

    def long_words(self, n: int) -> Array:
        """The next n 64-bit integers: two words each, the upper half first."""
        words = self.words(2 * n).astype(np.uint64)
        return (words[0::2] << np.uint64(32)) | words[1::2]

    def unit32(self, n: int) -> Array:
        """24-bit numbers in [0, 1)."""
        return (self.words(n) & 0xFFFFFF).astype(F32) * F32(2.0**-24)

    def unit64(self, n: int) -> Array:
        """53-bit numbers in [0, 1)."""
        return (self.long_words(n) & np.uint64(2**53 - 1)).astype(np.float64) * 2.0**-53

    def uniform(self, n: int, dtype: str = "float32", low: float = 0.0, high: float = 1.0) -> Array:
        if dtype == "float64":
            value = fma64(self.unit64(n), high - low, low) if n else np.empty(0)
            return np.where(value == high, low, value)
        value = narrow(fma32(self.unit32(n), F32(high) - F32(low), F32(low)), dtype)
        return np.where(value == narrow(high, dtype), narrow(low, dtype), value)

    def normal(
        self, n: int, dtype: str = "float32", mean: float = 0.0, std: float = 1.0, contiguous: bool = True
    ) -> Array:
        if n < 16 or not contiguous:
            return narrow([float(fma64(self._next_normal(), std, mean)) for _ in range(n)], dtype)
        whole = n - n % 16
        double = dtype == "float64"
        draw = self.unit64 if double else self.unit32
        units = draw(whole if dtype in ("float16", "bfloat16") else n)
        block = self._blocks64 if double else self._blocks32
        result = np.empty(n, units.dtype)
        result[:whole] = block(units[:whole], mean, std)
        if whole < n:
            result[n - 16 :] = block(draw(16), mean, std)
        return narrow(result, dtype)

    @staticmethod
    def _blocks32(units: Array, mean: float, std: float) -> Array:
        units = units.reshape(-1, 2, 8)
        radius = np.sqrt(F32(-2) * cephes_log(F32(1) - units[:, 0]))
        sine, cosine = cephes_sine_cosine(F32(2 * math.pi) * units[:, 1])
        return fma32(np.stack([radius * cosine, radius * sine], 1).ravel(), F32(std), F32(mean))

    @staticmethod
    def _blocks64(units: Array, mean: float, std: float) -> Array:
        units = units.reshape(-1, 2, 8)
        radius = np.sqrt(-2 * c_log(1 - units[:, 0]))
        angle = 2 * math.pi * units[:, 1]
        return fma64(np.stack([radius * c_cos(angle), radius * c_sin(angle)], 1).ravel(), std, mean)

    def _next_normal(self) -> float:
        if self._waiting is not None:
            value, self._waiting = self._waiting, None
            return value
        turn, length = self.unit64(2)
        radius, angle = math.sqrt(-2 * math.log1p(-length)), 2 * math.pi * turn
        self._waiting = radius * math.sin(angle)
        return radius * math.cos(angle)

    def log_normal(self, n: int, dtype: str = "float32", mean: float = 1.0, std: float = 2.0) -> Array:
        return narrow([math.exp(fma64(self._next_normal(), std, mean)) for _ in range(n)], dtype)

    def exponential(self, n: int, dtype: str = "float32", rate: float = 1.0) -> Array:
        return narrow(-1 / rate * c_log1p(-self.unit64(n)), dtype)

    def cauchy(self, n: int, dtype: str = "float32", median: float = 0.0, sigma: float = 1.0) -> Array:
        return narrow(fma64(sigma, c_tan(math.pi * (self.unit64(n) - 0.5)), median), dtype)

    def geometric(self, n: int, p: float) -> Array:
        return np.ceil(c_log(self.unit64(n)) / math.log1p(-p))

    def bernoulli(self, n: int, p: float) -> Array:
        return self.unit64(n) < p

    def bernoulli_each(self, probabilities: Array, dtype: str) -> Array:
        draw = self.unit64 if dtype == "float64" else self.unit32
        return draw(len(probabilities)) < probabilities

    def integers(self, n: int, low: int, high: int) -> Array:
        """In [low, high), as random_(low, high) and randint draw them."""
        span = high - low
        draws = self.long_words(n) if span >= 2**28 else self.words(n)
        return np.array([int(draw) % span + low for draw in draws], dtype=object)

    def permutation(self, n: int) -> Array:
        result = np.arange(n)
        words = self.words(max(n - 1, 0))
        for i in range(n - 1):
            other = i + int(words[i]) % (n - i)
            result[i], result[other] = result[other], result[i]
        return result

    def choose_one(self, probabilities: Array, dtype: str) -> Array:
        """multinomial(probabilities, 1): rows of probabilities."""
        rows, categories = probabilities.shape
        alarms = self.exponential(rows * categories, dtype).reshape(rows, categories)
        wide = np.float64 if dtype == "float64" else F32
        return np.argmax(narrow(probabilities.astype(wide) / alarms.astype(wide), dtype), 1)

    def choose_many(self, probabilities: Array, samples: int, dtype: str) -> Array:
        """multinomial(probabilities, samples, replacement=True)."""
        wide = np.float64 if dtype == "float64" else F32
        chosen = []
        for row in probabilities.astype(wide):
            cumulative = np.cumsum(row, dtype=wide)
            cumulative = cumulative / cumulative[-1]
            cumulative[-1] = 1
            chosen.append(np.searchsorted(cumulative.astype(np.float64), self.unit64(samples)))
        return np.array(chosen)
