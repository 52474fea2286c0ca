"""`torch.cuda` on a machine without a CUDA device: it says so, and everything else follows from that."""

from __future__ import annotations

from typing import Any


def is_available() -> bool:
    """Whether a CUDA device can be used."""
    return False


def device_count() -> int:
    """How many CUDA devices there are."""
    return 0


def is_initialized() -> bool:
    """Whether CUDA has been initialised."""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether a device computes in bfloat16."""
    return False


def manual_seed(seed: int) -> None:
    """Nothing to seed without a device."""


def manual_seed_all(seed: int) -> None:
    """Nothing to seed without a device."""


def empty_cache() -> None:
    """Nothing is cached without a device."""


def memory_allocated(device: Any = None) -> int:
    """Bytes in use by tensors: none."""
    return 0


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that were in use: none."""
    return 0


def _missing(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("Torch not compiled with CUDA enabled")


init = current_device = set_device = get_device_name = get_device_properties = synchronize = current_stream = (
    get_device_capability
) = _missing


class Stream:
    """A CUDA stream; there is none here: AssertionError."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _missing()


class Event(Stream):
    """A CUDA event; there is none here: AssertionError."""
