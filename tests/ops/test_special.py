"""Special functions: values and gradients are torch's, or where torch is coarse, those of identities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import facula
from facula.autograd import gradcheck, gradgradcheck

special = facula.special

ONE_ARGUMENT = {
    "erfcx": (-3, 30), "ndtr": (-6, 6), "ndtri": (0.01, 0.99), "log_ndtr": (-30, 6), "i0": (-12, 12), "i0e": (-12, 12),
    "i1": (-12, 12), "i1e": (-12, 12), "entr": (0.1, 5), "erf": (-3, 3), "erfc": (-3, 3), "erfinv": (-0.9, 0.9),
    "exp2": (-3, 3), "expm1": (-1, 1), "log1p": (-0.5, 3), "expit": (-4, 4), "logit": (0.1, 0.9), "gammaln": (0.1, 9),
    "digamma": (0.2, 9), "psi": (0.2, 9), "sinc": (-3, 3),
}  # fmt: skip


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float64", 1e-9)])
@pytest.mark.parametrize("name", ONE_ARGUMENT)
def test_values_and_gradients(name: str, dtype: str, tolerance: float) -> None:
    torch = pytest.importorskip("torch")
    values = np.linspace(*ONE_ARGUMENT[name], 41).astype(dtype)
    mine, theirs = facula.from_numpy(values).requires_grad_(), torch.from_numpy(values).requires_grad_()
    found, expected = getattr(special, name)(mine), getattr(torch.special, name)(theirs)
    assert str(found.dtype) == str(expected.dtype)
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), tolerance, tolerance)
    found.sum().backward()
    expected.sum().backward()
    np.testing.assert_allclose(mine.grad.numpy(), theirs.grad.numpy(), 20 * tolerance, 20 * tolerance)


def test_at_the_edges() -> None:
    def of(name: str, *values: float) -> Any:
        return getattr(special, name)(facula.tensor(values, dtype=facula.float64)).tolist()

    assert of("entr", 0.0, -1.0, -math.inf) == [0.0, -math.inf, -math.inf]
    assert of("i0", 0.0, math.inf) == [1.0, math.inf]
    assert of("i0e", math.inf) == of("i1e", math.inf) == of("erfcx", math.inf) == [0.0]
    assert of("ndtri", 0.0, 0.5, 1.0) == [-math.inf, 0.0, math.inf]
    assert of("ndtr", -math.inf, 0.0, math.inf) == [0.0, 0.5, 1.0]
    assert of("log_ndtr", -1000.0)[0] == pytest.approx(-0.5e6 - math.log(1000.0 * math.sqrt(2 * math.pi)), rel=1e-9)
    assert of("erfcx", 1e6)[0] == pytest.approx(1e-6 / math.sqrt(math.pi), rel=1e-12)
    assert math.isnan(of("i1", math.nan)[0])


def test_gamma_functions() -> None:
    """zeta(2) = pi ** 2 / 6, trigamma(1/2) = pi ** 2 / 2, and the recurrence of polygamma."""
    x = facula.tensor([0.3, 1.0, 2.5, 7.0], dtype=facula.float64)
    assert float(special.zeta(2.0, facula.ones((), dtype=facula.float64))) == pytest.approx(math.pi**2 / 6, rel=1e-14)
    assert float(facula.polygamma(1, facula.tensor(0.5, dtype=facula.float64))) == pytest.approx(
        math.pi**2 / 2, rel=1e-14
    )
    for n in range(5):
        step = (-1) ** n * math.factorial(n) / x ** (n + 1)
        np.testing.assert_allclose(
            (facula.polygamma(n, x + 1) - facula.polygamma(n, x)).numpy(), step.numpy(), rtol=1e-9
        )
    np.testing.assert_allclose(facula.mvlgamma(x + 2, 1).numpy(), facula.lgamma(x + 2).numpy())
    with pytest.raises(RuntimeError):
        facula.polygamma(-1, x)
    with pytest.raises(RuntimeError):
        facula.mvlgamma(x, 0)
    assert special.zeta(facula.tensor([1.0, 0.5]), facula.tensor([3.0, 3.0])).tolist()[0] == math.inf


def test_xlog1py() -> None:
    found = special.xlog1py(facula.tensor([0.0, 0.0, 2.0]), facula.tensor([-1.0, math.nan, 1.0]))
    np.testing.assert_allclose(found.numpy(), [0.0, math.nan, 2 * math.log(2)], rtol=1e-6)


@pytest.mark.parametrize("name", ["erfcx", "i0", "i1", "i0e", "i1e", "ndtri", "log_ndtr", "digamma", "gammaln", "sinc"])
def test_second_derivatives(name: str) -> None:
    x = facula.tensor([0.25, 0.4, 0.7], dtype=facula.float64, requires_grad=True)
    assert gradcheck(getattr(special, name), x)
    assert gradgradcheck(getattr(special, name), x)


def test_the_namespace_lists_its_names() -> None:
    assert set(ONE_ARGUMENT) <= set(special.__all__) <= set(dir(special))
