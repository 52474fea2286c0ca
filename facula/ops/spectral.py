"""Orthogonal factorisations, eigenvalues and singular values of matrices, and what is computed from them.

LAPACK's, through NumPy, as in `linalg`. Gradients: Giles, Collected matrix derivative results (2008); Townsend,
Differentiating the singular value decomposition (2016); Walter and Lehmann, Algorithmic differentiation of linear algebra
functions (2012); Golub and Pereyra, The differentiation of pseudo-inverses (1973).
"""

from __future__ import annotations

from typing import Any

from facula import return_types
from facula.core import dtype as dt
from facula.core.lazy import numpy as np
from facula.core.shapes import broadcast_shapes
from facula.ops.define import FUNCTIONS, METHODS, composite, layout_of, operator
from facula.ops.linalg import (
    LINALG,
    LinAlgError,
    batch_prefix,
    check_matrix,
    diagonal_matrix,
    eye_like,
    fresh,
    host,
    lower_mask,
    real_if,
    real_of,
    solve,
    solve_triangular,
)  # fmt: skip
from facula.runtime.objects import TensorBase


def _computed(function: Any, array: Any, what: str) -> Any:
    """function(array); NumPy's failure to converge as torch's error."""
    try:
        return function(array)
    except np.linalg.LinAlgError:
        failed = ~np.isfinite(array).all((-1, -2)) if array.size else np.zeros(array.shape[:-2], bool)
        raise LinAlgError(
            f"{what}: {batch_prefix(failed)}The algorithm failed to converge because the input matrix is ill-conditioned or "
            "has too many repeated eigenvalues."
        ) from None


def _differences(values: Any) -> Any:
    """values[j] - values[i] as matrices, 1 on the diagonal."""
    return values.unsqueeze(-2) - values.unsqueeze(-1) + eye_like(values)


# -- QR --------------------------------------------------------------------------------------------------------------
@operator(name="linalg_qr", function=False)
def _qr(A: Any, mode: Any) -> Any:
    """(Q, R)."""
    own = host(A, "linalg.qr")
    Q: Any
    R: Any
    m, n = own.shape[-2:]
    if 0 in own.shape:
        k = min(m, n) if mode == "reduced" else m
        Q = np.broadcast_to(np.eye(m, k, dtype=own.dtype), (*own.shape[:-2], m, k))
        R = np.zeros((*own.shape[:-2], k, n), own.dtype)
    elif mode == "r":
        Q, R = np.zeros(0, own.dtype), np.linalg.qr(own, "r")
    else:
        Q, R = np.linalg.qr(own, mode)
    return fresh(Q, A), fresh(R, A)


@_qr.joint_gradient("A")
def _(grads: Any, out0: Any, out1: Any, mode: str) -> Any:
    m, n = out0._layout.shape[-2] if mode != "r" else 0, out1._layout.shape[-1]
    if mode == "r":
        raise RuntimeError(
            "The derivative of linalg.qr depends on Q, which is not computed when mode='r'. Please use linalg.qr(A, "
            "mode='reduced') if you are going to require gradients"
        )
    if mode == "complete" and m > n:
        raise RuntimeError("The QR decomposition is not differentiable when mode='complete' and nrows > ncols.")
    Q, R, to_Q, to_R = out0, out1, grads[0], grads[1]
    if m >= n:
        return (_gradient_qr(Q, R, to_Q, to_R),)
    # A = Q [U V]: the square part carries Q, the rest is Q V.
    U, V = R[..., :m], R[..., m:]
    to_U = to_V = None
    if to_R is not None:
        to_U, to_V = to_R[..., :m], to_R[..., m:]
        through = Q @ (V @ to_V.mH)
        to_Q = through if to_Q is None else to_Q + through
    first = _gradient_qr(Q, U, to_Q, to_U)
    rest = Q @ to_V if to_V is not None else V.new_zeros(()).expand(*Q._layout.shape[:-1], n - m)
    return (FUNCTIONS["torch"]["cat"]((first, rest), -1),)


def _gradient_qr(Q: Any, R: Any, to_Q: Any, to_R: Any) -> Any:
    """(gQ + Q sym(triu(gR R^H - Q^H gQ))) R^-H where R is square."""
    inner: Any = 0
    if to_R is not None:
        inner = to_R @ R.mH
    if to_Q is not None:
        inner = inner - Q.mH @ to_Q
    inner = inner * (1 - lower_mask(R, -1))
    symmetric = inner + inner.mH
    symmetric = symmetric * (1 - 0.5 * eye_like(R).abs())
    total = Q @ symmetric
    if to_Q is not None:
        total = total + to_Q
    return solve_triangular(R.mH, total, upper=False, left=False)


@composite(namespaces=LINALG, out=True)
def qr(A: Any, mode: str = "reduced") -> Any:
    """(Q, R) with A = Q R, Q with orthonormal columns and R upper triangular.

    mode 'reduced' gives (*, m, k) and (*, k, n) with k = min(m, n), 'complete' (*, m, m) and (*, m, n), 'r' no Q.
    """
    check_matrix(A, "linalg.qr", low_precision="geqrf_cpu")
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
        )
    return return_types.linalg_qr(*_qr(A, mode))


@composite(name="qr", method=True, out=True)
def _qr_of_torch(input: Any, some: bool = True) -> Any:
    """(Q, R); some=False is mode 'complete' of `linalg.qr`."""
    return return_types.qr(*qr(input, "reduced" if some else "complete"))


# -- eigenvalues -----------------------------------------------------------------------------------------------------
@operator(name="linalg_eigh", function=False)
def _eigh(A: Any, UPLO: Any) -> Any:
    """(eigenvalues, eigenvectors)."""
    own = host(A, "linalg.eigh")
    if own.size and not np.isfinite(own).all():
        raise LinAlgError(
            f"linalg.eigh: {batch_prefix(~np.isfinite(own).all((-1, -2)))}The algorithm failed to converge because the input "
            "matrix is ill-conditioned or has too many repeated eigenvalues."
        )
    values, vectors = _computed(lambda x: np.linalg.eigh(x, UPLO), own, "linalg.eigh")
    return fresh(values, A, real_of(A)), fresh(vectors, A)


@_eigh.joint_gradient("A")
def _(grads: Any, out0: Any, out1: Any) -> Any:
    """V (diag(gL) + (V^H gV) / (L_j - L_i)) V^H."""
    inner: Any = 0
    if grads[1] is not None:
        off = 1 - eye_like(out0)
        inner = (out1.mH @ grads[1]) * off / _differences(out0)
    if grads[0] is not None:
        inner = inner + diagonal_matrix(grads[0])
    if inner._layout.dtype is not out1._layout.dtype:
        inner = inner.to(out1._layout.dtype)
    return (out1 @ inner @ out1.mH,)


def _check_half(UPLO: str) -> str:
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return UPLO.upper()


@composite(namespaces=LINALG, out=True)
def eigh(A: Any, UPLO: str = "L") -> Any:
    """(eigenvalues in ascending order, eigenvectors in columns) of each of a batch of Hermitian matrices.

    Only the lower (UPLO='U': upper) half is read.
    """
    check_matrix(A, "linalg.eigh", square=True, low_precision="linalg_eigh_cpu")
    return return_types.linalg_eigh(*_eigh(A, _check_half(UPLO)))


@composite(namespaces=LINALG, out=True)
def eigvalsh(A: Any, UPLO: str = "L") -> Any:
    """The eigenvalues of Hermitian matrices, in ascending order."""
    check_matrix(A, "linalg.eigvalsh", square=True, low_precision="linalg_eigh_cpu")
    return _eigh(A, _check_half(UPLO))[0]


@operator(name="linalg_eig", function=False)
def _eig(A: Any) -> Any:
    """(eigenvalues, eigenvectors), complex."""
    own = host(A, "linalg.eig")
    if own.size and not np.isfinite(own).all():
        raise RuntimeError("torch.linalg.eig: input tensor should not contain infs or NaNs.")
    values, vectors = _computed(np.linalg.eig, own, "linalg.eig")
    complex_dtype = A._layout.dtype.to_complex()
    return fresh(values, A, complex_dtype), fresh(vectors, A, complex_dtype)


@_eig.joint_gradient("A")
def _(grads: Any, A_layout: Any, out0: Any, out1: Any) -> Any:
    """V^-H (diag(gL) + (V^H gV - V^H V diag(Re V^H gV)) / conj(L_j - L_i)) V^H."""
    inner: Any = 0
    if grads[1] is not None:
        turned = out1.mH @ grads[1]
        lengths = turned.diagonal(0, -2, -1).real.unsqueeze(-2)
        differences = _differences(out0).conj()
        inner = (turned - (out1.mH @ out1) * lengths) / differences * (1 - eye_like(out0))
    if grads[0] is not None:
        inner = inner + diagonal_matrix(grads[0])
    return (real_if(solve(out1.mH, inner @ out1.mH), A_layout),)


@composite(namespaces=LINALG, out=True)
def eig(A: Any) -> Any:
    """(eigenvalues, eigenvectors in columns), complex, of each of a batch of square matrices."""
    check_matrix(A, "linalg.eig", square=True, low_precision="linalg_eig_out_cpu")
    return return_types.linalg_eig(*_eig(A))


@composite(namespaces=LINALG, out=True)
def eigvals(A: Any) -> Any:
    """The eigenvalues of square matrices, complex."""
    check_matrix(A, "linalg.eigvals", square=True, low_precision="linalg_eig_out_cpu")
    return _eig(A)[0]


# -- singular values -------------------------------------------------------------------------------------------------
@operator(name="linalg_svd", function=False)
def _svd(A: Any, full_matrices: bool) -> Any:
    """(U, S, V^H)."""
    own = host(A, "linalg.svd")
    U, S, Vh = _computed(lambda x: np.linalg.svd(x, full_matrices), own, "linalg.svd")
    return fresh(U, A), fresh(S, A, real_of(A)), fresh(Vh, A)


@_svd.joint_gradient("A")
def _(grads: Any, A_layout: Any, out0: Any, out1: Any, out2: Any) -> Any:
    k = out1._layout.shape[-1]
    m, n = A_layout.shape[-2:]
    U, S, Vh = out0[..., :k], out1, out2[..., :k, :]
    to_U = grads[0][..., :k] if grads[0] is not None else None
    to_Vh = grads[2][..., :k, :] if grads[2] is not None else None
    inner: Any = diagonal_matrix(grads[1]) if grads[1] is not None else 0
    gaps = _differences(S * S)
    phase: Any = 0
    if to_U is not None:
        turned = U.mH @ to_U
        inner = inner + (turned - turned.mH) * (1 - eye_like(S)) / gaps * S.unsqueeze(-2)
        phase = turned
    if to_Vh is not None:
        turned = Vh @ to_Vh.mH
        inner = inner + S.unsqueeze(-1) * ((turned - turned.mH) * (1 - eye_like(S)) / gaps)
        phase = turned if to_U is None else phase
    if A_layout.dtype.kind == "c" and to_U is not None:
        inner = inner + diagonal_matrix(phase.diagonal(0, -2, -1).imag / S) * 1j
    if inner._layout.dtype is not A_layout.dtype:
        inner = inner.to(A_layout.dtype)
    total = U @ inner @ Vh
    if to_U is not None and m > k:
        along = to_U / S.unsqueeze(-2)
        total = total + (along - U @ (U.mH @ along)) @ Vh
    if to_Vh is not None and n > k:
        along = to_Vh / S.unsqueeze(-1)
        total = total + U @ (along - (along @ Vh.mH) @ Vh)
    return (total,)


@composite(namespaces=LINALG, out=True)
def svd(A: Any, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """(U, S, Vh) with A = U diag(S) Vh: orthonormal columns of U and rows of Vh, S descending and not negative.

    With full_matrices=False, U and Vh have min(m, n) columns and rows. `driver` is for GPUs.
    """
    check_matrix(A, "linalg.svd", low_precision="linalg_svd_cpu")
    _no_driver(driver, "linalg.svd")
    return return_types.linalg_svd(*_svd(A, full_matrices))


def _no_driver(driver: str | None, what: str) -> None:
    if driver is not None:
        raise RuntimeError(
            f"{what}: keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER backend."
        )


@composite(namespaces=LINALG, out=True)
def svdvals(A: Any, *, driver: str | None = None) -> Any:
    """The singular values, descending."""
    check_matrix(A, "linalg.svdvals", low_precision="linalg_svd_cpu")
    _no_driver(driver, "linalg.svdvals")
    return _svd(A, False)[1]


@composite(name="svd", method=True, out=True)
def _svd_of_torch(input: Any, some: bool = True, compute_uv: bool = True) -> Any:
    """(U, S, V) with input = U diag(S) V^H; without compute_uv, U and V are zeros."""
    check_matrix(input, "linalg.svd", low_precision="linalg_svd_cpu")
    U, S, Vh = _svd(input, not some if compute_uv else False)
    if not compute_uv:
        *batch, m, n = input._layout.shape
        return return_types.svd(input.new_zeros((*batch, m, m)), S, input.new_zeros((*batch, n, n)))
    return return_types.svd(U, S, Vh.mH)


# -- pseudo-inverse, rank, condition ---------------------------------------------------------------------------------
def _tolerances(A: Any, largest: Any, atol: Any, rtol: Any) -> Any:
    """What counts as zero beside the largest singular value."""
    m, n = A._layout.shape[-2:]
    if rtol is None:
        given = atol is not None and (not isinstance(atol, (int, float)) or atol > 0)
        rtol = 0.0 if given else dt.finfo(real_of(A)).eps * max(m, n)
    bound = largest * (rtol.unsqueeze(-1) if isinstance(rtol, TensorBase) else rtol)
    if atol is None:
        return bound
    return METHODS["clamp"](bound, min=atol.unsqueeze(-1) if isinstance(atol, TensorBase) else atol)


def _spectrum(A: Any, hermitian: bool) -> Any:
    return METHODS["abs"](_eigh(A, "L")[0]) if hermitian else _svd(A, False)[1]


@operator(name="linalg_pinv", function=False)
def _pinv(A: Any, atol: Any, rtol: Any, hermitian: bool) -> Any:
    own = A._layout
    if own.numel == 0:
        return A.new_zeros((*own.shape[:-2], own.shape[-1], own.shape[-2]))
    if hermitian:
        L, V = _eigh(A, "L")
        size = L.abs()
        bound = _tolerances(A, size.amax(-1, True), atol, rtol)
        inverted = FUNCTIONS["torch"]["where"](size > bound, 1 / L, 0.0)
        return (V * inverted.unsqueeze(-2)) @ V.mH
    U, S, Vh = _svd(A, False)
    bound = _tolerances(A, S[..., :1], atol, rtol)
    inverted = FUNCTIONS["torch"]["where"](S > bound, 1 / S, 0.0)
    return (Vh.mH * inverted.unsqueeze(-2)) @ U.mH


@_pinv.joint_gradient("A")
def _(grad: Any, A: Any, out: Any) -> Any:
    """-P^H g P^H + (1 - A P) g^H P P^H + P^H P g^H (1 - P A)."""
    P, Ph, gh = out, out.mH, grad.mH
    total = -(Ph @ grad @ Ph)
    left = gh @ P @ Ph
    total = total + left - A @ (P @ left)
    right = Ph @ P @ gh
    return (total + right - (right @ P) @ A,)


@composite(namespaces=LINALG, out=True)
def pinv(A: Any, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Any:
    """The Moore-Penrose inverse, (*, m, n) to (*, n, m). Singular values up to max(atol, rtol * largest) count as zero.

    rtol is eps * max(m, n) by default, 0 where atol is given; `rcond` is its older name.
    """
    check_matrix(A, "linalg.pinv", square=hermitian, low_precision="linalg_svd_cpu")
    return _pinv(A, atol, rcond if rtol is None else rtol, hermitian)


@composite(method=True)
def pinverse(input: Any, rcond: float = 1e-15) -> Any:
    """The Moore-Penrose inverse; singular values up to rcond * largest count as zero."""
    return pinv(input, rtol=rcond)


@composite(namespaces=LINALG, out=True)
def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Any:
    """How many singular values exceed max(atol, rtol * largest), as int64. `tol` is the older name of atol."""
    own = check_matrix(A, "linalg.matrix_rank", square=hermitian, low_precision="linalg_svd_cpu", name="A")
    if own.numel == 0:
        return FUNCTIONS["torch"]["zeros"](own.shape[:-2], dtype=dt.int64, device=own.device)
    S = _spectrum(A.detach(), hermitian)
    bound = _tolerances(A, S.amax(-1, True), tol if tol is not None else atol, 0.0 if tol is not None else rtol)
    return (S > bound).sum(-1)


@composite(namespaces=LINALG, out=True)
def cond(A: Any, p: Any = None) -> Any:
    """The condition number by the norm of order p: by default the ratio of the extreme singular values."""
    own = check_matrix(A, "linalg.cond", low_precision="linalg_svd_cpu")
    if p is None or p in (2, -2):
        S = svdvals(A)
        if own.numel == 0:
            return FUNCTIONS["torch"]["zeros"](own.shape[:-2], dtype=real_of(A), device=own.device)
        ratio = S[..., 0] / S[..., -1] if p != -2 else S[..., -1] / S[..., 0]
        return ratio.masked_fill(ratio.isnan(), float("inf"))
    if isinstance(p, str) and p not in ("fro", "nuc"):
        raise RuntimeError(f"linalg.cond got an invalid norm type: {p}")
    check_matrix(A, "linalg.cond", square=True)
    norm = FUNCTIONS["torch.linalg"]["matrix_norm"]
    if own.numel == 0:
        return FUNCTIONS["torch"]["zeros"](own.shape[:-2], dtype=real_of(A), device=own.device)
    inverse, info = FUNCTIONS["torch.linalg"]["inv_ex"](A)
    result = norm(A, p) * norm(inverse, p)
    return result.masked_fill(info != 0, float("inf"))


# -- least squares ---------------------------------------------------------------------------------------------------
def _least_squares(a: Any, b: Any, rcond: float) -> tuple[Any, Any, Any]:
    """(solutions, ranks, singular values) of a batch of problems."""
    *batch, m, n = a.shape
    flat_a, flat_b = a.reshape(-1, m, n), b.reshape(-1, m, b.shape[-1])
    solutions = np.zeros((len(flat_a), n, b.shape[-1]), a.dtype)
    ranks, spectra = np.zeros(len(flat_a), np.int64), np.zeros((len(flat_a), min(m, n)), a.real.dtype)
    for i in range(len(flat_a)):
        solutions[i], _, ranks[i], spectra[i] = np.linalg.lstsq(flat_a[i], flat_b[i], rcond)
    return solutions.reshape(*batch, n, -1), ranks.reshape(batch), spectra.reshape(*batch, -1)


@operator(name="linalg_lstsq", function=False)
def _lstsq(A: Any, B: Any, rcond: Any) -> Any:
    """(solution, rank, singular values)."""
    m, n = A._layout.shape[-2:]
    if rcond is None:
        rcond = dt.finfo(real_of(A)).eps * max(m, n)
    solution, rank, spectrum = _least_squares(host(A, "linalg.lstsq"), host(B, "linalg.lstsq"), float(rcond))
    return fresh(solution, A), fresh(rank, A, dt.int64), fresh(spectrum, A, real_of(A))


_lstsq.operator.differentiable_outputs = (0,)


@_lstsq.joint_gradient("A", "B")
def _(grad: Any, A: Any, B: Any, needs: Any) -> Any:
    """Through X = pinv(A) B."""
    if grad is None:
        return None, None
    P = pinv(A)
    to_B = P.mH @ grad
    if not needs[0]:
        return None, to_B
    g = grad @ B.mH
    gh, Ph = g.mH, P.mH
    left, right = gh @ P @ Ph, Ph @ P @ gh
    return -(Ph @ g @ Ph) + left - A @ (P @ left) + right - (right @ P) @ A, to_B


@composite(namespaces=LINALG, out=True)
def lstsq(A: Any, B: Any, rcond: float | None = None, *, driver: str | None = None) -> Any:
    """(solution, residuals, rank, singular_values) of min |A X - B|, A (*, m, n), B (*, m, k) or vectors (*, m).

    residuals are the squared distances where m > n and A has full rank, else empty; rank and singular_values are
    given by the drivers that compute them ('gelsy', the default, 'gelsd', 'gelss').
    """
    a, b = check_matrix(A, "torch.linalg.lstsq"), layout_of(B, "linalg_lstsq", 2, "B")
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        raise RuntimeError("torch.linalg.lstsq: parameter `driver` should be one of (gels, gelsy, gelsd, gelss)")
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"torch.linalg.lstsq: Expected input and other to have the same dtype, but got input's dtype {a.dtype.scalar_name} "
            f"and other's dtype {b.dtype.scalar_name}"
        )
    if not 0 <= len(a.shape) - len(b.shape) <= 1:
        raise RuntimeError(
            "torch.linalg.lstsq: input.dim() must be greater or equal to other.dim() and (input.dim() - other.dim()) <= 1"
        )
    vector = len(a.shape) - 1 == len(b.shape)
    right = B.unsqueeze(-1) if vector else B
    if right._layout.shape[-2] != a.shape[-2]:
        raise RuntimeError(
            "torch.linalg.lstsq: input.size(-2) should match other.size(-2)" if not vector
            else "torch.linalg.lstsq: input.size(-2) should match other.size(-1)"
        )  # fmt: skip
    batch = broadcast_shapes(a.shape[:-2], right._layout.shape[:-2])
    wide = A.expand(*batch, *a.shape[-2:])
    right = right.expand(*batch, *right._layout.shape[-2:])
    solution, rank, spectrum = _lstsq(wide, right, rcond)
    m, n = a.shape[-2:]
    driver = driver or "gelsy"
    if driver != "gelsy" and m > n and (driver == "gels" or bool((rank == n).all())):
        residuals = METHODS["square"]((wide @ solution - right).abs()).sum(-2)
    else:
        residuals = A.new_empty((0,), dtype=real_of(A))
    if driver == "gels":
        rank = FUNCTIONS["torch"]["empty"]((0,), dtype=dt.int64)
    if driver not in ("gelsd", "gelss"):
        spectrum = FUNCTIONS["torch"]["empty"]((0,), dtype=real_of(A))
    return return_types.linalg_lstsq(solution.squeeze(-1) if vector else solution, residuals, rank, spectrum)
