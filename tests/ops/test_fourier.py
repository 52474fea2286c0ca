"""Fourier transforms: values, errors and gradients are torch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import facula
from tests.ops.oracle import assert_same, check, to_facula, torch

ALL = [k + n for k in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft") for n in ("", "2")]
ALL += [k + "n" for k in ("fft", "ifft", "rfft", "irfft")]


def signal(*shape: int, dtype: str = "float64") -> Any:
    generator = np.random.default_rng(sum(shape))
    values = generator.standard_normal(shape)
    if dtype.startswith("complex"):
        values = values + 1j * generator.standard_normal(shape)
    return torch.from_numpy(np.asarray(values)).to(getattr(torch, dtype))


def transforms(name: str) -> bool:
    return hasattr(torch.fft, name)


@pytest.mark.parametrize("norm", [None, "backward", "ortho", "forward", "other"])
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("name", ALL)
def test_values(name: str, dtype: str, norm: str | None) -> None:
    if not transforms(name):
        return
    ours, near = getattr(facula.fft, name), {"rtol": 1e-4, "atol": 1e-4}
    shapes: list[tuple[int, ...]] = [(5, 6), (4, 1)]
    for shape in shapes:
        x = signal(*shape, dtype=dtype)
        lengths: list[dict[str, Any]] = [{}, {"n": 3}, {"n": 8, "dim": 0}, {"dim": 2}, {"n": 0}]
        if name[-1] in "2n":
            lengths = [{}, {"s": (3, 8)}, {"s": (-1, 7), "dim": (1, 0)}, {"dim": (0, 0)}]
        for arguments in lengths:
            try:
                expected = getattr(torch.fft, name)(x, norm=norm, **arguments).resolve_conj()
            except Exception as error:  # whatever torch raises is what is wanted
                with pytest.raises(type(error)):
                    ours(to_facula(x), norm=norm, **arguments)
            else:
                assert_same(ours(to_facula(x), norm=norm, **arguments), expected, **near)


@pytest.mark.parametrize("length", [None, 4, 7])
@pytest.mark.parametrize("name", [n for n in ALL if n[-1] != "2"])
def test_gradients(name: str, length: int | None) -> None:
    if not transforms(name):
        return
    dtype = "float64" if name.startswith(("r", "ihf")) else "complex128"
    x = signal(3, 5, dtype=dtype).requires_grad_()
    mine = facula.from_numpy(x.detach().numpy()).requires_grad_()
    length = length if length is None or name[-1] != "n" else (length, length)  # type: ignore[assignment]
    expected = getattr(torch.fft, name)(x, length)
    weight = torch.randn_like(expected).resolve_conj()
    theirs = torch.autograd.grad((expected * weight).abs().sin().sum(), x)
    found = (getattr(facula.fft, name)(mine, length) * to_facula(weight)).abs().sin().sum()
    assert_same(facula.autograd.grad(found, mine), theirs[0].resolve_conj(), 1e-8, 1e-9)


def test_second_derivatives() -> None:
    x = facula.from_numpy(signal(6).numpy()).requires_grad_()
    assert facula.autograd.gradgradcheck(lambda x: facula.fft.rfft(x).abs(), x)
    assert facula.autograd.gradgradcheck(lambda x: facula.fft.irfft(facula.fft.rfft(x) * 2, 5), x)


def test_frequencies_and_shifts() -> None:
    for n in (0, 1, 5, 6):
        check("fft.fftfreq", n, 0.5, ours=facula.fft.fftfreq)
        check("fft.rfftfreq", n, dtype=torch.float64, ours=facula.fft.rfftfreq)
    for dim in (None, 0, (0, 1)):
        check("fft.fftshift", signal(4, 5), dim=dim, ours=facula.fft.fftshift)
        check("fft.ifftshift", signal(4, 5), dim=dim, ours=facula.fft.ifftshift)
