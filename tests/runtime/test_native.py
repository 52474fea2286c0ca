"""The native objects under stress: nothing leaks, nothing crashes, whatever order things are made and let go of in."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import facula as torch
from facula.core import settings
from facula.runtime import memory

ROOT = Path(__file__).parents[2]


def in_use() -> int:
    """Bytes that tensors hold once everything unreachable is gone."""
    gc.collect()
    return memory.statistics()["allocated"]


def python(code: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that runs `code`; it must end well, and without a word on stderr."""
    done = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=ROOT, timeout=120,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr, (done.returncode, done.stdout[-2000:], done.stderr[-4000:])
    return done


@pytest.fixture
def switching() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Plain(torch.Tensor):  # type: ignore[misc]
    """A subclass with a dictionary."""


class Slotted(torch.Tensor):  # type: ignore[misc]
    """A subclass with a slot."""

    __slots__ = ("note",)


class Mortal(torch.Tensor):  # type: ignore[misc]
    """A subclass that comes back when it dies."""

    kept: list[Any] = []

    def __del__(self) -> None:
        Mortal.kept.append(self)


class Double(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * 2

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad * 2


# -- what becomes unreachable is freed ---------------------------------------------------------------------------------
def attribute_of_itself() -> None:
    t = torch.ones(3) + 1
    t.me = t


def list_that_holds_it() -> None:
    t = torch.ones(3) * 2
    t.items = [t]


def leaf_with_attribute() -> None:
    t = torch.rand(3, requires_grad=True)
    t.me = t


def two_that_hold_each_other() -> None:
    a, b = torch.rand(3) + 1, torch.rand(3) + 1
    a.other, b.other = b, a


def hook_of_a_leaf() -> None:
    x = torch.rand(3, requires_grad=True)
    x.register_hook(lambda g: x)
    x.register_post_accumulate_grad_hook(lambda t: x)


def next_functions() -> None:
    x = torch.rand(3, requires_grad=True)
    assert x.exp().grad_fn.next_functions[0][0].variable is x


def retained_gradient() -> None:
    x = torch.rand(3, requires_grad=True)
    y = x.exp()
    y.retain_grad()
    y.sum().backward()


def subclasses() -> None:
    t = torch.rand(3).as_subclass(Plain)
    t.me = t
    s = torch.rand(3).as_subclass(Slotted)
    s.note = s


def parameter() -> None:
    p = torch.nn.Parameter(torch.rand(3))
    p.me = p


def module() -> None:
    m = torch.nn.Linear(3, 3)
    m.me = m
    m(torch.rand(2, 3)).sum().backward()


def deep_copies() -> None:
    m = torch.nn.Linear(3, 3)
    m.weight.note = m
    copy.deepcopy(m)
    copy.copy(m.weight)


def pickles() -> None:
    t = pickle.loads(pickle.dumps(torch.rand(3)))
    assert t.shape == (3,)


def custom_function() -> None:
    x = torch.rand(3, requires_grad=True)
    Double.apply(x).sum().backward()
    Double.apply(x)


def views_written_to() -> None:
    x = torch.rand(4, 4, requires_grad=True)
    y = x * 1
    y[0].mul_(2)
    y.sum().backward()


def error_in_a_hook() -> None:
    x = torch.rand(3, requires_grad=True)
    y = x.exp()

    def fail(grad: Any) -> None:
        raise ValueError("no")

    y.register_hook(fail)
    with pytest.raises(ValueError):
        y.sum().backward()


def errors_of_operators() -> None:
    for _ in range(5):
        for call in (
            lambda: torch.rand(3) + torch.rand(4),
            lambda: torch.rand(3) + "x",
            lambda: torch.exp(torch.rand(3), 1),
        ):
            with pytest.raises((RuntimeError, TypeError, OverflowError)):
                call()


def memory_shared_with_numpy() -> None:
    a = torch.rand(3).numpy()
    b = torch.from_numpy(a).numpy()
    del a
    b += 1


def graph_kept_by_its_gradient() -> None:
    x = torch.rand(3, requires_grad=True)
    (g,) = torch.autograd.grad(x.exp().sum(), x, create_graph=True)
    g.sum().backward()


CYCLES = [
    attribute_of_itself, list_that_holds_it, leaf_with_attribute, two_that_hold_each_other, hook_of_a_leaf, next_functions,
    retained_gradient, subclasses, parameter, module, deep_copies, pickles, custom_function, views_written_to, error_in_a_hook,
    errors_of_operators, memory_shared_with_numpy, graph_kept_by_its_gradient,
]  # fmt: skip


@pytest.mark.parametrize("scenario", CYCLES, ids=lambda f: f.__name__)
def test_nothing_stays_behind(scenario: Callable[[], None]) -> None:
    for _ in range(3):  # what is made once (constants, plans) is made now
        scenario()
    before = in_use()
    for _ in range(5):
        scenario()
    assert in_use() == before


def test_many_calls_leave_nothing() -> None:
    """Several kinds of native calls, some hundred thousand in all."""
    a, b = torch.rand(10), torch.rand(10, requires_grad=True)

    def work(count: int) -> None:
        for _ in range(count):
            c = a * b + a
            c = c * 2.5 - 1
            (a > 0.5).logical_not()
            a.add_(0.25).sub_(0.25)
            d = c.exp()
            del c, d

    work(100)
    before, objects = in_use(), len(gc.get_objects())
    watched = (type(a), a._layout, b._layout, torch.float32, a._storage, 2.5)
    counts = [sys.getrefcount(o) for o in watched]
    work(20_000)
    assert in_use() == before
    assert [sys.getrefcount(o) for o in watched] == counts
    assert abs(len(gc.get_objects()) - objects) < 500


def test_operands_keep_their_counts() -> None:
    """None, classes and layouts are neither consumed nor leaked by calls that fail."""
    a = torch.rand(3)
    watched = (a, a._layout, a._storage, type(a), "x", torch.add)
    for call in (
        lambda: a + "x",
        lambda: torch.add(a),
        lambda: a.add(a, a, a),
        lambda: torch.exp(a, a),
        lambda: a + torch.rand(4),
    ):
        with pytest.raises((TypeError, RuntimeError)):
            call()
    counts = [sys.getrefcount(o) for o in watched]
    for _ in range(200):
        for call in (
            lambda: a + "x",
            lambda: torch.add(a),
            lambda: a.add(a, a, a),
            lambda: torch.exp(a, a),
            lambda: a + torch.rand(4),
        ):
            with pytest.raises((TypeError, RuntimeError)):
                call()
    assert all(abs(sys.getrefcount(o) - c) < 20 for o, c in zip(watched, counts, strict=True))


def test_first_gradient_is_taken_over_and_never_shared() -> None:
    """The engine keeps a fresh gradient without a copy; one that somebody else holds is copied."""
    seen: list[Any] = []
    x = torch.rand(1000, requires_grad=True)
    y = x * 3
    y.register_hook(lambda g: seen.append(g))
    y.sum().backward()
    assert x.grad.data_ptr() != seen[0].data_ptr()
    held: list[Any] = []
    z = torch.rand(1000, requires_grad=True)
    z.register_hook(lambda g: held.append(g))
    (z * 3).sum().backward()
    held[0].zero_()
    assert (z.grad == 3).all()
    given = torch.ones(5)
    w = torch.rand(5, requires_grad=True)
    w.clone().backward(given)
    given.zero_()
    assert (w.grad == 1).all()


# -- identity, weak references, subclasses -----------------------------------------------------------------------------
def test_weak_references() -> None:
    called: list[str] = []
    t = torch.rand(3) + 1
    references = [
        weakref.ref(t, lambda _: called.append("tensor")),
        weakref.ref(t._storage, lambda _: called.append("storage")),
    ]
    other = t.data
    del t
    assert references[0]() is None and references[1]() is not None and called == ["tensor"]
    del other
    assert references[1]() is None and called == ["tensor", "storage"]
    node = weakref.ref((torch.rand(3, requires_grad=True) * 2).grad_fn)
    assert node() is None
    kept = weakref.WeakKeyDictionary({torch.rand(2) + 0: 1})
    gc.collect()
    assert not kept


def test_subclasses_keep_what_they_are_given() -> None:
    for kind in (Plain, Slotted):
        t = torch.rand(3).as_subclass(kind)
        t.note = [1]
        assert type(t) is kind and t.note == [1]
        twin = copy.deepcopy(t)
        assert type(twin) is kind and torch.equal(torch.Tensor(twin), torch.Tensor(t))
    t = torch.rand(3)
    t.note = 5
    again = pickle.loads(pickle.dumps(t))
    assert again.note == 5 and torch.equal(again, t)


def test_what_is_no_class_of_tensors_is_refused() -> None:
    for wrong in (int, object(), 3, np.ndarray):
        with pytest.raises(TypeError):
            torch.rand(3).as_subclass(wrong)


def test_resurrection() -> None:
    Mortal.kept.clear()
    t = torch.ones(3).as_subclass(Mortal)
    t.me = t
    del t
    gc.collect()
    assert len(Mortal.kept) == 1
    back = Mortal.kept.pop()
    assert (back + 1).tolist() == [2, 2, 2] and back.me is back
    del back
    gc.collect()
    Mortal.kept.clear()
    for _ in range(100):
        torch.ones(3).as_subclass(Mortal)
    assert all(t.tolist() == [1, 1, 1] for t in Mortal.kept)
    Mortal.kept.clear()


def test_collector_at_every_step() -> None:
    """A small training loop with the cyclic collector running as often as it can."""
    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        x, y = torch.rand(16, 4), torch.rand(16, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        losses = []
        for _ in range(10):
            optimizer.zero_grad()
            loss = ((model(x) - y) ** 2).mean()
            loss.backward()
            optimizer.step()
            gc.collect()
            losses.append(loss.item())
    finally:
        gc.set_threshold(*before)
    assert losses[-1] < losses[0]


def test_finaliser_that_computes() -> None:
    """Operators run inside the collector, in the middle of other operators."""
    results: list[float] = []

    class Late:
        def __init__(self, n: int) -> None:
            self.me, self.n = self, n

        def __del__(self) -> None:
            results.append(float((torch.ones(self.n) * 2 + 1).sum()))

    before = gc.get_threshold()
    gc.set_threshold(5, 2, 2)
    try:
        a = torch.rand(7)
        for i in range(300):
            Late(i % 90 + 1)
            assert ((a * 3 - a).exp() > 0).all()
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert sorted(results) == sorted(3.0 * (i % 90 + 1) for i in range(300))


# -- depth ---------------------------------------------------------------------------------------------------------------
def test_long_chains_are_let_go_of_iteratively() -> None:
    """100,000 nodes, made natively and by the reference path, on a thread (with a small stack where CPython stands it)."""
    python(
        """
        import sys, threading, facula as torch
        def work():
            leaf = torch.rand(3, requires_grad=True)
            for count, op in ((100_000, lambda x: x * 1.5), (100_000, lambda x: x + leaf), (20_000, lambda x: x[:])):
                x = leaf
                for _ in range(count):
                    x = op(x)
                del x
            class Double(torch.autograd.Function):
                @staticmethod
                def forward(ctx, x): return x * 2
                @staticmethod
                def backward(ctx, g): return g
            x = leaf
            for _ in range(5_000):
                x = Double.apply(x)
            del x
            t = None
            for _ in range(50_000):
                s = torch.Tensor(1) if t is None else t.new_empty(1)
                s.previous, t = t, s
            del t, s
            x = leaf
            for _ in range(10_000):
                x = x * 1.0
            x.sum().backward()
            assert leaf.grad.tolist() == [1, 1, 1]
        threading.stack_size((256 << 10) if sys.version_info < (3, 12) else 0)  # from 3.12 on CPython itself nests deeper
        thread = threading.Thread(target=work)
        thread.start(); thread.join()
        """
    )


# -- threads -------------------------------------------------------------------------------------------------------------
def test_threads_compute_at_the_same_time(switching: None) -> None:
    """Small and large operations, gradients and errors in several threads, on shared and own tensors."""
    shared = torch.rand(64, requires_grad=True)
    large = torch.rand(1 << 18)
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            x = torch.full((50,), float(seed))
            for i in range(150):
                y = x * 2 + i
                assert y[0].item() == 2 * seed + i
                (g,) = torch.autograd.grad((shared * seed).sum(), shared)
                assert (g == seed).all()
                if i % 30 == 0:
                    assert (large + seed)[-1].item() == pytest.approx(large[-1].item() + seed, rel=1e-5)
                with torch.no_grad():
                    assert not (shared * 2).requires_grad
                assert (shared * 2).requires_grad
                with pytest.raises(RuntimeError):
                    x + torch.rand(3 + seed)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i + 1,)) for i in range(4)]
    for thread in threads:
        thread.start()
    work(9)
    for thread in threads:
        thread.join()
    assert not failures


def test_tables_change_while_others_read(switching: None) -> None:
    """Ever new shapes in one thread (entries of the native tables are overwritten) and one shape in another."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def churn() -> None:
        try:
            i = 0
            while not stop.is_set():
                i = i % 400 + 1
                assert float((torch.ones(i) * 2 + 1).sum()) == 3 * i
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=churn)
    thread.start()
    x = torch.ones(1 << 16, requires_grad=True)
    y = torch.ones(13)
    for _ in range(200):
        z = (x * 2 + 1).sum()
        assert z.item() == 3 * (1 << 16)
        assert (y * 2 + 1).tolist() == [3] * 13
    stop.set()
    thread.join()
    assert not failures


# -- the end -------------------------------------------------------------------------------------------------------------
def test_exit_with_everything_alive() -> None:
    """Live tensors in globals, modules, caches, cycles and threads; a pool with workers; a thread in an operator."""
    for _ in range(2):
        python(
            """
            import builtins, sys, threading, time, facula as torch
            torch.set_num_threads(4)
            keep = [torch.rand(100) for _ in range(100)]
            keep.append(keep)
            x = torch.rand(1 << 20, requires_grad=True)
            y = (x * 2).exp()
            y.me = y
            sys.keep = builtins.keep = (y, keep, torch.nn.Linear(3, 3))
            class Late:
                def __del__(self):
                    try:
                        self.t = torch.ones(3) + 1
                    except Exception:
                        pass
            sys.late = Late()
            def work():
                while True:
                    (x * 3).sum()
            for _ in range(3):
                threading.Thread(target=work, daemon=True).start()
            time.sleep(0.1)
            """
        )


def test_development_mode() -> None:
    """Debug hooks of the memory allocators and of the interpreter find nothing."""
    python(
        """
        import gc, pickle, copy, weakref, faulthandler, facula as torch
        faulthandler.enable()
        class Sub(torch.Tensor): pass
        m = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh())
        for i in range(300):
            t = torch.rand(3, 4, requires_grad=True)
            t.note = [t]
            s = t.detach().as_subclass(Sub); s.me = s
            w = weakref.ref(s)
            (m(t) * 2).sum().backward()
            copy.deepcopy(m); pickle.loads(pickle.dumps(t.detach()))
            try: t + torch.rand(5)
            except RuntimeError: pass
            if i % 50 == 0: gc.collect()
        """, "-X", "dev", "-W", "error", PYTHONMALLOC="debug",
    )  # fmt: skip


def test_reference_objects_do_the_same() -> None:
    """FACULA_REFERENCE=1 runs without native objects."""
    if settings.reference:
        pytest.skip("this run is it")
    code = """
        import facula as torch
        torch.manual_seed(0)
        x = torch.rand(5, requires_grad=True)
        (x.exp() * x).sum().backward()
        print(x.grad.tolist())
    """
    assert python(code).stdout == python(code, FACULA_REFERENCE="1").stdout


def test_default_dtype_changes_results_made_before() -> None:
    """Plans made with another default are not used again."""
    x = torch.arange(3)
    for default in (torch.float32, torch.float64, torch.float32):
        torch.set_default_dtype(default)
        try:
            for _ in range(3):
                assert {t.dtype for t in (x.exp(), x * 1.5, x / 2, torch.sigmoid(x > 1))} == {default}
        finally:
            torch.set_default_dtype(torch.float32)


def test_threads_do_not_hear_of_each_others_gradient_mode(switching: None) -> None:
    x = torch.rand(3, requires_grad=True)
    wrong: list[int] = []

    def work() -> None:
        for _ in range(500):
            with torch.no_grad():
                wrong.extend([1] if (x * 2).requires_grad else [])

    thread = threading.Thread(target=work)
    thread.start()
    for _ in range(500):
        wrong.extend([] if (x * 2).requires_grad else [2])
    thread.join()
    assert not wrong
