"""`torch.utils.hooks`: the handle that registering a hook returns.

In: the dictionary that a hook is kept in. Out: a way to take it out again.
"""

from __future__ import annotations

from facula.nn.modules._handle import RemovableHandle

__all__ = ["RemovableHandle"]
