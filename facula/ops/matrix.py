"""Functions of matrices that need no factorisation of their own: norms, powers, the exponential, cross products, distances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from facula.core import dtype as dt
from facula.core.lazy import numpy as np
from facula.core.shapes import broadcast_shapes, normalize_dim
from facula.ops.copy import convert
from facula.ops.define import FUNCTIONS, METHODS, composite, layout_of, operator, publish
from facula.ops.linalg import LINALG, check_matrix, eye_like, fresh, host, inv, real_of, solve
from facula.ops.spectral import svdvals
from facula.ops.vector_norm import vector_norm


# -- norms -----------------------------------------------------------------------------------------------------------
@composite(namespaces=LINALG, out=True)
def matrix_norm(A: Any, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The norm of matrices: 'fro', 'nuc', inf and -inf (sums of rows), 1 and -1 (of columns), 2 and -2 (singular values).

    >>> torch.linalg.matrix_norm(torch.tensor([[3., 0.], [0., 4.]]), "nuc")
    tensor(7.)
    """
    own = layout_of(A, "linalg_matrix_norm", argument="A")
    if own.dtype.kind not in "fc":
        raise RuntimeError(
            f"linalg.matrix_norm: Expected a floating point or complex tensor as input. Got {own.dtype.scalar_name}"
        )
    if len(own.shape) < 2:
        raise RuntimeError("linalg.matrix_norm: The input tensor A must have at least 2 dimensions.")
    dims = tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    if len(dims) != 2:
        raise RuntimeError("linalg.matrix_norm: dim must be a 2-tuple. Got " + ", ".join(map(str, dims)))
    rows, columns = (normalize_dim(d, len(own.shape)) for d in dims)
    if rows == columns:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got ({dims[0]}, {dims[1]})")
    if dtype is not None:
        A = convert(A, dtype)
    if isinstance(ord, str):
        if ord not in ("fro", "nuc"):
            raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
        if ord == "fro":
            return vector_norm(A, 2, (rows, columns), keepdim)
    elif abs(ord) not in (1, 2, math.inf):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    if ord == "nuc" or abs(ord) == 2:
        spectrum = svdvals(METHODS["movedim"](A, (rows, columns), (-2, -1)))
        found = spectrum.sum(-1) if ord == "nuc" else spectrum.amax(-1) if ord > 0 else spectrum.amin(-1)
        if keepdim:
            for d in sorted((rows, columns)):
                found = found.unsqueeze(d)
        return found
    summed, other = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = vector_norm(A, 1, summed, True)
    found = sums.amax(other, True) if ord > 0 else sums.amin(other, True)
    return found if keepdim else found.squeeze((rows, columns))


@composite(name="linalg_norm", function=False)
def norm(A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, out: Any = None, dtype: Any = None) -> Any:
    """A norm of vectors or matrices: `matrix_norm` where two dimensions are given (or A has two and an order is given),
    else `vector_norm`."""
    own = layout_of(A, "linalg_norm", argument="A")
    if ord is None:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype, out=out)
    if dim is None and len(own.shape) not in (1, 2):
        raise RuntimeError(
            "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got " + f"{len(own.shape)}D."
        )
    dims = None if dim is None else tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    if len(dims) == 2 if dims is not None else len(own.shape) == 2:
        return matrix_norm(A, ord, dims or (-2, -1), keepdim, dtype=dtype, out=out)
    if isinstance(ord, str):
        raise RuntimeError(
            f"linalg.norm: Order {ord} is for matrices, but {1 if dims is None else len(dims)} dimensions are given"
        )
    return vector_norm(A, ord, dims, keepdim, dtype=dtype, out=out)


FUNCTIONS["torch.linalg"]["norm"] = norm


@composite(out=True)
def frobenius_norm(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The square root of the sum of squares."""
    return vector_norm(input, 2, dim, keepdim)


@composite(out=True)
def nuclear_norm(input: Any, dim: Any = (-2, -1), keepdim: bool = False) -> Any:
    """The sum of the singular values."""
    return matrix_norm(input, "nuc", dim, keepdim)


# -- distances of rows -----------------------------------------------------------------------------------------------
@composite()
def pdist(input: Any, p: float = 2.0) -> Any:
    """The distances of order p between all pairs of rows of a matrix: (N * (N - 1) / 2)."""
    own = layout_of(input, "pdist")
    if len(own.shape) != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {len(own.shape)}D")
    rows, columns = FUNCTIONS["torch"]["triu_indices"](own.shape[0], own.shape[0], 1)
    return vector_norm(input[rows] - input[columns], p, -1)


# -- cross products --------------------------------------------------------------------------------------------------
def _cross(a: Any, b: Any, dim: int) -> Any:
    a0, a1, a2 = (a.select(dim, i) for i in range(3))
    b0, b1, b2 = (b.select(dim, i) for i in range(3))
    return FUNCTIONS["torch"]["stack"]((a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0), dim)


@composite(name="linalg_cross", function=False)
def _linalg_cross(input: Any, other: Any, *, dim: int = -1, out: Any = None) -> Any:
    """The cross products of vectors of 3 elements along `dim`; the other dimensions broadcast."""
    a, b = layout_of(input, "linalg_cross").shape, layout_of(other, "linalg_cross", 2, "other").shape
    if len(a) != len(b):
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    axis = normalize_dim(dim, len(a))
    if a[axis] != 3 or b[axis] != 3:
        raise RuntimeError(f"linalg.cross: inputs dimension {dim} must have length 3. Got {a[axis]} and {b[axis]}")
    shape = broadcast_shapes(a, b)
    found = _cross(input.expand(*shape), other.expand(*shape), axis)
    return found if out is None else FUNCTIONS["internal"]["copy_result"](out, found)


FUNCTIONS["torch.linalg"]["cross"] = _linalg_cross


# -- powers and the exponential --------------------------------------------------------------------------------------
@composite(namespaces=LINALG, out=True)
def matrix_power(A: Any, n: int) -> Any:
    """A multiplied by itself n times, of the inverse for negative n, by repeated squaring."""
    own = layout_of(A, "linalg_matrix_power", argument="A")
    if not isinstance(n, int) or isinstance(n, bool):
        raise TypeError(f"linalg_matrix_power(): argument 'n' (position 2) must be int, not {type(n).__name__}")
    if len(own.shape) < 2:
        raise RuntimeError("linalg.matrix_power: The input tensor A must have at least 2 dimensions.")
    if own.shape[-1] != own.shape[-2]:
        raise RuntimeError(
            f"linalg.matrix_power: A must be batches of square matrices, but they are {own.shape[-2]} by {own.shape[-1]} matrices"
        )
    if n == 0:
        return eye_like(A).expand(*own.shape).clone()
    base, left = (inv(A), -n) if n < 0 else (A, n)
    result = None
    while left:
        if left & 1:
            result = base if result is None else result @ base
        left >>= 1
        if left:
            base = base @ base
    return result.clone() if result is A else result


publish("matrix_power", matrix_power, method=True)

# Higham, The scaling and squaring method for the matrix exponential revisited (2005): the Pade approximant of order 13.
_PADE = (
    64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000, 10559470521600, 670442572800,
    33522128640, 1323241920, 40840800, 960960, 16380, 182, 1,
)  # fmt: skip
_RADIUS = 5.371920351148152


def _exponential(a: Any) -> Any:
    size = np.abs(a).sum(-2).max(initial=0.0)
    if not np.isfinite(size):
        return np.full_like(a, np.nan)
    squarings = max(0, math.ceil(math.log2(size / _RADIUS))) if size > 0 else 0
    a = a.astype(np.complex128 if a.dtype.kind == "c" else np.float64) / 2.0**squarings
    one, c = np.eye(a.shape[-1]), _PADE
    a2 = a @ a
    a4 = a2 @ a2
    a6 = a4 @ a2
    odd = a @ (a6 @ (c[13] * a6 + c[11] * a4 + c[9] * a2) + c[7] * a6 + c[5] * a4 + c[3] * a2 + c[1] * one)
    even = a6 @ (c[12] * a6 + c[10] * a4 + c[8] * a2) + c[6] * a6 + c[4] * a4 + c[2] * a2 + c[0] * one
    result = np.linalg.solve(even - odd, even + odd)
    for _ in range(squarings):
        result = result @ result
    return result


@operator(namespaces=("torch", "torch.linalg"), method=True)
def matrix_exp(A: Any) -> Any:
    """The exponential of square matrices, sum over k of A ** k / k!."""
    check_matrix(A, "linalg.matrix_exp", square=True)
    return fresh(_exponential(host(A, "linalg.matrix_exp")), A)


@matrix_exp.joint_gradient("A")
def _(grad: Any, A: Any) -> Any:
    """The upper right block of exp([[A^H, g], [0, A^H]]) (Mathias, A chain rule for matrix functions, 1996)."""
    cat = FUNCTIONS["torch"]["cat"]
    n, adjoint = A._layout.shape[-1], A.mH
    top = cat((adjoint, grad), -1)
    bottom = cat((adjoint * 0, adjoint), -1)
    return (matrix_exp(cat((top, bottom), -2))[..., :n, n:],)


# -- tensors as matrices ---------------------------------------------------------------------------------------------
@composite(namespaces=LINALG, out=True)
def tensorinv(A: Any, ind: int = 2) -> Any:
    """The inverse of A as a linear map between its first `ind` dimensions and the others."""
    shape = layout_of(A, "linalg_tensorinv", argument="A").shape
    if ind <= 0:
        raise RuntimeError("Expected a strictly positive integer for 'ind'")
    rows, columns = math.prod(shape[:ind]), math.prod(shape[ind:])
    if rows != columns:
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got "
            f"{columns} != {rows}"
        )
    return inv(A.reshape(rows, columns)).reshape(*shape[ind:], *shape[:ind])


@composite(namespaces=LINALG, out=True)
def tensorsolve(A: Any, B: Any, dims: Sequence[int] | None = None) -> Any:
    """X with tensordot(A, X, X.ndim) = B; `dims` of A are moved to its end first."""
    if dims is not None:
        A = METHODS["movedim"](A, tuple(dims), tuple(range(-len(dims), 0)))
    shape, rows = (
        layout_of(A, "linalg_tensorsolve", argument="A").shape,
        layout_of(B, "linalg_tensorsolve", 2, "B").numel,
    )
    rest = shape[len(B._layout.shape) :]
    if math.prod(rest) != rows:
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim]), but got "
            f"{math.prod(rest)} != {rows}"
        )
    return solve(A.reshape(rows, rows), B.reshape(rows)).reshape(*rest)


@composite(namespaces=LINALG)
def diagonal(A: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """A view of the diagonals of matrices."""
    return METHODS["diagonal"](A, offset, dim1, dim2)


@composite(namespaces=LINALG)
def vander(x: Any, N: int | None = None) -> Any:
    """The Vandermonde matrices: the powers 0, 1, ..., N - 1 of the elements, (*, n) to (*, n, N)."""
    own = layout_of(x, "linalg_vander", argument="x")
    if not own.shape:
        x = x.unsqueeze(0)
        own = x._layout
    count = own.shape[-1] if N is None else N
    if count < 1:
        raise RuntimeError(f"N must be greater than 1, got {count}")
    if own.dtype.kind in "b" or own.dtype.kind in "iu":
        x = convert(x, dt.int64)
    powers = FUNCTIONS["torch"]["ones"]((*own.shape, 1), dtype=x._layout.dtype, device=own.device)
    if count == 1:
        return powers
    rest = x.unsqueeze(-1).expand(*own.shape, count - 1).cumprod(-1)
    return FUNCTIONS["torch"]["cat"]((powers, rest), -1)


@composite(namespaces=LINALG, out=True)
def householder_product(A: Any, tau: Any) -> Any:
    """The first columns of the product of the reflections 1 - tau v v^H, v below the diagonal of the columns of A."""
    own, t = (
        check_matrix(A, "torch.linalg.householder_product", name="input"),
        layout_of(tau, "householder_product", 2, "tau"),
    )
    m, n = own.shape[-2:]
    if m < n:
        raise RuntimeError(
            "torch.linalg.householder_product: input.shape[-2] must be greater than or equal to input.shape[-1]"
        )
    if n < t.shape[-1]:
        raise RuntimeError(
            "torch.linalg.householder_product: input.shape[-1] must be greater than or equal to tau.shape[-1]"
        )
    torch = FUNCTIONS["torch"]
    one = torch["eye"](m, n, dtype=own.dtype, device=own.device)
    vectors = A * torch["ones"]((m, n), dtype=real_of(A), device=own.device).tril(-1) + one
    result = one.expand(*own.shape[:-2], m, n)
    for i in range(t.shape[-1] - 1, -1, -1):
        v = vectors[..., i : i + 1]
        result = result - tau[..., i : i + 1].unsqueeze(-1) * (v @ (v.mH @ result))
    return result


publish("orgqr", householder_product, method=True)
