"""What a compiled step takes for granted, found by looking at the step function, and checked before each call.

Modules and optimizers reachable from the function's arguments, closure and globals: their training flags and parameters;
Python numbers there; the grad mode and default dtype. Tensors' memory and geometry are guarded natively (`program`).
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from facula.core.dtype import get_default_dtype
from facula.engine.modes import modes
from facula.runtime import native
from facula.runtime.objects import TensorBase

_PLAIN = (bool, int, float, str, type(None))


class Guards:
    """The recorded surroundings of one compiled step."""

    def __init__(self, step: Callable[..., Any], captured: list[Any]) -> None:
        self.numbers: list[tuple[Callable[[], Any], Any]] = []
        self.modules: list[tuple[Any, bool]] = []
        self.parameters: list[tuple[dict[str, Any], str, Any]] = []
        self.grad_enabled, self.default = modes.grad_enabled, get_default_dtype()
        self._seen: set[int] = set()
        self._function(step)
        self.words: list[tuple[int, int]] = []
        for tensor in captured:
            self.words += [
                (id(tensor) + 8 * native.T_DATA, tensor._data),
                (id(tensor) + 8 * native.T_LAYOUT, id(tensor._layout)),
            ]
        self.kept = captured

    def _function(self, function: Any) -> None:
        if isinstance(function, types.MethodType):
            self._object(function.__self__)
            function = function.__func__
        if not isinstance(function, types.FunctionType):
            self._object(function)
            return
        names = function.__code__.co_freevars
        for name, cell in zip(names, function.__closure__ or (), strict=True):
            self._value(name, _reader_of_cell(cell))
        for name in _global_names(function.__code__):
            if name in function.__globals__:
                self._value(name, _reader_of_global(function.__globals__, name))

    def _value(self, name: str, get: Callable[[], Any]) -> None:
        try:
            value = get()
        except ValueError:
            return
        if isinstance(value, _PLAIN):
            self.numbers.append((get, value))
        elif isinstance(value, types.FunctionType) and not (value.__module__ or "").startswith(("facula", "torch")):
            if id(value) not in self._seen:
                self._seen.add(id(value))
                self._function(value)
        else:
            self._object(value)

    def _object(self, value: Any) -> None:
        if id(value) in self._seen or isinstance(value, (TensorBase, types.ModuleType, type)):
            return
        self._seen.add(id(value))
        if hasattr(value, "_parameters") and hasattr(value, "training"):
            self.modules.append((value, value.training))
            self.parameters += [(value._parameters, n, p) for n, p in value._parameters.items()]
            self.parameters += [(value._buffers, n, b) for n, b in value._buffers.items()]
            for name, child in value._modules.items():
                self.parameters.append((value._modules, name, child))
                if child is not None:
                    self._object(child)
        elif isinstance(value, (list, tuple)):
            for item in value:
                self._object(item)
        elif isinstance(value, dict) and len(value) < 64:
            for item in list(value.values()):
                self._object(item)

    def hold(self) -> bool:
        """Whether everything but the tensors' words is as it was."""
        if modes.grad_enabled is not self.grad_enabled or get_default_dtype() is not self.default:
            return False
        for module, training in self.modules:
            if module.training is not training:
                return False
        for table, name, expected in self.parameters:
            if table.get(name) is not expected:
                return False
        for get, expected in self.numbers:
            value = get()
            if value is not expected and (type(value) is not type(expected) or value != expected):
                return False
        return True


def _reader_of_cell(cell: Any) -> Callable[[], Any]:
    return lambda: cell.cell_contents


def _reader_of_global(table: dict[str, Any], name: str) -> Callable[[], Any]:
    return lambda: table[name]


def _global_names(code: types.CodeType) -> set[str]:
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _global_names(constant)
    return found
