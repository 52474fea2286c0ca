"""Dropout and the randomised leaky rectifier: noise drawn, and the input multiplied by it.

In: tensors, a probability, whether this is training. Out: tensors of the same shape; the input itself where nothing is
to be done. Masks are drawn as PyTorch's CPU kernels draw them: one Bernoulli number for each element (or channel), in
the order of the memory of a tensor made like the input.

Sources: N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014);
G. Klambauer et al., "Self-normalizing neural networks" (2017), for alpha dropout; B. Xu et al., "Empirical evaluation
of rectified activations in convolutional network" (2015), for rrelu.
"""

from __future__ import annotations

import math
from typing import Any

from facula.core import dtype as dt
from facula.core import errors
from facula.core.layout import CPU, Layout
from facula.engine.modes import modes
from facula.ops.copy import strided_like
from facula.ops.define import FUNCTIONS, METHODS, REGISTRY, composite, layout_of, operator
from facula.ops.inplace import check_in_place
from facula.ops.kernels.pointwise import KERNEL_TYPES
from facula.ops.random import bernoulli_, draw, generator_of
from facula.runtime import random as streams
from facula.runtime.objects import new_tensor

_SELU_LIMIT = 1.7580993408473766
"""scale * alpha of SELU: minus what it tends to on the left, which is what alpha dropout sets elements to."""


def _check(p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {p:g}")


def _in_memory_order(input: Any) -> Any:
    """The input itself if it is dense, else a dense copy; its elements then lie as those of a tensor made like it."""
    own = input._layout
    return input if own.contiguous or strided_like(own, None) is own else METHODS["clone"](input)


@operator(name="fused_dropout", function=False)
def _fused(input: Any, p: float) -> Any:
    """(input * noise, noise), where noise is 1 / (1 - p) with probability 1 - p, else 0."""
    geometry: Layout = input._layout
    if geometry.dtype.kind != "f":
        if geometry.dtype.kind in "iub":
            raise errors.result_cast(dt.get_default_dtype(), geometry.dtype)
        raise errors.not_implemented("bernoulli_scalar_cpu_", geometry.dtype)
    dense = _in_memory_order(input)
    out, noise = new_tensor(dense._layout), new_tensor(dense._layout)
    if geometry.device is CPU:
        kernel = streams.discrete.dropout(KERNEL_TYPES[geometry.dtype.code])
        draw(streams.default(), kernel, geometry.numel, (out, noise, dense), (1.0 - p,), 2)
    return out, noise


_fused.operator.differentiable_outputs = (0,)
_fused.operator.backward_name = "MulBackward0"
_fused.gradient(input=lambda grad, out1: METHODS["mul"](grad, out1))


def _noise(input: Any, p: float, by_channel: bool, scaled: bool) -> Any:
    """What the input is to be multiplied by: 1 (or 1 / (1 - p) if scaled) with probability 1 - p, else 0."""
    geometry = input._layout
    if by_channel:
        if len(geometry.shape) < 2:
            raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
        noise = new_tensor(geometry.with_shape((*geometry.shape[:2], *(1 for _ in geometry.shape[2:]))))
    else:
        noise = new_tensor(strided_like(geometry, None))
    bernoulli_(noise, 1.0 - p)
    return METHODS["div_"](noise, 1.0 - p) if scaled else noise


def _zero(input: Any) -> Any:
    """A factor that drops everything (NaN and infinities do not vanish)."""
    return FUNCTIONS["torch"]["zeros"]((), dtype=input._layout.dtype, device=input._layout.device)


def _alpha(input: Any, p: float, by_channel: bool) -> tuple[Any, Any]:
    """(factor, addend) that keep the mean and variance of normal numbers where dropped elements become -1.758."""
    scale = 1.0 / math.sqrt((_SELU_LIMIT * _SELU_LIMIT * p + 1.0) * (1.0 - p))
    noise = _noise(input, p, by_channel, scaled=False)
    addend = METHODS["add_"](METHODS["mul_"](METHODS["add"](noise, -1), _SELU_LIMIT * scale), _SELU_LIMIT * scale * p)
    return METHODS["mul_"](noise, scale), addend


def _idle(input: Any, p: float, train: bool, name: str) -> bool:
    """Whether the input is to be returned as it is."""
    numel = layout_of(input, name).numel
    _check(p)
    return p == 0 or not train or numel == 0


@composite()
def dropout(input: Any, p: float, train: bool) -> Any:
    """In training, zero each element with probability p and divide the others by 1 - p; else the input itself.

    RuntimeError unless 0 <= p <= 1.

    >>> torch.dropout(torch.ones(3), 0.5, False)
    tensor([1., 1., 1.])
    """
    if _idle(input, p, train, "dropout"):
        return input
    if p == 1:
        return METHODS["mul"](input, _zero(input))
    return _fused(input, float(p))[0]


@composite()
def dropout_(input: Any, p: float, train: bool) -> Any:
    """`dropout` into its own input."""
    if _idle(input, p, train, "dropout_"):
        return input
    check_in_place(input)
    return METHODS["mul_"](input, _zero(input) if p == 1 else _noise(input, p, by_channel=False, scaled=True))


@composite()
def feature_dropout(input: Any, p: float, train: bool) -> Any:
    """`dropout` of whole channels: one number is drawn for each pair of the first two indices."""
    if _idle(input, p, train, "feature_dropout"):
        return input
    return METHODS["mul"](input, _zero(input) if p == 1 else _noise(input, p, by_channel=True, scaled=True))


@composite()
def feature_dropout_(input: Any, p: float, train: bool) -> Any:
    """`feature_dropout` into its own input."""
    if _idle(input, p, train, "feature_dropout_"):
        return input
    check_in_place(input)
    return METHODS["mul_"](input, _zero(input) if p == 1 else _noise(input, p, by_channel=True, scaled=True))


def _alpha_dropout(input: Any, p: float, train: bool, by_channel: bool, name: str, in_place: bool) -> Any:
    if _idle(input, p, train, name):
        return input
    suffix = "_" if in_place else ""
    if in_place:
        check_in_place(input)
    if p == 1:
        return METHODS["mul" + suffix](input, _zero(input))
    factor, addend = _alpha(input, p, by_channel)
    return METHODS["add" + suffix](METHODS["mul" + suffix](input, factor), addend)


@composite()
def alpha_dropout(input: Any, p: float, train: bool) -> Any:
    """Dropout for SELU networks: dropped elements become -1.758 before all are scaled back to mean 0 and variance 1."""
    return _alpha_dropout(input, p, train, False, "alpha_dropout", in_place=False)


@composite()
def alpha_dropout_(input: Any, p: float, train: bool) -> Any:
    """`alpha_dropout` into its own input."""
    return _alpha_dropout(input, p, train, False, "alpha_dropout_", in_place=True)


@composite()
def feature_alpha_dropout(input: Any, p: float, train: bool) -> Any:
    """`alpha_dropout` of whole channels."""
    return _alpha_dropout(input, p, train, True, "feature_alpha_dropout", in_place=False)


@composite()
def feature_alpha_dropout_(input: Any, p: float, train: bool) -> Any:
    """`feature_alpha_dropout` into its own input."""
    return _alpha_dropout(input, p, train, True, "feature_alpha_dropout_", in_place=True)


@composite()
def native_dropout(input: Any, p: float, train: bool | None) -> Any:
    """(dropout(input), the mask of what was kept)."""
    if layout_of(input, "native_dropout").numel == 0:
        return input, METHODS["clone"](input)
    if train is not None and not train:
        return input, FUNCTIONS["torch"]["ones_like"](input, dtype=dt.bool)
    _check(p)
    out, noise = _fused(input, float(p))
    return out, METHODS["ne"](noise, 0)


# -- rrelu -------------------------------------------------------------------------------------------------------------
@operator(name="rrelu_with_noise", function=False)
def _rrelu(input: Any, lower: float, upper: float, generator: Any) -> Any:
    """(input * noise, noise), where noise is 1 for positive inputs and uniform on [lower, upper] for others."""
    geometry: Layout = input._layout
    if geometry.dtype not in (dt.float32, dt.float64, dt.bfloat16):
        raise errors.not_implemented("rrelu_with_noise_out_cpu", geometry.dtype)
    dense = METHODS["contiguous"](METHODS["detach"](input))
    out, noise = new_tensor(dense._layout), new_tensor(dense._layout)
    if geometry.device is CPU:
        kernel = streams.discrete.leaky_noise(KERNEL_TYPES[geometry.dtype.code])
        draw(generator, kernel, geometry.numel, (out, noise, dense), (lower, upper), 2)
    return out, noise


_rrelu.operator.differentiable_outputs = (0,)
_rrelu.gradient(input=lambda grad, out1: METHODS["mul"](grad, out1))


@composite()
def rrelu(
    input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, generator: Any = None
) -> Any:
    """x for x > 0, else x times a slope: drawn from [lower, upper] for each element in training, else their mean."""
    layout_of(input, "rrelu")
    if lower > upper:
        raise RuntimeError(
            f"Lower bound should be less than or equal to the upper bound, but got {lower:g} and {upper:g}"
        )
    if not training:
        return METHODS["contiguous"](REGISTRY["leaky_relu"](input, negative_slope=(lower + upper) / 2))
    return _rrelu(input, float(lower), float(upper), generator_of(generator, "rrelu"))[0]


@composite()
def rrelu_(
    input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, generator: Any = None
) -> Any:
    """`rrelu` into its own input."""
    check_in_place(input)
    drawn = rrelu(METHODS["detach"](input), lower, upper, training, generator)
    if not modes.grad_enabled or not input._requires_grad:
        return METHODS["copy_"](input, drawn)
    slope = METHODS["detach"](FUNCTIONS["torch"]["where"](METHODS["gt"](input, 0), 1.0, METHODS["div"](drawn, input)))
    return METHODS["mul_"](input, slope)
