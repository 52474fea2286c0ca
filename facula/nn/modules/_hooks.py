"""Hooks of modules: where they are kept, how they are registered, and the call that honours them.

A module without hooks never comes here: `__call__` looks at one flag and calls `forward`. The hook dictionaries of a
module do not exist
until somebody asks for one; asking creates it and raises the flag, so that any way of writing into them is seen.

In: a module, its arguments, user functions. Out: what the forward computed, as the hooks changed it. It must never
know how a module
stores its parameters.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from facula.nn.modules._handle import RemovableHandle

CALL_HOOKS = frozenset(
    (
        "_backward_hooks",
        "_backward_pre_hooks",
        "_forward_hooks",
        "_forward_hooks_always_called",
        "_forward_hooks_with_kwargs",
        "_forward_pre_hooks",
        "_forward_pre_hooks_with_kwargs",
    )
)
STATE_HOOKS = frozenset(
    ("_load_state_dict_post_hooks", "_load_state_dict_pre_hooks", "_state_dict_hooks", "_state_dict_pre_hooks")
)

_global_backward_pre_hooks: dict[int, Callable[..., Any]] = OrderedDict()
_global_backward_hooks: dict[int, Callable[..., Any]] = OrderedDict()
_global_is_full_backward_hook: bool | None = None
_global_forward_pre_hooks: dict[int, Callable[..., Any]] = OrderedDict()
_global_forward_hooks: dict[int, Callable[..., Any]] = OrderedDict()
_global_forward_hooks_always_called: dict[int, bool] = OrderedDict()
_global_forward_hooks_with_kwargs: dict[int, bool] = OrderedDict()
_global_buffer_registration_hooks: dict[int, Callable[..., Any]] = OrderedDict()
_global_module_registration_hooks: dict[int, Callable[..., Any]] = OrderedDict()
_global_parameter_registration_hooks: dict[int, Callable[..., Any]] = OrderedDict()

_NONE: dict[int, Any] = {}
_NOTHING: Any = object()
# True from the first hook on all modules until a call finds that the last one has gone.
_global_active = False

_MIXED_HOOKS = (
    "Cannot use both regular backward hooks and full backward hooks as a global Module hook. Please use only one of "
    "them."
)


class _WrappedHook:
    """A hook that gets its module as first argument, which it holds weakly."""

    def __init__(self, hook: Callable[..., Any], module: Any = None) -> None:
        from weakref import ref

        self.hook = hook
        self.with_module = module is not None
        self.__name__ = getattr(hook, "__name__", type(hook).__name__)
        if self.with_module:
            self.module = ref(module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.with_module:
            return self.hook(*args, **kwargs)
        module = self.module()
        if module is None:
            raise RuntimeError("You are trying to call the hook of a dead Module!")
        return self.hook(module, *args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = {"hook": self.hook, "with_module": self.with_module}
        if self.with_module:
            state["module"] = self.module()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["with_module"] and state["module"] is None:
            raise RuntimeError("You are trying to revive the hook of a dead Module!")
        self.__init__(state["hook"], state.get("module"))  # type: ignore[misc]


class Hooks:
    """The part of `Module` that is called, and that registers what is called with it."""

    _is_full_backward_hook: bool | None = None
    _compiled_call_impl: Callable[..., Any] | None = None
    _hooked: bool
    forward: Callable[..., Any]
    _backward_hooks: Any
    _backward_pre_hooks: Any
    _forward_hooks: Any
    _forward_hooks_always_called: Any
    _forward_hooks_with_kwargs: Any
    _forward_pre_hooks: Any
    _forward_pre_hooks_with_kwargs: Any

    def __call__(self, first: Any = _NOTHING, /, *rest: Any, **kwargs: Any) -> Any:
        # Nearly all calls have one positional argument; to pass just that on costs half of what unpacking does.
        hooked = _global_active or self._hooked
        if hooked or rest or kwargs or first is _NOTHING:
            args = () if first is _NOTHING else (first, *rest)
            return self._wrapped_call_impl(*args, **kwargs) if hooked else self.forward(*args, **kwargs)
        return self.forward(first)

    def _wrapped_call_impl(self, *args: Any, **kwargs: Any) -> Any:
        if self._compiled_call_impl is not None:
            return self._compiled_call_impl(*args, **kwargs)
        return self._call_impl(*args, **kwargs)

    def _call_impl(self, *args: Any, **kwargs: Any) -> Any:
        global _global_active
        own = self.__dict__
        forward_hooks = own.get("_forward_hooks", _NONE)
        any_global = (
            _global_forward_hooks or _global_forward_pre_hooks or _global_backward_hooks or _global_backward_pre_hooks
        )
        if not any_global:
            _global_active = False
            pre_hooks = own.get("_forward_pre_hooks")
            if not (forward_hooks or pre_hooks or own.get("_backward_hooks") or own.get("_backward_pre_hooks")):
                return self.forward(*args, **kwargs)
        called: set[int] = set()
        try:
            return self._hooked_call(args, kwargs, called)
        except Exception:
            self._call_remaining(args, kwargs, called)
            raise

    def _hooked_call(self, args: tuple[Any, ...], kwargs: dict[str, Any], called: set[int]) -> Any:
        args, kwargs = self._run_forward_pre_hooks(args, kwargs)
        backward_pre_hooks = self._get_backward_pre_hooks()
        full_hooks, plain_hooks = self._get_backward_hooks()
        around = None
        if full_hooks or backward_pre_hooks:
            from facula.nn.modules._backward_hook import BackwardHook

            around = BackwardHook(self, full_hooks, backward_pre_hooks)
            args = around.setup_input_hook(args)
        result = self.forward(*args, **kwargs)
        for hook_id, hook in (*_global_forward_hooks.items(), *self._forward_hooks.items()):
            if hook_id in self._forward_hooks_always_called or hook_id in _global_forward_hooks_always_called:
                called.add(hook_id)
            if hook_id in self._forward_hooks_with_kwargs or hook_id in _global_forward_hooks_with_kwargs:
                changed = hook(self, args, kwargs, result)
            else:
                changed = hook(self, args, result)
            if changed is not None:
                result = changed
        if around is not None:
            result = around.setup_output_hook(result)
        if plain_hooks:
            from facula.nn.modules._backward_hook import hook_last_node

            hook_last_node(self, plain_hooks, args, result)
        return result

    def _run_forward_pre_hooks(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        for hook_id, hook in (*_global_forward_pre_hooks.items(), *self._forward_pre_hooks.items()):
            if hook_id in self._forward_pre_hooks_with_kwargs:
                changed = hook(self, args, kwargs)
                if changed is None:
                    continue
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise RuntimeError(
                        f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {changed}."
                    )
                args, kwargs = changed
            else:
                changed = hook(self, args)
                if changed is not None:
                    args = changed if isinstance(changed, tuple) else (changed,)
        return args, kwargs

    def _call_remaining(self, args: tuple[Any, ...], kwargs: dict[str, Any], called: set[int]) -> None:
        """After a failure: the hooks that asked to be called always, and were not reached."""
        for scope, hooks, always, with_kwargs in (
            (
                "global module",
                _global_forward_hooks,
                _global_forward_hooks_always_called,
                _global_forward_hooks_with_kwargs,
            ),
            ("module", self._forward_hooks, self._forward_hooks_always_called, self._forward_hooks_with_kwargs),
        ):
            for hook_id, hook in hooks.items():
                if hook_id not in always or hook_id in called:
                    continue
                try:
                    hook(self, args, kwargs, None) if hook_id in with_kwargs else hook(self, args, None)
                except Exception as error:
                    import warnings

                    warnings.warn(
                        f"{scope} forward hook with ``always_call=True`` raised an exception that was silenced as "
                        "another error was "
                        f"raised in forward: {error}",
                        stacklevel=2,
                    )

    def _get_backward_hooks(self) -> tuple[list[Callable[..., Any]], list[Callable[..., Any]]]:
        """Full backward hooks, and those of the older kind; global ones first."""
        full: list[Callable[..., Any]] = []
        plain: list[Callable[..., Any]] = []
        if _global_backward_hooks:
            (full if _global_is_full_backward_hook else plain).extend(_global_backward_hooks.values())
        own = self.__dict__.get("_backward_hooks")
        if own:
            (full if self._is_full_backward_hook else plain).extend(own.values())
        return full, plain

    def _get_backward_pre_hooks(self) -> list[Callable[..., Any]]:
        return [*_global_backward_pre_hooks.values(), *self.__dict__.get("_backward_pre_hooks", _NONE).values()]

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before each forward.

        Args:
            hook: may return new arguments, a tuple or a single value; None leaves them.
            prepend: run before the hooks already registered. Default: False
            with_kwargs: call `hook(module, args, kwargs)`, which returns `(args, kwargs)` or None. Default: False

        Returns:
            A handle whose `remove()` takes the hook away.
        """
        return _add(self._forward_pre_hooks, hook, prepend, (self._forward_pre_hooks_with_kwargs, with_kwargs))

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after each forward.

        Args:
            hook: may return another output; None leaves it.
            prepend: run before the hooks already registered. Default: False
            with_kwargs: call `hook(module, args, kwargs, output)`. Default: False
            always_call: run it (with an output of None) also when the forward raised. Default: False

        Returns:
            A handle whose `remove()` takes the hook away.

        Example:
            >>> import facula as torch
            >>> layer = torch.nn.Linear(2, 3)
            >>> handle = layer.register_forward_hook(lambda module, args, output: print(output.shape))
            >>> _ = layer(torch.zeros(1, 2))
            torch.Size([1, 3])
        """
        return _add(
            self._forward_hooks,
            hook,
            prepend,
            (self._forward_hooks_with_kwargs, with_kwargs),
            (self._forward_hooks_always_called, always_call),
        )

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_output)` before the module's backward; it may return another tuple of gradients."""
        return _add(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when the gradients with respect to the module's inputs are
        known.

        It may return another tuple in place of `grad_input`, and must not change its arguments.
        """
        self._set_backward_kind(full=True)
        return _add(self._backward_hooks, hook, prepend)

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Register a hook on the last node that the forward recorded. Deprecated: see `register_full_backward_hook`."""
        self._set_backward_kind(full=False)
        return _add(self._backward_hooks, hook, False)

    def _set_backward_kind(self, full: bool) -> None:
        if self._is_full_backward_hook is (not full):
            raise RuntimeError(
                "Cannot use both regular backward hooks and full backward hooks on a single Module. Please use only "
                "one of them."
            )
        self._is_full_backward_hook = full


def _add(
    hooks: Any, hook: Callable[..., Any], prepend: bool = False, *flags: tuple[dict[int, bool], bool]
) -> RemovableHandle:
    handle = RemovableHandle(hooks, extra_dict=[flag for flag, _ in flags])
    hooks[handle.id] = hook
    for flag, wanted in flags:
        if wanted:
            flag[handle.id] = True
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def make_hooks(module: Any, name: str) -> Any:
    """The dictionary `name` of a module that has none yet."""
    own = module.__dict__
    hooks: Any = OrderedDict()
    own[name] = hooks
    if name in CALL_HOOKS:
        own["_hooked"] = True
    return hooks


def register_module_buffer_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, buffer)` whenever any module registers a buffer; it may return another buffer."""
    return _add(_global_buffer_registration_hooks, hook)


def register_module_module_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, submodule)` whenever any module registers a submodule; it may return another."""
    return _add(_global_module_registration_hooks, hook)


def register_module_parameter_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, param)` whenever any module registers a parameter; it may return another."""
    return _add(_global_parameter_registration_hooks, hook)


def _activate() -> None:
    global _global_active
    _global_active = True


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, args)` before every module's forward, ahead of the module's own hooks."""
    _activate()
    return _add(_global_forward_pre_hooks, hook)


def register_module_forward_hook(
    hook: Callable[..., Any], *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call `hook(module, args, output)` after every module's forward, ahead of the module's own hooks."""
    _activate()
    return _add(
        _global_forward_hooks,
        hook,
        False,
        (_global_forward_hooks_with_kwargs, with_kwargs),
        (_global_forward_hooks_always_called, always_call),
    )


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_output)` before every module's backward."""
    _activate()
    return _add(_global_backward_pre_hooks, hook)


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_input, grad_output)` in every module's backward."""
    return _add_global_backward(hook, full=True)


def register_module_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """The older form of `register_module_full_backward_hook`, on the last node of every forward. Deprecated."""
    return _add_global_backward(hook, full=False)


def _add_global_backward(hook: Callable[..., Any], full: bool) -> RemovableHandle:
    global _global_is_full_backward_hook
    if _global_is_full_backward_hook is (not full):
        raise RuntimeError(_MIXED_HOOKS)
    _global_is_full_backward_hook = full
    _activate()
    return _add(_global_backward_hooks, hook)
