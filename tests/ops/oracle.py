"""Comparison of operators with torch: the same call on the same memory, results, errors and gradients side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import facula

torch = pytest.importorskip("torch")

REAL = ("float32", "float64", "int64", "int32", "uint8", "bool")


def random(shape: Sequence[int], dtype: str = "float32", seed: int = 0, nan: int = 0) -> Any:
    """A torch tensor of small numbers with repetitions; the first `nan` elements of a float tensor are NaN."""
    generator = np.random.default_rng(seed + sum(shape))
    values = np.round(generator.standard_normal(tuple(shape)) * 6) / 4 + 0.0  # no -0
    if dtype == "bool":
        return torch.from_numpy(np.asarray(values > 0.2))
    tensor = torch.from_numpy(np.asarray(np.abs(values) if dtype == "uint8" else values)).to(getattr(torch, dtype))
    if nan and tensor.is_floating_point():
        tensor.view(-1)[:nan] = float("nan")
    return tensor


def views(tensor: Any) -> Iterator[Any]:
    """The tensor itself, transposed, with gaps, and not from its beginning."""
    yield tensor
    if tensor.ndim > 1:
        yield tensor.transpose(0, -1)
        yield tensor[..., ::2]
        yield tensor[1:]


def to_facula(value: Any) -> Any:
    """The same memory as one of ours; dtypes and sequences too."""
    if isinstance(value, torch.Tensor):
        if value.dtype is torch.bfloat16:
            return facula.from_numpy(value.detach().float().numpy()).to(facula.bfloat16)
        return facula.from_numpy(value.detach().numpy()).requires_grad_(value.requires_grad)
    if isinstance(value, torch.dtype):
        return getattr(facula, str(value).removeprefix("torch."))
    if isinstance(value, (list, tuple)):
        return type(value)(to_facula(item) for item in value)
    return value


def parts(result: Any) -> list[Any]:
    """The tensors of a result."""
    return list(result) if isinstance(result, (tuple, list)) else [result]


def assert_same(ours: Any, theirs: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """Shapes, dtypes and values; NaN equals NaN."""
    for mine, other in zip(parts(ours), parts(theirs), strict=True):
        assert tuple(mine.shape) == tuple(other.shape)
        assert str(mine.dtype) == str(other.dtype)
        if mine.dtype is facula.bfloat16:
            mine, other = mine.float(), other.float()
        np.testing.assert_allclose(mine.detach().numpy(), other.detach().numpy(), rtol=rtol, atol=atol)


def check(
    name: str, *args: Any, rtol: float = 1e-5, atol: float = 1e-6, ours: Callable[..., Any] | None = None, **kwargs: Any
) -> None:
    """The call gives what torch gives, or raises what torch raises (its type)."""
    mine = ours or getattr(facula, name)
    given = [to_facula(a) for a in args], {k: to_facula(v) for k, v in kwargs.items()}
    function = torch
    for part in name.split("."):
        function = getattr(function, part)
    try:
        expected = function(*args, **kwargs)
    except Exception as error:  # whatever torch raises is what is wanted
        with pytest.raises(type(error)):
            mine(*given[0], **given[1])
        return
    assert_same(mine(*given[0], **given[1]), expected, rtol, atol)


def check_gradients(
    name: str, *args: Any, ours: Callable[..., Any] | None = None, second: bool = True, **kwargs: Any
) -> None:
    """First and second derivatives, in float64 with random weights, are torch's."""
    mine, function = ours or getattr(facula, name), torch
    for part in name.split("."):
        function = getattr(function, part)
    theirs = [
        a.double().detach().requires_grad_() if isinstance(a, torch.Tensor) and a.is_floating_point() else a
        for a in args
    ]
    given = [to_facula(a) for a in theirs]
    inputs = [a for a in theirs if isinstance(a, torch.Tensor) and a.requires_grad]
    own_inputs = [a for a in given if isinstance(a, facula.Tensor) and a.requires_grad]
    outputs = [o for o in parts(function(*theirs, **kwargs)) if o.requires_grad]
    own_outputs = [o for o in parts(mine(*given, **kwargs)) if o.requires_grad]
    weights = [torch.randn_like(o) for o in outputs]
    expected = torch.autograd.grad(outputs, inputs, weights, create_graph=second)
    found = facula.autograd.grad(own_outputs, own_inputs, [to_facula(w) for w in weights], create_graph=second)
    assert_same(found, expected, 1e-6, 1e-9)
    if not second or not any(g.requires_grad for g in expected):
        return
    pairs = [(g, own) for g, own in zip(expected, found, strict=True) if own.requires_grad]  # the others are constant
    if not pairs:
        return
    expected, found = [g for g, _ in pairs], [own for _, own in pairs]
    again = [torch.randn_like(g) for g in expected]
    expected = torch.autograd.grad(expected, inputs, again, allow_unused=True)
    found = facula.autograd.grad(found, own_inputs, [to_facula(w) for w in again], allow_unused=True)
    for ours_, theirs_ in zip(found, expected, strict=True):
        if theirs_ is not None and ours_ is not None:
            assert_same(ours_, theirs_, 1e-6, 1e-9)
        else:
            assert theirs_ is None or not theirs_.any()
