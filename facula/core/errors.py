"""The error messages that many operations share.

Every helper builds an exception and returns it; the caller writes `raise errors.dim_out_of_range(5, 2)`, so the
reader sees the `raise` where it happens and no message is built before it is needed. The first line is PyTorch's own
message with PyTorch's exception type, so that programs that match it keep working; what we can add (both shapes, the
likely fix) follows on a second line.

Comes in: plain ints, strings and sequences of ints. This module must never know tensors or operations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facula.core.dtype import dtype


def sizes(shape: Sequence[int]) -> str:
    """A shape as messages print it: `[2, 3]`."""
    return "[" + ", ".join(map(str, shape)) + "]"


def with_fix(message: str, fix: str) -> str:
    """PyTorch's message, and below it what we add."""
    return f"{message}\n  {fix}" if fix else message


def dim_out_of_range(dim: int, ndim: int) -> IndexError:
    """`dim` names no dimension of a tensor of `ndim` dimensions (0-d tensors have one virtual dimension)."""
    bound = max(ndim, 1)
    return IndexError(f"Dimension out of range (expected to be in range of [{-bound}, {bound - 1}], but got {dim})")


def duplicate_dim(dim: int) -> RuntimeError:
    """A list of dimensions names one twice."""
    return RuntimeError(f"dim {dim} appears multiple times in the list of dims")


def zero_dim_tensor(operation: str) -> IndexError:
    """The operation needs at least one dimension."""
    return IndexError(f"{operation}() cannot be applied to a 0-dim tensor.")


def size_mismatch(a: Sequence[int], b: Sequence[int], size_a: int, size_b: int, dim: int) -> RuntimeError:
    """Two operands don't broadcast: at output dimension `dim` they have `size_a` and `size_b`."""
    message = (
        f"The size of tensor a ({size_a}) must match the size of tensor b ({size_b}) at non-singleton dimension {dim}"
    )
    return RuntimeError(with_fix(message, f"shapes: {sizes(a)} and {sizes(b)}{_broadcast_fix(a, b)}"))


def _broadcast_fix(a: Sequence[int], b: Sequence[int]) -> str:
    """What would make `a` and `b` broadcast, when one of the usual slips is the likely cause."""
    if len(a) == 2 and len(b) == 2 and (a[0], a[1]) == (b[1], b[0]):
        return "; transpose one of them (.t()), or use @ for the matrix product"
    for few, many, letter in ((a, b, "a"), (b, a, "b")):
        if len(few) != len(many) - 1 or tuple(few) != tuple(many[: len(few)]):
            continue
        return f"; sizes are matched from the last dimension on: {letter}.unsqueeze(-1) would match from the first"
    return ""


def output_broadcast(output: Sequence[int], result: Sequence[int]) -> RuntimeError:
    """An in-place operation's result is larger than the tensor it should go into."""
    return RuntimeError(
        with_fix(
            f"output with shape {sizes(output)} doesn't match the broadcast shape {sizes(result)}",
            "an in-place operation cannot enlarge its tensor; use the out-of-place form",
        )
    )


def result_cast(result: dtype, output: dtype) -> RuntimeError:
    """An in-place or `out=` result of type `result` cannot go into a tensor of type `output`."""
    return RuntimeError(
        f"result type {result.scalar_name} can't be cast to the desired output type {output.scalar_name}"
    )


def not_implemented(operation: str, of: dtype) -> RuntimeError:
    """No kernel of this operation for this element type."""
    return NotImplementedError(f"\"{operation}\" not implemented for '{of.scalar_name}'")


def internal_overlap() -> RuntimeError:
    """The written-to tensor has several elements in one memory location (an expanded tensor)."""
    return RuntimeError(
        "unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
        "Please clone() the tensor before performing the operation."
    )


def partial_overlap() -> RuntimeError:
    """The input and the written-to tensor share some, but not all, memory."""
    return RuntimeError(
        "unsupported operation: some elements of the input tensor and the written-to tensor refer to a single memory "
        "location. Please clone() the tensor before performing the operation."
    )


def wrong_type(operation: str, name: str, position: int, expected: str, got: object) -> TypeError:
    """An argument of the wrong Python type."""
    return TypeError(
        f"{operation}(): argument '{name}' (position {position}) must be {expected}, not {type(got).__name__}"
    )
