"""Datasets: collections of samples, and ways to join, stack, cut and split them.

Comes in: a person's own data. Goes out: one sample per index (map-style) or a stream of samples (iterable-style). This
module must never know batches, samplers or worker processes, with one exception: `collated_batch`, the short cut by
which a dataset of tensors gives a whole batch at once.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from types import GenericAlias
from typing import TYPE_CHECKING

import facula

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from facula import Generator, Tensor

__all__ = [
    "ChainDataset",
    "ConcatDataset",
    "Dataset",
    "IterableDataset",
    "StackDataset",
    "Subset",
    "TensorDataset",
    "random_split",
]


class Dataset:
    """A map from keys, usually `0` to `len - 1`, to samples.

    A subclass gives `__getitem__`, and `__len__` where a sampler needs one. It may give `__getitems__(indices)`, which
    returns the list of those samples at once; a loader then calls that instead.

    >>> class Squares(Dataset[int]):
    ...     def __len__(self):
    ...         return 4
    ...     def __getitem__(self, index):
    ...         return index**2
    >>> Squares()[3]
    9
    """

    # `Dataset[int]` documents a sample's type; a GenericAlias does that without importing `typing`.
    __class_getitem__: Any = classmethod(GenericAlias)

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")

    def __add__(self, other: Dataset) -> ConcatDataset:
        return ConcatDataset([self, other])


class IterableDataset(Dataset, Iterable):
    """A stream of samples: a subclass gives `__iter__`.

    With worker processes each has its own copy of the dataset and iterates all of it, so the stream must be divided
    among them, in `__iter__` or by `worker_init_fn`, with `get_worker_info`.

    >>> class Count(IterableDataset):
    ...     def __iter__(self):
    ...         return iter(range(3))
    >>> list(Count() + Count())
    [0, 1, 2, 0, 1, 2]
    """

    __class_getitem__: Any = classmethod(GenericAlias)  # Iterable brings one of its own

    def __add__(self, other: Dataset) -> ChainDataset:  # type: ignore[override]
        return ChainDataset([self, other])


class TensorDataset(Dataset):
    """Samples that are tuples of the rows of tensors.

    Args:
        *tensors: tensors with the same size in the first dimension.

    Raises:
        AssertionError: the first sizes differ.

    >>> x, y = facula.arange(6.0).view(3, 2), facula.tensor([7, 8, 9])
    >>> TensorDataset(x, y)[1]
    (tensor([2., 3.]), tensor(8))
    """

    def __init__(self, *tensors: Any) -> None:
        length = tensors[0].size(0)
        if any(tensor.size(0) != length for tensor in tensors):
            sizes = ", ".join(str(tensor.size(0)) for tensor in tensors)
            raise AssertionError(f"Size mismatch between tensors: the first dimensions are {sizes}")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def __len__(self) -> int:
        return self.tensors[0].size(0)


class StackDataset(Dataset):
    """Samples that put the same index of several datasets side by side: tuples of positional ones, dicts of named ones.

    Raises:
        ValueError: no dataset, both kinds at once, or different lengths.

    >>> StackDataset(image=["a", "b"], label=[0, 1])[1]
    {'image': 'b', 'label': 1}
    """

    datasets: tuple[Any, ...] | dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args and kwargs:
            raise ValueError(
                "Supported either ``tuple``- (via ``args``) or"
                "``dict``- (via ``kwargs``) like input/output, but both types are given."
            )
        if not args and not kwargs:
            raise ValueError("At least one dataset should be passed")
        self.datasets = args or kwargs
        lengths = {len(dataset) for dataset in self._parts()}
        if len(lengths) > 1:
            raise ValueError(f"Size mismatch between datasets: {', '.join(str(len(d)) for d in self._parts())}")
        self._length = lengths.pop()

    def _parts(self) -> list[Any]:
        return list(self.datasets.values() if isinstance(self.datasets, dict) else self.datasets)

    def _sample(self, columns: Sequence[Any]) -> tuple[Any, ...] | dict[str, Any]:
        if isinstance(self.datasets, dict):
            return dict(zip(self.datasets, columns, strict=True))
        return tuple(columns)

    def __getitem__(self, index: Any) -> tuple[Any, ...] | dict[str, Any]:
        return self._sample([dataset[index] for dataset in self._parts()])

    def __getitems__(self, indices: list[Any]) -> list[tuple[Any, ...] | dict[str, Any]]:
        columns = [samples_of(dataset, indices) for dataset in self._parts()]
        for column in columns:
            if len(column) != len(indices):
                raise ValueError(f"Nested dataset's output size mismatch. Expected {len(indices)}, got {len(column)}")
        return [self._sample(row) for row in zip(*columns, strict=True)]

    def __len__(self) -> int:
        return self._length


class ConcatDataset(Dataset):
    """Map-style datasets one after the other; also what `+` gives.

    Args:
        datasets: an iterable of datasets with lengths.

    Raises:
        AssertionError: there is none, or one is an `IterableDataset`.

    >>> joined = ConcatDataset(["ab", "cde"])
    >>> joined[3], joined.cumulative_sizes
    ('d', [2, 5])
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise AssertionError("datasets should not be an empty iterable")
        if any(isinstance(dataset, IterableDataset) for dataset in self.datasets):
            raise AssertionError("ConcatDataset does not support IterableDataset")
        self.cumulative_sizes = self.cumsum(self.datasets)

    @staticmethod
    def cumsum(sequence: Iterable[Any]) -> list[int]:
        """Where each dataset ends: the running sum of the lengths."""
        return list(accumulate(map(len, sequence)))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, idx: int) -> Any:
        if idx < 0:
            if -idx > len(self):
                raise ValueError("absolute value of index should not exceed dataset length")
            idx += len(self)
        which = bisect_right(self.cumulative_sizes, idx)
        if which == len(self.datasets):
            raise IndexError(f"list index out of range: index {idx} of a ConcatDataset of length {len(self)}")
        start = self.cumulative_sizes[which - 1] if which else 0
        return self.datasets[which][idx - start]

    @property
    def cummulative_sizes(self) -> list[int]:
        """The old spelling of `cumulative_sizes`."""
        from warnings import warn

        warn("`cummulative_sizes` attribute is renamed to `cumulative_sizes`", FutureWarning, stacklevel=2)
        return self.cumulative_sizes


class ChainDataset(IterableDataset):
    """Iterable-style datasets one after the other; also what `+` gives.

    Raises:
        AssertionError: while iterating or measuring, one of them is not an `IterableDataset`.
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = datasets

    def _checked(self) -> Iterator[Any]:
        for dataset in self.datasets:
            if not isinstance(dataset, IterableDataset):
                raise AssertionError("ChainDataset only supports IterableDataset")
            yield dataset

    def __iter__(self) -> Iterator[Any]:
        for dataset in self._checked():
            yield from dataset

    def __len__(self) -> int:
        return sum(len(dataset) for dataset in self._checked())


class Subset(Dataset):
    """Some samples of a dataset, chosen and ordered by `indices`.

    A subclass that overrides `__getitem__` must override `__getitems__` too: a loader calls the latter.

    Raises:
        NotImplementedError: it doesn't.

    >>> Subset("abcde", [4, 0])[0]
    'e'
    """

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        cls = type(self)
        if cls.__getitem__ is not Subset.__getitem__ and cls.__getitems__ is Subset.__getitems__:
            raise NotImplementedError(
                f"{cls.__name__} overrides __getitem__ but not __getitems__. "
                "When subclassing Subset and overriding __getitem__, you must also override "
                "__getitems__ to ensure DataLoader works correctly with your custom logic. "
                "A simple implementation:\n\n"
                "def __getitems__(self, indices):\n"
                "    return [self.__getitem__(idx) for idx in indices]"
            )
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, idx: Any) -> Any:
        if isinstance(idx, list):
            return self.dataset[[self.indices[i] for i in idx]]
        return self.dataset[self.indices[idx]]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        return samples_of(self.dataset, [self.indices[idx] for idx in indices])

    def __len__(self) -> int:
        return len(self.indices)


def samples_of(dataset: Any, indices: list[Any]) -> list[Any]:
    """The samples at `indices`, by the dataset's own `__getitems__` where it has one."""
    at_once = getattr(dataset, "__getitems__", None)
    return at_once(indices) if callable(at_once) else [dataset[index] for index in indices]


def collated_batch(dataset: Any, indices: list[Any]) -> list[Tensor] | None:
    """What `default_collate` would make of the samples at `indices`, gathered whole; None if that can't be known.

    It can for the rows of a `TensorDataset`, also through `Subset`s, as long as nobody overrode how samples are read.
    Stacking `n` rows and gathering `n` rows give the same fresh tensors, but the latter is one operation per tensor
    instead of `n + 1`. An index that isn't a plain one, or out of range, is left to the ordinary way and its errors.
    """
    while (cls := type(dataset)).__getitem__ is Subset.__getitem__ and cls.__getitems__ is Subset.__getitems__:
        chosen = dataset.indices
        indices = [chosen[index] for index in indices]
        dataset = dataset.dataset
    if cls.__getitem__ is not TensorDataset.__getitem__ or hasattr(cls, "__getitems__"):
        return None
    tensors = dataset.tensors
    if any(type(tensor) is not facula.Tensor or tensor.layout is not facula.strided for tensor in tensors):
        return None
    length = min(tensor.shape[0] for tensor in tensors)
    if not indices or set(map(type, indices)) != {int} or min(indices) < 0 or max(indices) >= length:
        return None
    start = indices[0]
    if indices == list(range(start, start + len(indices))):
        form = facula.contiguous_format
        return [tensor.narrow(0, start, len(indices)).clone(memory_format=form) for tensor in tensors]
    rows = facula.frombuffer(array("q", indices), dtype=facula.int64)
    return [tensor.index_select(0, rows) for tensor in tensors]


def random_split(dataset: Any, lengths: Sequence[int | float], generator: Generator | None = None) -> list[Subset]:
    """Split a dataset at random into parts that don't overlap.

    Args:
        dataset: anything with a length.
        lengths: how many samples each part gets; or fractions that sum to one, where what rounding down leaves over
            goes one by one to the first parts.
        generator: where the permutation comes from, by default the default generator.

    Raises:
        ValueError: the lengths don't sum to the dataset's, or a fraction is not between 0 and 1.

    >>> [len(part) for part in random_split(range(30), [0.3, 0.3, 0.4])]
    [9, 9, 12]
    """
    total = sum(lengths)
    if math.isclose(total, 1) and total <= 1:
        lengths = _lengths_of_fractions(len(dataset), lengths)
        total = sum(lengths)
    if total != len(dataset):
        raise ValueError("Sum of input lengths does not equal the length of the input dataset!")
    indices = facula.randperm(int(total), generator=generator).tolist()
    ends = accumulate(lengths)
    return [Subset(dataset, indices[end - length : end]) for end, length in zip(ends, lengths, strict=True)]


def _lengths_of_fractions(count: int, fractions: Sequence[float]) -> list[int]:
    for position, fraction in enumerate(fractions):
        if fraction < 0 or fraction > 1:
            raise ValueError(f"Fraction at index {position} is not between 0 and 1")
    lengths = [math.floor(count * fraction) for fraction in fractions]
    for position in range(count - sum(lengths)):
        lengths[position % len(lengths)] += 1
    if 0 in lengths:
        from warnings import warn

        for position, length in enumerate(lengths):
            if length == 0:
                warn(
                    f"Length of split at index {position} is 0. This might result in an empty dataset.",
                    stacklevel=3,
                )
    return lengths
