"""Activation functions: scalar bodies, so that each is one fused kernel forward and one backward.

Gradients that can be written with the result are, so that the in-place forms (`relu_`, `elu_`, ...) differentiate too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from facula.ops import scalar as sc
from facula.ops.define import composite, publish
from facula.ops.elementwise import pointwise
from facula.ops.inplace import pointwise_in_place

SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


@pointwise()
def relu(input: Any) -> Any:
    """max(input, 0).

    >>> torch.relu(torch.tensor([-1., 2.]))
    tensor([0., 2.])
    """
    return sc.select(input <= 0, 0, input)


@relu.gradient
def _(grad: Any, out: Any) -> Any:
    return sc.select(out <= 0, 0.0, grad)


def _with_numbers(
    name: str, operator: Any, names: tuple[str, ...], defaults: tuple[Any, ...], method: bool = False
) -> Callable[..., Any]:
    """The public function of an operator whose numbers may be given by position, and its in-place form."""

    def numbers(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if len(args) > len(names):
            raise TypeError(f"{name}() takes {len(names) + 1} positional arguments but {len(args) + 1} were given")
        given = dict(zip(names, defaults, strict=True))
        given.update(zip(names, args, strict=False))
        unknown = set(kwargs) - set(names)
        if unknown:
            raise TypeError(f"{name}() got an unexpected keyword argument '{unknown.pop()}'")
        given.update(kwargs)
        return {k: v.item() if hasattr(v, "item") else v for k, v in given.items()}

    def function(input: Any, *args: Any, **kwargs: Any) -> Any:
        return operator(input, **numbers(args, kwargs))

    def in_place(input: Any, *args: Any, **kwargs: Any) -> Any:
        return pointwise_in_place(operator.operator, [input], numbers(args, kwargs))

    function.__name__ = function.__qualname__ = name
    in_place.__name__ = in_place.__qualname__ = name + "_"
    function.__doc__ = operator.__doc__
    in_place.__doc__ = f"In-place version of `{name}`."
    publish(name, function, method=method, namespaces=("torch",) if name in _IN_TORCH else ("torch.nn.functional",))
    publish(
        name + "_", in_place, method=method, namespaces=("torch",) if name in _IN_TORCH else ("torch.nn.functional",)
    )
    return function


_IN_TORCH = {"celu", "selu", "threshold", "rrelu", "hardshrink", "prelu"}


def _define(
    name: str, defaults: tuple[Any, ...] = (), method: bool = False, result: str = "float"
) -> Callable[[Callable[..., Any]], Any]:
    def define(body: Callable[..., Any]) -> Any:
        made = pointwise(name=name, method=False, function=False, in_place=False, result=result)(body)
        names = tuple(made.operator.numbers)
        made.public = _with_numbers(name, made, names, defaults, method)
        return made

    return define


@_define("leaky_relu", (0.01,))
def leaky_relu(input: Any, *, negative_slope: Any = 0.01) -> Any:
    """input where positive, else negative_slope * input."""
    return sc.select(input > 0, input, input * negative_slope)


@_define("elu", (1.0, 1.0, 1.0))
def elu(input: Any, *, alpha: Any = 1.0, scale: Any = 1.0, input_scale: Any = 1.0) -> Any:
    """input where positive, else alpha * (exp(input) - 1)."""
    return sc.select(input > 0, input * scale, sc.expm1(input * input_scale) * (alpha * scale))


@elu.gradient
def _(grad: Any, out: Any, alpha: Any, scale: Any, input_scale: Any) -> Any:
    return sc.select(out <= 0, grad * input_scale * (out + alpha * scale), grad * scale)


@_define("selu", (), True)
def selu(input: Any) -> Any:
    """scale * (max(0, x) + min(0, alpha * (exp(x) - 1))), with the constants of Klambauer et al. 2017."""
    return sc.select(input > 0, input * SELU_SCALE, sc.expm1(input) * (SELU_ALPHA * SELU_SCALE))


@selu.gradient
def _(grad: Any, out: Any) -> Any:
    return sc.select(out <= 0, grad * (out + SELU_ALPHA * SELU_SCALE), grad * SELU_SCALE)


@_define("celu", (1.0,), True)
def celu(input: Any, *, alpha: Any = 1.0) -> Any:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1))."""
    return sc.select(input > 0, input, sc.expm1(input / alpha) * alpha)


@celu.gradient
def _(grad: Any, out: Any, alpha: Any) -> Any:
    return sc.select(out <= 0, grad * (out / alpha + 1.0), grad)


def _softplus(x: Any) -> Any:
    return sc.select(x > 20.0, x, sc.log1p(sc.exp(x)))


@_define("silu")
def silu(input: Any) -> Any:
    """input * sigmoid(input)."""
    return input / (1.0 + sc.exp(-input))


@silu.gradient
def _(grad: Any, input: Any) -> Any:
    s = sc.sigmoid(input)
    return grad * (s * (1.0 + input * (1.0 - s)))


@_define("mish")
def mish(input: Any) -> Any:
    """input * tanh(log(1 + exp(input)))."""
    return input * sc.tanh(_softplus(input))


@mish.gradient
def _(grad: Any, input: Any) -> Any:
    t = sc.tanh(_softplus(input))
    return grad * (t + input * sc.sigmoid(input) * (1.0 - t * t))


@_define("softplus", (1.0, 20.0))
def softplus(input: Any, *, beta: Any = 1.0, threshold: Any = 20.0) -> Any:
    """log(1 + exp(beta * x)) / beta; x itself where beta * x > threshold."""
    scaled = input * beta
    return sc.select(scaled > threshold, input, sc.log1p(sc.exp(scaled)) / beta)


@softplus.gradient
def _(grad: Any, input: Any, beta: Any, threshold: Any) -> Any:
    scaled = input * beta
    return sc.select(scaled > threshold, grad, grad * sc.sigmoid(scaled))


@_define("logsigmoid")
def logsigmoid(input: Any) -> Any:
    """log(sigmoid(x)), without overflow."""
    return sc.minimum(input, 0.0) - sc.log1p(sc.exp(-sc.absolute(input)))


@logsigmoid.gradient
def _(grad: Any, input: Any) -> Any:
    return grad * sc.sigmoid(-input)


@_define("hardtanh", (-1.0, 1.0), result="same")
def hardtanh(input: Any, *, min_val: Any = -1.0, max_val: Any = 1.0) -> Any:
    """input kept within [min_val, max_val]."""
    return sc.select(input < min_val, min_val, sc.select(input > max_val, max_val, input))


@hardtanh.gradient
def _(grad: Any, out: Any, min_val: Any, max_val: Any) -> Any:
    return sc.select((out <= min_val) | (out >= max_val), 0.0, grad)


@_define("hardsigmoid")
def hardsigmoid(input: Any) -> Any:
    """min(max(x + 3, 0), 6) / 6."""
    return sc.minimum(sc.maximum(input + 3.0, 0.0), 6.0) / 6.0


@hardsigmoid.gradient
def _(grad: Any, out: Any) -> Any:
    return sc.select((out > 0.0) & (out < 1.0), grad / 6.0, 0.0)


@_define("hardswish")
def hardswish(input: Any) -> Any:
    """x * min(max(x + 3, 0), 6) / 6."""
    return input * sc.minimum(sc.maximum(input + 3.0, 0.0), 6.0) / 6.0


@hardswish.gradient
def _(grad: Any, input: Any) -> Any:
    return sc.select(input <= -3.0, 0.0, sc.select(input < 3.0, grad * (input / 3.0 + 0.5), grad))


@_define("hardshrink", (0.5,), True)
def hardshrink(input: Any, *, lambd: Any = 0.5) -> Any:
    """input where |input| > lambd, else 0."""
    return sc.select((input >= -lambd) & (input <= lambd), 0.0, input)


@_define("softshrink", (0.5,))
def softshrink(input: Any, *, lambd: Any = 0.5) -> Any:
    """input moved towards 0 by lambd; 0 where |input| <= lambd."""
    return sc.select(input > lambd, input - lambd, sc.select(input < -lambd, input + lambd, 0.0))


@softshrink.gradient
def _(grad: Any, input: Any, lambd: Any) -> Any:
    return sc.select((input >= -lambd) & (input <= lambd), 0.0, grad)


@_define("threshold", (0.0, 0.0), result="same")
def threshold(input: Any, *, threshold: Any = 0.0, value: Any = 0.0) -> Any:
    """input where input > threshold, else value."""
    return sc.select(input <= threshold, value, input)


@threshold.gradient
def _(grad: Any, input: Any, threshold: Any) -> Any:
    return sc.select(input <= threshold, 0.0, grad)


@pointwise(name="gelu", method=False, function=False, in_place=False, result="float")
def _gelu_exact(input: Any) -> Any:
    return input * 0.5 * (1.0 + sc.rational_erf(input * math.sqrt(0.5)))


@_gelu_exact.gradient
def _(grad: Any, input: Any) -> Any:
    area = 0.5 * (1.0 + sc.rational_erf(input * math.sqrt(0.5)))
    return grad * (area + input * (sc.exp(input * input * -0.5) * (1 / math.sqrt(2 * math.pi))))


@pointwise(name="gelu", method=False, function=False, in_place=False, result="float")
def _gelu_tanh(input: Any) -> Any:
    return input * 0.5 * (1.0 + sc.tanh((input + input * input * input * 0.044715) * math.sqrt(2 / math.pi)))


@composite(namespaces=("torch.nn.functional",))
def gelu(input: Any, *, approximate: str = "none") -> Any:
    """input times the probability that a normal variable lies below it; approximate='tanh' for the usual approximation."""
    if approximate == "none":
        return _gelu_exact(input)
    if approximate == "tanh":
        return _gelu_tanh(input)
    raise RuntimeError("approximate argument must be either none or tanh.")


@pointwise(name="prelu_", method=False, function=False, in_place=False, result="float")
def _prelu(input: Any, weight: Any) -> Any:
    return sc.select(input > 0, input, input * weight)


@composite(method=True)
def prelu(input: Any, weight: Any) -> Any:
    """input where positive, else weight * input; one weight for all, or one per channel (dimension 1)."""
    from facula.ops.view import reshape

    shape = input._layout.shape
    if weight._layout.numel != 1:
        if not shape:
            raise RuntimeError("Not allow zero-dim input tensor.")
        channels = shape[1] if len(shape) > 1 else 1
        if channels != weight._layout.numel:
            raise RuntimeError(
                f"Mismatch of parameter numbers and input channel size. Found parameter numbers = {weight._layout.numel} and channel size = {channels}."
            )
        weight = reshape(weight, (1, channels, *([1] * (len(shape) - 2)))) if len(shape) > 1 else weight
    elif len(shape) != len(weight._layout.shape):
        weight = reshape(weight, (1,) * len(shape))
    return _prelu(input, weight)


@composite(namespaces=("torch.nn.functional",))
def softsign(input: Any) -> Any:
    """x / (1 + |x|)."""
    return input / (input.abs() + 1)


@composite(namespaces=("torch.nn.functional",))
def tanhshrink(input: Any) -> Any:
    """x - tanh(x)."""
    return input - input.tanh()
