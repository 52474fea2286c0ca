"""The handle that registering a hook returns.

In: the dictionary that the hook is kept in. Out: a way to take it out again. It must never know what the hook does.
"""

from __future__ import annotations

import weakref
from typing import Any


class RemovableHandle:
    """Takes a hook out of the dictionaries that it was put into.

    Args:
        hooks_dict: where the hook is kept, by the handle's `id`.
        extra_dict: one or several further dictionaries that may have an entry of this `id`.

    Works as a context manager, too: the hook is gone when the block ends. The dictionaries are held weakly, so that a
    handle does not keep
    a module alive.
    """

    id: int
    next_id: int = 0

    def __init__(self, hooks_dict: Any, *, extra_dict: Any = None) -> None:
        self.id = RemovableHandle.next_id
        RemovableHandle.next_id += 1
        self.hooks_dict_ref: Any = weakref.ref(hooks_dict)
        extras = () if extra_dict is None else (extra_dict,) if isinstance(extra_dict, dict) else extra_dict
        self.extra_dict_ref: tuple[Any, ...] = tuple(weakref.ref(extra) for extra in extras)

    def remove(self) -> None:
        """Take the hook away; nothing happens when it has gone already."""
        for reference in (self.hooks_dict_ref, *self.extra_dict_ref):
            hooks = reference()
            if hooks is not None:
                hooks.pop(self.id, None)

    def __getstate__(self) -> tuple[Any, ...]:
        if not self.extra_dict_ref:
            return self.hooks_dict_ref(), self.id
        return self.hooks_dict_ref(), self.id, tuple(reference() for reference in self.extra_dict_ref)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        from collections import OrderedDict

        # A dictionary that had died is replaced by an empty one, so that `remove` still works.
        hooks = state[0] if state[0] is not None else OrderedDict()
        self.hooks_dict_ref = weakref.ref(hooks)
        self.id = state[1]
        RemovableHandle.next_id = max(RemovableHandle.next_id, self.id + 1)
        extras = state[2] if len(state) > 2 and state[2] is not None else ()
        self.extra_dict_ref = tuple(weakref.ref(extra if extra is not None else OrderedDict()) for extra in extras)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, type: Any, value: Any, tb: Any) -> None:
        self.remove()
