"""Walking the tree of modules, and changing all of its tensors at once.

In: a module. Out: its descendants, parameters and buffers by name; or the module itself, converted. It must never know
how a member is
registered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from facula.engine.modes import no_grad
from facula.nn.parameter import Parameter
from facula.tensor.creation import to_arguments
from facula.tensor.tensor import Tensor

if TYPE_CHECKING:
    from typing import Self

    from facula.nn.modules.module import Module


class Tree:
    """The part of `Module` that knows about its descendants."""

    _buffers: dict[str, Any]
    _modules: dict[str, Any]
    _parameters: dict[str, Any]
    training: bool

    def _named_members(
        self, get_members_fn: Callable[..., Any], prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules: Any = [(prefix, self)]
        if recurse and type(self).named_modules is Tree.named_modules:
            modules = _descendants(self, prefix, set(), remove_duplicate, [])
        elif recurse:
            modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
        for path, module in modules:
            path = path and path + "."
            for name, value in get_members_fn(module):
                if value is None or id(value) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(value))
                yield path + name, value

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The module's parameters, each once; those of its descendants too unless `recurse` is false."""
        if type(self).named_parameters is not Tree.named_parameters:
            for _, param in self.named_parameters(recurse=recurse):
                yield param
            return
        seen: set[int] = set()
        registries = [self._parameters]
        if recurse:
            registries += [module._parameters for module in self.modules() if module is not self]
        for registry in registries:
            for value in registry.values():
                if value is not None and id(value) not in seen:
                    seen.add(id(value))
                    yield value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Full names and parameters, in the order of registration.

        Args:
            prefix: put before every name. Default: ''
            recurse: include the parameters of descendants. Default: True
            remove_duplicate: give a shared parameter once. Default: True

        Example:
            >>> import facula as torch
            >>> [name for name, _ in torch.nn.Sequential(torch.nn.Linear(2, 3)).named_parameters()]
            ['0.weight', '0.bias']
        """
        yield from self._named_members(_parameters_of, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The module's buffers, each once; those of its descendants too unless `recurse` is false."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Full names and buffers, in the order of registration; see `named_parameters`."""
        yield from self._named_members(_buffers_of, prefix, recurse, remove_duplicate)

    def children(self) -> Iterator[Module]:
        """The immediate submodules, each once."""
        for _, module in self.named_children():
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Names and immediate submodules, each submodule once."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """This module and all its descendants, parents first."""
        if type(self).named_modules is Tree.named_modules:
            found = _descendants(self, "", set(), remove_duplicate, [])
        else:
            found = list(self.named_modules(remove_duplicate=remove_duplicate))
        for _, module in found:
            yield module

    def named_modules(
        self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """Full names and modules: this one (named `prefix`) and all its descendants, parents first.

        Args:
            memo: modules already given, to be left out. Default: none
            prefix: put before every name. Default: ''
            remove_duplicate: give a shared module once. Default: True
        """
        if memo is None:
            memo = set()
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                path = prefix + ("." if prefix else "") + name
                yield from module.named_modules(memo, path, remove_duplicate)

    def get_submodule(self, target: str) -> Any:
        """The descendant with the full name `target`, such as 'encoder.layers.0'; the module itself for ''.

        Raises:
            AttributeError: a name on the path is missing, or is not a module.
        """
        module: Any = self
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
            module = getattr(module, name)
            if not isinstance(module, Tree):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def set_submodule(self, target: str, module: Any, strict: bool = False) -> None:
        """Put `module` where the full name `target` points to.

        Args:
            target: the full name.
            module: what stands there afterwards.
            strict: something must have stood there before. Default: False

        Raises:
            ValueError: `target` is empty, or `module` is not a module.
            AttributeError: a name on the path is missing, or is not a module.
        """
        if not target:
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, Tree):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if hasattr(parent, name):
            if not isinstance(getattr(parent, name), Tree):
                raise AttributeError(f"`{name}` is not an nn.Module")
        elif strict:
            raise AttributeError(f"{parent._get_name()} has no attribute `{name}`")
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter with the full name `target`; AttributeError when there is none."""
        value = self._get_member(target)
        if not isinstance(value, Parameter):
            raise AttributeError(f"`{target.rpartition('.')[2]}` is not an nn.Parameter")
        return value

    def get_buffer(self, target: str) -> Tensor:
        """The buffer with the full name `target`; AttributeError when there is none."""
        value = self._get_member(target)
        path, _, name = target.rpartition(".")
        if name not in self.get_submodule(path)._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return value

    def _get_member(self, target: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
        return getattr(module, name)

    def apply(self, fn: Callable[[Any], None]) -> Self:
        """Call `fn` on every descendant and then on this module; typically to initialise weights."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Put `fn(tensor)` in the place of every parameter, gradient and buffer. Parameters keep their identity."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        for name, param in self._parameters.items():
            if param is None:
                continue
            grad = param.grad
            with no_grad():
                applied = fn(param)
            if _can_hold(param, applied):
                param.data = applied
                kept = param
            else:
                kept = Parameter(applied, param.requires_grad)
                self._parameters[name] = kept
            if grad is not None:
                with no_grad():
                    applied = fn(grad)
                if kept is param and _can_hold(grad, applied):
                    grad.data = applied
                else:
                    kept.grad = applied.requires_grad_(grad.requires_grad)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move or convert the module's parameters and buffers, in place.

        Called as `to(device=None, dtype=None, non_blocking=False)`, `to(dtype, non_blocking=False)`, `to(tensor,
        non_blocking=False)` or
        `to(memory_format=format)`. Only floating-point and complex tensors change their dtype.

        Raises:
            TypeError: `dtype` is neither floating point nor complex.
        """
        dtype, device, _, memory_format = to_arguments(args, kwargs)
        if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
            raise TypeError(
                f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={dtype}"
            )
        if dtype is not None and dtype.is_complex:
            import warnings

            warnings.warn(
                "Complex modules are a new feature under active development whose design may change, and some modules "
                "might not work as "
                "expected when using complex tensors as parameters or buffers. Please file an issue at "
                "https://github.com/pytorch/pytorch/issues/new?template=bug-report.yml if a complex module does not "
                "work as expected.",
                stacklevel=2,
            )

        def convert(tensor: Tensor) -> Tensor:
            wanted = dtype if tensor.is_floating_point() or tensor.is_complex() else None
            try:
                if memory_format is not None and tensor.dim() in (4, 5):
                    return tensor.to(device, wanted, memory_format=memory_format)
                return tensor.to(device, wanted)
            except NotImplementedError as error:
                if str(error).startswith("Cannot copy out of meta tensor; no data!"):
                    raise NotImplementedError(
                        "Cannot copy out of meta tensor; no data! Please use torch.nn.Module.to_empty() instead of "
                        "torch.nn.Module.to() when moving module from meta to a "
                        "different device."
                    ) from None
                raise

        return self._apply(convert)

    def to_empty(self, *, device: Any, recurse: bool = True) -> Self:
        """Move to `device` without copying values: the parameters and buffers there are uninitialised."""
        from facula.tensor.creation import empty_like

        return self._apply(lambda tensor: empty_like(tensor, device=device), recurse=recurse)

    def type(self, dst_type: Any) -> Self:
        """Convert all parameters and buffers to `dst_type`."""
        return self._apply(lambda tensor: tensor.type(dst_type))

    def float(self) -> Self:
        """Convert floating-point parameters and buffers to float32."""
        return self._apply(lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)

    def double(self) -> Self:
        """Convert floating-point parameters and buffers to float64."""
        return self._apply(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)

    def half(self) -> Self:
        """Convert floating-point parameters and buffers to float16."""
        return self._apply(lambda tensor: tensor.half() if tensor.is_floating_point() else tensor)

    def bfloat16(self) -> Self:
        """Convert floating-point parameters and buffers to bfloat16."""
        return self._apply(lambda tensor: tensor.bfloat16() if tensor.is_floating_point() else tensor)

    def cpu(self) -> Self:
        """Move all parameters and buffers to the CPU."""
        return self._apply(lambda tensor: tensor.cpu())

    def cuda(self, device: Any = None) -> Self:
        """Move all parameters and buffers to a CUDA device."""
        return self._apply(lambda tensor: tensor.cuda(device))

    def xpu(self, device: Any = None) -> Self:
        """Move all parameters and buffers to an XPU device."""
        return self._apply(lambda tensor: tensor.xpu(device))  # type: ignore[attr-defined]

    def ipu(self, device: Any = None) -> Self:
        """Move all parameters and buffers to an IPU device."""
        return self._apply(lambda tensor: tensor.ipu(device))  # type: ignore[attr-defined]

    def mtia(self, device: Any = None) -> Self:
        """Move all parameters and buffers to an MTIA device."""
        return self._apply(lambda tensor: tensor.mtia(device))  # type: ignore[attr-defined]

    def share_memory(self) -> Self:
        """Move all parameters and buffers into shared memory; see `Tensor.share_memory_`."""
        return self._apply(lambda tensor: tensor.share_memory_())

    def train(self, mode: bool = True) -> Self:
        """Set the module and its descendants in training mode, or in evaluation mode when `mode` is false."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Self:
        """Set the module and its descendants in evaluation mode."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Choose whether gradients are computed for the module's parameters."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters; with `set_to_none=False` fill them with zeros instead."""
        if getattr(self, "_is_replica", False):
            import warnings

            warnings.warn(
                "Calling .zero_grad() from a module created with nn.DataParallel() has no effect. The parameters are "
                "copied (in a "
                "differentiable manner) from the original module. This means they are not leaf nodes in autograd and "
                "so don't accumulate "
                "gradients. If you need gradients in your forward method, consider using autograd.grad instead.",
                stacklevel=2,
            )
        for param in self.parameters():
            grad = param.grad
            if grad is None:
                continue
            if set_to_none:
                param.grad = None
                continue
            if grad.grad_fn is not None:
                grad.detach_()
            else:
                grad.requires_grad_(False)
            grad.zero_()


def _descendants(
    module: Any, path: str, seen: set[int], remove_duplicate: bool, found: list[tuple[str, Any]]
) -> list[tuple[str, Any]]:
    """`named_modules` as a list, which takes a fraction of the time."""
    if remove_duplicate:
        seen.add(id(module))
    found.append((path, module))
    start = path and path + "."
    for name, child in module._modules.items():
        if child is None or id(child) in seen:
            continue
        if type(child).named_modules is Tree.named_modules:
            _descendants(child, start + name, seen, remove_duplicate, found)
        else:
            found.extend(child.named_modules(None, start + name, remove_duplicate))
    return found


def _parameters_of(module: Any) -> Any:
    return module._parameters.items()


def _buffers_of(module: Any) -> Any:
    return module._buffers.items()


def _can_hold(tensor: Tensor, value: Tensor) -> bool:
    """Whether `tensor.data = value` is possible: a tensor cannot start or stop being on the meta device."""
    return tensor.is_meta == value.is_meta
