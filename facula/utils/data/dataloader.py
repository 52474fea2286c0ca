"""The loader: samples from a dataset, in the order of a sampler, as batches.

Comes in: a dataset and how it is to be read. Goes out: an iterator over collated batches, each read when it is asked
for, or ahead of time by worker processes. Every iterator draws one number from the generator before its sampler draws
any, as PyTorch's does. This module must never know what is in a batch.
"""

from __future__ import annotations

import os
from functools import partial
from itertools import cycle
from types import GenericAlias
from typing import TYPE_CHECKING
from warnings import warn

import facula
from facula.utils.data._utils.collate import default_collate, default_convert
from facula.utils.data._utils.errors import ExceptionWrapper
from facula.utils.data._utils.fetch import _IterableDatasetFetcher, _MapDatasetFetcher
from facula.utils.data._utils.worker import FetchOptions, IterableEnd, get_worker_info
from facula.utils.data.dataset import IterableDataset
from facula.utils.data.sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler, draw_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from multiprocessing.context import BaseContext
    from multiprocessing.process import BaseProcess
    from typing import Any, NoReturn

    from facula import Generator

__all__ = ["DataLoader", "default_collate", "default_convert", "get_worker_info"]


class _DatasetKind:
    Map = 0
    Iterable = 1

    @staticmethod
    def create_fetcher(
        kind: int, dataset: Any, auto_collation: bool, collate_fn: Callable[[Any], Any], drop_last: bool
    ) -> _MapDatasetFetcher | _IterableDatasetFetcher:
        fetcher = _MapDatasetFetcher if kind == _DatasetKind.Map else _IterableDatasetFetcher
        return fetcher(dataset, auto_collation, collate_fn, drop_last)


class _InfiniteConstantSampler(Sampler):
    """None forever: an iterable dataset takes no indices and ends by itself."""

    def __iter__(self) -> Iterator[None]:
        while True:
            yield None


class DataLoader:
    """An iterable over the batches of a dataset.

    Args:
        dataset: map-style (`__getitem__`, `__len__`) or an `IterableDataset`.
        batch_size: samples per batch, or None for single samples. Default: 1.
        shuffle: a new random order at each pass. Default: False.
        sampler: an iterable over indices, instead of `shuffle`.
        batch_sampler: an iterable over lists of indices, instead of `batch_size`, `shuffle`, `sampler`, `drop_last`.
        num_workers: processes that read batches ahead; 0 reads them here, when asked for. Default: 0.
        collate_fn: makes a batch of a list of samples. Default: `default_collate`; without batches `default_convert`.
        pin_memory: put batches into memory that an accelerator reads fast; without an accelerator this warns only.
        drop_last: leave out a last batch that would be smaller. Default: False.
        timeout: seconds to wait for a batch from a worker, 0 for ever. Default: 0.
        worker_init_fn: called in each worker with its number, after seeding.
        multiprocessing_context: start method, or a context of `multiprocessing`. Default: fork on Linux.
        generator: of the random order and the workers' seeds. Default: the default generator.
        prefetch_factor: batches that each worker reads ahead. Default: 2.
        persistent_workers: keep the workers from one pass to the next. Default: False.
        in_order: give batches in the sampler's order; False gives them as they arrive. Default: True.

    Raises:
        ValueError: arguments exclude each other or are out of range.

    Each batch is what the samples are, with a new first dimension of `batch_size`. In a worker `facula`, `random` and,
    if imported, NumPy are seeded with one number drawn from `generator` plus the worker's number. An exception in a
    worker is raised here, with its type and the worker's traceback; a worker that dies raises RuntimeError.

    Example:
        >>> data = TensorDataset(facula.arange(5))
        >>> [batch.tolist() for (batch,) in DataLoader(data, batch_size=2)]
        [[0, 1], [2, 3], [4]]
    """

    __class_getitem__: Any = classmethod(GenericAlias)
    _initialized = False
    _fixed = frozenset({"batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"})

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        multiprocessing_context: str | BaseContext | None = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        if num_workers > 0 and prefetch_factor is None:
            prefetch_factor = 2
        self.dataset = dataset
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.in_order = in_order
        self.generator = generator

        is_iterable = isinstance(dataset, IterableDataset)
        self._dataset_kind = _DatasetKind.Iterable if is_iterable else _DatasetKind.Map
        if is_iterable:
            _check_iterable(shuffle, sampler, batch_sampler)
        _check_batching(batch_size, bool(shuffle), sampler, batch_sampler, drop_last)
        if batch_sampler is not None:
            batch_size = None
        if sampler is None:
            sampler = self._default_sampler(bool(shuffle))
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.collate_fn = collate_fn or (default_collate if self._auto_collation else default_convert)
        self.persistent_workers = persistent_workers
        self._iterator: _MultiProcessingDataLoaderIter | None = None
        # What `len` last said of an iterable dataset; an iterator that gives more than that warns.
        self._IterableDataset_len_called: int | None = None
        self._initialized = True
        self.check_worker_number_rationality()

    def _default_sampler(self, shuffle: bool) -> Sampler:
        if self._dataset_kind == _DatasetKind.Iterable:
            return _InfiniteConstantSampler()
        if shuffle:
            return RandomSampler(self.dataset, generator=self.generator)
        return SequentialSampler(self.dataset)

    @property
    def multiprocessing_context(self) -> BaseContext | None:
        return self._context

    @multiprocessing_context.setter
    def multiprocessing_context(self, context: str | BaseContext | None) -> None:
        self._context = None if context is None else _checked_context(context, self.num_workers)

    def __setattr__(self, attr: str, val: object) -> None:
        if self._initialized and attr in self._fixed:
            raise ValueError(f"{attr} attribute should not be set after {self.__class__.__name__} is initialized")
        super().__setattr__(attr, val)

    def __iter__(self) -> _BaseDataLoaderIter:
        if not (self.persistent_workers and self.num_workers > 0):
            return self._get_iterator()
        if self._iterator is None:
            iterator = self._get_iterator()
            assert isinstance(iterator, _MultiProcessingDataLoaderIter)
            self._iterator = iterator
        else:
            self._iterator._reset(self)
        return self._iterator

    def _get_iterator(self) -> _BaseDataLoaderIter:
        if self.num_workers == 0:
            return _SingleProcessDataLoaderIter(self)
        self.check_worker_number_rationality()
        return _MultiProcessingDataLoaderIter(self)

    @property
    def _auto_collation(self) -> bool:
        return self.batch_sampler is not None

    @property
    def _index_sampler(self) -> Iterable[Any]:
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def __len__(self) -> int:
        """Batches in a pass. For an iterable dataset with a length this is an estimate: workers may cut it
        otherwise."""
        if self._dataset_kind == _DatasetKind.Map:
            return len(self._index_sampler)  # type: ignore[arg-type]
        length = self._IterableDataset_len_called = len(self.dataset)
        if self.batch_size is None:
            return length
        return length // self.batch_size if self.drop_last else -(-length // self.batch_size)

    def check_worker_number_rationality(self) -> None:
        """Warn if there are more workers than this process may use CPUs."""
        if not self.num_workers:
            return
        if hasattr(os, "sched_getaffinity"):
            limit, note = len(os.sched_getaffinity(0)), ""
        else:
            limit, note = os.cpu_count() or 0, " (`cpuset` is not taken into account)"
        if self.num_workers <= limit:
            return
        suggestion = (
            f"Our suggested max number of worker in current system is {limit}{note}, which is smaller "
            "than what this DataLoader is going to create."
            if limit
            else "DataLoader is not able to compute a suggested max number of worker in current system."
        )
        warn(
            f"This DataLoader will create {self.num_workers} worker processes in total. {suggestion} "
            "Please be aware that excessive worker creation might get DataLoader running slow or even freeze, "
            "lower the worker number to avoid potential slowness/freeze if necessary.",
            stacklevel=3,
        )


def _check_workers(num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool) -> None:
    if num_workers < 0:
        raise ValueError("num_workers option should be non-negative; use num_workers=0 to disable multiprocessing.")
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError(
            "prefetch_factor option could only be specified in multiprocessing."
            "let num_workers > 0 to enable multiprocessing, otherwise set prefetch_factor to None."
        )
    if prefetch_factor is not None and prefetch_factor < 0:
        raise ValueError("prefetch_factor option should be non-negative")
    if persistent_workers and num_workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")


def _check_iterable(shuffle: bool | None, sampler: Any, batch_sampler: Any) -> None:
    if shuffle not in {False, None}:
        raise ValueError(
            f"DataLoader with IterableDataset: expected unspecified shuffle option, but got shuffle={shuffle}"
        )
    if sampler is not None:
        raise ValueError(
            f"DataLoader with IterableDataset: expected unspecified sampler option, but got sampler={sampler}"
        )
    if batch_sampler is not None:
        raise ValueError(
            "DataLoader with IterableDataset: expected unspecified "
            f"batch_sampler option, but got batch_sampler={batch_sampler}"
        )


def _check_batching(batch_size: int | None, shuffle: bool, sampler: Any, batch_sampler: Any, drop_last: bool) -> None:
    if sampler is not None and shuffle:
        raise ValueError("sampler option is mutually exclusive with shuffle")
    if batch_sampler is not None:
        if batch_size != 1 or shuffle or sampler is not None or drop_last:
            raise ValueError(
                "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
            )
    elif batch_size is None and drop_last:
        raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")


def _checked_context(context: str | BaseContext, num_workers: int) -> BaseContext:
    if num_workers <= 0:
        raise ValueError(
            "multiprocessing_context can only be used with "
            f"multi-process loading (num_workers > 0), but got num_workers={num_workers}"
        )
    import multiprocessing
    from multiprocessing.context import BaseContext

    if isinstance(context, str):
        methods = multiprocessing.get_all_start_methods()
        if context not in methods:
            raise ValueError(
                "multiprocessing_context option "
                f"should specify a valid start method in {methods!r}, but got "
                f"multiprocessing_context={context!r}"
            )
        context = multiprocessing.get_context(context)
    if not isinstance(context, BaseContext):
        raise TypeError(
            "multiprocessing_context option should be a valid context "
            "object or a string specifying the start method, but got "
            f"multiprocessing_context={context}"
        )
    return context


class _BaseDataLoaderIter:
    """One pass over a loader's batches."""

    def __init__(self, loader: DataLoader) -> None:
        self._dataset = loader.dataset
        self._dataset_kind = loader._dataset_kind
        self._IterableDataset_len_called = loader._IterableDataset_len_called
        self._auto_collation = loader._auto_collation
        self._drop_last = loader.drop_last
        self._index_sampler = loader._index_sampler
        self._num_workers = loader.num_workers
        self._timeout = loader.timeout
        self._collate_fn = loader.collate_fn
        self._persistent_workers = loader.persistent_workers
        self._pin_memory = _can_pin(loader)
        self._sampler_iter = iter(self._index_sampler)
        # Drawn even where no worker uses it: the position in the generator's stream is part of the contract.
        self._base_seed = draw_seed(loader.generator)
        self._num_yielded = 0

    def __iter__(self) -> _BaseDataLoaderIter:
        return self

    def _reset(self, loader: DataLoader) -> None:
        self._sampler_iter = iter(self._index_sampler)
        self._num_yielded = 0
        self._IterableDataset_len_called = loader._IterableDataset_len_called

    def _create_fetcher(self) -> partial[Any]:
        return partial(
            _DatasetKind.create_fetcher,
            self._dataset_kind,
            self._dataset,
            self._auto_collation,
            self._collate_fn,
            self._drop_last,
        )

    def _next_data(self) -> Any:
        raise NotImplementedError

    def __next__(self) -> Any:
        data = self._next_data()
        if self._pin_memory:
            from facula.utils.data._utils.pin_memory import pin_memory

            data = pin_memory(data)
        self._num_yielded += 1
        expected = self._IterableDataset_len_called
        if expected is not None and self._num_yielded > expected and self._dataset_kind == _DatasetKind.Iterable:
            self._warn_length(expected)
        return data

    def _warn_length(self, expected: int) -> None:
        message = (
            f"Length of IterableDataset {self._dataset} was reported to be {expected}"
            f"(when accessing len(dataloader)), but {self._num_yielded} samples have been fetched. "
        )
        if self._num_workers > 0:
            message += (
                "For multiprocessing data-loading, this could be caused by not properly configuring the "
                "IterableDataset replica at each worker. Please see "
                "https://pytorch.org/docs/stable/data.html#torch.utils.data.IterableDataset for examples."
            )
        warn(message, stacklevel=3)

    def __len__(self) -> int:
        return len(self._index_sampler)  # type: ignore[arg-type]

    def __getstate__(self) -> NoReturn:
        raise NotImplementedError("{} cannot be pickled", self.__class__.__name__)


def _can_pin(loader: DataLoader) -> bool:
    if not loader.pin_memory:
        return False
    if loader.pin_memory_device:
        warn(
            "pin_memory_device is deprecated, the current accelerator will be used as the device,"
            f"ignore pin_memory_device='{loader.pin_memory_device}'.",
            stacklevel=5,
        )
    cuda = getattr(facula, "cuda", None)
    if cuda is not None and cuda.is_available():
        return True
    warn(
        "'pin_memory' argument is set as true but no accelerator is found, then device pinned memory won't be used.",
        stacklevel=5,
    )
    return False


class _SingleProcessDataLoaderIter(_BaseDataLoaderIter):
    """Reads each batch when it is asked for."""

    def __init__(self, loader: DataLoader) -> None:
        super().__init__(loader)
        if self._timeout != 0:
            raise AssertionError("_SingleProcessDataLoaderIter requires timeout == 0")
        self._dataset_fetcher = self._create_fetcher()()

    def _next_data(self) -> Any:
        return self._dataset_fetcher.fetch(next(self._sampler_iter))


class _MultiProcessingDataLoaderIter(_BaseDataLoaderIter):
    """Hands indices to workers, `prefetch_factor` batches ahead for each, and puts their batches back in order."""

    def __init__(self, loader: DataLoader) -> None:
        from weakref import finalize

        from facula.utils.data._utils.pool import WorkerPool, default_context

        super().__init__(loader)
        if not loader.prefetch_factor:
            raise AssertionError("prefetch_factor must be greater than 0 for MultiProcessingDataLoaderIter")
        self._in_order = loader.in_order
        self._epoch = -1
        self._max_tasks = loader.prefetch_factor * self._num_workers
        create_fetcher = self._create_fetcher()
        is_iterable = self._dataset_kind == _DatasetKind.Iterable
        dataset, base_seed, count, init_fn = self._dataset, self._base_seed, self._num_workers, loader.worker_init_fn

        def make_options(worker_id: int, prefix: str) -> FetchOptions:
            return FetchOptions(
                create_fetcher=create_fetcher,
                dataset=dataset,
                is_iterable=is_iterable,
                init_fn=init_fn,
                base_seed=base_seed,
                worker_id=worker_id,
                num_workers=count,
                prefix=prefix,
            )

        context = loader.multiprocessing_context or default_context()
        self._pool = WorkerPool(context, count, loader.prefetch_factor + 2, make_options)
        # Also runs at exit of the interpreter, while everything that it needs still lives.
        self._shutdown_workers = finalize(self, self._pool.shutdown)
        self._reset(loader)

    @property
    def _workers(self) -> list[BaseProcess]:
        return self._pool.processes

    def _reset(self, loader: DataLoader) -> None:
        super()._reset(loader)
        self._epoch += 1  # what is still under way belongs to the pass before and is dropped on arrival
        self._send_position = 0
        self._next_position = 0
        self._worker_of: dict[int, int] = {}  # position -> worker, of every batch not yet given
        self._arrived: dict[int, Any] = {}
        self._is_active = [True] * self._num_workers
        self._num_tasks = [0] * self._num_workers
        self._turn = cycle(range(self._num_workers))
        for _ in range(self._max_tasks):
            self._send_task()

    def _send_task(self) -> None:
        try:
            index = next(self._sampler_iter)
        except StopIteration:
            return
        worker = self._pick_worker()
        if worker is None:
            return
        self._pool.submit(worker, self._epoch, self._send_position, index)
        self._worker_of[self._send_position] = worker
        self._num_tasks[worker] += 1
        self._send_position += 1

    def _pick_worker(self) -> int | None:
        """The next active worker in turn; out of order, the next that has fewer tasks than its share."""
        for _ in range(self._num_workers):
            worker = next(self._turn)
            if self._is_active[worker] and (
                self._in_order or self._num_tasks[worker] < self._max_tasks // sum(self._is_active)
            ):
                return worker
        return None

    def _skip_abandoned(self) -> None:
        """Pass over positions whose worker ended before it came to them."""
        while self._next_position < self._send_position:
            worker = self._worker_of.get(self._next_position)
            if worker is not None and (self._next_position in self._arrived or self._is_active[worker]):
                return
            self._worker_of.pop(self._next_position, None)
            self._next_position += 1
        if not self._persistent_workers:
            self._shutdown_workers()
        raise StopIteration

    def _next_data(self) -> Any:
        while True:
            self._skip_abandoned()
            if self._next_position in self._arrived:
                return self._give(self._next_position, self._arrived.pop(self._next_position))
            worker, position, data = self._receive()
            if isinstance(data, IterableEnd):
                self._end_worker(worker)
            elif position == self._next_position or not self._in_order:
                return self._give(position, data)
            else:
                self._arrived[position] = data

    def _receive(self) -> tuple[int, int, Any]:
        while True:
            received = self._pool.receive(self._timeout if self._timeout > 0 else None)
            if received is None:
                raise RuntimeError(f"DataLoader timed out after {self._timeout} seconds")
            worker, (epoch, position), data = received
            if epoch == self._epoch:
                return worker, position, data

    def _end_worker(self, worker: int) -> None:
        self._is_active[worker] = False
        self._pool.finished(worker)
        if not self._persistent_workers:
            self._pool.end(worker)
        self._send_task()

    def _give(self, position: int, data: Any) -> Any:
        if position == self._next_position:
            self._next_position += 1
        self._num_tasks[self._worker_of.pop(position)] -= 1
        self._send_task()
        if isinstance(data, ExceptionWrapper):
            data.reraise()
        return data
