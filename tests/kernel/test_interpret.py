"""What the interpreter adds to running a kernel: undefined behaviour is an error with the line that has it."""

import re

import numpy as np
import pytest

from facula.kernel.language import (
    KernelError,
    f32,
    gather,
    i32,
    i64,
    kernel,
    load,
    ptr,
    stack_array,
    store,
    tail_mask,
    u64,
    vec,
)  # fmt: skip


def line(k, offset):
    return f"{__file__}:{k.function.__code__.co_firstlineno + 1 + offset}: "


def test_out_of_bounds_access_names_the_line():
    @kernel
    def k(p: ptr(f32), i: i64):
        x = p[0]
        p[i] = x

    k.interpret(np.zeros(3, np.float32), 2)
    for i in (3, -1, 10**12):
        message = re.escape(f"{line(k, 2)}store of 1 elements at {i}, outside memory of 3")
        with pytest.raises(KernelError, match=message):
            k.interpret(np.zeros(3, np.float32), i)


def test_vectors_masks_and_gathers_are_checked_by_lane():
    @kernel
    def whole(p: ptr(f32)) -> f32:
        return load(p, 0, 8)[0]

    @kernel
    def masked(p: ptr(f32), n: i64) -> f32:
        return load(p, 0, 8, tail_mask(8, n))[0]

    @kernel
    def gathered(p: ptr(f32), where: ptr(i64), n: i64) -> f32:
        return gather(p, load(where, 0, 4), tail_mask(4, n))[0]

    five = np.arange(5, dtype=np.float32)
    with pytest.raises(KernelError, match="load of 8 elements at 0, outside memory of 5"):
        whole.interpret(five)
    assert masked.interpret(five, 5) == 0
    with pytest.raises(KernelError, match="load of 1 elements at 5, outside memory of 5"):
        masked.interpret(five, 6)
    assert gathered.interpret(five, np.array([4, 0, 99, 99]), 2) == 4
    with pytest.raises(KernelError, match="at 99, outside memory of 5"):
        gathered.interpret(five, np.array([4, 0, 99, 99]), 3)


def test_views_are_bounded_by_the_view():
    @kernel
    def k(p: ptr(f32), i: i64) -> f32:
        return p[i]

    base = np.arange(12, dtype=np.float32)
    assert k.interpret(base[4:8], 3) == 7
    with pytest.raises(KernelError, match="outside memory of 4"):
        k.interpret(base[4:8], 4)
    assert k.interpret(base.reshape(3, 4)[::-1], -8) == 0


def test_stack_arrays_and_null_pointers():
    @kernel
    def stack(n: i64) -> i32:
        scratch = stack_array(i32, 4)
        scratch[n] = 5
        return scratch[n]

    @kernel
    def null(n: i64) -> f32:
        p = ptr(f32)(0)
        return p[n]

    assert stack.interpret(3) == 5
    with pytest.raises(KernelError, match="store of 1 elements at 4, outside memory of 4"):
        stack.interpret(4)
    with pytest.raises(KernelError, match="load through a null pointer"):
        null.interpret(0)


def test_undefined_arithmetic():
    @kernel
    def division(a: i64, b: i64) -> i64:
        return a // b

    @kernel
    def shift(a: i64, b: i64) -> i64:
        return a << b

    @kernel
    def lane(p: ptr(f32), j: i64) -> f32:
        return load(p, 0, 4)[j]

    with pytest.raises(KernelError, match=re.escape(line(division, 1)) + "division by zero"):
        division.interpret(1, 0)
    with pytest.raises(KernelError, match="a i64 shifted by 64 bits"):
        shift.interpret(1, 64)
    with pytest.raises(KernelError, match=r"lane 4 of a vec\(f32,4\)"):
        lane.interpret(np.zeros(4, np.float32), 4)


def test_declared_alignment():
    @kernel
    def k(i: i64):
        scratch = stack_array(f32, 16)
        store(scratch + i, 0, vec(f32, 4)(1.0), aligned=True)

    k.interpret(4)
    with pytest.raises(KernelError, match="an access declared aligned to 16 bytes is not"):
        k.interpret(1)


def test_arguments_and_results():
    @kernel
    def k(table: ptr(u64), p: ptr(f32), n: i32) -> f32:
        return p[i64(n)] + f32(table[0])

    data = np.array([1.5, 2.5], np.float32)
    result = k.interpret(np.array([3], np.uint64), data, np.int32(1))
    assert result == 5.5 and isinstance(result, np.float32)
    assert k.interpret(np.array([3], np.uint64), data.ctypes.data, 0) == 4.5
