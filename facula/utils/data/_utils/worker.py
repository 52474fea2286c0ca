"""What a worker process is told and knows: its options, its seeds, and `get_worker_info`.

Comes in: the seed drawn by the loader and the worker's number. Goes out: the seeds of this process's generators. Light
to import, since every loader needs it; the loop that a worker runs is in `worker_loop`. This module must never know
pipes or memory.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import facula

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn


class WorkerInfo:
    """What a worker process knows of itself.

    Attributes:
        id: its number, from 0.
        num_workers: how many there are.
        seed: what this process's generators were seeded with.
        dataset: this process's copy of the dataset.
    """

    __slots__ = ("dataset", "id", "num_workers", "rng", "seed", "worker_method")

    def __init__(self, id: int, num_workers: int, seed: int, dataset: Any) -> None:
        values = {
            "id": id,
            "num_workers": num_workers,
            "seed": seed,
            "dataset": dataset,
            "rng": None,
            "worker_method": "multiprocessing",
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"cannot assign to field '{name}'")

    def __repr__(self) -> str:
        return "WorkerInfo(" + ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__) + ")"


_worker_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """About the worker process this is called in; None outside of one.

    An iterable dataset uses it to read its own share of a stream, `stream[info.id :: info.num_workers]`.

    >>> get_worker_info() is None
    True
    """
    return _worker_info


def set_worker_info(info: WorkerInfo) -> None:
    """Make `get_worker_info` give `info` in this process from now on."""
    global _worker_info
    _worker_info = info


class IterableEnd:
    """Sent instead of a batch when a worker's iterable dataset has no more."""


class FetchOptions:
    """What a worker needs besides the dataset: how to fetch, and its place among the workers."""

    def __init__(
        self,
        *,
        create_fetcher: Callable[[], Any],
        dataset: Any,
        is_iterable: bool,
        init_fn: Callable[[int], Any] | None,
        base_seed: int,
        worker_id: int,
        num_workers: int,
        prefix: str,
    ) -> None:
        self.create_fetcher = create_fetcher
        self.dataset = dataset
        self.is_iterable = is_iterable
        self.init_fn = init_fn
        self.base_seed = base_seed
        self.worker_id = worker_id
        self.num_workers = num_workers
        self.prefix = prefix


def numpy_seed(base_seed: int, worker_id: int) -> list[int]:
    """Four 32-bit words for `numpy.random.seed`, as PyTorch derives them.

    They are what `numpy.random.SeedSequence(base_seed, spawn_key=...)`'s hash would give for the entropy (worker, low
    word, high word, 0), so that NumPy's stream differs from those seeded with the plain number.
    Source: M. E. O'Neill, "Developing a seed_seq Alternative" (2015), https://www.pcg-random.org/.
    """
    mask = 0xFFFFFFFF

    def hasher(constant: int, multiplier: int) -> Callable[[int], int]:
        def scramble(value: int) -> int:
            nonlocal constant
            value ^= constant
            constant = constant * multiplier & mask
            value = value * constant & mask
            return value ^ value >> 16

        return scramble

    absorb = hasher(0x43B0D7E5, 0x931E8875)
    pool = [absorb(word) for word in (worker_id, base_seed & mask, base_seed >> 32 & mask, 0)]
    for source in range(4):
        for target in range(4):
            if source != target:
                mixed = (0xCA01F9DD * pool[target] - 0x4973F715 * absorb(pool[source])) & mask
                pool[target] = mixed ^ mixed >> 16
    squeeze = hasher(0x8B51F9DD, 0x58F38DED)
    return [squeeze(word) for word in pool]


def seed_everything(base_seed: int, worker_id: int) -> int:
    """Seed this process's default generators; the seed of facula's and Python's."""
    import random

    seed = base_seed + worker_id
    random.seed(seed)
    facula.manual_seed(seed)
    if "numpy" in sys.modules:
        import numpy as np

        np.random.seed(numpy_seed(base_seed, worker_id))
    return seed
