"""The graph that operations leave behind: nodes with edges to what they were computed from.

A node keeps its operator, one edge for each differentiable input, and the values that the operator's gradient names,
with the version that their storage had. It knows nothing of how gradients are computed: `operator.backward(node, grads)`
does. `backward.py` walks the graph.
"""

from __future__ import annotations

import itertools
from typing import Any

from facula.core.layout import Layout
from facula.engine.modes import modes
from facula.runtime.objects import NodeBase, TensorBase, next_sequence, register_node_class, wrap

_VERSION_BITS = 40
_VERSION_MASK = (1 << _VERSION_BITS) - 1
"""Versions of a node's own outputs are kept inverted, with the number of the output in the upper bits."""


class Node(NodeBase):
    """One recorded operation. Users meet it as `tensor.grad_fn`."""

    __slots__ = ("__weakref__",)

    def __init__(
        self, operator: Any, edges: tuple[Any, ...], outputs: tuple[Layout, ...], saved: Any, versions: Any
    ) -> None:
        self.operator, self.edges, self.outputs = operator, edges, outputs
        self.saved, self.versions = saved, versions
        self.sequence = next_sequence()
        self.hooks: dict[int, Any] | None = None  # after: f(grad_inputs, grad_outputs)
        self.pre_hooks: dict[int, Any] | None = None  # before: f(grad_outputs)
        self.tensor_hooks: list[tuple[int, dict[int, Any]]] | None = None  # (output, hooks of the tensor)
        self.metadata_dict: dict[Any, Any] | None = None
        self.released = 0
        if modes.anomaly:
            import traceback

            self.metadata["traceback_"] = traceback.format_stack()[:-2]

    def name(self) -> str:
        """Such as `MulBackward0`."""
        return self.operator.backward_name  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<{self.name()} object at {id(self):#x}>"

    @property
    def metadata(self) -> dict[Any, Any]:
        """A dictionary for the user's own notes."""
        if self.metadata_dict is None:
            self.metadata_dict = {}
        return self.metadata_dict

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """For each differentiable input: (the node that computed it, which of its outputs)."""
        found: list[tuple[Any, int]] = []
        for edge in self.edges:
            if edge is None:
                found.append((None, 0))
            elif isinstance(edge, tuple):
                found.append((edge[0], edge[1]))
            else:
                found.append((accumulate_node(edge), 0))
        return tuple(found)

    def register_hook(self, hook: Any) -> Any:
        """Call `hook(grad_inputs, grad_outputs)` after this node's backward; a result replaces grad_inputs."""
        if self.hooks is None:
            self.hooks = {}
        return Removable(self.hooks, hook)

    def register_prehook(self, hook: Any) -> Any:
        """Call `hook(grad_outputs)` before this node's backward; a result replaces grad_outputs."""
        if self.pre_hooks is None:
            self.pre_hooks = {}
        return Removable(self.pre_hooks, hook)

    def unpack(self) -> list[Any]:
        """The saved values, checked against later in-place changes."""
        if self.released:
            raise RuntimeError(
                "Trying to backward through the graph a second time (or directly access saved tensors after they have already "
                "been freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). "
                "Specify retain_graph=True if you need to backward through the graph a second time or if you need to access "
                "saved tensors after calling backward."
            )
        values = []
        for value, version in zip(self.saved, self.versions, strict=True):
            if version is None:
                values.append(value)
            elif type(value) is Packed:
                values.append(value.unpack(self))
            elif version < 0:  # one of the node's own outputs
                version = ~version
                if value._storage.version != version & _VERSION_MASK:
                    raise RuntimeError(self._changed(value, version))
                again = wrap(value._storage, value._data, value._layout)
                again._requires_grad, again._node, again._output = 1, self, version >> _VERSION_BITS
                values.append(again)
            elif value._storage.version != version:
                raise RuntimeError(self._changed(value, version, False))
            else:
                values.append(value)
        return values

    def _changed(self, value: Any, version: int, own: bool = True) -> str:
        layout = value._layout
        made = f", which is output {value._output} of {value._node.name()}," if value._node is not None else ""
        if own:
            made = f", which is output {version >> _VERSION_BITS} of {self.name()},"
            version &= _VERSION_MASK
        return (
            "one of the variables needed for gradient computation has been modified by an inplace operation: "
            f"[torch.{layout.dtype.scalar_name}Tensor {list(layout.shape)}]{made} is at version {value._storage.version}; "
            f"expected version {version} instead. Hint: enable anomaly detection to find the operation that failed to "
            "compute its gradient, with torch.autograd.set_detect_anomaly(True)."
        )

    def release(self) -> None:
        """Let go of the saved values, unless they are mere numbers and shapes."""
        if self.saved and self.versions.count(None) < len(self.versions):
            self.saved = self.versions = ()
            self.released = 1


register_node_class(Node)


class Packed:
    """A saved value as the user's `saved_tensors_hooks` keep it."""

    __slots__ = ("leaf", "node", "output", "packed", "requires_grad", "unpack_hook")

    def __init__(self, value: Any, hooks: Any, output: int | None) -> None:
        pack, self.unpack_hook = hooks
        self.output = output
        self.requires_grad, self.node = value._requires_grad, value._node
        self.leaf = value if value._requires_grad and value._node is None and output is None else None
        if output is None:
            self.output = value._output if value._node is not None else None
        recording, modes.grad_enabled = modes.grad_enabled, False
        try:
            self.packed = pack(wrap(value._storage, value._data, value._layout))
        finally:
            modes.grad_enabled = recording

    def unpack(self, owner: Node) -> Any:
        """The value again, in its old place in the graph; `owner` is the node that kept it."""
        found = self.unpack_hook(self.packed)
        if not isinstance(found, TensorBase):
            raise TypeError(
                f"Output of saved tensor unpack_hook expected to be a Tensor but got result of type {type(found).__name__}"
            )
        if self.node is None and self.output is None and self.leaf is None:
            return found
        again = wrap(found._storage, found._data, found._layout)
        if self.leaf is not None:  # its gradient goes to the leaf itself
            if not modes.grad_enabled:
                return again
            again._requires_grad, again._node = 1, Node(_passing, (self.leaf,), (again._layout,), (), ())
        else:
            again._requires_grad, again._node, again._output = 1, self.node or owner, self.output
        return again


class _PassOn:
    """The operator of a saved leaf that came back as another tensor."""

    backward_name = "UnpackBackward0"

    def backward(self, node: Node, gradients: list[Any]) -> list[Any]:
        return gradients


_passing = _PassOn()


class Removable:
    """Takes a hook out again: `handle.remove()`, or at the end of a `with` block."""

    _ids = itertools.count()

    def __init__(self, hooks: dict[int, Any], hook: Any) -> None:
        self.hooks, self.id = hooks, next(self._ids)
        hooks[self.id] = hook

    def remove(self) -> None:
        self.hooks.pop(self.id, None)

    def __enter__(self) -> Removable:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


class AccumulateGrad:
    """What a leaf looks like in `next_functions`: the place where its gradient is added up."""

    __slots__ = ("__weakref__", "post_hooks", "pre_hooks", "variable")

    def __init__(self, variable: Any) -> None:
        self.variable = variable
        self.post_hooks: dict[int, Any] = {}
        self.pre_hooks: dict[int, Any] = {}

    next_functions: tuple[Any, ...] = ()

    def name(self) -> str:
        return "torch::autograd::AccumulateGrad"

    def __repr__(self) -> str:
        return f"<AccumulateGrad object at {id(self):#x}>"

    def register_hook(self, hook: Any) -> Removable:
        return Removable(self.post_hooks, hook)

    def register_prehook(self, hook: Any) -> Removable:
        return Removable(self.pre_hooks, hook)


class Meta:
    """What few tensors have: hooks, the wish to keep their gradient, names of dimensions."""

    __slots__ = ("accumulate", "hooks", "names", "post_accumulate_hooks", "retains_grad")

    def __init__(self) -> None:
        self.hooks: dict[int, Any] | None = None
        self.post_accumulate_hooks: dict[int, Any] | None = None
        self.retains_grad = False
        self.accumulate: AccumulateGrad | None = None
        self.names: tuple[str | None, ...] | None = None


def meta_of(tensor: Any) -> Meta:
    """The tensor's `_meta`, made if it has none."""
    if tensor._meta is None:
        tensor._meta = Meta()
    return tensor._meta  # type: ignore[no-any-return]


def accumulate_node(leaf: Any) -> AccumulateGrad:
    """The one AccumulateGrad of a leaf."""
    meta = meta_of(leaf)
    if meta.accumulate is None:
        meta.accumulate = AccumulateGrad(leaf)
    return meta.accumulate


_regenerate: list[Any] = []


def install_regenerate(function: Any) -> None:
    """`function(view)` gives a view whose base was changed in place the node that leads through the base."""
    _regenerate.append(function)


def edge_of(tensor: Any) -> Any:
    """Where a gradient for `tensor` goes: (node, output), the leaf itself, or None."""
    if not tensor._requires_grad:
        return None
    if tensor._base is not None and tensor._base._node is not tensor._base_node:
        _regenerate[0](tensor)
    node = tensor._node
    return tensor if node is None else (node, tensor._output)


def save(values: Any) -> tuple[Any, Any]:
    """(values, versions) for a node, of values that are not the node's own outputs."""
    if modes.saved_tensor_hooks:
        hooks = modes.saved_tensor_hooks[-1]
        values = tuple(Packed(v, hooks, None) if isinstance(v, TensorBase) else v for v in values)
        return values, tuple(0 if type(v) is Packed else None for v in values)
    return tuple(values), tuple(v._storage.version if isinstance(v, TensorBase) else None for v in values)


def saved_output(tensor: Any, output: int) -> tuple[Any, Any]:
    """(value, version) of one of the node's own outputs, without making the node keep itself alive."""
    if modes.saved_tensor_hooks:
        return Packed(wrap(tensor._storage, tensor._data, tensor._layout), modes.saved_tensor_hooks[-1], output), 0
    version = ~(tensor._storage.version | output << _VERSION_BITS)
    return wrap(tensor._storage, tensor._data, tensor._layout), version


def attach(tensor: Any, node: Node, output: int = 0) -> Any:
    """Make `tensor` the result of `node`."""
    tensor._requires_grad, tensor._node, tensor._output = 1, node, output
    return tensor
