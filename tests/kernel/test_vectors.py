"""Vectors: loads and stores with masks, lanes, shuffles, gathers, reductions."""

import numpy as np
import pytest

from facula.kernel.language import (
    any_lane,
    as_pointer,
    b1,
    f32,
    f64,
    fma,
    gather,
    i8,
    i16,
    i32,
    i64,
    insert,
    iota,
    kernel,
    load,
    maximum,
    minimum,
    prefetch,
    ptr,
    reduce,
    select,
    shuffle,
    splat,
    stack_array,
    store,
    tail_mask,
    u8,
    u32,
    unroll,
    vec,
    when,
)  # fmt: skip
from tests.kernel.harness import both

WIDTHS = [1, 2, 4, 8, 16]


@pytest.mark.parametrize("W", WIDTHS)
@pytest.mark.parametrize("T", [f32, f64, i32, i8, b1], ids=repr)
def test_masked_tail(T, W):
    """A loop over whole vectors and a masked one touches exactly its range."""

    @kernel
    def k(out: ptr(T), x: ptr(T), lo: i64, hi: i64):
        main = lo + (hi - lo) // W * W
        for i in range(lo, main, W):
            store(out, i, load(x, i, W))
        if main < hi:
            mask = tail_mask(W, hi - main)
            store(out, main, load(x, main, W, mask), mask)

    dtype = {"f32": np.float32, "f64": np.float64, "i32": np.int32, "i8": np.int8, "b1": bool}[T.name]
    for lo, hi in ((0, 0), (0, 1), (1, 16), (3, 36), (5, 5)):
        x = np.arange(1, hi + 1).astype(dtype)
        _, out, _ = both(k, np.zeros(40, dtype), x, lo, hi)
        wanted = np.zeros(40, dtype)
        wanted[lo:hi] = x[lo:hi]
        assert np.array_equal(out, wanted)


@pytest.mark.parametrize("W", WIDTHS)
def test_masked_lanes_read_as_zero(W):
    @kernel
    def k(out: ptr(i32), x: ptr(i32), n: i64):
        store(out, 0, load(x, 0, W, tail_mask(W, n)) + 1)

    _, out, _ = both(k, np.zeros(W, np.int32), np.arange(10, 10 + W, dtype=np.int32), W // 2)
    assert out.tolist() == [11 + i if i < W // 2 else 1 for i in range(W)]


def test_arithmetic_of_vectors_with_scalars_and_numbers():
    @kernel
    def k(out: ptr(f32), x: ptr(f32), a: f32):
        v = load(x, 0, 8)
        results = [v + a, a * v, 2.0 - v, v / a, -v, fma(v, a, v), fma(a, v, 1.0), abs(v), minimum(v, a), maximum(v, 0)]
        results += [select(v > a, v, a), select(v > 1.0, 0.5, v), select(a > 0.0, v, -v), splat(a, 8)]
        for j in unroll(range(14)):
            store(out, j * 8, results[j])

    x = np.array([0, -1, 2, 0.5, -3, 7, 1, -0.25], np.float32)
    _, out, _ = both(k, np.zeros(14 * 8, np.float32), x, 1.5)
    assert np.array_equal(out[:8], x + np.float32(1.5)) and np.array_equal(out[80:88], np.maximum(x, np.float32(1.5)))


def test_lanes():
    @kernel
    def k(out: ptr(i32), x: ptr(i32), j: i64):
        v = load(x, 0, 4)
        out[0] = v[2]
        out[1] = v[j]
        store(out, 2, insert(insert(v, 0, i32(100)), j, v[0]))
        store(out, 6, iota(i32, 4) * 3)
        store(out, 10, shuffle(v, v + 10, [7, 0, 5, 2]))
        store(out, 14, shuffle(v, v, [3, 3]))
        out[16] = shuffle(v, v, [1])
        store(out, 17, shuffle(v, v, [0, 1, 2, 3, 3, 2, 1, 0]))

    x = np.array([5, 6, 7, 8], np.int32)
    out = both(k, np.zeros(25, np.int32), x, 3)[1].tolist()
    assert out == [7, 8, 100, 6, 7, 5, 0, 3, 6, 9, 18, 5, 16, 7, 8, 8, 6, 5, 6, 7, 8, 8, 7, 6, 5]


@pytest.mark.parametrize("W", [1, 4, 8])
def test_gather(W):
    @kernel
    def k(out: ptr(f32), x: ptr(f32), where: ptr(i64), n: i64):
        indices = load(where, 0, W)
        store(out, 0, gather(x, indices))
        if n < W:
            store(out, W, gather(x, indices, tail_mask(W, n)))

    where = np.array([3, 0, 2, 2, 1, 3, 0, 1])
    x = np.array([10, 11, 12, 13], np.float32)
    _, out, *_ = both(k, np.zeros(16, np.float32), x, where, 1)
    assert np.array_equal(out[:W], x[where[:W]])


def test_gather_of_truth_values():
    @kernel
    def k(out: ptr(b1), x: ptr(b1), where: ptr(i64)):
        store(out, 0, gather(x, load(where, 0, 4)))

    _, out, *_ = both(k, np.zeros(4, bool), np.array([1, 0, 1], bool), np.array([1, 2, 0, 1]))
    assert out.tolist() == [False, True, True, False]


@pytest.mark.parametrize("op", ["add", "mul", "min", "max", "and", "or", "xor"])
@pytest.mark.parametrize("T", [i32, u8, i64], ids=repr)
def test_integer_reductions(op, T):
    @kernel
    def k(out: ptr(T), x: ptr(T)):
        out[0] = reduce(op, load(x, 0, 8))
        out[1] = reduce(op, load(x, 0, 1))

    dtype = {"i32": np.int32, "u8": np.uint8, "i64": np.int64}[T.name]
    x = np.array([7, 3, 200, 14, 9, 31, 2, 5], dtype)
    _, out, _ = both(k, np.zeros(2, dtype), x)
    function = {"add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and,
                "or": np.bitwise_or, "xor": np.bitwise_xor}[op]  # fmt: skip
    assert out[0] == function.reduce(x, dtype=dtype)


@pytest.mark.parametrize("op", ["add", "mul", "min", "max"])
def test_float_reductions_are_balanced_trees(op):
    @kernel
    def k(x: ptr(f32)) -> f32:
        return reduce(op, load(x, 0, 8))

    x = (np.random.default_rng(0).standard_normal(8)).astype(np.float32)
    result = np.float32(both(k, x)[0])
    function = {"add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum}[op]
    while len(x) > 1:
        x = function(x[: len(x) // 2], x[len(x) // 2 :])
    assert result == x[0]
    spoiled = np.full(8, 1, np.float32)
    spoiled[5] = np.nan
    assert np.isnan(both(k, spoiled)[0])


def test_any_lane_and_branching_macro():
    def guarded(v):
        return when(any_lane(v < 0.0), lambda: (v * v, v + 1.0), lambda: (v, v))

    @kernel
    def k(out: ptr(f32), x: ptr(f32), n: i64):
        for i in range(0, n, 4):
            a, b = guarded(load(x, i, 4))
            store(out, i, a + b)

    x = np.array([1, 2, 3, 4, 1, -2, 3, 4], np.float32)
    assert both(k, np.zeros(8, np.float32), x, 8)[1].tolist() == [2, 4, 6, 8, 3, 3, 13, 21]


def test_stack_array_and_pointers():
    @kernel
    def k(out: ptr(i32), n: i64) -> i64:
        scratch = stack_array(i32, 16)
        for i in range(16):
            scratch[i] = i32(i * i)
        prefetch(scratch, 3)
        tail = scratch + 4
        store(out, 0, load(tail, 2, 4, aligned=False))
        store(out, 4, load(scratch, 0, 4, aligned=True))
        as_bytes = as_pointer(scratch, u8)
        back = tail - 2
        out[8] = back[0]
        out[9] = i32(as_bytes[40])
        return i64(1) if scratch == scratch + n else i64(2)

    result, out = both(k, np.zeros(10, np.int32), 0)
    assert out.tolist() == [36, 49, 64, 81, 0, 1, 4, 9, 4, 100] and result == 1


def test_pointers_in_memory():
    @kernel
    def k(table: ptr(ptr(f32)), n: i64) -> f32:
        total = f32(0.0)
        for i in range(n):
            total += table[i][i]
        table[0] = table[1]
        return total

    rows = [np.array([1, 2], np.float32), np.array([3, 4], np.float32)]
    table = np.array([r.ctypes.data for r in rows], np.uint64)
    result, table = both(k, table, 2)
    assert result == 5.0 and table[0] == table[1]


def test_streaming_store():
    @kernel
    def k(out: ptr(f32)):
        scratch = stack_array(f32, 8)
        store(scratch, 0, vec(f32, 8)(2.5), stream=True)
        store(out, 0, load(scratch, 0, 8))

    assert both(k, np.zeros(8, np.float32))[1].tolist() == [2.5] * 8


def test_vectors_through_loops_and_branches():
    @kernel
    def k(out: ptr(u32), x: ptr(u32), n: i64):
        total = vec(u32, 4)(0)
        for i in range(0, n, 4):
            v = load(x, i, 4)
            if v[0] > 5:
                v = v + v
            total = total + v
        store(out, 0, total)

    assert both(k, np.zeros(4, np.uint32), np.arange(12, dtype=np.uint32), 12)[1].tolist() == [20, 24, 28, 32]


def test_small_vectors_of_narrow_integers():
    @kernel
    def k(out: ptr(i16), x: ptr(i8)):
        store(out, 0, i16(load(x, 0, 2)) * 300)

    assert both(k, np.zeros(2, np.int16), np.array([-3, 100], np.int8))[1].tolist() == [-900, 30000]
