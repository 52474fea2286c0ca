"""Convolutions: values and gradients of every order against torch, torch's errors, and facts that need no oracle."""

import numpy as np
import pytest

import facula
from facula import autograd

FUNCTIONS = ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")


def tensors(*arrays, grad=True):
    return [None if a is None else facula.from_numpy(a.copy()).requires_grad_(grad) for a in arrays]


def random_call(rng):
    """(function, arrays, keywords) of a convolution that is allowed."""
    dims, transposed = int(rng.integers(1, 4)), bool(rng.integers(0, 2))
    groups = int(rng.choice([1, 1, 2]))
    kernel, stride, padding, dilation = (
        [int(n) for n in rng.integers(low, high, dims)] for low, high in ((1, 4), (1, 4), (0, 3), (1, 3))
    )
    size = [int(n) + d * (k - 1) for n, k, d in zip(rng.integers(1, (20, 9, 6)[dims - 1], dims), kernel, dilation)]
    inputs, outputs = (groups * int(n) for n in rng.integers(1, 5, 2))
    batch = [int(rng.integers(1, 4))] if rng.integers(0, 4) else []
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    weight = [outputs, inputs // groups, *kernel]
    if transposed:
        weight = [inputs, outputs // groups, *kernel]
        options["padding"] = [min(p, d * (k - 1)) for p, d, k in zip(padding, dilation, kernel)]
        options["output_padding"] = [int(rng.integers(0, s)) for s in stride]
    elif rng.integers(0, 4) == 0:
        options = {"padding": "same", "dilation": dilation, "groups": groups}
    arrays = [rng.standard_normal(shape) for shape in (batch + [inputs] + size, weight)]
    arrays.append(rng.standard_normal(outputs) if rng.integers(0, 2) else None)
    return FUNCTIONS[dims - 1 + 3 * transposed], arrays, options


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
def test_values_and_two_orders_of_gradients():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    for _ in range(40):
        name, arrays, options = random_call(rng)
        theirs = [None if a is None else torch.tensor(a, requires_grad=True) for a in arrays]
        ours = tensors(*arrays)
        expected = getattr(torch.nn.functional, name)(*theirs, **options)
        found = getattr(facula, name)(*ours, **options)
        what = f"{name} {[a is not None and a.shape for a in arrays]} {options}"
        np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), atol=1e-11, err_msg=what)
        seed = rng.standard_normal(expected.shape)
        theirs, ours = ([t for t in given if t is not None] for given in (theirs, ours))
        first = torch.autograd.grad(expected, theirs, torch.tensor(seed), create_graph=True)
        own = autograd.grad(found, ours, facula.from_numpy(seed), create_graph=True)
        for a, b in zip(own, first):
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), atol=1e-10, err_msg=what)
        second = torch.autograd.grad(sum((g * g).sum() for g in first[:2]), theirs[:2])
        own_second = autograd.grad((own[0] * own[0]).sum() + (own[1] * own[1]).sum(), ours[:2])
        for a, b in zip(own_second, second):
            np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-8, err_msg=what)


def test_a_convolution_by_hand():
    x = facula.tensor([[[1.0, 2.0, 3.0, 4.0]]], requires_grad=True)
    w = facula.tensor([[[1.0, -1.0]]], requires_grad=True)
    b = facula.tensor([10.0], requires_grad=True)
    y = facula.conv1d(x, w, b, stride=2, padding=1)
    assert y.tolist() == [[[9.0, 9.0, 14.0]]]
    y.sum().backward()
    assert (x.grad.tolist(), w.grad.tolist(), b.grad.tolist()) == ([[[-1.0, 1.0, -1.0, 1.0]]], [[[6.0, 4.0]]], [3.0])
    assert type(y.grad_fn).__name__ == "Node" and y.grad_fn.name() == "ConvolutionBackward0"


def test_transposed_is_the_adjoint():
    """<conv(x), y> = <x, conv_transpose(y)>, for every size that the convolution maps to the same one."""
    rng = np.random.default_rng(1)
    for size in (9, 10, 11):
        x, w = rng.standard_normal((2, 4, size, size)), rng.standard_normal((6, 2, 3, 3))
        a, b = tensors(x, w, grad=False)
        y = facula.conv2d(a, b, stride=3, padding=1, groups=2)
        z = facula.from_numpy(rng.standard_normal(y.shape))
        back = facula.conv_transpose2d(z, b, stride=3, padding=1, groups=2, output_padding=(size + 2 - 3) % 3)
        assert back.shape == a.shape
        assert abs((y * z).sum().item() - (a * back).sum().item()) < 1e-9


def test_strided_and_expanded_operands():
    rng = np.random.default_rng(2)
    x, w = tensors(rng.standard_normal((8, 6, 5, 2)), rng.standard_normal((3, 3, 5, 4)), grad=False)
    x, w = x.permute(3, 2, 1, 0), w.permute(3, 2, 0, 1)
    dense = facula.conv2d(x.contiguous(), w.contiguous(), facula.ones(1).double().expand(4))
    assert (facula.conv2d(x, w, facula.ones(4).double()) == dense).all().item()
    x.requires_grad_()
    facula.conv2d(x, w).sum().backward()  # the gradient that comes in has strides 0
    assert x.grad.shape == x.shape


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int32", "int64", "complex64", "complex128"])
def test_other_dtypes(dtype):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    x, w = rng.integers(-5, 6, (2, 4, 9, 8)), rng.integers(-5, 6, (6, 2, 3, 3))
    is_complex = dtype.startswith("complex")
    if is_complex:
        x, w = (x * (1 + 2j)).astype(dtype), (w * (3 - 1j)).astype(dtype)
    found = []
    for module, make in ((torch, torch.tensor), (facula, facula.from_numpy)):
        a, b = (make(array).to(getattr(module, dtype)) for array in (x, w))
        y = module.conv2d(a, b, None, 2, 1, 1, 2)
        assert y.dtype is getattr(module, dtype)
        found.append((y if is_complex else y.to(module.float64)).numpy())
    np.testing.assert_allclose(found[1], found[0], rtol=1e-2 if dtype.endswith("float16") else 1e-6, atol=1e-6)


def test_complex_gradients():
    rng = np.random.default_rng(5)
    x, w, seed = (
        rng.standard_normal(s) + 1j * rng.standard_normal(s) for s in ((1, 2, 5, 5), (3, 2, 2, 2), (1, 3, 4, 4))
    )
    torch = pytest.importorskip("torch")
    grads = []
    for module, make in ((torch, torch.tensor), (facula, facula.from_numpy)):
        a, b = make(x).requires_grad_(), make(w).requires_grad_()
        module.conv2d(a, b).backward(make(seed))
        grads.append((a.grad.numpy(), b.grad.numpy()))
    for mine, theirs in zip(*grads):
        np.testing.assert_allclose(mine, theirs, atol=1e-10)


def test_empty_and_meta():
    x, w = facula.zeros(0, 3, 8, 8, requires_grad=True), facula.ones(4, 3, 3, 3, requires_grad=True)
    y = facula.conv2d(x, w)
    assert y.shape == (0, 4, 6, 6)
    y.sum().backward()
    assert w.grad.shape == w.shape and not w.grad.any().item()
    y = facula.conv2d(facula.zeros(2, 3, 8, 8, device="meta"), facula.ones(4, 3, 3, 3, device="meta"), padding="same")
    assert y.shape == (2, 4, 8, 8) and y.device.type == "meta"


X, W, B = (2, 3, 8, 8), (4, 3, 3, 3), (4,)
BAD = [
    ("conv2d", X, (4, 5, 3, 3), None, {}, "weight of size [4, 5, 3, 3], expected input[2, 3, 8, 8] to have 5 channels"),
    ("conv2d", X, W, (5,), {}, "Given weight of size [4, 3, 3, 3], expected bias to be 1-dimensional with 4 elements"),
    ("conv2d", X, W, B, {"groups": 2}, "to have 6 channels, but got 3 channels instead"),
    ("conv2d", (2, 6, 8, 8), (4, 2, 3, 3), None, {"groups": 3}, "expected weight to be divisible by 3 at dimension 0"),
    ("conv2d", X, W, B, {"groups": 0}, "non-positive groups is not supported"),
    ("conv2d", X, W, B, {"stride": 0}, "non-positive stride is not supported"),
    ("conv2d", X, W, B, {"padding": -1}, "negative padding is not supported"),
    ("conv2d", X, W, B, {"dilation": 0}, "non-positive dilation is not supported"),
    ("conv2d", X, W, B, {"dilation": -1}, "dilation should be greater than zero"),
    ("conv2d", X, W, B, {"stride": (1, 2, 3)}, "expected stride to be a single integer value or a list of 2 values"),
    ("conv2d", X, W, B, {"padding": "foo"}, "Invalid padding string: 'foo'"),
    ("conv2d", X, W, B, {"padding": "same", "stride": 2}, "padding='same' is not supported for strided convolutions"),
    ("conv2d", X, (4, 3, 9, 9), None, {}, "Calculated padded input size per channel: (8 x 8). Kernel size: (9 x 9)."),
    ("conv2d", (8, 8), W, None, {}, "(unbatched) or 4D (batched) input to conv2d, but got input of size: [8, 8]"),
    ("conv1d", (2, 3, 8), (4, 3), None, {}, "weight should have at least three dimensions"),
    ("conv_transpose2d", X, (5, 4, 3, 3), None, {}, "weight of size [5, 4, 3, 3], expected input[2, 3, 8, 8]"),
    ("conv_transpose2d", X, (3, 4, 3, 3), (3,), {}, "to be 1-dimensional with 4 elements, but got bias of size [3]"),
    (
        "conv_transpose2d", X, (3, 4, 3, 3), None, {"stride": 2, "output_padding": 2},
        "output padding must be smaller than either stride or dilation, but got output_padding_height: 2",
    ),
    ("conv_transpose2d", X, (3, 4, 1, 1), None, {"padding": 6}, "Calculated output size per channel: (-4 x -4)"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "x", "w", "b", "options", "message"), BAD)
def test_errors(name, x, w, b, options, message):
    operands = [None if shape is None else facula.zeros(shape) for shape in (x, w, b)]
    with pytest.raises(RuntimeError) as caught:
        getattr(facula, name)(*operands, **options)
    assert message in str(caught.value)
    if "Calculated output" not in message and (torch := pytest.importorskip("torch")):
        with pytest.raises(RuntimeError) as theirs:
            getattr(torch.nn.functional, name)(*[t and torch.zeros(s) for t, s in zip((1, 1, b), (x, w, b))], **options)
        assert message in str(theirs.value)


def test_errors_of_types():
    x, w = facula.zeros(X), facula.zeros(W)
    with pytest.raises(RuntimeError, match=r"Input type \(torch.FloatTensor\) and weight type \(torch.DoubleTensor\)"):
        facula.conv2d(x, w.double())
    with pytest.raises(RuntimeError, match=r"Input type \(float\) and bias type \(double\) should be the same"):
        facula.conv2d(x, w, facula.zeros(4).double())
    with pytest.raises(NotImplementedError, match="not implemented for 'Bool'"):
        facula.conv2d(x.bool(), w.bool())
    for bad in ((None, w), (x, None), (x, w, [1.0]), (x, w, None, 1.5), (x, w, None, True)):
        with pytest.raises(TypeError):
            facula.conv2d(*bad)


def test_conv_tbc():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(6)
    arrays = [rng.standard_normal(shape) for shape in ((5, 2, 3), (3, 3, 4), (4,))]
    expected = torch.conv_tbc(*map(torch.tensor, arrays), 1)
    np.testing.assert_allclose(
        facula.conv_tbc(*map(facula.from_numpy, arrays), 1).numpy(), expected.numpy(), atol=1e-12
    )
