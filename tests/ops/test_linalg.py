"""Linear algebra: values, errors and gradients are torch's, on single matrices and batches, real and complex."""

from __future__ import annotations

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


SQUARE = ("det", "slogdet", "inv", "inv_ex", "eigvalsh", "svdvals", "pinv", "matrix_exp", "matrix_rank", "cond", "lu", "lu_factor")


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
    right = matrix(*b, 1, dtype=dtype)[..., 0]
    check("linalg.solve", matrix(*a, dtype=dtype), right, left=left, ours=facula.linalg.solve, **tolerance(dtype))
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
    check("triangular_solve", b, a)
    check("linalg.tensorinv", matrix(6, 6).reshape(2, 3, 6), ours=facula.linalg.tensorinv)
    check("linalg.tensorsolve", matrix(6, 6).reshape(2, 3, 6), matrix(2, 3), ours=facula.linalg.tensorsolve)


@pytest.mark.parametrize("driver", [None, "gels", "gelsd", "gelss", "gelsy"])
@pytest.mark.parametrize("a, b", [((5, 3), (5, 2)), ((2, 5, 3), (2, 5)), ((3, 5), (3, 2)), ((3, 3), (2, 3, 2))])
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
    singular, batch = torch.ones(3, 3), torch.eye(3).repeat(2, 1, 1)
    batch[1, 2, 2] = 0
    for name, *args in [
        ("inv", torch.diag(torch.tensor([1.0, 0.0, 2.0]))), ("inv", batch), ("solve", batch, batch), ("cholesky", -torch.eye(2)), ("cholesky", batch),
        ("cholesky", torch.tensor([[1.0, 2.0], [2.0, 1.0]])), ("inv", torch.ones(2, 3)), ("det", torch.ones(3)),
        ("inv", torch.ones(2, 2, dtype=torch.int64)), ("svd", torch.ones(2)), ("qr", torch.eye(2), "other"), ("inv", singular),
        ("inv", torch.ones(2, 2, dtype=torch.float16)), ("solve", torch.eye(3), torch.ones(3).double()), ("matrix_norm", torch.eye(3), 5),
    ]:  # fmt: skip
        with pytest.raises(RuntimeError) as theirs:
            getattr(torch.linalg, name)(*args)
        with pytest.raises(RuntimeError) as ours:
            getattr(facula.linalg, name)(*[to_facula(a) for a in args])
        assert isinstance(theirs.value, torch.linalg.LinAlgError) == isinstance(ours.value, facula.linalg.LinAlgError)
        assert str(ours.value).splitlines()[0] == str(theirs.value).splitlines()[0]


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("name", ["det", "slogdet", "inv", "pinv", "matrix_exp", "cholesky", "lu", "lu_factor", "matrix_power", "eigvalsh"])
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


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4)])
def test_gradients_of_what_has_free_signs(shape: tuple[int, ...], dtype: str) -> None:
    """Eigenvectors and singular vectors, in combinations that don't depend on their signs."""
    a = to_facula(matrix(*shape, dtype=dtype)).requires_grad_()

    def through_svd(x: Any) -> Any:
        U, S, Vh = facula.linalg.svd(x, full_matrices=False)
        return (U * S.sin().unsqueeze(-2)) @ Vh, S

    def through_qr(x: Any) -> Any:
        Q, R = facula.linalg.qr(x)
        return Q.abs(), R.abs()

    def through_eigh(x: Any) -> Any:
        L, V = facula.linalg.eigh(x @ x.mH + facula.eye(shape[0], dtype=x.dtype) * facula.arange(shape[0]))
        return (V * L.sin().unsqueeze(-2)) @ V.mH, L

    def through_eig(x: Any) -> Any:
        L, V = facula.linalg.eig(x)
        return L, V.abs()

    assert gradcheck(through_svd, a)
    assert gradcheck(through_eigh, a)
    if dtype == "float64":
        assert gradcheck(through_qr, a)
        assert gradgradcheck(through_svd, a)
    if shape[0] == shape[1]:
        assert gradcheck(through_eig, a)


def test_gradients_of_solutions() -> None:
    a, b = to_facula(matrix(3, 3)).requires_grad_(), to_facula(matrix(3, 2)).requires_grad_()
    for upper in (False, True):
        for unit in (False, True):
            for left in (False, True):
                right = b if left else b.mT
                assert gradcheck(
                    lambda x, y: facula.linalg.solve_triangular(x, y, upper=upper, left=left, unitriangular=unit), (a, right)  # noqa: B023
                )
    tall = to_facula(matrix(4, 3)).requires_grad_()
    assert gradcheck(lambda x, y: facula.linalg.lstsq(x, y).solution, (tall, to_facula(matrix(4, 2)).requires_grad_()))
    assert gradcheck(lambda x: facula.linalg.cholesky(x @ x.mT), a)


def test_the_gradient_of_a_determinant_that_is_zero() -> None:
    a = torch.tensor([[1.0, 2.0], [2.0, 4.0]], dtype=torch.float64)
    check_gradients("linalg.det", a, ours=facula.linalg.det, second=False)


def test_a_compiled_step_refuses() -> None:
    @facula.compile
    def step(x: Any) -> Any:
        return facula.linalg.inv(x).sum()

    x = facula.eye(3)
    with np.testing.suppress_warnings() as quiet:
        quiet.filter(UserWarning)
        assert float(step(x)) == float(step(x)) == 3.0


def test_meta_tensors_have_shapes() -> None:
    a = facula.empty(2, 4, 3, device="meta")
    U, S, Vh = facula.linalg.svd(a)
    assert (U.shape, S.shape, Vh.shape) == ((2, 4, 4), (2, 3), (2, 3, 3))
    assert facula.linalg.inv(facula.empty(2, 2, device="meta")).device.type == "meta"
