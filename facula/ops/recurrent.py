"""A layer of a gated recurrent network over all steps of a sequence: one operator, one node in the graph.

The products with the input are made beforehand, for all steps at once. Each step then makes one product with the state and runs one kernel;
the backward does the same in reverse, and makes the weight's gradient in one product at the end.

In: gates (T, N, gates * H), states (N, H), a weight (gates * H, H). Out: the states at every step.

Sources: Hochreiter and Schmidhuber, "Long short-term memory", 1997; Cho et al., "Learning phrase representations using RNN
encoder-decoder", 2014.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.core.layout import Layout
from facula.engine.backward import run_backward
from facula.engine.modes import modes
from facula.ops.copy import contiguous
from facula.ops.define import operator
from facula.ops.dispatch import Launch
from facula.ops.join import cat, stack
from facula.ops.kernels import recurrent as kernels
from facula.ops.product import multiply
from facula.runtime.objects import new_tensor, wrap


def _dense(tensor: Any) -> Any:
    return tensor if tensor._layout.contiguous else contiguous(tensor)


def _steps(tensor: Any) -> list[Any]:
    """The entries along the first dimension, as tensors over the same memory."""
    own: Layout = tensor._layout
    inner = own.with_shape(own.shape[1:])
    size = inner.nbytes
    return [wrap(tensor._storage, tensor._data + t * size, inner) for t in range(own.shape[0])]


def _like(tensor: Any, shape: tuple[int, ...]) -> Any:
    return new_tensor(tensor._layout.with_shape(shape))


def _launch(kernel: Callable[[str], Any], state: Any) -> Launch:
    rows, size = state._layout.shape
    return Launch(kernel(state._layout.dtype.code), rows, max(1, 8192 // (16 * size)), (size,))


def _zeros(tensor: Any) -> Any:
    return tensor.new_zeros(tensor._layout.shape)


@operator(name="lstm_layer", function=False)
def lstm_layer(gates: Any, hidden: Any, cell: Any, weight: Any) -> Any:
    """All steps of an LSTM layer in one direction.

    gates: (T, N, 4 H), the input's part of i, f, g, o with all biases; hidden, cell: (N, H); weight: (4 H, H).
    Gives the hidden states (T, N, H), the last cell state (N, H), and what the backward needs.
    """
    length, batch, _ = gates._layout.shape
    size = weight._layout.shape[1]
    states, cells = _like(gates, (length, batch, size)), _like(gates, (length, batch, size))
    kept = _like(gates, (length, batch, 4 * size))
    h, c = _dense(hidden), _dense(cell)
    launch = _launch(kernels.lstm_forward, h)
    for x, next_h, next_c, k in zip(_steps(_dense(gates)), _steps(states), _steps(cells), _steps(kept), strict=True):
        launch((next_h, next_c, k, x, multiply(h, weight, False, True), c), 3)
        h, c = next_h, next_c
    return states, c, kept, cells


lstm_layer.operator.differentiable_outputs = (0, 1)


@lstm_layer.joint_gradient("gates", "hidden", "cell", "weight")
def _lstm_gradient(grads: Any, gates: Any, hidden: Any, cell: Any, weight: Any, out0: Any, out2: Any, out3: Any) -> Any:
    if modes.grad_enabled:
        return _differentiable(lstm_steps, (gates, hidden, cell, weight), grads[:2])
    above = _dense(grads[0]) if grads[0] is not None else _zeros(out0)
    slopes = _like(gates, gates._layout.shape)
    h, c = _dense(hidden), _dense(cell)
    after = _dense(grads[1]) if grads[1] is not None else _zeros(c)
    later = _zeros(h)
    launch = _launch(kernels.lstm_backward, h)
    cells, rows = [c, *_steps(out3)], zip(_steps(slopes), _steps(out2), _steps(above), strict=True)
    for t, (slope, kept, own) in reversed(list(enumerate(rows))):
        before = _like(c, c._layout.shape)
        launch((slope, before, kept, cells[t], cells[t + 1], own, later, after), 2)
        after, later = before, multiply(slope, weight)
    return slopes, later, after, _weight_gradient(slopes, h, out0)


def _weight_gradient(slopes: Any, first: Any, states: Any) -> Any:
    """The sum over all steps of slope^T @ the state before."""
    before = cat([first.unsqueeze(0), states[:-1]], 0)
    return multiply(slopes.flatten(0, 1), before.flatten(0, 1), True, False)


@operator(name="gru_layer", function=False)
def gru_layer(gates: Any, hidden: Any, weight: Any, bias: Any) -> Any:
    """All steps of a GRU layer in one direction.

    gates: (T, N, 3 H), the input's part of r, z, n with its bias; hidden: (N, H); weight: (3 H, H); bias: (3 H), the
    state's. Gives the hidden states (T, N, H), and what the backward needs.
    """
    length, batch, _ = gates._layout.shape
    size = weight._layout.shape[1]
    states, kept = _like(gates, (length, batch, size)), _like(gates, (length, batch, 4 * size))
    h = _dense(hidden)
    launch = _launch(kernels.gru_forward, h)
    for x, next_h, k in zip(_steps(_dense(gates)), _steps(states), _steps(kept), strict=True):
        launch((next_h, k, x, multiply(h, weight, False, True, bias), h), 2)
        h = next_h
    return states, kept


gru_layer.operator.differentiable_outputs = (0,)


@gru_layer.joint_gradient("gates", "hidden", "weight", "bias")
def _gru_gradient(grads: Any, gates: Any, hidden: Any, weight: Any, bias: Any, out0: Any, out1: Any) -> Any:
    if modes.grad_enabled:
        return _differentiable(gru_steps, (gates, hidden, weight, bias), grads[:1])
    above = _dense(grads[0])
    slopes, own_slopes = _like(gates, gates._layout.shape), _like(gates, gates._layout.shape)
    h = _dense(hidden)
    later = _zeros(h)
    launch = _launch(kernels.gru_backward, h)
    states = [h, *_steps(out0)]
    rows = zip(_steps(slopes), _steps(own_slopes), _steps(out1), _steps(above), strict=True)
    for t, (slope, own, kept, upper) in reversed(list(enumerate(rows))):
        direct = _like(h, h._layout.shape)
        launch((slope, own, direct, kept, states[t], upper, later), 3)
        later = multiply(own, weight, False, False, direct)
    bias_slope = own_slopes.sum((0, 1)) if bias is not None else None
    return slopes, later, _weight_gradient(own_slopes, h, out0), bias_slope


# -- the same in tensor operations, which can be differentiated as often as one likes --------------------------------------
def lstm_steps(gates: Any, hidden: Any, cell: Any, weight: Any) -> tuple[Any, Any]:
    """(hidden states, last cell state): `lstm_layer` step by step."""
    states = []
    for x in gates.unbind(0):
        i, f, g, o = (x + hidden @ weight.t()).chunk(4, 1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
        states.append(hidden)
    return stack(states, 0), cell


def gru_steps(gates: Any, hidden: Any, weight: Any, bias: Any) -> tuple[Any]:
    """(hidden states,): `gru_layer` step by step."""
    states = []
    for x in gates.unbind(0):
        x_r, x_z, x_n = x.chunk(3, 1)
        own = hidden @ weight.t()
        h_r, h_z, h_n = (own if bias is None else own + bias).chunk(3, 1)
        new = (x_n + (x_r + h_r).sigmoid() * h_n).tanh()
        hidden = (hidden - new) * (x_z + h_z).sigmoid() + new
        states.append(hidden)
    return (stack(states, 0),)


def _differentiable(steps: Callable[..., Any], inputs: tuple[Any, ...], grads: Any) -> list[Any]:
    """The gradients of `inputs`, recorded: the forward is made again, step by step, and differentiated."""
    results = steps(*inputs)
    pairs = [(result, grad) for result, grad in zip(results, grads, strict=True) if grad is not None]
    wanted = [x for x in inputs if x is not None and x._requires_grad]
    found = iter(run_backward([r for r, _ in pairs], [g for _, g in pairs], True, True, wanted, False))
    return [next(found) if x is not None and x._requires_grad else None for x in inputs]
