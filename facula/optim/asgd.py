"""Averaged stochastic gradient descent (Polyak and Juditsky 1992)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from facula.optim.fused import Update
from facula.optim.optimizer import Optimizer, check, number, single


@functools.cache
def rule() -> Update:
    """A step of gradient descent, and the average of where it has been."""

    def asgd(param: Any, grad: Any, ax: Any, *, sign: Any, weight_decay: Any, shrink: Any, eta: Any, mu: Any) -> Any:
        g = sign * grad + weight_decay * param
        param = param * shrink - eta * g
        return param, ax + (param - ax) * mu

    return Update(asgd)


class ASGD(Optimizer):
    """Gradient descent with a falling rate; `state[p]["ax"]` is the average of the parameter over the steps after t0.

    Args:
        params: tensors or groups.
        lr: learning rate. Default: 1e-2
        lambd: how much of the parameter each step takes away. Default: 1e-4
        alpha: exponent of the fall of the rate. Default: 0.75
        t0: the step at which averaging begins. Default: 1e6
        weight_decay: default 0.
        maximize: go uphill.
        foreach, differentiable, capturable: accepted; one fused kernel is always used.

    Raises:
        ValueError: a hyperparameter out of range.
    """

    def __init__(
        self, params: Any, lr: Any = 1e-2, lambd: float = 1e-4, alpha: float = 0.75, t0: float = 1e6, weight_decay: float = 0,
        foreach: bool | None = None, maximize: bool = False, differentiable: bool = False, capturable: bool = False,
    ) -> None:  # fmt: skip
        check(lr >= 0.0, "Invalid learning rate", lr)
        check(weight_decay >= 0.0, "Invalid weight_decay value", weight_decay)
        super().__init__(
            params,
            {"lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay, "foreach": foreach, "maximize": maximize,
             "differentiable": differentiable, "capturable": capturable},
        )  # fmt: skip

    _running = {"eta": "lr", "mu": 1.0}

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have gradients."""
        loss = closure() if closure is not None else None
        for position in range(len(self.param_groups)):
            self._fused_step(position, lambda key: rule(), functools.partial(self._numbers, position), True)
        return loss

    def _numbers(self, position: int, group: dict[str, Any], step: int) -> list[float]:
        known = self._scalars(position, group, step - 1)
        rate, decay = number(group["lr"]), group["lambd"]
        eta = rate / ((1 + decay * rate * step) ** group["alpha"])
        self._note_scalars(position, step, {"eta": single(eta), "mu": single(1 / max(1, step - group["t0"]))})
        sign = -1.0 if group["maximize"] else 1.0
        return [sign, group["weight_decay"], 1.0 - decay * known["eta"], known["eta"], known["mu"]]
