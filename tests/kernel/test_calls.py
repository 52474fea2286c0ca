"""Kernels that call kernels, inlined kernels, callbacks, C functions, atomics and parallel loops."""

import ctypes

import numpy as np
import pytest

from facula.kernel import link
from facula.kernel.language import (
    KernelError,
    address_of,
    atomic,
    atomic_load,
    atomic_store,
    barrier,
    call_address,
    call_extern,
    call_kernel,
    compare_exchange,
    f32,
    f64,
    i8,
    i32,
    i64,
    kernel,
    load,
    parallel,
    pause,
    ptr,
    store,
    u8,
    vec,
)  # fmt: skip
from tests.kernel.harness import both


@kernel
def square(x: i64) -> i64:
    return x * x


@kernel
def fill(p: ptr(f32), x: f32, n: i64):
    for i in range(n):
        p[i] = x


def test_calls_between_kernels():
    @kernel
    def k(p: ptr(f32), n: i64) -> i64:
        fill(p, 2.5, n)
        fill(p + 1, x=f32(n), n=1)
        return square(square(n)) + square(x=3)

    result, p = both(k, np.zeros(4, np.float32), 3)
    assert result == 81 + 9 and p.tolist() == [2.5, 3, 2.5, 0]


def test_recursion():
    @kernel
    def fibonacci(n: i64) -> i64:
        if n < 2:
            return n
        return fibonacci(n - 1) + fibonacci(n - 2)

    assert both(fibonacci, 12) == 144


def test_vector_arguments():
    @kernel
    def double(v: vec(f32, 4)) -> vec(f32, 4):
        return v + v

    @kernel
    def k(p: ptr(f32)):
        store(p, 0, double(load(p, 0, 4)))

    assert both(k, np.arange(4, dtype=np.float32))[1].tolist() == [0, 2, 4, 6]


def test_inlined_kernels():
    @kernel(inline=True)
    def clamp(x, low, high):
        y = x
        if y < low:
            y = low
        if y > high:
            y = high
        return y

    @kernel(inline=True)
    def write(p, i, x):
        for j in range(2):
            p[i + j] = clamp(x, f32(0.0), f32(1.0))

    @kernel
    def k(p: ptr(f32), n: i64) -> i64:
        y = n
        write(p, 0, f32(3.0))
        write(p, 2, f32(-3.0))
        return clamp(y, i64(2), i64(5)) + y

    assert "call" not in k.ir().split("define internal")[1].split("define")[0]
    result, p = both(k, np.full(4, 9, np.float32), 7)
    assert result == 12 and p.tolist() == [1, 1, 0, 0]


def test_inlined_kernel_that_returns_early():
    @kernel(inline=True)
    def early(x):
        if x > 0:
            return x
        return -x

    @kernel
    def k(x: i64) -> i64:
        return early(x)

    with pytest.raises(KernelError, match="early is inlined, so it can return only in its last statement"):
        k.ir()


def test_macros_call_kernels():
    def macro(x):
        return call_kernel(square, x) + call_kernel(square, 2)

    @kernel
    def k(x: i64) -> i64:
        return macro(x)

    assert both(k, 5) == 29

    def wrong(x):
        return call_kernel(square, x)

    @kernel
    def refused(x: f64) -> i64:
        return wrong(x)

    for run in (refused.ir, lambda: refused.interpret(1.0)):
        with pytest.raises(KernelError, match="square: the argument x is f64, not i64"):
            run()


def test_callbacks():
    @kernel
    def apply(function: ptr(i8), x: i64) -> i64:
        return call_address(function, i64, x)

    @kernel
    def k(x: i64) -> i64:
        return apply(address_of(square), x + 1)

    assert both(k, 4) == 25


def test_c_functions():
    @kernel
    def k(to: ptr(u8), source: ptr(u8), n: i64):
        call_extern("memcpy", ptr(u8), to, source, n)
        call_extern("memset", ptr(u8), to + 2, i32(7), i64(2))

    assert both(k, np.zeros(5, np.uint8), np.arange(1, 6, dtype=np.uint8), 5)[1].tolist() == [1, 2, 7, 7, 5]

    @kernel
    def unknown(x: f64) -> f64:
        return call_extern("cbrt", f64, x)

    with pytest.raises(KernelError, match=r"test_calls.py:\d+: the interpreter has no C function 'cbrt'"):
        unknown.interpret(8.0)


def test_atomics():
    @kernel
    def k(p: ptr(i64), out: ptr(i64)):
        out[0] = atomic("add", p, 5)
        out[1] = atomic("sub", p, 2)
        out[2] = atomic("or", p, 64)
        out[3] = atomic("and", p, 127)
        out[4] = atomic("xor", p, 1)
        out[5] = atomic("xchg", p + 1, 9)
        out[6], swapped = compare_exchange(p, p[0], i64(100))
        out[7] = i64(swapped)
        out[8], swapped = compare_exchange(p, i64(3), i64(4))
        out[9] = i64(swapped)
        atomic_store(p + 1, 11)
        out[10] = atomic_load(p + 1)
        barrier()
        pause()

    _, p, out = both(k, np.array([10, 20]), np.zeros(11, np.int64))
    assert p.tolist() == [100, 11]
    assert out.tolist() == [10, 15, 13, 77, 77, 20, 76, 1, 100, 0, 11]


@kernel
def in_pieces(function: ptr(i8), context: ptr(i8), lo: i64, hi: i64, grain: i64):
    """What the runtime's thread pool does, on one thread and from the end."""
    start = lo + (hi - lo - 1) // grain * grain
    while start >= lo:
        call_address(function, None, context, start, min(start + grain, hi))
        start -= grain


@pytest.fixture(scope="module", autouse=True)
def pool():
    """A thread pool, unless the process already has one."""
    if link.defined("facula_parallel") is None:
        link.define("facula_parallel", in_pieces.address())


def test_parallel_loop():
    @kernel
    def k(out: ptr(f32), x: ptr(f32), a: f32, n: i64):
        offsets = [a, a + 1.0]
        wide = vec(f32, 4)(a)
        for i in parallel(0, n, 3):
            if x[i] < 0.0:
                continue
            out[i] = x[i] * offsets[1] + wide[i % 4]
        for i in parallel(0, 2):
            out[i] = out[i] + 100.0

    x = np.array([1, 2, -3, 4, 5, 6, 7], np.float32)
    out = both(k, np.zeros(7, np.float32), x, 2.0, 7)[1]
    assert out.tolist() == [105, 108, 0, 14, 17, 20, 23]


def test_parallel_loop_that_reads_wide_vectors():
    @kernel
    def k(out: ptr(f64), x: ptr(f64), n: i64):
        wide = load(x, 0, 16)
        after = x[1]
        for i in parallel(0, n):
            out[i] = wide[i] + after

    x = np.arange(16.0)
    assert np.array_equal(both(k, np.zeros(16), x, 16)[1], x + 1)


def test_parallel_loop_in_a_loop_and_in_a_callee():
    @kernel
    def rows(p: ptr(i64), row: i64, n: i64):
        for j in parallel(0, n, 2):
            p[row * n + j] += row * 10 + j

    @kernel
    def k(p: ptr(i64), n: i64):
        for row in range(3):
            rows(p, row, n)
            for j in parallel(0, n):
                p[row * n + j] *= 2

    out = both(k, np.zeros(12, np.int64), 4)[1]
    assert out.tolist() == [2 * (r * 10 + j) for r in range(3) for j in range(4)]


def test_empty_parallel_loop():
    @kernel
    def k(p: ptr(i64), n: i64):
        for i in parallel(n, n, 8):
            p[i] = 1

    if link.defined("facula_parallel") == in_pieces.address():
        assert both(k, np.zeros(2, np.int64), 2)[1].tolist() == [0, 0]


def test_kernel_called_by_ctypes_as_a_callback_gets_its_own_symbol():
    first, second = square.address(), square.address()
    assert first == second and square.symbol in square.ir()
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(first)(12) == 144
