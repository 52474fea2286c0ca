"""Keys of kernels: what changes them and what does not."""

import enum
import functools
from typing import NamedTuple

import numpy as np
import pytest

from facula.kernel.language import f32, f64, i64, kernel, ptr, unroll
from facula.kernel.source import describe, fingerprint, syntax


def with_macro(macro):
    @kernel
    def k(p: ptr(f32), n: i64):
        for i in range(n):
            p[i] = macro(p[i])

    return k


def with_constant(constant):
    @kernel
    def k(p: ptr(f32)):
        p[0] = p[0] * constant

    return k


class Tile:
    """An object that a kernel may capture."""

    def __init__(self, rows):
        self.rows = rows

    def scale(self, x):
        return x * self.rows


class Pair(NamedTuple):
    a: int
    b: int


class Mode(enum.Enum):
    SUM = 1
    MEAN = 2


def with_default(factor):
    def macro(x, factor=factor):
        return x * factor

    return macro


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (2.0, 3.0), (1, 1.0), (True, 1), ("a", "b"), ((1, 2), (2, 1)), ([1], [1, 2]), ({"a": 1}, {"a": 2}), (f32, f64),
        (Tile(1), Tile(2)), (Pair(1, 2), Pair(1, 3)), (Mode.SUM, Mode.MEAN), (np.float32(1), np.float32(2)),
        (np.arange(3), np.arange(3) + 1), (np.int32(1), np.int64(1)), (None, 0), ({1, 2}, {1, 3}),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_captured_constants(one, other):
    assert with_constant(one).key == with_constant(one).key
    assert with_constant(one).key != with_constant(other).key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda x: x + 1, lambda x: x + 2),
        (with_default(2), with_default(3)),
        (functools.partial(lambda a, x: a * x, 2), functools.partial(lambda a, x: a * x, 3)),
        (functools.cache(lambda x: x + 1), functools.cache(lambda x: x - 1)),
        (Tile(1).scale, Tile(2).scale),
        (lambda x: max(x, 1), lambda x: min(x, 1)),
    ],
    ids=["code", "defaults", "partial", "cached", "methods", "names"],
)
def test_macros(one, other):
    assert with_macro(one).key == with_macro(one).key
    assert with_macro(one).key != with_macro(other).key


def test_types_that_only_annotations_name():
    def make(T):
        @kernel
        def k(p: ptr(T), n: i64):
            for i in range(n):
                p[i] = p[i] + p[i]

        return k

    assert make(f32).key != make(f64).key
    assert make(f32).key == make(f32).key


def test_depth():
    def layered(number):
        def bottom(x):
            return x + number

        def middle(x):
            return [bottom(x) for _ in range(2)][1]

        return lambda x: middle(x)

    assert with_macro(layered(1)).key == with_macro(layered(1)).key
    assert with_macro(layered(1)).key != with_macro(layered(2)).key


def test_recursive_objects_have_a_description():
    def even(n):
        return n == 0 or odd(n - 1)

    def odd(n):
        return n != 0 and even(n - 1)

    tile = Tile(1)
    tile.itself = tile
    assert describe(even) == describe(even)
    assert describe(tile) == describe(tile)
    assert fingerprint(even) != fingerprint(odd)


def test_numpy_is_known_by_name():
    """A kernel that names a library is not described by the library's insides."""

    @kernel
    def k(p: ptr(f32)):
        for j in unroll(range(2)):
            p[j] = p[j] * float(np.sqrt(2.0)) * float(np.linalg.norm([3.0, 4.0]))

    assert len(k.key) == 32


def test_syntax_of_functions_on_the_same_file():
    assert (
        syntax(with_default.__wrapped__ if hasattr(with_default, "__wrapped__") else with_default).name
        == "with_default"
    )
    assert syntax(with_macro(abs).function).name == "k"
    assert [a.arg for a in syntax(with_macro(abs).function).args.args] == ["p", "n"]
    assert [a.arg for a in syntax(with_constant(1).function).args.args] == ["p"]
