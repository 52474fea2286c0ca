"""Adadelta (Zeiler 2012)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from facula.ops import scalar as sc
from facula.optim.fused import Update
from facula.optim.optimizer import Optimizer, check, number


@functools.cache
def rule() -> Update:
    """The gradient times the ratio of two running root mean squares, of past steps and of past gradients."""

    def adadelta(param: Any, grad: Any, square_avg: Any, acc_delta: Any, *, sign: Any, weight_decay: Any, rho: Any, new: Any, eps: Any,
                 lr: Any) -> Any:  # fmt: skip
        g = sign * grad + weight_decay * param
        square = square_avg * rho + g * g * new
        delta = sc.sqrt(acc_delta + eps) / sc.sqrt(square + eps) * g
        return param - lr * delta, square, acc_delta * rho + delta * delta * new

    return Update(adadelta)


class Adadelta(Optimizer):
    """Steps in the units of the parameters, from running means of squared gradients and squared steps.

    Args:
        params: tensors or groups.
        lr: scale of the steps. Default: 1.0
        rho: how much of the running means is kept. Default: 0.9
        eps: added under both roots. Default: 1e-6
        weight_decay: default 0.
        maximize: go uphill.
        foreach, capturable, differentiable: accepted; one fused kernel is always used.

    Raises:
        ValueError: a hyperparameter out of range.
    """

    def __init__(
        self, params: Any, lr: Any = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0, foreach: bool | None = None, *,
        capturable: bool = False, maximize: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        check(lr >= 0.0, "Invalid learning rate", lr)
        check(0.0 <= rho <= 1.0, "Invalid rho value", rho)
        check(eps >= 0.0, "Invalid epsilon value", eps)
        check(weight_decay >= 0.0, "Invalid weight_decay value", weight_decay)
        super().__init__(
            params,
            {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize, "capturable": capturable,
             "foreach": foreach, "differentiable": differentiable},
        )  # fmt: skip

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have gradients."""
        loss = closure() if closure is not None else None
        for position in range(len(self.param_groups)):
            self._fused_step(position, lambda key: rule(), _numbers, True)
        return loss


def _numbers(group: dict[str, Any], step: int) -> list[float]:
    rho = group["rho"]
    return [
        -1.0 if group["maximize"] else 1.0,
        group["weight_decay"],
        rho,
        1.0 - rho,
        group["eps"],
        number(group["lr"]),
    ]
