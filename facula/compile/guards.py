"""What a compiled step takes for granted, found by looking at the step function, and checked before each call.

What can be reached from the function's closure, globals and `self` is looked through: modules' training flags and parameters,
optimizers' parameters and states, tensors, and Python numbers in variables, attributes and containers; besides, the grad
mode and the default dtype. The memory and geometry of tensors are guarded natively (`program`).
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Sequence
from typing import Any

from facula.core.dtype import get_default_dtype
from facula.engine.modes import modes
from facula.runtime import native
from facula.runtime.objects import TensorBase

_PLAIN = (bool, int, float, str, type(None))
_MOST_ITEMS, _MOST_OBJECTS = 64, 20_000
_missing = object()


def words_of(tensor: Any) -> list[tuple[int, int]]:
    """(address, word) pairs that stay as they are while a tensor keeps its memory and its geometry."""
    return [(id(tensor) + 8 * native.T_DATA, tensor._data), (id(tensor) + 8 * native.T_LAYOUT, id(tensor._layout))]


class Guards:
    """The surroundings of a step, as they are when it is recorded."""

    def __init__(self, step: Callable[..., Any]) -> None:
        self.grad_enabled, self.default = modes.grad_enabled, get_default_dtype()
        self._names: set[str] = set()
        known = -1
        while len(self._names) > known:  # attributes are looked at if the code names them, which may lead to more code
            known = len(self._names)
            self._look(step)
        self.gradients = {key: t._grad for key, t in self.external.items() if t._requires_grad}

    def _look(self, step: Callable[..., Any]) -> None:
        self.numbers: list[tuple[Callable[[], Any], Any]] = []
        self.modules: list[tuple[Any, bool]] = []
        self.places: list[tuple[Callable[[], Any], Any]] = []
        self.external: dict[int, Any] = {}
        self._seen: set[int] = set()
        self._left = _MOST_OBJECTS
        self._function(step)

    # -- looking ------------------------------------------------------------------------------------------------------
    def _new(self, value: Any) -> bool:
        """Whether a value has not been looked at before (and there is patience left)."""
        if id(value) in self._seen or self._left <= 0:
            return False
        self._seen.add(id(value))
        self._left -= 1
        return True

    def _function(self, function: Any) -> None:
        if isinstance(function, functools.partial):
            self._value(functools.partial(getattr, function, "func"))
            self._object(function.args)
            self._object(function.keywords)
            return
        if isinstance(function, types.MethodType):
            self._object(function.__self__)
            function = function.__func__
        if not isinstance(function, types.FunctionType):
            self._object(function)
            return
        for cell in function.__closure__ or ():
            self._value(functools.partial(_contents, cell))
        names = _global_names(function.__code__)
        self._names |= names
        for name in names:
            if name in function.__globals__:
                self._value(functools.partial(_item, function.__globals__, name))
        self._object(function.__defaults__)
        self._object(function.__kwdefaults__)

    def _value(self, get: Callable[[], Any]) -> None:
        value = get()
        if value is _missing:
            return
        if isinstance(value, _PLAIN):
            self.numbers.append((get, value))
        elif isinstance(value, TensorBase):
            self.external.setdefault(id(value), value)
            self.places.append((get, value))
        elif isinstance(value, (types.FunctionType, types.MethodType, functools.partial)):
            module = getattr(getattr(value, "__func__", value), "__module__", None) or ""
            if not module.startswith(("facula.", "torch.")) and self._new(value):
                self._function(value)
            elif isinstance(value, types.MethodType):
                self._object(value.__self__)
        else:
            self._object(value)

    def _object(self, value: Any) -> None:
        if isinstance(value, TensorBase):
            self.external.setdefault(id(value), value)
            return
        if isinstance(value, (types.ModuleType, type, *_PLAIN)) or not self._new(value):
            return
        if hasattr(value, "_parameters") and hasattr(value, "training"):
            self._module(value)
        elif hasattr(value, "param_groups") and hasattr(value, "state"):
            self._optimizer(value)
        elif isinstance(value, (list, tuple)):
            self._items(value, range(len(value)))
        elif isinstance(value, dict):
            self._items(value, list(value))
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif _is_users(type(value)) and hasattr(value, "__dict__"):
            self._methods(type(value))
            for name in value.__dict__.keys() & self._names:
                self._value(functools.partial(_item, value.__dict__, name))

    def _methods(self, kind: type) -> None:
        """The methods of a user's class that the code names."""
        for name in self._names & {n for k in kind.__mro__ if _is_users(k) for n in vars(k)}:
            method = getattr(kind, name, None)
            if isinstance(method, types.FunctionType) and self._new(method):
                self._function(method)

    def _items(self, container: Any, keys: Sequence[Any]) -> None:
        self.numbers.append((functools.partial(len, container), len(container)))
        if len(keys) <= _MOST_ITEMS:
            for key in keys:
                self._value(functools.partial(_item, container, key))
            return
        for key in keys:  # many: data, most likely
            if isinstance(container[key], TensorBase):
                self._object(container[key])

    def _module(self, module: Any) -> None:
        self.modules.append((module, module.training))
        forward = getattr(type(module), "forward", None)
        if _is_users(type(module)) and isinstance(forward, types.FunctionType) and self._new(forward):
            self._function(forward)
            self._methods(type(module))
        for table in (module._parameters, module._buffers):
            for name, tensor in table.items():
                self.places.append((functools.partial(_item, table, name), tensor))
                if tensor is not None:
                    self.external.setdefault(id(tensor), tensor)
        for name, child in module._modules.items():
            self.places.append((functools.partial(_item, module._modules, name), child))
            if child is not None:
                self._object(child)
        for name, value in module.__dict__.items():
            if name != "training" and isinstance(value, (*_PLAIN, list, dict)) and not name.startswith("_"):
                self._value(functools.partial(_item, module.__dict__, name))

    def _optimizer(self, optimizer: Any) -> None:
        for group in optimizer.param_groups:
            for p in group["params"]:
                self.external.setdefault(id(p), p)
        for state in optimizer.state.values():
            if isinstance(state, dict):
                for value in state.values():
                    if isinstance(value, TensorBase):
                        self.external.setdefault(id(value), value)

    # -- checking -----------------------------------------------------------------------------------------------------
    def hold(self) -> bool:
        """Whether everything but the tensors' words is as it was."""
        if modes.grad_enabled is not self.grad_enabled or get_default_dtype() is not self.default:
            return False
        for module, training in self.modules:
            if module.training is not training:
                return False
        for get, expected in self.places:
            if get() is not expected:
                return False
        for get, expected in self.numbers:
            value = get()
            if value is not expected and (type(value) is not type(expected) or value != expected):
                return False
        return True


def _is_users(kind: type) -> bool:
    """Whether a class is the user's own."""
    return not kind.__module__.startswith(
        ("facula.", "torch.", "builtins", "numpy", "collections", "functools", "threading")
    )


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _missing


def _item(container: Any, key: Any) -> Any:
    try:
        return container[key]
    except (KeyError, IndexError):
        return _missing


def _global_names(code: types.CodeType) -> set[str]:
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _global_names(constant)
    return found
