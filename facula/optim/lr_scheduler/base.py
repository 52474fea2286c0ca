"""What all schedules share: counting steps, writing learning rates into the groups, saving and loading.

A subclass gives `get_lr()`, the rates of all groups at `last_epoch`; most compute them from the rates as they are (so that
schedules may be chained), and `_get_closed_form_lr()` for a jump to a given epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.engine.modes import modes
from facula.optim.optimizer import Optimizer
from facula.runtime.objects import TensorBase

_ORDER = "https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate"


def warn(message: str, stacklevel: int = 3) -> None:
    """A UserWarning at the caller's caller."""
    import warnings

    warnings.warn(message, UserWarning, stacklevel=stacklevel)


def warn_epoch(stacklevel: int = 4) -> None:
    """The warning for `step(epoch)`."""
    warn(
        "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where possible. Please use "
        "`scheduler.step()` to step the scheduler. During the deprecation, if epoch is different from None, the closed form is used "
        "instead of the new chainable form, where available. Please open an issue if you are unable to replicate your use case: "
        "https://github.com/pytorch/pytorch/issues/new/choose.",
        stacklevel,
    )


def check_optimizer(optimizer: Any) -> None:
    """TypeError for anything but an optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


def values_of(optimizer: Any, key: str) -> list[Any]:
    """A hyperparameter of all groups; tensors are copied, so that nobody changes the optimizer through them."""
    return [
        value.clone() if isinstance(value, TensorBase) else value
        for value in (group[key] for group in optimizer.param_groups)
    ]


def set_value(group: dict[str, Any], key: str, value: Any) -> None:
    """Write a hyperparameter of a group, into the tensor where it is one."""
    if isinstance(group[key], TensorBase):
        group[key].fill_(float(value))
    else:
        group[key] = value


def per_group(name: str, optimizer: Any, value: Any) -> list[Any]:
    """One value for each group. ValueError if as many were not given."""
    groups = optimizer.param_groups
    if isinstance(value, (list, tuple)):
        if len(value) != len(groups):
            raise ValueError(
                f"{name} must have the same length as optimizer.param_groups. {name} has {len(value)} values, param_groups has "
                f"{len(groups)}."
            )
        given = list(value)
    else:
        given = [value] * len(groups)
    return [v.clone() if isinstance(v, TensorBase) else v for v in given]


def each_call(advance: Callable[[], None]) -> None:
    """Take a step now, unseen by a recorder, which takes it again before each replay of what it records."""
    recorder = modes.recorder
    if recorder is None:
        advance()
        return
    recorder.each_call(advance)
    modes.recorder = None
    try:
        advance()
    finally:
        modes.recorder = recorder


class LRScheduler:
    """Base class of schedules.

    Args:
        optimizer: whose groups' learning rates are rewritten.
        last_epoch: how many steps were taken already; -1 starts anew, otherwise the groups must have an `initial_lr`.

    Attributes: last_epoch, base_lrs (the rates at the beginning), optimizer.
    """

    optimizer: Any
    base_lrs: list[Any]
    last_epoch: int
    _get_lr_called_within_step = False
    _is_initial = False

    def __init__(self, optimizer: Any, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                rate = group["lr"]
                group.setdefault("initial_lr", rate.clone() if isinstance(rate, TensorBase) else rate)
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming scheduler with last_epoch >= 0.\n"
                    "Load the optimizer's state first (its groups carry initial_lr), or leave last_epoch at -1 for a fresh run."
                )
        self.base_lrs = values_of(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        optimizer._watch_steps()
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.__dict__.update(state_dict)

    def get_last_lr(self) -> list[Any]:
        """The rates that the last step wrote, one for each group."""
        if modes.recorder is not None:
            modes.recorder.refuse("it reads the learning rate of a schedule in Python")
        return self._last_lr

    def get_lr(self) -> list[Any]:
        """The rates of all groups at `last_epoch`; `step` asks. For a look from outside there is `get_last_lr`."""
        raise NotImplementedError

    def step(self, epoch: Any = None) -> None:
        """Go on by one step (or, deprecated, to `epoch`) and write the rates."""
        if self._step_count == 1:
            self._check_order()
        if epoch is not None:
            warn_epoch()
        each_call(lambda: self._advance(epoch))

    def _advance(self, epoch: Any) -> None:
        self._step_count += 1
        self._update_lr(epoch)

    def _check_order(self) -> None:
        if self.optimizer._step_was_replaced():
            warn(
                "Seems like `optimizer.step()` has been overridden after learning rate scheduler initialization. Please, make sure to "
                f"call `optimizer.step()` before `lr_scheduler.step()`. See more details at {_ORDER}",
                4,
            )
        elif not self.optimizer._opt_called:
            warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`. In PyTorch 1.1.0 and later, you should call them in "
                "the opposite order: `optimizer.step()` before `lr_scheduler.step()`.  Failure to do this will result in PyTorch "
                f"skipping the first value of the learning rate schedule. See more details at {_ORDER}",
                4,
            )

    def _update_lr(self, epoch: Any = None) -> None:
        if epoch is None:
            self.last_epoch += 1
        else:
            self.last_epoch = epoch
        self._write(self._computed(epoch is not None))

    def _computed(self, closed: bool = False) -> list[Any]:
        """The rates from `get_lr`, or from the closed form where there is one."""
        self._get_lr_called_within_step = True
        try:
            form = getattr(self, "_get_closed_form_lr", None) if closed else None
            return form() if form is not None else self.get_lr()  # type: ignore[no-any-return]
        finally:
            self._get_lr_called_within_step = False

    def _write(self, rates: list[Any]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            set_value(group, "lr", rate)
        self._last_lr = self._rates()

    # -- for subclasses -----------------------------------------------------------------------------------------------
    def _rates(self) -> list[Any]:
        """The rates as they are."""
        return values_of(self.optimizer, "lr")

    def _scaled(self, factor: float) -> list[Any]:
        """The rates as they are, times a factor."""
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def _warn_outside_step(self) -> None:
        """For `get_lr`: its answer only makes sense while a step is being taken."""
        if not self._get_lr_called_within_step:
            warn("To get the last learning rate computed by the scheduler, please use `get_last_lr()`.", 4)
