"""Resilient backpropagation (Riedmiller and Braun 1993)."""

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
    """Each element has a step of its own, which grows while the gradient keeps its sign and shrinks when it turns."""

    def rprop(
        param: Any, grad: Any, prev: Any, step_size: Any, *, sign: Any, shrink: Any, grow: Any, least: Any, most: Any
    ) -> Any:
        g = sign * grad
        turn = g * prev
        size = step_size * sc.select(turn > 0.0, grow, sc.select(turn < 0.0, shrink, 1.0))
        size = sc.minimum(sc.maximum(size, least), most)
        g = sc.select(turn < 0.0, 0.0, g)
        return param - sc.sign(g) * size, g, size

    return Update(rprop)


class Rprop(Optimizer):
    """Steps from the signs of the gradients alone; for full batches.

    Args:
        params: tensors or groups.
        lr: the first step of every element. Default: 1e-2
        etas: factors of the step when the sign turns and when it stays. Default: (0.5, 1.2)
        step_sizes: the smallest and the largest step. Default: (1e-6, 50)
        maximize: go uphill.
        capturable, foreach, differentiable: accepted; one fused kernel is always used.

    Raises:
        ValueError: a hyperparameter out of range.
    """

    def __init__(
        self, params: Any, lr: Any = 1e-2, etas: tuple[float, float] = (0.5, 1.2), step_sizes: tuple[float, float] = (1e-6, 50), *,
        capturable: bool = False, foreach: bool | None = None, maximize: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        check(lr >= 0.0, "Invalid learning rate", lr)
        check(0.0 < etas[0] < 1.0 < etas[1], "Invalid eta values", f"{etas[0]}, {etas[1]}")
        super().__init__(
            params,
            {"lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach, "maximize": maximize, "differentiable": differentiable,
             "capturable": capturable},
        )  # fmt: skip

    def _initial_state(self, group: dict[str, Any], parameter: Any, name: str) -> Any:
        return FUNCTIONS["torch"]["full_like"](parameter.detach(), number(group["lr"]) if name == "step_size" else 0.0)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have gradients."""
        loss = closure() if closure is not None else None
        for position in range(len(self.param_groups)):
            self._fused_step(position, lambda key: rule(), _numbers, True)
        return loss


def _numbers(group: dict[str, Any], step: int) -> list[float]:
    return [-1.0 if group["maximize"] else 1.0, *group["etas"], *group["step_sizes"]]
