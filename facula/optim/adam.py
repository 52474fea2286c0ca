"""Adam (Kingma and Ba 2015), AMSGrad (Reddi et al. 2018) and AdamW (Loshchilov and Hutter 2019)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from facula.ops import scalar as sc
from facula.optim.fused import Update
from facula.optim.optimizer import Optimizer, number

_rules: dict[bool, Update] = {}


def rule(amsgrad: bool) -> Update:
    """The moments and the step; weight decay is added to the gradient (`decay`) or shrinks the parameter (`shrink`)."""
    if amsgrad not in _rules:

        def adam(param: Any, grad: Any, exp_avg: Any, exp_avg_sq: Any, *, sign: Any, decay: Any, shrink: Any, new: Any, beta2: Any,
                 new2: Any, size: Any, root: Any, eps: Any) -> Any:  # fmt: skip
            param = param * shrink
            g = sign * grad + decay * param
            mean = exp_avg + (g - exp_avg) * new
            square = exp_avg_sq * beta2 + g * g * new2
            return param - size * mean / (sc.sqrt(square) / root + eps), mean, square

        def largest(param: Any, grad: Any, exp_avg: Any, exp_avg_sq: Any, max_exp_avg_sq: Any, *, sign: Any, decay: Any, shrink: Any,
                    new: Any, beta2: Any, new2: Any, size: Any, root: Any, eps: Any) -> Any:  # fmt: skip
            param = param * shrink
            g = sign * grad + decay * param
            mean = exp_avg + (g - exp_avg) * new
            square = exp_avg_sq * beta2 + g * g * new2
            most = sc.maximum(max_exp_avg_sq, square)
            return param - size * mean / (sc.sqrt(most) / root + eps), mean, square, most

        _rules[amsgrad] = Update(largest if amsgrad else adam)
    return _rules[amsgrad]


class Adam(Optimizer):
    """Steps scaled by running means of the gradient and of its square.

    Args:
        params: tensors or groups.
        lr: learning rate. Default: 1e-3
        betas: how much of the two means is kept at each step. Default: (0.9, 0.999)
        eps: added to the denominator. Default: 1e-8
        weight_decay: default 0; added to the gradient, or with decoupled_weight_decay=True taken from the parameter.
        amsgrad: divide by the largest second moment so far.
        maximize: go uphill.
        foreach, capturable, differentiable, fused: accepted; one fused kernel is always used.

    Raises:
        ValueError: a hyperparameter out of range.
    """

    def __init__(
        self, params: Any, lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0,
        amsgrad: bool = False, *, foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
        differentiable: bool = False, fused: bool | None = None, decoupled_weight_decay: bool = False,
    ) -> None:  # fmt: skip
        if not 0.0 <= number(lr):
            raise ValueError(f"Invalid learning rate: {lr}")
        if not 0.0 <= eps:
            raise ValueError(f"Invalid epsilon value: {eps}")
        for i, beta in enumerate(betas):
            if not 0.0 <= number(beta) < 1.0:
                raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
        if not 0.0 <= weight_decay:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        super().__init__(
            params,
            {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad, "maximize": maximize,
             "foreach": foreach, "capturable": capturable, "differentiable": differentiable, "fused": fused,
             "decoupled_weight_decay": decoupled_weight_decay},
        )  # fmt: skip

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have gradients."""
        loss = closure() if closure is not None else None
        for position, group in enumerate(self.param_groups):
            self._fused_step(position, functools.partial(_rule_of, group), _numbers, True)
        return loss


def _rule_of(group: dict[str, Any], key: Any) -> Update:
    return rule(group["amsgrad"])


def _numbers(group: dict[str, Any], step: int) -> list[float]:
    beta1, beta2 = (number(b) for b in group["betas"])
    lr, decay = number(group["lr"]), group["weight_decay"]
    decoupled = group.get("decoupled_weight_decay", False)
    return [
        -1.0 if group["maximize"] else 1.0, 0.0 if decoupled else decay, 1.0 - lr * decay if decoupled else 1.0, 1.0 - beta1, beta2,
        1.0 - beta2, lr / (1.0 - beta1**step), (1.0 - beta2**step) ** 0.5, group["eps"],
    ]  # fmt: skip


class AdamW(Adam):
    """Adam whose weight decay takes lr * weight_decay of each parameter away at each step. Arguments as for `Adam`."""

    def __init__(
        self, params: Any, lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 1e-2,
        amsgrad: bool = False, *, maximize: bool = False, foreach: bool | None = None, capturable: bool = False,
        differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize, capturable=capturable,
            differentiable=differentiable, fused=fused, decoupled_weight_decay=True,
        )  # fmt: skip
