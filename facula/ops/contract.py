"""Contractions over named dimensions: einsum, tensordot, inner, kron, and chains of matrix products.

All are composed of views, sums, elementwise products and the operators of `matmul`, which bring the gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from facula.core.layout import Layout
from facula.ops.define import composite, layout_of
from facula.ops.matmul import dot, matmul, mm
from facula.ops.reduce import sum as sum_of
from facula.ops.view import diagonal, movedim, permute, reshape, squeeze, unsqueeze
from facula.runtime.objects import TensorBase

Label = str  # a letter, or "...0", "...1" for the dimensions of the ellipsis counted from the last


# -- einsum: reading the equation ------------------------------------------------------------------------------------
def _letters(term: str, place: str, first: int, equation: str) -> list[str]:
    """The subscripts of one term, "..." for its ellipsis. `first`: where the term begins in the equation."""
    found: list[str] = []
    i = 0
    while i < len(term):
        letter = term[i]
        if letter == ".":
            if "..." in found:
                raise RuntimeError(f"einsum(): found '.' for {place} for which an ellipsis was already found")
            if term[i : i + 3] != "...":
                raise RuntimeError(f"einsum(): found '.' for {place} that is not part of any ellipsis")
            found.append("...")
            i += 3
            continue
        if letter != " ":
            if not (letter.isascii() and letter.isalpha()):
                raise RuntimeError(
                    f"einsum(): invalid subscript given at index {first + i} in the equation string, "
                    "subscripts must be in [a-zA-Z]"
                )
            found.append(letter)
        i += 1
    return found


def _parse(equation: str, count: int) -> tuple[list[list[str]], list[str] | None]:
    """The subscripts of every operand, and of the result (None: not given)."""
    arrow = equation.find("->")
    left = equation if arrow < 0 else equation[:arrow]
    terms = left.split(",")
    inputs, first = [], 0
    for number, term in enumerate(terms):
        inputs.append(_letters(term, f"operand {number}", first, equation))
        first += len(term) + 1
    if len(terms) > count:
        raise RuntimeError("einsum(): fewer operands were provided than specified in the equation")
    if len(terms) < count:
        raise RuntimeError("einsum(): more operands were provided than specified in the equation")
    return inputs, None if arrow < 0 else _letters(equation[arrow + 2 :], "the output", arrow + 2, equation)


def _spread(subscripts: list[str], dims: int, number: int) -> list[Label]:
    """The subscripts of an operand with its ellipsis spelled out, one label for each dimension."""
    named = len(subscripts) - ("..." in subscripts)
    if named != dims and ("..." not in subscripts or named > dims):
        what = "does not match" if "..." not in subscripts else "is more than"
        tail = " and no ellipsis was given" if "..." not in subscripts else ""
        raise RuntimeError(
            f"einsum(): the number of subscripts in the equation ({named}) {what} the "
            f"number of dimensions ({dims}) for operand {number}{tail}"
        )
    labels: list[Label] = []
    for letter in subscripts:
        labels += [f"...{i}" for i in range(dims - named - 1, -1, -1)] if letter == "..." else [letter]
    return labels


def _result_labels(inputs: list[list[Label]], output: list[str] | None) -> list[Label]:
    """The labels of the result in order: those asked for, or the ellipsis and every letter that occurs once."""
    hidden = max((sum(len(x) > 1 for x in labels) for labels in inputs), default=0)
    ellipsis = [f"...{i}" for i in range(hidden - 1, -1, -1)]
    every = [label for labels in inputs for label in labels]
    if output is None:
        return ellipsis + sorted(x for x in set(every) if len(x) == 1 and every.count(x) == 1)
    labels: list[Label] = []
    for letter in output:
        if letter == "...":
            labels += ellipsis
        elif letter in labels:
            raise RuntimeError(f"einsum(): output subscript {letter} appears more than once in the output")
        elif letter not in every:
            raise RuntimeError(
                f"einsum(): output subscript {letter} does not appear in the equation for any input operand"
            )
        else:
            labels.append(letter)
    return labels


# -- einsum: computing -----------------------------------------------------------------------------------------------
class _Operand:
    """A tensor whose dimensions have labels, each once."""

    __slots__ = ("labels", "tensor")

    def __init__(self, tensor: Any, labels: list[Label]) -> None:
        self.tensor, self.labels = tensor, labels

    def ordered(self, labels: Sequence[Label]) -> Any:
        """The tensor with its dimensions in this order (those that it lacks left out)."""
        order = [self.labels.index(x) for x in labels if x in self.labels]
        return self.tensor if order == list(range(len(order))) else permute(self.tensor, order)

    def summed(self, labels: set[Label]) -> _Operand:
        """Summed over some of its labels."""
        dims = [i for i, x in enumerate(self.labels) if x in labels]
        if not dims:
            return self
        return _Operand(sum_of(self.tensor, dims), [x for x in self.labels if x not in labels])


def _diagonals(tensor: Any, labels: list[Label], number: int) -> _Operand:
    """Repeated labels of one operand made one dimension."""
    labels = list(labels)
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            shape = tensor._layout.shape
            if shape[i] != shape[j]:
                raise RuntimeError(
                    f"einsum(): subscript {label} is repeated for operand {number} but the sizes don't match, "
                    f"{shape[j]} != {shape[i]}"
                )
            tensor = movedim(diagonal(tensor, 0, i, j), -1, i)
            del labels[j]
    return _Operand(tensor, labels)


def _sizes(operands: list[_Operand]) -> dict[Label, int]:
    """The size of every label; a size of 1 gives way to another."""
    sizes: dict[Label, int] = {}
    for number, operand in enumerate(operands):
        for label, size in zip(operand.labels, operand.tensor._layout.shape, strict=True):
            known = sizes.get(label, 1)
            if size not in (1, known) and known != 1:
                name = "..." if len(label) > 1 else label
                raise RuntimeError(
                    f"einsum(): subscript {name} has size {size} for operand {number} which does not broadcast "
                    f"with previously seen size {known}"
                )
            sizes[label] = size if known == 1 else known
    return sizes


def _without_broadcast(operand: _Operand, sizes: dict[Label, int]) -> _Operand:
    """Dimensions of size 1 dropped where another operand has more."""
    dims = [i for i, x in enumerate(operand.labels) if operand.tensor._layout.shape[i] == 1 and sizes[x] != 1]
    if not dims:
        return operand
    return _Operand(squeeze(operand.tensor, tuple(dims)), [x for i, x in enumerate(operand.labels) if i not in dims])


def _pair(a: _Operand, b: _Operand, kept: set[Label], sizes: dict[Label, int]) -> _Operand:
    """The product of two operands, summed over the labels that nothing later needs."""
    a, b = a.summed(set(a.labels) - set(b.labels) - kept), b.summed(set(b.labels) - set(a.labels) - kept)
    both = [x for x in a.labels if x in b.labels]
    batch, summed = [x for x in both if x in kept], [x for x in both if x not in kept]
    left, right = [x for x in a.labels if x not in both], [x for x in b.labels if x not in both]
    result = [*batch, *left, *right]
    if not summed:
        first, second = a.ordered(result), b.ordered(result)
        for i, label in enumerate(result):
            if label not in a.labels:
                first = unsqueeze(first, i)
            if label not in b.labels:
                second = unsqueeze(second, i)
        return _Operand(first * second, result)
    lead = [_count(batch, sizes)] if batch else []
    rows, inner, columns = (_count(x, sizes) for x in (left, summed, right))
    first = reshape(a.ordered([*batch, *left, *summed]), (*lead, rows, inner))
    second = reshape(b.ordered([*batch, *summed, *right]), (*lead, inner, columns))
    return _Operand(reshape(matmul(first, second), tuple(sizes[x] for x in result)), result)


def _count(labels: list[Label], sizes: dict[Label, int]) -> int:
    total = 1
    for label in labels:
        total *= sizes[label]
    return total


def _from_sublists(args: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """The equation that einsum(a, [0, 1], b, [1, 2], [0, 2]) stands for, and its operands."""

    def letters(sublist: Any) -> str:
        return "".join("..." if number is Ellipsis else _letter(number) for number in sublist)

    pairs = len(args) // 2
    equation = ",".join(letters(args[2 * i + 1]) for i in range(pairs))
    if len(args) % 2:
        equation += "->" + letters(args[-1])
    return equation, tuple(args[2 * i] for i in range(pairs))


def _letter(number: Any) -> str:
    if not isinstance(number, int) or not 0 <= number < 52:
        raise ValueError("einsum(): subscript in subscript list is not within the valid range [0, 52)")
    return chr(ord("A") + number) if number < 26 else chr(ord("a") + number - 26)


@composite()
def einsum(*args: Any) -> Any:
    """Products of the operands' elements, summed over every subscript that the result does not have.

    einsum("ij,jk->ik", a, b), or einsum(a, [0, 1], b, [1, 2], [0, 2]). A subscript repeated in one operand takes its
    diagonal; "..." stands for dimensions that broadcast; without "->" the result has, in alphabetical order, the
    subscripts that occur once. Operands are contracted from left to right. RuntimeError for equations that do not fit.

    >>> torch.einsum("ij,ij->i", torch.ones(2, 3), torch.ones(2, 3))
    tensor([3., 3.])
    """
    if len(args) < 2:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, or at least one "
            "operand and its subscripts list"
        )
    if isinstance(args[0], TensorBase):
        equation, tensors = _from_sublists(args)
    else:
        equation, tensors = args[0], args[1:]
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    for i, tensor in enumerate(tensors):
        if not isinstance(tensor, TensorBase):
            raise TypeError(f"expected Tensor as element {i} in argument 1, but got {type(tensor).__name__}")
    terms, output = _parse(equation, len(tensors))
    labels = [_spread(term, len(x._layout.shape), i) for i, (term, x) in enumerate(zip(terms, tensors, strict=True))]
    result = _result_labels(labels, output)
    operands = [_diagonals(x, names, i) for i, (x, names) in enumerate(zip(tensors, labels, strict=True))]
    sizes = _sizes(operands)
    operands = [_without_broadcast(operand, sizes) for operand in operands]
    total = operands[0]
    for i in range(1, len(operands)):
        later = {x for operand in operands[i + 1 :] for x in operand.labels}
        total = _pair(total, operands[i], later | set(result), sizes)
    return total.summed(set(total.labels) - set(result)).ordered(result)


# -- tensordot and its like ------------------------------------------------------------------------------------------
def _contracted_dims(dims: Any, a: Layout, b: Layout) -> tuple[list[int], list[int]]:
    if isinstance(dims, TensorBase):
        dims = dims.tolist()
    if isinstance(dims, (list, tuple)):
        if len(dims) != 2:
            raise RuntimeError(f"tensordot expects dims to be int or Tuple[List[int], List[int]] but got dims={dims}")
        return tuple([x] if isinstance(x, int) else list(x) for x in dims)  # type: ignore[return-value]
    if dims < 0:
        raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
    if dims > min(len(a.shape), len(b.shape)):
        raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
    return list(range(-dims, 0)), list(range(dims))


@composite(out=True)
def tensordot(a: Any, b: Any, dims: Any = 2) -> Any:
    """The sum of products over pairs of dimensions: the last `dims` of `a` with the first of `b`, or two lists."""
    own_a, own_b = layout_of(a, "tensordot", 1, "a"), layout_of(b, "tensordot", 2, "b")
    dims_a, dims_b = _contracted_dims(dims, own_a, own_b)
    if len(dims_a) != len(dims_b):
        raise RuntimeError("both dimension lists should have same length")
    summed_a, summed_b = [], []
    for i, j in zip(dims_a, dims_b, strict=True):
        size_a, size_b = own_a.shape[i], own_b.shape[j]
        if size_a != size_b and 1 not in (size_a, size_b):
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {size_a} in dim {i} and second "
                f"has size {size_b} in dim {j}"
            )
        if size_a == 1 and size_b != 1:
            b = sum_of(b, [j], keepdim=True)
        if size_b == 1 and size_a != 1:
            a = sum_of(a, [i], keepdim=True)
        summed_a.append(i % len(own_a.shape))
        summed_b.append(j % len(own_b.shape))
    shape_a, shape_b = a._layout.shape, b._layout.shape
    free_a = [i for i in range(len(shape_a)) if i not in summed_a]
    free_b = [i for i in range(len(shape_b)) if i not in summed_b]
    rows, inner, columns = _product(shape_a, free_a), _product(shape_a, summed_a), _product(shape_b, free_b)
    left = reshape(permute(a, [*free_a, *summed_a]), (rows, inner))
    right = reshape(permute(b, [*summed_b, *free_b]), (inner, columns))
    return reshape(mm(left, right), (*(shape_a[i] for i in free_a), *(shape_b[i] for i in free_b)))


def _product(shape: Sequence[int], dims: Sequence[int]) -> int:
    total = 1
    for dim in dims:
        total *= shape[dim]
    return total


@composite(method=True, out=True)
def inner(input: Any, other: Any) -> Any:
    """Sums of products over the last dimension of both; with a 0-d operand the product."""
    a, b = layout_of(input, "inner"), layout_of(other, "inner", 2, "other")
    if not a.shape or not b.shape:
        return input * other
    if a.shape[-1] != b.shape[-1]:
        raise RuntimeError(
            "inner() the last dimension must match on both input tensors but got shapes "
            f"{list(a.shape)} and {list(b.shape)}"
        )
    if len(a.shape) == 1 == len(b.shape):
        return dot(input, other)
    return tensordot(input, other, ([-1], [-1]))


@composite(method=True, out=True)
def kron(input: Any, other: Any) -> Any:
    """The Kronecker product: every element of `input` times the whole of `other`, side by side."""
    a, b = layout_of(input, "kron").shape, layout_of(other, "kron", 2, "other").shape
    dims = max(len(a), len(b))
    a, b = (1,) * (dims - len(a)) + a, (1,) * (dims - len(b)) + b
    left = reshape(input, tuple(size for x in a for size in (x, 1)))
    right = reshape(other, tuple(size for x in b for size in (1, x)))
    return reshape(left * right, tuple(x * y for x, y in zip(a, b, strict=True)))


@composite(namespaces=("torch.linalg",), out=True)
def vecdot(x: Any, y: Any, *, dim: int = -1) -> Any:
    """The sum of conj(x) * y along `dim`; the other dimensions broadcast."""
    conjugate = x.conj() if layout_of(x, "vecdot").dtype.kind == "c" else x
    return sum_of(conjugate * y, [dim])


# -- chains ----------------------------------------------------------------------------------------------------------
def _order(sizes: list[int]) -> list[list[int]]:
    """For each piece of a chain of matrices (sizes[i], sizes[i + 1]), where its last product divides it so that the
    multiplications are fewest (Cormen et al., Introduction to Algorithms, matrix-chain order)."""
    count = len(sizes) - 1
    cost = [[0] * count for _ in range(count)]
    split = [[0] * count for _ in range(count)]
    for length in range(2, count + 1):
        for i in range(count - length + 1):
            j = i + length - 1
            options = [(cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)]
            cost[i][j], split[i][j] = min(options)
    return split


@composite(namespaces=("torch.linalg",), out=True)
def multi_dot(tensors: Sequence[Any]) -> Any:
    """The product of two or more matrices, in the order that takes the fewest multiplications.

    The first and the last may be vectors: a row and a column. RuntimeError where neighbours do not fit.
    """
    count = len(tensors)
    if count < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {count}")
    chain = list(tensors)
    shape: list[int] = []
    for end, dim in ((0, 0), (count - 1, 1)):
        own = layout_of(chain[end], "multi_dot", 1, "tensors").shape
        if len(own) == 1:
            chain[end] = unsqueeze(chain[end], dim)
        elif len(own) != 2:
            name = "the first tensor" if end == 0 else "the last tensor"
            raise RuntimeError(f"multi_dot(): {name} must be 1D or 2D but got {len(own)}D")
        else:
            shape.append(own[dim])
    _check_chain(chain)
    split = _order([chain[0]._layout.shape[0], *(x._layout.shape[1] for x in chain)])

    def product(i: int, j: int) -> Any:
        return chain[i] if i == j else mm(product(i, split[i][j]), product(split[i][j] + 1, j))

    return reshape(product(0, count - 1), tuple(shape))


def _check_chain(chain: list[Any]) -> None:
    shapes = [x._layout.shape for x in chain]
    for i, own in enumerate(shapes[1:-1], 1):
        if len(own) != 2:
            raise RuntimeError(f"multi_dot(): tensor {i} must be 2D but got {len(own)}D")
    for i in range(len(shapes) - 1):
        if shapes[i][1] != shapes[i + 1][0]:
            raise RuntimeError(
                f"multi_dot(): tensors {i} and {i + 1} with shapes {list(shapes[i])} and "
                f"{list(shapes[i + 1])} cannot be multiplied"
            )


@composite()
def chain_matmul(*matrices: Any, out: Any = None) -> Any:
    """The product of matrices in the cheapest order; `linalg.multi_dot` is its successor."""
    if len(matrices) == 1 and isinstance(matrices[0], (list, tuple)):
        matrices = tuple(matrices[0])
    if not matrices:
        raise RuntimeError("chain_matmul(): Expected one or more matrices")
    return matrices[0] if len(matrices) == 1 else multi_dot(matrices, out=out)
