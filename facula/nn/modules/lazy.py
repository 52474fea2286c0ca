"""Modules that learn their sizes from the first input.

In: the class of the module they become. Out: that module, after the first call. They must never know the sizes before.
"""

from __future__ import annotations

from typing import Any

from facula.nn.parameter import is_lazy

__all__ = ["LazyModuleMixin"]


class LazyModuleMixin:
    """Mixed in before the class that the module is to become.

    The module's parameters start uninitialised. Its first call runs `initialize_parameters(*args)`, after which the
    module changes its
    class to `cls_to_become`. Convert or move the module as usual before that; call it once before giving its
    parameters to an optimizer.
    """

    cls_to_become: type | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        this: Any = self
        self._load_hook = this._register_load_state_dict_pre_hook(self._lazy_load_hook)
        self._initialize_hook = this.register_forward_pre_hook(self._infer_parameters, with_kwargs=True)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        this: Any = self
        # An uninitialised tensor cannot be detached: it is saved as it is.
        for name, param in this._parameters.items():
            if param is not None:
                destination[prefix + name] = param if keep_vars or is_lazy(param) else param.detach()
        for name, buffer in this._buffers.items():
            if buffer is not None and name not in this._non_persistent_buffers_set:
                destination[prefix + name] = buffer if keep_vars or is_lazy(buffer) else buffer.detach()

    def _lazy_load_hook(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Give the uninitialised tensors the shapes of the ones about to be loaded."""
        from facula.engine.modes import no_grad

        this: Any = self
        for registry in (this._parameters, this._buffers):
            for name, param in registry.items():
                key = prefix + name
                if key in state_dict and param is not None and is_lazy(param):
                    loaded = state_dict[key]
                    if not is_lazy(loaded):
                        with no_grad():
                            param.materialize(loaded.shape)

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Create the parameters for the arguments of the first call; for subclasses to define."""
        raise NotImplementedError(f"initialize_parameters is not implemented for {type(self).__name__}")

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer has no shape yet."""
        this: Any = self
        return any(is_lazy(value) for registry in (this._parameters, this._buffers) for value in registry.values())

    def _infer_parameters(self, module: Any, args: Any, kwargs: Any = None) -> None:
        """Before the first forward: initialise, and become the plain module."""
        module.initialize_parameters(*args, **(kwargs or {}))
        if module.has_uninitialized_params():
            raise RuntimeError(f"module {type(self).__name__} has not been fully initialized")
        module._initialize_hook.remove()
        module._load_hook.remove()
        delattr(module, "_initialize_hook")
        delattr(module, "_load_hook")
        if module.cls_to_become is not None:
            module.__class__ = module.cls_to_become

    def _replicate_for_data_parallel(self) -> Any:
        raise RuntimeError(
            "Modules with uninitialized parameters can't be used with `DataParallel`. Run a dummy forward pass to "
            "correctly initialize the "
            "modules"
        )
