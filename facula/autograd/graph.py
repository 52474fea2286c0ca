"""Looking at the graph and at what it saves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.engine.graph import Node, edge_of
from facula.engine.modes import modes

__all__ = ["Node", "get_gradient_edge", "save_on_cpu", "saved_tensors_hooks"]


class saved_tensors_hooks:
    """Inside, tensors saved for backward go through pack_hook, and through unpack_hook when they are needed."""

    def __init__(self, pack_hook: Callable[[Any], Any], unpack_hook: Callable[[Any], Any]) -> None:
        self.hooks = (pack_hook, unpack_hook)

    def __enter__(self) -> saved_tensors_hooks:
        modes.saved_tensor_hooks = (*modes.saved_tensor_hooks, self.hooks)
        modes.announce()
        return self

    def __exit__(self, *exc: object) -> None:
        modes.saved_tensor_hooks = modes.saved_tensor_hooks[:-1]
        modes.announce()


class save_on_cpu(saved_tensors_hooks):
    """Keep what is saved in the CPU's memory."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__(lambda t: (t.device, t.cpu()), lambda packed: packed[1].to(packed[0]))


def get_gradient_edge(tensor: Any) -> Any:
    """The (node, output) pair that a gradient of the tensor goes to."""
    edge = edge_of(tensor)
    if edge is None:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does not require gradients")
    return edge
