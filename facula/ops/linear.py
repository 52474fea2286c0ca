"""The affine map of a linear layer: one product with the bias in its epilogue, for any number of leading dimensions.

In: tensors. Out: tensors whose node has the name that torch gives it.
"""

from __future__ import annotations

from typing import Any

from facula.core.layout import Layout
from facula.ops.define import composite, layout_of, operator
from facula.ops.dispatch import check_devices
from facula.ops.matmul import (
    ROWWISE,
    adjoint,
    came_to,
    check_expands,
    check_fitting,
    check_same_kind,
    check_three,
    flat,
    matmul,
    product,
    row_count,
)  # fmt: skip
from facula.ops.product import multiply
from facula.ops.reduce import sum_to_shape
from facula.ops.served import Call, served


def _affine(input: Any, weight: Any, bias: Any = None) -> Any:
    """input @ weight.T + bias for an input of at least two dimensions."""
    a, b = input._layout, weight._layout
    check_fitting(a, b.shape[1], b.shape[0], row_count(a))
    if bias is None:
        check_same_kind(a, b, "addmm_impl_cpu_")
        check_devices("linear", (input, weight))
    else:
        check_three(bias._layout, a, b)
        check_devices("linear", (input, weight, bias))
        if bias._layout.shape != b.shape[:1]:
            check_expands(bias, (row_count(a), b.shape[0]))
    return multiply(input, weight, False, True, bias)


def _affine_gradient(grad: Any, input: Any, weight: Any, bias_layout: Any, needs: Any) -> Any:
    return (
        ROWWISE[False](grad, adjoint(weight)) if needs[0] else None,
        product(flat(grad), flat(adjoint(input)), True, False) if needs[1] else None,
        sum_to_shape(grad, bias_layout.shape) if bias_layout is not None and needs[2] else None,
    )


def _linear_operator(node: str) -> Any:
    made = operator("affine", function=False)(_affine)
    made.operator.backward_name = node
    made.joint_gradient("input", "weight", "bias")(_affine_gradient)
    return made


_linear_operators = {
    node: _linear_operator(node) for node in ("AddmmBackward0", "MmBackward0", "ViewBackward0", "UnsafeViewBackward0")
}


def _linear_node(input: Layout, bias: Any) -> str:
    """What torch calls the node."""
    if len(input.shape) == 2:
        return "MmBackward0" if bias is None else "AddmmBackward0"
    return "UnsafeViewBackward0" if bias is None else "ViewBackward0"


@composite(namespaces=("torch.nn.functional",))
def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """input @ weight.T + bias: (*, in) with a weight (out, in) and a bias (out) to (*, out).

    A weight (in) of one dimension gives (*). RuntimeError unless the sizes fit and the dtypes are equal.

    >>> torch.nn.functional.linear(torch.ones(2, 3), torch.ones(4, 3)).shape
    torch.Size([2, 4])
    """
    a, b = layout_of(input, "linear"), layout_of(weight, "linear", 2, "weight")
    if len(a.shape) >= 2 and len(b.shape) == 2:
        return _linear_operators[_linear_node(a, bias)](input, weight, bias)
    if not a.shape or not b.shape:
        raise RuntimeError(
            f"both arguments to linear need to be at least 1D, but they are {len(a.shape)}D and {len(b.shape)}D"
        )
    if len(a.shape) == 2 and bias is not None:
        raise RuntimeError(f"mat2 must be a matrix, got {len(b.shape)}-D tensor")
    result = matmul(input, weight.t() if len(b.shape) == 2 else weight)
    return result if bias is None else result + bias


def _linear_came_to(input: Any, weight: Any, bias: Any) -> Call | None:
    if len(input._layout.shape) < 2 or len(weight._layout.shape) != 2:
        return None
    return came_to(_linear_operators[_linear_node(input._layout, bias)], input, weight, False, True, bias)


linear = served(linear, 3, _linear_came_to)
