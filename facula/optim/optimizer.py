"""The base of all optimizers: parameter groups, state, saving and loading, hooks.

A subclass gives its defaults to `__init__`, validates them, and implements `step`. Most describe their rule as a scalar
body (`fused.Update`) and call `self._fused_step`.
"""

from __future__ import annotations

import ctypes
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from facula.engine.graph import Removable
from facula.engine.modes import enable_grad, modes, no_grad
from facula.ops.define import FUNCTIONS
from facula.optim.fused import Batch, Update, is_dense, matching_gradients
from facula.runtime.objects import TensorBase


class _Required:
    """Marks a hyperparameter without a default."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


class Optimizer:
    """Base class.

    Args:
        params: tensors, (name, tensor) pairs, or dicts with `params` and the options of a group.
        defaults: the options of groups that do not give their own.
    """

    _global_pre_hooks: dict[int, Any] = OrderedDict()
    _global_post_hooks: dict[int, Any] = OrderedDict()

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self._step_pre_hooks: dict[int, Any] = OrderedDict()
        self._step_post_hooks: dict[int, Any] = OrderedDict()
        self._state_dict_pre_hooks: dict[int, Any] = OrderedDict()
        self._state_dict_post_hooks: dict[int, Any] = OrderedDict()
        self._load_state_dict_pre_hooks: dict[int, Any] = OrderedDict()
        self._load_state_dict_post_hooks: dict[int, Any] = OrderedDict()
        self._batches: dict[Any, list[tuple[Batch, Any]]] = {}
        self._noted: dict[tuple[int, int], dict[str, float]] = {}
        if isinstance(params, TensorBase):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                + f"torch.{params._layout.dtype.scalar_name}Tensor"
            )
        self.state: dict[Any, Any] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(dict(group))

    def __repr__(self) -> str:
        lines = [type(self).__name__ + " ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])

    def __getstate__(self) -> dict[str, Any]:
        if self._running:
            self._show_scalars()
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for name in (
            "_step_pre_hooks", "_step_post_hooks", "_state_dict_pre_hooks", "_state_dict_post_hooks", "_load_state_dict_pre_hooks",
            "_load_state_dict_post_hooks",
        ):  # fmt: skip
            self.__dict__.setdefault(name, OrderedDict())
        self._batches, self._noted = {}, {}
        if self._running:
            self._read_scalars()

    # -- groups ---------------------------------------------------------------------------------------------------
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add tensors with options of their own. ValueError for a tensor that is in another group already."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, TensorBase):
            param_group["params"] = [params]
        elif isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets will change between "
                "runs. Please use a list instead."
            )
        else:
            param_group["params"] = list(params)
        items = param_group["params"]
        if items and isinstance(items[0], tuple):
            param_group["param_names"] = [name for name, _ in items]
            param_group["params"] = [tensor for _, tensor in items]
        for tensor in param_group["params"]:
            if not isinstance(tensor, TensorBase):
                raise TypeError(
                    "optimizer can only optimize Tensors, but one of the params is " + type(tensor).__name__
                )
            if not self.defaults.get("differentiable", None) and not (
                tensor._node is None or (tensor._meta is not None and tensor._meta.retains_grad)
            ):
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            param_group.setdefault(name, default)
        own = param_group["params"]
        if len({id(p) for p in own}) != len(own):
            import warnings

            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will cause an error; see "
                "github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=3,
            )
        known = {id(p) for group in self.param_groups for p in group["params"]}
        if any(id(p) in known for p in own):
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients (or fill them with zeros)."""
        for group in self.param_groups:
            for p in group["params"]:
                gradient = p._grad
                if gradient is None:
                    continue
                if set_to_none:
                    p._grad = None
                elif gradient._node is not None:
                    p._grad = gradient.detach().zero_()
                else:
                    gradient._requires_grad = 0
                    gradient.zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters; `closure` computes the loss again and returns it."""
        raise NotImplementedError

    # -- state ----------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """The state and the groups, with parameters as numbers in order."""
        for hook in self._state_dict_pre_hooks.values():
            hook(self)
        if self._running:
            self._show_scalars()
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            packed = {k: v for k, v in group.items() if k != "params"}
            for p in group["params"]:
                numbers.setdefault(id(p), len(numbers))
            packed["params"] = [numbers[id(p)] for p in group["params"]]
            groups.append(packed)
        state = {numbers[id(k)] if isinstance(k, TensorBase) else k: v for k, v in self.state.items()}
        result: dict[str, Any] = {"state": state, "param_groups": groups}
        for hook in self._state_dict_post_hooks.values():
            replaced = hook(self, result)
            result = result if replaced is None else replaced
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state saved by `state_dict`. ValueError if the groups do not match."""
        state_dict = dict(state_dict)
        for hook in self._load_state_dict_pre_hooks.values():
            replaced = hook(self, state_dict)
            state_dict = state_dict if replaced is None else replaced
        saved = state_dict["param_groups"]
        if len(saved) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        for mine, theirs in zip(self.param_groups, saved, strict=True):
            if len(mine["params"]) != len(theirs["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
                )
        tensors = {
            number: p
            for mine, theirs in zip(self.param_groups, saved, strict=True)
            for number, p in zip(theirs["params"], mine["params"], strict=True)
        }
        state: dict[Any, Any] = defaultdict(dict)
        for key, value in state_dict["state"].items():
            if key in tensors:
                state[tensors[key]] = (
                    {k: _like_parameter(tensors[key], v, k) for k, v in value.items()}
                    if isinstance(value, dict)
                    else value
                )
            else:
                state[key] = value
        self.state = state
        groups = []
        for mine, theirs in zip(self.param_groups, saved, strict=True):
            group = dict(theirs)
            group["params"] = mine["params"]
            if "param_names" in mine and "param_names" not in group:
                group["param_names"] = mine["param_names"]
            for name, default in self.defaults.items():
                group.setdefault(name, default)
            groups.append(group)
        self.param_groups = groups
        self._batches = {}
        if self._running:
            self._read_scalars()
        for hook in self._load_state_dict_post_hooks.values():
            hook(self)

    # -- the order of steps -----------------------------------------------------------------------------------------
    def _watch_steps(self) -> None:
        """A schedule wants to know whether `step` is called before its own."""
        if "_watched_step" not in self.__dict__:
            self._watched_step, self._opt_called = _function_of(self.step), False

    def _step_was_replaced(self) -> bool:
        """Whether somebody put another `step` in the place of the watched one."""
        return _function_of(self.step) is not self.__dict__.get("_watched_step", _function_of(self.step))

    # -- hooks ----------------------------------------------------------------------------------------------------
    def register_step_pre_hook(self, hook: Any) -> Removable:
        """Call `hook(optimizer, args, kwargs)` before each step."""
        return Removable(self._step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Any) -> Removable:
        """Call `hook(optimizer, args, kwargs)` after each step."""
        return Removable(self._step_post_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Any, prepend: bool = False) -> Removable:
        return _hooked(self._state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook: Any, prepend: bool = False) -> Removable:
        return _hooked(self._state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Any, prepend: bool = False) -> Removable:
        return _hooked(self._load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Any, prepend: bool = False) -> Removable:
        return _hooked(self._load_state_dict_post_hooks, hook, prepend)

    _opt_called = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = _with_hooks(cls.__dict__["step"])  # type: ignore[method-assign]

    # -- the fused step ---------------------------------------------------------------------------------------------
    def _fused_step(
        self, position: int, update: Callable[[Any], Update], numbers: Callable[[dict[str, Any], int], list[float]], counted: bool,
        variant: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:  # fmt: skip
        """Update group number `position` by kernels over all its parameters.

        update(key) is the rule for the parameters whose state `variant` maps to `key`; numbers(group, step) are the
        hyperparameters of a step, in the order of the rule's keywords; counted rules keep a `step` in the state.
        """
        group = self.param_groups[position]
        batches = self._batches.get(position)
        having = [p for p in group["params"] if p._grad is not None]
        if (
            batches is None
            or sum(len(b.parameters) for b, _ in batches) != len(having)
            or not all(b.refresh() for b, _ in batches)
        ):
            batches = self._batches[position] = self._make_batches(group, having, update, counted, variant)
        again = False
        recorder = modes.recorder
        if recorder is not None:
            recorder.valid_while(
                lambda: self._batches.get(position) is batches and all(update(s[1]) is b.update for b, s in batches)
            )
            recorder.valid_while(lambda: self.param_groups[position] is group)
        for batch, steps in batches:
            steps[0] += 1
            values = numbers(group, steps[0])
            if recorder is None:
                batch.step(values)
            else:
                own = batch.clone()
                own.step(values)
                recorder.each_call(_Prepare(self, position, batch, own, steps, numbers))
            again = again or steps[1] == "first"
        if again:
            self._batches.pop(position)

    def _initial_state(self, group: dict[str, Any], parameter: Any, name: str) -> Any:
        """The first value of a state tensor."""
        return FUNCTIONS["torch"]["zeros_like"](parameter.detach())

    # Some rules carry numbers from step to step, such as a product of momenta. They are kept per group and step, and
    # appear as tensors in the states of the parameters when somebody looks there through `state_dict`.
    _running: dict[str, Any] = {}
    """name -> first value, or the name of the hyperparameter that is it."""

    def _scalars(self, position: int, group: dict[str, Any], step: int) -> dict[str, float]:
        """The running numbers after so many steps."""
        known = self._noted.get((position, step))
        if known is None:
            known = {
                name: single(number(group[first])) if isinstance(first, str) else first
                for name, first in self._running.items()
            }
        return known

    def _note_scalars(self, position: int, step: int, values: dict[str, float]) -> None:
        self._noted.pop((position, step - 2), None)  # the last is kept: parameters of several dtypes step in turn
        self._noted[position, step] = values

    def _show_scalars(self) -> None:
        """Write the running numbers into the states."""
        for position, group in enumerate(self.param_groups):
            for p in group["params"]:
                state = self.state.get(p)
                if state is not None and "step" in state:
                    for name, value in self._scalars(position, group, int(float(state["step"]))).items():
                        state[name] = FUNCTIONS["torch"]["tensor"](value, dtype=_float32())

    def _read_scalars(self) -> None:
        """Take the running numbers out of loaded states."""
        self._noted.clear()
        for position, group in enumerate(self.param_groups):
            for p in group["params"]:
                state = self.state.get(p)
                if state is not None and all(name in state for name in self._running) and "step" in state:
                    self._noted[position, int(float(state["step"]))] = {
                        name: float(state[name]) for name in self._running
                    }

    def _make_batches(
        self, group: dict[str, Any], having: list[Any], update: Any, counted: bool, variant: Any
    ) -> list[tuple[Batch, Any]]:
        matching_gradients(having)
        sorted_: dict[Any, list[Any]] = {}
        for p in having:
            if not is_dense(p):
                raise RuntimeError("the optimizer needs parameters whose memory is dense; give it .contiguous() ones")
            key = variant(self.state[p]) if variant is not None else None
            rule = update(key)
            state = self.state[p] if rule.states or counted else {}
            for name in rule.states:
                if name not in state or state[name] is None:
                    state[name] = self._initial_state(group, p, name)
                elif state[name]._layout is not p._layout:
                    fresh = FUNCTIONS["torch"]["empty_like"](p)
                    fresh.copy_(state[name])
                    state[name] = fresh
            steps = 0
            if counted:
                if "step" not in state:
                    state["step"] = FUNCTIONS["torch"]["zeros"]((), dtype=_float32())
                steps = int(number(state["step"]))
            sorted_.setdefault((p._layout.dtype, key, steps), []).append(p)
        made = []
        for (_, key, steps), parameters in sorted_.items():
            batch = Batch(update(key), parameters, [self.state.get(p, {}) for p in parameters], counted)
            batch.refresh()
            made.append((batch, [steps, key]))
        return made


def _function_of(method: Any) -> Any:
    return getattr(method, "__func__", method)


class _Prepare:
    """What a compiled step does before each call: count the step and read the hyperparameters again."""

    def __init__(self, optimizer: Optimizer, position: int, batch: Batch, own: Batch, steps: Any, numbers: Any) -> None:
        self.optimizer, self.position, self.batch, self.own = optimizer, position, batch, own
        self.steps, self.numbers = steps, numbers

    def __call__(self) -> None:
        self.steps[0] += 1
        values = self.numbers(self.optimizer.param_groups[self.position], self.steps[0])
        self.own.hyper[: len(values)] = values

    def undo(self) -> None:
        """The step did not come so far."""
        self.steps[0] -= 1

    def follow(self) -> None:
        """The same step as the eager one before."""
        ctypes.memmove(self.own.hyper, self.batch.hyper, ctypes.sizeof(self.own.hyper))


def _float32() -> Any:
    from facula.core.dtype import float32

    return float32


def _like_parameter(parameter: Any, value: Any, name: str) -> Any:
    """A loaded state tensor, copied and in the dtype of its parameter (counters keep theirs)."""
    if not isinstance(value, TensorBase):
        return value
    if name == "step":
        return value.detach().clone()
    value = value.detach()
    return value.clone() if value._layout.dtype is parameter._layout.dtype else value.to(parameter._layout.dtype)


def _hooked(hooks: dict[int, Any], hook: Any, prepend: bool) -> Removable:
    handle = Removable(hooks, hook)
    if prepend:
        hooks.move_to_end(handle.id, last=False)  # type: ignore[attr-defined]
    return handle


def _with_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """`step` under no_grad, with the hooks around it, evaluating the closure with recording on."""

    def wrapped(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        self._opt_called = True
        before = (*Optimizer._global_pre_hooks.values(), *self._step_pre_hooks.values())
        for hook in before:
            replaced = hook(self, args, kwargs)
            if replaced is not None:
                if not isinstance(replaced, tuple) or len(replaced) != 2:
                    raise RuntimeError(
                        f"{hook} must return None or a tuple of (new_args, new_kwargs), but got {replaced}."
                    )
                args, kwargs = replaced
        if args and args[0] is not None:
            args = (_recording(args[0]), *args[1:])
        elif kwargs.get("closure") is not None:
            kwargs["closure"] = _recording(kwargs["closure"])
        if modes.grad_enabled and not self.defaults.get("differentiable"):
            with no_grad():
                result = step(self, *args, **kwargs)
        else:
            result = step(self, *args, **kwargs)
        for hook in (*self._step_post_hooks.values(), *Optimizer._global_post_hooks.values()):
            hook(self, args, kwargs)
        return result

    wrapped.__name__, wrapped.__doc__, wrapped.__wrapped__ = "step", step.__doc__, step  # type: ignore[attr-defined]
    return wrapped


def _recording(closure: Callable[[], Any]) -> Callable[[], Any]:
    def evaluate() -> Any:
        with enable_grad():
            return closure()

    return evaluate


def register_optimizer_step_pre_hook(hook: Any) -> Removable:
    """Call `hook(optimizer, args, kwargs)` before each step of every optimizer."""
    return Removable(Optimizer._global_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: Any) -> Removable:
    """Call `hook(optimizer, args, kwargs)` after each step of every optimizer."""
    return Removable(Optimizer._global_post_hooks, hook)


def check(condition: Any, what: str, value: Any) -> None:
    """ValueError naming a hyperparameter that is out of range."""
    if not condition:
        raise ValueError(f"{what}: {value}")


def single(value: float) -> float:
    """The number in single precision, in which running numbers are saved."""
    return ctypes.c_float(value).value


def number(value: Any) -> float:
    """A hyperparameter that may be a one-element tensor, which compiled steps read again before each call."""
    if modes.recorder is None or not isinstance(value, TensorBase):
        return float(value)
    recorder, modes.recorder = modes.recorder, None
    try:
        return float(value)
    finally:
        modes.recorder = recorder


ParamsT = Iterable[Any]
