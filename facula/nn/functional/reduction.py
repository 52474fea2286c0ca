"""How the losses reduce their values to one.

In: the name of a reduction. Out: the mean, the sum, or the values themselves.
"""

from __future__ import annotations

from typing import Any


def legacy_get_string(size_average: bool | None, reduce: bool | None, emit_warning: bool = True) -> str:
    """The reduction that the two deprecated flags stand for, which are true by default."""
    average = size_average is None or size_average
    reduction = "none" if reduce is not None and not reduce else "mean" if average else "sum"
    if emit_warning:
        import warnings

        warnings.warn(
            f"size_average and reduce args will be deprecated, please use reduction='{reduction}' instead.",
            stacklevel=3,
        )
    return reduction


def check_reduction(reduction: str) -> None:
    """ValueError unless `reduction` is 'mean', 'sum' or 'none'."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")


def reduce_loss(values: Any, reduction: str) -> Any:
    """The mean, the sum, or the values themselves.

    Raises:
        ValueError: `reduction` is none of 'mean', 'sum', 'none'.
    """
    if reduction == "mean":
        return values.mean()
    if reduction == "sum":
        return values.sum()
    check_reduction(reduction)
    return values
