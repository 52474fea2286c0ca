"""Putting tensors together and repeating them: cat, stack and their relatives."""

from __future__ import annotations

from typing import Any

from facula.core import dtype as dt
from facula.core import shapes
from facula.core.layout import Layout, layout, register_cache
from facula.core.promotion import promote_types
from facula.ops import copy as copies
from facula.ops import view as views
from facula.ops.define import FUNCTIONS, composite, operator
from facula.ops.dispatch import Launch, run
from facula.ops.kernels import index as kernels
from facula.runtime.objects import TensorBase, new_tensor

MOST_AT_ONCE = 8
_plans: dict[Any, Any] = register_cache({})


@operator(name="cat", out=True, aliases=("concat", "concatenate"))
def cat(tensors: Any, dim: int = 0) -> Any:
    """Tensors one after the other along an existing dimension; the other sizes must agree.

    >>> torch.cat([torch.zeros(2, 3), torch.ones(1, 3)]).shape
    torch.Size([3, 3])
    """
    tensors = list(tensors)
    try:
        plan = _plans.get((dim, *[t._layout for t in tensors]))
    except AttributeError:
        plan = None
    if plan is not None:
        return run(plan[0], plan[1], *tensors)
    if not tensors:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    for i, t in enumerate(tensors):
        if not isinstance(t, TensorBase):
            raise TypeError(f"expected Tensor as element {i} in argument 0, but got {type(t).__name__}")
        if not t._layout.shape:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
    kept = [t for t in tensors if t._layout.shape != (0,)] or tensors[:1]
    first = kept[0]._layout
    given, dim = dim, shapes.normalize_dim(dim, len(first.shape))
    dtype = tensors[0]._layout.dtype
    for t in tensors[1:]:
        if t._layout.dtype is not dtype:
            dtype = promote_types(dtype, t._layout.dtype)
    total = 0
    for i, t in enumerate(kept):
        shape = t._layout.shape
        if len(shape) != len(first.shape):
            raise RuntimeError(f"Tensors must have same number of dimensions: got {len(first.shape)} and {len(shape)}")
        for d, (a, b) in enumerate(zip(first.shape, shape, strict=True)):
            if a != b and d != dim:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {dim}. Expected size {a} but got size {b} for tensor number {i} in the list."
                )
        total += shape[dim]
    target = layout((*first.shape[:dim], total, *first.shape[dim + 1 :]), None, dtype, first.device)
    if len(tensors) <= MOST_AT_ONCE and all(t._layout.contiguous and t._layout.dtype is dtype for t in tensors):
        plan = _plans[given, *[t._layout for t in tensors]] = (_joined(tensors, target, dim), target)
        return run(plan[0], plan[1], *tensors)
    out = new_tensor(target)
    start = 0
    for t in kept:
        size = t._layout.shape[dim]
        if t._layout.numel:
            part = _part(out, dim, start, size)
            copies._copy((t,), None, part)
        start += size
    out._storage.version = 0
    return out


def _joined(tensors: Any, target: Layout, dim: int) -> Launch:
    """One launch that copies the rows of dense tensors; a row is everything from the joined dimension on."""
    outer = 1
    for size in target.shape[:dim]:
        outer *= size
    widths = [t._layout.nbytes // outer if outer else 0 for t in tensors]
    tail: list[int] = [target.nbytes // outer if outer else 0]
    start = 0
    for width in widths:
        tail += [width, start]
        start += width
    pairs = outer * len(tensors) if target.numel else 0
    grain = max(1, 131072 * len(tensors) // max(1, tail[0]))
    return Launch(kernels.join_rows(len(tensors)), pairs, grain, tuple(tail))


def _part(whole: Any, dim: int, start: int, size: int) -> Any:
    from facula.runtime.objects import wrap

    own = whole._layout
    shape, stride, offset = shapes.narrow(own.shape, own.stride, dim, start, size)
    return wrap(whole._storage, whole._data + offset * own.dtype.itemsize, own.with_shape(shape, stride))


@cat.gradient
def _cat_gradient(grad: Any, tensors_layout: Any, dim: Any) -> Any:
    ndim = max(len(own.shape) for own in tensors_layout)
    dim, start, parts = dim % max(1, ndim), 0, []
    for own in tensors_layout:
        if own.shape == (0,) and grad._layout.shape != (0,) and ndim != 1:
            parts.append(FUNCTIONS["torch"]["zeros"]((0,), dtype=grad._layout.dtype))
            continue
        size = own.shape[dim]
        parts.append(views._narrow(grad, dim, start, size))
        start += size
    return (parts,)


@cat.sample
def _(make: Any) -> Any:
    yield ([make(2, 3), make(1, 3)], 0), {}
    yield ([make(2, 3), make(2, 1), make(2, 2)], -1), {}
    yield ([make(0), make(2, 2)], 0), {}
    yield ([make(2, 3).transpose(0, 1), make(2, 2)[:, :1].expand(2, 2)[:1].expand(3, 2)], 1), {}


@composite(out=True)
def stack(tensors: Any, dim: int = 0) -> Any:
    """Tensors of one shape along a new dimension."""
    tensors = list(tensors)
    if not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")
    shape = tensors[0]._layout.shape
    for i, t in enumerate(tensors):
        if t._layout.shape != shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 and {list(t._layout.shape)} at entry {i}"
            )
    dim = shapes.normalize_dim(dim, len(shape) + 1)
    if dim == 0 and shape and all(t._layout.contiguous for t in tensors):
        return views._view(cat(tensors, 0), (len(tensors), *shape))
    return cat([views.unsqueeze(t, dim) for t in tensors], dim)


def _at_least(count: int) -> Any:
    def lift(t: Any) -> Any:
        while len(t._layout.shape) < count:
            t = views.unsqueeze(t, len(t._layout.shape) if len(t._layout.shape) == 2 else 0)
        return t

    def function(*tensors: Any) -> Any:
        if len(tensors) == 1 and isinstance(tensors[0], TensorBase):
            return lift(tensors[0])
        many = tensors[0] if len(tensors) == 1 else tensors
        return tuple([lift(t) for t in many])

    function.__name__ = f"atleast_{count}d"
    function.__doc__ = f"Tensors with at least {count} dimension(s)."
    return function


atleast_1d, atleast_2d, atleast_3d = (composite(f"atleast_{n}d")(_at_least(n)) for n in (1, 2, 3))


@composite(out=True)
def hstack(tensors: Any) -> Any:
    """Along the second dimension (the first of vectors)."""
    lifted = [atleast_1d(t) for t in tensors]
    if not lifted:
        raise RuntimeError("hstack expects a non-empty TensorList")
    return cat(lifted, 0 if len(lifted[0]._layout.shape) == 1 else 1)


@composite(out=True, aliases=("row_stack",))
def vstack(tensors: Any) -> Any:
    """Along the first dimension; vectors become rows."""
    if not tensors:
        raise RuntimeError("vstack expects a non-empty TensorList")
    return cat([atleast_2d(t) for t in tensors], 0)


@composite(out=True)
def dstack(tensors: Any) -> Any:
    """Along the third dimension."""
    if not tensors:
        raise RuntimeError("dstack expects a non-empty TensorList")
    return cat([atleast_3d(t) for t in tensors], 2)


@composite(out=True)
def column_stack(tensors: Any) -> Any:
    """Vectors as columns of a matrix."""
    return hstack([views.reshape(t, (t._layout.numel, 1)) if len(t._layout.shape) <= 1 else t for t in tensors])


@composite(method=True, function=False)
def repeat(input: Any, *repeats: Any) -> Any:
    """A copy tiled along each dimension: `repeat(2, 3)` stacks the tensor 2 times by 3 times."""
    times = views.sizes_of(repeats)
    own = input._layout.shape
    if len(times) < len(own):
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    shape = (1,) * (len(times) - len(own)) + own
    spread, target = [], []
    for n, s in zip(times, shape, strict=True):
        if n < 0:
            raise RuntimeError(
                f"Trying to create tensor with negative dimension {n * s}: {[n * s for n, s in zip(times, shape, strict=True)]}"
            )
        spread += [n, s]
        target.append(n * s)
    lifted = views.reshape(input, tuple(v for s in shape for v in (1, s)))
    return views.reshape(copies.clone(views._expand(lifted, tuple(spread)), memory_format=_DENSE), tuple(target))


class _Dense:
    name = "contiguous_format"


_DENSE = _Dense()


@composite(method=True)
def tile(input: Any, *dims: Any) -> Any:
    """`repeat` that pads the counts with ones in front."""
    times = views.sizes_of(dims)
    return repeat(input, (1,) * (len(input._layout.shape) - len(times)) + times)


@composite(method=True)
def repeat_interleave(
    input: Any, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Any:
    """Each slice repeated, by one number or by one per slice. dim=None flattens."""
    torch = FUNCTIONS["torch"]
    if repeats is None:
        return torch["repeat_interleave"](torch["arange"](input._layout.numel), input, 0)
    if dim is None:
        input, dim = views.reshape(input, (-1,)), 0
    dim = shapes.normalize_dim(dim, len(input._layout.shape))
    size = input._layout.shape[dim]
    if isinstance(repeats, int) or repeats._layout.numel == 1:
        count = repeats if isinstance(repeats, int) else int(repeats.item())
        if count < 0:
            raise RuntimeError("Repeats must be non-negative")
        lifted = views.unsqueeze(input, dim + 1)
        shape = list(lifted._layout.shape)
        shape[dim + 1] = count
        spread = views._expand(lifted, tuple(shape))
        return views.reshape(spread, (*input._layout.shape[:dim], size * count, *input._layout.shape[dim + 1 :]))
    if repeats._layout.numel != size:
        raise RuntimeError(
            f"repeats must have the same size as input along dim, but got repeats.size(0) = {repeats._layout.numel} and input.size({dim}) = {size}"
        )
    picks = [i for i, n in enumerate(repeats.tolist()) for _ in range(n)]
    return torch["index_select"](input, dim, torch["tensor"](picks, dtype=dt.int64))


@composite(method=True)
def flip(input: Any, *args: Any, dims: Any = None) -> Any:
    """The order of elements reversed along dimensions; a copy."""
    torch = FUNCTIONS["torch"]
    dims = args if dims is None else dims if isinstance(dims, (list, tuple)) else (dims,)
    dims = shapes.normalize_dims(views.sizes_of(dims), len(input._layout.shape))
    for dim in dims:
        size = input._layout.shape[dim]
        input = torch["index_select"](input, dim, torch["arange"](size - 1, -1, -1) if size else torch["arange"](0))
    return copies.clone(input) if not dims else input


@composite(method=True)
def fliplr(input: Any) -> Any:
    """Reversed along the second dimension."""
    if len(input._layout.shape) < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, 1)


@composite(method=True)
def flipud(input: Any) -> Any:
    """Reversed along the first dimension."""
    if not input._layout.shape:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, 0)


@composite(method=True)
def roll(input: Any, shifts: Any, dims: Any = None) -> Any:
    """Elements moved along dimensions, those that leave coming in on the other side. dims=None flattens."""
    if dims is None:
        return views.reshape(roll(views.reshape(input, (-1,)), shifts, 0), input._layout.shape)
    shifts = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    dims = (dims,) if isinstance(dims, int) else tuple(dims)
    if len(shifts) != len(dims):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}")
    for shift, dim in zip(shifts, dims, strict=True):
        dim = shapes.normalize_dim(dim, len(input._layout.shape))
        size = input._layout.shape[dim]
        start = -shift % size if size else 0
        if start:
            input = cat([views._narrow(input, dim, start, size - start), views._narrow(input, dim, 0, start)], dim)
    return input


@composite(method=True)
def rot90(input: Any, k: int = 1, dims: Any = (0, 1)) -> Any:
    """Rotated by 90 degrees k times in the plane of two dimensions."""
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    count = len(input._layout.shape)
    if count < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {count}")
    a, b = (d + count if d < 0 else d for d in dims)
    if a == b:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {a} and dim1 = {b}")
    for d in (a, b):
        if not 0 <= d < count:
            raise RuntimeError(f"Rotation dim{0 if d == a else 1} out of range, dim = {d}")
    turns = k % 4
    if turns == 1:
        return views.transpose(flip(input, b), a, b)
    if turns == 2:
        return flip(flip(input, a), b)
    return flip(views.transpose(input, a, b), b) if turns == 3 else copies.clone(input)


@composite()
def meshgrid(*tensors: Any, indexing: str = "ij") -> Any:
    """Coordinates of a grid: each vector expanded over the dimensions of the others."""
    vectors = list(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else list(tensors)
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    swap = indexing == "xy" and len(vectors) >= 2
    if swap:
        vectors[0], vectors[1] = vectors[1], vectors[0]
    for v in vectors:
        if len(v._layout.shape) > 1:
            raise RuntimeError(
                f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {list(v._layout.shape)}"
            )
    if len({v._layout.dtype for v in vectors}) > 1:
        raise RuntimeError("torch.meshgrid expects all tensors to have the same dtype")
    shape = tuple([v._layout.numel for v in vectors])
    grids = [
        views._expand(views.reshape(v, tuple([shape[i] if i == k else 1 for i in range(len(shape))])), shape)
        for k, v in enumerate(vectors)
    ]
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)
