"""`DataParallel` and its relatives: one batch spread over several devices or processes.

In: a module and a batch. Out: what the module gives for the batch. There is one CPU, so the module gets the whole
batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from facula.nn.modules.module import Module

__all__ = ["DataParallel", "DistributedDataParallel", "data_parallel"]


class DataParallel(Module):
    """Wraps a module; its parameters get the prefix `module.`, as programs written for several devices expect.

    Args:
        module: what is wrapped.
        device_ids: the devices; there are none besides the CPU, which needs no number. Default: all
        output_device: where the output goes. Default: the first device
        dim: the dimension of the batch. Default: 0
    """

    def __init__(
        self, module: Module, device_ids: Sequence[Any] | None = None, output_device: Any = None, dim: int = 0
    ) -> None:
        super().__init__()
        self.module = module
        self.device_ids: list[Any] = []
        self.dim = dim

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self.module(*inputs, **kwargs)


def data_parallel(
    module: Module,
    inputs: Any,
    device_ids: Sequence[Any] | None = None,
    output_device: Any = None,
    dim: int = 0,
    module_kwargs: dict[str, Any] | None = None,
) -> Any:
    """Call a module with a batch spread over devices; see `DataParallel`."""
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    return module(*arguments, **(module_kwargs or {}))


class DistributedDataParallel(Module):
    """One module trained by several processes, whose gradients are averaged.

    Raises:
        ValueError: no group of processes has been initialised, and this build can initialise none.
    """

    def __init__(self, module: Module, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        raise ValueError(
            "Default process group has not been initialized, please make sure to call init_process_group. There is one "
            "process: use the module itself."
        )
