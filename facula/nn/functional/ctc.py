"""The forward algorithm of connectionist temporal classification.

In: log-probabilities and label sequences. Out: minus the log-probability of each. Composed of differentiable operators.

Source: Graves et al., "Connectionist temporal classification", 2006.
"""

from __future__ import annotations

import math
from typing import Any

from facula.core.dtype import int64
from facula.nn.functional import _operators as op
from facula.tensor.creation import arange, tensor
from facula.tensor.tensor import Tensor


def ctc_values(
    log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any, blank: int
) -> tuple[Tensor, Tensor]:
    """One loss per sample, and the targets' lengths as numbers of the same type."""
    batched = log_probs.dim() == 3
    logs = log_probs if batched else log_probs.unsqueeze(1)
    steps, samples, classes = logs.shape
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    times, sizes = _lengths(input_lengths, samples), _lengths(target_lengths, samples)
    if max(times, default=0) > steps:
        raise RuntimeError(
            f"Expected input_lengths to have value at most {steps}, but got value {max(times)} (while checking "
            "arguments for ctc_loss_allocate_outputs)"
        )
    labels = _extended(targets, sizes, blank, samples)
    width = labels.size(1)
    # alpha[:, s]: the log-probability of all alignments so far that end at label s of the extended sequence.
    never = logs.new_full((samples, 1), -math.inf)
    may_skip = (labels != blank) & (labels != labels.roll(2, 1))
    may_skip = may_skip & (arange(width, device=labels.device) >= 2)
    blocked = logs.new_full((samples, width), -math.inf)
    emitted = logs[0].gather(1, labels)
    alpha = op.where(arange(width, device=labels.device) < 2, emitted, blocked)
    history = [alpha]
    for step in range(1, steps):
        one = op.cat([never, alpha[:, :-1]], 1)
        two = op.cat([never, never, alpha[:, :-2]], 1)[:, :width]
        alpha = _log_sum(alpha, one, op.where(may_skip, two, blocked)) + logs[step].gather(1, labels)
        history.append(alpha)
    totals = _totals(history, times, sizes) + _softmax_term(logs, times)
    lengths = logs.new_tensor(sizes)
    return (totals, lengths) if batched else (totals[0], lengths[0])


def _lengths(lengths: Any, samples: int) -> list[int]:
    values = lengths.reshape(-1).tolist() if isinstance(lengths, Tensor) else list(lengths)
    if len(values) != samples:
        raise RuntimeError("input_lengths and target_lengths must be of size batch_size")
    return [int(value) for value in values]


def _extended(targets: Tensor, sizes: list[int], blank: int, samples: int) -> Tensor:
    """(samples, 2 longest + 1): the labels with blanks between and around them."""
    width = 2 * max(sizes, default=0) + 1
    rows, start = [], 0
    for sample in range(samples):
        if targets.dim() == 2:
            own = targets[sample, : sizes[sample]].tolist()
        else:
            own = targets.reshape(-1)[start : start + sizes[sample]].tolist()
            start += sizes[sample]
        row = [blank] * width
        row[1 : 2 * len(own) : 2] = own
        rows.append(row)
    return tensor(rows, dtype=int64, device=targets.device)


def _log_sum(*terms: Tensor) -> Tensor:
    """log(sum of exp), with minus infinity where every term is."""
    stacked = op.stack(terms, 0)
    peak = stacked.detach().max(0)[0]
    peak = peak.masked_fill(peak == -math.inf, 0)
    total = (stacked - peak).exp().sum(0)
    impossible = total == 0
    return (total.masked_fill(impossible, 1).log() + peak).masked_fill(impossible, -math.inf)


def _softmax_term(logs: Tensor, times: list[int]) -> Tensor:
    """Zero for each sample, whose gradient is that of the probabilities' sum.

    It changes nothing behind a log-softmax. In front of one it makes the gradient what it is defined to be: that of the
    scores that the log-probabilities came from.
    """
    probabilities = logs.exp()
    steps = arange(logs.size(0), device=logs.device).unsqueeze(1)
    used = (steps < tensor(times, device=logs.device)).unsqueeze(2).to(logs.dtype)
    return ((probabilities - probabilities.detach()) * used).sum((0, 2))


def _totals(history: list[Tensor], times: list[int], sizes: list[int]) -> Tensor:
    losses = []
    for sample, (time, size) in enumerate(zip(times, sizes)):
        last = history[max(time - 1, 0)][sample]
        ends = [last[2 * size : 2 * size + 1]]
        if size > 0:
            ends.append(last[2 * size - 1 : 2 * size])
        losses.append(-_log_sum(*ends)[0])
    return op.stack(losses, 0)
