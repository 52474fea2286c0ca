"""Random generators as users see them: `torch.Generator`, `torch.manual_seed` and what else `torch.random` exports.

In: seeds and saved states. Out: generators, and states as byte tensors in PyTorch's layout, so that a state saved by
one can be continued by the other. The streams themselves are in `facula.runtime.random`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import memmove, string_at
from typing import Any

from facula.core import dtype as dt
from facula.core.device import DEVICE_TYPES
from facula.core.layout import CPU, layout
from facula.runtime import random as streams
from facula.runtime.objects import TensorBase, new_tensor

__all__ = [
    "fork_rng",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "seed",
    "set_rng_state",
    "thread_safe_generator",
]


class Generator(streams.Generator):
    """A stream of random numbers, given to random functions as `generator=`.

    Args:
        device: where its numbers are drawn. Only 'cpu' has a stream. Default: 'cpu'

    The stream depends on the seed alone, and equals PyTorch's on the CPU.

    >>> g = torch.Generator().manual_seed(0)
    >>> torch.rand(2, generator=g)
    tensor([0.4963, 0.7682])
    """

    __slots__ = ()

    def get_state(self) -> Any:
        """The state as a tensor of 5056 bytes (uint8)."""
        saved = self.state_bytes()
        state = new_tensor(layout((len(saved),), None, dt.uint8, CPU))
        memmove(state._data, saved, len(saved))
        return state

    def set_state(self, new_state: Any) -> None:
        """Continue from a state that `get_state` gave, here or in PyTorch.

        TypeError for anything but a tensor of bytes, RuntimeError for one that holds no state.
        """
        if not isinstance(new_state, TensorBase):
            raise TypeError(f"expected a torch.ByteTensor, but got {type(new_state).__name__}")
        geometry = new_state._layout
        if geometry.dtype is not dt.uint8 or geometry.device is not CPU:
            raise TypeError("RNG state must be a torch.ByteTensor")
        if not geometry.contiguous:
            raise RuntimeError("RNG state must be contiguous")
        self.restore_bytes(string_at(new_state._data, geometry.numel))

    def graphsafe_get_state(self) -> Any:
        """NotImplementedError: only streams on GPUs have such states."""
        raise NotImplementedError("graphsafe_get_state is not supported in this Generator")

    def graphsafe_set_state(self, state: Any) -> None:
        """NotImplementedError: only streams on GPUs have such states."""
        raise NotImplementedError("graphsafe_set_state is not supported in this Generator")

    def __reduce__(self) -> tuple[Any, ...]:
        return Generator, (self.device,), (self.initial_seed(), None, self.get_state())

    def __setstate__(self, saved: tuple[int, Any, Any]) -> None:
        self.manual_seed(saved[0])
        self.set_state(saved[2])


default_generator: Generator = streams.default()  # type: ignore[assignment]
"""The generator of every random function that is given none. Its first seed is taken from the system's entropy."""
# Tensors may have been drawn from it before this module was imported: it stays the same object, and gains the methods.
default_generator.__class__ = Generator


def manual_seed(seed: Any) -> Generator:
    """Restart the default generator with a seed (anything that int() takes) in [-2**63, 2**64); gives the generator.

    ValueError for integers outside that range. Negative seeds stand for 2**64 + seed.

    >>> torch.manual_seed(0)
    >>> torch.randn(3)
    tensor([ 1.5410, -0.2934, -2.1788])
    """
    default_generator.manual_seed(int(seed))
    return default_generator


def seed() -> int:
    """Restart the default generator with a seed that nobody can foretell; gives the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed with which the default generator's stream began."""
    return default_generator.initial_seed()


def get_rng_state() -> Any:
    """The default generator's state, a tensor of bytes."""
    return default_generator.get_state()


def set_rng_state(new_state: Any) -> None:
    """Continue the default generator's stream from a saved state."""
    default_generator.set_state(new_state)


@contextmanager
def fork_rng(
    devices: Any = None,
    enabled: bool = True,
    _caller: str = "fork_rng",
    _devices_kw: str = "devices",
    device_type: str | None = None,
) -> Iterator[None]:
    """Within this block, draw what you like: the default generator continues afterwards as if nothing had been drawn.

    Args:
        devices: GPUs whose generators are to be restored, too. Default: none
        enabled: False makes the block an ordinary one. Default: True
        device_type: the type of `devices`. Default: the machine's accelerator

    >>> torch.manual_seed(0)
    >>> with torch.random.fork_rng():
    ...     _ = torch.rand(100)
    >>> torch.rand(1)
    tensor([0.4963])
    """
    if device_type is not None and device_type not in DEVICE_TYPES:
        raise RuntimeError(
            f"Expected one of {', '.join(DEVICE_TYPES)} device type at start of device string: {device_type}"
        )
    if not enabled:
        yield
        return
    if devices is not None and len(list(devices)):
        raise AssertionError("Torch not compiled with CUDA enabled")
    state = get_rng_state()
    try:
        yield
    finally:
        set_rng_state(state)


def thread_safe_generator() -> Generator | None:
    """The generator of the data loader's worker thread that calls; None elsewhere, which means the default one."""
    return None
