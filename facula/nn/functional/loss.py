"""Loss functions.

All take `reduction`: 'mean' (the default), 'sum', or 'none' for one value per element or sample. The formulas are with
the layers of
`facula.nn.modules.loss`. They must never know about modules.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from facula.engine.modes import no_grad
from facula.nn.functional import _operators as op
from facula.nn.functional.reduction import check_reduction, legacy_get_string, reduce_loss
from facula.tensor.tensor import Tensor


def _warn_broadcast(input: Tensor, target: Tensor) -> None:
    import warnings

    warnings.warn(
        f"Using a target size ({target.size()}) that is different to the input size ({input.size()}). This will "
        "likely lead to incorrect "
        "results due to broadcasting. Please ensure they have the same size.",
        stacklevel=3,
    )


def _weighted(errors: Tensor, weight: Tensor, reduction: str) -> Tensor:
    """The weighted mean (over the sum of the weights), sum, or values."""
    if weight.size() != errors.size():
        raise ValueError("Weights and input must have the same size.")
    weighted = errors * weight
    if reduction == "mean":
        return weighted.sum() / weight.sum()
    if reduction not in ("sum", "none"):
        raise ValueError(f"Invalid reduction mode: {reduction}. Expected one of 'none', 'mean', 'sum'.")
    return reduce_loss(weighted, reduction)


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """(input - target)^2, reduced; `weight` gives each element its own."""
    if target.shape != input.shape:
        _warn_broadcast(input, target)
    if size_average is not None or reduce is not None:
        reduction = legacy_get_string(size_average, reduce)
    if weight is not None:
        return _weighted((input - target) ** 2, weight, reduction)
    return op.mse_loss(input, target, reduction)


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """|input - target|, reduced; `weight` gives each element its own."""
    if target.shape != input.shape:
        _warn_broadcast(input, target)
    if size_average is not None or reduce is not None:
        reduction = legacy_get_string(size_average, reduce)
    if weight is not None:
        return _weighted((input - target).abs(), weight, reduction)
    return op.l1_loss(input, target, reduction)


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """A square within `beta` of the target, and linear beyond; see `SmoothL1Loss`."""
    if target.shape != input.shape:
        _warn_broadcast(input, target)
    if size_average is not None or reduce is not None:
        reduction = legacy_get_string(size_average, reduce)
    return op.smooth_l1_loss(input, target, reduction, beta)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """A square within `delta` of the target, and linear beyond; see `HuberLoss`."""
    if target.shape != input.shape:
        _warn_broadcast(input, target)
    if weight is None:
        return op.huber_loss(input, target, reduction, delta)
    if weight.size() != input.size():
        raise ValueError("Weights and input must have the same size.")
    return reduce_loss(op.huber_loss(input, target, "none", delta) * weight, reduction)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Minus the log-probability at the target class; see `NLLLoss`."""
    if size_average is not None or reduce is not None:
        reduction = legacy_get_string(size_average, reduce)
    return op.nll_loss(input, target, weight=weight, ignore_index=ignore_index, reduction=reduction)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Minus the log of the softmax at the target class; see `CrossEntropyLoss`.

    Example:
        >>> import facula as torch
        >>> torch.nn.functional.cross_entropy(torch.zeros(3, 5), torch.tensor([1, 0, 4]))
        tensor(1.6094)
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_get_string(size_average, reduce)
    return op.cross_entropy(
        input,
        target,
        weight=weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-(target log(input) + (1 - target) log(1 - input)); see `BCELoss`."""
    if size_average is not None or reduce is not None:
        reduction = legacy_get_string(size_average, reduce)
    if target.shape != input.shape:
        raise ValueError(
            f"Using a target size ({target.size()}) that is different to the input size ({input.size()}) is "
            "deprecated. Please ensure they "
            "have the same size."
        )
    return op.binary_cross_entropy(input, target, weight=weight, reduction=reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """`binary_cross_entropy` of sigmoid(input), without overflow; see `BCEWithLogitsLoss`."""
    if size_average is not None or reduce is not None:
        reduction = legacy_get_string(size_average, reduce)
    if target.shape != input.shape:
        raise ValueError(f"Target size ({target.size()}) must be the same as input size ({input.size()})")
    return op.binary_cross_entropy_with_logits(input, target, weight, pos_weight, reduction)


def poisson_nll_loss(
    input: Any,
    target: Any,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The negative log-likelihood of counts; see `PoissonNLLLoss`."""
    if size_average is not None or reduce is not None:
        reduction = legacy_get_string(size_average, reduce)
    check_reduction(reduction)
    values = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        stirling = target * target.log() - target + 0.5 * (2 * math.pi * target).log()
        values = values + stirling.masked_fill(target <= 1, 0)
    return reduce_loss(values, reduction)


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Any,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """The negative log-likelihood of a normal distribution; see `GaussianNLLLoss`.

    Raises:
        ValueError: a negative variance, or variances of a shape that fits neither the input nor all but its last
            dimension.
    """
    if isinstance(var, float):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = var * input.new_ones(input.shape)
    elif (var < 0).any():
        raise ValueError("var has negative entry/entries")
    if var.size() != input.size():
        if input.size()[:-1] == var.size():
            var = var.unsqueeze(-1)
        elif not (input.ndim == var.ndim and sum(b for a, b in zip(input.size(), var.size()) if a != b) == 1):
            raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(reduction + " is not valid")
    var = var.clone()
    with no_grad():
        # Outside the graph: the gradient is that of the variance as it was.
        var.clamp_(min=eps)
    values = 0.5 * (var.log() + (input - target) ** 2 / var)
    if full:
        values = values + 0.5 * math.log(2 * math.pi)
    return reduce_loss(values, reduction)


def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """target (log(target) - input), with input as log-probabilities; see `KLDivLoss`."""
    if size_average is not None or reduce is not None:
        reduction = legacy_get_string(size_average, reduce)
    elif reduction == "mean":
        import warnings

        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math definition."
            "'mean' will be changed to behave the same as 'batchmean' in the next major release.",
            stacklevel=2,
        )
    if reduction == "batchmean":
        total = op.kl_div(input, target, "sum", log_target=log_target)
        return total / input.size()[0] if input.dim() != 0 else total
    return op.kl_div(input, target, reduction, log_target=log_target)


def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """input where target is 1, max(0, margin - input) where it is -1."""
    if size_average is not None or reduce is not None:
        reduction = legacy_get_string(size_average, reduce)
    zeros = input.new_zeros(input.shape)
    short: Any = margin - input
    negative = op.where(target != 1, short.clamp(min=0), zeros)
    positive = op.where(target != -1, input, zeros)
    return reduce_loss(negative + positive, reduction)


def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """log(1 + exp(-target input)), with targets of 1 and -1."""
    if size_average is not None or reduce is not None:
        reduction = legacy_get_string(size_average, reduce)
    return reduce_loss((input * -target).exp().log1p(), reduction)


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, -target (input1 - input2) + margin)."""
    if size_average is not None or reduce is not None:
        reduction = legacy_get_string(size_average, reduce)
    if input1.dim() != input2.dim() or input1.dim() != target.dim():
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {input1.size()}, input2: {input2.size()}, target: {target.size()} "
        )
    return reduce_loss((-target * (input1 - input2) + margin).clamp(min=0), reduction)


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos(x1, x2) where target is 1, max(0, cos(x1, x2) - margin) where it is -1."""
    if size_average is not None or reduce is not None:
        reduction = legacy_get_string(size_average, reduce)
    if target.dim() not in (0, 1):
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if target.dim() + 1 != input1.dim():
        kind = "1D target tensor expects 2D" if target.dim() == 1 else "0D target tensor expects 1D"
        raise RuntimeError(
            f"{kind} input tensors, but found inputs with sizes {list(input1.shape)} and {list(input2.shape)}."
        )
    tiny = 1e-12
    dots = (input1 * input2).sum(-1)
    norms = (((input1 * input1).sum(-1) + tiny) * ((input2 * input2).sum(-1) + tiny)).sqrt()
    cosine = dots / norms
    zeros = cosine.new_zeros(cosine.shape)
    positive = op.where(target == 1, 1 - cosine, zeros)
    negative = op.where(target == -1, (cosine - margin).clamp(min=0), zeros)
    return reduce_loss(positive + negative, reduction)


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin); see `TripletMarginLoss`."""
    if size_average is not None or reduce is not None:
        reduction = legacy_get_string(size_average, reduce)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")

    def distance(x: Tensor, y: Tensor) -> Tensor:
        return pairwise_distance(x, y, p, eps)

    return _triplet(anchor, positive, negative, distance, margin, swap, reduction)


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """`triplet_margin_loss` with a distance of the caller's own."""
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    return _triplet(anchor, positive, negative, distance_function or pairwise_distance, margin, swap, reduction)


def _triplet(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    distance: Callable[[Tensor, Tensor], Tensor],
    margin: float,
    swap: bool,
    reduction: str,
) -> Tensor:
    if not anchor.dim() == positive.dim() == negative.dim():
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
            f"anchor {anchor.dim()}D, positive {positive.dim()}D, and negative {negative.dim()}D inputs"
        )
    near = distance(anchor, positive)
    far = distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    return reduce_loss((near - far + margin).clamp(min=0), reduction)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last dimension."""
    return (x1 - x2 + eps).norm(p, -1, keepdim)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 x2 / (max(|x1|, eps) max(|x2|, eps)) along `dim`; the inputs are broadcast."""
    norm1 = x1.norm(2, dim, True).clamp(min=eps)
    norm2 = x2.norm(2, dim, True).clamp(min=eps)
    return ((x1 / norm1) * (x2 / norm2)).sum(dim)


def _check_scores(input: Tensor) -> None:
    if input.dim() > 2 or (input.dim() > 0 and input.size(-1) == 0):
        raise RuntimeError(
            f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(input.shape)}"
        )


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Sum over the wrong classes of max(0, margin - input[right] + input[wrong])^p / C; see `MultiMarginLoss`."""
    if size_average is not None or reduce is not None:
        reduction = legacy_get_string(size_average, reduce)
    check_reduction(reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.dim() != 1:
        raise ValueError("weight must be one-dimensional")
    _check_scores(input)
    scores = input if input.dim() == 2 else input.reshape(1, -1)
    labels = target.reshape(-1, 1)
    hinge = (margin - scores.gather(1, labels) + scores).clamp(min=0)
    if p == 2:
        hinge = hinge * hinge
    if weight is not None:
        hinge = hinge * weight[labels.reshape(-1)].unsqueeze(1)
    # The right class's own term is not a mistake.
    hinge = hinge.scatter(1, labels, 0.0)
    values = hinge.sum(1) / scores.size(1)
    return reduce_loss(values.reshape(target.shape), reduction)


def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Sum of max(0, 1 - (input[right] - input[wrong])) / C; targets are lists of classes ended by -1."""
    if size_average is not None or reduce is not None:
        reduction = legacy_get_string(size_average, reduce)
    check_reduction(reduction)
    _check_scores(input)
    scores = input if input.dim() == 2 else input.reshape(1, -1)
    labels = target if target.dim() == 2 else target.reshape(1, -1)
    listed: Any = labels >= 0
    listed = listed.to(scores.dtype).cumprod(1)
    places = labels.clamp(min=0)
    is_target: Any = scores.new_zeros(scores.shape).scatter_add(1, places, listed) > 0
    hinge = (1 - scores.gather(1, places).unsqueeze(2) + scores.unsqueeze(1)).clamp(min=0)
    hinge = hinge * listed.unsqueeze(2) * (~is_target).to(scores.dtype).unsqueeze(1)
    values = hinge.sum((1, 2)) / scores.size(1)
    return reduce_loss(values if input.dim() == 2 else values.reshape(()), reduction)


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over the last dimension of the binary cross-entropy with logits."""
    if size_average is not None or reduce is not None:
        reduction = legacy_get_string(size_average, reduce)
    values = -(target * op.logsigmoid(input) + (1 - target) * op.logsigmoid(-input))
    if weight is not None:
        values = values * weight
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(reduction + " is not valid")
    return reduce_loss(values.sum(-1) / input.size(-1), reduction)


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Minus the log-probability of label sequences over all alignments; see `CTCLoss`."""
    from facula.nn.functional.ctc import ctc_values

    values, lengths = ctc_values(log_probs, targets, input_lengths, target_lengths, blank)
    if zero_infinity:
        values = values.masked_fill(values == math.inf, 0)
    if reduction == "mean":
        return (values / lengths.clamp(min=1)).mean()
    return reduce_loss(values, reduction)
