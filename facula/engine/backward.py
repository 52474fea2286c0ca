"""The walk through the graph that computes gradients.

Nodes are taken by falling sequence number: what was computed later is differentiated first, so every node has received
all its gradients when its turn comes. Gradient rules are written in operators, hence `create_graph` only leaves
recording on. `install` receives the few tensor operations that the walk itself needs, so that nothing here imports them.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Sequence
from typing import Any

from facula.core.layout import Layout
from facula.engine.graph import Node
from facula.engine.modes import modes

_operations: dict[str, Any] = {}


def install(**operations: Any) -> None:
    """add(a, b), add_in_place(a, b), clone(a), sum_to(a, shape), to_dtype(a, dtype), ones_like(a), zeros(layout), has_nan(a)."""
    _operations.update(operations)


def match(gradient: Any, layout: Layout, place: Any) -> Any:
    """A gradient in the shape and dtype of what it is for: broadcast dimensions summed, dtype cast."""
    own = gradient._layout
    if own.shape != layout.shape:
        if len(own.shape) < len(layout.shape) or any(
            t not in (o, 1) for o, t in zip(own.shape[len(own.shape) - len(layout.shape) :], layout.shape, strict=True)
        ):
            raise RuntimeError(
                f"Function {place.name() if place is not None else 'backward'} returned an invalid gradient at index 0 - "
                f"got {list(own.shape)} but expected shape compatible with {list(layout.shape)}"
            )
        gradient = _operations["sum_to"](gradient, layout.shape)
    if gradient._layout.dtype is not layout.dtype:
        gradient = _operations["to_dtype"](gradient, layout.dtype)
    return gradient


class Watched:
    """A leaf with hooks: the sum of its gradients, and how many are still to come."""

    __slots__ = ("leaf", "left", "total")

    def __init__(self, leaf: Any, left: int) -> None:
        self.leaf, self.left, self.total = leaf, left, None


class Walk:
    """One backward pass."""

    def __init__(self, keep: bool, create: bool, wanted: Sequence[Any] | None) -> None:
        self.keep, self.create = keep, create
        self.pending: dict[Node, list[Any]] = {}
        self.heap: list[tuple[int, int, Node]] = []
        self.wanted = wanted
        self.captured: list[Any] = [None] * len(wanted) if wanted is not None else []
        self.wanted_leaves: dict[int, list[int]] = {}
        self.wanted_outputs: dict[Node, list[tuple[int, int]]] = {}
        self.needed: set[Node] | None = None
        self.accumulate_into: set[int] | None = None
        self.roots_left: list[Any] = []
        self.current: Node | None = None
        self.position = 0
        self.watched: dict[int, Watched] = {}

    def want(self, roots: Sequence[Any]) -> None:
        """Restrict the walk to what leads to the wanted tensors."""
        assert self.wanted is not None
        for i, tensor in enumerate(self.wanted):
            if tensor._node is None:
                self.wanted_leaves.setdefault(id(tensor), []).append(i)
            else:
                self.wanted_outputs.setdefault(tensor._node, []).append((tensor._output, i))
        self.needed = self._leading_to([r._node for r in roots if r._node is not None])

    def _leading_to(self, starts: list[Node]) -> set[Node]:
        order: list[Node] = []
        seen: set[Node] = set(starts)
        stack = list(seen)
        while stack:
            node = stack.pop()
            order.append(node)
            for edge in node.edges:
                if isinstance(edge, tuple) and edge[0] not in seen:
                    seen.add(edge[0])
                    stack.append(edge[0])
        order.sort(key=lambda n: n.sequence)
        needed: set[Node] = set()
        for node in order:
            if node in self.wanted_outputs:
                needed.add(node)
                continue
            for edge in node.edges:
                if isinstance(edge, tuple):
                    if edge[0] in needed:
                        needed.add(node)
                elif edge is not None and id(edge) in self.wanted_leaves:
                    needed.add(node)
        return needed

    def give(self, edge: Any, gradient: Any, source: Any) -> None:
        """Hand a gradient to the next node, or to a leaf."""
        if isinstance(edge, tuple):
            node, output = edge
            if self.needed is not None and node not in self.needed:
                return
            layout = node.outputs[output]
            if gradient._layout is not layout:
                gradient = match(gradient, layout, source)
            slots = self.pending.get(node)
            if slots is None:
                slots = self.pending[node] = [None] * len(node.outputs)
                heapq.heappush(self.heap, (-node.sequence, id(node), node))
            slots[output] = gradient if slots[output] is None else _operations["add"](slots[output], gradient)
            return
        if gradient._layout is not edge._layout:
            gradient = match(gradient, edge._layout, source)
        if self.wanted is not None and self.accumulate_into is None:
            for i in self.wanted_leaves.get(id(edge), ()):
                known = self.captured[i]
                self.captured[i] = gradient if known is None else _operations["add"](known, gradient)
            return
        if self.accumulate_into is not None and id(edge) not in self.accumulate_into:
            return
        if edge._meta is not None:
            self.gather(edge, gradient)
        else:
            accumulate(edge, gradient, self.create)

    def gather(self, leaf: Any, gradient: Any) -> None:
        """Add up the gradients of a leaf with hooks, which see their sum; None counts as arrived."""
        watched = self.watched.get(id(leaf))
        if watched is None:
            if gradient is None:
                return
            watched = self.watched[id(leaf)] = Watched(leaf, self._paths_to(leaf))
        watched.left -= 1
        if gradient is not None:
            watched.total = gradient if watched.total is None else _operations["add"](watched.total, gradient)
        if watched.left == 0:
            self._finish(watched)

    def _finish(self, watched: Watched) -> None:
        total, watched.total = watched.total, None
        if total is not None:
            accumulate(watched.leaf, total, self.create, _UNSHARED - 1)

    def _paths_to(self, leaf: Any) -> int:
        """How many gradients the leaf may get in this walk, and have not been given or skipped so far."""
        seen: set[Node] = set()
        stack: list[Any] = [node for _, _, node in self.heap] + [
            root._node for root in self.roots_left if root._node is not None
        ]
        if self.current is not None:
            stack.append(self.current)
        count = sum(1 for root in self.roots_left if root is leaf)
        while stack:
            node = stack.pop()
            if node in seen or (self.needed is not None and node not in self.needed):
                continue
            seen.add(node)
            first = self.position if node is self.current else 0
            for edge in node.edges[first:]:
                if isinstance(edge, tuple):
                    stack.append(edge[0])
                elif edge is leaf:
                    count += 1
        return count

    def start(self, roots: Sequence[Any], gradients: Sequence[Any]) -> None:
        """Hand in the gradients of the roots."""
        for i, (root, gradient) in enumerate(zip(roots, gradients, strict=True)):
            self.roots_left = list(roots[i:])
            edge = root if root._node is None else (root._node, root._output)
            if isinstance(edge, tuple) and self.needed is not None and edge[0] not in self.needed:
                continue
            self.give(edge, gradient, None)
        self.roots_left = []

    def run(self) -> None:
        heap, pending = self.heap, self.pending
        while heap:
            node = heapq.heappop(heap)[2]
            gradients = pending.pop(node)
            if node.tensor_hooks is not None:
                for output, hooks in node.tensor_hooks:
                    if gradients[output] is not None:
                        gradients[output] = run_tensor_hooks(hooks, gradients[output])
            wanted = self.wanted_outputs.get(node)
            if wanted is not None:
                for output, i in wanted:
                    self.captured[i] = gradients[output]
                if self.accumulate_into is None and not self._leads_on(node):
                    continue
            if node.pre_hooks:
                for hook in list(node.pre_hooks.values()):
                    replaced = hook(tuple(gradients))
                    if replaced is not None:
                        gradients = list(replaced) if isinstance(replaced, tuple) else [replaced]
            results = node.operator.backward(node, gradients)
            if node.hooks:
                results = _run_post_hooks(node, results, gradients)
            if modes.anomaly:
                _check_nan(node, results)
            del gradients
            edges = node.edges
            if not self.keep:
                node.release()
            results = list(results)
            self.current = node
            for i in range(len(edges)):
                # Each gradient is let go of at once, so that its last user may take its memory over.
                gradient = results[i]
                results[i] = None
                edge = edges[i]
                self.position = i
                if gradient is not None:
                    if edge is not None:
                        self.give(edge, gradient, node)
                elif self.watched and edge is not None and not isinstance(edge, tuple):
                    self.gather(edge, None)
                del gradient, edge
            self.current = None
        for watched in list(self.watched.values()):
            self._finish(watched)
        if self.wanted_leaves and self.accumulate_into is None:
            self._run_captured_hooks()

    def _run_captured_hooks(self) -> None:
        assert self.wanted is not None
        for places in self.wanted_leaves.values():
            for i in places:
                meta = self.wanted[i]._meta
                if meta is not None and self.captured[i] is not None:
                    self.captured[i] = run_tensor_hooks(meta.hooks, self.captured[i])

    def _leads_on(self, node: Node) -> bool:
        assert self.needed is not None
        return any(
            (edge[0] in self.needed) if isinstance(edge, tuple) else edge is not None and id(edge) in self.wanted_leaves
            for edge in node.edges
        )


def run_tensor_hooks(hooks: Any, gradient: Any) -> Any:
    """Hooks of one tensor in order; each may replace the gradient."""
    if hooks:
        for hook in list(hooks.values()):
            replaced = hook(gradient)
            if replaced is not None:
                gradient = replaced
    return gradient


def _run_post_hooks(node: Node, results: Any, gradients: Any) -> Any:
    for hook in list((node.hooks or {}).values()):
        replaced = hook(tuple(results), tuple(gradients))
        if replaced is not None:
            results = replaced if isinstance(replaced, tuple) else (replaced,)
    return results


def _check_nan(node: Node, results: Any) -> None:
    if not modes.anomaly_check_nan:
        return
    for i, gradient in enumerate(results):
        if gradient is not None and _operations["has_nan"](gradient):
            trace = (node.metadata_dict or {}).get("traceback_")
            place = f"\nThe operation was recorded here:\n{''.join(trace)}" if trace else ""
            raise RuntimeError(f"Function '{node.name()}' returned nan values in its {i}th output.{place}")


_UNSHARED = 4
"""References while nobody else holds a gradient: variables of `run`, `give`, `accumulate`, and the argument of the question."""


def accumulate(leaf: Any, gradient: Any, create: bool, unshared_count: int = _UNSHARED) -> None:
    """Add to `leaf.grad`; the first gradient becomes it without a copy when nobody else holds its memory."""
    if modes.recorder is not None:
        modes.recorder.leaf(leaf)
    meta = leaf._meta
    if meta is not None:
        if meta.hooks:
            gradient = run_tensor_hooks(meta.hooks, gradient)
        if meta.accumulate is not None:
            for hook in list(meta.accumulate.pre_hooks.values()):
                replaced = hook((gradient,))
                if replaced is not None:
                    gradient = replaced[0] if isinstance(replaced, tuple) else replaced
    known = leaf._grad
    if known is None:
        unshared = (
            sys.getrefcount(gradient) <= unshared_count and gradient._layout is leaf._layout and _owns_memory(gradient)
        )
        if not create:
            leaf._grad = gradient if unshared and not gradient._requires_grad else _operations["clone"](gradient)
        else:
            leaf._grad = gradient
    elif create or modes.grad_enabled:
        leaf._grad = _operations["add"](known, gradient)
    else:
        _operations["add_in_place"](known, gradient)
    if meta is not None:
        if meta.post_accumulate_hooks:
            for hook in list(meta.post_accumulate_hooks.values()):
                hook(leaf)
        if meta.accumulate is not None:
            for hook in list(meta.accumulate.post_hooks.values()):
                hook((), (gradient,))


_UNSHARED = 4


def _owns_memory(gradient: Any) -> bool:
    """Whether no other tensor that somebody holds lies over the memory of a gradient (a base that it alone holds may)."""
    base = gradient._base
    if base is None:
        return sys.getrefcount(gradient._storage) <= 2
    return sys.getrefcount(base) <= 3 and sys.getrefcount(gradient._storage) <= 3


def run_backward(
    roots: Sequence[Any], gradients: Sequence[Any], keep: bool, create: bool,
    inputs: Sequence[Any] | None = None, accumulate_grads: bool = True,
) -> list[Any]:  # fmt: skip
    """Differentiate `roots`, weighted by `gradients`. Gives the gradients of `inputs` unless they are accumulated."""
    walk = Walk(keep, create, inputs)
    if inputs is not None:
        walk.want(roots)
        if accumulate_grads:
            walk.accumulate_into = {id(t) for t in inputs}
    previous = modes.grad_enabled
    modes.grad_enabled = create
    try:
        walk.start(roots, gradients)
        walk.run()
    finally:
        modes.grad_enabled = previous
    if inputs is not None and accumulate_grads:
        for tensor, gradient in zip(inputs, walk.captured, strict=True):
            if tensor._node is not None and gradient is not None:
                tensor._grad = gradient if tensor._grad is None else _operations["add"](tensor._grad, gradient)
    return walk.captured
