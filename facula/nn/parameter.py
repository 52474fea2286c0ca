"""Parameters and buffers: tensors that a module registers when they are assigned to it.

In: tensors. Out: tensors of a class of their own, sharing the same storage. This file must never know about modules;
they know about it.
"""

from __future__ import annotations

from typing import Any

from facula.runtime.objects import register_parameter_class
from facula.tensor.tensor import Tensor

__all__ = ["Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter", "is_lazy"]


class _ParameterMeta(type(Tensor)):  # type: ignore[misc]
    """Counts a tensor of a user's own subclass, wrapped by `Parameter`, as a parameter."""

    def __instancecheck__(cls, instance: Any) -> bool:
        if type(instance) is cls or type.__instancecheck__(cls, instance):
            return True
        return cls is Parameter and isinstance(instance, Tensor) and getattr(instance, "_is_param", False)


class Parameter(Tensor, metaclass=_ParameterMeta):
    """A tensor that a module treats as one of its parameters.

    Args:
        data: the values; shared, not copied. An empty tensor when left out.
        requires_grad: whether gradients are computed for it. Default: True

    Raises:
        RuntimeError: `data` is neither floating point nor complex and `requires_grad` is true.

    Example:
        >>> import facula as torch
        >>> weight = torch.nn.Parameter(torch.ones(2))
        >>> weight.requires_grad, weight.is_leaf
        (True, True)
    """

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Any:
        if data is None:
            data = _empty(0)
        if type(data) is Tensor or type(data) is Parameter:
            return Tensor._make_subclass(cls, data, requires_grad)
        wrapped = data.detach().requires_grad_(requires_grad)
        if type(wrapped) is not type(data):
            raise RuntimeError(
                f"Creating a Parameter from an instance of type {type(data).__name__} requires that detach() returns "
                "an instance of the "
                f"same type, but return type {type(wrapped).__name__} was found instead. To use the type as a "
                "Parameter, please "
                "correct the detach() semantics defined by its __torch_dispatch__() implementation."
            )
        wrapped._is_param = True
        return wrapped

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        result = type(self)(self.data.clone(), self.requires_grad)
        memo[id(self)] = result
        return result

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return "Parameter containing:\n" + super().__repr__()

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        from collections import OrderedDict

        return _rebuild_parameter, (self.data, self.requires_grad, OrderedDict())


register_parameter_class(Parameter)


def _rebuild_parameter(data: Tensor, requires_grad: bool, backward_hooks: Any) -> Parameter:
    """What a pickled parameter names as its constructor; hooks are never stored."""
    parameter = Parameter(data, requires_grad)
    parameter._backward_hooks = backward_hooks
    return parameter


class _BufferMeta(type(Tensor)):  # type: ignore[misc]
    def __instancecheck__(cls, instance: Any) -> bool:
        if type.__instancecheck__(cls, instance):
            return True
        return cls is Buffer and isinstance(instance, Tensor) and getattr(instance, "_is_buffer", False)


class Buffer(Tensor, metaclass=_BufferMeta):
    """A tensor that a module keeps as state but does not train.

    Assigning one to a module registers it, as `register_buffer` does.

    Args:
        data: the values; shared, not copied. An empty tensor when left out.
        persistent: whether the buffer is part of the module's `state_dict`. Default: True

    Example:
        >>> import facula as torch
        >>> module = torch.nn.Module()
        >>> module.steps = torch.nn.Buffer(torch.zeros(1))
        >>> list(module.state_dict())
        ['steps']
    """

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Any:
        if data is None:
            data = _empty(0)
        buffer = data.detach().requires_grad_(data.requires_grad)
        buffer.persistent = persistent
        buffer._is_buffer = True
        return buffer


class UninitializedTensorMixin:
    """What a parameter or a buffer is before its shape is known."""

    cls_to_become: Any = None

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Give this object its shape, in place; its values stay uninitialised.

        Args:
            shape: the shape it gets.
            device: where it lies. Default: where this object was declared to lie.
            dtype: its type. Default: the type this object was declared with.
        """
        this: Any = self
        this.data = _empty(shape, device=device or this.data.device, dtype=dtype or this.data.dtype)
        this.__class__ = self.cls_to_become

    @property
    def shape(self) -> Any:
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in "
            "`load_state_dict` when trying "
            "to load an uninitialized parameter into an initialized one. Call `forward` to initialize the parameters "
            "before accessing "
            "their attributes."
        )

    def share_memory_(self) -> Any:
        raise RuntimeError(
            "Can't share memory on an uninitialized parameter or buffer. Call `forward` to initialize the parameters "
            "before calling "
            "`module.share_memory()`."
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return type(self), (self.requires_grad,)  # type: ignore[attr-defined]


class UninitializedParameter(UninitializedTensorMixin, Parameter):  # type: ignore[misc]
    """A parameter whose shape is not known yet; a lazy module materialises it at its first call.

    Args:
        requires_grad: whether gradients will be computed for it. Default: True
        device, dtype: what it will be created with.
    """

    cls_to_become = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> Any:
        return Tensor._make_subclass(cls, _empty(0, device=device, dtype=dtype), requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.requires_grad, self.data.device, self.data.dtype)
        return memo[id(self)]


class UninitializedBuffer(UninitializedTensorMixin, Tensor):  # type: ignore[misc]
    """A buffer whose shape is not known yet."""

    cls_to_become = Tensor

    def __new__(
        cls, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True
    ) -> Any:
        buffer = Tensor._make_subclass(cls, _empty(0, device=device, dtype=dtype), requires_grad)
        buffer.persistent = persistent
        buffer._is_buffer = True
        return buffer


def is_lazy(value: Any) -> bool:
    """Whether `value` is a parameter or buffer still without a shape."""
    return isinstance(value, UninitializedTensorMixin)


def _empty(*size: Any, **options: Any) -> Tensor:
    from facula.tensor.creation import empty

    return empty(*size, **options)
