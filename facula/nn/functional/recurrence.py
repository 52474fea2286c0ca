"""Recurrent networks as functions: cells, layers in one or two directions, and stacks of them.

A sequence is a list of steps, whose batches may shrink towards the end (packed sequences): step t has `sizes[t]` rows,
those of the
sequences that are that long. All products with the input are made at once, before the steps.

In: tensors. Out: tensors. It must never know about modules or packed sequences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.core.dtype import float32, float64
from facula.nn.functional import _operators as op
from facula.ops.recurrent import gru_layer, lstm_layer
from facula.tensor.tensor import Tensor

Weights = list[Any]
State = tuple[Tensor, ...]
Step = Callable[[Tensor, State, Weights], State]


def lstm_step(gates: Tensor, state: State, weights: Weights) -> State:
    """i, f, o = sigmoid(...), g = tanh(...); c' = f c + i g; h' = o tanh(c').

    Args:
        gates: the input's part, (N, 4 H), in the order i, f, g, o.
        state: (h, c).
        weights: w_ih, w_hh, b_ih, b_hh, w_hr; the last projects h', if there is one.

    Source: Hochreiter and Schmidhuber, "Long short-term memory", 1997.
    """
    hidden, cell = state
    i, f, g, o = (gates + op.linear(hidden, weights[1], weights[3])).chunk(4, 1)
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    hidden = o.sigmoid() * cell.tanh()
    if weights[4] is not None:
        hidden = op.linear(hidden, weights[4])
    return hidden, cell


def gru_step(gates: Tensor, state: State, weights: Weights) -> State:
    """r, z = sigmoid(...); n = tanh(W x + r (U h)); h' = (1 - z) n + z h.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014.
    """
    (hidden,) = state
    x_r, x_z, x_n = gates.chunk(3, 1)
    h_r, h_z, h_n = op.linear(hidden, weights[1], weights[3]).chunk(3, 1)
    reset = (x_r + h_r).sigmoid()
    update = (x_z + h_z).sigmoid()
    new = (x_n + reset * h_n).tanh()
    return ((hidden - new) * update + new,)


def tanh_step(gates: Tensor, state: State, weights: Weights) -> State:
    """h' = tanh(W x + U h).

    Source: Elman, "Finding structure in time", 1990.
    """
    return ((gates + op.linear(state[0], weights[1], weights[3])).tanh(),)


def relu_step(gates: Tensor, state: State, weights: Weights) -> State:
    """h' = relu(W x + U h)."""
    return ((gates + op.linear(state[0], weights[1], weights[3])).relu(),)


STEPS: dict[str, Step] = {"LSTM": lstm_step, "GRU": gru_step, "RNN_TANH": tanh_step, "RNN_RELU": relu_step}


def cell(mode: str, input: Tensor, state: State, weights: Weights) -> State:
    """One step of one layer: input (N, F), states (N, H)."""
    return STEPS[mode](op.linear(input, weights[0], weights[2]), state, weights)


def stack(
    mode: str,
    input: Tensor,
    sizes: list[int],
    state: State,
    weights: list[Weights],
    num_layers: int,
    dropout: float,
    bidirectional: bool,
) -> tuple[Tensor, State]:
    """Layers on top of each other.

    Args:
        mode: 'LSTM', 'GRU', 'RNN_TANH' or 'RNN_RELU'.
        input: (sum of sizes, F), the rows of all steps one after the other.
        sizes: how many rows each step has; never growing.
        state: one or two tensors (num_layers * directions, N, H).
        weights: for each layer and direction w_ih, w_hh, b_ih, b_hh, w_hr, None where there is none.
        num_layers: how many layers.
        dropout: the probability of dropping an element between layers; 0 outside training.
        bidirectional: whether each layer also runs backwards, its output beside the other's.

    Returns:
        (sum of sizes, directions * H), and the last states in the shape of `state`.
    """
    directions = 2 if bidirectional else 1
    finals: list[State] = []
    for layer in range(num_layers):
        outputs = []
        for direction in range(directions):
            position = layer * directions + direction
            start = tuple(part[position] for part in state)
            output, final = _layer(mode, input, sizes, start, weights[position], direction == 1)
            outputs.append(output)
            finals.append(final)
        input = outputs[0] if directions == 1 else op.cat(outputs, 1)
        if dropout > 0 and layer < num_layers - 1:
            input = op.dropout(input, dropout, True)
    return input, tuple(op.stack(parts, 0) for parts in zip(*finals))


def _layer(
    mode: str, input: Tensor, sizes: list[int], state: State, weights: Weights, backwards: bool
) -> tuple[Tensor, State]:
    """One layer in one direction: as one operator where the batch keeps its size, else step by step."""
    even = sizes[0] == sizes[-1] and weights[4] is None
    if not even or mode not in ("LSTM", "GRU") or input.dtype not in (float32, float64) or input.is_meta:
        return _run(STEPS[mode], input, sizes, state, weights, backwards)
    length, batch = len(sizes), sizes[0]
    w_ih, w_hh, b_ih, b_hh = weights[:4]
    if mode == "LSTM":
        bias = None if b_ih is None else b_ih + b_hh
        gates = op.linear(input, w_ih, bias).view(length, batch, -1)
        states, last, *_ = lstm_layer(gates.flip(0) if backwards else gates, *state, w_hh)
        final: State = (states[-1], last)
    else:
        gates = op.linear(input, w_ih, b_ih).view(length, batch, -1)
        states, _ = gru_layer(gates.flip(0) if backwards else gates, *state, w_hh, b_hh)
        final = (states[-1],)
    return (states.flip(0) if backwards else states).flatten(0, 1), final


def _run(
    step: Step, input: Tensor, sizes: list[int], state: State, weights: Weights, backwards: bool
) -> tuple[Tensor, State]:
    """One layer in one direction."""
    gates = op.linear(input, weights[0], weights[2]).split(sizes)
    outputs: list[Tensor] = []
    if backwards:
        # The longest sequences begin first; the others join with their initial state.
        current = tuple(part[: sizes[-1]] for part in state)
        for t in range(len(sizes) - 1, -1, -1):
            rows = current[0].size(0)
            if sizes[t] > rows:
                current = tuple(op.cat([now, first[rows : sizes[t]]], 0) for now, first in zip(current, state))
            current = step(gates[t], current, weights)
            outputs.append(current[0])
        outputs.reverse()
        return op.cat(outputs, 0), current
    ended: list[State] = []
    current = state
    for t, size in enumerate(sizes):
        if size < current[0].size(0):
            ended.append(tuple(part[size:] for part in current))
            current = tuple(part[:size] for part in current)
        current = step(gates[t], current, weights)
        outputs.append(current[0])
    if ended:
        # The sequences that ended first stand last.
        current = tuple(op.cat([now, *(state[i] for state in reversed(ended))], 0) for i, now in enumerate(current))
    return op.cat(outputs, 0), current
