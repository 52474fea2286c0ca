"""Parametrizations: a parameter that is computed from others whenever it is read.

In: a module, the name of one of its tensors, and modules that compute it. Out: the same module, of a class of its own
in which that name is
a property. It must never know a particular parametrization.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from facula.engine.modes import no_grad
from facula.nn.modules.container import ModuleDict, ModuleList
from facula.nn.modules.module import Module
from facula.nn.parameter import Parameter
from facula.tensor.tensor import Tensor

__all__ = [
    "ParametrizationList",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "transfer_parametrizations_and_params",
    "type_before_parametrizations",
]

_cache_enabled = 0
_cache: dict[tuple[int, str], Any] = {}


@contextmanager
def cached() -> Iterator[None]:
    """Within the block every parametrized tensor is computed once, when it is first read."""
    global _cache_enabled
    _cache_enabled += 1
    try:
        yield
    finally:
        _cache_enabled -= 1
        if not _cache_enabled:
            _cache.clear()


def _register(module: Module, name: str, tensor: Tensor) -> None:
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


def _store(place: Tensor, value: Tensor) -> None:
    """Make `place` hold `value`, whatever its shape, without changing which tensor it is: optimizers know it."""
    if place is not value:
        place.data = value.detach().clone() if value.data_ptr() == place.data_ptr() else value.detach()


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, in order, and the tensors that it is computed from.

    They are `original`, or, when the last `right_inverse` gives several, `original0`, `original1` and so on.

    Args:
        modules: the parametrizations.
        original: the tensor as it was.
        unsafe: allow another shape or dtype. Default: False

    Raises:
        ValueError: no parametrization, or one that changes shape or dtype, or gives anything but tensors.
    """

    original: Any

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if len(modules) == 0:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        shape, dtype = original.shape, original.dtype
        new = self._invert(original)
        if not isinstance(new, (Tensor, Sequence)):
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). Got "
                f"{type(new).__name__}"
            )
        self.is_tensor = isinstance(new, Tensor)
        self.ntensors = 1 if isinstance(new, Tensor) else len(new)
        if isinstance(new, Tensor):
            for what in ("dtype", "device"):
                before, after = getattr(original, what), getattr(new, what)
                if before != after:
                    raise ValueError(
                        f"When `right_inverse` outputs one tensor, it may not change the {what}.\n"
                        f"original.{what}: {before}\nright_inverse(original).{what}: {after}"
                    )
            _store(original, new)
            _register(self, "original", original)
        else:
            for i, part in enumerate(new):
                self._register_part(i, part, original)
        if not unsafe:
            self._check_result(shape, dtype)

    def _register_part(self, i: int, part: Any, original: Tensor) -> None:
        if not isinstance(part, Tensor):
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). Got element "
                f"{i} of the sequence with type {type(part).__name__}."
            )
        if isinstance(original, Parameter):
            part = Parameter(part.detach(), original.requires_grad)
        _register(self, f"original{i}", part)

    def _check_result(self, shape: Any, dtype: Any) -> None:
        result = self()
        if not isinstance(result, Tensor):
            raise ValueError(f"A parametrization must return a tensor. Got {type(result).__name__}.")
        for what, before in (("dtype", dtype), ("shape", shape)):
            if getattr(result, what) != before:
                raise ValueError(
                    f"Registering a parametrization may not change the {what} of the tensor, unless `unsafe` flag is "
                    f"enabled.\nunparametrized {what}: {before}\nparametrized {what}: {getattr(result, what)}"
                )

    def _invert(self, value: Any, strict: bool = False) -> Any:
        """What the tensor must be computed from to be `value`; without a `right_inverse`, the value itself."""
        with no_grad():
            for module in reversed(list(self)):
                inverse = getattr(module, "right_inverse", None)
                if inverse is not None:
                    try:
                        value = inverse(value)
                    except NotImplementedError:
                        if strict:
                            raise
                elif strict:
                    raise RuntimeError(f"parametrization {type(module).__name__} does not implement right_inverse.")
        return value

    def right_inverse(self, value: Tensor) -> None:
        """Change the tensors that are kept so that the computed one is `value`.

        Raises:
            RuntimeError: a parametrization has no `right_inverse`.
            ValueError: it gives other tensors than those that are kept.
        """
        new = self._invert(value, strict=True)
        if self.is_tensor:
            if not isinstance(new, Tensor):
                raise ValueError(f"`right_inverse` should return a tensor. Got {type(new).__name__}")
            if new.dtype != self.original.dtype:
                raise ValueError(
                    f"The tensor returned by `right_inverse` has dtype {new.dtype} while `original` has dtype "
                    f"{self.original.dtype}"
                )
            _store(self.original, new)
            return
        if not isinstance(new, Sequence):
            raise ValueError(f"'right_inverse' must return a sequence of tensors. Got {type(new).__name__}.")
        if len(new) != self.ntensors:
            raise ValueError(
                f"'right_inverse' must return a sequence of tensors of length {self.ntensors}. Got a sequence of "
                "length "
                f"{len(new)}."
            )
        for i, part in enumerate(new):
            _store(getattr(self, f"original{i}"), part)

    def forward(self) -> Tensor:
        names = ["original"] if self.is_tensor else [f"original{i}" for i in range(self.ntensors)]
        first, *others = self
        value = first(*(getattr(self, name) for name in names))
        for module in others:
            value = module(value)
        return value


def _parametrized_class(module: Module) -> None:
    """Give the module a class of its own, for properties to be put into."""
    base = type(module)

    def getstate(self: Any) -> Any:
        raise RuntimeError(
            "Serialization of parametrized modules is only supported through state_dict(). See:\n"
            "https://pytorch.org/tutorials/beginner/saving_loading_models.html"
            "#saving-loading-a-general-checkpoint-for-inference-and-or-resuming-training"
        )

    def copy(self: Any, memo: dict[int, Any]) -> Any:
        clone = memo[id(self)] = self.__new__(type(self))
        Module.__setstate__(clone, deepcopy(Module.__getstate__(self), memo))
        return clone

    members = {"__getstate__": getstate, "__deepcopy__": copy, "_base_of_parametrized": base}
    module.__class__ = type(f"Parametrized{base.__name__}", (base,), members)


def _property(name: str) -> property:
    def read(self: Any) -> Tensor:
        parametrization = self.parametrizations[name]
        if not _cache_enabled:
            return parametrization()
        key = (id(self), name)
        if key not in _cache:
            _cache[key] = parametrization()
        return _cache[key]

    def write(self: Any, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    return property(read, write)


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Compute a parameter or buffer of a module by `parametrization` whenever it is read.

    Args:
        module: changed in place, and returned.
        tensor_name: the parameter or buffer.
        parametrization: a module whose forward takes the tensor, or what its `right_inverse` makes of it, and gives the
            tensor to be used. Several may be registered one after the other.
        unsafe: allow another shape or dtype. Default: False

    Raises:
        ValueError: the module has no such tensor, or the parametrization changes its shape or dtype.

    Example:
        >>> import facula as torch
        >>> class Symmetric(torch.nn.Module):
        ...     def forward(self, x):
        ...         return x.triu() + x.triu(1).transpose(-1, -2)
        >>> layer = torch.nn.Linear(3, 3)
        >>> _ = torch.nn.utils.parametrize.register_parametrization(layer, "weight", Symmetric())
        >>> bool((layer.weight == layer.weight.T).all())
        True
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        _append(module, tensor_name, parametrization, unsafe)
    elif tensor_name in module._buffers or tensor_name in module._parameters:
        original = getattr(module, tensor_name)
        parametrizations = ParametrizationList([parametrization], original, unsafe=unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            _parametrized_class(module)
            module.parametrizations = ModuleDict()
        setattr(type(module), tensor_name, _property(tensor_name))
        module.parametrizations[tensor_name] = parametrizations
    else:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name "
            f"'{tensor_name}'"
        )
    return module


def _append(module: Any, name: str, parametrization: Any, unsafe: bool) -> None:
    """Add to the parametrizations that a tensor has already."""
    known = module.parametrizations[name]
    if not unsafe:
        value = getattr(module, name)
        result = parametrization(value)
        if not isinstance(result, Tensor):
            raise ValueError(f"A parametrization must return a tensor. Got {type(result).__name__}.")
        for what in ("dtype", "shape"):
            before, after = getattr(value, what), getattr(result, what)
            if before != after:
                raise ValueError(
                    f"Registering a parametrization may not change the {what} of the tensor, unless the `unsafe` flag "
                    "is "
                    f"enabled.\nmodule.{name}.{what}: {before}\nparametrization(module.{name}).{what}: {after}"
                )
    if hasattr(parametrization, "right_inverse"):
        with no_grad():
            known.right_inverse(parametrization.right_inverse(getattr(module, name)))
    known.append(parametrization)
    known.unsafe = known.unsafe or unsafe


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether the module, or one of its tensors, is parametrized."""
    parametrizations = getattr(module, "parametrizations", None)
    if not isinstance(parametrizations, ModuleDict):
        return False
    return len(parametrizations) > 0 if tensor_name is None else tensor_name in parametrizations


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Make a parametrized tensor an ordinary one again.

    Args:
        module: changed in place, and returned.
        tensor_name: the tensor.
        leave_parametrized: it keeps the computed value; else the original one. Default: True

    Raises:
        ValueError: the tensor is not parametrized, or has several originals and is to be one of them.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    parametrizations: Any = module.parametrizations
    known = parametrizations[tensor_name]
    if known.is_tensor:
        original = known.original
        if leave_parametrized:
            with no_grad():
                _store(original, getattr(module, tensor_name))
    elif leave_parametrized:
        value = getattr(module, tensor_name)
        trained = known.original0.requires_grad
        original = Parameter(value.detach(), trained) if trained else value
    else:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized in terms of a "
            "sequence of tensors."
        )
    delattr(type(module), tensor_name)
    del parametrizations[tensor_name]
    _register(module, tensor_name, original)
    if not is_parametrized(module):
        delattr(module, "parametrizations")
        module.__class__ = type(module)._base_of_parametrized  # type: ignore[attr-defined]
    return module


def type_before_parametrizations(module: Module) -> type[Module]:
    """The class that the module had before its tensors were parametrized."""
    return type(module)._base_of_parametrized if is_parametrized(module) else type(module)  # type: ignore[attr-defined]


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Give one module the parametrizations, and the tensors they compute from, of another of the same kind.

    Args:
        from_module: whose parametrizations are taken.
        to_module: changed in place, and returned.
        tensor_name: which tensor's. Default: all
    """
    if not is_parametrized(from_module):
        return to_module
    names = list(from_module.parametrizations) if tensor_name is None else [tensor_name]
    if tensor_name is not None and not is_parametrized(from_module, tensor_name):
        raise AssertionError(f"Parametrization for {tensor_name} not found in from_module")
    for name in names:
        known = from_module.parametrizations[name]
        if not hasattr(to_module, name):
            _register(to_module, name, getattr(from_module, name).detach())
        for parametrization in known:
            register_parametrization(to_module, name, deepcopy(parametrization), unsafe=True)
        for key, value in known.state_dict().items():
            if key.startswith("original"):
                _store(getattr(to_module.parametrizations[name], key), value.clone())
    return to_module
