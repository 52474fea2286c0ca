"""Matrix products and contractions: values and gradients against torch (NumPy without it), and torch's errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import facula

MATMUL_SHAPES = [
    ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((5, 2, 3), (3,)),
    ((3,), (5, 3, 4)), ((5, 2, 3), (5, 3, 4)), ((1, 2, 3), (5, 3, 4)), ((5, 2, 3), (1, 3, 4)), ((2, 3), (5, 3, 4)),
    ((2, 1, 4, 3), (7, 3, 4)), ((2, 6, 4, 3), (2, 6, 3, 4)), ((0, 3), (3, 4)), ((2, 0), (0, 4)),
    ((3, 0, 2), (3, 2, 4)), ((70, 65), (65, 33)), ((2, 40, 65), (65, 33)),
]  # fmt: skip


def values(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    if dtype[0] in "iu":
        return np.asarray(rng.integers(0, 9, shape), dtype)
    return np.asarray(rng.standard_normal(shape), dtype)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "i4", "u1"])
@pytest.mark.parametrize("a,b", MATMUL_SHAPES)
def test_matmul_equals_numpy(a: tuple[int, ...], b: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, y = values(rng, a, dtype), values(rng, b, dtype)
    result = facula.matmul(facula.from_numpy(x), facula.from_numpy(y)).numpy()
    expected = np.matmul(x, y)
    assert result.shape == expected.shape and result.dtype == x.dtype
    np.testing.assert_allclose(result, expected, atol=1e-4 if dtype == "f4" else 1e-12)


@pytest.mark.parametrize("dtype", ["c8", "c16"])
@pytest.mark.parametrize("a,b", MATMUL_SHAPES[:10])
def test_complex_matmul_equals_numpy(a: tuple[int, ...], b: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(6)
    x, y = (np.asarray(rng.standard_normal(shape) + 1j * rng.standard_normal(shape), dtype) for shape in (a, b))
    result = facula.matmul(facula.from_numpy(x), facula.from_numpy(y)).numpy()
    np.testing.assert_allclose(result, np.matmul(x, y), atol=1e-4 if dtype == "c8" else 1e-12)


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_half_precision_rounds_once(half: str) -> None:
    rng = np.random.default_rng(1)
    x, y = (facula.from_numpy(values(rng, shape, "f4")).to(getattr(facula, half)) for shape in ((20, 300), (300, 7)))
    exact = x.to(facula.float64) @ y.to(facula.float64)
    result = x @ y
    assert result.dtype is getattr(facula, half)
    error = (result.to(facula.float64) - exact).numpy()
    assert abs(error).max() <= (2**-8 if half == "bfloat16" else 2**-11) * abs(exact.numpy()).max() + 1e-4


@pytest.mark.parametrize(
    "slices", [(slice(None, None, 2), slice(None)), (slice(None), slice(None, None, 3)), (slice(1, 9), slice(2, 11))]
)
def test_strided_operands(slices: tuple[slice, slice]) -> None:
    rng = np.random.default_rng(2)
    memory = values(rng, (40, 30), "f4")
    whole = facula.from_numpy(memory)
    view, expected = whole[slices], memory[slices]
    np.testing.assert_allclose((view.t() @ view).numpy(), expected.T @ expected, atol=1e-4)
    np.testing.assert_allclose((view @ view.t()).numpy(), expected @ expected.T, atol=1e-4)
    column = whole[:, 0][: expected.shape[1]]
    np.testing.assert_allclose((view @ column).numpy(), expected @ memory[:, 0][: expected.shape[1]], atol=1e-4)


def test_expanded_operands() -> None:
    one = facula.ones(1, 1)
    assert (one.expand(3, 4) @ one.expand(4, 5)).numpy().tolist() == [[4.0] * 5] * 3
    rows = facula.from_numpy(np.arange(4, dtype="f4")).expand(3, 4)
    assert (rows @ one.expand(4, 2)).numpy().tolist() == [[6.0, 6.0]] * 3
    assert (one.expand(2, 3) @ rows).numpy().tolist() == [[0.0, 3.0, 6.0, 9.0]] * 2


GRADIENTS: list[tuple[str, Callable[..., Any], list[tuple[int, ...]]]] = [
    ("mm", lambda M, a, b: M.mm(a, b), [(3, 4), (4, 5)]),
    ("mm of transposes", lambda M, a, b: M.mm(a.t(), b.t()), [(4, 3), (5, 4)]),
    ("bmm", lambda M, a, b: M.bmm(a, b), [(2, 3, 4), (2, 4, 5)]),
    ("mv", lambda M, a, b: M.mv(a, b), [(3, 4), (4,)]),
    ("dot", lambda M, a, b: M.dot(a, b), [(5,), (5,)]),
    ("vdot", lambda M, a, b: M.vdot(a, b), [(5,), (5,)]),
    ("matmul 1 2", lambda M, a, b: a @ b, [(3,), (3, 4)]),
    ("matmul 3 2", lambda M, a, b: a @ b, [(2, 3, 4), (4, 5)]),
    ("matmul 3 1", lambda M, a, b: a @ b, [(2, 3, 4), (4,)]),
    ("matmul 1 3", lambda M, a, b: a @ b, [(4,), (2, 4, 3)]),
    ("matmul 3 3", lambda M, a, b: a @ b, [(1, 3, 4), (5, 4, 2)]),
    ("matmul 4 3", lambda M, a, b: a @ b, [(2, 1, 3, 4), (3, 4, 2)]),
    ("heads", lambda M, a, b: a.transpose(1, 2) @ b.transpose(1, 2).transpose(-1, -2), [(2, 5, 3, 4), (2, 6, 3, 4)]),
    ("addmm", lambda M, a, b, c: M.addmm(c, a, b, beta=0.5, alpha=2.0), [(3, 4), (4, 5), (5,)]),
    ("baddbmm", lambda M, a, b, c: M.baddbmm(c, a, b, beta=0.5, alpha=2.0), [(2, 3, 4), (2, 4, 5), (3, 1)]),
    ("addbmm", lambda M, a, b, c: M.addbmm(c, a, b, beta=0.5, alpha=2.0), [(2, 3, 4), (2, 4, 5), (3, 1)]),
    ("addmv", lambda M, a, b, c: M.addmv(c, a, b, beta=0.5, alpha=2.0), [(3, 4), (4,), (3,)]),
    ("addr", lambda M, a, b, c: M.addr(c, a, b, beta=0.5, alpha=2.0), [(3,), (4,), (3, 4)]),
    ("outer", lambda M, a, b: M.outer(a, b), [(3,), (4,)]),
    ("linear", lambda M, a, b, c: M.nn.functional.linear(a, b, c), [(3, 4), (5, 4), (5,)]),
    ("linear without bias", lambda M, a, b: M.nn.functional.linear(a, b), [(3, 4), (5, 4)]),
    ("linear of 3-d", lambda M, a, b, c: M.nn.functional.linear(a, b, c), [(2, 3, 4), (5, 4), (5,)]),
    ("linear of 1-d", lambda M, a, b, c: M.nn.functional.linear(a, b, c), [(4,), (5, 4), (5,)]),
    ("linear to one", lambda M, a, b, c: M.nn.functional.linear(a, b, c), [(7, 4), (1, 4), (1,)]),
    ("linear, one bias", lambda M, a, b, c: M.nn.functional.linear(a, b, c), [(7, 4), (3, 4), (1,)]),
    ("linear of a batch", lambda M, a, b, c: M.nn.functional.linear(a, b, c), [(128, 84), (10, 84), (10,)]),
    ("linear of a view", lambda M, a, b, c: M.nn.functional.linear(a.transpose(0, 1), b, c), [(3, 2, 4), (5, 4), (5,)]),
    ("einsum product", lambda M, a, b: M.einsum("ij,jk->ik", a, b), [(3, 4), (4, 5)]),
    ("einsum batch", lambda M, a, b: M.einsum("bij,bkj->bik", a, b), [(2, 3, 4), (2, 5, 4)]),
    ("einsum ellipsis", lambda M, a, b: M.einsum("...ij,...jk", a, b), [(2, 3, 4), (4, 5)]),
    ("einsum of three", lambda M, a, b, c: M.einsum("i,ij,j->", a, b, c), [(3,), (3, 4), (4,)]),
    ("einsum heads", lambda M, a, b: M.einsum("bqhd,bkhd->bhqk", a, b), [(2, 3, 4, 5), (2, 6, 4, 5)]),
    ("einsum outer", lambda M, a, b: M.einsum("ij,kl->ijkl", a, b), [(2, 3), (2, 2)]),
    ("einsum broadcast", lambda M, a, b: M.einsum("ij,ij->i", a, b), [(2, 3), (1, 3)]),
    ("einsum sublists", lambda M, a, b: M.einsum(a, [0, 1], b, [1, 2], [2, 0]), [(2, 3), (3, 4)]),
    ("einsum diagonal", lambda M, a, b: M.einsum("iij,j->i", a, b), [(3, 3, 4), (4,)]),
    ("einsum middle", lambda M, a, b: M.einsum("b...c,c...->...b", a, b), [(2, 3, 4, 5), (5, 3, 4)]),
    ("tensordot", lambda M, a, b: M.tensordot(a, b, dims=([1, 2], [2, 0])), [(2, 3, 4), (4, 5, 3)]),
    ("tensordot of 2", lambda M, a, b: M.tensordot(a, b, 2), [(2, 3, 4), (3, 4, 5)]),
    ("inner", lambda M, a, b: M.inner(a, b), [(2, 3), (4, 3)]),
    ("kron", lambda M, a, b: M.kron(a, b), [(2, 3), (4,)]),
    ("chain_matmul", lambda M, a, b, c: M.chain_matmul(a, b, c), [(2, 30), (30, 4), (4, 9)]),
]


def derivatives(M: Any, function: Callable[..., Any], shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    """The value, the gradients of a weighted sum, and the gradients of a weighted sum of those."""
    rng = np.random.default_rng(3)
    inputs = [M.from_numpy(values(rng, shape, "f8")).requires_grad_(True) for shape in shapes]
    out = function(M, *inputs)
    weights = M.from_numpy(values(rng, tuple(out.shape), "f8"))
    first = M.autograd.grad((out * weights).sum(), inputs, create_graph=True)
    total = sum((x * M.from_numpy(values(rng, tuple(x.shape), "f8"))).sum() for x in first)
    second = M.autograd.grad(total, inputs, allow_unused=True)
    return [np.zeros(()) if x is None else x.detach().numpy() for x in (out, *first, *second)]


@pytest.mark.filterwarnings("ignore:torch.chain_matmul")
@pytest.mark.parametrize("name,function,shapes", GRADIENTS, ids=[g[0] for g in GRADIENTS])
def test_gradients_equal_torch(name: str, function: Callable[..., Any], shapes: list[tuple[int, ...]]) -> None:
    torch = pytest.importorskip("torch")
    for ours, theirs in zip(derivatives(facula, function, shapes), derivatives(torch, function, shapes), strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, atol=1e-10)


@pytest.mark.parametrize("name,function,shapes", [g for g in GRADIENTS if len(g[2]) == 2][:10])
def test_gradients_equal_differences(name: str, function: Callable[..., Any], shapes: list[tuple[int, ...]]) -> None:
    rng = np.random.default_rng(4)
    arrays = [values(rng, shape, "f8") for shape in shapes]
    inputs = [facula.from_numpy(x.copy()).requires_grad_(True) for x in arrays]
    gradients = facula.autograd.grad(function(facula, *inputs).sum(), inputs)
    for i, gradient in enumerate(gradients):
        direction = values(rng, shapes[i], "f8")
        shifted = [[x + sign * 1e-6 * direction if j == i else x for j, x in enumerate(arrays)] for sign in (1, -1)]
        up, down = (float(function(facula, *map(facula.from_numpy, x)).sum()) for x in shifted)
        np.testing.assert_allclose((gradient.numpy() * direction).sum(), (up - down) / 2e-6, rtol=1e-5, atol=1e-6)


def ones(*shape: int, dtype: str = "f4") -> Any:
    return facula.from_numpy(np.ones(shape, dtype))


ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        lambda: facula.mm(ones(2, 3), ones(2, 3)), RuntimeError,
        "mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)",
    ),
    (lambda: facula.mm(ones(2), ones(2, 3)), RuntimeError, "self must be a matrix"),
    (lambda: facula.mm(ones(2, 3), ones(3)), RuntimeError, "mat2 must be a matrix"),
    (lambda: facula.mm(ones(2, 2), 5), TypeError, "mm(): argument 'mat2' (position 2) must be Tensor, not int"),
    (
        lambda: facula.mm(ones(2, 2), ones(2, 2, dtype="f8")), RuntimeError,
        "expected m1 and m2 to have the same dtype, but got: float != double",
    ),
    (
        lambda: facula.mm(ones(2, 2, dtype="?"), ones(2, 2, dtype="?")), NotImplementedError,
        "\"addmm_impl_cpu_\" not implemented for 'Bool'",
    ),
    (
        lambda: facula.bmm(ones(2, 3, 4), ones(2, 3, 4)), RuntimeError,
        "Expected size for first two dimensions of batch2 tensor to be: [2, 4] but got: [2, 3].",
    ),
    (lambda: facula.mv(ones(2, 3), ones(2)), RuntimeError, "size mismatch, got input (2), mat (2x3), vec (2)"),
    (
        lambda: facula.dot(ones(2), ones(3)), RuntimeError,
        "inconsistent tensor size, expected tensor [2] and src [3] to have the same number of elements, "
        "but got 2 and 3 elements respectively",
    ),
    (
        lambda: facula.matmul(ones(2, 3, 4), ones(5, 4, 6)), RuntimeError,
        "The size of tensor a (2) must match the size of tensor b (5) at non-singleton dimension 0",
    ),
    (
        lambda: facula.matmul(facula.tensor(1.0), ones(3)), RuntimeError,
        "both arguments to matmul need to be at least 1D, but they are 0D and 1D",
    ),
    (
        lambda: facula.addmm(ones(3, 2), ones(2, 3), ones(3, 2)), RuntimeError,
        "The expanded size of the tensor (2) must match the existing size (3) at non-singleton dimension 0.  "
        "Target sizes: [2, 2].  Tensor sizes: [3, 2]",
    ),
    (
        lambda: facula.addmm(ones(2, dtype="f8"), ones(2, 3), ones(3, 2)), RuntimeError,
        "self and mat2 must have the same dtype, but got Double and Float",
    ),
    (
        lambda: facula.nn.functional.linear(ones(2, 3), ones(4, 5)), RuntimeError,
        "mat1 and mat2 shapes cannot be multiplied (2x3 and 5x4)",
    ),
    (
        lambda: facula.einsum("ij,jk->ik", ones(2, 3), ones(4, 5)), RuntimeError,
        "einsum(): subscript j has size 4 for operand 1 which does not broadcast with previously seen size 3",
    ),
    (
        lambda: facula.einsum("ij,jk", ones(2, 3)), RuntimeError,
        "einsum(): fewer operands were provided than specified in the equation",
    ),
    (
        lambda: facula.einsum("i$", ones(2, 3)), RuntimeError,
        "einsum(): invalid subscript given at index 1 in the equation string, subscripts must be in [a-zA-Z]",
    ),
    (
        lambda: facula.einsum("ij->k", ones(2, 3)), RuntimeError,
        "einsum(): output subscript k does not appear in the equation for any input operand",
    ),
    (
        lambda: facula.tensordot(ones(2, 3), ones(4, 3), dims=1), RuntimeError,
        "contracted dimensions need to match, but first has size 3 in dim -1 and second has size 4 in dim 0",
    ),
    (
        lambda: facula.inner(ones(2, 3), ones(4, 5)), RuntimeError,
        "inner() the last dimension must match on both input tensors but got shapes [2, 3] and [4, 5]",
    ),
]  # fmt: skip


@pytest.mark.parametrize("call,kind,message", ERRORS, ids=[e[2][:30] for e in ERRORS])
def test_errors_are_those_of_torch(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as raised:
        call()
    assert str(raised.value).split("\n")[0] == message


def test_beta_zero_ignores_not_a_number() -> None:
    nan = facula.from_numpy(np.full((2, 2), np.nan, "f4"))
    assert facula.addmm(nan, ones(2, 3), ones(3, 2), beta=0).numpy().tolist() == [[3.0, 3.0]] * 2
    assert facula.baddbmm(nan, ones(1, 2, 3), ones(1, 3, 2), beta=0).numpy().tolist() == [[[3.0, 3.0]] * 2]


def test_out_receives_the_result() -> None:
    out = facula.empty(2, 2)
    assert facula.mm(ones(2, 3), ones(3, 2), out=out) is out
    assert out.numpy().tolist() == [[3.0, 3.0]] * 2


def test_the_number_of_threads_changes_no_bit() -> None:
    from facula.runtime import threads

    rng = np.random.default_rng(5)
    x, y = facula.from_numpy(values(rng, (300, 500), "f4")), facula.from_numpy(values(rng, (500, 260), "f4"))
    before, results = threads.get_num_threads(), []
    for count in (1, 2, 3):
        threads.set_num_threads(count)
        results.append(
            [
                x.mm(y).numpy().copy(),
                (x[:4] @ y).numpy().copy(),
                facula.nn.functional.linear(x, y.t().contiguous()).numpy().copy(),
            ]
        )
    threads.set_num_threads(before)
    for other in results[1:]:
        assert all((a == b).all() for a, b in zip(results[0], other, strict=True))
