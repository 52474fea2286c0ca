"""`Module`, the base class of everything that has parameters.

A module keeps three dictionaries, of parameters, buffers and submodules, filled by assigning to its attributes. Its
other abilities are
mixed in from files of their own: calling and hooks (`_hooks`), state dictionaries (`_state`), walking and converting
(`_tree`).

In: assignments, calls. Out: what `forward` returns. It must never know a particular layer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from facula.nn.modules import _hooks
from facula.nn.modules._hooks import (
    CALL_HOOKS,
    STATE_HOOKS,
    Hooks,
    _WrappedHook,
    make_hooks,
    register_module_backward_hook,
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from facula.nn.modules._registry import Registry, typename
from facula.nn.modules._state import _EXTRA_STATE_KEY_SUFFIX, State, _IncompatibleKeys
from facula.nn.modules._tree import Tree
from facula.nn.parameter import Buffer, Parameter
from facula.tensor.tensor import Tensor

if TYPE_CHECKING:
    from typing import Self

__all__ = [
    "_EXTRA_STATE_KEY_SUFFIX",
    "Module",
    "_IncompatibleKeys",
    "_WrappedHook",
    "_addindent",
    "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
    "typename",
]

_REGISTRIES = ("_parameters", "_buffers", "_modules")
_HOOKS = tuple(sorted(CALL_HOOKS | STATE_HOOKS))
_WATCHED = frozenset((*_REGISTRIES, "__dict__"))


def _addindent(text: str, spaces: int) -> str:
    """Indent every line but the first."""
    return text.replace("\n", "\n" + " " * spaces)


def _forward_unimplemented(self: Any, *input: Any) -> None:
    """What the module computes at every call. Every subclass defines it."""
    raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')


class Module(Hooks, State, Tree):
    """Base class of all neural-network modules.

    Subclasses call `super().__init__()` first, assign parameters and submodules to attributes, and define `forward`.
    Calling the module
    calls `forward`, with the hooks that were registered around it.

    Attributes:
        training: whether the module is in training mode; set by `train()` and `eval()`.

    Example:
        >>> import facula as torch
        >>> class Double(torch.nn.Module):
        ...     def forward(self, x):
        ...         return 2 * x
        >>> Double()(torch.ones(2))
        tensor([2., 2.])
    """

    dump_patches: bool = False
    call_super_init: bool = False
    training: bool
    forward: Callable[..., Any] = _forward_unimplemented

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not self.call_super_init and (args or kwargs):
            name = type(self).__name__
            if kwargs:
                raise TypeError(f"{name}.__init__() got an unexpected keyword argument '{next(iter(kwargs))}'")
            raise TypeError(f"{name}.__init__() takes 1 positional argument but {len(args) + 1} were given")
        own = self.__dict__
        if "_parameters" in own:
            for name in _REGISTRIES:
                _detach(self, own.get(name))
        own["training"] = True
        own["_parameters"] = Registry(self)
        own["_buffers"] = Registry(self)
        own["_non_persistent_buffers_set"] = set()
        own["_modules"] = Registry(self)
        own["_hooked"] = False
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        for registry in _REGISTRIES:
            if registry in own and name in own[registry]:
                return own[registry][name]
        if "_parameters" in own:
            if name in CALL_HOOKS or name in STATE_HOOKS:
                return make_hooks(self, name)
            if name == "_hooked":
                own["_hooked"] = any(own.get(hooks) for hooks in CALL_HOOKS)
                return own["_hooked"]
        elif name == "_hooked":
            name = "_backward_hooks"
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        params = own.get("_parameters")
        modules = own.get("_modules")
        if isinstance(value, Tensor) and isinstance(value, Parameter):
            if params is None:
                raise AttributeError("cannot assign parameters before Module.__init__() call")
            _forget(name, own, own["_buffers"], modules)
            own["_non_persistent_buffers_set"].discard(name)
            self.register_parameter(name, value)
        elif params is not None and name in params:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{typename(value)}' as parameter '{name}' (torch.nn.Parameter or None expected)"
                )
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            if modules is None:
                raise AttributeError("cannot assign module before Module.__init__() call")
            _forget(name, own, params, own["_buffers"])
            own["_non_persistent_buffers_set"].discard(name)
            modules[name] = _registered(_hooks._global_module_registration_hooks, self, name, value)
        elif modules is not None and name in modules:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{typename(value)}' as child module '{name}' (torch.nn.Module or None expected)"
                )
            modules[name] = _registered(_hooks._global_module_registration_hooks, self, name, value)
        else:
            buffers = own.get("_buffers")
            if (buffers is not None and name in buffers) or (isinstance(value, Tensor) and isinstance(value, Buffer)):
                self._set_buffer(name, value, buffers)
            elif name in _WATCHED:
                self._set_watched(name, value)
            else:
                object.__setattr__(self, name, value)

    def _set_buffer(self, name: str, value: Any, buffers: Any) -> None:
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(
                f"cannot assign '{typename(value)}' as buffer '{name}' (torch.nn.Buffer, torch.Tensor or None expected)"
            )
        if buffers is None:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        if isinstance(value, Buffer):
            persistent = value.persistent  # type: ignore[attr-defined]
        else:
            persistent = name not in self._non_persistent_buffers_set
        if name not in buffers:
            _forget(name, self.__dict__)
        if persistent:
            # Subclasses may have narrowed register_buffer to (name, tensor).
            self.register_buffer(name, value)
        else:
            self.register_buffer(name, value, False)

    def _set_watched(self, name: str, value: Any) -> None:
        """Replace a registry, or all attributes at once, and rebuild the mirror."""
        own = self.__dict__
        if name == "__dict__":
            object.__setattr__(self, name, value)
            self._adopt()
            return
        _detach(self, own.get(name))
        own[name] = Registry(self, value)

    def _adopt(self) -> None:
        """Take possession of registries that came with a new `__dict__`."""
        own = self.__dict__
        for name in _REGISTRIES:
            registry = own.get(name)
            if isinstance(registry, Registry):
                registry.attach(self)
            elif registry is not None:
                own[name] = Registry(self, registry)

    def __delattr__(self, name: str) -> None:
        if name in self._parameters:
            del self._parameters[name]
        elif name in self._buffers:
            del self._buffers[name]
            self._non_persistent_buffers_set.discard(name)
        elif name in self._modules:
            del self._modules[name]
        else:
            object.__delattr__(self, name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter, reachable as an attribute afterwards.

        Args:
            name: without dots, and not yet an attribute.
            param: the parameter; None declares a name that has no parameter, and is not part of `state_dict`.

        Raises:
            KeyError: the name is taken, empty or contains a dot.
            TypeError: `param` is not a `Parameter`.
            ValueError: `param` is the result of a differentiable operation.
        """
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        self._check_name("parameter", name, self._parameters)
        if param is None:
            self._parameters[name] = None
            return
        if not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{typename(param)}' object to parameter '{name}' (torch.nn.Parameter or None required)"
            )
        if param.grad_fn:
            raise ValueError(
                f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created explicitly. "
                f"To express '{name}' "
                "as a function of another Tensor, compute the value in the forward() method."
            )
        self._parameters[name] = _registered(_hooks._global_parameter_registration_hooks, self, name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state but not a parameter, such as running statistics.

        Args:
            name: without dots, and not yet an attribute.
            tensor: the buffer; None declares a name that has no tensor, and is not part of `state_dict`.
            persistent: whether it is part of `state_dict`. Default: True

        Raises:
            KeyError: the name is taken, empty or contains a dot.
            TypeError: `tensor` is not a tensor.
        """
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._check_name("buffer", name, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{typename(tensor)}' object to buffer '{name}' (torch Tensor or None required)"
            )
        self._buffers[name] = _registered(_hooks._global_buffer_registration_hooks, self, name, tensor)
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a submodule, reachable as an attribute afterwards.

        Raises:
            KeyError: the name is taken, empty or contains a dot.
            TypeError: `module` is not a module.
        """
        if not isinstance(module, Module) and module is not None:
            raise TypeError(f"{typename(module)} is not a Module subclass")
        if not isinstance(name, str):
            raise TypeError(f"module name should be a string. Got {typename(name)}")
        if hasattr(self, name) and name not in self._modules:
            raise KeyError(f"attribute '{name}' already exists")
        if "." in name:
            raise KeyError(f'module name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError('module name can\'t be empty string ""')
        self._modules[name] = _registered(_hooks._global_module_registration_hooks, self, name, module)

    def register_module(self, name: str, module: Module | None) -> None:
        """The same as `add_module`."""
        self.add_module(name, module)

    def _check_name(self, kind: str, name: Any, registry: dict[str, Any]) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {typename(name)}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain "."')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if name not in registry and hasattr(self, name):
            raise KeyError(f"attribute '{name}' already exists")

    def __getstate__(self) -> dict[str, Any]:
        """The attributes without what mirrors the registries, and with hook dictionaries even where there is no hook.

        The latter let other implementations of this interface read a pickled module.
        """
        own = self.__dict__
        state = {**dict.fromkeys(_HOOKS), "_is_full_backward_hook": None, **own}
        for name in ("_hooked", "_compiled_call_impl"):
            state.pop(name, None)
        for name in _HOOKS:
            if state[name] is None:
                state[name] = OrderedDict()
        for registry in _REGISTRIES:
            for name, value in (own.get(registry) or {}).items():
                if name in state and state[name] is value:
                    del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        own = self.__dict__
        own.update(state)
        for name in _HOOKS:
            if name in own and not own[name]:
                del own[name]
        own.setdefault("_non_persistent_buffers_set", set())
        own["_hooked"] = any(name in own for name in CALL_HOOKS)
        self._adopt()

    def _replicate_for_data_parallel(self) -> Self:
        """A module of the same kind that shares everything but its own dictionaries; its parameters are to be put
        in.
        """
        replica = self.__new__(type(self))
        replica.__dict__ = dict(self.__dict__)
        replica._parameters = {}
        replica._buffers = dict(replica._buffers)
        replica._modules = dict(replica._modules)
        replica._is_replica = True
        return replica

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile this module's call in place; the arguments are those of `torch.compile`."""
        from facula.compile import compile as compile_function

        self._compiled_call_impl = compile_function(self._call_impl, *args, **kwargs)
        self.__dict__["_hooked"] = True

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What a subclass wants to see between the parentheses of its representation."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        if len(lines) <= 1 and not self._modules:
            return f"{self._get_name()}({extra})"
        lines += [f"({name}): {_addindent(repr(module), 2)}" for name, module in self._modules.items()]
        return f"{self._get_name()}(\n  " + "\n  ".join(lines) + "\n)"

    def __dir__(self) -> list[str]:
        names = {*dir(type(self)), *self.__dict__, *self._parameters, *self._modules, *self._buffers}
        return sorted(name for name in names if not name[0].isdigit())


def _registered(hooks: dict[int, Callable[..., Any]], module: Module, name: str, value: Any) -> Any:
    """What is registered under `name` once the global registration hooks have had their say."""
    for hook in hooks.values():
        changed = hook(module, name, value)
        if changed is not None:
            value = changed
    return value


def _forget(name: str, *dictionaries: Any) -> None:
    for entries in dictionaries:
        if name in entries:
            del entries[name]


def _detach(module: Module, registry: Any) -> None:
    if isinstance(registry, Registry):
        registry.detach(module)


_GLOBALS = (
    "_global_backward_hooks",
    "_global_backward_pre_hooks",
    "_global_buffer_registration_hooks",
    "_global_forward_hooks",
    "_global_forward_hooks_always_called",
    "_global_forward_hooks_with_kwargs",
    "_global_forward_pre_hooks",
    "_global_is_full_backward_hook",
    "_global_module_registration_hooks",
    "_global_parameter_registration_hooks",
)


def __getattr__(name: str) -> Any:
    if name in _GLOBALS:
        return getattr(_hooks, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
