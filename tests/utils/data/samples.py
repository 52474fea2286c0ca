"""Datasets and helpers for the loader's tests; a module of their own so that spawned workers can import them."""

from __future__ import annotations

import os
import random
import signal
import sys
import time

import facula
from facula.utils import data


class Squares(data.Dataset):
    """index -> (vector, index**2), without tensors of its own."""

    def __init__(self, count: int = 10) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int):
        return facula.full((3,), float(index)), index**2


class LargeSamples(data.Dataset):
    """Samples that go through shared memory."""

    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int):
        return facula.full((300, 100), float(index))


class Noise(data.Dataset):
    """What each generator gives in this process, and which worker it is."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int):
        import numpy as np

        info = data.get_worker_info()
        worker = None if info is None else (info.id, info.num_workers, info.seed, type(info.dataset).__name__)
        return (index, facula.randint(1 << 30, ()).item(), random.random(), np.random.rand(), worker)


class Shares(data.IterableDataset):
    """A stream divided among the workers; worker 0 gets the longer share."""

    def __init__(self, count: int = 11) -> None:
        self.count = count

    def __iter__(self):
        info = data.get_worker_info()
        if info is None:
            return iter(range(self.count))
        cut = self.count * 2 // 3
        return iter([range(cut), range(cut, self.count), ()][info.id])

    def __len__(self) -> int:
        return self.count


class Unmakeable(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(a, b)


class Worded(Exception):
    message = "text"

    def __init__(self, message: str = "") -> None:
        super().__init__(message)


class Trouble(data.Dataset):
    """Does what it was asked to at index 3."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int):
        return getattr(self, self.kind)() if index == 3 else index

    def value(self):
        raise ValueError("index three")

    def key(self):
        return {}["three"]

    def unmakeable(self):
        raise Unmakeable(1, 2)

    def worded(self):
        raise Worded("three")

    def stop(self):
        raise StopIteration

    def local(self):
        class Local(Exception):
            pass

        raise Local("three")

    def unpicklable(self):
        return lambda: None

    def unreceivable(self):
        return Unreceivable()

    def killed(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def exits(self):
        sys.exit(7)

    def slow(self):
        time.sleep(60)


class Unreceivable:
    def __reduce__(self):
        return (int, ("not a number",))


def listed(batch: list) -> list:
    return batch


def fails(worker: int) -> None:
    raise OSError(f"worker {worker} has no disk")


def spell(value: object) -> object:
    """Tensors as lists, so that batches of two libraries compare."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [spell(item) for item in value]
    if isinstance(value, dict):
        return {key: spell(item) for key, item in value.items()}
    return value
