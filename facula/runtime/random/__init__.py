"""Random numbers on the CPU: PyTorch's streams, drawn by kernels.

`generator.Generator` holds a stream's native state; `mersenne` makes the raw words; `bits` turns words into integers
and unit numbers; `continuous`, `discrete` and `choice` hold one kernel for each distribution and element type.

    from facula.runtime import random as streams
    streams.default().draw(streams.continuous.uniform(f32), n, address, 0.0, 1.0)

This package must never know tensors.
"""

from __future__ import annotations

from facula.runtime.random import bits, choice, continuous, discrete, mersenne
from facula.runtime.random.generator import DEFAULT_SEED, STATE_SIZE, Generator, entropy

__all__ = [
    "DEFAULT_SEED", "STATE_SIZE", "Generator", "bits", "choice", "continuous", "default", "discrete", "entropy",
    "mersenne",
]  # fmt: skip

_default: Generator | None = None


def default() -> Generator:
    """The generator that is used where none is given. Nobody can foretell its first seed."""
    global _default
    if _default is None:
        _default = Generator().manual_seed(entropy())
    return _default
