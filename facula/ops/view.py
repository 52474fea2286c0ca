"""Views: other geometry over the same memory. Nothing is computed, nothing is copied.

    @view()
    def transpose(layout, dim0, dim1):      # geometry: (shape, stride, offset in elements)
        return shapes.transpose(layout.shape, layout.stride, dim0, dim1)
    transpose.gradient(lambda grad, layout, dim0, dim1: transpose(grad, dim0, dim1))

A geometry may add a dtype: the same memory as elements of that type (the offset then counts those).

A view remembers its base, so that changing either in place is seen by the other, in values and in gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from facula.core import dtype as dt
from facula.core import shapes
from facula.core.layout import Layout, layout, register_cache
from facula.engine.graph import Node, edge_of
from facula.engine.modes import modes
from facula.ops.define import METHODS, _backward_name, composite, layout_of, publish
from facula.runtime.objects import TensorBase, tensor_class, wrap


class Step:
    """One view with its arguments: the operator of its node."""

    __slots__ = ("arguments", "backward_name", "bytes", "layout", "operator", "source")

    def __init__(
        self, operator: ViewOperator, source: Layout, arguments: tuple[Any, ...], layout: Layout, bytes: int
    ) -> None:
        self.operator, self.source, self.arguments, self.layout, self.bytes = operator, source, arguments, layout, bytes
        self.backward_name = operator.backward_name

    def backward(self, node: Node, gradients: list[Any]) -> list[Any]:
        return [self.operator.rule(gradients[0], self.source, *self.arguments)]


class ViewOperator:
    """A geometry function and its gradient."""

    def __init__(self, name: str, geometry: Callable[..., Any]) -> None:
        self.name, self.geometry, self.backward_name = name, geometry, _backward_name(name)
        self.rule: Callable[..., Any] = _no_rule
        self.samples: Callable[..., Any] | None = None
        self.steps: dict[Any, Step] = register_cache({})

    def __call__(self, input: Any, *arguments: Any) -> Any:
        try:
            step = self.steps.get((input._layout, arguments))
        except (AttributeError, TypeError):
            layout_of(input, self.name)
            arguments = _hashable(arguments)
            step = self.steps.get((input._layout, arguments))
        if modes.interpreters:
            handled = modes.interpreters[-1].view(self, input, arguments)
            if handled is not NotImplemented:
                return handled
        if step is None:
            step = self._step(input._layout, arguments)
        storage = input._storage
        base = input._base
        base = input if base is None else base
        if base._requires_grad:
            out = wrap(storage, input._data + step.bytes, step.layout)
        else:  # seen by the collector, so that it is found if the base requires grad one day (see ops/inplace.py)
            out = wrap(storage, input._data + step.bytes, step.layout, tensor_class())
        storage.views += 1
        out._base = base
        out._base_node = base._node
        if input._requires_grad and modes.grad_enabled:
            out._requires_grad, out._node = 1, Node(step, (edge_of(input),), (step.layout,), (), ())
        return out

    def _step(self, source: Layout, arguments: tuple[Any, ...]) -> Step:
        shape, stride, offset, *other = self.geometry(source, *arguments)
        dtype = other[0] if other else source.dtype
        made = layout(tuple(shape), tuple(stride), dtype, source.device)
        step = self.steps[source, arguments] = Step(self, source, arguments, made, offset * dtype.itemsize)
        return step


def _no_rule(*arguments: Any) -> Any:
    raise RuntimeError("this view has no gradient")


def _hashable(arguments: Any) -> Any:
    if isinstance(arguments, (list, tuple)):
        return tuple([_hashable(a) for a in arguments])
    return arguments if isinstance(arguments, (int, str, type(None))) else arguments.__index__()


def view(
    *, method: bool = True, function: bool = True, aliases: Sequence[str] = (), name: str | None = None
) -> Callable[[Any], Any]:
    """Decorator: a view operator from its geometry."""

    def define(geometry: Callable[..., Any]) -> Any:
        made = ViewOperator(name or geometry.__name__, geometry)
        parameters = geometry.__code__.co_varnames[1 : geometry.__code__.co_argcount]
        defaults = geometry.__defaults__ or ()

        def call(input: Any, *args: Any, **kwargs: Any) -> Any:
            if kwargs or len(args) != len(parameters):
                args = _bind(made.name, parameters, defaults, args, kwargs)
            return made(input, *args)

        call.__name__ = call.__qualname__ = made.name
        call.__doc__ = geometry.__doc__
        call.operator = made  # type: ignore[attr-defined]

        def gradient(rule: Callable[..., Any]) -> None:
            made.rule = rule

        def sample(generator: Callable[..., Any]) -> Callable[..., Any]:
            made.samples = generator
            return generator

        call.gradient, call.sample = gradient, sample  # type: ignore[attr-defined]
        publish(made.name, call, method=method, namespaces=("torch",) if function else (), aliases=aliases)
        return call

    return define


def _bind(
    name: str, parameters: Sequence[str], defaults: Sequence[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, ...]:
    if len(args) > len(parameters):
        raise TypeError(f"{name}() takes {len(parameters) + 1} positional arguments but {len(args) + 1} were given")
    bound = list(args)
    optional = len(parameters) - len(defaults)
    for position in range(len(args), len(parameters)):
        parameter = parameters[position]
        if parameter in kwargs:
            bound.append(kwargs.pop(parameter))
        elif position >= optional:
            bound.append(defaults[position - optional])
        else:
            raise TypeError(f"{name}() missing required argument '{parameter}' (pos {position + 2})")
    if kwargs:
        raise TypeError(f"{name}() got an unexpected keyword argument '{next(iter(kwargs))}'")
    return tuple(bound)


def sizes_of(arguments: tuple[Any, ...]) -> tuple[int, ...]:
    """`f(2, 3)` and `f((2, 3))` alike, as a tuple of ints."""
    if len(arguments) == 1 and isinstance(arguments[0], (tuple, list)):
        arguments = tuple(arguments[0])
    try:
        return tuple([a if type(a) is int else a.__index__() for a in arguments])
    except AttributeError as error:
        raise TypeError(
            f"a size or a list of dimensions must be tuple of ints, not {type(error.obj).__name__}"
        ) from None


# -- definitions -----------------------------------------------------------------------------------------------------
@view(aliases=("swapaxes", "swapdims"))
def transpose(layout: Layout, dim0: int, dim1: int) -> Any:
    """Two dimensions exchanged. IndexError for a dimension that does not exist.

    >>> torch.zeros(2, 3).transpose(0, 1).shape
    torch.Size([3, 2])
    """
    return shapes.transpose(layout.shape, layout.stride, dim0, dim1)


transpose.gradient(lambda grad, layout, dim0, dim1: transpose(grad, dim0, dim1))


@view(name="permute", method=False, function=False)
def _permute(layout: Layout, dims: tuple[int, ...]) -> Any:
    return shapes.permute(layout.shape, layout.stride, dims)


def _inverse(dims: tuple[int, ...]) -> tuple[int, ...]:
    count = len(dims)
    inverse = [0] * count
    for position, dim in enumerate(dims):
        inverse[dim % count if count else 0] = position
    return tuple(inverse)


_permute.gradient(lambda grad, layout, dims: _permute(grad, _inverse(dims)))


@composite(method=True)
def permute(input: Any, *dims: Any, **named: Any) -> Any:
    """Dimensions in another order."""
    return _permute(input, sizes_of(dims if dims else (named["dims"],)))


@view(name="view", method=False, function=False)
def _view(layout: Layout, size: tuple[int, ...]) -> Any:
    return shapes.view(layout.shape, layout.stride, size)


_view.gradient(lambda grad, layout, size: reshape(grad, layout.shape))


@view(name="view_dtype", method=False, function=False)
def _view_dtype(layout: Layout, to: Any) -> Any:
    raise AssertionError("made by view() itself")


def view_as_dtype(input: Any, to: dt.dtype) -> Any:
    """The same bytes as elements of another dtype."""
    source = input._layout
    offset = (input._data - input._storage.data) // source.dtype.itemsize
    shape, stride, offset = shapes.view_dtype(source.shape, source.stride, offset, source.dtype, to)
    out = wrap(input._storage, input._storage.data + offset * to.itemsize, layout(shape, stride, to, source.device))
    out._base = input if input._base is None else input._base
    input._storage.views += 1
    return out


def view_(input: Any, *size: Any, **named: Any) -> Any:
    """The same elements in another shape, without a copy. One size may be -1. RuntimeError where the strides do not
    allow it (then use `reshape`, which copies if it must). With a dtype: the same bytes seen as that dtype."""
    if named:
        size = tuple(named.values())
    if len(size) == 1 and isinstance(size[0], dt.dtype):
        return view_as_dtype(input, size[0])
    return _view(input, sizes_of(size))


publish("view", view_, method=True, namespaces=())


@composite(method=True)
def reshape(input: Any, *shape: Any, **named: Any) -> Any:
    """The same elements in another shape: a view where the strides allow it, else a copy."""
    target = sizes_of(shape if shape else (named["shape"],))
    source = layout_of(input, "reshape")
    target = shapes.infer_size(target, source.numel)
    if source.contiguous or shapes.view_stride(source.shape, source.stride, target) is not None:
        return _view(input, target)
    return _view(METHODS["contiguous"](METHODS["clone"](input)), target)


@composite(method=True)
def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Dimensions start_dim to end_dim made one."""
    return reshape(input, shapes.flattened_shape(layout_of(input, "flatten").shape, start_dim, end_dim))


@composite(method=True)
def ravel(input: Any) -> Any:
    """One dimension; a view where possible."""
    return reshape(input, (-1,))


@composite(method=True)
def unflatten(input: Any, dim: Any, sizes: Any) -> Any:
    """One dimension divided into several."""
    return _view(input, shapes.unflattened_shape(input._layout.shape, dim, sizes_of((sizes,))))


@view(name="squeeze", method=False, function=False)
def _squeeze(layout: Layout, dims: Any) -> Any:
    return shapes.squeeze(layout.shape, layout.stride, dims)


_squeeze.gradient(lambda grad, layout, dims: reshape(grad, layout.shape))


@composite(method=True)
def squeeze(input: Any, dim: Any = None) -> Any:
    """Dimensions of size 1 dropped: all, or the given one(s) if they have size 1."""
    return _squeeze(input, tuple(dim) if isinstance(dim, (list, tuple)) else dim)


@view()
def unsqueeze(layout: Layout, dim: int) -> Any:
    """A dimension of size 1 inserted."""
    return shapes.unsqueeze(layout.shape, layout.stride, dim)


unsqueeze.gradient(lambda grad, layout, dim: reshape(grad, layout.shape))


@view(name="expand", method=False, function=False)
def _expand(layout: Layout, size: tuple[int, ...]) -> Any:
    return shapes.expand(layout.shape, layout.stride, size, f"torch.{layout.dtype.scalar_name}Tensor")


_expand.gradient(lambda grad, layout, size: METHODS["sum_to_size"](grad, layout.shape))


def expand(input: Any, *sizes: Any, **named: Any) -> Any:
    """Dimensions of size 1 repeated without a copy (stride 0); -1 keeps a size."""
    named.pop("implicit", None)
    return _expand(input, sizes_of(sizes if sizes else (named["size"],)))


publish("expand", expand, method=True, namespaces=())


@composite(method=True, function=False)
def expand_as(input: Any, other: Any) -> Any:
    """Expanded to the shape of `other`."""
    return _expand(input, other._layout.shape)


@composite(method=True, function=False)
def view_as(input: Any, other: Any) -> Any:
    """In the shape of `other`, without a copy."""
    return _view(input, other._layout.shape)


@composite(method=True, function=False)
def reshape_as(input: Any, other: Any) -> Any:
    """In the shape of `other`."""
    return reshape(input, other._layout.shape)


@composite(method=True)
def broadcast_to(input: Any, size: Any) -> Any:
    """Expanded to `size`."""
    return _expand(input, sizes_of((size,)))


@view()
def select(layout: Layout, dim: int, index: int) -> Any:
    """One slice of a dimension, which disappears."""
    return shapes.select(layout.shape, layout.stride, dim, index)


select.gradient(lambda grad, layout, dim, index: _scattered(grad, layout, lambda whole: select(whole, dim, index)))


def _scattered(grad: Any, source: Layout, part: Callable[[Any], Any]) -> Any:
    """A gradient of the whole: zero but for the part that was viewed. Differentiable, since copy_ is."""
    from facula.ops.define import FUNCTIONS

    whole = FUNCTIONS["torch"]["zeros"](source.shape, dtype=grad._layout.dtype, device=source.device)
    METHODS["copy_"](part(whole), grad)
    return whole


@view(name="slice", method=False, function=False)
def slice_dim(layout: Layout, dim: int, start: int | None, stop: int | None, step: int) -> Any:
    """Elements start, start + step, ... before stop of one dimension."""
    return shapes.slice_dim(layout.shape, layout.stride, dim, start, stop, step)


slice_dim.gradient(
    lambda grad, layout, dim, start, stop, step: _scattered(
        grad, layout, lambda whole: slice_dim(whole, dim, start, stop, step)
    )
)


@view(name="narrow", method=False, function=False)
def _narrow(layout: Layout, dim: int, start: int, length: int) -> Any:
    return shapes.narrow(layout.shape, layout.stride, dim, start, length)


_narrow.gradient(
    lambda grad, layout, dim, start, length: _scattered(grad, layout, lambda whole: _narrow(whole, dim, start, length))
)


@composite(method=True)
def narrow(input: Any, dim: int, start: Any, length: int) -> Any:
    """`length` slices of a dimension from `start` on."""
    if isinstance(start, TensorBase) and (start._layout.shape or start._layout.dtype.kind not in "iu"):
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    return _narrow(input, dim, start if isinstance(start, int) else int(start), length)


@view()
def diagonal(layout: Layout, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """The diagonal of two dimensions, as the last dimension."""
    return shapes.diagonal(layout.shape, layout.stride, offset, dim1, dim2)


diagonal.gradient(
    lambda grad, layout, offset, dim1, dim2: _scattered(grad, layout, lambda whole: diagonal(whole, offset, dim1, dim2))
)


@view(function=False)
def unfold(layout: Layout, dimension: int, size: int, step: int) -> Any:
    """Overlapping windows of a dimension, as a new last dimension."""
    return shapes.unfold(layout.shape, layout.stride, dimension, size, step)


@unfold.gradient
def _unfold_gradient(grad: Any, layout: Layout, dimension: int, size: int, step: int) -> Any:
    """Windows overlap, so their gradients are added where they came from."""
    from facula.ops.define import FUNCTIONS

    if not layout.shape:
        return reshape(grad, ())
    whole = FUNCTIONS["torch"]["zeros"](layout.shape, dtype=grad._layout.dtype, device=layout.device)
    dim = dimension % len(layout.shape)
    for place in range(size):
        windows = grad._layout.shape[dim]
        part = slice_dim(whole, dim, place, place + (windows - 1) * step + 1, step)
        METHODS["add_"](part, select(grad, -1, place))
    return whole


@view(name="as_strided", method=False, function=False)
def _as_strided(layout: Layout, size: tuple[int, ...], stride: tuple[int, ...], offset: int) -> Any:
    return size, stride, offset


@_as_strided.gradient
def _as_strided_gradient(grad: Any, layout: Layout, size: tuple[int, ...], stride: tuple[int, ...], offset: int) -> Any:
    """Elements that were seen several times receive the sum."""
    from facula.core.strides import extent
    from facula.ops.define import FUNCTIONS

    torch = FUNCTIONS["torch"]
    positions = torch["as_strided"](torch["arange"](extent(size, stride)), size, stride, 0).reshape(-1)
    length = max(extent(layout.shape, layout.stride), offset + extent(size, stride))
    flat = torch["zeros"]((length,), dtype=grad._layout.dtype)
    flat = torch["index_add"](flat, 0, positions + offset, reshape(grad, (-1,)))
    return as_strided(flat, layout.shape, layout.stride, 0)


@composite(method=True)
def as_strided(input: Any, size: Any, stride: Any, storage_offset: int | None = None) -> Any:
    """Any geometry over the storage of `input`. RuntimeError if it would reach outside."""
    source = layout_of(input, "as_strided")
    own = (input._data - input._storage.data) // max(1, source.dtype.itemsize)
    size, stride = sizes_of((size,)), sizes_of((stride,))
    offset = own if storage_offset is None else storage_offset
    shapes.as_strided(size, stride, offset, source.dtype.itemsize, input._storage.nbytes)
    return _as_strided(input, size, stride, offset - own)


@composite(method=True)
def movedim(input: Any, source: Any, destination: Any) -> Any:
    """Dimensions moved to other positions."""
    return _permute(input, shapes.movedim_order(len(input._layout.shape), source, destination))


@composite(method=True)
def moveaxis(input: Any, source: Any, destination: Any) -> Any:
    """Same as `movedim`."""
    return movedim(input, source, destination)


@composite(method=True)
def t(input: Any) -> Any:
    """The transpose of a matrix (a vector or scalar as it is)."""
    dims = len(layout_of(input, "t").shape)
    if dims > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {dims}D")
    return transpose(input, 0, 1) if dims == 2 else _view(input, input._layout.shape)


@composite(method=True)
def unbind(input: Any, dim: int = 0) -> Any:
    """The slices of a dimension, as a tuple of views."""
    shape = layout_of(input, "unbind").shape
    dim = shapes.normalize_dim(dim, len(shape))
    if not shape:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    return tuple([select(input, dim, i) for i in range(shape[dim])])


@composite(method=True)
def split(tensor: Any, split_size_or_sections: Any, dim: int = 0) -> Any:
    """Consecutive parts of a dimension, of one size (the last may be smaller) or of the given sizes; views."""
    shape = layout_of(tensor, "split").shape
    dim = shapes.normalize_dim(dim, len(shape))
    total = shape[dim]
    if isinstance(split_size_or_sections, int):
        size = split_size_or_sections
        if size < 0 or (size == 0 and total != 0):
            raise RuntimeError(
                f"split expects split_size be non-negative, but got split_size={size}"
                if size < 0
                else "split_size can only be 0 if dimension size is 0, but got dimension size of " + str(total)
            )
        sections = [min(size, total - start) for start in range(0, total, size)] if size else [0]
        sections = sections or [0]
    else:
        sections = [int(s) for s in split_size_or_sections]
        if sum(sections) != total:
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {total} (input tensor's size at dimension {dim}), but got "
                f"split_sizes={sections}"
            )
    parts, start = [], 0
    for size in sections:
        parts.append(_narrow(tensor, dim, start, size))
        start += size
    return tuple(parts)


publish("split_with_sizes", split, method=True)


@composite(method=True)
def chunk(input: Any, chunks: int, dim: int = 0) -> Any:
    """At most `chunks` equal parts of a dimension; views."""
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    shape = layout_of(input, "chunk").shape
    total = shape[shapes.normalize_dim(dim, len(shape))]
    size = (total + chunks - 1) // chunks
    if size == 0:
        return split(input, [0] * chunks, dim)
    return split(input, size, dim)


@composite(method=True)
def tensor_split(input: Any, indices_or_sections: Any, dim: int = 0) -> Any:
    """Parts of a dimension: a number of parts (sizes differ by at most 1), or the indices to cut at."""
    shape = layout_of(input, "tensor_split").shape
    dim = shapes.normalize_dim(dim, len(shape))
    total = shape[dim]
    if isinstance(indices_or_sections, TensorBase):
        indices_or_sections = METHODS["tolist"](indices_or_sections)
    if isinstance(indices_or_sections, int):
        if indices_or_sections <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {indices_or_sections}")
        base, extra = divmod(total, indices_or_sections)
        return split(input, [base + (i < extra) for i in range(indices_or_sections)], dim)
    cuts = [0, *indices_or_sections, total]
    return tuple([slice_dim(input, dim, a, b, 1) for a, b in pairwise(cuts)])


@composite(method=True)
def detach(input: Any) -> Any:
    """The same memory, outside the graph: the result never requires grad."""
    return wrap(input._storage, input._data, input._layout)


def _regeometry(name: str, function: Callable[..., Any]) -> None:
    """The form `name_` that changes the tensor's own geometry."""

    def call(input: Any, *args: Any, **kwargs: Any) -> Any:
        _check_in_place(input)
        version = input._storage.version
        seen = function(input, *args, **kwargs)
        if input._base is not None or input._node is not None:
            input._requires_grad, input._node, input._output = seen._requires_grad, seen._node, seen._output
        input._data, input._layout = seen._data, seen._layout
        input._storage.version = version + 1
        return input

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"`{name[:-1]}` of the tensor itself: its own geometry changes."
    publish(name, call, method=True, namespaces=("torch",) if name == "as_strided_" else ())


def _check_in_place(input: Any) -> None:
    from facula.ops.inplace import check_in_place

    check_in_place(input)


for _name, _function in (
    ("t_", t), ("transpose_", transpose), ("swapaxes_", transpose), ("swapdims_", transpose), ("squeeze_", squeeze),
    ("unsqueeze_", unsqueeze), ("as_strided_", as_strided),
):  # fmt: skip
    _regeometry(_name, _function)


# -- relatives -------------------------------------------------------------------------------------------------------
def _parts_along(name: str, least: int, axis: Callable[[int], int]) -> None:
    def function(input: Any, indices_or_sections: Any) -> Any:
        dims = len(layout_of(input, name).shape)
        if dims < least:
            raise RuntimeError(
                f"torch.{name} requires a tensor with at least {least} dimension{'s' if least > 1 else ''}, but got a tensor with {dims} dimensions!"
            )
        dim = axis(dims)
        size = input._layout.shape[dim]
        if isinstance(indices_or_sections, int) and (indices_or_sections <= 0 or size % indices_or_sections):
            raise RuntimeError(
                f"torch.{name} attempted to split along dimension {dim}, but the size of the dimension {size} is not divisible by the "
                f"split_size {indices_or_sections}!"
            )
        return tensor_split(input, indices_or_sections, dim)

    function.__name__ = name
    function.__doc__ = f"`tensor_split` along dimension {axis(3)} as NumPy's."
    composite(name, method=True)(function)


_parts_along("hsplit", 1, lambda dims: 0 if dims == 1 else 1)
_parts_along("vsplit", 2, lambda dims: 0)
_parts_along("dsplit", 3, lambda dims: 2)
publish("unsafe_split", split, method=True)
publish("unsafe_chunk", chunk, method=True)
publish("unsafe_split_with_sizes", split, method=True)


@composite()
def broadcast_tensors(*tensors: Any) -> Any:
    """The tensors expanded to their common shape, as a tuple."""
    many = list(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else list(tensors)
    shape = shapes.broadcast_shapes(*[t._layout.shape for t in many])
    return tuple([_expand(t, shape) for t in many])


def _copied(name: str, function: Callable[..., Any]) -> None:
    def call(input: Any, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        from facula.ops.define import FUNCTIONS

        seen = function(input, *args, **kwargs)
        if out is None:
            if isinstance(seen, tuple):
                return tuple([METHODS["clone"](s) for s in seen])
            return METHODS["clone"](seen, memory_format=_DENSE)
        outs, parts = (out, seen) if isinstance(seen, tuple) else ((out,), (seen,))
        for target, part in zip(outs, parts, strict=True):
            FUNCTIONS["internal"]["copy_result"](target, part)
        return None if isinstance(seen, tuple) else out

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"`{name[:-5]}`, as a copy in memory of its own."
    publish(name, call, method=name == "narrow_copy")


class _Dense:
    name = "contiguous_format"


_DENSE = _Dense()
for _name, _function in (
    ("expand_copy", expand), ("diagonal_copy", diagonal), ("as_strided_copy", as_strided), ("narrow_copy", narrow), ("view_copy", view_),
    ("permute_copy", permute), ("split_copy", split), ("split_with_sizes_copy", split), ("unbind_copy", unbind), ("unfold_copy", unfold),
    ("squeeze_copy", squeeze), ("unsqueeze_copy", unsqueeze), ("transpose_copy", transpose), ("t_copy", t), ("select_copy", select),
    ("alias_copy", lambda input: _view(input, input._layout.shape) if input._layout.contiguous else input),
):  # fmt: skip
    _copied(_name, _function)


def _embedded(name: str, part: Callable[..., Any], doc: str) -> Any:
    """Forms that write `src` over a view of a copy."""

    def call(input: Any, src: Any, *args: Any, **kwargs: Any) -> Any:
        whole = METHODS["clone"](input)
        if name == "as_strided_scatter":
            whole = METHODS["contiguous"](whole)
        place = part(whole, *args, **kwargs)
        if place._layout.shape != src._layout.shape:
            raise RuntimeError(
                f"expected src to have a size equal to the slice of self. src size = {list(src._layout.shape)}, slice size = "
                f"{list(place._layout.shape)}"
            )
        METHODS["copy_"](place, src)
        return whole

    call.__name__ = name
    call.__doc__ = doc
    return composite(name, method=True, out=True)(call)


def _slice_of(input: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Any:
    return slice_dim(input, dim, start, end, step)


select_scatter = _embedded("select_scatter", select, "A copy with `src` in place of one slice of a dimension.")
slice_scatter = _embedded(
    "slice_scatter", _slice_of, "A copy with `src` in place of input[start:end:step] of a dimension."
)
diagonal_scatter = _embedded("diagonal_scatter", diagonal, "A copy with `src` on a diagonal.")
as_strided_scatter = _embedded("as_strided_scatter", as_strided, "A copy with `src` in place of an `as_strided` view.")


# -- samples ---------------------------------------------------------------------------------------------------------
def _samples(operator: Any, *arguments: tuple[tuple[int, ...], tuple[Any, ...]]) -> None:
    """Samples of a view: (shape of the input, the other arguments) each."""

    def generator(make: Any) -> Any:
        for shape, rest in arguments:
            yield (make(*shape), *rest), {}

    operator.sample(generator)


_samples(transpose, ((2, 3), (0, 1)), ((2, 3, 4), (-1, 0)), ((0, 3), (0, 1)))
_samples(_permute, ((2, 3, 4), ((2, 0, 1),)), ((3,), ((0,),)), ((), ((),)))
_samples(_view, ((2, 6), ((3, 4),)), ((2, 6), ((-1,),)), ((), ((1, 1),)), ((0, 3), ((3, 0),)))
_samples(_squeeze, ((2, 1, 3), (None,)), ((1, 2, 1), (0,)), ((1, 2, 1), ((0, 2),)))
_samples(unsqueeze, ((2, 3), (1,)), ((), (0,)), ((2,), (-1,)))
_samples(_expand, ((2, 1, 3), ((2, 4, -1),)), ((3,), ((2, 3),)), ((), ((2, 2),)))
_samples(select, ((3, 4), (1, 2)), ((3, 4), (0, -1)), ((3,), (0, 1)))
_samples(slice_dim, ((5, 4), (0, 1, None, 2)), ((5, 4), (1, -3, -1, 1)), ((5,), (0, 4, 2, 1)))
_samples(_narrow, ((5, 4), (0, 1, 3)), ((5, 4), (-1, 2, 0)))
_samples(diagonal, ((3, 4), (0, 0, 1)), ((4, 3), (-1, 0, 1)), ((2, 3, 3), (1, 1, 2)))
_samples(unfold, ((7,), (0, 3, 2)), ((3, 6), (1, 2, 1)), ((), (0, 1, 1)))
_samples(_as_strided, ((3, 4), ((2, 2), (1, 2), 1)), ((3, 4), ((2, 3), (0, 1), 0)))
