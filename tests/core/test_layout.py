"""Layouts are interned; shapes print and add as PyTorch's; the table forgets what nobody uses."""

from __future__ import annotations

import copy
import pickle
import random
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from facula.core import layout as layouts
from facula.core.device import device
from facula.core.dtype import float32, float64, int64
from facula.core.layout import CPU, Layout, Size, layout


@pytest.fixture
def small_table(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The table is swept when it holds this many."""
    layouts._sweep()
    limit = len(layouts._interned) + 200
    monkeypatch.setattr(layouts, "LIMIT", limit)
    monkeypatch.setattr(layouts, "_limit", limit)
    yield limit


def test_equal_layouts_are_one() -> None:
    a = layout((2, 3), None, float32)
    assert a is layout([2, 3], (3, 1), float32, CPU) is layout(iter((2, 3)), None, float32)
    assert a is not layout((2, 3), (1, 2), float32) and a is not layout((2, 3), None, int64)
    assert a is not layout((2, 3), None, float32, device("meta"))
    assert a.with_shape((3, 2)).with_shape((2, 3)) is a and a.with_dtype(float64).with_dtype(float32) is a
    assert layout((2, 3), (1, 2), float32).dense() is a and a.dense() is a


def test_fields() -> None:
    a = layout((4, 0, 2), None, float64)
    assert (a.numel, a.nbytes, a.contiguous, a.ndim, a.size) == (0, 0, True, 3, (4, 0, 2)) and isinstance(a.size, Size)
    b = layout((4, 2), (1, 4), float32)
    assert (b.numel, b.nbytes, b.contiguous) == (8, 32, False)
    assert layout((), None, float32).numel == 1
    assert layout((1, 5), (77, 1), float32).contiguous  # the stride of a dimension of one element says nothing


def test_geometry_agrees_with_numpy() -> None:
    rng = random.Random(0)
    for _ in range(300):
        shape = tuple(rng.choice((0, 1, 2, 3, 5)) for _ in range(rng.randrange(4)))
        order = rng.sample(range(len(shape)), len(shape))
        array = np.empty(shape, "f4").transpose(order)
        found = layout(array.shape, tuple(s // 4 for s in array.strides), float32)
        assert found.numel == array.size and found.nbytes == array.nbytes
        assert found.contiguous == array.flags.c_contiguous


def test_size() -> None:
    s = Size((2, 3))
    assert repr(s) == str(s) == "torch.Size([2, 3])" and repr(Size()) == "torch.Size([])"
    assert s == (2, 3) and hash(s) == hash((2, 3)) and s.numel() == 6 and Size().numel() == 1
    for other, kind in ((s + (4,), Size), ((4,) + s, Size), (s * 2, Size), (2 * s, Size), (s[1:], Size), (s[0], int)):
        assert type(other) is kind
    assert (4,) + s == (4, 2, 3) and s + (4,) == (2, 3, 4)
    assert type(pickle.loads(pickle.dumps(s))) is Size and type(copy.deepcopy(s)) is Size
    with pytest.raises(TypeError):
        s + [1]  # type: ignore[operator]
    with pytest.raises(TypeError):
        [1] + s


def test_size_agrees_with_torch() -> None:
    torch = pytest.importorskip("torch")
    for shape in ((), (1,), (2, 3)):
        ours, theirs = Size(shape), torch.Size(shape)
        for act in (
            repr,
            len,
            hash,
            tuple,
            lambda s: s.numel(),
            lambda s: s + (1,),
            lambda s: s[::-1],
            lambda s: s[:1],
        ):
            assert act(ours) == act(theirs)
            assert repr(act(ours)) == repr(act(theirs))


def test_unused_layouts_are_forgotten(small_table: int) -> None:
    kept = layout((7, 11), None, float32)
    for i in range(5 * small_table):
        layout((i, 13), None, float32)
        layout((i, 13), (13, 1), float32)
    assert len(layouts._interned) <= small_table + 2
    assert layout((7, 11), None, float32) is kept and layout((7, 11), (11, 1), float32) is kept


def test_many_live_layouts_do_not_sweep_at_every_step(small_table: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps: list[int] = []
    original = layouts.forget_plans
    monkeypatch.setattr(layouts, "forget_plans", lambda: (sweeps.append(1), original()))
    kept = [layout((i, 17), None, float32) for i in range(4 * small_table)]
    assert len(sweeps) < 8
    assert all(layout((i, 17), None, float32) is kept[i] for i in range(0, len(kept), 7))


def test_programs_of_ever_new_shapes_use_bounded_memory(small_table: int) -> None:
    """Operators, gradients and their native tables let layouts go too."""
    import facula as torch

    held = torch.ones(5)
    for i in range(1, 2 * small_table):
        x = torch.ones(i, requires_grad=True)
        (x * 2 + 1).sum().backward()
        assert x.grad[-1] == 2
        assert (held * 2)[0] == 2
    layouts._sweep()
    assert len(layouts._interned) < small_table
    assert layout((5,), None, float32) is held._layout


def test_caches_are_emptied_with_the_table(small_table: int) -> None:
    cache: dict[Any, int] = layouts.register_cache({})
    try:
        cache[layout((2, 2), None, float32)] = 1
        layouts._sweep()
        assert not cache
    finally:
        layouts._caches.remove(cache)


def test_threads_agree_on_one_layout(small_table: int) -> None:
    """Also while another thread makes the table forget."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    found: list[dict[int, Layout]] = []

    def work() -> None:
        found.append({i: layout((i, 19), None, float32) for i in range(1, 150)})

    try:
        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert len(found) == 6
    assert all(f[i] is found[0][i] for f in found for i in f)
