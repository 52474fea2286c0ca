"""Strides: contiguity and output order against PyTorch, collapsing and overlap against listing every address."""

from __future__ import annotations

import itertools
import random

import pytest

from facula.core import strides
from facula.core.shapes import broadcast_shapes, contiguous_stride


def addresses(shape, stride, offset=0):
    """The address of every element, in logical order."""
    ranges = [range(size) for size in shape]
    return [
        offset + sum(i * step for i, step in zip(index, stride, strict=True)) for index in itertools.product(*ranges)
    ]


def random_layout(draw):
    shape = tuple(draw.randint(1, 5) for _ in range(draw.randint(0, 3)))
    return shape, tuple(draw.choice([0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20]) for _ in shape)


def random_tensor(torch, draw, ndim=None):
    """A tensor whose memory order is random, sometimes with gaps or repeated elements."""
    shape = [draw.choice([0, 1, 1, 2, 3, 4]) for _ in range(draw.randint(0, 5) if ndim is None else ndim)]
    order = draw.sample(range(len(shape)), len(shape))
    x = torch.empty([shape[dim] for dim in order]).permute([order.index(dim) for dim in range(len(shape))])
    if shape and draw.random() < 0.2:
        x = x[:: draw.randint(1, 2)]
    if draw.random() < 0.1:
        x = x.expand(2, *x.shape)
    return x


def test_contiguity_equals_torch():
    torch = pytest.importorskip("torch")
    draw = random.Random(0)
    for _ in range(600):
        x = random_tensor(torch, draw)
        shape, stride = tuple(x.shape), x.stride()
        assert strides.is_contiguous(shape, stride) == x.is_contiguous()
        if x.dim() == 4:
            assert strides.is_channels_last(shape, stride) == x.is_contiguous(memory_format=torch.channels_last)
        if x.dim() == 5:
            assert strides.is_channels_last(shape, stride) == x.is_contiguous(memory_format=torch.channels_last_3d)
        assert strides.is_expanded(shape, stride) == (torch._debug_has_internal_overlap(x) == 1)
        assert strides.dense_stride_like(shape, stride) == torch.empty_like(x).stride()


def test_channels_last_strides_equal_torch():
    torch = pytest.importorskip("torch")
    for shape in [(2, 3, 4, 5), (1, 1, 1, 1), (2, 1, 3, 1)]:
        expected = torch.empty(shape, memory_format=torch.channels_last).stride()
        assert strides.channels_last_stride(shape) == expected
    expected = torch.empty((2, 3, 4, 5, 6), memory_format=torch.channels_last_3d).stride()
    assert strides.channels_last_stride((2, 3, 4, 5, 6)) == expected
    with pytest.raises(RuntimeError, match="required rank 4 tensor to use channels_last format"):
        strides.channels_last_stride((2, 3))


def test_elementwise_outputs_have_torchs_strides():
    torch = pytest.importorskip("torch")
    draw = random.Random(0)
    operations = {1: torch.neg, 2: torch.add, 3: torch.addcmul}
    for _ in range(1000):
        first = random_tensor(torch, draw)
        operands = [first]
        for _ in range(draw.randint(0, 2)):
            order = draw.sample(range(first.dim()), first.dim())
            sizes = [size if draw.random() < 0.7 else 1 for size in first.shape]
            other = torch.empty([sizes[dim] for dim in order]).permute([order.index(dim) for dim in range(len(order))])
            while other.dim() and other.shape[0] == 1 and draw.random() < 0.5:
                other = other[0]
            operands.append(other)
        draw.shuffle(operands)
        expected = operations[len(operands)](*operands)
        shape = broadcast_shapes(*[tuple(x.shape) for x in operands])
        found = strides.elementwise_stride(shape, [(tuple(x.shape), x.stride()) for x in operands])
        assert found == expected.stride(), [(tuple(x.shape), x.stride()) for x in operands]


def test_elementwise_outputs_keep_the_operands_order():
    transposed = ((3, 2), (1, 3))
    assert strides.elementwise_stride((3, 2), [transposed, transposed]) == (1, 3)
    assert strides.elementwise_stride((3, 2), [transposed, ((2,), (1,))]) == (1, 3)
    channels_last = ((2, 3, 4, 4), strides.channels_last_stride((2, 3, 4, 4)))
    assert strides.elementwise_stride((2, 3, 4, 4), [channels_last, ((), ())]) == channels_last[1]


def test_collapse_visits_the_same_elements_together():
    draw = random.Random(0)
    for _ in range(1500):
        shape, first = random_layout(draw)
        all_strides = [first, tuple(draw.choice([0, 1, 2, 4, 12]) for _ in shape), contiguous_stride(shape)]
        chosen = all_strides if draw.random() < 0.5 else [contiguous_stride(shape)] * 2
        expected = list(zip(*[addresses(shape, stride) for stride in chosen], strict=True))
        sizes, steps = strides.collapse(shape, chosen, reorder=False)
        assert list(zip(*[addresses(sizes, step) for step in steps], strict=True)) == expected
        sizes, steps = strides.collapse(shape, chosen)
        assert sorted(zip(*[addresses(sizes, step) for step in steps], strict=True)) == sorted(expected)


def test_collapse_is_as_small_as_it_can_be():
    dense, transposed = (12, 4, 1), (1, 2, 6)
    assert strides.collapse((2, 3, 4), [dense, dense]) == ((24,), ((1,), (1,)))
    assert strides.collapse((2, 3, 4), [transposed]) == ((24,), ((1,),))
    assert strides.collapse((2, 3, 4), [transposed], reorder=False) == ((2, 3, 4), (transposed,))
    assert strides.collapse((2, 3, 4), [dense, (0, 4, 1)]) == ((2, 12), ((12, 1), (0, 1)))
    assert strides.collapse((5, 1, 3), [(3, 99, 1), (0, 0, 0)]) == ((15,), ((1,), (0,)))
    assert strides.collapse((), [(), ()]) == ((1,), ((1,), (1,)))
    assert strides.collapse((1, 1), [(7, 3)]) == ((1,), ((1,),))
    assert strides.collapse((3, 0), [(0, 1)]) == ((0,), ((1,),))


def test_overlap_equals_listing_addresses():
    draw = random.Random(0)
    both = 0
    for _ in range(1500):
        (shape_a, stride_a), (shape_b, stride_b) = random_layout(draw), random_layout(draw)
        offset_a, offset_b = draw.randint(0, 40), draw.randint(0, 40)
        a, b = addresses(shape_a, stride_a, offset_a), addresses(shape_b, stride_b, offset_b)
        expected = not set(a).isdisjoint(b)
        both += expected
        assert strides.views_overlap(shape_a, stride_a, offset_a, shape_b, stride_b, offset_b) == expected
        assert strides.has_internal_overlap(shape_a, stride_a) == (len(set(a)) < len(a))
        assert strides.extent(shape_a, stride_a) == max(a) - min(a) + 1
    assert 200 < both < 1300


def test_overlap_of_empty_tensors():
    assert strides.extent((3, 0), (1, 1)) == 0
    assert not strides.views_overlap((0,), (1,), 0, (5,), (1,), 0)
    assert not strides.has_internal_overlap((0, 3), (0, 0))
    assert not strides.is_expanded((0, 3), (0, 0))


def test_overlap_search_gives_up_on_the_safe_side():
    # Coprime strides and a parity that never matches would take very many steps to settle.
    shape, stride = (50,) * 6, (30030, 21252, 15000, 12222, 9998, 7776)
    assert strides.views_overlap(shape, stride, 0, shape, stride, 1) is False  # all even: settled at once
    odd = (30031, 21253, 15001, 12223, 9999, 7777)
    assert strides.views_overlap(shape, odd, 0, shape, odd, 123457) is True


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (((4,), (1,), 0), ((4,), (1,), 0), "full"),
        (((4,), (1,), 0), ((4,), (1,), 1), "partial"),
        (((4,), (1,), 0), ((4,), (1,), 4), "none"),
        (((2, 2), (2, 1), 0), ((2, 2), (1, 2), 0), "partial"),
        (((4,), (2,), 0), ((4,), (2,), 1), "unknown"),
        (((0,), (1,), 0), ((4,), (1,), 0), "none"),
    ],
)
def test_overlap_status(a, b, expected):
    assert strides.overlap_status(*a, *b) == expected
