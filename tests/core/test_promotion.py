"""Type promotion: every pair of dtypes and every pair of operands against PyTorch; the rules alone without it."""

from __future__ import annotations

import itertools

import pytest

from facula.core import dtype as types
from facula.core import promotion

ALL = types.ALL_DTYPES
NUMBERS = (True, 1, 1.5, 1j)


@pytest.fixture
def default_restored():
    before = types.get_default_dtype()
    yield
    types.set_default_dtype(before)


def outcome(function):
    try:
        return str(function())
    except RuntimeError as error:
        return str(error)


def test_every_pair_equals_torch():
    torch = pytest.importorskip("torch")
    for a, b in itertools.product(ALL, ALL):
        their_a, their_b = getattr(torch, a.name), getattr(torch, b.name)
        expected = outcome(lambda x=their_a, y=their_b: torch.promote_types(x, y))
        assert outcome(lambda x=a, y=b: promotion.promote_types(x, y)) == expected
        assert promotion.can_cast(a, b) == torch.can_cast(their_a, their_b), (a, b)


@pytest.mark.filterwarnings("ignore:ComplexHalf")
@pytest.mark.parametrize("default", ["float32", "float64", "float16", "bfloat16"])
def test_every_pair_of_operands_equals_torch(default, default_restored):
    torch = pytest.importorskip("torch")
    torch.set_default_dtype(getattr(torch, default))
    types.set_default_dtype(getattr(types, default))
    try:
        operands = [
            (torch.empty(shape, dtype=getattr(torch, of.name)), (of, shape == (), False))
            for of in ALL
            for shape in ((), (2,))
        ]
        operands += [(number, (promotion.number_dtype(number), True, True)) for number in NUMBERS]
        for (their_a, a), (their_b, b) in itertools.product(operands, operands):
            expected = outcome(lambda x=their_a, y=their_b: torch.result_type(x, y))
            assert outcome(lambda x=a, y=b: promotion.result_dtype([x, y])) == expected, (a, b)
    finally:
        torch.set_default_dtype(torch.float32)


def test_promotion_is_symmetric_and_associative_on_common_types():
    common = [
        each for each in ALL if each.itemsize and not each.name.startswith(("float8", "uint16", "uint32", "uint64"))
    ]
    for a, b, c in itertools.product(common, common, common):
        assert promotion.promote_types(a, b) is promotion.promote_types(b, a)
        if {a, b, c} >= {types.float16, types.bfloat16}:
            continue  # the two halves meet at float32, which is where order may matter
        left = promotion.promote_types(promotion.promote_types(a, b), c)
        assert left is promotion.promote_types(a, promotion.promote_types(b, c))


def test_ranks():
    tensor, zero_dim, number = (False, False), (True, False), (True, True)
    cases = [
        ([(types.float32, *tensor), (types.float64, *zero_dim)], types.float32),
        ([(types.int32, *tensor), (types.int64, *zero_dim)], types.int32),
        ([(types.int32, *tensor), (types.float64, *zero_dim)], types.float64),
        ([(types.int64, *tensor), (types.float32, *number)], types.float32),
        ([(types.float16, *tensor), (types.complex64, *number)], types.complex32),
        ([(types.bool, *tensor), (types.int64, *number)], types.int64),
        ([(types.uint8, *tensor), (types.bool, *number)], types.uint8),
        ([(types.float16, *tensor), (types.float32, *tensor), (types.float64, *zero_dim)], types.float32),
        ([(types.float32, *number)], types.float32),
    ]
    for operands, expected in cases:
        assert promotion.result_dtype(operands) is expected
    with pytest.raises(ValueError, match="at least one operand"):
        promotion.result_dtype([])


def test_remembered_results_follow_the_default_dtype(default_restored):
    operands = [(types.int64, False, False), (types.float32, True, True)]
    assert promotion.result_dtype(operands) is types.float32
    types.set_default_dtype(types.float64)
    assert promotion.result_dtype(operands) is types.float64
    assert promotion.number_dtype(1.5) is types.float64
    assert promotion.number_dtype(1j) is types.complex128
    assert promotion.floating_result(types.bool) is types.float64


def test_results_of_families():
    assert promotion.number_dtype(True) is types.bool
    assert promotion.number_dtype(7) is types.int64
    assert promotion.floating_result(types.float16) is types.float16
    assert promotion.floating_result(types.uint8) is types.float32
    assert promotion.accumulating_result(types.bool) is types.int64
    assert promotion.accumulating_result(types.bfloat16) is types.bfloat16
