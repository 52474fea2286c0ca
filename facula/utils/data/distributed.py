"""The sampler that gives each process of a group its own share of a dataset.

Comes in: a dataset's length, the number of processes and this one's rank. Goes out: indices. This module must never
know how the processes talk to each other.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import facula
from facula.utils.data.sampler import Sampler

if TYPE_CHECKING:
    from collections.abc import Iterator, Sized
    from types import ModuleType

__all__ = ["DistributedSampler"]


def _distributed() -> ModuleType:
    module = getattr(facula, "distributed", None)
    if module is None or not module.is_available():
        raise RuntimeError("Requires distributed package to be available")
    return module


class DistributedSampler(Sampler):
    """Every `num_replicas`-th index of a shuffle that all processes share, starting at `rank`.

    Call `set_epoch` before each epoch: the shuffle is seeded with `seed + epoch`, so without it every epoch has the
    same order.

    Args:
        dataset: anything with a length, equal in all processes.
        num_replicas: processes in the group, by default the size of the current one.
        rank: this process in it, by default its current rank.
        shuffle: shuffle the indices. Default: True.
        seed: of the shuffle; the same in all processes. Default: 0.
        drop_last: leave out indices at the end that don't divide evenly, instead of repeating some from the start.

    Raises:
        ValueError: `rank` is outside `[0, num_replicas)`.
        RuntimeError: `num_replicas` or `rank` is left out and there is no process group to ask.

    >>> list(DistributedSampler(range(5), num_replicas=2, rank=1, shuffle=False))
    [1, 3, 0]
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if num_replicas is None:
            num_replicas = _distributed().get_world_size()
        if rank is None:
            rank = _distributed().get_rank()
        if rank >= num_replicas or rank < 0:
            raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]")
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        length = len(dataset)
        self.num_samples = length // num_replicas if drop_last else ceil(length / num_replicas)
        self.total_size = self.num_samples * num_replicas
        self.shuffle = shuffle
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        length = len(self.dataset)
        if self.shuffle:
            generator = facula.Generator()
            generator.manual_seed(self.seed + self.epoch)
            indices = facula.randperm(length, generator=generator).tolist()
        else:
            indices = list(range(length))
        missing = self.total_size - length
        if missing > 0:
            # Fewer samples than processes: repeat the whole as often as it takes.
            indices += (indices * ceil(missing / length))[:missing]
        return iter(indices[self.rank : self.total_size : self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Seed the next pass's shuffle with `seed + epoch`."""
        self.epoch = epoch
