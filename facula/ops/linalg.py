"""Linear systems: determinants, inverses, solutions, and the factorisation P L U.

The arithmetic is LAPACK's, through NumPy, on batches of matrices in memory: every operator here reads its operands'
values on the host (and says so, for whoever records) and gives fresh tensors. Gradients are matrix products and further
solutions, written in operators, so that they can be differentiated again. They hold for complex matrices too.
"""

from __future__ import annotations

import math
from typing import Any

from facula import return_types
from facula.core import dtype as dt
from facula.core.errors import not_implemented
from facula.core.layout import CPU, Layout, layout
from facula.core.lazy import numpy as np
from facula.core.shapes import broadcast_shapes
from facula.ops.define import FUNCTIONS, METHODS, composite, layout_of, operator
from facula.ops.dispatch import host_read
from facula.runtime.objects import new_tensor

LINALG = ("torch.linalg",)


class LinAlgError(RuntimeError):
    """A factorisation that does not exist, or an iteration that did not converge."""


LinAlgError.__module__ = "torch._C"


# -- operands and results ----------------------------------------------------------------------------------------------
def check_matrix(x: Any, what: str, square: bool = False, low_precision: str | None = None, name: str = "A") -> Layout:
    """The layout of (a batch of) matrices of floating point or complex numbers; torch's errors otherwise.

    `low_precision`: the kernel that torch names when it refuses float16 and bfloat16.
    """
    own = layout_of(x, what.replace(".", "_"), argument=name)
    if len(own.shape) < 2:
        raise RuntimeError(f"{what}: The input tensor {name} must have at least 2 dimensions.")
    if square and own.shape[-1] != own.shape[-2]:
        raise RuntimeError(
            f"{what}: {name} must be batches of square matrices, but they are {own.shape[-2]} by {own.shape[-1]} matrices"
        )
    if own.dtype.kind not in "fc":
        raise RuntimeError(f"{what}: Expected a floating point or complex tensor as input. Got {own.dtype.scalar_name}")
    if own.dtype.to_real() not in (dt.float32, dt.float64):
        if low_precision is not None:
            raise not_implemented(low_precision, own.dtype)
        raise RuntimeError(f"{what}: Low precision dtypes not supported. Got {own.dtype.scalar_name}")
    return own


def host(x: Any, what: str) -> Any:
    """The values as a NumPy array; for a tensor without memory, something of its shape that every factorisation takes."""
    own = x._layout
    if own.device is not CPU:
        return np.broadcast_to(np.eye(*own.shape[-2:], dtype=own.dtype.numpy_name), own.shape)
    host_read(x, f"torch.{what}")
    return METHODS["numpy"](x, force=True)


def fresh(array: Any, like: Any, dtype: dt.dtype | None = None) -> Any:
    """A new tensor with these values, of the device of `like` and of its dtype unless another is given."""
    own = like._layout
    out = new_tensor(layout(array.shape, None, dtype or own.dtype, own.device))
    if own.device is CPU and array.size:
        METHODS["numpy"](out)[...] = array
    return out


def real_of(x: Any) -> dt.dtype:
    return x._layout.dtype.to_real()  # type: ignore[no-any-return]


def batch_prefix(failed: Any) -> str:
    """How torch names the first matrix that failed: `failed` has one truth value per matrix."""
    return f"(Batch element {int(np.argmax(failed.reshape(-1)))}): " if failed.ndim else ""


def eye_like(x: Any) -> Any:
    own = x._layout
    return FUNCTIONS["torch"]["eye"](own.shape[-1], dtype=own.dtype, device=own.device)


def diagonal_matrix(values: Any) -> Any:
    """Matrices with these diagonals."""
    return values.unsqueeze(-1) * eye_like(values)


def lower_mask(x: Any, offset: int = 0) -> Any:
    """1 on and below a diagonal of square matrices like x, else 0."""
    own = x._layout
    ones = FUNCTIONS["torch"]["ones"](own.shape[-2:], dtype=real_of(x), device=own.device)
    return ones.tril(offset)


def real_if(x: Any, wanted: Layout) -> Any:
    """The real part where the input is real."""
    return x.real if x._layout.dtype.kind == "c" and wanted.dtype.kind != "c" else x


# -- P L U ---------------------------------------------------------------------------------------------------------------
def factor_lu(a: Any) -> tuple[Any, Any]:
    """(L below the diagonal and U above it, in one matrix; pivots from 1) by Gaussian elimination with partial
    pivoting, on a batch at once. A zero pivot is passed by."""
    batch, (m, n) = a.shape[:-2], a.shape[-2:]
    lu = np.array(a).reshape(math.prod(batch), m, n)
    pivots = np.zeros((lu.shape[0], min(m, n)), np.int32)
    each = np.arange(lu.shape[0])
    for k in range(min(m, n)):
        column = lu[:, k:, k]  # sizes as LAPACK compares them
        at = k + np.argmax(np.abs(column.real) + np.abs(column.imag), axis=1)
        pivots[:, k] = at + 1
        rows = lu[each, at].copy()
        lu[each, at] = lu[:, k]
        lu[:, k] = rows
        pivot = rows[:, k]
        lu[:, k + 1 :, k] /= np.where(pivot == 0, 1, pivot)[:, None]
        lu[:, k + 1 :, k + 1 :] -= lu[:, k + 1 :, k, None] * lu[:, k, None, k + 1 :]
    return lu.reshape(a.shape), pivots.reshape(*batch, min(m, n))


def first_zero_pivot(a: Any) -> Any:
    """Which diagonal element of U is the first that is zero, from 1; 0 where none is."""
    lu, _ = factor_lu(a)
    zero = np.diagonal(lu, axis1=-2, axis2=-1) == 0
    return np.where(zero.any(-1), zero.argmax(-1) + 1, 0).astype(np.int32)


def _solved(a: Any, b: Any) -> tuple[Any, Any]:
    """(the solutions of a x = b, which pivots are zero): where any is, that matrix' solution is NaN."""
    try:
        return np.linalg.solve(a, b), np.zeros(a.shape[:-2], np.int32)
    except np.linalg.LinAlgError:
        info = first_zero_pivot(a)
        # What rounding lets pass on one way and not on the other is refused as its last pivot.
        bad = info != 0
        if not bad.any():
            info = np.where(np.linalg.cond(a) > 1e30, a.shape[-1], 0).astype(np.int32)
            bad = info != 0
        mended = np.where(bad[..., None, None], np.eye(a.shape[-1], dtype=a.dtype), a)
        return np.where(bad[..., None, None], np.nan, np.linalg.solve(mended, b)), info


def _failed(info: Any, what: str, solving: bool = False) -> LinAlgError:
    failed = info != 0
    prefix = batch_prefix(failed)
    if solving:
        return LinAlgError(f"torch.{what}: {prefix}The solver failed because the input matrix is singular.")
    element = int(info.reshape(-1)[int(np.argmax(failed.reshape(-1)))])
    return LinAlgError(
        f"{what}: {prefix}The diagonal element {element} is zero, the inversion could not be completed because the input "
        "matrix is singular."
    )


def permutation(pivots: Any, m: int) -> Any:
    """P of A = P L U from the row exchanges, as matrices of numbers."""
    flat = pivots.reshape(math.prod(pivots.shape[:-1]), pivots.shape[-1])
    order = np.tile(np.arange(m), (flat.shape[0], 1))
    each = np.arange(flat.shape[0])
    for k in range(flat.shape[1]):
        other = flat[:, k] - 1
        order[each, k], order[each, other] = order[each, other], order[each, k].copy()
    return np.eye(m)[order].swapaxes(-1, -2).reshape(*pivots.shape[:-1], m, m)


def _gradient_lu(L: Any, U: Any, to_L: Any, to_U: Any) -> Any:
    """The gradient of L U as a function of itself, square: L^-H (tril(L^H gL, -1) + triu(gU U^H)) U^-H."""
    below = lower_mask(U, -1)
    inner = 0
    if to_L is not None:
        inner = (L.mH @ to_L) * below
    if to_U is not None:
        inner = inner + (to_U @ U.mH) * (1 - below)
    left = solve_triangular(L.mH, inner, upper=True, unitriangular=True)
    return solve_triangular(U.mH, left, upper=False, left=False)


def _gradient_rectangular(L: Any, U: Any, to_L: Any, to_U: Any) -> Any:
    """The same for L (m, k) and U (k, n): what lies beyond the square part is a product with its factors."""
    (m, k), n = L._layout.shape[-2:], U._layout.shape[-1]
    if m < n:  # A2 = L U2
        square_U, rest, to_rest = U[..., :k], U[..., k:], None
        if to_U is not None:
            to_rest = solve_triangular(L.mH, to_U[..., k:], upper=True, unitriangular=True)
            through = -(to_rest @ rest.mH)
            to_L, to_U = through if to_L is None else to_L + through, to_U[..., :k]
        first = _gradient_lu(L, square_U, to_L, to_U)
        return FUNCTIONS["torch"]["cat"]((first, rest * 0 if to_rest is None else to_rest), -1)
    if m > n:  # A2 = L2 U
        square_L, rest, to_rest = L[..., :k, :], L[..., k:, :], None
        if to_L is not None:
            to_rest = solve_triangular(U.mH, to_L[..., k:, :], upper=False, left=False)
            through = -(rest.mH @ to_rest)
            to_U, to_L = through if to_U is None else to_U + through, to_L[..., :k, :]
        first = _gradient_lu(square_L, U, to_L, to_U)
        return FUNCTIONS["torch"]["cat"]((first, rest * 0 if to_rest is None else to_rest), -2)
    return _gradient_lu(L, U, to_L, to_U)


@operator(name="linalg_lu", function=False)
def _lu(A: Any) -> Any:
    """(P, L, U)."""
    lu, pivots = factor_lu(host(A, "linalg.lu"))
    m, n = lu.shape[-2:]
    k = min(m, n)
    L = np.tril(lu[..., :, :k], -1) + np.eye(m, k, dtype=lu.dtype)
    return fresh(permutation(pivots, m), A), fresh(L, A), fresh(np.triu(lu[..., :k, :]), A)


_lu.operator.differentiable_outputs = (1, 2)


@_lu.joint_gradient("A")
def _(grads: Any, out0: Any, out1: Any, out2: Any) -> Any:
    return (out0 @ _gradient_rectangular(out1, out2, grads[1], grads[2]),)


@composite(namespaces=LINALG, out=True)
def lu(A: Any, *, pivot: bool = True) -> Any:
    """(P, L, U) with A = P L U: a permutation, a unit lower and an upper triangular matrix, of each of a batch."""
    check_matrix(A, "linalg.lu", low_precision="lu_factor_cpu")
    if not pivot:
        raise RuntimeError("linalg.lu: LU without pivoting is not implemented on the CPU")
    return return_types.linalg_lu(*_lu(A))


@operator(name="linalg_lu_factor", function=False)
def _lu_factor(A: Any) -> Any:
    """(LU, pivots)."""
    lu, pivots = factor_lu(host(A, "linalg.lu_factor"))
    return fresh(lu, A), fresh(pivots, A, dt.int32)


_lu_factor.operator.differentiable_outputs = (0,)


@_lu_factor.joint_gradient("A")
def _(grads: Any, out0: Any, out1: Any) -> Any:
    P, L, U = lu_unpack(out0, out1)
    k = L._layout.shape[-1]
    return (P @ _gradient_rectangular(L, U, grads[0][..., :k], grads[0][..., :k, :]),)


@composite(namespaces=LINALG, out=True)
def lu_factor(A: Any, *, pivot: bool = True) -> Any:
    """(LU, pivots): L below the diagonal and U above it in one matrix, and the row exchanged with each, from 1."""
    check_matrix(A, "linalg.lu_factor", low_precision="lu_factor_cpu")
    if not pivot:
        raise RuntimeError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")
    return return_types.linalg_lu_factor(*_lu_factor(A))


@composite(out=True)
def lu_unpack(LU_data: Any, LU_pivots: Any, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    """(P, L, U) from what `lu_factor` gives."""
    own = layout_of(LU_data, "lu_unpack", argument="LU_data")
    m, n = own.shape[-2:]
    k = min(m, n)
    empty = FUNCTIONS["torch"]["empty"]((0,), dtype=own.dtype, device=own.device)
    P = fresh(permutation(host(LU_pivots, "lu_unpack"), m), LU_data) if unpack_pivots else empty
    if not unpack_data:
        return return_types.lu_unpack(P, empty, empty)
    ones = FUNCTIONS["torch"]["ones"]((m, k), dtype=real_of(LU_data), device=own.device)
    unit = FUNCTIONS["torch"]["eye"](m, k, dtype=own.dtype, device=own.device)
    upper = FUNCTIONS["torch"]["ones"]((k, n), dtype=real_of(LU_data), device=own.device)
    return return_types.lu_unpack(P, LU_data[..., :k] * ones.tril(-1) + unit, LU_data[..., :k, :] * upper.triu())


@composite(namespaces=LINALG, out=True)
def lu_solve(LU: Any, pivots: Any, B: Any, *, left: bool = True, adjoint: bool = False) -> Any:
    """The solution of A X = B (X A = B with left=False, A^H with adjoint=True) from the `lu_factor` of A."""
    check_matrix(LU, "linalg.lu_solve", square=True, name="LU")
    if not left:
        return lu_solve(LU, pivots, B.mH, adjoint=not adjoint).mH
    P, L, U = lu_unpack(LU, pivots)
    if adjoint:
        half = solve_triangular(U.mH, B, upper=False)
        return P @ solve_triangular(L.mH, half, upper=True, unitriangular=True)
    half = solve_triangular(L, P.mT @ B, upper=False, unitriangular=True)
    return solve_triangular(U, half, upper=True)


# -- determinants ----------------------------------------------------------------------------------------------------
@operator(namespaces=("torch", "torch.linalg"), method=True, out=True)
def det(A: Any) -> Any:
    """The determinant of each of a batch of square matrices, (*, n, n) to (*).

    >>> torch.linalg.det(torch.tensor([[1., 2.], [3., 4.]]))
    tensor(-2.)
    """
    check_matrix(A, "linalg.det", square=True, low_precision="lu_cpu")
    return fresh(np.linalg.det(host(A, "linalg.det")), A)


@det.gradient
def _(grad: Any, A: Any, out: Any) -> Any:
    """grad * conj(det) * A^-H; by the singular values where a determinant is zero."""
    if A._layout.device is CPU and not bool((out != 0).all()):
        return (grad.unsqueeze(-1).unsqueeze(-1) * _cofactors(A),)
    scaled = (grad * out.conj()).unsqueeze(-1).unsqueeze(-1)
    return (solve(A.mH, scaled * eye_like(A)),)


def _cofactors(A: Any) -> Any:
    """The derivative of det, from A = U S V^H: conj(det(U V^H)) * U diag(products of the other singular values) V^H."""
    U, S, Vh = FUNCTIONS["torch.linalg"]["svd"](A)
    n = A._layout.shape[-1]
    others = (S.unsqueeze(-2) * (1 - eye_like(S)) + eye_like(S)).prod(-1) if n else S
    phase = det(U @ Vh).conj().unsqueeze(-1).unsqueeze(-1)
    return phase * (U * others.unsqueeze(-2)) @ Vh


@operator(name="linalg_slogdet", function=False)
def _slogdet(A: Any) -> Any:
    """(sign, logabsdet)."""
    sign, logarithm = np.linalg.slogdet(host(A, "linalg.slogdet"))
    return fresh(np.asarray(sign), A), fresh(np.asarray(logarithm), A, real_of(A))


@_slogdet.joint_gradient("A")
def _(grads: Any, A: Any, out0: Any) -> Any:
    """(g_log - i Im(conj(g_sign) sign)) A^-H: only the angle of a complex sign changes."""
    scale = grads[1]
    if A._layout.dtype.kind == "c":
        scale = 0 if scale is None else scale
        if grads[0] is not None:
            scale = scale - 1j * (grads[0].conj() * out0).imag
    elif scale is None:
        return (None,)
    return (solve(A.mH, scale.unsqueeze(-1).unsqueeze(-1) * eye_like(A)),)


@composite(namespaces=LINALG, out=True)
def slogdet(A: Any) -> Any:
    """(sign, logabsdet) of the determinants: sign * exp(logabsdet), without overflow; (0, -inf) of singular matrices."""
    check_matrix(A, "linalg.slogdet", square=True)
    return return_types.linalg_slogdet(*_slogdet(A))


@composite(name="slogdet", method=True, out=True)
def _slogdet_of_torch(input: Any) -> Any:
    """(sign, logabsdet) of the determinants."""
    check_matrix(input, "linalg.slogdet", square=True)
    return return_types.slogdet(*_slogdet(input))


@composite(method=True)
def logdet(input: Any) -> Any:
    """The logarithm of the determinant: -inf where it is 0, NaN where it is negative."""
    check_matrix(input, "linalg.det", square=True)
    sign, logarithm = _slogdet(input)
    if input._layout.dtype.kind == "c":
        return logarithm + sign.log()
    return logarithm.masked_fill(sign < 0, float("nan"))


# -- inverses and solutions ------------------------------------------------------------------------------------------
@operator(name="linalg_inv", function=False)
def _inverse(A: Any, check: bool, what: str) -> Any:
    """(inverse, info)."""
    own = host(A, what)
    found, info = _solved(own, np.broadcast_to(np.eye(own.shape[-1], dtype=own.dtype), own.shape))
    if check and info.any():
        raise _failed(info, what)
    return fresh(found, A), fresh(np.asarray(info), A, dt.int32)


_inverse.gradient(A=lambda grad, out0: -(out0.mH @ grad @ out0.mH))
_inverse.operator.differentiable_outputs = (0,)


@composite(namespaces=LINALG, out=True)
def inv(A: Any) -> Any:
    """The inverse of each of a batch of square matrices. LinAlgError where one is singular.

    >>> torch.linalg.inv(torch.tensor([[2., 0.], [0., 4.]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.2500]])
    """
    check_matrix(A, "linalg.inv", square=True)
    return _inverse(A, True, "linalg.inv")[0]


composite("inverse", method=True, out=True)(lambda input: inv(input))


@composite(namespaces=LINALG, out=True)
def inv_ex(A: Any, *, check_errors: bool = False) -> Any:
    """(inverse, info): info tells for each matrix which pivot is zero, from 1; 0 where it is invertible."""
    check_matrix(A, "linalg.inv_ex", square=True)
    return return_types.linalg_inv_ex(*_inverse(A, check_errors, "linalg.inv_ex"))


@operator(name="linalg_solve", function=False)
def _solve(A: Any, B: Any, check: bool, what: str) -> Any:
    """(X, info) with A X = B, for matrices B and batches that broadcast."""
    found, info = _solved(host(A, what), host(B, what))
    if check and info.any():
        raise _failed(info, what, True)
    return fresh(found, A), fresh(np.asarray(info), A, dt.int32)


_solve.operator.differentiable_outputs = (0,)


@_solve.joint_gradient("A", "B")
def _(grad: Any, A: Any, out0: Any, needs: Any) -> Any:
    to_B = _solve(A.mH, grad, False, "linalg.solve")[0]
    return -(to_B @ out0.mH) if needs[0] else None, to_B


def _right_sides(A: Layout, B: Layout) -> bool:
    """Whether B is a (batch of) vectors: it has one dimension, or exactly those of A without the last."""
    return len(B.shape) == 1 or (len(A.shape) - 1 == len(B.shape) and B.shape == A.shape[:-1])


def _solution(A: Any, B: Any, left: bool, check: bool, what: str) -> tuple[Any, Any]:
    a, b = check_matrix(A, what, square=True), layout_of(B, what, 2, "B")
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"{what}: Expected A and B to have the same dtype, but found A of type {a.dtype.scalar_name} and B of type "
            f"{b.dtype.scalar_name} instead"
        )
    vector = _right_sides(a, b)
    if vector:
        if not left:
            raise RuntimeError(
                f"{what}: Vector broadcasting of the left hand side is not supported for left=False. In this case linalg.solve is "
                "equivalent to B / A.squeeze(-1)"
            )
        B = B.unsqueeze(-1)
    elif len(b.shape) < 2 or b.shape[-2 if left else -1] != a.shape[-1]:
        raise RuntimeError(
            f"{what}: Incompatible shapes of A and B for the equation {'AX = B' if left else 'XA = B'} "
            f"({a.shape[-2]}x{a.shape[-1]} and {b.shape[-2] if len(b.shape) > 1 else 1}x{b.shape[-1]})"
        )
    if B._layout.shape[-2 if left else -1] != a.shape[-1]:
        raise RuntimeError(
            f"{what}: Incompatible shapes of A and B for the equation AX = B ({a.shape[-2]}x{a.shape[-1]} and "
            f"{B._layout.shape[-2]}x{B._layout.shape[-1]})"
        )
    batch = broadcast_shapes(a.shape[:-2], B._layout.shape[:-2])
    B = B if B._layout.shape[:-2] == batch else B.expand(*batch, *B._layout.shape[-2:])
    found, info = _solve(A, B, check, what) if left else _solve(A.mT, B.mT, check, what)
    found = found if left else found.mT
    return (found.squeeze(-1) if vector else found), info


@composite(namespaces=LINALG, out=True)
def solve(A: Any, B: Any, *, left: bool = True) -> Any:
    """X with A X = B, or X A = B with left=False: A (*, n, n), B (*, n, k) or vectors (*, n), batches broadcast.

    LinAlgError where a matrix is singular.

    >>> torch.linalg.solve(torch.tensor([[2., 0.], [0., 4.]]), torch.tensor([2., 2.]))
    tensor([1.0000, 0.5000])
    """
    return _solution(A, B, left, True, "linalg.solve")[0]


@composite(namespaces=LINALG, out=True)
def solve_ex(A: Any, B: Any, *, left: bool = True, check_errors: bool = False) -> Any:
    """(X, info): as `solve`, with the first zero pivot of each matrix told in place of an error."""
    return return_types.linalg_solve_ex(*_solution(A, B, left, check_errors, "linalg.solve_ex"))


@operator(name="linalg_solve_triangular", function=False)
def _solve_triangular(A: Any, B: Any, upper: bool, unitriangular: bool) -> Any:
    a, b = host(A, "linalg.solve_triangular"), host(B, "linalg.solve_triangular")
    a = np.triu(a) if upper else np.tril(a)
    n = a.shape[-1]
    if unitriangular:
        a = a * (1 - np.eye(n, dtype=a.dtype)) + np.eye(n, dtype=a.dtype)
    try:
        return fresh(np.linalg.solve(a, b), A)
    except np.linalg.LinAlgError:  # a zero on the diagonal gives infinities, not an error
        x = np.broadcast_to(b, np.broadcast_shapes(a.shape[:-2], b.shape[:-2]) + b.shape[-2:]).copy()
        with np.errstate(all="ignore"):
            for i in range(n - 1, -1, -1) if upper else range(n):
                x[..., i, :] /= a[..., i, i, None]
                rest = slice(0, i) if upper else slice(i + 1, n)
                x[..., rest, :] -= a[..., rest, i, None] * x[..., None, i, :]
        return fresh(x, A)


@_solve_triangular.joint_gradient("A", "B")
def _(grad: Any, A: Any, out: Any, upper: bool, unitriangular: bool, needs: Any) -> Any:
    to_B = _solve_triangular(A.mH, grad, not upper, unitriangular)
    if not needs[0]:
        return None, to_B
    mask = 1 - lower_mask(A, unitriangular - 1) if upper else lower_mask(A, -int(unitriangular))
    return -(to_B @ out.mH) * mask, to_B


@composite(namespaces=LINALG, out=True)
def solve_triangular(A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    """X with A X = B (X A = B with left=False) for triangular matrices A, of which the other half is not read."""
    a = check_matrix(A, "linalg.solve_triangular", square=True)
    b = check_matrix(B, "linalg.solve_triangular", name="B")
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"linalg.solve_triangular: Expected A and B to have the same dtype, but found A of type {a.dtype.scalar_name} and B "
            f"of type {b.dtype.scalar_name} instead"
        )
    if b.shape[-2 if left else -1] != a.shape[-1]:
        raise RuntimeError(
            f"linalg.solve_triangular: Incompatible shapes of A and B for the equation {'AX = B' if left else 'XA = B'} "
            f"({a.shape[-2]}x{a.shape[-1]} and {b.shape[-2]}x{b.shape[-1]})"
        )
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    B = B.expand(*batch, *b.shape[-2:])
    if left:
        return _solve_triangular(A, B, upper, unitriangular)
    return _solve_triangular(A.mT, B.mT, not upper, unitriangular).mT


@composite(method=True, out=True)
def triangular_solve(b: Any, A: Any, upper: bool = True, transpose: bool = False, unitriangular: bool = False) -> Any:
    """(X, A) with A X = b for triangular A; `linalg.solve_triangular` is its successor."""
    used = A.mT if transpose else A
    found = solve_triangular(used, b, upper=upper != transpose, unitriangular=unitriangular)
    return return_types.triangular_solve(found, A.clone())
