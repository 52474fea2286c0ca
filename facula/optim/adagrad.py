"""Adagrad (Duchi, Hazan and Singer 2011)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from facula.ops import scalar as sc
from facula.ops.define import FUNCTIONS
from facula.optim.fused import Update
from facula.optim.optimizer import Optimizer, check, number


@functools.cache
def rule() -> Update:
    """The gradient over the root of the sum of all its squares."""

    def adagrad(param: Any, grad: Any, sum: Any, *, sign: Any, weight_decay: Any, size: Any, eps: Any) -> Any:
        g = sign * grad + weight_decay * param
        total = sum + g * g
        return param - size * (g / (sc.sqrt(total) + eps)), total

    return Update(adagrad)


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of the squares of all gradients so far.

    Args:
        params: tensors or groups.
        lr: learning rate. Default: 1e-2
        lr_decay: the rate falls as 1 / (1 + step * lr_decay). Default: 0
        weight_decay: default 0.
        initial_accumulator_value: what the sum begins with. Default: 0
        eps: added to the denominator. Default: 1e-10
        maximize: go uphill.
        foreach, differentiable, fused: accepted; one fused kernel is always used.

    Raises:
        ValueError: a hyperparameter out of range.
    """

    def __init__(
        self, params: Any, lr: Any = 1e-2, lr_decay: float = 0, weight_decay: float = 0, initial_accumulator_value: float = 0,
        eps: float = 1e-10, foreach: bool | None = None, *, maximize: bool = False, differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:  # fmt: skip
        check(lr >= 0.0, "Invalid learning rate", lr)
        check(lr_decay >= 0.0, "Invalid lr_decay value", lr_decay)
        check(weight_decay >= 0.0, "Invalid weight_decay value", weight_decay)
        check(initial_accumulator_value >= 0.0, "Invalid initial_accumulator_value value", initial_accumulator_value)
        check(eps >= 0.0, "Invalid epsilon value", eps)
        super().__init__(
            params,
            {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
             "initial_accumulator_value": initial_accumulator_value, "foreach": foreach, "maximize": maximize,
             "differentiable": differentiable, "fused": fused},
        )  # fmt: skip
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["step"] = FUNCTIONS["torch"]["tensor"](0.0)
                self.state[p]["sum"] = self._initial_state(group, p, "sum")

    def _initial_state(self, group: dict[str, Any], parameter: Any, name: str) -> Any:
        return FUNCTIONS["torch"]["full_like"](parameter.detach(), group["initial_accumulator_value"])

    def share_memory(self) -> None:
        """Put the sums into shared memory."""
        for state in self.state.values():
            state["sum"].share_memory_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have gradients."""
        loss = closure() if closure is not None else None
        for position in range(len(self.param_groups)):
            self._fused_step(position, lambda key: rule(), _numbers, True)
        return loss


def _numbers(group: dict[str, Any], step: int) -> list[float]:
    size = number(group["lr"]) / (1 + (step - 1) * group["lr_decay"])
    return [-1.0 if group["maximize"] else 1.0, group["weight_decay"], size, group["eps"]]
