"""Reductions: one body each, with its gradient."""

from __future__ import annotations

from typing import Any

from facula.ops.define import composite, operator
from facula.ops.reduction import reduced_to, reduction


@reduction(result="accumulate")
def sum(input: Any) -> Any:
    """The sum of the elements, of all or along `dim` (an int or several); integers are summed in int64.

    >>> torch.sum(torch.tensor([[1., 2.], [3., 4.]]), dim=0)
    tensor([4., 6.])
    """
    return input


sum.gradient(input=lambda grad: grad)


@operator(method=True, function=False)
def sum_to_size(input: Any, size: Any) -> Any:
    """The sum over what broadcasting has repeated: the opposite of `expand`. `size` must broadcast to the shape."""
    return reduced_to(sum.operator, input, size)


sum_to_size.gradient(input=lambda grad, input_layout: grad.expand(input_layout.shape))


def sum_to_shape(input: Any, shape: tuple[int, ...]) -> Any:
    """A gradient of a broadcast result, summed to the shape of the operand."""
    return input if input._layout.shape == shape else sum_to_size(input, shape)


_ = composite
