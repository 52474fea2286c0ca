"""Random operators: torch's numbers, geometry, errors and stream positions, call by call."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest

import facula
from tests.runtime.random_reference import Reference

FLOATS = ("float32", "float64", "float16", "bfloat16")
INTEGERS = ("int8", "uint8", "int16", "int32", "int64", "bool")

SAMPLERS = [
    f"torch.{name}({size}, dtype=torch.{dtype})"
    for dtype in (*FLOATS, "complex64", "complex128")
    for size in ("3", "20", "(4, 5)", "2, 3, 5", "(0, 3)", "()")
    for name in ("rand", "randn")
]
FILLS = [
    f"torch.empty(40, dtype=torch.{dtype}).{call}"
    for dtype in FLOATS
    for call in (
        "random_()", "random_(10)", "random_(3, 10)", "random_(-20, 10)", "random_(5, None)", "random_(-5, None)",
        "random_(to=5)", "random_(1, to=7)", "random_(**{'from': 1, 'to': 7})", "random_(0, 2**30)",
        "random_(0, 2**25 + 1)", "random_(-2**25 - 3, 2**26 + 9)", "random_(0, 2**63 - 1)",
        "random_(-2**62 - 1, 2**62 - 1)", "random_(259, 517)", "random_(1001, 1003)", "random_(0, 70000)",
        "random_(-2**63, None)", "random_(1.5)", "uniform_(-.1, .1)", "uniform_(0, 1e-3)", "uniform_(to=5)",
        "uniform_(0, to=5)", "normal_(mean=1, std=2)", "normal_(torch.tensor(1.), 2)", "log_normal_()",
        "log_normal_(.5, .1)", "exponential_()", "exponential_(lambd=2)", "cauchy_(1, 2)", "bernoulli_()",
        "bernoulli_(1)", "bernoulli_(p=0.)", "bernoulli_(torch.rand(40))", "geometric_(.9)",
    )
] + [
    f"torch.zeros(40, dtype=torch.{dtype}).{call}"
    for dtype in INTEGERS
    for call in (
        "random_()", "random_(2)", "random_(0, 2)", "random_(0, 100)", "random_(0, None)", "random_(1, None)",
        "random_(-5, None)", "random_(300, None)", "random_(-5, 6)", "random_(0, 256)", "random_(0, 2**31)",
        "random_(0, 2**33)", "random_(5, 5)", "bernoulli_(.4)", "bernoulli_(torch.rand(40))", "geometric_(.4)",
        "uniform_()", "normal_()", "exponential_()", "log_normal_()",
    )
]  # fmt: skip
STRIDED = [
    "torch.rand(3, 4).t().uniform_()", "torch.rand(3, 4).t().normal_()", "torch.rand(5, 8).t().normal_(1, 2)",
    "torch.rand(6, 8)[:, ::2].normal_()", "torch.rand(6, 8)[:, ::2].t().uniform_(-1, 1)",
    "torch.rand(2, 3, 4).permute(2, 0, 1).random_(100)", "torch.rand(2, 3, 4)[:, 1:].permute(2, 0, 1).bernoulli_(.3)",
    "torch.rand(8, 8).t().bernoulli_(torch.rand(8, 8))", "torch.rand(8, 8).bernoulli_(torch.rand(8, 8).t())",
    "torch.rand(8, 8).t().bernoulli_(torch.rand(8))", "torch.rand(6, 8)[:, ::2].bernoulli_(torch.rand(6, 1))",
    "torch.rand(3, 4, dtype=torch.complex64).t().normal_()", "torch.zeros(3, 1).expand(3, 1).uniform_()",
    "torch.rand_like(torch.rand(4, 5).t())", "torch.randn_like(torch.rand(4, 5).t())",
    "torch.rand_like(torch.rand(4, 6)[:, ::2])", "torch.randn_like(torch.rand(4, 5), dtype=torch.float64)",
    "torch.randint_like(torch.rand(4, 5), 7)", "torch.randint_like(torch.rand(4, 5), 3, 7, dtype=torch.int64)",
    "torch.rand(2, 3, out=torch.empty(3, 2).t())",
]  # fmt: skip
FACTORIES = [
    "torch.randint(10, (5,))", "torch.randint(2, 10, (5,), dtype=torch.int32)",
    "torch.randint(low=2, high=5, size=(2,))", "torch.randint(high=5, size=(2,))", "torch.randint(2**40, (7,))",
    "torch.randint(-2**63, 2**63 - 1, (5,))", "torch.randint(2**63 - 1, (5,))", "torch.randint(0, 2**28, (5,))",
    "torch.randint(10, (3,), dtype=torch.float32)", "torch.randint(2, (30,), dtype=torch.bool)",
    "torch.randint(0, 200, (30,), dtype=torch.uint8)", "torch.randperm(0)", "torch.randperm(1)", "torch.randperm(3000)",
    "torch.randperm(100, dtype=torch.float32)", "torch.randperm(100, dtype=torch.int8)",
    "torch.randperm(20, generator=torch.Generator().manual_seed(4))", "torch.randperm(n=4)",
    "torch.randn(20, generator=torch.Generator().manual_seed(4))", "torch.rand(5, out=torch.empty(5))",
    "torch.rand(5, out=torch.empty(0))", "torch.rand(size=(2,))", "torch.rand([2, 2])", "torch.rand(torch.Size([2]))",
    "torch.normal(2., 3., (20,))", "torch.normal(2, 3, size=(4,))", "torch.normal(torch.rand(20), torch.rand(20))",
    "torch.normal(torch.rand(4, 1), torch.rand(5))", "torch.normal(torch.rand(20), 2.)", "torch.normal(torch.rand(3))",
    "torch.normal(1.5, torch.rand(20))", "torch.normal(torch.zeros(2), torch.ones(2, dtype=torch.float64))",
]  # fmt: skip
CHOICES = [
    "torch.bernoulli(torch.rand(8, 8).t())", "torch.bernoulli(torch.rand(8, 8), .3)", "torch.rand(8).bernoulli()",
    "torch.bernoulli(torch.rand(8, dtype=torch.float64))", "torch.bernoulli(torch.rand(8, dtype=torch.bfloat16))",
    "torch.multinomial(torch.rand(10), 1)", "torch.multinomial(torch.rand(4, 10), 1)",
    "torch.multinomial(torch.rand(4, 10), 6, True)", "torch.multinomial(torch.rand(10, 4).t(), 6, True)",
    "torch.multinomial(torch.rand(10, 4).t(), 1)", "torch.multinomial(torch.rand(4, 10), 3)",
    "torch.multinomial(torch.rand(10, 4).t(), 3)", "torch.multinomial(torch.rand(10, dtype=torch.float64), 1)",
    "torch.multinomial(torch.rand(0, 4), 2, True)", "torch.rand(10).multinomial(3, replacement=True)",
    "torch.multinomial(torch.tensor([0., 3., 0., 1.]), 9, True)",
    "torch.multinomial(torch.ones(3), 2, True, out=torch.empty(2, dtype=torch.int64))",
]  # fmt: skip
DROPOUTS = [
    f"torch.{name}({x}, {p}, True)"
    for p in (0.1, 0.5, 0.0, 1.0)
    for x in ("torch.randn(5, 7)", "torch.randn(7, 5).t()", "torch.randn(6, 8)[:, ::2]", "torch.randn(0, 3)",
              "torch.randn(5, dtype=torch.float64)", "torch.randn(500, dtype=torch.bfloat16)")
    for name in ("dropout", "dropout_", "native_dropout")
] + [
    f"torch.{name}({x}, {p}, True)"
    for p in (0.3, 0.0, 1.0)
    for x in ("torch.randn(3, 4, 5)", "torch.randn(4)", "torch.randn(5, 4, 3, 2).transpose(1, 2)")
    for name in ("alpha_dropout", "alpha_dropout_", "feature_dropout", "feature_dropout_", "feature_alpha_dropout",
                 "feature_alpha_dropout_")
] + [
    f"torch.{name}({x}, .1, .3, {training})"
    for x in ("torch.randn(5, 7)", "torch.randn(7, 5).t()", "torch.randn(50, dtype=torch.float64)", "torch.randn(0)")
    for name in ("rrelu", "rrelu_")
    for training in (True, False)
] + ["torch.dropout(torch.randn(5), .5, False)"]  # fmt: skip

# Wrong calls: the type of the exception and the beginning of torch's message.
REFUSED = [
    "torch.randint(5, 5, (2,))", "torch.randint(0, 300, (2,), dtype=torch.uint8)", "torch.empty(3).random_(5, 2)",
    "torch.empty(3).uniform_(2, 1)", "torch.empty(3).uniform_(0, float('inf'))", "torch.empty(3).uniform_(-3e38, 3e38)",
    "torch.empty(3).uniform_(float('nan'), 1)", "torch.empty(3).normal_(0, -1)", "torch.empty(3).exponential_(0)",
    "torch.empty(3).geometric_(0)", "torch.empty(3).geometric_(1)", "torch.empty(3).cauchy_(0, 0)",
    "torch.empty(3).log_normal_(0, 0)", "torch.empty(3).bernoulli_(1.5)", "torch.bernoulli(torch.tensor([.5, 1.5]))",
    "torch.bernoulli(torch.tensor([1, 0]))", "torch.rand(3, dtype=torch.int64)", "torch.randn(3, dtype=torch.int64)",
    "torch.empty(3, dtype=torch.bool).uniform_()", "torch.randint(10, (2,), dtype=torch.complex64)",
    "torch.empty(3, dtype=torch.complex64).bernoulli_()", "torch.empty(3, dtype=torch.complex64).exponential_()",
    "torch.multinomial(torch.tensor([1., -1.]), 1)", "torch.multinomial(torch.tensor([0., 0.]), 1)",
    "torch.multinomial(torch.tensor([1., float('nan')]), 1)", "torch.multinomial(torch.tensor([1., 0.]), 3)",
    "torch.multinomial(torch.tensor([1., float('inf')]), 2, True)", "torch.multinomial(torch.tensor([1, 1]), 1)",
    "torch.multinomial(torch.ones(2, 2, 2), 1)", "torch.multinomial(torch.ones(3), 0)",
    "torch.multinomial(torch.zeros(3), 2, True)", "torch.multinomial(torch.tensor([1., -1.]), 2, True)",
    "torch.multinomial(torch.ones(3), 2, True, out=torch.empty(2))", "torch.multinomial(torch.ones(2**24 + 1), 2)",
    "torch.rand(-1)", "torch.rand(2.5)", "torch.rand('a')", "torch.dropout(torch.ones(3), 1.5, True)",
    "torch.dropout(torch.ones(3, dtype=torch.int64), .5, True)", "torch.randperm(3.)", "torch.randperm(-1)",
    "torch.randperm(3000, dtype=torch.float16)", "torch.randperm(3, dtype=torch.bool)", "torch.randint(5, 3)",
    "torch.randint(2.0, (3,))", "torch.rand(5, dtype=torch.float64, out=torch.empty(5))",
    "torch.zeros(3).expand(2, 3).uniform_()", "torch.zeros(3).expand(2, 3).bernoulli_(torch.rand(3))",
    "torch.empty(2).bernoulli_(torch.tensor([1, 0]))", "torch.rand(3, requires_grad=True).uniform_()",
    "torch.normal(torch.zeros(3), -1.)", "torch.normal(torch.zeros(3), torch.tensor([1., -1., 1.]))",
    "torch.normal(torch.zeros(2), torch.ones(3))", "torch.feature_dropout(torch.randn(4), .5, True)",
]  # fmt: skip


def run(namespace: Any, expression: str) -> Any:
    """[(values, stride) of each result..., the generator's state], or the exception."""
    namespace.manual_seed(77)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            results = eval(expression, {"torch": namespace})
        except Exception as error:
            return error
    results = results if isinstance(results, (tuple, list)) else (results,)
    described = [(readable(namespace, r), tuple(r.stride()), str(r.dtype)) for r in results]
    return [*described, namespace.get_rng_state().numpy().tobytes()]


def readable(namespace: Any, tensor: Any) -> np.ndarray:
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype is namespace.bfloat16 else tensor).numpy()


@pytest.mark.parametrize("expression", [*SAMPLERS, *FILLS, *STRIDED, *FACTORIES, *CHOICES, *DROPOUTS])
def test_agrees_with_torch(expression: str) -> None:
    """The same bits in the same places, the same strides, the same numbers left in the stream; or the same error."""
    torch = pytest.importorskip("torch")
    expected, found = run(torch, expression), run(facula, expression)
    if isinstance(expected, Exception):
        assert isinstance(found, Exception), f"torch raises {expected!r}"
        same_error(expected, found)
        return
    if isinstance(found, Exception):
        raise found
    assert len(expected) == len(found)
    for theirs, ours in zip(expected[:-1], found[:-1]):
        np.testing.assert_array_equal(ours[0], theirs[0])
        assert ours[1:] == theirs[1:]
    assert found[-1] == expected[-1], "another number of words was drawn"


@pytest.mark.parametrize("expression", REFUSED)
def test_refuses_as_torch(expression: str) -> None:
    torch = pytest.importorskip("torch")
    same_error(run(torch, expression), run(facula, expression))


def same_error(expected: Any, found: Any) -> None:
    """The same type, and torch's words at the beginning (for calls that torch's parser refuses, the type alone)."""
    assert isinstance(expected, Exception) and isinstance(found, Exception), (expected, found)
    assert type(found) is type(expected), (expected, found)
    first = str(expected).split("(Could this")[0].split(" (")[0].strip()
    if "invalid combination of arguments" not in first:
        assert str(found).startswith(first), (expected, found)


def test_known_numbers() -> None:
    """What PyTorch prints for these lines everywhere, checked where it is not installed."""
    facula.manual_seed(0)
    assert str(facula.rand(3)) == "tensor([0.4963, 0.7682, 0.0885])"
    facula.manual_seed(0)
    assert str(facula.randn(3)) == "tensor([ 1.5410, -0.2934, -2.1788])"
    facula.manual_seed(0)
    assert facula.randperm(5).tolist() == [4, 0, 1, 3, 2]
    facula.manual_seed(0)
    assert facula.randint(10, (5,)).tolist() == [4, 9, 3, 0, 3]
    facula.manual_seed(0)
    assert facula.dropout(facula.ones(6), 0.5, True).tolist() == [0.0, 0.0, 2.0, 0.0, 0.0, 0.0]


def test_against_the_reference() -> None:
    reference = Reference(5)
    facula.manual_seed(5)
    np.testing.assert_array_equal(facula.randn(100).numpy(), reference.normal(100))
    np.testing.assert_array_equal(facula.randn(4, 2).numpy().ravel(), reference.normal(8))
    np.testing.assert_array_equal(facula.empty(7).uniform_(-2, 3).numpy(), reference.uniform(7, low=-2, high=3))
    np.testing.assert_array_equal(facula.randperm(50).numpy(), reference.permutation(50))
    np.testing.assert_array_equal(
        facula.multinomial(facula.ones(2, 5), 3, True).numpy(), reference.choose_many(np.ones((2, 5)), 3, "float32")
    )


GRADIENTS = [
    "torch.dropout(x, .4, True)", "torch.rrelu(x, .1, .4, True)", "torch.alpha_dropout(x, .4, True)",
    "torch.dropout_(x * 1, .4, True)", "torch.rrelu_(x * 1, .1, .4, True)", "(x * 1).uniform_()",
    "torch.bernoulli(torch.sigmoid(x))", "torch.normal(x, 1.)", "torch.normal(x, x.abs())",
    "torch.feature_dropout(x.reshape(1, 5, 6), .4, True)",
]  # fmt: skip


@pytest.mark.parametrize("expression", GRADIENTS)
def test_gradients(expression: str) -> None:
    torch = pytest.importorskip("torch")
    gradients = []
    for namespace in (torch, facula):
        namespace.manual_seed(3)
        x = namespace.randn(30, requires_grad=True)
        y = eval(expression, {"torch": namespace, "x": x})
        (y * y).sum().backward()
        gradients.append(x.grad.numpy())
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-6)


def test_dropout_differentiates_twice() -> None:
    facula.manual_seed(3)
    x = facula.randn(30, requires_grad=True)
    y = facula.dropout(x, 0.4, True)
    (gradient,) = facula.autograd.grad((y * y).sum(), x, create_graph=True)
    gradient.sum().backward()
    noise = (y / x).detach()
    np.testing.assert_allclose(x.grad.numpy(), (2 * noise * noise).numpy(), rtol=1e-5)


def test_filled_part_of_a_tensor() -> None:
    """Filling a view takes the filled elements out of the graph, and only those."""
    x = facula.ones(6, requires_grad=True)
    y = x * 3
    y[:2].normal_()
    y.sum().backward()
    assert x.grad.tolist() == [0, 0, 3, 3, 3, 3]
    assert y._version >= 1


def test_large_samples() -> None:
    """Moments of a million numbers, and that nothing leaves its range."""
    facula.manual_seed(1)
    n = 1_000_000
    uniform = facula.rand(n).numpy()
    assert uniform.min() >= 0 and uniform.max() < 1 and abs(uniform.mean() - 0.5) < 2e-3
    normal = facula.randn(n).numpy()
    assert abs(normal.mean()) < 4e-3 and abs(normal.std() - 1) < 3e-3 and np.isfinite(normal).all()
    kept = facula.dropout(facula.ones(n), 0.25, True).numpy()
    assert abs((kept > 0).mean() - 0.75) < 2e-3 and math.isclose(kept.max(), 4 / 3, rel_tol=1e-6)


def test_generators() -> None:
    """Saved states, forks, copies, and pickles of generators, with torch's errors."""
    import copy
    import pickle

    facula.manual_seed(2)
    state = facula.get_rng_state()
    assert state.shape == (5056,) and state.dtype is facula.uint8
    first = facula.rand(5).tolist()
    facula.set_rng_state(state)
    assert facula.rand(5).tolist() == first
    with facula.random.fork_rng():
        facula.manual_seed(9)
        facula.rand(9)
    after = facula.rand(1).tolist()
    facula.set_rng_state(state)
    facula.rand(5)
    assert facula.rand(1).tolist() == after and facula.initial_seed() == 2
    generator = facula.Generator().manual_seed(7)
    facula.randn(3, generator=generator)
    twins = [
        copy.copy(generator),
        copy.deepcopy(generator),
        pickle.loads(pickle.dumps(generator)),
        generator.clone_state(),
    ]
    drawn = facula.randn(4, generator=generator).tolist()
    assert all(facula.randn(4, generator=twin).tolist() == drawn for twin in twins)
    assert facula.manual_seed(3) is facula.default_generator and str(generator.device) == "cpu"
    assert facula.manual_seed("7").initial_seed() == 7 and facula.seed() == facula.initial_seed()
    for wrong in (5, facula.zeros(5056)):
        with pytest.raises(TypeError, match="ByteTensor"):
            generator.set_state(wrong)
    with pytest.raises(RuntimeError, match="RNG state size to be 3"):
        generator.set_state(facula.zeros(3, dtype=facula.uint8))
    with pytest.raises(RuntimeError, match="offset"):
        generator.get_offset()
    with pytest.raises(TypeError, match="generator"):
        facula.rand(2, generator=5)


def test_states_travel() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(4)
    torch.randn(1001)
    torch.randn(3)
    facula.set_rng_state(facula.from_numpy(torch.get_rng_state().numpy()))
    np.testing.assert_array_equal(facula.randn(9).numpy(), torch.randn(9).numpy())


def test_meta_tensors_draw_nothing() -> None:
    facula.manual_seed(1)
    before = facula.get_rng_state().numpy().tobytes()
    assert facula.rand(3, device="meta").shape == (3,)
    assert facula.randperm(3, device="meta").dtype is facula.int64
    facula.empty(20, device="meta").normal_()
    assert facula.dropout(facula.ones(3, device="meta"), 0.5, True).shape == (3,)
    assert facula.get_rng_state().numpy().tobytes() == before
