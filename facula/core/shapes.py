"""Shape algebra: broadcasting, dimension numbers, and every view as arithmetic on sizes and strides.

A view function takes a tensor's `shape` and `stride` (tuples of ints, strides in elements) and its own arguments, and
returns `(shape, stride, offset)`: the view's geometry, and how many elements after the tensor's first element the
view's first one lies. Errors are PyTorch's. Contiguity, collapsing and overlap are in `facula.core.strides`.

This module must never know tensors or memory.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from facula.core import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from facula.core.dtype import dtype

    Shape = tuple[int, ...]
    View = tuple[Shape, Shape, int]


# --- dimension numbers ---


def normalize_dim(dim: int, ndim: int) -> int:
    """`dim` counted from the front. A 0-d tensor has one virtual dimension, as in PyTorch. IndexError out of range.

    >>> normalize_dim(-1, 3)
    2
    """
    if 0 <= dim < ndim:
        return dim
    if -ndim <= dim < 0:
        return dim + ndim
    if ndim == 0 and dim in (0, -1):
        return 0
    raise errors.dim_out_of_range(dim, ndim)


def normalize_dims(dims: int | Iterable[int], ndim: int) -> Shape:
    """One dimension or several, counted from the front, in the given order. RuntimeError if one is named twice."""
    if isinstance(dims, int):
        return (normalize_dim(dims, ndim),)
    found = tuple([normalize_dim(dim, ndim) for dim in dims])
    if len(set(found)) != len(found):
        seen: set[int] = set()
        for dim in found:
            if dim in seen:
                raise errors.duplicate_dim(dim)
            seen.add(dim)
    return found


def reduced_shape(shape: Shape, dims: Iterable[int], keepdim: bool) -> Shape:
    """The shape after reducing over `dims` (normalized): gone, or of size 1 with `keepdim`."""
    gone = set(dims)
    if keepdim:
        return tuple([1 if dim in gone else size for dim, size in enumerate(shape)])
    return tuple([size for dim, size in enumerate(shape) if dim not in gone])


def check_sizes(shape: Sequence[int]) -> None:
    """RuntimeError if a new tensor's shape has a negative size."""
    for size in shape:
        if size < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension {size}: {errors.sizes(shape)}")


# --- broadcasting ---


def broadcast_shapes(*shapes: Shape) -> Shape:
    """The shape that operands of `shapes` broadcast to, sizes matched from the last dimension.

    >>> broadcast_shapes((3, 1), (4,))
    (3, 4)
    """
    result = shapes[0]
    for shape in shapes[1:]:
        if shape != result:
            result = _broadcast(result, shape)
    return result


def _broadcast(a: Shape, b: Shape) -> Shape:
    ndim = max(len(a), len(b))
    wide_a = (1,) * (ndim - len(a)) + a
    wide_b = (1,) * (ndim - len(b)) + b
    for dim in range(ndim - 1, -1, -1):
        size_a, size_b = wide_a[dim], wide_b[dim]
        if size_a != size_b and size_a != 1 and size_b != 1:
            raise errors.size_mismatch(a, b, size_a, size_b, dim)
    return tuple([y if x == 1 else x for x, y in zip(wide_a, wide_b, strict=True)])


def broadcast_stride(shape: Shape, stride: Shape, target: Shape) -> Shape:
    """The strides that walk a tensor of `shape` as if it had the broadcast shape `target`: 0 where it repeats."""
    if shape == target:
        return stride
    leading = len(target) - len(shape)
    inner = [
        0 if size == 1 and wanted != 1 else step
        for size, step, wanted in zip(shape, stride, target[leading:], strict=True)
    ]
    return (0,) * leading + tuple(inner)


def public_broadcast_shapes(*shapes: int | Sequence[int]) -> Shape:
    """`torch.broadcast_shapes`, whose messages are not those of broadcasting operands; an int counts as `(int,)`."""
    given = [(shape,) if isinstance(shape, int) else tuple(shape) for shape in shapes]
    ndim = max([len(shape) for shape in given], default=0)
    result = [1] * ndim
    for position, shape in enumerate(given):
        for back in range(-1, -len(shape) - 1, -1):
            size = shape[back]
            if size == 1 or size == result[back]:
                continue
            if result[back] != 1:
                raise RuntimeError(
                    f"Attempting to broadcast a dimension of length {size} at {back}! Mismatching argument at index "
                    f"{position} had {shape}; but expected shape should be broadcastable to {result}"
                )
            if size < 0:
                raise ValueError("Attempting to broadcast a dimension with negative length!")
            result[back] = size
    return tuple(result)


def expand(shape: Shape, stride: Shape, target: Sequence[int], tensor_name: str = "torch.FloatTensor") -> View:
    """`tensor.expand(target)`: size-1 and new leading dimensions repeat with stride 0; -1 keeps a size."""
    if len(target) < len(shape):
        raise RuntimeError(
            f"expand({tensor_name}{{{errors.sizes(shape)}}}, size={errors.sizes(target)}): the number of sizes "
            f"provided ({len(target)}) must be greater or equal to the number of dimensions in the tensor "
            f"({len(shape)})"
        )
    leading = len(target) - len(shape)
    sizes, steps = list(target), [0] * len(target)
    for dim in range(len(target) - 1, -1, -1):
        wanted = target[dim]
        if dim >= leading:
            size, step = shape[dim - leading], stride[dim - leading]
        else:
            size, step = 1, sizes[dim + 1] * steps[dim + 1] if shape else 0
        if wanted == -1:
            if dim < leading:
                raise RuntimeError(
                    f"The expanded size of the tensor ({wanted}) isn't allowed in a leading, non-existing dimension "
                    f"{dim}"
                )
            wanted = size
        if size != wanted:
            if size != 1 or wanted < 0:
                raise RuntimeError(
                    f"The expanded size of the tensor ({wanted}) must match the existing size ({size}) at "
                    f"non-singleton dimension {dim}.  Target sizes: {errors.sizes(target)}.  "
                    f"Tensor sizes: {errors.sizes(shape)}"
                )
            step = 0
        sizes[dim], steps[dim] = wanted, step
    return tuple(sizes), tuple(steps), 0


# --- other shapes of the same elements ---


def contiguous_stride(shape: Sequence[int]) -> Shape:
    """Row-major strides. Sizes of 0 count as 1, so that an empty tensor has the strides PyTorch gives it.

    >>> contiguous_stride((2, 3, 4))
    (12, 4, 1)
    """
    steps = []
    step = 1
    for size in reversed(shape):
        steps.append(step)
        if size > 1:
            step *= size
    return tuple(reversed(steps))


def infer_size(target: Sequence[int], numel: int) -> Shape:
    """The shape asked of `view` and `reshape`, its one -1 filled in for a tensor of `numel` elements.

    >>> infer_size((2, -1), 6)
    (2, 3)
    """
    known = 1
    inferred = -1
    for dim, size in enumerate(target):
        if size == -1:
            if inferred >= 0:
                raise RuntimeError("only one dimension can be inferred")
            inferred = dim
        elif size < 0:
            raise RuntimeError(f"invalid shape dimension {size} at index {dim} of shape {errors.sizes(target)}")
        else:
            known *= size
    if inferred < 0:
        if known == numel:
            return tuple(target)
    elif known and numel % known == 0:
        return (*target[:inferred], numel // known, *target[inferred + 1 :])
    elif known == 0 and numel == 0:
        raise RuntimeError(
            f"cannot reshape tensor of 0 elements into shape {errors.sizes(target)} because the unspecified dimension "
            "size -1 can be any value and is ambiguous"
        )
    raise RuntimeError(f"shape '{errors.sizes(target)}' is invalid for input of size {numel}")


def view_stride(shape: Shape, stride: Shape, target: Shape) -> Shape | None:
    """Strides that show the same elements, in the same order, as `target` (of equal numel); None if only a copy can."""
    if 0 in shape:
        return stride if shape == target else contiguous_stride(target)
    steps = [0] * len(target)
    dim = len(target) - 1
    # Walk the tensor's dimensions backwards in chunks that are contiguous within themselves (every stride the next
    # one's stride times size), and hand each chunk's elements to as many of the target's dimensions as they fill.
    chunk_step = stride[-1] if stride else 1
    chunk_size = 1
    for old in range(len(shape) - 1, -1, -1):
        chunk_size *= shape[old]
        ends = old == 0 or (shape[old - 1] != 1 and stride[old - 1] != chunk_size * chunk_step)
        if not ends:
            continue
        filled = 1
        while dim >= 0 and (filled < chunk_size or target[dim] == 1):
            steps[dim] = filled * chunk_step
            filled *= target[dim]
            dim -= 1
        if filled != chunk_size:
            return None
        if old:
            chunk_step, chunk_size = stride[old - 1], 1
    while dim >= 0:  # a 0-d tensor: every target size is 1
        steps[dim] = 1
        dim -= 1
    return tuple(steps)


def view(shape: Shape, stride: Shape, target: Sequence[int]) -> View:
    """`tensor.view(target)`; -1 is inferred. RuntimeError if only a copy could have that shape."""
    sizes = infer_size(target, prod(shape))
    steps = view_stride(shape, stride, sizes)
    if steps is None:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
            "contiguous subspaces). Use .reshape(...) instead."
        )
    return sizes, steps, 0


def flattened_shape(shape: Shape, start_dim: int, end_dim: int) -> Shape:
    """The shape of `flatten(start_dim, end_dim)`, to be given to reshape. A 0-d tensor becomes `(1,)`."""
    ndim = len(shape)
    start, end = normalize_dim(start_dim, ndim), normalize_dim(end_dim, ndim)
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if ndim == 0:
        return (1,)
    return (*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :])


def unflattened_shape(shape: Shape, dim: int, sizes: Sequence[int]) -> Shape:
    """The shape of `unflatten(dim, sizes)`; one size may be -1."""
    if not sizes:
        raise RuntimeError("unflatten: sizes must be non-empty")
    dim = normalize_dim(dim, len(shape))
    if not shape:
        raise RuntimeError(
            f"unflatten got an unexpected error:\nDimension specified as {dim} but tensor has no dimensions"
        )
    try:
        inner = infer_size(sizes, shape[dim])
    except RuntimeError as error:
        if "invalid for input of size" not in str(error):
            raise RuntimeError(f"unflatten got an unexpected error:\n{error}") from None
        raise RuntimeError(
            f"unflatten: Provided sizes {errors.sizes(sizes)} don't multiply up to the size of dim {dim} "
            f"({shape[dim]}) in the input tensor"
        ) from None
    return (*shape[:dim], *inner, *shape[dim + 1 :])


# --- the order of dimensions ---


def permute(shape: Shape, stride: Shape, dims: Sequence[int]) -> View:
    """`tensor.permute(dims)`: dimension i of the view is dimension `dims[i]` of the tensor."""
    ndim = len(shape)
    if len(dims) != ndim:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired "
            f"ordering of dimensions i.e. input.dim() = {ndim} is not equal to len(dims) = {len(dims)}"
        )
    order = [normalize_dim(dim, ndim) for dim in dims]
    if len(set(order)) != ndim:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return tuple([shape[dim] for dim in order]), tuple([stride[dim] for dim in order]), 0


def transpose(shape: Shape, stride: Shape, dim0: int, dim1: int) -> View:
    """`tensor.transpose(dim0, dim1)`."""
    ndim = len(shape)
    dim0, dim1 = normalize_dim(dim0, ndim), normalize_dim(dim1, ndim)
    if dim0 == dim1:
        return shape, stride, 0
    sizes, steps = list(shape), list(stride)
    sizes[dim0], sizes[dim1] = sizes[dim1], sizes[dim0]
    steps[dim0], steps[dim1] = steps[dim1], steps[dim0]
    return tuple(sizes), tuple(steps), 0


def movedim_order(ndim: int, source: int | Sequence[int], destination: int | Sequence[int]) -> Shape:
    """The permutation that `movedim(source, destination)` is; the other dimensions keep their order."""
    sources = (source,) if isinstance(source, int) else tuple(source)
    destinations = (destination,) if isinstance(destination, int) else tuple(destination)
    if len(sources) != len(destinations):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({errors.sizes(sources)} dims) should contain the "
            f"same number of dims as destination ({errors.sizes(destinations)} dims)"
        )
    from_dims = [normalize_dim(dim, ndim) for dim in sources]
    to_dims = [normalize_dim(dim, ndim) for dim in destinations]
    for name, dims, given in (("source", from_dims, sources), ("destination", to_dims, destinations)):
        if len(set(dims)) != len(dims):
            raise RuntimeError(f"movedim: repeated dim in `{name}` ({errors.sizes(given)})")
    if ndim == 0:
        return ()
    placed = dict(zip(to_dims, from_dims, strict=True))
    others = iter([dim for dim in range(ndim) if dim not in from_dims])
    return tuple([placed[dim] if dim in placed else next(others) for dim in range(ndim)])


# --- dimensions of size 1 ---


def squeeze(shape: Shape, stride: Shape, dims: int | Iterable[int] | None = None) -> View:
    """`tensor.squeeze(dims)`: drop the dimensions of size 1 among `dims` (all of them for None)."""
    chosen = range(len(shape)) if dims is None else normalize_dims(dims, len(shape))
    kept = [dim for dim, size in enumerate(shape) if size != 1 or dim not in chosen]
    return tuple([shape[dim] for dim in kept]), tuple([stride[dim] for dim in kept]), 0


def unsqueeze(shape: Shape, stride: Shape, dim: int) -> View:
    """`tensor.unsqueeze(dim)`: a new dimension of size 1 before dimension `dim`."""
    ndim = len(shape)
    dim = normalize_dim(dim, ndim + 1)
    step = 1 if dim == ndim else shape[dim] * stride[dim]
    return (*shape[:dim], 1, *shape[dim:]), (*stride[:dim], step, *stride[dim:]), 0


# --- parts of a tensor ---


def select(shape: Shape, stride: Shape, dim: int, index: int) -> View:
    """`tensor.select(dim, index)`: the slice at `index` (negative counts from the end), without dimension `dim`."""
    ndim = len(shape)
    if ndim == 0:
        raise errors.zero_dim_tensor("select")
    dim = normalize_dim(dim, ndim)
    size = shape[dim]
    if not -size <= index < size:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {errors.sizes(shape)} at dimension {dim}"
        )
    if index < 0:
        index += size
    return shape[:dim] + shape[dim + 1 :], stride[:dim] + stride[dim + 1 :], index * stride[dim]


def slice_dim(shape: Shape, stride: Shape, dim: int, start: int | None, stop: int | None, step: int = 1) -> View:
    """Elements `start:stop:step` of dimension `dim`, bounds clamped as Python's slices are; `step` must be positive."""
    ndim = len(shape)
    if ndim == 0:
        raise errors.zero_dim_tensor("slice")
    dim = normalize_dim(dim, ndim)
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    first, last, step = slice(start, stop, step).indices(shape[dim])
    last = max(last, first)
    count = (last - first + step - 1) // step
    sizes = (*shape[:dim], count, *shape[dim + 1 :])
    return sizes, (*stride[:dim], stride[dim] * step, *stride[dim + 1 :]), first * stride[dim]


def narrow(shape: Shape, stride: Shape, dim: int, start: int, length: int) -> View:
    """`tensor.narrow(dim, start, length)`; unlike a slice it refuses what is out of range."""
    if not shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    dim = normalize_dim(dim, len(shape))
    size = shape[dim]
    if not -size <= start <= size:
        raise IndexError(f"start out of range (expected to be in range of [{-size}, {size}], but got {start})")
    if start < 0:
        start += size
    if start + length > size:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({size}).")
    sizes = (*shape[:dim], length, *shape[dim + 1 :])
    return sizes, stride, start * stride[dim]


def diagonal(shape: Shape, stride: Shape, offset: int = 0, dim1: int = 0, dim2: int = 1) -> View:
    """`tensor.diagonal(offset, dim1, dim2)`: the diagonal becomes the last dimension."""
    ndim = len(shape)
    first, second = normalize_dim(dim1, ndim), normalize_dim(dim2, ndim)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    rows, columns = shape[first], shape[second]
    length = max(min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns), 0)
    start = 0
    if length:
        start = offset * stride[second] if offset >= 0 else -offset * stride[first]
    kept = [dim for dim in range(ndim) if dim != first and dim != second]
    sizes = (*[shape[dim] for dim in kept], length)
    return sizes, (*[stride[dim] for dim in kept], stride[first] + stride[second]), start


def unfold(shape: Shape, stride: Shape, dim: int, size: int, step: int) -> View:
    """`tensor.unfold(dim, size, step)`: windows of `size` every `step` elements; the window is a new last dimension."""
    ndim = len(shape)
    dim = normalize_dim(dim, ndim)
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    length = shape[dim] if ndim else 1
    if size > length:
        raise RuntimeError(f"maximum size for tensor at dimension {dim} is {length} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    if ndim == 0:
        return (size,), (1,), 0
    sizes = (*shape[:dim], (length - size) // step + 1, *shape[dim + 1 :], size)
    return sizes, (*stride[:dim], stride[dim] * step, *stride[dim + 1 :], stride[dim]), 0


# --- reinterpretation of the storage ---


def as_strided(shape: Sequence[int], stride: Sequence[int], offset: int, itemsize: int, storage_nbytes: int) -> View:
    """`tensor.as_strided(shape, stride, offset)`, checked against the storage, in whose elements `offset` counts."""
    if len(shape) != len(stride):
        raise RuntimeError("mismatch in length of strides and shape")
    if any(step < 0 for step in stride):
        raise RuntimeError(
            f"as_strided: Negative strides are not supported at the moment, got strides: {errors.sizes(stride)}"
        )
    if any(size < 0 for size in shape):
        raise RuntimeError(
            f"Storage size calculation overflowed with sizes={errors.sizes(shape)} and strides={errors.sizes(stride)}"
        )
    if offset < 0:
        raise RuntimeError(f"Tensor: invalid storage offset {offset}")
    if 0 not in shape:
        last = offset + sum([(size - 1) * step for size, step in zip(shape, stride, strict=True)])
        needed = (last + 1) * itemsize
        if needed > storage_nbytes:
            raise RuntimeError(
                f"setStorage: sizes {errors.sizes(shape)}, strides {errors.sizes(stride)}, storage offset {offset}, "
                f"and itemsize {itemsize} requiring a storage size of {needed} are out of bounds for storage of size "
                f"{storage_nbytes}"
            )
    return tuple(shape), tuple(stride), offset


def view_dtype(shape: Shape, stride: Shape, offset: int, old: dtype, new: dtype) -> View:
    """`tensor.view(new)`: the same bytes as elements of another type. `offset` is the storage's, in and out.

    Types of one size keep the shape. Otherwise the last dimension, which must be dense, grows or shrinks.
    """
    if old.itemsize == new.itemsize:
        return shape, stride, offset
    what = f"to view {old.scalar_name} as {new.scalar_name} (different element sizes), but got"
    if not shape:
        raise RuntimeError(f"self.dim() cannot be 0 {what[: -len(', but got')]}")
    if old.itemsize > new.itemsize:
        if stride[-1] != 1:
            raise RuntimeError(f"self.stride(-1) must be 1 {what} {stride[-1]}")
        ratio = old.itemsize // new.itemsize
        return (*shape[:-1], shape[-1] * ratio), (*[step * ratio for step in stride[:-1]], 1), offset * ratio
    ratio = new.itemsize // old.itemsize
    must = f"must be divisible by {ratio} {what}"
    if shape[-1] % ratio:
        raise RuntimeError(f"self.size(-1) {must} {shape[-1]}")
    if offset % ratio:
        raise RuntimeError(f"self.storage_offset() {must} {offset}")
    if stride[-1] != 1:
        raise RuntimeError(f"self.stride(-1) must be 1 {what} {stride[-1]}")
    for dim, step in enumerate(stride[:-1]):
        if step % ratio:
            raise RuntimeError(f"self.stride({dim}) {must} {step}")
    return (*shape[:-1], shape[-1] // ratio), (*[step // ratio for step in stride[:-1]], 1), offset // ratio
