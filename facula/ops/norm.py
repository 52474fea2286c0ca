"""Normalisation: layer, root mean square, group and batch.

In: a tensor, the shape or channels to normalise over, scale and shift. Out: a dense tensor of the same shape; running
statistics are updated in place. Each is one kernel forward and one backward (and one to add up the parameters' gradients);
where a gradient is to be differentiated again it is composed of operators.

Sources: S. Ioffe, C. Szegedy, "Batch normalization" (2015); J. Ba et al., "Layer normalization" (2016); Y. Wu, K. He,
"Group normalization" (2018); B. Zhang, R. Sennrich, "Root mean square layer normalization" (2019).
"""

from __future__ import annotations

import math
from typing import Any

from facula.core import dtype as dt
from facula.core import errors
from facula.core.layout import Layout, layout, register_cache
from facula.engine.modes import modes
from facula.ops.copy import contiguous, convert
from facula.ops.define import METHODS, composite, layout_of, operator
from facula.ops.dispatch import Launch
from facula.ops.kernels import batch_norm as channels_kernels
from facula.ops.kernels import norm as kernels
from facula.runtime.objects import new_tensor

_plans: dict[Any, Any] = register_cache({})
BLOCKS = 32
"""Parts in which the gradients of the parameters of rows are summed."""


def _dense(x: Any) -> Any:
    return x if x._layout.contiguous else contiguous(x)


def _exact(own: Layout) -> dt.dtype:
    """The dtype of kept statistics."""
    return dt.float64 if own.dtype is dt.float64 else dt.float32


def _lanes(own: Layout) -> int:
    return kernels.host().lanes(_exact(own).itemsize)  # type: ignore[no-any-return]


def _composed(grad: Any, x: Any, factor: Any, dims: tuple[int, ...], eps: float, centred: bool) -> tuple[Any, Any]:
    """(gradient of x, grad * normalised x) in operators."""
    mean = METHODS["mean"]
    apart = x - mean(x, dims, True) if centred else x
    scale = (mean(apart * apart, dims, True) + eps).rsqrt()
    normal = apart * scale
    slope = grad if factor is None else grad * factor
    along = normal * mean(slope * normal, dims, True)
    rest = slope - mean(slope, dims, True) - along if centred else slope - along
    return rest * scale, grad * normal


def _in_wider(function: Any, input: Any, parameters: tuple[Any, ...], *rest: Any) -> Any:
    """For half precisions with float32 parameters: computed in float32. torch's error for other mixtures."""
    own = input._layout.dtype
    for p in parameters:
        if p is not None and p._layout.dtype is not own:
            if own not in (dt.float16, dt.bfloat16) or p._layout.dtype is not dt.float32:
                raise RuntimeError("mixed dtype (CPU): all inputs must share same datatype.")
            wide = tuple(
                None if q is None else q if q._layout.dtype is dt.float32 else convert(q, dt.float32)
                for q in parameters
            )
            return convert(function(convert(input, dt.float32), *wide, *rest), own)
    return NotImplemented


# -- rows ------------------------------------------------------------------------------------------------------------
def _row_plan(own: Layout, n: int, centred: bool, weighted: bool, shifted: bool, eps: float) -> Any:
    key = ("rows", own, n, centred, weighted, shifted, eps)
    plan = _plans.get(key)
    if plan is None:
        rows = own.numel // n if n else 0
        code, exact = own.dtype.code, _exact(own)
        per = max(1, -(-rows // BLOCKS), -(-2048 // max(1, n)))
        blocks = -(-rows // per)
        grain = max(1, 16384 // max(1, n))
        forward = Launch(kernels.row_norm(code, centred, weighted, shifted), rows, grain, (n, eps))
        backward = Launch(
            kernels.row_norm_gradient(code, centred, weighted, shifted),
            blocks,
            max(1, 8192 // max(1, n * per)),
            (n, rows, per),
        )
        strips = -(-n // _lanes(own))
        last = Launch(kernels.sum_parts(code, shifted), strips, max(1, 1024 // max(1, blocks)), (n, blocks))
        kept = layout((rows,), None, exact, own.device)
        parts = layout((blocks, 2, n) if weighted else (0,), None, exact, own.device)
        plan = _plans[key] = forward, backward, last, own.dense(), kept, parts
    return plan


def _row_forward(centred: bool) -> Any:
    def forward(input: Any, weight: Any, bias: Any, n: int, eps: float) -> Any:
        launch, _, _, out, kept, _ = _row_plan(input._layout, n, centred, weight is not None, bias is not None, eps)
        x, result, scales = _dense(input), new_tensor(out), new_tensor(kept)
        means = new_tensor(kept) if centred else scales
        launch(
            (result, means, scales, x, x if weight is None else _dense(weight), x if bias is None else _dense(bias)), 3
        )
        return result, means, scales

    return forward


def _row_gradient(centred: bool) -> Any:
    def rule(
        grad: Any, input: Any, weight: Any, bias_layout: Any, n: int, eps: float, out1: Any, out2: Any, needs: Any
    ) -> Any:
        weighted, shifted = weight is not None, bias_layout is not None
        if modes.grad_enabled:
            shape = input._layout.shape
            dims: list[int] = []
            size = 1
            for d in range(len(shape) - 1, -1, -1):
                if size == n and dims:
                    break
                dims.append(d)
                size *= shape[d]
            slope, product = _composed(grad, input, weight, tuple(dims), eps, centred)
            return slope, product if weighted else None, grad if shifted else None
        _, launch, last, out, _, partial = _row_plan(input._layout, n, centred, weighted, shifted, eps)
        x, slope, parts = _dense(input), new_tensor(out), new_tensor(partial)
        launch((slope, parts, _dense(grad), x, out1, out2, _dense(weight) if weighted else x), 2)
        if not weighted or not (needs[1] or (shifted and needs[2])):
            return slope, None, _plain_sum(grad, bias_layout) if shifted else None
        by_w = new_tensor(weight._layout.dense())
        by_b = new_tensor(bias_layout.dense()) if shifted else by_w
        last((by_w, by_b, parts), 2)
        return slope, by_w, by_b if shifted else None

    return rule


def _plain_sum(grad: Any, target: Layout) -> Any:
    from facula.ops.reduce import sum_to_shape

    return sum_to_shape(grad, target.shape)


_layer_norm = operator("native_layer_norm", function=False)(_row_forward(True))
_rms_norm = operator("fused_rms_norm", function=False)(_row_forward(False))
_layer_norm.operator.backward_name, _rms_norm.operator.backward_name = "NativeLayerNormBackward0", "MulBackward0"
for _made, _is_centred in ((_layer_norm, True), (_rms_norm, False)):
    _made.operator.differentiable_outputs = (0,)
    _made.joint_gradient("input", "weight", "bias")(_row_gradient(_is_centred))


def _normalized(
    input: Any, normalized_shape: Any, weight: Any, bias: Any, name: str, kind: str
) -> tuple[int, Any, Any]:
    """The number of elements that are normalised together; torch's errors."""
    own = layout_of(input, name)
    if isinstance(normalized_shape, int) or not isinstance(normalized_shape, (tuple, list)):
        raise TypeError(
            f"{name}(): argument 'normalized_shape' (position 2) must be tuple of ints, not {type(normalized_shape).__name__}"
        )
    wanted = tuple(normalized_shape)
    if not wanted:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got normalized_shape = []"
        )
    for what, p in (("weight", weight), ("bias", bias)):
        if p is not None and p._layout.shape != wanted:
            raise RuntimeError(
                f"Expected {what} to be of same shape as normalized_shape, but got {what} of shape {errors.sizes(p._layout.shape)} and "
                f"normalized_shape = {errors.sizes(wanted)}"
            )
    if own.shape[len(own.shape) - len(wanted) :] != wanted or len(own.shape) < len(wanted):
        star = "[*" + (", " if kind == "LayerNormKernelImpl" else "") + ", ".join(map(str, wanted)) + "]"
        raise RuntimeError(
            f"Given normalized_shape={errors.sizes(wanted)}, expected input with shape {star}, but got input of size{errors.sizes(own.shape)}"
        )
    if own.dtype.kind != "f":
        raise errors.not_implemented(kind, own.dtype)
    return math.prod(wanted), weight, bias


_checked: dict[Any, Any] = register_cache({})


@composite()
def layer_norm(
    input: Any,
    normalized_shape: Any,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Any:
    """(input - mean) / sqrt(variance + eps) * weight + bias over the last dimensions, whose shape is `normalized_shape`.

    >>> torch.layer_norm(torch.tensor([[1., 3.]]), (2,))
    tensor([[-1.0000,  1.0000]])
    """
    return _over_rows(
        _layer_norm, input, normalized_shape, weight, bias, float(eps), "layer_norm", "LayerNormKernelImpl"
    )


@composite()
def rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    """input / sqrt(mean(input^2) + eps) * weight over the last dimensions; eps is by default the dtype's.

    >>> torch.rms_norm(torch.tensor([[3., 4.]]), (2,))
    tensor([[0.8485, 1.1314]])
    """
    if eps is None:
        eps = dt.finfo(_exact(layout_of(input, "rms_norm"))).eps
    return _over_rows(_rms_norm, input, normalized_shape, weight, None, float(eps), "rms_norm", "RmsNormKernelImpl")


def _over_rows(
    core: Any, input: Any, normalized_shape: Any, weight: Any, bias: Any, eps: float, name: str, kind: str
) -> Any:
    key = None
    if type(normalized_shape) in (tuple, list):
        parameters = tuple([p if p is None else p._layout for p in (weight, bias)])
        key = (name, layout_of(input, name), tuple(normalized_shape), parameters)
    n = _checked.get(key) if key is not None else None
    if n is None:
        n, weight, bias = _normalized(input, normalized_shape, weight, bias, name, kind)
        wider = _in_wider(lambda x, w, b: core(x, w, b, n, eps)[0], input, (weight, bias))
        if wider is not NotImplemented:
            return wider
        if key is not None:
            _checked[key] = n
    return core(input, weight, bias, n, eps)[0]


# -- groups ----------------------------------------------------------------------------------------------------------
def _group_plan(own: Layout, groups: int, weighted: bool, shifted: bool, eps: float) -> Any:
    key = ("groups", own, groups, weighted, shifted, eps)
    plan = _plans.get(key)
    if plan is None:
        samples, channels = own.shape[:2]
        size, each, code, exact = math.prod(own.shape[2:]), channels // groups, own.dtype.code, _exact(own)
        grain = max(1, 16384 // max(1, each * size))
        tail = (groups, each, size)
        forward = Launch(kernels.group_norm(code, weighted, shifted), samples * groups, grain, (*tail, eps))
        backward = Launch(kernels.group_norm_gradient(code, weighted), samples * groups, grain, tail)
        kept = layout((samples * groups,), None, exact, own.device)
        sums = layout((samples, channels), None, exact, own.device)
        plan = _plans[key] = forward, backward, own.dense(), kept, sums
    return plan


@operator("native_group_norm", function=False)
def _group_norm(input: Any, weight: Any, bias: Any, groups: int, eps: float) -> Any:
    launch, _, out, kept, _ = _group_plan(input._layout, groups, weight is not None, bias is not None, eps)
    x, result, means, scales = _dense(input), new_tensor(out), new_tensor(kept), new_tensor(kept)
    launch((result, means, scales, x, x if weight is None else _dense(weight), x if bias is None else _dense(bias)), 3)
    return result, means, scales


_group_norm.operator.differentiable_outputs = (0,)


@_group_norm.joint_gradient("input", "weight", "bias")
def _(
    grad: Any, input: Any, weight: Any, bias_layout: Any, groups: int, eps: float, out1: Any, out2: Any, needs: Any
) -> Any:
    own, total = input._layout, METHODS["sum"]
    weighted, shifted = weight is not None, bias_layout is not None
    if modes.grad_enabled:
        samples, channels = own.shape[:2]
        shape = (samples, groups, channels // groups, math.prod(own.shape[2:]))
        factor = weight.reshape(1, groups, -1, 1) if weighted else None
        given = grad.reshape(shape)
        slope, product = _composed(given, input.reshape(shape), factor, (2, 3), eps, True)
        by_w = total(product, (0, 3)).reshape(-1) if weighted else None
        return slope.reshape(own.shape), by_w, total(given, (0, 3)).reshape(-1) if shifted else None
    _, launch, out, _, sums = _group_plan(own, groups, weighted, shifted, eps)
    x, slope, by_w, by_b = _dense(input), new_tensor(out), new_tensor(sums), new_tensor(sums)
    launch((slope, by_w, by_b, _dense(grad), x, out1, out2, _dense(weight) if weighted else x), 3)
    return slope, total(by_w, 0) if weighted and needs[1] else None, total(by_b, 0) if shifted and needs[2] else None


@composite()
def group_norm(
    input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn_enabled: bool = True
) -> Any:
    """Each group of channels of each sample of (N, C, *) normalised; then times `weight`, plus `bias`, both (C)."""
    own = layout_of(input, "group_norm")
    if len(own.shape) < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {len(own.shape)}")
    channels = own.shape[1]
    if num_groups <= 0:
        raise RuntimeError(f"Expected num groups to be greater than 0, got {num_groups}")
    if channels % num_groups:
        raise RuntimeError(
            f"Expected number of channels in input to be divisible by num_groups, but got input of shape {errors.sizes(own.shape)} and "
            f"num_groups={num_groups}"
        )
    for what, p in (("weight", weight), ("bias", bias)):
        if p is not None and p._layout.shape != (channels,):
            raise RuntimeError(
                f"Expected {what} to be a vector of size equal to the number of channels in input, but got {what} of shape "
                f"{errors.sizes(p._layout.shape)} and input of shape {errors.sizes(own.shape)}"
            )
    if own.dtype.kind != "f":
        raise errors.not_implemented("GroupNormKernelImpl", own.dtype)
    wider = _in_wider(lambda x, w, b: _group_norm(x, w, b, num_groups, float(eps))[0], input, (weight, bias))
    return _group_norm(input, weight, bias, num_groups, float(eps))[0] if wider is NotImplemented else wider


# -- channels --------------------------------------------------------------------------------------------------------
def _batch_plan(own: Layout, training: bool, weighted: bool, running: bool, eps: float) -> Any:
    key = ("batch", own, training, weighted, running, eps)
    plan = _plans.get(key)
    if plan is None:
        samples, channels = own.shape[:2]
        size, code, exact = math.prod(own.shape[2:]), own.dtype.code, _exact(own)
        tail = (samples, channels, size)
        if size == 1:
            strip = _lanes(own) * channels_kernels.COLUMNS
            grain, n = max(1, 8192 // max(1, samples * strip)), -(-channels // strip)
            forward: Any = channels_kernels.batch_norm_columns(code, training, weighted, running)
            backward: Any = channels_kernels.batch_norm_columns_gradient(code, training, weighted)
        else:
            grain, n = max(1, 16384 // max(1, samples * size)), channels
            forward = channels_kernels.batch_norm(code, training, weighted, running)
            backward = channels_kernels.batch_norm_gradient(code, training, weighted)
        kept = layout((channels,), None, exact, own.device)
        plan = _plans[key] = (
            Launch(forward, n, grain, (*tail, eps)),
            Launch(backward, n, grain, tail),
            own.dense(),
            kept,
            kept.with_dtype(own.dtype),
        )
    return plan


@operator("native_batch_norm", function=False)
def _batch_norm(
    input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: bool, momentum: float, eps: float
) -> Any:
    """(result, mean, 1 / deviation); in training the running statistics are updated."""
    running = running_mean is not None
    launch, _, out, kept, _ = _batch_plan(input._layout, training, weight is not None, running, eps)
    x, result, means, scales = _dense(input), new_tensor(out), new_tensor(kept), new_tensor(kept)
    w, b = (x, x) if weight is None else (_dense(weight), _dense(bias))
    if not running:
        launch((result, means, scales, x, x, x, w, b, x, x), 3, (momentum,))
    elif training:
        mean, var = _dense(running_mean), _dense(running_var)
        launch((result, means, scales, mean, var, x, w, b, mean, var), 5, (momentum,))
        for target, made in ((running_mean, mean), (running_var, var)):
            target._storage.version += 1
            if made is not target:
                METHODS["copy_"](target, made)
    else:
        launch((result, means, scales, x, x, x, w, b, _dense(running_mean), _dense(running_var)), 3, (momentum,))
    return result, means, scales


_batch_norm.operator.differentiable_outputs = (0,)


@_batch_norm.joint_gradient("input", "weight", "bias")
def _(
    grad: Any,
    input: Any,
    weight: Any,
    training: bool,
    running_mean_layout: Any,
    eps: float,
    out1: Any,
    out2: Any,
    needs: Any,
) -> Any:
    own, total = input._layout, METHODS["sum"]
    weighted = weight is not None
    if modes.grad_enabled:
        spread = (1, -1, *(1 for _ in own.shape[2:]))
        dims = tuple(d for d in range(len(own.shape)) if d != 1)
        factor = weight.reshape(spread) if weighted else None
        if training:
            slope, product = _composed(grad, input, factor, dims, eps, True)
        else:
            scale = out2.detach().reshape(spread)
            slope = (grad if factor is None else grad * factor) * scale
            product = grad * ((input - out1.detach().reshape(spread)) * scale)
        return slope, total(product, dims) if weighted else None, total(grad, dims) if weighted else None
    _, launch, out, _, channel = _batch_plan(own, training, weighted, running_mean_layout is not None, eps)
    x, slope, by_w, by_b = _dense(input), new_tensor(out), new_tensor(channel), new_tensor(channel)
    launch((slope, by_w, by_b, _dense(grad), x, out1, out2, _dense(weight) if weighted else x), 3)
    return slope, by_w if weighted else None, by_b if weighted else None


@composite()
def batch_norm(
    input: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = True,
) -> Any:
    """Each channel of (N, C, *) normalised by its own statistics (training) or the running ones, scaled and shifted.

    In training the running mean and the running (unbiased) variance move by `momentum` towards the batch's.
    """
    own = layout_of(input, "batch_norm")
    if len(own.shape) < 2:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-len(own.shape)}, {len(own.shape) - 1}], but got 1)"
        )
    channels = own.shape[1]
    for what, p in (("running_mean", running_mean), ("running_var", running_var), ("weight", weight), ("bias", bias)):
        if p is None:
            if not training and what.startswith("running"):
                raise RuntimeError(f"{what} must be defined in evaluation mode")
        elif p._layout.numel != channels:
            raise RuntimeError(f"{what} should contain {channels} elements not {p._layout.numel}")
    if own.dtype.kind != "f":
        raise errors.not_implemented("batch_norm", own.dtype)
    for p in (weight, bias, running_mean, running_var):
        if p is not None and p._layout.dtype is not own.dtype:
            if own.dtype not in (dt.float16, dt.bfloat16) or any(
                q is not None and q._layout.dtype is not dt.float32 for q in (weight, bias, running_mean, running_var)
            ):
                raise RuntimeError("mixed dtype (CPU): all inputs must share same datatype.")
            wide = batch_norm(
                convert(input, dt.float32), weight, bias, running_mean, running_var, training, momentum, eps
            )
            return convert(wide, own.dtype)
    if weight is None and bias is not None:
        weight = bias.new_ones((channels,))
    elif bias is None and weight is not None:
        bias = weight.new_zeros((channels,))
    if not own.numel:
        return METHODS["clone"](input)
    if (running_mean is None) is not (running_var is None):
        raise RuntimeError("running_mean and running_var must both be given, or neither")
    return _batch_norm(input, weight, bias, running_mean, running_var, bool(training), float(momentum), float(eps))[0]


@_layer_norm.sample
def _(make: Any) -> Any:
    yield (make(3, 7), make(7), make(7), 7, 1e-5), {}
    yield (make(2, 3, 4), None, None, 12, 1e-5), {}


@_rms_norm.sample
def _(make: Any) -> Any:
    yield (make(3, 7), make(7), None, 7, 1e-5), {}


@_group_norm.sample
def _(make: Any) -> Any:
    yield (make(2, 6, 5), make(6), make(6), 3, 1e-5), {}


@_batch_norm.sample
def _(make: Any) -> Any:
    yield (make(4, 3, 5), make(3), make(3), None, None, True, 0.1, 1e-5), {}
    yield (make(6, 3), make(3), make(3), None, None, True, 0.1, 1e-5), {}
