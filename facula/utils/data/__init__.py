"""Datasets, the order in which they are read, and the loader that turns them into batches.

What comes in: anything with `__getitem__` and `__len__`, or an iterable. What goes out: batches of tensors, in
PyTorch's order under the same seed, read in this process or by worker processes. `multiprocessing` is imported only by
the first loader that has workers. This package must never know models, autograd or kernels.
"""

from __future__ import annotations

from facula.utils.data._utils.collate import default_collate, default_convert
from facula.utils.data._utils.worker import get_worker_info
from facula.utils.data.dataloader import DataLoader, _DatasetKind
from facula.utils.data.dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)
from facula.utils.data.distributed import DistributedSampler
from facula.utils.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

__all__ = [
    "BatchSampler",
    "ChainDataset",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "DistributedSampler",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "StackDataset",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "_DatasetKind",
    "default_collate",
    "default_convert",
    "get_worker_info",
    "random_split",
]
