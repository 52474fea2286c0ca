"""Printing: thousands of random tensors against PyTorch's text, and fixed texts where PyTorch is absent."""

from __future__ import annotations

import random

import numpy as np
import pytest

from facula.core import dtype as types
from facula.tensor import printing

INTEGERS = ("bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64")
NAMES = (*INTEGERS, "float16", "bfloat16", "float32", "float64", "complex64", "complex128")


@pytest.fixture(autouse=True)
def options_restored():
    yield
    printing.set_printoptions(profile="default")


def text(array, **facts):
    """Format a NumPy array with the facts that follow from it."""
    array = np.asarray(array)
    facts.setdefault("dtype", types.from_numpy_name(array.dtype.name))
    return printing.format_tensor(array, shape=array.shape, **facts)


def random_tensor(torch, draw):
    """Values of many magnitudes, whole or not, with zeros, infinities and NaN; shapes small or worth a summary."""
    shape = [0 if draw.random() < 0.04 else draw.choice([1, 2, 3, 5, 8]) for _ in range(draw.randint(0, 4))]
    if shape and draw.random() < 0.1:
        shape[draw.randrange(len(shape))] = draw.choice([13, 200, 1001])
    of = getattr(torch, draw.choice(NAMES))
    if of is torch.bool:
        x = torch.rand(shape) < 0.5
    elif of.is_floating_point or of.is_complex:
        x = torch.randn(shape, dtype=torch.complex128 if of.is_complex else torch.float64)
        parts = torch.view_as_real(x) if of.is_complex else x
        change = draw.randrange(8)
        if change == 0:
            parts *= 10 ** draw.randint(-8, 8)
        elif change == 1:
            parts.mul_(draw.choice([1, 10, 1000, 1e6, 1e9])).round_()
        elif change == 2:
            parts[torch.rand(parts.shape) < 0.3] = draw.choice([0.0, -0.0])
        elif change == 3:
            parts[torch.rand(parts.shape) < 0.3] = float(draw.choice(["nan", "inf", "-inf"]))
        elif change == 4:
            parts.mul_(0)
        elif change == 5:
            parts.mul_(5).exp_()
        elif change == 6:
            parts.mul_(10).round_().div_(4)
        x = x.to(of)
    else:
        low, high = (0, 100) if not of.is_signed else (-100, 100)
        x = torch.randint(low, high if of.itemsize == 1 else draw.choice([3, 100, 30000]), shape).to(of)
    return x.transpose(0, 1) if len(shape) > 1 and draw.random() < 0.3 else x


def random_options(draw):
    if draw.random() < 0.2:
        return {"profile": draw.choice(["default", "short", "full"])}
    return {
        "precision": draw.choice([None, 2, 4, 8, 0]),
        "threshold": draw.choice([None, 10, 100, float("inf")]),
        "edgeitems": draw.choice([None, 1, 2, 5, 0]),
        "linewidth": draw.choice([None, 20, 60, 120]),
        "sci_mode": draw.choice([None, None, True, False]),
    }


def test_random_tensors_equal_torch():
    torch = pytest.importorskip("torch")
    draw = random.Random(0)
    torch.manual_seed(0)
    try:
        for count in range(1500):
            if count % 25 == 0:
                options = random_options(draw) if count % 50 else {}
                for set_options in (torch.set_printoptions, printing.set_printoptions):
                    set_options(profile="default")
                    set_options(**options)
            check_against_torch(torch, random_tensor(torch, draw), draw, options)
    finally:
        torch.set_printoptions(profile="default")


def check_against_torch(torch, x, draw, options):
    grad_fn = None
    if (x.is_floating_point() or x.is_complex()) and draw.random() < 0.3:
        x = x.detach().requires_grad_()
        if draw.random() < 0.5:
            x, grad_fn = x * 1, "MulBackward0"
    plain = x.detach()
    found = printing.format_tensor(
        (plain.float() if x.dtype is torch.bfloat16 else plain).numpy(),
        shape=tuple(x.shape),
        dtype=getattr(types, str(x.dtype).removeprefix("torch.")),
        grad_fn=grad_fn,
        requires_grad=x.requires_grad,
    )
    assert found == repr(x), options


def test_meta_tensors_equal_torch():
    torch = pytest.importorskip("torch")
    for name in NAMES:
        for shape in ((), (3,), (0,), (2, 3)):
            expected = torch.empty(shape, dtype=getattr(torch, name), device="meta")
            found = printing.format_tensor(None, shape=shape, dtype=getattr(types, name), device="meta")
            assert found == repr(expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.float32(1.5), "tensor(1.5000)"),
        (np.float32(-0.0), "tensor(-0.)"),
        (np.array([1, 2.5], np.float32), "tensor([1.0000, 2.5000])"),
        (np.array([1, 2], np.float32), "tensor([1., 2.])"),
        (np.array([-np.inf, 2, 3], np.float32), "tensor([-inf, 2., 3.])"),
        (np.array([np.nan, np.inf], np.float32), "tensor([nan, inf])"),
        (np.array([1e-5, 1], np.float32), "tensor([1.0000e-05, 1.0000e+00])"),
        (np.array([1e10, 1], np.float32), "tensor([1.0000e+10, 1.0000e+00])"),
        (np.array([1 + 2j, 3.5 - 1j], np.complex64), "tensor([1.0000+2.j, 3.5000-1.j])"),
        (np.array([True, False]), "tensor([ True, False])"),
        (np.array([[1, -20], [300, 4]]), "tensor([[  1, -20],\n        [300,   4]])"),
        (np.array([1, 2], np.uint8), "tensor([1, 2], dtype=torch.uint8)"),
        (np.array([1.0]), "tensor([1.], dtype=torch.float64)"),
        (np.zeros((2, 0), np.float32), "tensor([], size=(2, 0))"),
        (np.zeros(0, np.int64), "tensor([], dtype=torch.int64)"),
        (np.arange(2000), "tensor([   0,    1,    2,  ..., 1997, 1998, 1999])"),
        (np.zeros((2, 1, 1), np.float32), "tensor([[[0.]],\n\n        [[0.]]])"),
    ],
)
def test_texts(values, expected):
    assert text(values) == expected


def test_suffixes():
    values = np.float32([0, 1])
    assert text(values, requires_grad=True) == "tensor([0., 1.], requires_grad=True)"
    assert text(values, grad_fn="AddBackward0", requires_grad=True) == "tensor([0., 1.], grad_fn=<AddBackward0>)"
    assert text(values, device="cuda:0") == "tensor([0., 1.], device='cuda:0')"
    assert text(values, name="Image") == "Image([0., 1.])"
    assert text(values, contents="[hidden]") == "tensor([hidden])"
    assert text(values, dtype=types.bfloat16) == "tensor([0., 1.], dtype=torch.bfloat16)"
    with printing.printoptions(linewidth=30):
        assert text(values, requires_grad=True) == "tensor([0., 1.],\n       requires_grad=True)"


def test_the_default_dtype_is_not_shown():
    types.set_default_dtype(types.float64)
    try:
        assert text(np.array([1.0])) == "tensor([1.])"
        assert text(np.array([1j])) == "tensor([0.+1.j])"
        assert text(np.float32([1])) == "tensor([1.], dtype=torch.float32)"
    finally:
        types.set_default_dtype(types.float32)


def test_options():
    assert printing.get_printoptions() == {
        "precision": 4,
        "threshold": 1000,
        "edgeitems": 3,
        "linewidth": 80,
        "sci_mode": None,
    }
    with printing.printoptions(precision=2, sci_mode=True):
        assert text(np.float32([1.5])) == "tensor([1.50e+00])"
        printing.set_printoptions(precision=1)
        assert text(np.float32([1.5])) == "tensor([1.5])"  # sci_mode is automatic again, as in PyTorch
    assert text(np.float32([1.5])) == "tensor([1.5000])"
    printing.set_printoptions(profile="full")
    assert "..." not in text(np.arange(2000))
