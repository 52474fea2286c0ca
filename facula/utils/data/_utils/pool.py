"""The worker processes of one loader: starting them, giving them tasks, receiving batches, ending them.

Each worker has two pipes of its own and no lock or queue is shared, so that one that dies, whenever that is, can leave
nobody waiting: its pipe ends, which the receiver sees at once. Nothing here blocks on a worker except `receive`.

Comes in: how to make a worker's options; tasks. Goes out: `(worker, (epoch, position), data)`, in order of arrival.
This module must never know what a task means.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING
from weakref import WeakSet

from facula.utils.data._utils.errors import ExceptionWrapper
from facula.utils.data._utils.shared import SegmentReader, remove_leftovers
from facula.utils.data._utils.worker_loop import worker_main

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from multiprocessing.context import BaseContext
    from multiprocessing.process import BaseProcess
    from typing import Any

    from facula.utils.data._utils.worker import FetchOptions

GRACE = 5.0  # seconds that a worker may take to finish its batch when the loader ends
PIPE_BYTES = 1 << 20
F_SETPIPE_SZ = 1031

_pools: WeakSet[WorkerPool] = WeakSet()
_count = 0


def default_context() -> BaseContext:
    """The program's start method if it chose one; otherwise fork on Linux, and elsewhere what Python prefers."""
    import multiprocessing

    if sys.platform == "linux" and multiprocessing.get_start_method(allow_none=True) is None:
        return multiprocessing.get_context("fork")
    return multiprocessing.get_context()


def _widen(connection: Connection) -> int:
    """Ask for a roomy pipe; how many bytes can surely be written to it without blocking."""
    if sys.platform == "linux":
        import fcntl

        try:
            return fcntl.fcntl(connection.fileno(), F_SETPIPE_SZ, PIPE_BYTES) // 2
        except OSError:
            pass
    return 4096


class _Worker:
    """One process and the loader's ends of its pipes."""

    def __init__(self, process: BaseProcess, tasks: Connection, results: Connection, keep: int) -> None:
        self.process = process
        self.tasks = tasks
        self.results = results
        self.segments = SegmentReader(keep)
        self.room = _widen(tasks)
        self.outbox: deque[bytes] = deque()  # not yet sent: the pipe might be full
        self.unanswered: deque[int] = deque()  # sizes of the tasks in the pipe or being worked on
        self.is_closed = False

    def flush(self) -> None:
        """Send what surely fits: a blocked loader and a worker blocked on its result would wait for each other."""
        while self.outbox and not self.is_closed:
            size = len(self.outbox[0]) + 16
            if self.unanswered and sum(self.unanswered) + size > self.room:
                return
            self.unanswered.append(size)
            try:
                self.tasks.send_bytes(self.outbox.popleft())
            except OSError:
                return  # it died; `receive` says so

    def close(self) -> None:
        """Close both pipes, which tells the worker to end."""
        if not self.is_closed:
            self.is_closed = True
            self.tasks.close()
            self.results.close()


class WorkerPool:
    """Worker processes, numbered from 0.

    Args:
        context: how processes are started.
        count: how many.
        keep: how many finished shared-memory segments each may keep.
        make_options: from a worker's number and the prefix of its files' names to its options.
    """

    def __init__(
        self, context: BaseContext, count: int, keep: int, make_options: Callable[[int, str], FetchOptions]
    ) -> None:
        global _count
        _count += 1
        self.processes: list[BaseProcess] = []
        self._owner = os.getpid()
        self._prefix = f"facula-{self._owner}-{_count}"
        self._workers: list[_Worker] = []
        self._ready: deque[int] = deque()
        self._failure: str | None = None
        _pools.add(self)
        try:
            for number in range(count):
                self._start(context, make_options(number, f"{self._prefix}-{number}"), keep)
        except BaseException:
            self.shutdown()
            raise

    def _start(self, context: BaseContext, options: FetchOptions, keep: int) -> None:
        import warnings

        task_end, tasks = context.Pipe(duplex=False)
        results, result_end = context.Pipe(duplex=False)
        process = context.Process(  # type: ignore[attr-defined]
            target=worker_main, args=(options, task_end, result_end, close_inherited), daemon=True
        )
        self._workers.append(_Worker(process, tasks, results, keep))
        with warnings.catch_warnings():
            # Python warns about forking with threads alive; ours are made for it, and waiting in a futex.
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        self.processes.append(process)
        task_end.close()
        result_end.close()

    def submit(self, worker: int, epoch: int, position: int, index: Any) -> None:
        """Give a worker a task, behind those it already has. Never blocks."""
        target = self._workers[worker]
        task = (epoch, position, index, target.segments.released())
        target.outbox.append(pickle.dumps(task, protocol=pickle.HIGHEST_PROTOCOL))
        target.flush()

    def finished(self, worker: int) -> None:
        """A worker will answer no more of the tasks it was given."""
        self._workers[worker].unanswered.clear()
        self._workers[worker].outbox.clear()

    def end(self, worker: int) -> None:
        """Let a worker exit."""
        self._workers[worker].close()

    def receive(self, timeout: float | None) -> tuple[int, tuple[int, int], Any] | None:
        """The next message of any worker; None after `timeout` seconds without one.

        Raises RuntimeError if a worker has died. A message that can't be unpickled gives an `ExceptionWrapper`.
        """
        if self._failure is not None:
            raise RuntimeError(self._failure)
        if not self._ready:
            self._wait(timeout)
            if not self._ready:
                return None
        number = self._ready.popleft()
        worker = self._workers[number]
        try:
            message = worker.results.recv_bytes()
        except (EOFError, OSError) as error:
            self._fail(error)
        except BaseException:
            # Ctrl-C within a message: what follows in the pipe can't be told apart any more.
            self._failure = "DataLoader was interrupted while it received a batch; start a new iterator"
            self.shutdown()
            raise
        if worker.unanswered:
            worker.unanswered.popleft()
        worker.flush()
        tag, unpacker = worker.segments.unpack(message)
        try:
            return number, tag, unpacker.load()
        except Exception:
            return number, tag, ExceptionWrapper(where=f"while receiving from DataLoader worker process {number}")

    def _wait(self, timeout: float | None) -> None:
        from multiprocessing.connection import wait

        numbers = {worker.results: number for number, worker in enumerate(self._workers) if not worker.is_closed}
        # Take all that are ready, so that one fast worker can't keep the others from being heard.
        self._ready.extend(numbers[connection] for connection in wait(list(numbers), timeout))  # type: ignore[index]

    def _fail(self, error: BaseException) -> None:
        deadline = monotonic() + 1.0
        open_workers = [worker.process for worker in self._workers if not worker.is_closed]
        dead: list[BaseProcess] = []
        while not dead and monotonic() < deadline:
            # The pipe ends a moment before the process does.
            dead = [process for process in open_workers if not process.is_alive()]
        pids = ", ".join(str(process.pid) for process in dead)
        self._failure = f"DataLoader worker (pid(s) {pids}) exited unexpectedly{_reason(dead)}"
        self.shutdown()
        raise RuntimeError(self._failure) from error

    def close_copies(self) -> None:
        """In a forked child: close the copies of the loader's ends, or nobody would see the loader end."""
        for worker in self._workers:
            worker.close()

    def shutdown(self) -> None:
        """End all workers; those that don't within the grace period are killed."""
        if os.getpid() != self._owner:
            return  # a forked copy of the loader: the workers are not its children
        for worker in self._workers:
            worker.close()
        deadline = monotonic() + GRACE
        for process in self.processes:
            process.join(max(0.0, deadline - monotonic()))
        for end in ("terminate", "kill"):
            for process in self.processes:
                if process.is_alive():
                    getattr(process, end)()
            for process in self.processes:
                process.join(GRACE)
        if any(process.exitcode for process in self.processes):
            remove_leftovers(f"{self._prefix}-")


def _reason(processes: list[BaseProcess]) -> str:
    import signal

    reasons = set()
    for process in processes:
        code = process.exitcode
        if code is None:
            continue
        try:
            reasons.add(f"killed by signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}")
        except ValueError:
            reasons.add(f"killed by signal {-code}")
    if not reasons:
        return ""
    hint = "; out of memory?" if "killed by signal SIGKILL" in reasons else ""
    return f" ({', '.join(sorted(reasons))}{hint})"


def close_inherited() -> None:
    """In a new worker: drop what it inherited from the loader's process besides its own two pipes."""
    for pool in list(_pools):
        pool.close_copies()
