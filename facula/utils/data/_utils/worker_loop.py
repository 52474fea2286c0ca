"""The worker process: seeds itself, then fetches a batch for each task until its task pipe is closed.

Comes in: the dataset and its fetching options at the start, then tasks `(epoch, position, index, released)`. Goes out:
one message per task with the batch, or the exception, or the end of an iterable dataset. This module must never know
the order in which the loader wants its batches.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import facula
from facula.utils.data._utils.errors import ExceptionWrapper
from facula.utils.data._utils.shared import SegmentWriter, pack
from facula.utils.data._utils.worker import IterableEnd, WorkerInfo, seed_everything, set_worker_info

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from typing import Any

    from facula.utils.data._utils.worker import FetchOptions


def worker_main(
    options: FetchOptions, tasks: Connection, results: Connection, close_inherited: Callable[[], None]
) -> None:
    """Run a worker until the loader closes `tasks` or dies."""
    import signal

    # Ctrl-C reaches every process of the terminal. The loader's process decides what to do; we follow its pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    close_inherited()
    writer = SegmentWriter(options.prefix)
    try:
        _work(options, tasks, results, writer)
    except (BrokenPipeError, ConnectionResetError, EOFError):
        pass  # the loader is gone
    finally:
        writer.remove_names()


def _work(options: FetchOptions, tasks: Connection, results: Connection, writer: SegmentWriter) -> None:
    facula.set_num_threads(1)
    worker_id = options.worker_id
    seed = seed_everything(options.base_seed, worker_id)
    set_worker_info(WorkerInfo(worker_id, options.num_workers, seed, options.dataset))
    failed = _init_failure(options)
    fetcher: Any = None
    current_epoch = -1
    while True:
        epoch, position, index, released = _next_task(tasks)
        writer.give_back(released)
        if epoch != current_epoch:
            current_epoch = epoch
            ended = False
            fetcher = None
        if ended:
            continue
        data: Any
        try:
            if failed is None and fetcher is None:
                fetcher = options.create_fetcher()
            data = failed or fetcher.fetch(index)
            failed = None  # told once, as PyTorch does; later tasks try for real
        except StopIteration:
            ended = options.is_iterable
            data = IterableEnd() if ended else _wrapped(worker_id)
        except Exception:
            data = _wrapped(worker_id)
        results.send_bytes(_packed(data, (epoch, position), worker_id, writer))
        del data, index


def _init_failure(options: FetchOptions) -> ExceptionWrapper | None:
    try:
        if options.init_fn is not None:
            options.init_fn(options.worker_id)
    except Exception:
        return _wrapped(options.worker_id)
    return None


def _next_task(tasks: Connection) -> Any:
    from multiprocessing import parent_process
    from multiprocessing.connection import wait

    parent = parent_process()
    if parent is not None and tasks not in wait([tasks, parent.sentinel]):
        raise EOFError  # killed: some other process may hold its end of the pipe open
    return pickle.loads(tasks.recv_bytes())


def _wrapped(worker_id: int) -> ExceptionWrapper:
    return ExceptionWrapper(where=f"in DataLoader worker process {worker_id}")


def _packed(data: Any, tag: tuple[int, int], worker_id: int, writer: SegmentWriter) -> bytes:
    try:
        return pack(data, tag, writer)
    except Exception:
        failure = _wrapped(worker_id)
    if isinstance(data, ExceptionWrapper):
        # The exception's own type can't be sent (a local class): the text can.
        failure = data
        failure.exc_type = RuntimeError
    try:
        return pack(failure, tag, writer)
    except Exception:
        failure.exc_type = RuntimeError
        return pack(failure, tag, writer)
