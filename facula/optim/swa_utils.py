"""Averages of a model's weights over training: equal (Izmailov et al. 2018) or exponential, and the schedule that goes with them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

from facula.engine.modes import no_grad
from facula.nn.modules.module import Module
from facula.ops.define import FUNCTIONS
from facula.optim.lr_scheduler.base import LRScheduler, per_group

__all__ = [
    "SWALR", "AveragedModel", "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn", "get_swa_multi_avg_fn", "update_bn",
]  # fmt: skip


def _check_decay(decay: float) -> None:
    if decay < 0.0 or decay > 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


def get_ema_avg_fn(decay: float = 0.999) -> Callable[[Any, Any, Any], Any]:
    """average(old, new, count) = decay * old + (1 - decay) * new."""
    _check_decay(decay)

    @no_grad()
    def average(ema_param: Any, current_param: Any, num_averaged: Any) -> Any:
        return decay * ema_param + (1 - decay) * current_param

    return average


def get_swa_avg_fn() -> Callable[[Any, Any, Any], Any]:
    """average(old, new, count) = old + (new - old) / (count + 1)."""

    @no_grad()
    def average(averaged_param: Any, current_param: Any, num_averaged: Any) -> Any:
        return averaged_param + (current_param - averaged_param) / (num_averaged + 1)

    return average


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[[Any, Any, Any], None]:
    """The exponential average of lists of tensors, in place."""
    _check_decay(decay)

    @no_grad()
    def average(ema_param_list: Any, current_param_list: Any, _: Any) -> None:
        for old, new in zip(ema_param_list, current_param_list, strict=True):
            if old.is_floating_point() or old.is_complex():
                old.lerp_(new, 1 - decay)
            else:
                old.copy_(old * decay + new * (1 - decay))

    return average


def get_swa_multi_avg_fn() -> Callable[[Any, Any, Any], None]:
    """The equal average of lists of tensors, in place."""

    @no_grad()
    def average(averaged_param_list: Any, current_param_list: Any, num_averaged: Any) -> None:
        share = 1 / (float(num_averaged) + 1)
        for old, new in zip(averaged_param_list, current_param_list, strict=True):
            if old.is_floating_point() or old.is_complex():
                old.lerp_(new, share)
            else:
                old.add_(((new - old) * share).to(old.dtype))

    return average


class AveragedModel(Module):
    """A copy of a model whose parameters are averages of the model's.

    Args:
        model: what is averaged; it is copied.
        device: where the averages stand.
        avg_fn: (average, parameter, count) -> new average. Default: equal weights.
        multi_avg_fn: the same for lists of tensors, in place.
        use_buffers: average the buffers too, instead of copying them.

    Raises:
        AssertionError: both functions are given.
    """

    n_averaged: Any

    def __init__(
        self, model: Any, device: Any = None, avg_fn: Callable[[Any, Any, Any], Any] | None = None,
        multi_avg_fn: Callable[[Any, Any, Any], None] | None = None, use_buffers: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        import copy

        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", FUNCTIONS["torch"]["tensor"](0, device=device))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The averaged model's."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Any) -> None:
        """Let the model as it is now enter the average; the first one is copied."""

        def tensors(of: Any) -> list[Any]:
            return [
                t.detach()
                for t in (itertools.chain(of.parameters(), of.buffers()) if self.use_buffers else of.parameters())
            ]

        mine = tensors(self.module)
        theirs = [t.to(m.device) for m, t in zip(mine, tensors(model), strict=True)]
        if int(self.n_averaged) == 0:
            for average, parameter in zip(mine, theirs, strict=True):
                average.copy_(parameter)
        elif self.avg_fn is not None:
            for average, parameter in zip(mine, theirs, strict=True):
                average.copy_(self.avg_fn(average, parameter, self.n_averaged.to(average.device)))
        else:
            (self.multi_avg_fn or get_swa_multi_avg_fn())(mine, theirs, self.n_averaged)
        if not self.use_buffers:
            for average, buffer in zip(self.module.buffers(), model.buffers(), strict=True):
                average.detach().copy_(buffer.detach().to(average.device))
        self.n_averaged += 1


@no_grad()
def update_bn(loader: Iterable[Any], model: Any, device: Any = None) -> None:
    """Compute the running statistics of a model's batch normalisations anew, over all inputs of the loader (batches, or
    lists whose first item is the batch)."""
    from facula.nn.modules.batchnorm import _BatchNorm

    momenta = {module: module.momentum for module in model.modules() if isinstance(module, _BatchNorm)}
    if not momenta:
        return
    training = model.training
    model.train()
    for module in momenta:
        module.reset_running_stats()
        module.momentum = None
    for batch in loader:
        batch = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(batch.to(device) if device is not None else batch)
    for module, momentum in momenta.items():
        module.momentum = momentum
    model.train(training)


class SWALR(LRScheduler):
    """From the rate as it is to `swa_lr` in `anneal_epochs` steps, along a cosine or a line, and constant from there."""

    def __init__(
        self, optimizer: Any, swa_lr: Any, anneal_epochs: int = 10, anneal_strategy: str = "cos", last_epoch: int = -1
    ) -> None:
        for rate, group in zip(per_group("swa_lr", optimizer, swa_lr), optimizer.param_groups, strict=True):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self._anneal_strategy, self.anneal_epochs = anneal_strategy, anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        """How much of swa_lr is in the rate after so many steps."""
        t = max(0, min(1, step / max(1, self.anneal_epochs)))
        return t if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2

    def get_lr(self) -> list[Any]:
        self._warn_outside_step()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(step - 1), self._share(step)
        rates = []
        for group in self.optimizer.param_groups:
            target = group["swa_lr"]
            initial = target if before == 1 else (group["lr"] - before * target) / (1 - before)
            rates.append(target * now + initial * (1 - now))
        return rates
