"""Matrix products below autograd: from two tensors of any layout to launches of the product kernels.

In: operands of one dtype whose shapes fit (the operators in `matmul` have checked them). Out: a new contiguous tensor.
What a pair of layouts needs (a kernel and its cut, copies, a conversion) is worked out once and kept as a recipe.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from facula.core import dtype as dt
from facula.core.layout import Layout, layout, register_cache
from facula.ops.copy import contiguous, convert, copy_
from facula.ops.dispatch import Launch
from facula.ops.view import expand, transpose
from facula.runtime.objects import new_tensor, wrap

_recipes: dict[Any, Callable[[Any, Any, Any], Any]] = register_cache({})
_inner: dict[Any, Launch] = register_cache({})
_exact: dict[Any, tuple[Launch, Layout, tuple[bool, bool]]] = register_cache({})


def multiply(
    a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False, plus: Any = None, alpha: float = 1
) -> Any:
    """alpha * op(a) @ op(b) + plus, where op transposes the last two dimensions if asked to.

    a: (*batch, m, k) or (k,); b: (*batch, k, n), (k, n) or (k,); batch dimensions of both are equal unless b has none.
    plus: anything that broadcasts to the result. One dtype throughout, and not bool.
    """
    key = (a._layout, b._layout, transpose_a, transpose_b, None if plus is None else plus._layout, alpha)
    recipe = _recipes.get(key)
    if recipe is None:
        recipe = _recipes[key] = _recipe(*key)
    return recipe(a, b, plus)


def single_launch(
    a: Any, b: Any, transpose_a: bool, transpose_b: bool, plus: Any = None
) -> tuple[Launch, Layout] | None:
    """The launch that a product with these operands has been, if it has been one alone; its result's layout."""
    recipe = _recipes.get((a._layout, b._layout, transpose_a, transpose_b, None if plus is None else plus._layout, 1))
    if type(recipe) is _Product and recipe.product is not None and recipe.pack is None and not recipe.copies:
        return recipe.product, recipe.out
    return None


def _recipe(
    a: Layout, b: Layout, transpose_a: bool, transpose_b: bool, plus: Layout | None, alpha: float
) -> Callable[[Any, Any, Any], Any]:
    dtype = a.dtype
    if dtype in (dt.float32, dt.float64):
        return _Product(a, b, transpose_a, transpose_b, plus, alpha)
    if dtype.kind == "f":

        def through_float(x: Any, y: Any, z: Any) -> Any:
            wide = [t if t is None else convert(t, dt.float32) for t in (x, y, z)]
            return convert(multiply(wide[0], wide[1], transpose_a, transpose_b, wide[2], alpha), dtype)

        return through_float

    def plain(x: Any, y: Any, z: Any) -> Any:
        x = transpose(x, -1, -2) if transpose_a else x
        y = transpose(y, -1, -2) if transpose_b else y
        result = _complex_product(x, y) if dtype.kind == "c" else _exact_product(x, y)
        result = result if alpha == 1 else result * alpha
        return result if z is None else result + z

    return plain


# -- geometry --------------------------------------------------------------------------------------------------------
class _Geometry:
    """op(a) and op(b) as one batch of matrices: sizes, strides, and the shape of the product."""

    def __init__(self, a: Layout, b: Layout, transpose_a: bool, transpose_b: bool) -> None:
        (*lead, m, k), (*steps_a, self.a_row, self.a_column) = _matrix_of(a, True, transpose_a)
        (*_, n), (*steps_b, self.b_row, self.b_column) = _matrix_of(b, False, transpose_b)
        self.lead, self.m, self.n, self.k = tuple(lead), m, n, k
        self.row_vector, self.column_vector = len(a.shape) == 1, len(b.shape) == 1
        self.out = (*lead, *(() if self.row_vector else (m,)), *(() if self.column_vector else (n,)))
        self.rows, self.batch, self.inner = m, 1, 0
        self.a_steps = self.b_steps = (0, 0)
        self.copies: tuple[int, ...] = ()
        self.folded = not steps_b
        if self.folded:
            self._fold(steps_a)
        else:
            self._step(steps_a, steps_b)

    def _fold(self, steps: list[int]) -> None:
        """One b for the whole batch: all rows of a are rows of one tall matrix."""
        self.rows = self.m * _count(self.lead)
        groups = _merge((*self.lead, self.m), (*steps, self.a_row))
        if len(groups) > 1:
            self.copies = (0,)
        elif groups:
            self.a_row = groups[0][1][0]

    def _step(self, steps_a: list[int], steps_b: list[int]) -> None:
        """The strides that step through the batch: inside a group, and from group to group."""
        self.batch = _count(self.lead)
        groups = _merge(self.lead, steps_a, steps_b)
        if len(groups) > 2:
            self.copies = (0, 1)
            return
        outer = groups[0][1] if len(groups) == 2 else (0, 0)
        self.inner, (a_step, b_step) = groups[-1] if groups else (0, (0, 0))
        self.a_steps, self.b_steps = (a_step, outer[0]), (b_step, outer[1])

    def plus(self, added: Layout) -> tuple[int, int] | None:
        """(step from row to row, from matrix to matrix) of what is added to the product; None if it must be copied."""
        missing = len(self.out) - len(added.shape)
        strides = [0] * missing
        for size, own, stride in zip(self.out[missing:], added.shape, added.stride, strict=True):
            strides.append(stride if own == size else 0)
        strides += [1] if self.column_vector else []
        if self.row_vector:
            strides.insert(len(strides) - 1, 0)
        if self.n > 1 and strides[-1] != 1:
            return None
        walked = (*self.lead, self.m) if self.folded else self.lead
        groups = _merge(walked, strides[: len(walked)])
        if len(groups) > 1:
            return None
        step = groups[0][1][0] if groups else 0
        return (step, 0) if self.folded else (strides[-2], step)


def _count(sizes: Any) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total


def _matrix_of(x: Layout, left: bool, transposed: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and strides of op(x); a vector is a row on the left and a column on the right."""
    shape, stride = x.shape, x.stride
    if len(shape) == 1:
        return ((1, *shape), (0, *stride)) if left else ((*shape, 1), (*stride, 1))
    if transposed:
        return (*shape[:-2], shape[-1], shape[-2]), (*stride[:-2], stride[-1], stride[-2])
    return shape, stride


def _merge(sizes: Any, *strides: Any) -> list[tuple[int, tuple[int, ...]]]:
    """Dimensions of one element dropped, neighbours merged that every operand steps through evenly: (size, strides)."""
    groups: list[tuple[int, tuple[int, ...]]] = []
    for size, *steps in zip(sizes, *strides, strict=True):
        if size == 1:
            continue
        if groups and all(outer == step * size for outer, step in zip(groups[-1][1], steps, strict=True)):
            groups[-1] = (groups[-1][0] * size, tuple(steps))
        else:
            groups.append((size, tuple(steps)))
    return groups


# -- floats ----------------------------------------------------------------------------------------------------------
class _Product:
    """The launches for one combination of float layouts."""

    __slots__ = ("copies", "out", "pack", "packs", "product", "transposed", "work")

    def __init__(
        self, a: Layout, b: Layout, transpose_a: bool, transpose_b: bool, plus: Layout | None, alpha: float
    ) -> None:
        from facula.kernel.types import f32, f64
        from facula.ops.kernels.gemm import Copy, Product, plan_product, words

        self.copies: set[int] = set()
        self.transposed = transpose_a, transpose_b
        T = f32 if a.dtype is dt.float32 else f64
        while True:
            at = _Geometry(a, b, transpose_a, transpose_b)
            self.out = layout(at.out, None, a.dtype, a.device)
            added = (0, 0) if plus is None else at.plus(plus)
            missing: tuple[int, ...] = (*at.copies, *((2,) if added is None else ()))
            plan = None
            if added is not None and not missing and self.out.numel:
                problem = Product(
                    at.rows, at.n, at.k, at.a_row, at.a_column, at.b_row, at.b_column, at.n, at.batch, at.a_steps[0],
                    at.b_steps[0], at.m * at.n, at.inner, at.a_steps[1], at.b_steps[1], plus is not None, added[0],
                    added[1], float(alpha),
                )  # fmt: skip
                found = plan_product(T, problem)
                if isinstance(found, Copy):
                    missing = (found.operand,)
                else:
                    plan = found
            if not missing:
                break
            self.copies.update(missing)
            if 0 in missing:
                a, transpose_a = _dense(a, transpose_a), False
            if 1 in missing:
                b, transpose_b = _dense(b, transpose_b), False
            plus = self.out if 2 in missing else plus
        self.product: Launch | None = None
        self.pack: Launch | None = None
        self.packs = 1
        if plan is not None:
            numbers = words(plan.product.numbers)
            tail = (ctypes.addressof(numbers),) if plus is not None else (ctypes.addressof(numbers), 0)
            self.product = Launch(plan.product.kernel, plan.product.count, plan.product.grain, tail, numbers)
            if plan.pack is not None:
                self.packs = 0 if plan.swapped else 1
                self.pack = Launch(plan.pack.kernel, plan.pack.count, plan.pack.grain, plan.pack.numbers)
                self.work = layout((plan.workspace // a.dtype.itemsize,), None, a.dtype, a.device)

    def __call__(self, a: Any, b: Any, plus: Any) -> Any:
        result = new_tensor(self.out)
        if self.product is None:
            return result
        if self.copies:
            a = self._copy(0, a) if 0 in self.copies else a
            b = self._copy(1, b) if 1 in self.copies else b
            if 2 in self.copies:
                plus = contiguous(expand(plus, self.out.shape))
        operands = [result, a, b] if plus is None else [result, a, b, plus]
        if self.pack is not None:
            work = new_tensor(self.work)
            self.pack((work, operands[1 + self.packs]))
            operands[1 + self.packs] = work
        self.product(operands)
        return result

    def _copy(self, operand: int, x: Any) -> Any:
        """op(x) as rows without gaps."""
        return contiguous(transpose(x, -1, -2) if self.transposed[operand] else x)


def _dense(x: Layout, transposed: bool) -> Layout:
    """The layout of op(x) when it has been copied."""
    shape = (*x.shape[:-2], x.shape[-1], x.shape[-2]) if transposed else x.shape
    return layout(shape, None, x.dtype, x.device)


def inner(a: Any, b: Any) -> Any:
    """The sum of products of two vectors of one dtype."""
    kind, dtype = a._layout.dtype.kind, a._layout.dtype
    if kind != "f" or dtype.itemsize < 4:
        if kind == "f":
            return convert(inner(convert(a, dt.float32), convert(b, dt.float32)), dtype)
        return multiply(a, b)
    launch = _inner_launch(a._layout)
    result = new_tensor(layout((), None, dtype, a._layout.device))
    launch((result, contiguous(a), contiguous(b)))
    return result


def _inner_launch(vector: Layout) -> Launch:
    launch = _inner.get(vector)
    if launch is None:
        from facula.kernel.types import f32, f64
        from facula.ops.kernels.gemm_dot import inner_kernel

        T = f32 if vector.dtype is dt.float32 else f64
        launch = _inner[vector] = Launch(inner_kernel(T), 1, 1, (vector.numel,))
    return launch


def single_inner(a: Any, b: Any) -> tuple[Launch, Layout] | None:
    """The same as `single_launch` for an inner product that has run."""
    own = a._layout
    if own.dtype not in (dt.float32, dt.float64) or not (own.contiguous and b._layout.contiguous):
        return None
    return _inner_launch(own), layout((), None, own.dtype, own.device)


# -- integers and complex numbers ------------------------------------------------------------------------------------
def _exact_product(a: Any, b: Any) -> Any:
    """The product of integer tensors."""
    key = (a._layout, b._layout)
    found = _exact.get(key)
    if found is None:
        found = _exact[key] = _exact_launch(*key)
    launch, out, copies = found
    result = new_tensor(out)
    launch((result, contiguous(a) if copies[0] else a, contiguous(b) if copies[1] else b))
    return result


def _exact_launch(a: Layout, b: Layout) -> tuple[Launch, Layout, tuple[bool, bool]]:
    from facula.kernel.types import scalar_types
    from facula.ops.kernels.gemm_exact import ROWS, exact_kernel

    at = _Geometry(a, b, False, False)
    copy_b = bool(at.copies) or at.inner not in (0, at.batch) or (at.b_column != 1 and at.n > 1)
    copies = bool(at.copies) or copy_b, copy_b
    at = _Geometry(a.dense() if copies[0] else a, b.dense() if copies[1] else b, False, False)
    numbers = (at.rows, at.n, at.k, at.a_row, at.a_column, at.b_row, at.a_steps[0], at.b_steps[0])
    out = layout(at.out, None, a.dtype, a.device)
    count = at.batch * -(-at.rows // ROWS) if out.numel else 0
    grain = max(1, (1 << 16) // max(1, ROWS * at.n * at.k))
    return Launch(exact_kernel(scalar_types[a.dtype.code]), count, grain, numbers), out, copies


def _complex_product(a: Any, b: Any) -> Any:
    """(a + bi)(c + di) by four real products, on strided views of the real and imaginary parts."""
    (a_real, a_imaginary), (b_real, b_imaginary) = _parts(a), _parts(b)
    real = multiply(a_imaginary, b_imaginary, alpha=-1, plus=multiply(a_real, b_real))
    imaginary = multiply(a_imaginary, b_real, plus=multiply(a_real, b_imaginary))
    result = new_tensor(layout(real._layout.shape, None, a._layout.dtype, a._layout.device))
    for target, part in zip(_parts(result), (real, imaginary), strict=True):
        copy_(target, part)
    return result


def _parts(z: Any) -> tuple[Any, Any]:
    """The real and the imaginary parts of a complex tensor, as views outside autograd."""
    own = z._layout
    part = layout(own.shape, tuple(2 * stride for stride in own.stride), own.dtype.to_real(), own.device)
    size = part.dtype.itemsize
    return tuple(wrap(z._storage, z._data + at * size, part) for at in (0, 1))  # type: ignore[return-value]
