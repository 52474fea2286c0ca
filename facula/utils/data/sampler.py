"""Samplers: the order in which a dataset's samples are read.

Comes in: a dataset's length, weights, a generator. Goes out: indices, one by one or in lists. Every sampler draws from
its generator exactly what PyTorch's does, when PyTorch's does (at the first index, not at `iter`), so that the same
seed gives the same order. This module must never know what a sample is.
"""

from __future__ import annotations

from itertools import islice
from types import GenericAlias
from typing import TYPE_CHECKING

import facula

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence, Sized
    from typing import Any

    from facula import Generator, Tensor

__all__ = [
    "BatchSampler",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "SubsetRandomSampler",
    "WeightedRandomSampler",
]


def draw_seed(generator: Generator | None) -> int:
    """One random 64-bit seed from `generator`, or from the default one: the draw that opens PyTorch's loops."""
    return int(facula.empty((), dtype=facula.int64).random_(generator=generator).item())


class Sampler:
    """Base class of samplers: an iterable over indices, or over lists of indices.

    A subclass gives `__iter__`, and `__len__` where the number of indices is known.

    Example:
        >>> class Reversed(Sampler[int]):
        ...     def __init__(self, data):
        ...         self.data = data
        ...     def __iter__(self):
        ...         return iter(range(len(self.data) - 1, -1, -1))
        >>> list(Reversed("abc"))
        [2, 1, 0]
    """

    # `Sampler[int]` documents what is yielded; a GenericAlias does that without importing `typing`.
    __class_getitem__: Any = classmethod(GenericAlias)

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError


class SequentialSampler(Sampler):
    """The indices of `data_source` in order, the same every time.

    >>> list(SequentialSampler("abc"))
    [0, 1, 2]
    """

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler):
    """The indices of `data_source` shuffled, or drawn with replacement.

    Without a `generator`, each pass seeds one of its own with a number from the default generator, so a pass takes
    exactly one draw from it, however many samples there are.

    Args:
        data_source: anything with a length.
        replacement: draw each index independently. Default: False.
        num_samples: how many indices a pass gives, all of them by default. More than the length without replacement
            starts another shuffle.
        generator: where the randomness comes from.

    Raises:
        TypeError: `replacement` is not a bool.
        ValueError: `num_samples` is not a positive int (so also for an empty `data_source`).
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement should be a boolean value, but got replacement={replacement}")
        if not isinstance(self.num_samples, int) or self.num_samples <= 0:
            raise ValueError(f"num_samples should be a positive integer value, but got num_samples={self.num_samples}")

    @property
    def num_samples(self) -> int:
        # Read anew each time: the data source may have grown.
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        n = len(self.data_source)
        generator = self.generator
        if generator is None:
            generator = facula.Generator()
            generator.manual_seed(draw_seed(None))
        if self.replacement:
            # Blocks of 32, the last one even if empty: the stream position afterwards is part of the contract.
            full, rest = divmod(self.num_samples, 32)
            for size in [32] * full + [rest]:
                yield from facula.randint(high=n, size=(size,), dtype=facula.int64, generator=generator).tolist()
        else:
            rounds, rest = divmod(self.num_samples, n)
            for _ in range(rounds):
                yield from facula.randperm(n, generator=generator).tolist()
            yield from facula.randperm(n, generator=generator).tolist()[:rest]

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler):
    """The given `indices`, shuffled.

    >>> sorted(SubsetRandomSampler([3, 5, 8]))
    [3, 5, 8]
    """

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        indices = self.indices
        for position in facula.randperm(len(indices), generator=self.generator).tolist():
            yield indices[position]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler):
    """Indices from `0` to `len(weights) - 1`, each as likely as its weight.

    Args:
        weights: one non-negative number per index; they need not sum to one.
        num_samples: how many indices a pass gives.
        replacement: whether an index may come twice. Default: True.
        generator: where the randomness comes from, the default generator if None.

    Raises:
        ValueError: `num_samples` is not a positive int, `replacement` not a bool, or `weights` not one-dimensional.

    >>> list(WeightedRandomSampler([0.0, 1.0, 0.0], 4))
    [1, 1, 1, 1]
    """

    def __init__(
        self,
        weights: Sequence[float] | Tensor,
        num_samples: int,
        replacement: bool = True,
        generator: Generator | None = None,
    ) -> None:
        if not isinstance(num_samples, int) or isinstance(num_samples, bool) or num_samples <= 0:
            raise ValueError(f"num_samples should be a positive integer value, but got num_samples={num_samples}")
        if not isinstance(replacement, bool):
            raise ValueError(f"replacement should be a boolean value, but got replacement={replacement}")
        self.weights: Tensor = facula.as_tensor(weights, dtype=facula.float64)
        if self.weights.dim() != 1:
            shape = tuple(self.weights.shape)
            raise ValueError(f"weights should be a 1d sequence but given weights have shape {shape}")
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        drawn = facula.multinomial(self.weights, self.num_samples, self.replacement, generator=self.generator)
        yield from drawn.tolist()

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler):
    """The indices of another sampler in lists of `batch_size`.

    Args:
        sampler: any iterable of indices.
        batch_size: indices per list.
        drop_last: leave out a last list that would be shorter.

    Raises:
        ValueError: `batch_size` is not a positive int or `drop_last` not a bool.

    >>> list(BatchSampler(SequentialSampler(range(10)), batch_size=4, drop_last=False))
    [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0:
            raise ValueError(f"batch_size should be a positive integer value, but got batch_size={batch_size}")
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, but got drop_last={drop_last}")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)
        size = self.batch_size
        while batch := list(islice(indices, size)):
            if len(batch) < size and self.drop_last:
                return
            yield batch

    def __len__(self) -> int:
        count = len(self.sampler)  # type: ignore[arg-type]
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)
