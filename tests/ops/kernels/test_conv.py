"""Convolution kernels against sums over taps in NumPy: every way to compute, all products, any number of threads."""

import itertools

import numpy as np
import pytest

from facula.kernel.language import host
from facula.ops.kernels import conv
from facula.ops.kernels.conv_depthwise import Depthwise, DepthwiseWeight
from facula.ops.kernels.conv_plan import Correlation, Tiling
from facula.ops.kernels.conv_weight import WeightGradient, WeightTiling
from facula.runtime import threads

NAMES = {"f32": "f4", "f64": "f8"}


@pytest.fixture(autouse=True)
def keep_thread_count():
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


def sizes(dtype, images, channels, inputs, outputs, kernel, stride=1, padding=0, dilation=1, groups=1):
    """Sizes for one to three dimensions; single numbers stand for all of them."""
    dims = len(inputs)
    spread = [value if isinstance(value, tuple) else (value,) * dims for value in (kernel, stride, padding, dilation)]
    out = tuple((i + 2 * p - d * (k - 1) - 1) // s + 1 for i, k, s, p, d in zip(inputs, *spread))
    kernel, stride, padding, dilation = spread
    one, zero = (1,) * (3 - dims), (0,) * (3 - dims)
    return conv.Sizes(
        dtype, images, groups, channels, outputs, (*one, *inputs), (*one, *out), (*one, *kernel), (*one, *stride),
        (*zero, *padding), (*one, *dilation),
    )  # fmt: skip


def tap_slices(own, tap):
    """Slices of the outputs, and of the inputs that they read, at one tap."""
    inner, outer = [], []
    for axis in range(3):
        shift = tap[axis] * own.dilation[axis] - own.padding[axis]
        stride, size = own.stride[axis], own.inputs[axis]
        first = max(0, -(shift // stride))
        last = min(own.outputs[axis] - 1, (size - 1 - shift) // stride)
        if last < first:
            return None
        outer.append(slice(first, last + 1))
        inner.append(slice(first * stride + shift, last * stride + shift + 1, stride))
    return (..., *outer), (..., *inner)


def reference(own, x, w, dy):
    """(y, dx, dw) in float64, tap by tap."""
    groups, images = own.groups, own.images
    x, dy = (a.astype("f8").reshape(images, groups, -1, *a.shape[2:]) for a in (x, dy))
    w = w.astype("f8").reshape(groups, own.group_outputs, own.group_inputs, *own.kernel)
    y, dx, dw = np.zeros_like(dy), np.zeros_like(x), np.zeros_like(w)
    for tap in itertools.product(*(range(k) for k in own.kernel)):
        found = tap_slices(own, tap)
        if found is None:
            continue
        outer, inner = found
        at = w[..., tap[0], tap[1], tap[2]]
        y[outer] += np.einsum("goc,ngcdhw->ngodhw", at, x[inner])
        dx[inner] += np.einsum("goc,ngodhw->ngcdhw", at, dy[outer])
        dw[..., tap[0], tap[1], tap[2]] = np.einsum("ngodhw,ngcdhw->goc", dy[outer], x[inner])
    shape = (images, own.out_channels, *own.outputs), (images, own.in_channels, *own.inputs)
    return y.reshape(shape[0]), dx.reshape(shape[1]), dw.reshape(own.out_channels, own.group_inputs, *own.kernel)


def data(own, seed=0):
    rng = np.random.default_rng(seed)
    shapes = (
        (own.images, own.in_channels, *own.inputs),
        (own.out_channels, own.group_inputs, *own.kernel),
        (own.images, own.out_channels, *own.outputs),
        (own.out_channels,),
    )
    return [rng.standard_normal(shape).astype(NAMES[own.dtype]) for shape in shapes]


def assert_close(found, expected, own):
    scale = max(1e-3, float(np.abs(expected).max(initial=0)))
    assert np.abs(found - expected).max(initial=0) <= scale * (3e-6 if own.dtype == "f32" else 1e-13)


def run(plan, shape, dtype, *operands):
    out = np.full(shape, np.nan, NAMES[dtype])
    plan.run(*(a if isinstance(a, int) else a.ctypes.data for a in operands), out.ctypes.data)
    return out


def check(own):
    x, w, dy, bias = data(own)
    y, dx, dw = reference(own, x, w, dy)
    y += bias.astype("f8").reshape(-1, 1, 1, 1)
    assert_close(run(conv.forward(own), y.shape, own.dtype, x, w, bias), y, own)
    assert_close(run(conv.input_gradient(own), dx.shape, own.dtype, dy, w, 0), dx, own)
    assert_close(run(conv.weight_gradient(own), dw.shape, own.dtype, x, dy), dw, own)


CASES = {
    "lenet 1": ((3, 1, (28, 28), 6, 5), {}),
    "lenet 2": ((3, 6, (12, 12), 16, 5), {}),
    "wide channels": ((2, 40, (9, 9), 35, 3), {"padding": 1}),
    "pointwise": ((2, 24, (7, 7), 40, 1), {}),
    "stride 2": ((2, 3, (19, 23), 8, 3), {"stride": 2, "padding": 1}),
    "stride 3, pointwise": ((1, 4, (11, 10), 5, 1), {"stride": 3}),
    "stem": ((1, 3, (30, 30), 10, 7), {"stride": 2, "padding": 3}),
    "dilated, uneven": ((2, 3, (17, 12), 5, (2, 3)), {"stride": (1, 3), "padding": (2, 0), "dilation": (2, 1)}),
    "groups": ((2, 6, (8, 9), 9, 3), {"groups": 3, "padding": 1}),
    "padding wider than the kernel": ((1, 2, (5, 4), 3, 2), {"padding": 4}),
    "one dimension": ((2, 5, (40,), 7, 4), {"stride": 2, "padding": 1, "dilation": 2}),
    "three dimensions": ((1, 3, (5, 6, 7), 4, 3), {"stride": (2, 1, 2), "padding": (1, 0, 1)}),
    "kernel wider than the registers": ((1, 2, (40, 40), 3, (1, 36)), {}),
    "empty": ((0, 2, (5, 5), 3, 3), {}),
}


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("case", CASES)
def test_products(case, dtype):
    arguments, options = CASES[case]
    own = sizes(dtype, *arguments, **options)
    if own.images:
        check(own)
    else:
        conv.forward(own).run(0, 0, 0, 0)


@pytest.mark.parametrize("over", ["positions", "channels"])
@pytest.mark.parametrize("reading", ["bare", "padded", "packed"])
@pytest.mark.parametrize("halves", [1, 2])
def test_every_way_to_compute_the_same(over, reading, halves):
    """Also with several chunks of planes, and outputs that fill no tile."""
    if over == "channels" and reading == "packed":
        pytest.skip("packed panels are made for vectors of positions")
    own = sizes("f32", 2, 90, (10, 27), 21, 3, padding=0 if reading == "bare" else 1)
    lanes = host().lanes(4) // halves
    tiling = Tiling(lanes, 3, 2, reading, over)
    axes = conv._forward_axes(own)
    plan = Correlation("f32", 2, 1, 90, 21, axes, (90 * 9, 9), (1, 3, 3), tiling)
    x, w, dy, bias = data(own)
    y = reference(own, x, w, dy)[0] + bias.astype("f8").reshape(-1, 1, 1, 1)
    assert_close(run(plan, y.shape, "f32", x, w, bias), y, own)


def test_weight_gradient_of_many_images_is_summed_in_chunks():
    own = sizes("f32", 37, 3, (24, 24), 5, 3, padding=1)
    plan = conv.weight_gradient(own)
    assert isinstance(plan, WeightGradient) and plan.items > 1
    x, w, dy, _ = data(own)
    expected = reference(own, x, w, dy)[2]
    assert_close(run(plan, expected.shape, "f32", x, dy), expected, own)
    narrow = WeightGradient("f32", 37, 1, 3, 5, conv._forward_axes(own), WeightTiling(4, 2, 1, 3))
    assert_close(run(narrow, expected.shape, "f32", x, dy), expected, own)


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), ((2, 5), (0, 4)), (1, 0)])
def test_depthwise(dtype, kernel, padding):
    own = sizes(dtype, 3, 18, (9, 21), 18, kernel, padding=padding, groups=18)
    assert isinstance(conv.forward(own), Depthwise) and isinstance(conv.weight_gradient(own), DepthwiseWeight)
    check(own)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((40, 6, (12, 12), 16, 5), {}),
        ((2, 64, (28, 28), 64, 3), {"padding": 1}),
        ((2, 32, (40, 40), 32, 3), {"padding": 1, "groups": 32}),
        ((1, 3, (64, 64), 32, 7), {"stride": 2, "padding": 3}),
    ],
)
def test_same_bits_on_any_number_of_threads(arguments, options):
    own = sizes("f32", *arguments, **options)
    x, w, dy, bias = data(own)
    found = []
    for count in (1, 2, 3):
        threads.set_num_threads(count)
        found.append(
            [
                run(conv.forward(own), dy.shape, "f32", x, w, bias),
                run(conv.input_gradient(own), x.shape, "f32", dy, w, 0),
                run(conv.weight_gradient(own), w.shape, "f32", x, dy),
            ]
        )
    for other in found[1:]:
        assert all((a == b).all() for a, b in zip(found[0], other))


def test_random_geometries():
    rng = np.random.default_rng(3)
    for _ in range(25):
        dims, groups = int(rng.integers(1, 4)), int(rng.choice([1, 1, 2]))
        kernel, stride, padding, dilation = (
            tuple(int(n) for n in rng.integers(low, high, dims)) for low, high in ((1, 5), (1, 4), (0, 4), (1, 3))
        )
        inputs = tuple(
            int(n) + d * (k - 1) for n, k, d in zip(rng.integers(1, (50, 18, 8)[dims - 1], dims), kernel, dilation)
        )
        channels, outputs = (groups * int(n) for n in rng.integers(1, 12, 2))
        check(
            sizes("f64", int(rng.integers(1, 4)), channels, inputs, outputs, kernel, stride, padding, dilation, groups)
        )
