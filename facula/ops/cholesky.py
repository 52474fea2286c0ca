"""The factorisation L L^H of positive-definite matrices, and solutions from it. LAPACK's, through NumPy, as in `linalg`."""

from __future__ import annotations

from typing import Any

from facula import return_types
from facula.core import dtype as dt
from facula.core.lazy import numpy as np
from facula.ops.define import composite, operator
from facula.ops.linalg import (
    LINALG,
    LinAlgError,
    batch_prefix,
    check_matrix,
    eye_like,
    fresh,
    host,
    lower_mask,
    solve_triangular,
)  # fmt: skip


def _lower_factors(a: Any) -> tuple[Any, Any]:
    """(L, the order of the first leading minor that is not positive-definite; 0 where all are)."""
    try:
        L = np.linalg.cholesky(a)
        if np.isfinite(L).all():
            return L, np.zeros(a.shape[:-2], np.int32)
    except np.linalg.LinAlgError:
        pass
    flat = a.reshape(-1, *a.shape[-2:])
    L, info = np.zeros_like(flat), np.zeros(len(flat), np.int32)
    for i, matrix in enumerate(flat):
        orders = [k for k in range(1, len(matrix) + 1) if not _definite(matrix[:k, :k])][:1]
        if orders:
            info[i] = orders[0]
            L[i] = np.tril(matrix)
        else:
            L[i] = np.linalg.cholesky(matrix)
    return L.reshape(a.shape), info.reshape(a.shape[:-2])


def _definite(matrix: Any) -> bool:
    try:
        return bool(np.isfinite(np.linalg.cholesky(matrix)).all())
    except np.linalg.LinAlgError:
        return False


@operator(name="linalg_cholesky_ex", function=False)
def _cholesky(A: Any, check: bool, what: str) -> Any:
    """(L, info)."""
    L, info = _lower_factors(host(A, what))
    if check and info.any():
        failed = info != 0
        order = int(info.reshape(-1)[int(np.argmax(failed.reshape(-1)))])
        raise LinAlgError(
            f"{what}: {batch_prefix(failed)}The factorization could not be completed because the input is not "
            f"positive-definite (the leading minor of order {order} is not positive-definite)."
        )
    return fresh(L, A), fresh(info, A, dt.int32)


_cholesky.operator.differentiable_outputs = (0,)


@_cholesky.joint_gradient("A")
def _(grad: Any, out0: Any) -> Any:
    """L^-H (the Hermitian half of tril(L^H g)) L^-1 (Murray, Differentiation of the Cholesky decomposition, 2016)."""
    inner = (out0.mH @ grad) * lower_mask(out0)
    strict = inner * lower_mask(out0, -1)
    inner = (inner + strict.mH) * 0.5
    if out0._layout.dtype.kind == "c":  # the diagonal of L is real
        inner = (inner + inner.mH) * 0.5
    half = solve_triangular(out0.mH, inner, upper=True)
    return (solve_triangular(out0, half, upper=False, left=False),)


def _factor(A: Any, upper: bool, check: bool, what: str) -> tuple[Any, Any]:
    check_matrix(A, what, square=True, low_precision="cholesky_cpu")
    L, info = _cholesky(A.mH if upper else A, check, what)
    return (L.mH if upper else L), info


@composite(namespaces=LINALG, out=True)
def cholesky(A: Any, *, upper: bool = False) -> Any:
    """L with A = L L^H, lower triangular, of each of a batch of positive-definite matrices (upper: L^H instead).

    Only the lower (upper) half is read. LinAlgError where one is not positive-definite.
    """
    return _factor(A, upper, True, "linalg.cholesky")[0]


@composite(name="cholesky", method=True, out=True)
def _cholesky_of_torch(input: Any, upper: bool = False) -> Any:
    """L with input = L L^H (upper: L^H)."""
    return _factor(input, upper, True, "cholesky")[0]


@composite(namespaces=LINALG, out=True)
def cholesky_ex(A: Any, *, upper: bool = False, check_errors: bool = False) -> Any:
    """(L, info): info is the order of the first leading minor that is not positive-definite, 0 where all are."""
    return return_types.linalg_cholesky_ex(*_factor(A, upper, check_errors, "linalg.cholesky_ex"))


@composite(method=True, out=True)
def cholesky_solve(input: Any, L: Any, upper: bool = False) -> Any:
    """X with A X = input, from the Cholesky factor of A."""
    lower = L.mH if upper else L
    return solve_triangular(lower.mH, solve_triangular(lower, input, upper=False), upper=True)


@composite(method=True, out=True)
def cholesky_inverse(L: Any, upper: bool = False) -> Any:
    """The inverse of A from its Cholesky factor."""
    check_matrix(L, "cholesky_inverse", square=True, name="input")
    return cholesky_solve(eye_like(L).expand(*L._layout.shape), L, upper)
