"""Blocks of memory: size classes, reuse, the bound on what is kept, statistics, and what there is no memory for."""

from __future__ import annotations

import ctypes
import gc
import itertools
import random
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import facula as torch
from facula.core import settings
from facula.runtime import memory
from facula.runtime.objects import Storage

needs_native = pytest.mark.skipif(settings.reference, reason="about the native allocator")


@pytest.fixture
def limit() -> Iterator[Any]:
    """A function that sets how much may be kept, for one test."""
    from facula.runtime import native

    before = native.STATE[native.S_LIMIT]

    def change(nbytes: int) -> None:
        native.STATE[native.S_LIMIT] = nbytes

    yield change
    change(before)


def test_size_classes() -> None:
    """Aligned, never too small, at most an eighth too large, and each a class of its own size."""
    for nbytes in [0, 1, 63, 64, 65, 4095, 4096, 4097, *[random.Random(i).randrange(1 << 40) for i in range(500)]]:
        block = memory.size_class(nbytes)
        assert block % 64 == 0 and block >= max(64, nbytes) and memory.size_class(block) == block
        assert block <= max(nbytes + 64, nbytes * 9 / 8)


def test_memory_is_aligned_and_apart() -> None:
    tensors = [
        torch.empty(n, dtype=torch.uint8) for n in (1, 2, 63, 64, 65, 1000, 5000, 1 << 20, 3 << 20) for _ in range(5)
    ]
    spans = sorted((t.data_ptr(), t.numel()) for t in tensors)
    assert all(start % 64 == 0 for start, _ in spans)
    for (start, size), (following, _) in itertools.pairwise(spans):
        assert start + size <= following


def test_blocks_are_used_again() -> None:
    address = torch.empty(12345).data_ptr()
    assert torch.empty(12345).data_ptr() == address
    before = memory.statistics()["system_calls"]
    for _ in range(100):
        torch.empty(12345)
    assert memory.statistics()["system_calls"] == before


def test_statistics() -> None:
    memory.trim()
    start = memory.statistics()
    assert start["cached"] == 0 and start["reserved"] >= start["allocated"] - 64
    x = torch.empty(1 << 20, dtype=torch.uint8)
    memory.reset_peak()
    now = memory.statistics()
    assert now["allocated"] == start["allocated"] + (1 << 20) == now["peak"]
    y = torch.empty(1 << 20, dtype=torch.uint8)
    del y
    after = memory.statistics()
    assert after["peak"] == now["allocated"] + (1 << 20)
    assert after["allocated"] == now["allocated"] and after["cached"] == 1 << 20
    assert memory.trim() == 1 << 20
    del x
    end = memory.statistics()
    assert end["allocated"] == start["allocated"] and end["cached"] == 1 << 20


@needs_native
def test_what_is_kept_is_bounded(limit: Any) -> None:
    memory.trim()
    limit(4 << 20)
    for _ in range(3):
        tensors = [torch.empty(1 << 20, dtype=torch.uint8) for _ in range(10)]
        del tensors
        now = memory.statistics()
        assert now["cached"] <= 4 << 20 and now["reserved"] == now["allocated"] + now["cached"]
    limit(0)
    torch.empty(100)
    memory.trim()
    torch.empty(100)
    assert memory.statistics()["cached"] == 0


@needs_native
def test_a_recording_keeps_its_blocks(limit: Any) -> None:
    """What a compiled step let go of while it was recorded is written to by its replay: it is never given back."""
    model = torch.nn.Linear(64, 64)

    @torch.compile
    def step(x: Any) -> Any:
        y = (model(x) * 2).exp().sum()
        y.backward()
        return y

    limit(0)
    for _ in range(5):
        model.zero_grad()
        torch.empty(10_000)
        assert step(torch.ones(128, 64) * 0.01).item() > 0
    memory.trim()
    model.zero_grad()
    assert step(torch.ones(128, 64) * 0.01).item() > 0


def test_more_than_there_is() -> None:
    for size in (10**15, 2**60):
        with pytest.raises(RuntimeError, match=r"not enough memory: you tried to allocate|overflow"):
            torch.empty(size)
    for size in (2**62, 2**63, 2**80, (2**40, 2**40)):
        with pytest.raises((RuntimeError, TypeError)):
            torch.empty(size)
    assert torch.ones(3).sum() == 3


def test_borrowed_memory_lives_as_long_as_its_user() -> None:
    class Owner(np.ndarray):
        """An array whose end is noticed."""

    gone: list[int] = []

    class Watch:
        def __del__(self) -> None:
            gone.append(1)

    a = np.arange(1000.0).view(Owner)
    a.watch = Watch()  # type: ignore[attr-defined]
    t = torch.from_numpy(a)
    view = t[10:20]
    del a, t
    gc.collect()
    assert not gone and view[0] == 10
    del view
    gc.collect()
    assert gone


def test_storages_are_resized_in_place() -> None:
    s = Storage(64)
    ctypes.memset(s.data, 7, 64)
    s.resize(1 << 20)
    assert s.nbytes == 1 << 20 and ctypes.string_at(s.data, 64) == b"\7" * 64
    s.resize(8)
    assert s.nbytes == 8 and ctypes.string_at(s.data, 8) == b"\7" * 8


def test_other_tensors_survive_a_resize() -> None:
    """What still looks at the old memory reads what it always read, however often the storage is resized."""
    for resize in (
        lambda t, n: t.resize_(n),
        lambda t, n: t.untyped_storage().resize_(4 * n),
        lambda t, n: t.share_memory_(),
    ):
        x = torch.arange(64.0)
        others = [x.detach(), x[32:], x.view(8, 8)]
        expected = [o.tolist() for o in others]
        for n in (1000, 100_000):
            resize(x, n)
            memory.trim()
            filler = [torch.full((n,), -1.0) for n in (64, 1000, 100_000)]
            assert [o.tolist() for o in others] == expected and len(filler) == 3
        del x, others, filler


def test_resizing_again_and_again_keeps_nothing() -> None:
    out = torch.empty(0)
    before = memory.statistics()["allocated"]
    for n in range(1, 200):
        out.resize_(0)
        torch.add(torch.zeros(100 * n), 1, out=out)
        assert out[-1] == 1
    assert memory.statistics()["allocated"] - before <= 4 * 100 * 200 * 9 / 8


def test_shared_memory_is_the_storages() -> None:
    t = torch.arange(10.0)
    before = memory.statistics()["allocated"]
    t.share_memory_()
    assert t.tolist() == list(range(10)) and memory.statistics()["allocated"] < before
    t += 1
    assert t.share_memory_()[0] == 1


def test_blocks_in_random_order() -> None:
    """Sizes, lifetimes and threads at random: every tensor keeps what was written to it."""
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        held: list[tuple[Any, int]] = []
        try:
            for i in range(1500):
                if held and rng.random() < 0.5:
                    t, mark = held.pop(rng.randrange(len(held)))
                    assert int(t[0]) == mark == int(t[-1])
                else:
                    t = torch.empty(rng.choice((1, 7, 64, 1000, 5000, 70_000)), dtype=torch.int32)
                    t.fill_(i)
                    held.append((t, i))
                if i % 500 == 250:
                    memory.trim()
        except BaseException as error:
            failures.append(error)

    before = memory.statistics()["allocated"]
    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    gc.collect()
    assert memory.statistics()["allocated"] == before


def test_empty_and_meta_storages() -> None:
    assert torch.empty(0).sum() == 0
    before = memory.statistics()["allocated"]
    huge = torch.empty(10**12, device="meta")
    assert huge.data_ptr() == 0 and memory.statistics()["allocated"] == before
    assert (huge * 2 + 1).shape == (10**12,) and memory.statistics()["allocated"] == before
