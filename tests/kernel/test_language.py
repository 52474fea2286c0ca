"""Every form of statement and expression, compiled and interpreted."""

import numpy as np
import pytest

from facula.kernel.language import (
    b1,
    f32,
    f64,
    i8,
    i16,
    i32,
    i64,
    kernel,
    popcount,
    ptr,
    select,
    u8,
    u16,
    u32,
    u64,
    udiv,
    unroll,
    urem,
    ushr,
)  # fmt: skip
from tests.kernel.harness import both

INTEGERS = [i8, i16, i32, i64, u8, u16, u32, u64]


@pytest.mark.parametrize("T", INTEGERS, ids=repr)
def test_integer_operators(T):
    @kernel
    def k(out: ptr(T), a: ptr(T), b: ptr(T), n: i64):
        for i in range(n):
            x, y = a[i], b[i]
            results = [x + y, x - y, x * y, x & y, x | y, x ^ y, ~x, -x, +x, x << (y & 7), x >> (y & 7)]
            results += [min(x, y), max(x, y), abs(x), ushr(x, y & 7), popcount(x), 3 + x, 5 - x, x * 7, 2 * y]
            for j in unroll(range(len(results))):
                out[i * 20 + j] = results[j]

    info = np.iinfo(repr(T).replace("i", "int").replace("u", "uint"))
    edge = np.array([0, 1, 2, 3, 100, info.max, info.min, info.max - 1, info.min + 1], info.dtype)
    a, b = (x.ravel() for x in np.meshgrid(edge, edge))
    _, out, *_ = both(k, np.zeros(20 * len(a), info.dtype), a, b, len(a))
    with np.errstate(over="ignore"):
        assert np.array_equal(out[0::20], a + b)
        assert np.array_equal(out[2::20], a * b)


@pytest.mark.parametrize("T", [i32, i64, u32], ids=repr)
def test_division_follows_python(T):
    @kernel
    def k(out: ptr(T), a: ptr(T), b: ptr(T), n: i64):
        for i in range(n):
            x, y = a[i], b[i]
            out[i * 6] = x // y
            out[i * 6 + 1] = x % y
            out[i * 6 + 2] = x // 8
            out[i * 6 + 3] = x % 8
            out[i * 6 + 4] = udiv(x, T(7))
            out[i * 6 + 5] = urem(x, T(7))

    dtype = {"i32": np.int32, "i64": np.int64, "u32": np.uint32}[T.name]
    values = np.array([0, 1, 7, 8, 9, 100] + ([-1, -7, -8, -9, -100] if T.kind == "i" else [2**32 - 1]), dtype)
    a, b = (x.ravel() for x in np.meshgrid(values, values[values != 0]))
    _, out, *_ = both(k, np.zeros(6 * len(a), dtype), a, b, len(a))
    assert out[0::6].tolist() == [int(x) // int(y) for x, y in zip(a, b)]
    assert out[1::6].tolist() == [int(x) % int(y) for x, y in zip(a, b)]
    assert out[2::6].tolist() == [int(x) // 8 for x in a]
    assert out[3::6].tolist() == [int(x) % 8 for x in a]


@pytest.mark.parametrize("T", [f32, f64], ids=repr)
def test_float_operators(T):
    from facula.kernel.language import (
        absolute,
        ceil,
        copysign,
        floor,
        fma,
        maximum,
        minimum,
        remainder,
        rint,
        sqrt,
        trunc,
    )

    @kernel
    def k(out: ptr(T), a: ptr(T), b: ptr(T), n: i64):
        for i in range(n):
            x, y = a[i], b[i]
            results = [x + y, x - y, x * y, x / y, -x, +x, x // y, x % y, remainder(x, y), 1.5 - x, 2 * x, 1 / x]
            results += [minimum(x, y), maximum(x, y), min(x, y, 0.5), max(x, 1), abs(x), absolute(y), copysign(x, y)]
            results += [sqrt(abs(x)), floor(x), ceil(x), trunc(x), rint(x), fma(x, y, x), select(x < y, x, 0.25)]
            for j in unroll(range(len(results))):
                out[i * 26 + j] = results[j]

    dtype = np.float32 if T is f32 else np.float64
    info = np.finfo(dtype)
    edge = np.array(
        [0.0, -0.0, 1, -1, 0.5, 2.5, -3.5, 1e-3, 7, np.inf, -np.inf, np.nan, info.max, info.tiny, 1e-45], dtype
    )
    a, b = (x.ravel() for x in np.meshgrid(edge, edge))
    _, out, *_ = both(k, np.zeros(26 * len(a), dtype), a, b, len(a))
    with np.errstate(all="ignore"):
        assert np.array_equal(out[0::26], a + b, equal_nan=True)
        assert np.array_equal(out[3::26], a / b, equal_nan=True)
        assert np.array_equal(out[12::26], np.minimum(a, b), equal_nan=True)


@pytest.mark.parametrize("T", [i8, u8, i64, u64, f32, f64, b1], ids=repr)
def test_comparisons(T):
    @kernel
    def k(out: ptr(b1), a: ptr(T), b: ptr(T), n: i64):
        for i in range(n):
            x, y = a[i], b[i]
            results = [x < y, x <= y, x > y, x >= y, x == y, x != y]
            for j in unroll(range(6)):
                out[i * 6 + j] = results[j]

    dtype = {"b1": "bool"}.get(T.name) or T.name.replace("u", "uint").replace("i", "int", T.kind == "i").replace(
        "f", "float"
    )
    edge = {"f": [0.0, -0.0, 1, -1, np.inf, np.nan], "b": [0, 1]}.get(T.kind) or [
        0,
        1,
        127,
        -1 if T.kind == "i" else 200,
    ]
    values = np.array(edge).astype(dtype)
    a, b = (x.ravel() for x in np.meshgrid(values, values))
    _, out, *_ = both(k, np.zeros(6 * len(a), bool), a, b, len(a))
    assert np.array_equal(out.reshape(-1, 6).T, [a < b, a <= b, a > b, a >= b, a == b, a != b])


def test_logic_of_truth_values():
    @kernel
    def k(out: ptr(b1), a: ptr(b1), b: ptr(b1), n: i64):
        for i in range(n):
            x, y = a[i], b[i]
            results = [
                x and y,
                x or y,
                not x,
                x & y,
                x | y,
                x ^ y,
                ~x,
                True and x,
                False or y,
                x and True,
                0 <= i64(x) < 1,
            ]
            for j in unroll(range(11)):
                out[i * 11 + j] = results[j]

    a, b = np.array([0, 0, 1, 1], bool), np.array([0, 1, 0, 1], bool)
    _, out, *_ = both(k, np.zeros(44, bool), a, b, 4)
    assert np.array_equal(out[0::11], a & b)
    assert np.array_equal(out[10::11], ~a)


def test_if_elif_else():
    @kernel
    def k(x: i64) -> i64:
        y = 0
        if x < 0:
            y = x * 2
            if x < -10:
                y += 1
        elif x == 0:
            y = i64(5)
        else:
            y = x + 7
        return y

    assert [both(k, x) for x in (-20, -3, 0, 4)] == [-39, -6, 5, 11]


def test_if_with_returns_on_every_path():
    @kernel
    def k(x: i64) -> i64:
        if x > 3:
            return x
        else:
            return -x

    assert both(k, 5) == 5 and both(k, 2) == -2


def test_conditional_expression():
    @kernel
    def k(x: f64) -> f64:
        return x if x > 1.0 else (0.5 if x > 0.0 else -x)

    assert [both(k, x) for x in (3.0, 0.25, -4.0)] == [3.0, 0.5, 4.0]


def test_for_ranges():
    @kernel
    def k(n: i64, step: i64) -> i64:
        total = 0
        for i in range(n):
            total += i
        for i in range(2, n):
            total += i * 100
        for i in range(n, 0, -3):
            total += i * 10000
        for i in range(0, n, step):
            total = total * 3 + i
        for i in range(3):
            for j in range(i):
                total += j
        return total

    for n in (-2, 0, 1, 2, 10):
        total = sum(range(n)) + 100 * sum(range(2, n)) + 10000 * sum(range(n, 0, -3))
        for i in range(0, n, 4):
            total = total * 3 + i
        assert both(k, n, 4) == total + 1


@pytest.mark.parametrize("T", [i32, u32, u64], ids=repr)
def test_loop_variable_takes_the_bounds_type(T):
    @kernel
    def k(n: T) -> T:
        total = T(0)
        for i in range(n):
            total += i * i
        return total

    assert both(k, 10) == 285


def test_while_break_continue_return():
    @kernel
    def collatz(n: i64) -> i64:
        steps = 0
        while n != 1:
            steps += 1
            if n % 2 == 0:
                n = n // 2
                continue
            if steps > 1000:
                break
            n = 3 * n + 1
        return steps

    @kernel
    def forever(n: i64) -> i64:
        i = 0
        while True:
            i += 1
            if i * i > n:
                return i

    assert both(collatz, 27) == 111
    assert both(forever, 50) == 8


def test_break_and_continue_in_nested_loops():
    @kernel
    def k(p: ptr(i64), n: i64) -> i64:
        total = 0
        for i in range(n):
            if p[i] < 0:
                continue
            j = 0
            while j < p[i]:
                j += 1
                if j == 3:
                    continue
                if j > 6:
                    break
                total += j
            if total > 60:
                break
            total += 1000 if j == 0 else 0
        return total

    assert both(k, np.array([2, -5, 9, 0, 4, 100]), 6)[0] == 1028


def test_break_out_of_an_unrolled_loop():
    @kernel
    def k(p: ptr(i64), wanted: i64) -> i64:
        found, total = i64(-1), i64(0)
        for j in unroll(range(6)):
            if j == 5:
                break
            if p[j] == 7:
                continue
            total += p[j]
            if p[j] == wanted:
                found = i64(j)
                break
        return found * 1000 + total

    data = np.array([3, 7, 1, 9, 2, 50])
    assert [both(k, data, w)[0] for w in (1, 9, 3, 50, 2)] == [2004, 3013, 3, -985, 4015]


def test_return_from_a_loop():
    @kernel
    def find(p: ptr(i64), n: i64, wanted: i64) -> i64:
        for i in range(n):
            if p[i] == wanted:
                return i
        return -1

    data = np.arange(10) * 3
    assert both(find, data, 10, 12)[0] == 4 and both(find, data, 10, 13)[0] == -1


def test_lists_of_values():
    @kernel
    def k(p: ptr(f32), n: i64) -> f32:
        sums = [f32(0.0) for _ in range(4)]
        pairs = [[f32(j), f32(j * 2)] for j in range(2)]
        for i in range(0, n, 4):
            for j in unroll(range(4)):
                sums[j] = sums[j] + p[i + j]
            pairs[1][0] += 1.0
        return sums[0] + sums[1] * 2.0 + sums[2] + sums[-1] + pairs[1][0]

    assert both(k, np.arange(16, dtype=np.float32), 16)[0] == 24 + 56 + 32 + 36 + 5


def test_compile_time_python():
    table = {"a": 3, "b": 4}
    scale = 2.5

    def weight(j, items):
        return sum(items[: j + 1])

    @kernel
    def k(x: f64) -> f64:
        names = sorted(table, reverse=True)
        total = f64(0.0)
        for j, (name, factor) in unroll(enumerate(zip(names, (10, 20)))):
            total += x * float(table[name] * factor)
            if j == 1 and name in ("a",):
                total -= scale
        assert len(names) == 2 and not isinstance(x, str)
        a, (b, c) = 1, (2, 3)
        total += float(weight(1, [a, b, c])) + max(1, 7) - min(4, 2) + abs(-3)
        label = f"{a}-{b}"
        return total if label == "1-2" else x

    assert both(k, 2.0) == 4 * 10 * 2 + 3 * 20 * 2 - 2.5 + 3 + 7 - 2 + 3


def test_annotated_assignment_casts():
    @kernel
    def k(x: i64) -> f32:
        y: f32 = x
        z: f32
        y += 0.5
        z = y
        return z

    assert both(k, 3) == 3.5


def test_augmented_assignments():
    @kernel
    def k(p: ptr(i64), x: i64) -> i64:
        x += 3
        x -= 1
        x *= 5
        x //= 2
        x %= 100
        x <<= 2
        x >>= 1
        x |= 8
        x &= 0xFF
        x ^= 3
        p[0] += x
        p[1] *= 2
        return x

    result, p = both(k, np.array([10, 20]), 7)
    x = (((7 + 3 - 1) * 5 // 2) % 100 << 2) >> 1
    x = ((x | 8) & 0xFF) ^ 3
    assert result == x and p.tolist() == [10 + x, 40]


def test_launchable_kernel():
    @kernel
    def axpy(y: ptr(f32), x: ptr(f32), a: f64, k: i32, lo: i64, hi: i64):
        for i in range(lo, hi):
            y[i] = x[i] * f32(a) + f32(k)

    x = np.arange(8, dtype=np.float32)
    _, y, _ = both(axpy, np.zeros(8, np.float32), x, 0.5, 3, 2, 6)
    assert y.tolist() == [0, 0, 4, 4.5, 5, 5.5, 0, 0]


def test_a_variable_defined_before_and_typed_in_branches():
    @kernel
    def k(x: i32) -> i32:
        y = 1
        if x > 0:
            y = x
        return y

    assert both(k, 5) == 5 and both(k, -5) == 1


def test_pass_and_docstring():
    @kernel
    def k(x: i64) -> i64:
        """Identity."""
        if x > 0:
            pass
        return x

    assert both(k, 3) == 3
