"""The mathematics library: errors in units of the last place, special values, one result on every width and path."""

import functools
import math

import numpy as np
import pytest

from facula.kernel import math as elementary
from facula.kernel import special, target
from facula.kernel.language import KernelError, f16, f32, f64, i32, i64, kernel, load, ptr, store
from tests.kernel.harness import both, native, same_bits

NUMPY = {f32: np.float32, f64: np.float64}
EXTENDED = np.finfo(np.longdouble).nmant > 52


@functools.cache
def applied(function, T, lanes, operands=1):
    if operands == 1:

        @kernel
        def k(out: ptr(T), x: ptr(T), n: i64):
            for i in range(0, n, lanes):
                store(out, i, function(load(x, i, lanes)))

    else:

        @kernel
        def k(out: ptr(T), x: ptr(T), y: ptr(T), n: i64):
            for i in range(0, n, lanes):
                store(out, i, function(load(x, i, lanes), load(y, i, lanes)))

    return k


def apply(function, T, *operands, lanes=8, run=native):
    count = len(operands[0])
    padded = [np.concatenate([np.asarray(x, NUMPY[T]), np.ones(-count % lanes, NUMPY[T])]) for x in operands]
    out = np.empty_like(padded[0])
    run(applied(function, T, lanes, len(operands)), out, *padded, len(out))
    return out[:count]


def ulps(got, wanted):
    """Error in units of the last place of the result's type; a wrong infinity or NaN is infinite."""
    with np.errstate(all="ignore"):
        rounded = wanted.astype(got.dtype)
        unit = np.spacing(np.minimum(np.abs(rounded), np.finfo(got.dtype).max)).astype(wanted.dtype)
        error = np.abs(got.astype(wanted.dtype) - wanted) / unit
    special_values = ~np.isfinite(rounded) | ~np.isfinite(got)
    agree = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    near_the_top = np.isinf(rounded) & (np.abs(got) == np.finfo(got.dtype).max)
    return np.where(special_values, np.where(agree | near_the_top, 0, np.inf), error)


def draw(T, low, high, count=4000):
    return np.random.default_rng(0).uniform(low, high, count).astype(NUMPY[T])


def magnitudes(T, low=None, high=None, count=4000, signs=True):
    """Numbers of every order of magnitude, subnormal ones included."""
    info = np.finfo(NUMPY[T])
    rng = np.random.default_rng(1)
    exponents = rng.uniform(
        np.log2(info.smallest_subnormal) if low is None else low, info.maxexp if high is None else high, count
    )
    x = np.exp2(exponents, dtype=np.longdouble).astype(NUMPY[T])
    return x * rng.choice([-1, 1], count).astype(NUMPY[T]) if signs else x


def extreme(T):
    info = np.finfo(NUMPY[T])
    return np.array([0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, info.max, -info.max, info.tiny, -info.tiny,
                     info.smallest_subnormal, -info.smallest_subnormal, 0.5, -0.5, 2, -2], NUMPY[T])  # fmt: skip


def sigmoid(x):
    return np.where(
        x < 0, np.exp(np.minimum(x, 0)) / (1 + np.exp(np.minimum(x, 0))), 1 / (1 + np.exp(-np.maximum(x, 0)))
    )


WIDE = {f32: 104.0, f64: 746.0}
# name: (reference, samples, error allowed in f32, in f64)
ELEMENTARY = {
    "exp": (np.exp, lambda T: [draw(T, -WIDE[T], WIDE[T]), draw(T, -1, 1), magnitudes(T)], 1.1, 1.1),
    "exp2": (np.exp2, lambda T: [draw(T, -WIDE[T] * 1.45, WIDE[T] * 1.4), draw(T, -1, 1), magnitudes(T)], 1.1, 1.2),
    "expm1": (np.expm1, lambda T: [draw(T, -WIDE[T], WIDE[T]), draw(T, -1, 1), magnitudes(T)], 1.5, 1.7),
    "sigmoid": (sigmoid, lambda T: [draw(T, -WIDE[T], WIDE[T]), draw(T, -4, 4), magnitudes(T)], 2.5, 2.5),
    "tanh": (np.tanh, lambda T: [draw(T, -10, 10), draw(T, -1, 1), magnitudes(T)], 1.6, 2.5),
    "log": (np.log, lambda T: [magnitudes(T, signs=False), draw(T, 0.5, 2)], 1.0, 1.0),
    "log2": (np.log2, lambda T: [magnitudes(T, signs=False), draw(T, 0.5, 2)], 1.1, 1.0),
    "log10": (np.log10, lambda T: [magnitudes(T, signs=False), draw(T, 0.5, 2)], 0.6, 1.0),
    "log1p": (np.log1p, lambda T: [magnitudes(T, signs=False), draw(T, -1, 2), magnitudes(T, high=0)], 1.6, 1.5),
    "sin": (np.sin, lambda T: [draw(T, -10, 10), draw(T, -1e5, 1e5), magnitudes(T, high=60)], 2.0, 1.0),
    "cos": (np.cos, lambda T: [draw(T, -10, 10), draw(T, -1e5, 1e5), magnitudes(T, high=60)], 2.1, 1.0),
    "tan": (np.tan, lambda T: [draw(T, -10, 10), draw(T, -1e5, 1e5), magnitudes(T, high=60)], 0.6, 2.2),
    "asin": (np.arcsin, lambda T: [draw(T, -1, 1), magnitudes(T, high=0)], 0.6, 1.0),
    "acos": (np.arccos, lambda T: [draw(T, -1, 1), magnitudes(T, high=0)], 0.6, 1.3),
    "atan": (np.arctan, lambda T: [draw(T, -5, 5), magnitudes(T)], 0.6, 1.8),
    "sinh": (np.sinh, lambda T: [draw(T, -WIDE[T], WIDE[T]), draw(T, -2, 2), magnitudes(T)], 0.6, 2.2),
    "cosh": (np.cosh, lambda T: [draw(T, -WIDE[T], WIDE[T]), draw(T, -2, 2), magnitudes(T)], 0.6, 1.7),
    "asinh": (np.arcsinh, lambda T: [draw(T, -5, 5), magnitudes(T)], 0.6, 2.0),
    "acosh": (np.arccosh, lambda T: [draw(T, 1, 5), magnitudes(T, low=0, signs=False)], 0.6, 2.2),
    "atanh": (np.arctanh, lambda T: [draw(T, -1, 1), magnitudes(T, high=0)], 0.6, 2.0),
    "rsqrt": (lambda x: 1 / np.sqrt(x), lambda T: [magnitudes(T, signs=False)], 1.5, 1.5),
}


@pytest.mark.parametrize("T", [f32, f64], ids=repr)
@pytest.mark.parametrize("name", ELEMENTARY)
def test_elementary_functions(name, T):
    reference, samples, bound32, bound64 = ELEMENTARY[name]
    function = getattr(elementary, name)
    precise = np.float64 if T is f32 else np.longdouble
    bound = bound32 if T is f32 else bound64 + (0 if EXTENDED else 1)
    with np.errstate(all="ignore"):
        for x in samples(T):
            error = ulps(apply(function, T, x), reference(x.astype(precise)))
            worst = int(np.argmax(error))
            assert error[worst] <= bound, f"{name}({x[worst]!r}): {error[worst]} units"
        x = extreme(T)
        wanted = reference(x.astype(precise)).astype(NUMPY[T])
        got = apply(function, T, x)
        assert np.all(ulps(got, wanted) <= bound), list(zip(x, got, wanted))
        odd = name not in ("exp", "exp2", "cos", "cosh", "sigmoid", "acos", "acosh", "log", "log2", "log10")
        if odd:
            assert np.array_equal(np.signbit(got[:2]), [False, True])


@pytest.mark.parametrize("T", [f32, f64], ids=repr)
def test_exponential_for_softmax(T):
    x = np.concatenate([draw(T, -80 if T is f32 else -700, 0), [0.0, -0.0, -1e30, -np.inf, np.nan]]).astype(NUMPY[T])
    with np.errstate(all="ignore"):
        wanted = np.exp(x.astype(np.float64 if T is f32 else np.longdouble))
    assert np.all(ulps(apply(elementary.exp_fast_nonpositive, T, x), wanted) <= 1.1)


def test_angles_of_every_size():
    """Beyond 2**60 the reference is exact integer arithmetic with many digits of pi."""
    digits = 330
    pi = _pi(digits + 20)
    rng = np.random.default_rng(2)
    x = np.concatenate([np.exp2(rng.uniform(20, 1023.9, 60)), [6381956970095103.0 * 2.0**797, 1.7e308, 2.0**1000]])
    quarter_turns, remainders = [], []
    for value in x:
        numerator = int(value) * 2 * 10 ** (digits + 20)
        turns = (numerator + pi // 2) // pi
        remainders.append((numerator - turns * pi) / pi * (math.pi / 2))
        quarter_turns.append(turns % 4)
    turns, r = np.array(quarter_turns), np.array(remainders)
    for T in (f64, f32):
        if T is f32:
            continue
        sine = np.choose(turns, [np.sin(r), np.cos(r), -np.sin(r), -np.cos(r)])
        cosine = np.choose(turns, [np.cos(r), -np.sin(r), -np.cos(r), np.sin(r)])
        assert np.allclose(apply(elementary.sin, T, x), sine, rtol=4e-16, atol=0)
        assert np.allclose(apply(elementary.cos, T, x), cosine, rtol=4e-16, atol=0)
    small = x[x < 3e38].astype(np.float32)
    assert np.allclose(
        apply(elementary.sin, f32, small), apply(elementary.sin, f64, small.astype(float)), rtol=3e-7, atol=0
    )
    assert np.allclose(
        apply(elementary.cos, f32, small), apply(elementary.cos, f64, small.astype(float)), rtol=3e-7, atol=0
    )


def _pi(digits):
    """pi * 10**digits, by Machin's formula."""

    def arctan_of_inverse(x):
        total = term = 10 ** (digits + 10) // x
        k = 3
        while term:
            term //= -x * x
            total += term // k
            k += 2
        return total

    return 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239)) // 10**10


@pytest.mark.parametrize("T", [f32, f64], ids=repr)
def test_powers(T):
    info = np.finfo(NUMPY[T])
    precise = np.float64 if T is f32 else np.longdouble
    edge = [0, -0.0, 1, -1, 2, -2, 0.5, -0.5, 3, -3, 2.5, -2.5, np.inf, -np.inf, np.nan, info.max, info.tiny]
    edge += [-info.tiny, info.smallest_subnormal, 1e5, 2.0**24, 2.0**53, 1 + info.eps, 1 - info.epsneg]
    edge = np.array(edge, NUMPY[T])
    x, y = (a.ravel() for a in np.meshgrid(edge, edge))
    with np.errstate(all="ignore"):
        wanted = np.power(x.astype(precise), y.astype(precise)).astype(NUMPY[T])
        got = apply(elementary.pow, T, x, y)
        assert np.all(ulps(got, wanted) <= 1)
        assert np.array_equal(np.signbit(got) & ~np.isnan(got), np.signbit(wanted) & ~np.isnan(wanted))
        x = magnitudes(T, signs=False)
        y = draw(T, -1, 1) * NUMPY[T](info.maxexp) / np.maximum(np.abs(np.log2(x)), 0.01)
        assert np.all(
            ulps(apply(elementary.pow, T, x, y), np.power(x.astype(precise), y.astype(precise)))
            <= (0.6 if T is f32 else 1.3)
        )
    base, exponent = (a.ravel().astype(NUMPY[T]) for a in np.meshgrid(np.arange(-20, 21), np.arange(0, 6)))
    wanted = np.array([int(b) ** int(e) for b, e in zip(base, exponent)], NUMPY[T])
    assert np.array_equal(apply(elementary.pow, T, base, exponent), wanted)


@pytest.mark.parametrize("T", [f32, f64], ids=repr)
def test_atan2_and_logaddexp(T):
    precise = np.float64 if T is f32 else np.longdouble
    x, y = (a.ravel() for a in np.meshgrid(extreme(T), extreme(T)))
    with np.errstate(all="ignore"):
        wanted = np.arctan2(y.astype(precise), x.astype(precise)).astype(NUMPY[T])
        got = apply(elementary.atan2, T, y, x)
        assert np.all(ulps(got, wanted) <= 1)
        assert np.array_equal(np.signbit(got) & ~np.isnan(got), np.signbit(wanted) & ~np.isnan(wanted))
        a, b = draw(T, -3, 3), draw(T, -3, 3)[::-1]
        assert np.all(ulps(apply(elementary.atan2, T, a, b), np.arctan2(a.astype(precise), b.astype(precise))) <= 2.1)
        wanted = np.logaddexp(x.astype(precise), y.astype(precise)).astype(NUMPY[T])
        assert np.allclose(
            apply(elementary.logaddexp, T, x, y), wanted, rtol=4 * np.finfo(NUMPY[T]).eps, equal_nan=True
        )


@pytest.mark.parametrize("T", [f32, f64], ids=repr)
def test_log_sigmoid(T):
    x = np.array([-200, -20, -1, -1e-3, 0, 1e-3, 1, 20, 200, np.inf, -np.inf, np.nan], NUMPY[T])
    with np.errstate(all="ignore"):
        wanted = np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x.astype(np.float64))))
    assert np.allclose(apply(elementary.log_sigmoid, T, x), wanted, rtol=4 * np.finfo(NUMPY[T]).eps, equal_nan=True)


def by_elements(function):
    """A function of Python's math module on arrays, with infinities where it overflows or has a pole."""

    def safe(x):
        try:
            return function(float(x))
        except (OverflowError, ValueError):
            return math.nan if x != x else math.inf

    return lambda x: np.array([safe(v) for v in x])


SPECIAL = {
    "erf": (
        by_elements(math.erf),
        lambda T: [draw(T, -6, 6, 800), draw(T, -1, 1, 800), magnitudes(T, count=400)],
        1.1,
        2,
    ),
    "erfc": (by_elements(math.erfc), lambda T: [draw(T, -6, 9, 800), draw(T, -1, 1, 800)], 0.6, 4),
}


@pytest.mark.parametrize("T", [f32, f64], ids=repr)
@pytest.mark.parametrize("name", SPECIAL)
def test_special_functions(name, T):
    reference, samples, bound32, bound64 = SPECIAL[name]
    for x in [*samples(T), extreme(T)]:
        error = ulps(apply(getattr(special, name), T, x), reference(x))
        worst = int(np.argmax(error))
        assert error[worst] <= (bound32 if T is f32 else bound64), f"{name}({x[worst]!r}): {error[worst]} units"


@pytest.mark.parametrize("T", [f32, f64], ids=repr)
def test_lgamma(T):
    eps = 0.5 if T is f32 else 8  # the reference has some units of error itself, more near its zeros at 1 and 2
    for x in (draw(T, -6, 12, 800), magnitudes(T, high=100, count=400), extreme(T)):
        wanted = by_elements(math.lgamma)(x)
        bound = np.finfo(NUMPY[T]).eps * eps
        with np.errstate(over="ignore"):
            assert np.allclose(
                apply(special.lgamma, T, x), wanted.astype(NUMPY[T]), rtol=bound, atol=bound, equal_nan=True
            )
    assert apply(special.digamma, T, [-0.0])[0] == np.inf
    exact = apply(special.lgamma, T, [1.0, 2.0, 3.0])
    assert exact[:2].tolist() == [0, 0] and abs(float(exact[2]) - math.log(2)) < np.finfo(NUMPY[T]).eps


@pytest.mark.parametrize("T", [f32, f64], ids=repr)
def test_special_values(T):
    eps = float(np.finfo(NUMPY[T]).eps)
    known = {  # from tables with 17 digits
        "erfcx": {0.0: 1.0, 1.0: 0.42758357615580701, -1.0: 5.0089800807622835, 10.0: 0.056140992743822584,
                  1e10: 5.6418958354775629e-11},
        "erfinv": {0.0: 0.0, 0.5: 0.47693627620446987, -0.9375: -1.3171503349861307, 1.0: np.inf, -1.0: -np.inf,
                   1.5: np.nan},
        "digamma": {1.0: -0.57721566490153286, 0.5: -1.9635100260214235, 10.0: 2.2517525890667211,
                    -0.5: 0.036489973978576520, -1.0: np.nan, 0.0: -np.inf, np.inf: np.inf},
        "sinc": {0.0: 1.0, 0.5: 0.63661977236758134, 1.0: 0.0, 2.5: 0.12732395447351627, np.inf: 0.0},
        "i0": {0.0: 1.0, 1.0: 1.2660658777520083, -5.0: 27.239871823604443, 20.0: 43558282.559553534, np.inf: np.inf},
        "i0e": {1.0: 0.46575960759364044, 20.0: 0.089780311884826022, np.inf: 0.0},
        "i1": {0.0: 0.0, 1.0: 0.56515910399248503, -5.0: -24.335642142450524, 20.0: 42454973.385127783},
        "i1e": {1.0: 0.20791041534970844, -20.0: -0.087506222183288676},
        "ndtr": {0.0: 0.5, 1.0: 0.84134474606854295, -5.0: 2.8665157187919391e-07},
        "ndtri": {0.5: 0.0, 0.975: 1.9599639845400539, 0.0: -np.inf},
        "log_ndtr": {0.0: -0.69314718055994531, -20.0: -203.91715537109727, 5.0: -2.8665161296376359e-07},
    }  # fmt: skip
    for name, table in known.items():
        x = np.array(list(table), NUMPY[T])
        got = apply(getattr(special, name), T, x)
        wanted = np.array(list(table.values()))
        assert np.allclose(
            got, wanted, rtol=40 * eps, atol=4 * eps if name in ("sinc", "ndtri") else 0, equal_nan=True
        ), name
        assert np.isnan(apply(getattr(special, name), T, [np.nan])[0])


@pytest.mark.parametrize("T", [f32, f64], ids=repr)
def test_inverse_error_function_to_the_ends(T):
    x = np.concatenate(
        [draw(T, -1, 1, 500), 1 - magnitudes(T, low=-23 if T is f32 else -52, high=-1, signs=False, count=500)]
    )
    y = apply(special.erfinv, T, x.astype(NUMPY[T]))
    back = by_elements(math.erf)(y)
    tail = by_elements(math.erfc)(np.abs(y))
    slope = 2 / math.sqrt(math.pi) * np.exp(-(y.astype(float) ** 2)) * np.spacing(np.abs(y)) + np.finfo(float).eps
    assert np.all(np.abs(np.where(np.abs(x) < 0.5, back - x, tail - (1 - np.abs(x.astype(float))))) <= 3 * slope)


ALL = [*(getattr(elementary, n) for n in [*ELEMENTARY, "log_sigmoid", "exp_fast_nonpositive"])]
ALL += [
    getattr(special, n)
    for n in ("erf", "erfc", "erfcx", "erfinv", "lgamma", "digamma", "sinc", "i0", "i1e", "log_ndtr")
]


@pytest.mark.parametrize("T", [f32, f64], ids=repr)
@pytest.mark.parametrize("function", ALL, ids=lambda f: f.__name__)
def test_every_width_and_the_interpreter_agree(function, T):
    x = np.concatenate([extreme(T), [0.3, -0.7, 5.5, -17, 1e6, -2e5, 33.0]]).astype(NUMPY[T])
    results = [apply(function, T, x, lanes=lanes) for lanes in (1, 2, 8)]
    assert same_bits(results[0], results[1]) and same_bits(results[0], results[2])
    both(applied(function, T, 2), np.zeros(len(x), NUMPY[T]), x, len(x))


class WithoutFma:
    """The processor of this machine, without fused multiply-add."""

    def __init__(self):
        self.__dict__.update(target.host().__dict__)
        self.has_fma = False


@pytest.mark.parametrize("T", [f32, f64], ids=repr)
@pytest.mark.parametrize("name", ELEMENTARY)
def test_without_fused_multiply_add(name, T, monkeypatch):
    reference, samples, bound32, bound64 = ELEMENTARY[name]
    plain = WithoutFma()
    monkeypatch.setattr(target, "host", lambda: plain)
    interpret = lambda k, *arguments: k.interpret(*arguments)  # noqa: E731
    precise = np.float64 if T is f32 else np.longdouble
    with np.errstate(all="ignore"):
        x = np.concatenate([s[:80] for s in samples(T)])
        got = apply(getattr(elementary, name), T, x, lanes=64, run=interpret)
        error = ulps(got, reference(x.astype(precise)))
    worst = int(np.argmax(error))
    assert error[worst] <= (bound32 if T is f32 else bound64) + 1.5, f"{name}({x[worst]!r}): {error[worst]} units"


def test_types_without_mathematics():
    def wrong(T, function):
        @kernel
        def k(out: ptr(T)):
            out[0] = function(out[0])

        with pytest.raises(KernelError, match=rf"mathematical functions take f32 or f64, not {T}: cast it, f32\(x\)"):
            k.ir()

    for T in (f16, i32):
        for function in (
            elementary.exp,
            elementary.log,
            elementary.tanh,
            special.erf,
            elementary.tan,
            elementary.rsqrt,
        ):
            wrong(T, function)
