"""Stride algebra: memory order, contiguity, collapsing the dimensions of several operands, and overlap.

Kernels run over few dimensions and like them dense: `collapse` gives the smallest walk that visits the same elements.
The choice of an output's strides follows PyTorch's, so that `tensor.stride()` agrees after any operation. Overlap tests
say whether two views share an element; they are exact where that is cheap, and answer yes when in doubt.

Comes in and goes out: tuples of ints, strides in elements. This module must never know tensors, dtypes or memory.
"""

from __future__ import annotations

from math import gcd, prod
from typing import TYPE_CHECKING

from facula.core.shapes import contiguous_stride

if TYPE_CHECKING:
    from collections.abc import Sequence

    Shape = tuple[int, ...]


# --- contiguity and memory formats ---


def is_contiguous(shape: Shape, stride: Shape) -> bool:
    """Whether elements lie row by row without gaps. Strides of size-1 dimensions don't matter; empty tensors are."""
    step = 1
    for size, actual in zip(reversed(shape), reversed(stride), strict=True):
        if size == 0:
            return True
        if size != 1:
            if actual != step:
                return 0 in shape
            step *= size
    return True


def is_non_overlapping_and_dense(shape: Shape, stride: Shape) -> bool:
    """Whether some order of the dimensions makes the tensor contiguous: every element once, no gaps."""
    if is_contiguous(shape, stride):
        return True
    step = 1
    for actual, size in sorted((actual, size) for size, actual in zip(shape, stride, strict=True) if size != 1):
        if actual != step:
            return False
        step *= size
    return True


def channels_last_stride(shape: Shape) -> Shape:
    """Strides of the channels-last format for (N, C, H, W) or (N, C, D, H, W): channels vary fastest."""
    if len(shape) not in (4, 5):
        raise RuntimeError(f"required rank {4 if len(shape) < 5 else 5} tensor to use channels_last format")
    batch, channels, *spatial = shape
    inner = contiguous_stride((batch, *spatial, channels))
    return (inner[0], inner[-1], *inner[1:-1])


def is_channels_last(shape: Shape, stride: Shape) -> bool:
    """Whether a 4-d (channels_last) or 5-d (channels_last_3d) tensor is dense in that format; False for other ranks."""
    if len(shape) not in (4, 5):
        return False
    step = 1
    for dim in (1, *range(len(shape) - 1, 1, -1), 0):
        size = shape[dim]
        if size != 1:
            if stride[dim] != step:
                return False
            step *= size
    return True


def dense_stride_like(shape: Shape, stride: Shape) -> Shape:
    """The strides of `empty_like` and `clone`: the same for a dense tensor, else dense in the same memory order."""
    if is_non_overlapping_and_dense(shape, stride):
        return stride
    return _packed(shape, _memory_order(shape, [stride]))


# --- the order in which several operands are walked ---


def _memory_order(shape: Shape, strides: Sequence[Shape]) -> list[int]:
    """Dimensions from the outermost to the innermost, by the operands' strides, the first operand deciding first.

    A stride of 0 has no opinion and equal strides prefer the larger size outside, so the comparison is no total
    order; hence an insertion sort that stops at the first clear answer. Ties leave the logical order.
    """
    order = list(range(len(shape) - 1, -1, -1))  # innermost first while sorting
    for position in range(1, len(order)):
        moving = position
        for other in range(position - 1, -1, -1):
            verdict = _compare(order[other], order[moving], shape, strides)
            if verdict > 0:
                order[other], order[moving] = order[moving], order[other]
                moving = other
            elif verdict < 0:
                break
    order.reverse()
    return order


def _compare(inner: int, outer: int, shape: Shape, strides: Sequence[Shape]) -> int:
    """Positive if `inner` should lie outside `outer` instead, negative if the order is right, 0 if nobody minds."""
    for stride in strides:
        step_in, step_out = stride[inner], stride[outer]
        if step_in == 0 or step_out == 0:
            continue
        if step_in != step_out:
            return -1 if step_in < step_out else 1
        if shape[inner] > shape[outer]:
            return 1
    return 0


def _packed(shape: Shape, order: Sequence[int]) -> Shape:
    """Gapless strides when the dimensions lie in memory in `order`, outermost first."""
    steps = [0] * len(shape)
    step = 1
    for dim in reversed(order):
        steps[dim] = step
        step *= shape[dim]
    return tuple(steps)


def elementwise_stride(shape: Shape, operands: Sequence[tuple[Shape, Shape]]) -> Shape:
    """The strides of a new output of broadcast shape `shape`, computed element by element from `operands`.

    Each operand is its own `(shape, stride)`, before broadcasting. Operands that all lie in one dense order give the
    output that order (so that channels-last and transposed tensors stay so); else the order of the first that cares.
    """
    if all(own_shape == shape for own_shape, _ in operands):
        if all(is_contiguous(shape, stride) for _, stride in operands):
            return contiguous_stride(shape)
        if len(shape) == 4 and all(is_channels_last(shape, stride) for _, stride in operands):
            return channels_last_stride(shape)
        first = operands[0][1]
        if all(stride == first for _, stride in operands) and is_non_overlapping_and_dense(shape, first):
            return first
    order = _memory_order(shape, [_broadcast_all(own, stride, shape) for own, stride in operands])
    if order == list(range(len(shape))):
        return contiguous_stride(shape)
    return _packed(shape, order)


def _broadcast_all(shape: Shape, stride: Shape, target: Shape) -> Shape:
    steps = [
        0 if size == 1 and wanted != 1 else step
        for size, step, wanted in zip(shape, stride, target[len(target) - len(shape) :], strict=True)
    ]
    return (0,) * (len(target) - len(shape)) + tuple(steps)


def collapse(shape: Shape, strides: Sequence[Shape], *, reorder: bool = True) -> tuple[Shape, tuple[Shape, ...]]:
    """The smallest walk over `shape` that visits the same elements of every operand together.

    Dimensions of size 1 go; the others are ordered so that the last has the smallest stride (of the first operand
    that cares), unless `reorder` is False, which keeps the logical order; neighbours merge where every operand allows.
    The result has at least one dimension; a single element is `(1,)` with strides of 1, an empty tensor `(0,)`.

    >>> collapse((2, 3, 4), [(12, 4, 1), (12, 4, 1)])
    ((24,), ((1,), (1,)))
    >>> collapse((2, 3), [(3, 1), (1, 0)])
    ((2, 3), ((3, 1), (1, 0)))
    """
    if 0 in shape:
        return (0,), ((1,),) * len(strides)
    dims: Sequence[int] = [dim for dim, size in enumerate(shape) if size != 1]
    if not dims:
        return (1,), ((1,),) * len(strides)
    if reorder and len(dims) > 1:
        kept = tuple([shape[dim] for dim in dims])
        order = _memory_order(kept, [tuple([stride[dim] for dim in dims]) for stride in strides])
        dims = [dims[position] for position in order]
    sizes = [shape[dims[0]]]
    steps = [[stride[dims[0]]] for stride in strides]
    for dim in dims[1:]:
        size = shape[dim]
        if all(step[-1] == stride[dim] * size for step, stride in zip(steps, strides, strict=True)):
            sizes[-1] *= size
            for step, stride in zip(steps, strides, strict=True):
                step[-1] = stride[dim]
        else:
            sizes.append(size)
            for step, stride in zip(steps, strides, strict=True):
                step.append(stride[dim])
    return tuple(sizes), tuple([tuple(step) for step in steps])


# --- overlap ---

# Steps after which an exact search gives up and answers that memory is shared.
_SEARCH_LIMIT = 2000


def extent(shape: Shape, stride: Shape) -> int:
    """Elements from the first to the last, both included; 0 for an empty tensor."""
    if 0 in shape:
        return 0
    return 1 + sum([(size - 1) * step for size, step in zip(shape, stride, strict=True)])


def is_expanded(shape: Shape, stride: Shape) -> bool:
    """Whether a dimension repeats its elements (stride 0): what PyTorch refuses to write into."""
    if 0 in shape or 0 not in stride:
        return False
    return any(step == 0 and size > 1 for size, step in zip(shape, stride, strict=True))


def has_internal_overlap(shape: Shape, stride: Shape) -> bool:
    """Whether two different indices reach one element. Exact unless the search is too long; then True."""
    if 0 in shape:
        return False
    dims = sorted((step, size) for size, step in zip(shape, stride, strict=True) if size != 1)
    reach = 0
    for step, size in dims:
        if step <= reach:
            break
        reach += step * (size - 1)
    else:
        return False  # every stride jumps past all that the smaller ones reach
    if dims[0][0] == 0:
        return True
    # Two indices that agree before dimension k and differ by at least 1 in k: the difference of their addresses is
    # step_k * (1 + x) + sum of step_j * (z_j - (size_j - 1)) over later j, with x and z_j free; can it be 0?
    for k, (step, size) in enumerate(dims):
        terms = [(step, size - 2)] + [(later, 2 * (count - 1)) for later, count in dims[k + 1 :]]
        target = sum([later * (count - 1) for later, count in dims[k + 1 :]]) - step
        if _reaches(terms, target):
            return True
    return False


def views_overlap(
    shape_a: Shape, stride_a: Shape, offset_a: int, shape_b: Shape, stride_b: Shape, offset_b: int
) -> bool:
    """Whether two views of one storage, with elements of one size, share an element.

    Exact unless the search is too long; then True.

    >>> views_overlap((4,), (2,), 0, (4,), (2,), 1)  # x[0::2] and x[1::2]
    False
    """
    size_a, size_b = extent(shape_a, stride_a), extent(shape_b, stride_b)
    if not size_a or not size_b or offset_a + size_a <= offset_b or offset_b + size_b <= offset_a:
        return False
    # offset_a + sum(step * i) = offset_b + sum(step * j), and j counted backwards makes every term positive.
    terms = [(step, size - 1) for size, step in zip(shape_a, stride_a, strict=True)]
    terms += [(step, size - 1) for size, step in zip(shape_b, stride_b, strict=True)]
    return _reaches(terms, offset_b + size_b - 1 - offset_a)


def _reaches(terms: list[tuple[int, int]], target: int) -> bool:
    """Whether `sum(step * n)` can be `target` with `0 <= n <= most` for each `(step, most)`; True when unsure."""
    merged: dict[int, int] = {}
    for step, most in terms:
        if step and most:
            merged[step] = merged.get(step, 0) + most
    steps = sorted(merged, reverse=True)
    # What the terms from each position on reach at most, and what they all divide.
    reach, divisor = [0], [0]
    for step in reversed(steps):
        reach.append(reach[-1] + step * merged[step])
        divisor.append(gcd(divisor[-1], step))
    reach.reverse()
    divisor.reverse()
    budget = _SEARCH_LIMIT

    def search(position: int, remaining: int) -> bool:
        nonlocal budget
        if remaining < 0 or remaining > reach[position]:
            return False
        if remaining == 0:
            return True
        if remaining % divisor[position]:
            return False
        if position == len(steps) - 1:
            return True  # a multiple of the last step, and within its reach
        step = steps[position]
        highest = min(merged[step], remaining // step)
        lowest = max(0, -((reach[position + 1] - remaining) // step))
        for count in range(highest, lowest - 1, -1):
            budget -= 1
            if budget < 0 or search(position + 1, remaining - count * step):
                return True
        return False

    return search(0, target)


def overlap_status(
    shape_a: Shape, stride_a: Shape, offset_a: int, shape_b: Shape, stride_b: Shape, offset_b: int
) -> str:
    """How an input and an output of one storage share memory, by the rule PyTorch raises its errors from.

    'none', 'full' (the same elements in the same places), 'partial' (to be refused), or 'unknown' where one of them
    has gaps, which PyTorch accepts.
    """
    if (shape_a, stride_a, offset_a) == (shape_b, stride_b, offset_b):
        return "full"
    if 0 in shape_a or 0 in shape_b:
        return "none"
    if not (is_non_overlapping_and_dense(shape_a, stride_a) and is_non_overlapping_and_dense(shape_b, stride_b)):
        return "unknown"
    end_a, end_b = offset_a + prod(shape_a), offset_b + prod(shape_b)
    if (offset_a, end_a) == (offset_b, end_b):
        return "full" if stride_a == stride_b else "partial"
    return "partial" if offset_a < end_b and offset_b < end_a else "none"
