"""Stochastic gradient descent, with momentum (Sutskever et al. 2013) and Nesterov's variant."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from facula.optim.fused import Update
from facula.optim.optimizer import Optimizer, number


def _rule(momentum: bool, first: bool, nesterov: bool) -> Update:
    """g = grad + weight_decay * param; buffer = momentum * buffer + (1 - dampening) * g, on the first step g itself."""

    def plain(param: Any, grad: Any, *, lr: Any, weight_decay: Any, sign: Any) -> Any:
        return (param - lr * (sign * grad + weight_decay * param),)

    def heavy(
        param: Any, grad: Any, momentum_buffer: Any, *, lr: Any, weight_decay: Any, sign: Any, momentum: Any, fresh: Any
    ) -> Any:
        g = sign * grad + weight_decay * param
        buffer = g + momentum_buffer * 0.0 if first else momentum * momentum_buffer + fresh * g
        direction = g + momentum * buffer if nesterov else buffer
        return param - lr * direction, buffer

    return Update(heavy if momentum else plain)


_rules: dict[Any, Update] = {}


def rule(momentum: bool, first: bool, nesterov: bool) -> Update:
    key = (momentum, first, nesterov)
    if key not in _rules:
        _rules[key] = _rule(*key)
    return _rules[key]


class SGD(Optimizer):
    """param -= lr * (grad + weight_decay * param), with momentum if asked for.

    Args:
        params: tensors or groups.
        lr: learning rate. Default: 1e-3
        momentum, dampening, weight_decay: default 0.
        nesterov: needs momentum and no dampening.
        maximize: go uphill.
        foreach, differentiable, fused: accepted; one fused kernel is always used.

    Raises:
        ValueError: a negative or contradictory hyperparameter.
    """

    def __init__(
        self, params: Any, lr: Any = 1e-3, momentum: float = 0, dampening: float = 0, weight_decay: float = 0, nesterov: bool = False, *,
        maximize: bool = False, foreach: bool | None = None, differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        if number(lr) < 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if momentum < 0.0:
            raise ValueError(f"Invalid momentum value: {momentum}")
        if weight_decay < 0.0:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(
            params,
            {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov, "maximize": maximize,
             "foreach": foreach, "differentiable": differentiable, "fused": fused},
        )  # fmt: skip

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have gradients."""
        loss = closure() if closure is not None else None
        for position, group in enumerate(self.param_groups):
            heavy = group["momentum"] != 0
            self._fused_step(
                position, functools.partial(_rule_of, group), _numbers, False,
                (lambda state: "later" if state.get("momentum_buffer") is not None else "first") if heavy else None,
            )  # fmt: skip
        return loss


def _rule_of(group: dict[str, Any], key: Any) -> Update:
    return rule(group["momentum"] != 0, key == "first", group["nesterov"])


def _numbers(group: dict[str, Any], step: int) -> list[float]:
    values = [number(group["lr"]), number(group["weight_decay"]), -1.0 if group["maximize"] else 1.0]
    if group["momentum"] != 0:
        values += [group["momentum"], 1.0 - group["dampening"]]
    return values
