"""Products of matrices and vectors: mm, bmm, mv, dot, their sums with a third tensor, matmul and linear.

Each operator checks its operands as torch does, leaves the arithmetic to `facula.ops.product`, and has its gradient as
products again. Contractions over named dimensions (einsum, tensordot and their like) are in `contract`.
"""

from __future__ import annotations

from typing import Any

from facula.core import dtype as dt
from facula.core.errors import not_implemented
from facula.core.layout import Layout
from facula.core.shapes import broadcast_shapes
from facula.ops.define import composite, layout_of, operator
from facula.ops.dispatch import check_devices
from facula.ops.product import inner as inner_product
from facula.ops.product import multiply, single_inner, single_launch
from facula.ops.reduce import sum_to_shape
from facula.ops.served import Call, served
from facula.ops.view import expand, permute, reshape, squeeze, unsqueeze

_CPP_NAMES = {
    dt.float32: "float", dt.float64: "double", dt.float16: "c10::Half", dt.bfloat16: "c10::BFloat16",
    dt.int64: "long int", dt.int32: "int", dt.int16: "short int", dt.int8: "signed char", dt.uint8: "unsigned char",
    dt.bool: "bool",
    dt.complex64: "c10::complex<float>", dt.complex128: "c10::complex<double>",
}  # fmt: skip


# -- checks ----------------------------------------------------------------------------------------------------------
def check_same_kind(a: Layout, b: Layout, unimplemented: str) -> None:
    """Operands of mm and matmul: one dtype, which is not bool."""
    if a.dtype is not b.dtype:
        names = [_CPP_NAMES.get(x.dtype, x.dtype.scalar_name) for x in (a, b)]
        raise RuntimeError(f"expected m1 and m2 to have the same dtype, but got: {names[0]} != {names[1]}")
    _not_bool(a, unimplemented)


def _not_bool(a: Layout, unimplemented: str) -> None:
    if a.dtype.kind == "b":
        raise not_implemented(unimplemented, a.dtype)


def check_fitting(a: Layout, b_rows: int, b_columns: int, rows: int) -> None:
    if a.shape[-1] != b_rows:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({rows}x{a.shape[-1]} and {b_rows}x{b_columns})\n"
            f"  the columns of the first must be as many as the rows of the second; shapes: {list(a.shape)} and "
            f"{[b_rows, b_columns]}"
        )


def row_count(a: Layout) -> int:
    return a.numel // a.shape[-1] if a.numel else _count(a.shape[:-1])


def _count(sizes: tuple[int, ...]) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total


def _check_batches(a: Layout, b: Layout) -> None:
    for name, x in (("batch1", a), ("batch2", b)):
        if len(x.shape) != 3:
            raise RuntimeError(f"{name} must be a 3D tensor")
    _check_stacks(a, b)


def _check_stacks(a: Layout, b: Layout) -> None:
    """The last two dimensions multiply, those before are equal."""
    if a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
        raise RuntimeError(
            "Expected size for first two dimensions of batch2 tensor to be: "
            f"[{_count(a.shape[:-2])}, {a.shape[-1]}] but got: [{_count(b.shape[:-2])}, {b.shape[-2]}]."
        )
    if a.dtype is not b.dtype:
        raise RuntimeError(f"expected scalar type {a.dtype.scalar_name} but found {b.dtype.scalar_name}")
    _not_bool(a, "bmm")


def _coefficient(own: dt.dtype, value: Any) -> Any:
    """alpha or beta as the operands' type makes of it."""
    return int(value) if own.kind in "iub" and isinstance(value, float) else value


def check_expands(plus: Any, shape: tuple[int, ...]) -> None:
    """torch's error unless what is added broadcasts to the product's shape."""
    own = plus._layout.shape
    if len(own) > len(shape) or any(
        size not in (1, wanted) for size, wanted in zip(own[::-1], shape[::-1], strict=False)
    ):
        expand(plus, shape)


def _combine(plus: Any, a: Any, b: Any, shape: tuple[int, ...], beta: Any, alpha: Any) -> Any:
    """beta * plus + alpha * (a @ b); with beta 0 nothing of plus is read."""
    beta, alpha = _coefficient(a._layout.dtype, beta), _coefficient(a._layout.dtype, alpha)
    check_expands(plus, shape)
    if beta == 0:
        return multiply(a, b, alpha=alpha)
    return multiply(a, b, plus=plus if beta == 1 else plus * beta, alpha=alpha)


# -- products that gradients are made of -----------------------------------------------------------------------------
def adjoint(x: Any) -> Any:
    return x.conj() if x._layout.dtype.kind == "c" else x


def came_to(made: Any, a: Any, b: Any, transpose_a: bool, transpose_b: bool, plus: Any = None) -> Call | None:
    """For the fast path: the one launch of a product that has run, and the operator that names its node."""
    found = single_launch(a, b, transpose_a, transpose_b, plus)
    return None if found is None else Call(*found, made.operator)


def _product_operator(transpose_a: bool, transpose_b: bool) -> Any:
    @operator(f"product_{'nt'[transpose_a]}{'nt'[transpose_b]}", function=False)
    def made(a: Any, b: Any) -> Any:
        """op(a) @ op(b) of matrices or equal stacks of them."""
        return multiply(a, b, transpose_a, transpose_b)

    @made.joint_gradient("a", "b")
    def gradient(grad: Any, a: Any, b: Any, needs: Any) -> Any:
        left = right = None
        if needs[0]:
            other = adjoint(b)
            left = (
                product(other, grad, transpose_b, True) if transpose_a else product(grad, other, False, not transpose_b)
            )
        if needs[1]:
            other = adjoint(a)
            right = (
                product(grad, other, True, transpose_a) if transpose_b else product(other, grad, not transpose_a, False)
            )
        return left, right

    return served(made, 2, lambda a, b: came_to(made, a, b, transpose_a, transpose_b))


_PRODUCTS = {(ta, tb): _product_operator(ta, tb) for ta in (False, True) for tb in (False, True)}


def product(a: Any, b: Any, transpose_a: bool, transpose_b: bool) -> Any:
    return _PRODUCTS[transpose_a, transpose_b](a, b)


def flat(x: Any) -> Any:
    """All but the last dimension as one."""
    shape = x._layout.shape
    return x if len(shape) == 2 else reshape(x, (row_count(x._layout), shape[-1]))


def _rowwise_operator(transposed: bool) -> Any:
    @operator("rowwise_" + "nt"[transposed], function=False)
    def rowwise(input: Any, other: Any) -> Any:
        """(*, m) times a matrix (m, p), or (p, m) transposed, to (*, p)."""
        return multiply(input, other, False, transposed)

    rowwise.operator.backward_name = "UnsafeViewBackward0"

    @rowwise.joint_gradient("input", "other")
    def gradient(grad: Any, input: Any, other: Any, needs: Any) -> Any:
        left = ROWWISE[not transposed](grad, adjoint(other)) if needs[0] else None
        right = None
        if needs[1]:
            rows, columns = flat(adjoint(input)), flat(grad)
            right = product(columns, rows, True, False) if transposed else product(rows, columns, True, False)
        return left, right

    return rowwise, served(rowwise, 2, lambda input, other: came_to(rowwise, input, other, False, transposed))


(_rowwise_nn, _ROWWISE_N), (_, _ROWWISE_T) = _rowwise_operator(False), _rowwise_operator(True)
ROWWISE = {False: _ROWWISE_N, True: _ROWWISE_T}


# -- two operands ----------------------------------------------------------------------------------------------------
@operator(method=True, out=True)
def mm(input: Any, mat2: Any) -> Any:
    """The product of two matrices, (n, m) and (m, p) to (n, p). RuntimeError unless shapes and dtypes fit.

    >>> torch.mm(torch.ones(2, 3), torch.ones(3, 2))
    tensor([[3., 3.],
            [3., 3.]])
    """
    a, b = layout_of(input, "mm"), layout_of(mat2, "mm", 2, "mat2")
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise RuntimeError("self must be a matrix" if len(a.shape) != 2 else "mat2 must be a matrix")
    check_fitting(a, b.shape[0], b.shape[1], a.shape[0])
    check_same_kind(a, b, "addmm_impl_cpu_")
    if a.device is not b.device:
        check_devices("mm", (input, mat2))
    return multiply(input, mat2)


mm.gradient(
    input=lambda grad, mat2: product(grad, adjoint(mat2), False, True),
    mat2=lambda grad, input: product(adjoint(input), grad, True, False),
)
_mm, mm = mm, served(mm, 2, lambda input, mat2: came_to(_mm, input, mat2, False, False))


@operator(method=True, out=True)
def bmm(input: Any, mat2: Any) -> Any:
    """Products of the matrices of two batches, (b, n, m) and (b, m, p) to (b, n, p)."""
    a, b = layout_of(input, "bmm"), layout_of(mat2, "bmm", 2, "mat2")
    _check_batches(a, b)
    check_devices("bmm", (input, mat2))
    return multiply(input, mat2)


bmm.gradient(
    input=lambda grad, mat2: product(grad, adjoint(mat2), False, True),
    mat2=lambda grad, input: product(adjoint(input), grad, True, False),
)
_bmm, bmm = bmm, served(bmm, 2, lambda input, mat2: came_to(_bmm, input, mat2, False, False))


def _check_mv(mat: Layout, vec: Layout, name: str, size: int | None = None) -> None:
    if len(mat.shape) != 2 or len(vec.shape) != 1:
        raise RuntimeError(
            f"vector + matrix @ vector expected, got {1 if size is None else size}, {len(mat.shape)}, {len(vec.shape)}"
        )
    if mat.shape[1] != vec.shape[0]:
        given = mat.shape[0] if size is None else size
        raise RuntimeError(
            f"size mismatch, got input ({given}), mat ({mat.shape[0]}x{mat.shape[1]}), vec ({vec.shape[0]})"
        )
    if mat.dtype is not vec.dtype:
        raise RuntimeError(
            "addmv input tensors must have the same dtype, but got "
            f"{vec.dtype.scalar_name}, {mat.dtype.scalar_name}, and {vec.dtype.scalar_name}"
        )
    _not_bool(mat, "addmv_impl_cpu")


@operator(method=True, out=True)
def mv(input: Any, vec: Any) -> Any:
    """A matrix (n, m) times a vector (m) gives a vector (n)."""
    a, b = layout_of(input, "mv"), layout_of(vec, "mv", 2, "vec")
    if len(a.shape) == 2 and len(b.shape) == 1 and a.shape[1] != b.shape[0]:
        raise RuntimeError(
            f"size mismatch, got input ({a.shape[0]}), mat ({a.shape[0]}x{a.shape[1]}), vec ({b.shape[0]})"
        )
    _check_mv(a, b, "mv")
    check_devices("mv", (input, vec))
    return multiply(input, vec)


mv.gradient(
    input=lambda grad, vec: unsqueeze(grad, 1) * adjoint(vec),
    vec=lambda grad, input: mv(adjoint(input).t(), grad),
)
_mv, mv = mv, served(mv, 2, lambda input, vec: came_to(_mv, input, vec, False, False))


def _check_dot(a: Layout, b: Layout, name: str) -> None:
    if len(a.shape) != 1 or len(b.shape) != 1:
        raise RuntimeError(f"1D tensors expected, but got {len(a.shape)}D and {len(b.shape)}D tensors")
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"dot : expected both vectors to have same dtype, but found {a.dtype.scalar_name} and {b.dtype.scalar_name}"
        )
    if a.shape != b.shape:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{a.shape[0]}] and src [{b.shape[0]}] to have the same "
            f"number of elements, but got {a.shape[0]} and {b.shape[0]} elements respectively"
        )
    _not_bool(a, name)


@operator(method=True, out=True)
def dot(input: Any, tensor: Any) -> Any:
    """The sum of the products of two vectors' elements (neither is conjugated)."""
    a, b = layout_of(input, "dot"), layout_of(tensor, "dot", 2, "tensor")
    _check_dot(a, b, "dot")
    check_devices("dot", (input, tensor))
    return inner_product(input, tensor)


dot.gradient(input=lambda grad, tensor: grad * adjoint(tensor), tensor=lambda grad, input: grad * adjoint(input))


def _dot_came_to(input: Any, tensor: Any) -> Call | None:
    found = single_inner(input, tensor)
    return None if found is None else Call(*found, _dot.operator)


_dot, dot = dot, served(dot, 2, _dot_came_to)


@operator(method=True, out=True)
def vdot(input: Any, other: Any) -> Any:
    """The dot product of the conjugate of `input` with `other`."""
    a, b = layout_of(input, "vdot"), layout_of(other, "vdot", 2, "other")
    _check_dot(a, b, "vdot")
    check_devices("vdot", (input, other))
    return inner_product(adjoint(input), other)


vdot.gradient(input=lambda grad, other: adjoint(grad) * other, other=lambda grad, input: grad * input)


def _check_vector(x: Layout, name: str, argument: str) -> None:
    if len(x.shape) != 1:
        raise RuntimeError(f"{name}: Expected 1-D argument {argument}, but got {len(x.shape)}-D")


@composite(method=True, aliases=("ger",), out=True)
def outer(input: Any, vec2: Any) -> Any:
    """The matrix of all products of an element of `input` (n) with one of `vec2` (m): (n, m)."""
    _check_vector(layout_of(input, "outer"), "outer", "self")
    _check_vector(layout_of(vec2, "outer", 2, "vec2"), "outer", "vec2")
    return unsqueeze(input, 1) * vec2


# -- with a third operand --------------------------------------------------------------------------------------------
@operator(method=True, out=True)
def addmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * input + alpha * (mat1 @ mat2); `input` broadcasts to the product. With beta 0 its values are ignored."""
    plus, a, b = layout_of(input, "addmm"), layout_of(mat1, "addmm", 2, "mat1"), layout_of(mat2, "addmm", 3, "mat2")
    for name, x in (("mat1", a), ("mat2", b)):
        if len(x.shape) != 2:
            raise RuntimeError(f"{name} must be a matrix, got {len(x.shape)}-D tensor")
    check_fitting(a, b.shape[0], b.shape[1], a.shape[0])
    check_three(plus, a, b)
    check_devices("addmm", (input, mat1, mat2))
    return _combine(input, mat1, mat2, (a.shape[0], b.shape[1]), beta, alpha)


def check_three(plus: Layout, a: Layout, b: Layout) -> None:
    for name, x in (("self", plus), ("mat1", a)):
        if x.dtype is not b.dtype:
            raise RuntimeError(
                f"{name} and mat2 must have the same dtype, but got {x.dtype.scalar_name} and {b.dtype.scalar_name}"
            )
    _not_bool(a, "addmm_impl_cpu_")


def _scaled(x: Any, factor: Any) -> Any:
    if factor == 1:
        return x
    return x * (factor.conjugate() if isinstance(factor, complex) else factor)


_plus_gradient = lambda grad, input_layout, beta: _scaled(sum_to_shape(grad, input_layout.shape), beta)  # noqa: E731

addmm.gradient(
    input=_plus_gradient,
    mat1=lambda grad, mat2, alpha: _scaled(product(grad, adjoint(mat2), False, True), alpha),
    mat2=lambda grad, mat1, alpha: _scaled(product(adjoint(mat1), grad, True, False), alpha),
)


@operator(method=True, out=True)
def baddbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * input + alpha * bmm(batch1, batch2); `input` broadcasts to the product."""
    layout_of(input, "baddbmm")
    a, b = layout_of(batch1, "baddbmm", 2, "batch1"), layout_of(batch2, "baddbmm", 3, "batch2")
    if len(b.shape) == 3:
        check_expands(input, (*a.shape[:2], b.shape[2]))
    _check_batches(a, b)
    _check_input_dtype(input._layout, a)
    check_devices("baddbmm", (input, batch1, batch2))
    return _combine(input, batch1, batch2, (*a.shape[:2], b.shape[2]), beta, alpha)


def _check_input_dtype(plus: Layout, a: Layout) -> None:
    if plus.dtype is not a.dtype:
        raise RuntimeError(
            f"Input dtypes must be the same, got: input: {_CPP_NAMES.get(plus.dtype)}, "
            f"batch1: {_CPP_NAMES.get(a.dtype)}"
        )


baddbmm.gradient(
    input=_plus_gradient,
    batch1=lambda grad, batch2, alpha: _scaled(product(grad, adjoint(batch2), False, True), alpha),
    batch2=lambda grad, batch1, alpha: _scaled(product(adjoint(batch1), grad, True, False), alpha),
)


@composite(method=True, out=True)
def addbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * input + alpha * (the sum of the products of a batch): (b, n, m) and (b, m, p) to (n, p)."""
    layout_of(input, "addbmm")
    a, b = layout_of(batch1, "addbmm", 2, "batch1"), layout_of(batch2, "addbmm", 3, "batch2")
    if len(a.shape) > 1 and len(b.shape) == 3:
        check_expands(input, (a.shape[1], b.shape[2]))
    for name, x in (("batch1", a), ("batch2", b)):
        if len(x.shape) != 3:
            raise RuntimeError(f"{name} must be a 3D tensor")
    if a.shape[0] != b.shape[0]:
        raise RuntimeError(f"batch1 and batch2 must have same number of batches, got {a.shape[0]} and {b.shape[0]}")
    if a.shape[2] != b.shape[1]:
        raise RuntimeError(
            f"Incompatible matrix sizes for bmm ({a.shape[1]}x{a.shape[2]} and {b.shape[1]}x{b.shape[2]})"
        )
    batches, rows, inner = a.shape
    left = reshape(permute(batch1, 1, 0, 2), (rows, batches * inner))
    return addmm(input, left, reshape(batch2, (batches * inner, b.shape[2])), beta=beta, alpha=alpha)


@operator(method=True, out=True)
def addmv(input: Any, mat: Any, vec: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * input + alpha * (mat @ vec); `input` is a vector, or one number for all rows."""
    plus, a, b = layout_of(input, "addmv"), layout_of(mat, "addmv", 2, "mat"), layout_of(vec, "addmv", 3, "vec")
    if len(plus.shape) > 1 or len(a.shape) != 2 or len(b.shape) != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got {len(plus.shape)}, {len(a.shape)}, {len(b.shape)}")
    if a.shape[1] != b.shape[0] or plus.numel not in (1, a.shape[0]):
        raise RuntimeError(
            f"size mismatch, got input ({plus.numel}), mat ({a.shape[0]}x{a.shape[1]}), vec ({b.shape[0]})"
        )
    if not plus.dtype is a.dtype is b.dtype:
        names = ", ".join((plus.dtype.scalar_name, a.dtype.scalar_name, f"and {b.dtype.scalar_name}"))
        raise RuntimeError(f"addmv input tensors must have the same dtype, but got {names}")
    _not_bool(a, "addmv_impl_cpu")
    check_devices("addmv", (input, mat, vec))
    return _combine(input, mat, vec, (a.shape[0],), beta, alpha)


addmv.gradient(
    input=_plus_gradient,
    mat=lambda grad, vec, alpha: _scaled(unsqueeze(grad, 1) * adjoint(vec), alpha),
    vec=lambda grad, mat, alpha: _scaled(mv(adjoint(mat).t(), grad), alpha),
)


@composite(method=True, out=True)
def addr(input: Any, vec1: Any, vec2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * input + alpha * outer(vec1, vec2); `input` broadcasts to the outer product."""
    own, a, b = layout_of(input, "addr"), layout_of(vec1, "addr", 2, "vec1"), layout_of(vec2, "addr", 3, "vec2")
    _check_vector(a, "addr", "vec1")
    _check_vector(b, "addr", "vec2")
    for name, value in (("beta", beta), ("alpha", alpha)):
        if all(x.dtype.kind in "iu" for x in (own, a, b)) and isinstance(value, float):
            raise RuntimeError(f"For integral input tensors, argument {name} must not be a floating point number.")
    shape = (a.shape[0], b.shape[0])
    check_expands(input, shape)
    outer_product = _scaled(unsqueeze(vec1, 1) * vec2, alpha)
    if beta == 0:
        return outer_product
    return _scaled(input, beta) + outer_product


# -- any number of dimensions ----------------------------------------------------------------------------------------
@operator("stacks", function=False)
def _stacks(input: Any, other: Any) -> Any:
    """Products of equal stacks of matrices."""
    return multiply(input, other)


_stacks.operator.backward_name = "UnsafeViewBackward0"
_stacks.gradient(
    input=lambda grad, other: product(grad, adjoint(other), False, True),
    other=lambda grad, input: product(adjoint(input), grad, True, False),
)


@composite(method=True, out=True, namespaces=("torch", "torch.linalg"))
def matmul(input: Any, other: Any) -> Any:
    """The matrix product over the last two dimensions; the dimensions before them broadcast.

    Vectors: (n) @ (n) to (), (m, n) @ (n) to (m), (n) @ (n, p) to (p), also with batch dimensions. RuntimeError for 0-d
    operands, sizes that do not fit and unequal dtypes.

    >>> torch.matmul(torch.ones(5, 2, 3), torch.ones(3, 4)).shape
    torch.Size([5, 2, 4])
    """
    a, b = layout_of(input, "matmul"), layout_of(other, "matmul", 2, "other")
    dims = len(a.shape), len(b.shape)
    if dims == (2, 2):
        return mm(input, other)
    if not dims[0] or not dims[1]:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {dims[0]}D and {dims[1]}D")
    if dims == (1, 1):
        return dot(input, other)
    if dims == (2, 1):
        return mv(input, other)
    if dims == (1, 2):
        return squeeze(mm(unsqueeze(input, 0), other), 0)
    check_devices("matmul", (input, other))
    if dims[1] == 1:
        _check_tall_mv(a, b)
        return squeeze(ROWWISE[False](input, unsqueeze(other, 1)), -1)
    if dims[1] == 2:
        check_fitting(a, b.shape[0], b.shape[1], row_count(a))
        check_same_kind(a, b, "addmm_impl_cpu_")
        return ROWWISE[False](input, other)
    if dims[0] == 1:
        return squeeze(_broadcast_stacks(unsqueeze(input, 0), other), -2)
    return _broadcast_stacks(input, other)


def _check_tall_mv(a: Layout, b: Layout) -> None:
    if a.shape[-1] != b.shape[0]:
        rows = row_count(a)
        raise RuntimeError(f"size mismatch, got input ({rows}), mat ({rows}x{a.shape[-1]}), vec ({b.shape[0]})")
    check_same_kind(a, b, "addmv_impl_cpu")


def _broadcast_stacks(input: Any, other: Any) -> Any:
    a, b = input._layout.shape, other._layout.shape
    if a[:-2] != b[:-2]:
        lead = broadcast_shapes(a[:-2], b[:-2])
        input, other = expand(input, (*lead, *a[-2:])), expand(other, (*lead, *b[-2:]))
    _check_stacks(input._layout, other._layout)
    return bmm(input, other) if len(input._layout.shape) == 3 else _stacks(input, other)


def _matmul_came_to(input: Any, other: Any) -> Call | None:
    a, b = input._layout.shape, other._layout.shape
    if len(a) == len(b) == 1:
        return _dot_came_to(input, other)
    if len(a) == len(b) == 2:
        made = _mm
    elif len(a) == 2 and len(b) == 1:
        made = _mv
    elif len(a) > 2 and len(b) == 2:
        made = _rowwise_nn
    elif len(a) == len(b) > 2 and a[:-2] == b[:-2]:
        made = _bmm if len(a) == 3 else _stacks
    else:
        return None
    return came_to(made, input, other, False, False)


matmul = served(matmul, 2, _matmul_came_to)
