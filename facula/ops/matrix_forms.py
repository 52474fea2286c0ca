"""Making matrices and index tables of vectors: diagonals, triangles, blocks, products, powers."""

from __future__ import annotations

import itertools
from typing import Any

from facula.core import dtype as dt
from facula.core import shapes
from facula.core.promotion import promote_types
from facula.ops import copy as copies
from facula.ops import view as views
from facula.ops.define import FUNCTIONS, composite, layout_of
from facula.runtime.objects import TensorBase

torch = FUNCTIONS["torch"]


@composite(method=True)
def diag_embed(input: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """Matrices, zero but for a diagonal that holds the last dimension of input."""
    own = layout_of(input, "diag_embed").shape
    count = len(own) + 1
    first, second = shapes.normalize_dim(dim1, count), shapes.normalize_dim(dim2, count)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    side = own[-1] + abs(offset)
    rest = iter(own[:-1])
    shape = tuple([side if d in (first, second) else next(rest) for d in range(count)])
    whole = torch["zeros"](shape, dtype=input._layout.dtype, device=input._layout.device)
    copies.copy_(views.diagonal(whole, offset, first, second), input)
    return whole


@composite(method=True, out=True)
def diag(input: Any, diagonal: int = 0) -> Any:
    """A matrix with a vector on its diagonal, or the diagonal of a matrix."""
    dims = len(layout_of(input, "diag").shape)
    if dims not in (1, 2):
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {dims}D")
    return diag_embed(input, diagonal) if dims == 1 else copies.clone(views.diagonal(input, diagonal))


@composite(method=True)
def diagflat(input: Any, offset: int = 0) -> Any:
    """A matrix with the flattened tensor on its diagonal."""
    return diag_embed(views.reshape(input, (-1,)), offset)


def _triangle_indices(name: str, upper: bool) -> Any:
    def function(
        row: int,
        col: int,
        offset: int = 0,
        *,
        dtype: Any = dt.int64,
        device: Any = None,
        layout: Any = None,
        pin_memory: bool = False,
    ) -> Any:
        for what, size in (("row", row), ("col", col)):
            if size < 0:
                raise RuntimeError(f"{what} must be non-negative, got{size}")
        picked = torch["tril" if not upper else "triu"](
            torch["ones"]((row, col), dtype=dt.uint8, device=device), offset
        )
        return (
            copies.convert(copies.contiguous(views.t(torch["nonzero"](picked))), dtype or dt.int64)
            if dtype is not dt.int64
            else copies.contiguous(views.t(torch["nonzero"](picked)))
        )

    function.__name__ = name
    function.__doc__ = (
        f"Row and column numbers (2 x n) of the {'upper' if upper else 'lower'} triangle of a matrix, row by row."
    )
    return composite(name)(function)


tril_indices, triu_indices = _triangle_indices("tril_indices", False), _triangle_indices("triu_indices", True)


@composite()
def block_diag(*tensors: Any) -> Any:
    """A matrix with the given matrices along its diagonal; vectors are single rows."""
    blocks = []
    for i, t in enumerate(tensors):
        if not isinstance(t, TensorBase):
            raise TypeError(f"block_diag(): expected Tensor as element {i}, but got {type(t).__name__}")
        if len(t._layout.shape) > 2:
            raise RuntimeError(
                f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has {len(t._layout.shape)} dimensions"
            )
        blocks.append(torch["atleast_2d"](t))
    dtype = tensors[0]._layout.dtype if tensors else dt.get_default_dtype()
    for t in blocks:
        dtype = promote_types(dtype, t._layout.dtype)
    rows, columns = (sum(t._layout.shape[d] for t in blocks) for d in (0, 1))
    whole = torch["zeros"]((rows, columns), dtype=dtype)
    row = column = 0
    for t in blocks:
        height, width = t._layout.shape
        copies.copy_(views._narrow(views._narrow(whole, 0, row, height), 1, column, width), t)
        row, column = row + height, column + width
    return whole


@composite()
def cartesian_prod(*tensors: Any) -> Any:
    """Every combination of one element from each vector, one per row."""
    many = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tensors
    for t in many:
        if len(t._layout.shape) != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(t._layout.shape)}")
    if len(many) == 1:
        return many[0]
    grids = torch["meshgrid"](*many, indexing="ij")
    return torch["stack"]([views.reshape(g, (-1,)) for g in grids], 1)


@composite()
def combinations(input: Any, r: int = 2, with_replacement: bool = False) -> Any:
    """Every choice of r elements of a vector, in order, one per row."""
    if len(input._layout.shape) != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input._layout.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = list(choose(range(input._layout.numel), r))
    if not r:
        return torch["empty"]((0,), dtype=input._layout.dtype)
    places = torch["tensor"]([i for row in rows for i in row], dtype=dt.int64)
    return views.reshape(torch["index_select"](input, 0, places), (len(rows), r))


@composite()
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """The powers 0 to N - 1 of the elements, as columns, the highest first."""
    if len(x._layout.shape) != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    count = x._layout.numel if N is None else N
    if count < 0:
        raise RuntimeError("N must be non-negative.")
    powers = torch["pow"](views.unsqueeze(x, 1), torch["arange"](count))
    return powers if increasing else torch["flip"](powers, (1,))


@composite(method=True, out=True)
def cross(input: Any, other: Any, dim: int | None = None) -> Any:
    """The vector product along a dimension of size 3 (by default the first such)."""
    shape = shapes.broadcast_shapes(input._layout.shape, other._layout.shape)
    if dim is None:
        found = [d for d, s in enumerate(shape) if s == 3]
        if not found:
            raise RuntimeError("no dimension of size 3 in input")
        dim = found[0]
    dim = shapes.normalize_dim(dim, len(shape))
    if shape[dim] != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {input._layout.shape[dim]} and {other._layout.shape[dim]}"
        )
    a, b = (views.unbind(views._expand(t, shape), dim) for t in (input, other))
    parts = [a[(i + 1) % 3] * b[(i + 2) % 3] - a[(i + 2) % 3] * b[(i + 1) % 3] for i in range(3)]
    return torch["stack"](parts, dim)
