"""Reading the samples of one batch and collating them; the same in this process and in a worker.

Comes in: a dataset and the indices of one batch. Goes out: the collated batch, or StopIteration. This module must never
know where the indices come from or who waits for the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from facula.utils.data._utils.collate import default_collate, tensors_collate_as_usual
from facula.utils.data.dataset import collated_batch, samples_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class _MapDatasetFetcher:
    """Reads a map-style dataset at given indices."""

    def __init__(self, dataset: Any, auto_collation: bool, collate_fn: Callable[[Any], Any], drop_last: bool) -> None:
        self.dataset = dataset
        self.auto_collation = auto_collation
        self.collate_fn = collate_fn

    def fetch(self, possibly_batched_index: Any) -> Any:
        if not self.auto_collation:
            return self.collate_fn(self.dataset[possibly_batched_index])
        if self.collate_fn is default_collate and type(possibly_batched_index) is list and tensors_collate_as_usual():
            batch = collated_batch(self.dataset, possibly_batched_index)
            if batch is not None:
                return batch
        return self.collate_fn(samples_of(self.dataset, possibly_batched_index))


class _IterableDatasetFetcher:
    """Reads an iterable-style dataset from its start; the indices only say how many samples a batch has."""

    def __init__(self, dataset: Any, auto_collation: bool, collate_fn: Callable[[Any], Any], drop_last: bool) -> None:
        self.auto_collation = auto_collation
        self.collate_fn = collate_fn
        self.drop_last = drop_last
        self.dataset_iter = iter(dataset)
        self.ended = False

    def fetch(self, possibly_batched_index: Any) -> Any:
        if self.ended:
            raise StopIteration
        if not self.auto_collation:
            return self.collate_fn(next(self.dataset_iter))
        samples = []
        for _ in possibly_batched_index:
            try:
                samples.append(next(self.dataset_iter))
            except StopIteration:
                self.ended = True
                break
        if not samples or (self.drop_last and len(samples) < len(possibly_batched_index)):
            raise StopIteration
        return self.collate_fn(samples)
