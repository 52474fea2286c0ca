"""The graph lives as long as somebody holds it and no longer, however long it is; each thread has modes of its own."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest

import facula
from facula.runtime import memory

LENGTH = 100_000


def allocated() -> int:
    return memory.statistics()["allocated"]


@pytest.mark.parametrize(
    "link", [lambda y: y + 1.0, lambda y: y.view(3), lambda y: y.clone(), lambda y: facula.relu(y) * 1.0]
)
def test_long_chains(link: Any) -> None:
    """Neither backward nor letting go of a hundred thousand nodes recurses."""
    x = facula.ones(3, requires_grad=True)
    y = x
    for _ in range(LENGTH):
        y = link(y)
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 1.0]
    for _ in range(LENGTH // 10):
        y = link(y)
    del y


def test_long_chain_of_custom_functions() -> None:
    class Same(facula.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x.clone()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g

    x = facula.ones(1, requires_grad=True)
    y = x
    for _ in range(20_000):
        y = Same.apply(y)
    y.backward()
    assert x.grad.item() == 1.0


class Square(facula.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return 2 * ctx.saved_tensors[0] * g


def test_training_keeps_nothing() -> None:
    net = facula.nn.Sequential(facula.nn.Linear(8, 16), facula.nn.ReLU(), facula.nn.Linear(16, 3))
    optimizer = facula.optim.Adam(net.parameters())
    x = facula.randn(4, 8)

    def step() -> None:
        optimizer.zero_grad()
        loss = Square.apply(net(x)).mean()
        loss.backward()
        optimizer.step()

    for _ in range(20):
        step()
    gc.collect()
    gc.disable()
    try:
        before = allocated()
        for _ in range(1000):
            step()
        assert allocated() == before
        for _ in range(100):
            abandoned = Square.apply(net(x)).mean()
        del abandoned
        assert allocated() == before
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", ["leaf hook", "inner hook", "retained", "attribute", "node note"])
def test_cycles_are_collected(kind: str) -> None:
    gc.collect()
    before = allocated()
    for _ in range(20):
        x = facula.randn(1000).requires_grad_()
        y = x * 2
        if kind == "leaf hook":
            x.register_hook(lambda g, x=x: None)
        elif kind == "inner hook":
            y.register_hook(lambda g, x=x: None)
        elif kind == "retained":
            y.retain_grad()
        elif kind == "attribute":
            x.mine = [x]
        else:
            x.grad_fn_note = y.grad_fn.metadata
            y.grad_fn.metadata["tensor"] = x
        y.sum().backward()
        del x, y
    gc.collect()
    assert allocated() == before


def test_the_graph_goes_with_its_result() -> None:
    x = facula.ones(2, requires_grad=True)
    y = Square.apply(x * 3)
    node = weakref.ref(y.grad_fn)
    del y
    assert node() is None


def test_backward_frees_what_was_saved() -> None:
    x = facula.ones(1000, requires_grad=True)
    before = allocated()
    h = x * 2
    y = (h * h).sum()
    del h
    assert allocated() > before + 4000
    y.backward()
    x.grad = None
    del y
    assert allocated() == before


def test_modes_are_per_thread() -> None:
    seen: dict[str, Any] = {}

    def look() -> None:
        seen["start"] = facula.is_grad_enabled()
        with facula.no_grad():
            seen["inside"] = facula.is_grad_enabled()
            held.set()
            go_on.wait(10)
        seen["after"] = facula.is_grad_enabled()

    held, go_on = threading.Event(), threading.Event()
    with facula.no_grad():
        thread = threading.Thread(target=look)
        thread.start()
        held.wait(10)
        with facula.enable_grad():
            seen["main"] = facula.is_grad_enabled()
        go_on.set()
        thread.join()
        assert not facula.is_grad_enabled()
    assert seen == {"start": True, "inside": False, "main": True, "after": True}


def test_backward_in_several_threads() -> None:
    w = facula.randn(16, 16)
    expected = None
    results: dict[int, Any] = {}

    def work(k: int) -> None:
        own = w.clone().requires_grad_()
        for _ in range(20):
            (own @ own).relu().sum().backward()
        results[k] = own.grad

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    work(9)
    expected = results.pop(9)
    assert len(results) == 4
    for found in results.values():
        assert found.tolist() == expected.tolist()


def test_hooks_removed_while_running() -> None:
    x = facula.ones(1, requires_grad=True)
    seen: list[str] = []
    handle = x.register_hook(lambda g: (seen.append("once"), handle.remove())[0])
    for _ in range(2):
        (x * 2).backward()
    assert seen == ["once"]
    with x.register_hook(lambda g: g * 10):
        (x * 1).backward()
    (x * 1).backward()
    assert x.grad.item() == 2 + 2 + 10 + 1


def test_accumulation_does_not_alias() -> None:
    """Two leaves whose gradients came from one tensor keep theirs apart."""
    a, b = facula.ones(4, requires_grad=True), facula.ones(4, requires_grad=True)
    (a.view(2, 2) + b.view(2, 2)).sum().backward()
    (a * 2).sum().backward()
    assert (a.grad.tolist(), b.grad.tolist()) == ([3.0] * 4, [1.0] * 4)
    given = facula.ones(2, 2)
    c = facula.ones(4, requires_grad=True)
    c.view(2, 2).backward(given)
    c.view(2, 2).backward(given)
    assert given.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert c.grad.tolist() == [2.0] * 4
