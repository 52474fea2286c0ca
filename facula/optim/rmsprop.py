"""RMSprop (Hinton, Srivastava and Swersky 2012, lecture 6e), also centered (Graves 2013) and with momentum."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from facula.ops import scalar as sc
from facula.optim.fused import Update
from facula.optim.optimizer import Optimizer, check, number


@functools.cache
def rule(momentum: bool, centered: bool) -> Update:
    """The gradient over the root of the running mean of its square (or of its variance)."""

    def step(
        sign: Any, weight_decay: Any, keep: Any, new: Any, eps: Any, param: Any, grad: Any, square: Any, mean: Any
    ) -> Any:
        g = sign * grad + weight_decay * param
        square = square * keep + g * g * new
        if mean is None:
            return g / (sc.sqrt(square) + eps), square, None
        mean = mean + (g - mean) * new
        return g / (sc.sqrt(square - mean * mean) + eps), square, mean

    def plain(
        param: Any, grad: Any, square_avg: Any, *, sign: Any, weight_decay: Any, keep: Any, new: Any, eps: Any, lr: Any
    ) -> Any:
        ratio, square, _ = step(sign, weight_decay, keep, new, eps, param, grad, square_avg, None)
        return param - lr * ratio, square

    def heavy(param: Any, grad: Any, square_avg: Any, momentum_buffer: Any, *, sign: Any, weight_decay: Any, keep: Any, new: Any, eps: Any,
              lr: Any, momentum: Any) -> Any:  # fmt: skip
        ratio, square, _ = step(sign, weight_decay, keep, new, eps, param, grad, square_avg, None)
        buffer = momentum_buffer * momentum + ratio
        return param - lr * buffer, square, buffer

    def central(param: Any, grad: Any, square_avg: Any, grad_avg: Any, *, sign: Any, weight_decay: Any, keep: Any, new: Any, eps: Any,
                lr: Any) -> Any:  # fmt: skip
        ratio, square, mean = step(sign, weight_decay, keep, new, eps, param, grad, square_avg, grad_avg)
        return param - lr * ratio, square, mean

    def both(param: Any, grad: Any, square_avg: Any, momentum_buffer: Any, grad_avg: Any, *, sign: Any, weight_decay: Any, keep: Any,
             new: Any, eps: Any, lr: Any, momentum: Any) -> Any:  # fmt: skip
        ratio, square, mean = step(sign, weight_decay, keep, new, eps, param, grad, square_avg, grad_avg)
        buffer = momentum_buffer * momentum + ratio
        return param - lr * buffer, square, buffer, mean

    return Update((both if centered else heavy) if momentum else (central if centered else plain))


class RMSprop(Optimizer):
    """Steps divided by a running root mean square of the gradient.

    Args:
        params: tensors or groups.
        lr: learning rate. Default: 1e-2
        alpha: how much of the running means is kept. Default: 0.99
        eps: added to the denominator. Default: 1e-8
        weight_decay, momentum: default 0.
        centered: divide by the standard deviation instead.
        maximize: go uphill.
        capturable, foreach, differentiable: accepted; one fused kernel is always used.

    Raises:
        ValueError: a hyperparameter out of range.
    """

    def __init__(
        self, params: Any, lr: Any = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0, momentum: float = 0,
        centered: bool = False, capturable: bool = False, foreach: bool | None = None, maximize: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        check(lr >= 0.0, "Invalid learning rate", lr)
        check(eps >= 0.0, "Invalid epsilon value", eps)
        check(momentum >= 0.0, "Invalid momentum value", momentum)
        check(weight_decay >= 0.0, "Invalid weight_decay value", weight_decay)
        check(alpha >= 0.0, "Invalid alpha value", alpha)
        super().__init__(
            params,
            {"lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered, "weight_decay": weight_decay,
             "capturable": capturable, "foreach": foreach, "maximize": maximize, "differentiable": differentiable},
        )  # fmt: skip

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have gradients."""
        loss = closure() if closure is not None else None
        for position, group in enumerate(self.param_groups):
            self._fused_step(position, functools.partial(_rule_of, group), _numbers, True)
        return loss


def _rule_of(group: dict[str, Any], key: Any) -> Update:
    return rule(group["momentum"] > 0, group["centered"])


def _numbers(group: dict[str, Any], step: int) -> list[float]:
    alpha, momentum = group["alpha"], number(group["momentum"])
    values = [
        -1.0 if group["maximize"] else 1.0,
        group["weight_decay"],
        alpha,
        1.0 - alpha,
        group["eps"],
        number(group["lr"]),
    ]
    return [*values, momentum] if momentum > 0 else values
