"""Shared messages: PyTorch's first line, and the fix below it where one is likely."""

from __future__ import annotations

import pytest

from facula.core import dtype as types
from facula.core import errors
from facula.core.shapes import broadcast_shapes


def raised_by_torch(function):
    with pytest.raises((RuntimeError, IndexError, NotImplementedError)) as caught:
        function()
    return type(caught.value), str(caught.value)


def test_messages_equal_torch():
    torch = pytest.importorskip("torch")
    matrix, vector = torch.zeros(2, 3), torch.zeros(5)
    cases = [
        (lambda: matrix.sum(5), errors.dim_out_of_range(5, 2)),
        (lambda: torch.tensor(1.0).sum(1), errors.dim_out_of_range(1, 0)),
        (lambda: matrix.sum((0, -2)), errors.duplicate_dim(0)),
        (lambda: torch.tensor(1.0).select(0, 0), errors.zero_dim_tensor("select")),
        (lambda: matrix + torch.zeros(2), errors.size_mismatch((2, 3), (2,), 3, 2, 1)),
        (lambda: matrix.add_(torch.zeros(3, 2, 3)), errors.output_broadcast((2, 3), (3, 2, 3))),
        (lambda: torch.zeros(2).long().add_(1.5), errors.result_cast(types.float32, types.int64)),
        (lambda: torch.zeros(1, 3).expand(2, 3).add_(1), errors.internal_overlap()),
        (lambda: vector[1:].add_(vector[:-1]), errors.partial_overlap()),
    ]
    for trigger, ours in cases:
        kind, message = raised_by_torch(trigger)
        assert (type(ours), str(ours).split("\n")[0]) == (kind, message)


@pytest.mark.parametrize(
    ("a", "b", "hint"),
    [
        ((2, 3), (3, 2), "transpose one of them"),
        ((2, 3), (2,), r"b\.unsqueeze\(-1\)"),
        ((4,), (4, 5), r"a\.unsqueeze\(-1\)"),
        ((2, 3, 5), (4, 5), r"shapes: \[2, 3, 5\] and \[4, 5\]$"),
    ],
)
def test_mismatched_sizes_name_the_shapes_and_the_fix(a, b, hint):
    with pytest.raises(RuntimeError, match=hint):
        broadcast_shapes(a, b)


def test_argument_errors():
    assert str(errors.wrong_type("f", "dim", 1, "int", "x")) == "f(): argument 'dim' (position 1) must be int, not str"
    assert isinstance(errors.not_implemented("tril", types.bool), NotImplementedError)
    assert str(errors.not_implemented("tril", types.bool)) == "\"tril\" not implemented for 'Bool'"
