"""Relatives of Adam: Adamax (Kingma and Ba 2015), NAdam (Dozat 2016) and RAdam (Liu et al. 2020)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from facula.ops import scalar as sc
from facula.optim.fused import Update
from facula.optim.optimizer import Optimizer, check, number, single


def _check_common(lr: Any, betas: Any, eps: float, weight_decay: float) -> None:
    check(lr >= 0.0, "Invalid learning rate", lr)
    check(eps >= 0.0, "Invalid epsilon value", eps)
    for i, beta in enumerate(betas):
        check(0.0 <= beta < 1.0, f"Invalid beta parameter at index {i}", beta)
    check(weight_decay >= 0.0, "Invalid weight_decay value", weight_decay)


def _decay(group: dict[str, Any]) -> list[float]:
    """(sign of the gradient, decay added to it, factor of the parameter)."""
    rate, decay = number(group["lr"]), group["weight_decay"]
    decoupled = group.get("decoupled_weight_decay", False)
    return [-1.0 if group["maximize"] else 1.0, 0.0 if decoupled else decay, 1.0 - rate * decay if decoupled else 1.0]


# -- Adamax --------------------------------------------------------------------------------------------------------------
@functools.cache
def adamax_rule() -> Update:
    """Adam with the largest gradient, fading, in the place of the second moment."""

    def adamax(param: Any, grad: Any, exp_avg: Any, exp_inf: Any, *, sign: Any, decay: Any, shrink: Any, new: Any, beta2: Any, eps: Any,
               size: Any) -> Any:  # fmt: skip
        g = sign * grad + decay * param
        mean = exp_avg + (g - exp_avg) * new
        largest = sc.maximum(exp_inf * beta2, sc.absolute(g) + eps)
        return param * shrink - size * (mean / largest), mean, largest

    return Update(adamax)


class Adamax(Optimizer):
    """Adam based on the infinity norm.

    Args:
        params: tensors or groups.
        lr: learning rate. Default: 2e-3
        betas: how much of the mean and of the largest gradient is kept. Default: (0.9, 0.999)
        eps: added to the magnitudes. Default: 1e-8
        weight_decay: default 0.
        maximize: go uphill.
        foreach, differentiable, capturable: accepted; one fused kernel is always used.

    Raises:
        ValueError: a hyperparameter out of range.
    """

    def __init__(
        self, params: Any, lr: Any = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0,
        foreach: bool | None = None, *, maximize: bool = False, differentiable: bool = False, capturable: bool = False,
    ) -> None:  # fmt: skip
        _check_common(lr, betas, eps, weight_decay)
        super().__init__(
            params,
            {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach, "maximize": maximize,
             "differentiable": differentiable, "capturable": capturable},
        )  # fmt: skip

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have gradients."""
        loss = closure() if closure is not None else None
        for position in range(len(self.param_groups)):
            self._fused_step(position, lambda key: adamax_rule(), _adamax_numbers, True)
        return loss


def _adamax_numbers(group: dict[str, Any], step: int) -> list[float]:
    beta1, beta2 = group["betas"]
    return [*_decay(group), 1.0 - beta1, beta2, group["eps"], number(group["lr"]) / (1.0 - beta1**step)]


# -- NAdam ---------------------------------------------------------------------------------------------------------------
@functools.cache
def nadam_rule() -> Update:
    """Adam looking one step of the momentum ahead."""

    def nadam(param: Any, grad: Any, exp_avg: Any, exp_avg_sq: Any, *, sign: Any, decay: Any, shrink: Any, new: Any, beta2: Any, new2: Any,
              bias2: Any, eps: Any, of_grad: Any, of_mean: Any) -> Any:  # fmt: skip
        param = param * shrink
        g = sign * grad + decay * param
        mean = exp_avg + (g - exp_avg) * new
        square = exp_avg_sq * beta2 + g * g * new2
        root = sc.sqrt(square / bias2) + eps
        return param - of_grad * (g / root) - of_mean * (mean / root), mean, square

    return Update(nadam)


class NAdam(Optimizer):
    """Adam with Nesterov's momentum.

    Args:
        params: tensors or groups.
        lr: learning rate. Default: 2e-3
        betas: how much of the two means is kept. Default: (0.9, 0.999)
        eps: added to the denominator. Default: 1e-8
        weight_decay: default 0; added to the gradient, or with decoupled_weight_decay=True taken from the parameter.
        momentum_decay: how quickly the momentum's warm-up goes. Default: 4e-3
        maximize: go uphill.
        foreach, capturable, differentiable: accepted; one fused kernel is always used.

    Raises:
        ValueError: a hyperparameter out of range.
    """

    def __init__(
        self, params: Any, lr: Any = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0,
        momentum_decay: float = 4e-3, decoupled_weight_decay: bool = False, *, foreach: bool | None = None, maximize: bool = False,
        capturable: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        _check_common(lr, betas, eps, weight_decay)
        check(momentum_decay >= 0.0, "Invalid momentum_decay value", momentum_decay)
        super().__init__(
            params,
            {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay,
             "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize, "foreach": foreach, "capturable": capturable,
             "differentiable": differentiable},
        )  # fmt: skip

    _running = {"mu_product": 1.0}

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have gradients."""
        loss = closure() if closure is not None else None
        for position in range(len(self.param_groups)):
            self._fused_step(position, lambda key: nadam_rule(), functools.partial(self._numbers, position), True)
        return loss

    def _numbers(self, position: int, group: dict[str, Any], step: int) -> list[float]:
        beta1, beta2 = group["betas"]
        fade = group["momentum_decay"]
        now, then = (beta1 * (1.0 - 0.5 * (0.96 ** (t * fade))) for t in (step, step + 1))
        product = single(self._scalars(position, group, step - 1)["mu_product"] * single(now))
        self._note_scalars(position, step, {"mu_product": product})
        rate = number(group["lr"])
        of_grad, of_mean = rate * (1.0 - now) / (1.0 - product), rate * then / (1.0 - product * then)
        return [*_decay(group), 1.0 - beta1, beta2, 1.0 - beta2, 1.0 - beta2**step, group["eps"], of_grad, of_mean]


# -- RAdam ---------------------------------------------------------------------------------------------------------------
@functools.cache
def radam_rule() -> Update:
    """Adam times a factor that rectifies the variance of its steps; plain momentum while that is unbounded."""

    def radam(param: Any, grad: Any, exp_avg: Any, exp_avg_sq: Any, *, sign: Any, decay: Any, shrink: Any, new: Any, beta2: Any, new2: Any,
              size: Any, eps: Any, adaptive: Any, plain: Any) -> Any:  # fmt: skip
        param = param * shrink
        g = sign * grad + decay * param
        mean = exp_avg + (g - exp_avg) * new
        square = exp_avg_sq * beta2 + g * g * new2
        return param - size * mean * (adaptive / (sc.sqrt(square) + eps) + plain), mean, square

    return Update(radam)


class RAdam(Optimizer):
    """Adam that begins as momentum, until its second moment can be trusted.

    Args:
        params: tensors or groups.
        lr: learning rate. Default: 1e-3
        betas: how much of the two means is kept. Default: (0.9, 0.999)
        eps: added to the denominator. Default: 1e-8
        weight_decay: default 0; added to the gradient, or with decoupled_weight_decay=True taken from the parameter.
        maximize: go uphill.
        foreach, capturable, differentiable: accepted; one fused kernel is always used.

    Raises:
        ValueError: a hyperparameter out of range.
    """

    def __init__(
        self, params: Any, lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0,
        decoupled_weight_decay: bool = False, *, foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
        differentiable: bool = False,
    ) -> None:  # fmt: skip
        _check_common(lr, betas, eps, weight_decay)
        super().__init__(
            params,
            {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize, "foreach": foreach,
             "capturable": capturable, "decoupled_weight_decay": decoupled_weight_decay, "differentiable": differentiable},
        )  # fmt: skip

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have gradients."""
        loss = closure() if closure is not None else None
        for position in range(len(self.param_groups)):
            self._fused_step(position, lambda key: radam_rule(), _radam_numbers, True)
        return loss


def _radam_numbers(group: dict[str, Any], step: int) -> list[float]:
    beta1, beta2 = group["betas"]
    bias2 = 1.0 - beta2**step
    limit = 2.0 / (1.0 - beta2) - 1.0
    length = limit - 2.0 * step * (beta2**step) / bias2  # of the moving average that the variance comes from
    adaptive, plain = 0.0, 1.0
    if length > 5.0:
        rectified = (length - 4.0) * (length - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * length)
        adaptive, plain = rectified**0.5 * bias2**0.5, 0.0
    size = number(group["lr"]) / (1.0 - beta1**step)
    return [*_decay(group), 1.0 - beta1, beta2, 1.0 - beta2, size, group["eps"], adaptive, plain]
