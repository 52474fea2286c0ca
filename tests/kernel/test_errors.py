"""Mistakes are refused with the file, the line, and words that say what to do; compiled and interpreted alike."""

import numpy as np
import pytest

from facula.kernel.errors import KernelError
from facula.kernel.language import (
    b1,
    bitcast,
    f32,
    f64,
    fma,
    i32,
    i64,
    kernel,
    load,
    parallel,
    ptr,
    select,
    store,
    unroll,
    vec,
)  # fmt: skip


def line_of(function, text):
    """file:line of the line of a kernel's source that holds `text`."""
    import inspect

    lines, first = inspect.getsourcelines(function.function)
    (number,) = [first + i for i, line in enumerate(lines) if text in line]
    return f"{__file__}:{number}: "


def refuses(k, message, text, *arguments):
    """The kernel does not compile, for this reason in this line; with arguments, it does not run interpreted either."""
    with pytest.raises(KernelError) as caught:
        k.ir()
    assert message in str(caught.value)
    assert str(caught.value).startswith(line_of(k, text))
    if arguments:
        with pytest.raises(KernelError) as caught:
            k.interpret(*arguments)
        assert message in str(caught.value)
        assert str(caught.value).startswith(line_of(k, text))


def test_untyped_number_that_changes_in_a_loop():
    @kernel
    def k(p: ptr(f32), n: i64) -> f32:
        total = 0.0
        for i in range(n):
            total = total + p[i]
        return total

    refuses(
        k,
        "'total' starts as the number 0.0 and changes in a loop: give it a type, f32(0.0)",
        "for i",
        np.zeros(2, np.float32),
        2,
    )


def test_mixing_types():
    @kernel
    def k(x: f32, y: f64) -> f64:
        return x + y

    refuses(k, "add of f32 and f64: cast one of them, for example f64(x)", "return", 1.0, 2.0)


def test_fraction_beside_an_integer():
    @kernel
    def k(x: i64) -> i64:
        return x + 1.5

    refuses(k, "the number 1.5 beside a i64: cast one of them", "return", 1)


def test_unknown_name():
    @kernel
    def k(x: i64) -> i64:
        y = x + 1
        return y + undefined_thing  # noqa: F821

    refuses(k, "name 'undefined_thing' is not defined here", "return", 1)


def test_runtime_value_in_a_static_branch():
    def macro(x):
        return x if x > 0 else -x

    @kernel
    def k(x: i64) -> i64:
        return macro(x)

    refuses(k, "a b1 known only at run time decides a branch taken while compiling", "return", 1)


def test_runtime_bound_of_an_unrolled_loop():
    @kernel
    def k(n: i64) -> i64:
        total = 0
        for i in unroll(range(n)):
            total += i
        return total

    refuses(k, "this range has a bound known only at run time", "for i", 3)


def test_condition_that_is_no_truth_value():
    @kernel
    def k(n: i64) -> i64:
        if n:
            return 1
        return 0

    refuses(k, "a condition must be a truth value (b1), not i64", "if n", 3)


def test_type_change_in_a_loop():
    @kernel
    def k(n: i64) -> i64:
        x = i32(0)
        for i in range(n):
            x = i
        return i64(x)

    refuses(k, "'x' enters the loop as i32 and leaves an iteration as i64", "for i")


def test_different_types_on_two_paths():
    @kernel
    def k(n: i64) -> i64:
        if n > 0:
            x = i32(1)
        else:
            x = i64(2)
        return x

    refuses(k, "'x' is i32 on one path and i64 on another", "if n")


def test_different_numbers_on_two_paths():
    @kernel
    def k(n: i64) -> i64:
        if n > 0:
            x = 1
        else:
            x = 2
        return n + x

    refuses(k, "'x' is 1 on one path and 2 on another: give it a type, i64(1)", "if n")


def test_lists_of_different_lengths():
    @kernel
    def k(n: i64) -> i64:
        x = [n]
        if n > 0:
            x = [n, n]
        return x[0]

    refuses(k, "the list 'x' has different lengths where branches meet", "if n")


def test_missing_and_surplus_results():
    @kernel
    def missing(n: i64) -> i64:
        if n > 0:
            return n

    @kernel
    def surplus(n: i64):
        return n

    @kernel
    def wrong(n: i64) -> f32:
        return n

    with pytest.raises(KernelError, match="a path through this kernel returns no i64"):
        missing.ir()
    with pytest.raises(KernelError, match="a path through this kernel returns no i64"):
        missing.interpret(-1)
    refuses(surplus, "this kernel returns a value but declares none", "return", 1)
    refuses(wrong, "returns i64, declared f32", "return", 1)


def test_untyped_parameter():
    @kernel
    def k(n):
        pass

    with pytest.raises(KernelError, match=r"test_errors.py:\d+: parameter n of k has no kernel type"):
        k.ir()


def test_statements_that_the_language_does_not_have():
    @kernel
    def with_try(n: i64):
        try:
            n = n + 1
        except ValueError:
            pass

    @kernel
    def with_import(n: i64):
        import math  # noqa: F401

    @kernel
    def with_lambda(n: i64) -> i64:
        return (lambda x: x)(n)

    @kernel
    def with_dict(n: i64) -> i64:
        return {1: n}[1]

    refuses(with_try, "the kernel language has no Try", "try:", 1)
    refuses(with_import, "the kernel language has no Import", "import math", 1)
    refuses(with_lambda, "the kernel language has no Lambda", "return", 1)
    refuses(with_dict, "the kernel language has no Dict", "return", 1)


def test_break_outside_a_loop_of_the_kernel():
    @kernel
    def k(n: i64) -> i64:
        while n > 0:
            for j in unroll(range(2)):
                n = n - j
        while False:
            pass
        return n

    refuses(k, "this while loop never runs", "while False")


def test_storing_and_loading():
    @kernel
    def wrong_element(p: ptr(f32), x: f64):
        p[0] = x

    @kernel
    def no_pointer(x: f64):
        store(x, 0, 1.0)

    @kernel
    def wrong_index(p: ptr(f32), i: i32) -> f32:
        return p[i]

    @kernel
    def wrong_mask(p: ptr(f32), q: ptr(b1)) -> f32:
        return load(p, 0, 8, load(q, 0, 4))[0]

    refuses(wrong_element, "storing f64 through ptr(f32): cast it, f32(x)", "p[0] = x", np.zeros(1, np.float32), 1.0)
    refuses(no_pointer, "'Type' object has no attribute 'target'", "store(", 1.0)
    refuses(wrong_index, "offset takes a pointer and an i64, not ptr(f32), i32", "return", np.zeros(1, np.float32), 0)
    refuses(wrong_mask, "mask takes truth values, one for each lane, not vec(b1,4), vec(f32,8)", "return",
            np.zeros(8, np.float32), np.zeros(8, bool))  # fmt: skip


def test_operations_that_types_do_not_have():
    @kernel
    def bits_of_floats(x: f32) -> f32:
        return x & x

    @kernel
    def cast_pointer(p: ptr(f32)) -> i64:
        return i64(p)

    @kernel
    def wrong_bitcast(x: f32) -> f64:
        return bitcast(x, f64)

    @kernel
    def wrong_select(x: i64) -> i64:
        return select(x, x, x)

    @kernel
    def untyped_select(x: f64) -> f64:
        return f64(1.0 if x > 0.0 else 2.0)

    @kernel
    def wrong_fma(x: f32, y: f64) -> f64:
        return fma(x, y, y)

    @kernel
    def bad_lanes(x: f32, p: ptr(f32)):
        store(p, 0, vec(f32, 4)(x) + vec(f32, 8)(x))

    refuses(bits_of_floats, "and takes two integers or truth values, not f32, f32", "return", 1.0)
    refuses(cast_pointer, "cast takes numbers or truth values with as many lanes", "return", np.zeros(1, np.float32))
    refuses(wrong_bitcast, "bitcast takes two types of as many bits, not f32, f64", "return", 1.0)
    refuses(wrong_select, "select takes a truth value and two values", "return", 1)
    refuses(untyped_select, "1.0 or 2.0, chosen at run time: give one of them a type, f32(1.0)", "return", 1.0)
    refuses(wrong_fma, "fma of f32, f64 and f64: cast to one type", "return", 1.0, 1.0)
    refuses(bad_lanes, "add of vec(f32,4) and vec(f32,8)", "store", 1.0, np.zeros(8, np.float32))


def test_errors_in_macros_and_python_carry_the_line():
    def macro(items):
        return items[5]

    @kernel
    def k(n: i64) -> i64:
        y = n
        return macro([y, y])

    refuses(k, "IndexError: list index out of range", "return", 1)


def test_calls():
    @kernel
    def callee(a: i64, b: f32) -> i64:
        return a + i64(b)

    @kernel
    def wrong_type(n: i64) -> i64:
        return callee(n, n)

    @kernel
    def too_few(n: i64) -> i64:
        return callee(n)

    @kernel
    def too_many(n: i64) -> i64:
        return callee(n, 1.0, 2)

    refuses(wrong_type, "callee: the argument b is i64, not f32", "return", 1)
    refuses(too_few, "call of callee lacks the argument b", "return", 1)
    refuses(too_many, "callee takes 2 arguments, not 3", "return", 1)


def test_parallel_loop_that_changes_a_variable():
    @kernel
    def k(n: i64) -> i64:
        total = i64(0)
        for i in parallel(0, n):
            total = total + i
        return total

    refuses(k, "a parallel loop may not change total: its iterations run in any order", "for i", 3)


def test_leaving_a_parallel_loop():
    @kernel
    def broken(p: ptr(i64), n: i64):
        for i in parallel(0, n):
            if p[i] > 3:
                break

    @kernel
    def returned(p: ptr(i64), n: i64):
        for i in parallel(0, n):
            for j in range(i):
                if p[j] > 3:
                    return

    for k in (broken, returned):
        refuses(k, "a parallel loop cannot be left by break or return", "for i", np.zeros(2, np.int64), 2)


def test_a_failed_compile_time_assertion():
    width = 3

    def check(n):
        if n & (n - 1):
            raise KernelError(f"the width {n} is no power of two")

    @kernel
    def k(n: i64) -> i64:
        check(width)
        return n

    refuses(k, "the width 3 is no power of two", "check(width)", 1)


def test_values_outside_a_kernel():
    with pytest.raises(KernelError, match="kernel values exist only while a kernel is compiled or interpreted"):
        f32(1.0)


def test_source_that_is_not_available():
    namespace = {"kernel": kernel, "i64": i64}
    exec("@kernel\ndef k(n: i64) -> i64:\n    return n\n", namespace)
    with pytest.raises(KernelError, match="the source of kernel k is not available"):
        namespace["k"].ir()


def test_interpreter_checks_its_arguments():
    @kernel
    def k(p: ptr(f32), n: i64) -> f32:
        return p[n]

    with pytest.raises(KernelError, match="the argument p is an array of float64, not f32"):
        k.interpret(np.zeros(2), 0)
    with pytest.raises(KernelError, match="k takes 2 arguments, not 1"):
        k.interpret(np.zeros(2, np.float32))


def test_launchable_kernel_with_half_precision_number():
    from facula.kernel.language import f16

    @kernel
    def k(p: ptr(f16), x: f16, lo: i64, hi: i64):
        p[lo] = x

    with pytest.raises(KernelError, match="the parameter x of a launchable kernel cannot be f16"):
        k.ir()
