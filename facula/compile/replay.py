"""One recording with everything around the native call: guards, gradients, results, and the comparison with an eager run."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

from facula.compile.fuse import Range, fuse
from facula.compile.guards import Guards, words_of
from facula.compile.program import Program
from facula.compile.record import Recorder, rebuilt, root_of, tensors_in
from facula.core.strides import is_non_overlapping_and_dense
from facula.ops.dispatch import FAULT, take_fault
from facula.random import default_generator
from facula.runtime.objects import Storage, new_tensor, wrap


class Refused(Exception):
    """The recording cannot be replayed; the message says why."""


class _Gradient:
    """What a leaf's `.grad` was when the step first added to it, and what it is in the end."""

    __slots__ = ("after", "before", "depends", "leaf", "references")

    def __init__(self, leaf: Any, before: Any, depends: bool) -> None:
        self.leaf, self.before, self.depends, self.after = leaf, before, depends, leaf._grad
        self.references = 0

    @property
    def ours(self) -> bool:
        """Whether the gradient is made anew in the plan's memory by each call."""
        return self.after is not None and self.after is not self.before


def _outliving(recorder: Recorder, inputs: list[Any]) -> list[Range]:
    """The memory that may be read after the step."""
    storages = [*recorder.pinned, *[root_of(t._storage) for t in inputs]]
    return [Range(s.data, s.data + s.nbytes) for s in storages]


class Replay:
    """A recording, ready to be called."""

    def __init__(self, recorder: Recorder, guards: Guards, inputs: list[Any], result: Any) -> None:
        self.recorder, self.guards, self.result = recorder, guards, result
        self.verified = 0
        external = {id(root_of(t._storage)) for t in guards.external.values()}
        if any(id(root_of(t._storage)) in external for t in inputs):
            raise Refused("an input shares memory with something that the function captures")
        self._take_outputs(inputs, external)
        self._take_gradients(recorder, guards)
        touched = set(recorder.storages)
        words = []
        for tensor in guards.external.values():
            if id(root_of(tensor._storage)) in touched:
                words += words_of(tensor)
        for gradient in self.gradients:
            if gradient.depends and gradient.before is not None:
                words += words_of(gradient.before)
        own = {id(root_of(t._storage)) for t in inputs}
        self.occupied = {id(s) for s in recorder.pinned if id(s) not in own}
        self.faults = [i.launch.fault for i in recorder.instructions if i.launch.fault is not None]
        self.prepare: list[Callable[[], None]] = recorder.prepare
        self.conditions = recorder.conditions
        self.written = [
            s for s in (reference() for reference in recorder.written.values()) if s is not None and id(s) not in own
        ]
        self.written_inputs = [k for k, t in enumerate(inputs) if id(root_of(t._storage)) in recorder.written]
        instructions = fuse(recorder.instructions, recorder.extents, _outliving(recorder, inputs))
        self.launches = len(recorder.instructions), len(instructions)
        self.program = Program(instructions, inputs, words)
        recorder.pinned = [s for s in recorder.pinned if id(s) not in own]
        for gradient in self.gradients:
            if gradient.ours:
                gradient.references = sys.getrefcount(gradient.after._storage)

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self.recorder.discard()

    def _take_outputs(self, inputs: list[Any], external: set[int]) -> None:
        given = {id(root_of(t._storage)) for t in inputs}
        self.outputs: list[tuple[Any, Any]] = []  # (a tensor over the plan's memory, or the tensor itself)
        for out in tensors_in(self.result):
            if out._requires_grad and out._node is not None and may_be_differentiated(out._node):
                raise Refused(
                    "it returns a tensor that backward() may still be called on (call backward inside, or detach)"
                )
            if id(root_of(out._storage)) in given:
                raise Refused("it returns one of its inputs")
            if id(root_of(out._storage)) in external:
                self.outputs.append((None, out))
            else:
                self.outputs.append((wrap(out._storage, out._data, out._layout), None))
        uses: dict[int, int] = {}
        for kept, _ in self.outputs:
            if kept is not None:
                uses[id(kept._storage)] = uses.get(id(kept._storage), 0) + 1
        self.shared = {key for key, count in uses.items() if count > 1}
        self.result = rebuilt(self.result, iter([_HOLE] * len(self.outputs)))

    def _take_gradients(self, recorder: Recorder, guards: Guards) -> None:
        self.gradients: list[_Gradient] = []
        for key, leaf in recorder.leaves.items():
            if key not in guards.gradients:
                raise Refused("it computes the gradient of a tensor that is not found from the function's variables")
            entry, found = guards.gradients[key], recorder.found_gradients[key]
            # A gradient that was there and is gone was cleared by the step itself: it does not matter then.
            self.gradients.append(_Gradient(leaf, found, found is not None or entry is None))

    # -- calling ------------------------------------------------------------------------------------------------------
    def holds(self, inputs: list[Any]) -> bool:
        """Whether everything the recording took for granted is still so."""
        if not self.guards.hold():
            return False
        for condition in self.conditions:
            if not condition():
                return False
        for t in inputs:
            if (
                t._requires_grad
                or id(t._storage) in self.occupied
                or (t._storage.owner is not None and id(root_of(t._storage)) in self.occupied)
            ):
                return False
        if len(inputs) > 1 and len({id(t._storage) for t in inputs}) != len(inputs):
            return False
        for gradient in self.gradients:
            if gradient.depends and gradient.leaf._grad is not gradient.before:
                return False
            if gradient.ours and sys.getrefcount(gradient.after._storage) > gradient.references:
                return False  # the user holds a view of it
        return self.program.holds()

    def call(self, inputs: list[Any]) -> tuple[bool, Any]:
        """(whether it ran, its result)."""
        if not self.holds(inputs):
            return False, None
        for prepare in self.prepare:
            prepare()
        self._run(inputs)
        return True, self.results()

    def _run(self, inputs: list[Any]) -> None:
        for gradient in self.gradients:
            if gradient.ours:
                held = 2 + (gradient.leaf._grad is gradient.after)  # by us, by the question, and by the leaf
                if sys.getrefcount(gradient.after) > held:
                    _give_away(gradient)
        self.program.run(inputs)
        if FAULT[0]:
            for prepare in self.prepare:
                if hasattr(prepare, "undo"):
                    prepare.undo()
            raise take_fault(self.faults[0] if len(self.faults) == 1 else _unknown_fault)
        for storage in self.written:
            storage.version += 1
        for k in self.written_inputs:
            inputs[k]._storage.version += 1
        for gradient in self.gradients:
            gradient.leaf._grad = gradient.after

    def results(self) -> Any:
        """What the step returns, in memory of its own."""
        if not self.outputs:
            return self.result
        copies: dict[int, Any] = {}
        fresh = []
        for kept, itself in self.outputs:
            if kept is None:
                fresh.append(itself)
            else:
                fresh.append(self._copied(kept, copies))
        return _filled(self.result, iter(fresh))

    def _copied(self, kept: Any, copies: dict[int, Any]) -> Any:
        layout, storage = kept._layout, kept._storage
        if id(storage) not in self.shared and (
            layout.contiguous or is_non_overlapping_and_dense(layout.shape, layout.stride)
        ):
            out = new_tensor(layout)
            ctypes.memmove(out._data, kept._data, layout.nbytes)
            return out
        copy = copies.get(id(storage))
        if copy is None:
            copy = copies[id(storage)] = Storage(storage.nbytes)
            ctypes.memmove(copy.data, storage.data, storage.nbytes)
        return wrap(copy, copy.data + kept._data - storage.data, layout)

    # -- verifying ----------------------------------------------------------------------------------------------------
    def verify(self, step: Callable[..., Any], args: Any, kwargs: Any, inputs: list[Any]) -> tuple[bool, Any]:
        """Run eagerly, put everything back, replay, and compare. RuntimeError if they differ."""
        if not self.holds(inputs):
            return False, None
        reachable = {id(t._storage): t._storage for t in (*self.guards.external.values(), *inputs)}
        storages = {**reachable, **{id(s): s for s in self.recorder.pinned}}
        random, contents = default_generator.get_state(), _contents(storages)
        gradients = [g.leaf._grad for g in self.gradients]
        expected = step(*args, **kwargs)
        eager = _contents(reachable)
        eager_results = [_bytes(t) for t in tensors_in(expected)]
        eager_gradients = [_bytes(g.leaf._grad) for g in self.gradients]
        eager_random = _bytes(default_generator.get_state())
        for key, storage in storages.items():
            ctypes.memmove(storage.data, contents[key], storage.nbytes)
        default_generator.set_state(random)
        for gradient, before in zip(self.gradients, gradients, strict=True):
            gradient.leaf._grad = before
            del before
        del gradients
        for prepare in self.prepare:
            if hasattr(prepare, "follow"):
                prepare.follow()
        self._run(inputs)
        result = self.results()
        different = [
            what
            for what, a, b in (
                ("results", eager_results, [_bytes(t) for t in tensors_in(result)]),
                ("gradients", eager_gradients, [_bytes(g.leaf._grad) for g in self.gradients]),
                ("changes of tensors", eager, _contents(reachable)),
                ("random numbers", eager_random, _bytes(default_generator.get_state())),
            )
            if a != b
        ]
        if different:
            raise RuntimeError(
                f"compile(verify=...): the replay of a step differs from the eager run in its {' and '.join(different)}"
            )
        self.verified += 1
        return True, result


class _Hole:
    """The place of a tensor in a result."""


_HOLE = _Hole()


def _filled(value: Any, tensors: Any) -> Any:
    """A result with its tensors put in."""
    if value is _HOLE:
        return next(tensors)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*[_filled(item, tensors) for item in value])
    if isinstance(value, (list, tuple)):
        return type(value)(_filled(item, tensors) for item in value)
    if isinstance(value, dict):
        return {key: _filled(item, tensors) for key, item in value.items()}
    return value


def may_be_differentiated(node: Any) -> bool:
    """Whether backward could still go through this node: not if every way down meets a node whose values were released."""
    stack, seen = [node], set()
    while stack:
        node = stack.pop()
        if node.released or node in seen:
            continue
        seen.add(node)
        if node.versions and node.versions.count(None) < len(node.versions):
            return True
        for edge in node.edges:
            if isinstance(edge, tuple):
                stack.append(edge[0])
            elif edge is not None:
                return True
    return False


def _give_away(gradient: _Gradient) -> None:
    """The user kept a gradient of the last step: it gets memory of its own, and we a tensor of our own."""
    kept = gradient.after
    ours = wrap(kept._storage, kept._data, kept._layout)
    copy = new_tensor(kept._layout)
    ctypes.memmove(copy._data, kept._data, kept._layout.nbytes)
    kept._storage, kept._data = copy._storage, copy._data
    gradient.after = ours


def _contents(storages: dict[int, Any]) -> dict[int, bytes]:
    return {key: ctypes.string_at(s.data, s.nbytes) for key, s in storages.items()}


def _bytes(tensor: Any) -> Any:
    """The elements of a tensor, as bytes."""
    if tensor is None:
        return None
    dense = tensor.detach().contiguous()
    return ctypes.string_at(dense._data, dense._layout.nbytes)


def _unknown_fault(value: int, position: int) -> Exception:
    return IndexError(f"index {value} is out of range in a compiled step (run the step without compile to see where)")
