"""Linear algebra: values, errors and gradients are torch's, on single matrices and batches, real and complex."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import pytest

import facula
from facula.autograd import gradcheck, gradgradcheck
from tests.ops.oracle import assert_same, check, check_gradients, parts, to_facula, torch

DTYPES = ("float32", "float64", "complex128")


def matrix(*shape: int, dtype: str = "float64", seed: int = 0) -> Any:
    """A torch tensor of random numbers, far from singular where it is square."""
    generator = np.random.default_rng(seed + sum(shape))
    values = generator.standard_normal(shape)
    if dtype.startswith("complex"):
        values = values + 1j * generator.standard_normal(shape)
    if shape[-1] == shape[-2]:
        values = values + 2.0 * np.eye(shape[-1])
    return torch.from_numpy(values).to(getattr(torch, dtype))


def definite(*shape: int, dtype: str = "float64") -> Any:
    a = matrix(*shape, dtype=dtype)
    return a @ a.mH + torch.eye(shape[-1], dtype=a.dtype)


def tolerance(dtype: str) -> dict[str, float]:
    return {"rtol": 1e-4, "atol": 1e-4} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-9}


SQUARE = (
    "det",
    "slogdet",
    "inv",
    "inv_ex",
    "eigvalsh",
    "svdvals",
    "pinv",
    "matrix_exp",
    "matrix_rank",
    "cond",
    "lu",
    "lu_factor",
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 3), (1, 1), (2, 4, 4), (2, 0, 3, 3)])
@pytest.mark.parametrize("name", SQUARE)
def test_square_matrices(name: str, shape: tuple[int, ...], dtype: str) -> None:
    a = matrix(*shape, dtype=dtype)
    check(f"linalg.{name}", a, ours=getattr(facula.linalg, name), **tolerance(dtype))
    check(f"linalg.{name}", a.mT, ours=getattr(facula.linalg, name), **tolerance(dtype))


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (2, 4, 2)])
@pytest.mark.parametrize("name", ["svdvals", "pinv", "matrix_rank", "cond", "lu", "lu_factor"])
def test_other_matrices(name: str, shape: tuple[int, ...]) -> None:
    check(f"linalg.{name}", matrix(*shape), ours=getattr(facula.linalg, name), **tolerance("float64"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 4), (0, 3, 3)])
def test_cholesky(shape: tuple[int, ...], dtype: str) -> None:
    a = definite(*shape, dtype=dtype)
    for name in ("cholesky", "cholesky_ex"):
        for upper in (False, True):
            check(f"linalg.{name}", a, upper=upper, ours=getattr(facula.linalg, name), **tolerance(dtype))
    L = torch.linalg.cholesky(a)
    check("cholesky_solve", a, L, **tolerance(dtype))
    check("cholesky_inverse", L, **tolerance(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 3), (3, 5), (5, 3), (2, 4, 3), (0, 3, 2)])
def test_products_of_factors_give_the_matrix_back(shape: tuple[int, ...], dtype: str) -> None:
    a = to_facula(matrix(*shape, dtype=dtype))
    near: dict[str, Any] = tolerance(dtype)

    def same(made: Any) -> None:
        np.testing.assert_allclose(made.numpy(), a.numpy(), **near)

    for full in (False, True):
        U, S, Vh = facula.linalg.svd(a, full_matrices=full)
        k = S.shape[-1]
        same(U[..., :k] * S.unsqueeze(-2) @ Vh[..., :k, :])
        assert U.shape[-1] == (shape[-2] if full else k)
    U, S, V = facula.svd(a)
    same(U * S.unsqueeze(-2) @ V.mH)
    for mode in ("reduced", "complete"):
        Q, R = facula.linalg.qr(a, mode)
        same(Q @ R)
        expected = torch.linalg.qr(matrix(*shape, dtype=dtype), mode)
        assert_same([Q.abs(), R.abs()], [expected[0].abs(), expected[1].abs()], **near)
    P, L, U = facula.linalg.lu(a)
    same(P @ L @ U)
    same(facula.lu_unpack(*facula.linalg.lu_factor(a))[0] @ L @ U)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 4), (0, 2, 2)])
def test_eigenvectors(shape: tuple[int, ...], dtype: str) -> None:
    near: dict[str, Any] = tolerance(dtype)
    a = to_facula(definite(*shape, dtype=dtype))
    for half in ("L", "U"):
        L, V = facula.linalg.eigh(a, half)
        np.testing.assert_allclose((V * L.unsqueeze(-2) @ V.mH).numpy(), a.numpy(), **near)
    check("linalg.eigvalsh", definite(*shape, dtype=dtype), ours=facula.linalg.eigvalsh, **near)
    b = to_facula(matrix(*shape, dtype=dtype))
    L, V = facula.linalg.eig(b)
    assert L.dtype is facula.complex64 or L.dtype is facula.complex128
    np.testing.assert_allclose((V * L.unsqueeze(-2)).numpy(), (b.to(V.dtype) @ V).numpy(), **near)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("a, b, left", [
    ((3, 3), (3,), True), ((3, 3), (3, 2), True), ((2, 3, 3), (2, 3), True), ((2, 3, 3), (3, 2), True), ((3, 3), (4, 3, 2), True),
    ((3, 3), (2, 3), False), ((3, 3), (2,), True), ((3, 3), (4, 2), True), ((3, 2), (3,), True), ((2, 3, 3), (2, 4, 3), False),
])  # fmt: skip
def test_solve(a: tuple[int, ...], b: tuple[int, ...], left: bool, dtype: str) -> None:
    right = matrix(*b, 1, dtype=dtype)[..., 0].resolve_conj()
    if left or not dtype.startswith("complex"):
        check("linalg.solve", matrix(*a, dtype=dtype), right, left=left, ours=facula.linalg.solve, **tolerance(dtype))
    else:  # torch's result is a lazy conjugate, which NumPy does not take
        expected = torch.linalg.solve(matrix(*a, dtype=dtype), right, left=False).resolve_conj()
        found = facula.linalg.solve(to_facula(matrix(*a, dtype=dtype)), to_facula(right), left=False)
        assert_same(found, expected, **tolerance(dtype))
    for upper in (False, True):
        for unit in (False, True):
            check(
                "linalg.solve_triangular", matrix(*a, dtype=dtype), right, upper=upper, left=left, unitriangular=unit,
                ours=facula.linalg.solve_triangular, **tolerance(dtype),
            )  # fmt: skip


def test_solutions_from_factors() -> None:
    a, b = matrix(2, 3, 3), matrix(2, 3, 2)
    LU, pivots = torch.linalg.lu_factor(a)
    for adjoint in (False, True):
        check("linalg.lu_solve", LU, pivots, b, adjoint=adjoint, ours=facula.linalg.lu_solve)
        check("linalg.lu_solve", LU, pivots, b.mT, left=False, adjoint=adjoint, ours=facula.linalg.lu_solve)
    solution = facula.triangular_solve(to_facula(b), to_facula(a)).solution
    assert_same(solution, torch.linalg.solve_triangular(a, b, upper=True))
    check("linalg.tensorinv", matrix(6, 6).reshape(2, 3, 6), ours=facula.linalg.tensorinv)
    check("linalg.tensorsolve", matrix(6, 6).reshape(2, 3, 6), matrix(2, 3), ours=facula.linalg.tensorsolve)


@pytest.mark.parametrize("driver", [None, "gels", "gelsd", "gelss", "gelsy"])
@pytest.mark.parametrize("a, b", [((5, 3), (5, 2)), ((2, 5, 3), (2, 5)), ((3, 5), (3, 2)), ((3, 3), (3,))])
def test_least_squares(a: tuple[int, ...], b: tuple[int, ...], driver: str | None) -> None:
    ours = facula.linalg.lstsq(to_facula(matrix(*a)), to_facula(matrix(*b, 1)[..., 0]), driver=driver)
    theirs = torch.linalg.lstsq(matrix(*a), matrix(*b, 1)[..., 0], driver=driver)
    assert_same(ours.solution, theirs.solution)
    assert_same(ours.residuals, theirs.residuals)
    assert_same(ours.singular_values, theirs.singular_values)
    assert_same(ours.rank, theirs.rank)


@pytest.mark.parametrize("order", ["fro", "nuc", 1, -1, 2, -2, float("inf"), -float("inf"), 3, "other"])
def test_norms_of_matrices(order: Any) -> None:
    a = matrix(2, 3, 4)
    check("linalg.matrix_norm", a, order, ours=facula.linalg.matrix_norm)
    check("linalg.matrix_norm", a, order, dim=(2, 0), keepdim=True, ours=facula.linalg.matrix_norm)
    check("linalg.norm", a, order, ours=facula.linalg.norm)
    check("linalg.norm", a[0], order, ours=facula.linalg.norm)
    check("linalg.norm", a, order, dim=1, ours=facula.linalg.norm)
    check("linalg.norm", a[0, 0], order, ours=facula.linalg.norm)
    check("linalg.cond", matrix(3, 3), order, ours=facula.linalg.cond)


def test_products() -> None:
    a, b = matrix(2, 3, 5), matrix(1, 3, 5)
    check("linalg.cross", a, b, dim=1, ours=facula.linalg.cross)
    check("linalg.cross", a, b, ours=facula.linalg.cross)
    check("linalg.cross", a[0], b, ours=facula.linalg.cross)
    for n in (-3, 0, 1, 2, 5):
        check("linalg.matrix_power", matrix(2, 3, 3), n, ours=facula.linalg.matrix_power)
    check("linalg.vander", matrix(2, 3), ours=facula.linalg.vander)
    check("linalg.vander", torch.tensor([1, 2, 3]), N=4, ours=facula.linalg.vander)
    check("linalg.diagonal", a, offset=1, ours=facula.linalg.diagonal)
    check("linalg.householder_product", matrix(5, 3), matrix(3, 1)[:, 0], ours=facula.linalg.householder_product)
    check("pdist", matrix(5, 3))
    check("pinverse", a)
    for name in ("det", "inverse", "logdet", "slogdet"):
        check(name, definite(3, 3))


def test_errors_are_torchs() -> None:
    """Types and first lines of the messages."""
    batch = torch.eye(3).repeat(2, 1, 1)
    batch[1, 2, 2] = 0
    for name, *args in [
        ("inv", torch.diag(torch.tensor([1.0, 0.0, 2.0]))), ("inv", batch), ("solve", batch, batch), ("cholesky", -torch.eye(2)), ("cholesky", batch),
        ("cholesky", torch.tensor([[1.0, 2.0], [2.0, 1.0]])), ("inv", torch.ones(2, 3)), ("det", torch.ones(3)),
        ("inv", torch.ones(2, 2, dtype=torch.int64)), ("svd", torch.ones(2)), ("qr", torch.eye(2), "other"), ("solve", torch.zeros(2, 2), torch.ones(2)),
        ("inv", torch.ones(2, 2, dtype=torch.float16)), ("solve", torch.eye(3), torch.ones(3).double()), ("matrix_norm", torch.eye(3), 5),
    ]:  # fmt: skip
        with pytest.raises(RuntimeError) as theirs:
            getattr(torch.linalg, name)(*args)
        with pytest.raises(RuntimeError) as ours:
            getattr(facula.linalg, name)(*[to_facula(a) for a in args])
        assert isinstance(theirs.value, torch.linalg.LinAlgError) == isinstance(ours.value, facula.linalg.LinAlgError)
        assert str(ours.value).splitlines()[0] == str(theirs.value).splitlines()[0]


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize(
    "name", ["det", "slogdet", "inv", "pinv", "matrix_exp", "cholesky", "lu", "lu_factor", "matrix_power", "eigvalsh"]
)
def test_gradients_are_torchs(name: str, dtype: str) -> None:
    a = matrix(2, 3, 3, dtype=dtype).requires_grad_()
    extra: tuple[Any, ...] = (3,) if name == "matrix_power" else ()

    def run(where: Any, x: Any) -> Any:
        x = x @ x.mH + 2 * where.eye(3, dtype=x.dtype) if name in ("cholesky", "eigvalsh") else x
        outputs = getattr(where.linalg, name)(x, *extra)
        return [o for o in parts(outputs) if o.requires_grad]

    mine = facula.from_numpy(a.detach().numpy()).requires_grad_()
    weights = [torch.randn_like(o) for o in run(torch, a)]
    theirs = torch.autograd.grad(run(torch, a), a, weights)
    ours = facula.autograd.grad(run(facula, mine), mine, [to_facula(w) for w in weights])
    assert_same(ours, theirs, 1e-7, 1e-9)


@pytest.mark.parametrize("name, shape", [
    ("det", (3, 3)), ("inv", (3, 3)), ("solve", (3, 3)), ("pinv", (4, 2)), ("pinv", (2, 4)), ("slogdet", (2, 2)),
    ("svdvals", (3, 2)), ("matrix_exp", (2, 2)), ("lu_factor", (2, 2)),
])  # fmt: skip
def test_second_derivatives(name: str, shape: tuple[int, ...]) -> None:
    function = getattr(torch.linalg, name)
    args = [matrix(*shape)] + ([matrix(3, 2)] if name == "solve" else [])
    assert function is not None
    check_gradients(f"linalg.{name}", *args, ours=getattr(facula.linalg, name))


def _reconstructed(where: Any, x: Any, how: str) -> Any:
    """What doesn't depend on the free signs and angles of eigenvectors and singular vectors."""
    if how == "svd":
        U, S, Vh = where.linalg.svd(x, full_matrices=False)
        return (U * S.sin().unsqueeze(-2)) @ Vh
    if how == "eigh":
        L, V = where.linalg.eigh(x @ x.mH + where.eye(x.shape[-2], dtype=x.dtype) * where.arange(x.shape[-2]))
        return (V * L.sin().unsqueeze(-2)) @ V.mH
    factors = getattr(where.linalg, how)(x)[-2:]
    return sum(f.abs().sin().sum() for f in factors)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4)])
@pytest.mark.parametrize("how", ["svd", "eigh", "eig", "qr", "lu"])
def test_gradients_of_what_has_free_signs(how: str, shape: tuple[int, ...], dtype: str) -> None:
    if how == "eig" and shape[0] != shape[1]:
        return
    a = matrix(*shape, dtype=dtype).requires_grad_()
    mine = facula.from_numpy(a.detach().numpy()).requires_grad_()
    expected = _reconstructed(torch, a, how)
    weight = torch.randn_like(expected)
    theirs = torch.autograd.grad(expected, a, weight)
    ours = facula.autograd.grad(_reconstructed(facula, mine, how), mine, to_facula(weight))
    assert_same(ours, theirs, 1e-8, 1e-9)
    if dtype == "float64" and how != "eig":
        assert gradcheck(lambda x: _reconstructed(facula, x, how), mine)
        if shape == (3, 3):
            assert gradgradcheck(lambda x: _reconstructed(facula, x, how), mine)


def test_gradients_of_solutions() -> None:
    a, b = to_facula(matrix(3, 3)).requires_grad_(), to_facula(matrix(3, 2)).requires_grad_()
    for upper in (False, True):
        for unit in (False, True):
            for left in (False, True):
                right = b if left else b.detach().mT.contiguous().requires_grad_()
                solve = functools.partial(facula.linalg.solve_triangular, upper=upper, left=left, unitriangular=unit)
                assert gradcheck(solve, (a, right))
    tall = to_facula(matrix(4, 3)).requires_grad_()
    assert gradcheck(lambda x, y: facula.linalg.lstsq(x, y).solution, (tall, to_facula(matrix(4, 2)).requires_grad_()))
    assert gradcheck(lambda x: facula.linalg.cholesky(x @ x.mT), a)


def test_the_gradient_of_a_determinant_that_is_zero() -> None:
    """The matrix of cofactors."""
    a = facula.tensor([[1.0, 2.0], [2.0, 4.0]], dtype=facula.float64, requires_grad=True)
    facula.linalg.det(a).backward()
    np.testing.assert_allclose(a.grad.numpy(), [[4, -2], [-2, 1]])


def test_a_compiled_step_computes_anew() -> None:
    """The values are read on the host, so no recording may stand for them."""

    @facula.compile
    def step(x: Any) -> Any:
        return facula.linalg.inv(x).sum()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for scale in (1.0, 2.0, 4.0):
            assert float(step(facula.eye(3) * scale)) == 3.0 / scale


def test_meta_tensors_have_shapes() -> None:
    a = facula.empty(2, 4, 3, device="meta")
    U, S, Vh = facula.linalg.svd(a)
    assert (U.shape, S.shape, Vh.shape) == ((2, 4, 4), (2, 3), (2, 3, 3))
    assert facula.linalg.inv(facula.empty(2, 2, device="meta")).device.type == "meta"
