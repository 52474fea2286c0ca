"""Type promotion: which element type an operation on several operands computes in. PyTorch's rules exactly.

Two questions are answered. `promote_types(a, b)` is the smallest type that both convert to, in PyTorch's lattice
bool < unsigned 8 bit, signed < floating point < complex. `result_dtype` asks it of whole operands, where a tensor with
dimensions outranks a 0-d tensor, which outranks a Python number: the lower ranks contribute their *category* (bool,
integer, floating point, complex) but not their width, so `float32_tensor * 2.5` stays float32.

Comes in: dtypes and two facts per operand. Goes out: a dtype. This module must never know tensors.

Source of the rules: https://pytorch.org/docs/stable/tensor_attributes.html#type-promotion-doc
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from facula.core import dtype as types
from facula.core.dtype import dtype

if TYPE_CHECKING:
    from collections.abc import Sequence

    Operand = tuple[dtype, bool, bool]  # element type, is 0-d, is a Python number

# Unsigned types wider than a byte have storage and conversion, but meet only floating-point types in arithmetic.
_WIDE_UNSIGNED = frozenset((types.uint16, types.uint32, types.uint64))
_FLOAT8 = frozenset(each for each in types.ALL_DTYPES if each.name.startswith("float8"))

_promoted: dict[tuple[dtype, dtype], dtype] = {}
_results: dict[tuple[Operand, Operand, dtype], dtype] = {}


def promote_types(type1: dtype, type2: dtype) -> dtype:
    """The type of an operation between tensors of `type1` and `type2`, both with dimensions.

    RuntimeError where PyTorch has no answer: float8 types, and uint16/32/64 with anything but floating point.

    >>> promote_types(types.int32, types.float16)
    torch.float16
    """
    found = _promoted.get((type1, type2))
    if found is None:
        found = _promoted[type1, type2] = _promote(type1, type2)
    return found


def _promote(a: dtype, b: dtype) -> dtype:
    if a is b:
        return a
    if a in _FLOAT8 or b in _FLOAT8:
        raise _unsupported("Float8 Types", a, b)
    if a in _WIDE_UNSIGNED or b in _WIDE_UNSIGNED:
        if a.is_floating_point or b.is_floating_point:
            return a if a.is_floating_point else b
        raise _unsupported("uint16, uint32, uint64 types", a, b)
    if a.is_complex or b.is_complex:
        return promote_types(_part(a), _part(b)).to_complex() if _both_inexact(a, b) else (a if a.is_complex else b)
    if a.is_floating_point or b.is_floating_point:
        return _wider_float(a, b) if _both_inexact(a, b) else (a if a.is_floating_point else b)
    if types.bool in (a, b):
        return b if a is types.bool else a
    if {a, b} == {types.uint8, types.int8}:
        return types.int16
    # uint8 fits in every signed type from int16 on, so that the wider of two integers holds both.
    return max(a, b, key=lambda each: each.itemsize)


def _unsupported(which: str, a: dtype, b: dtype) -> RuntimeError:
    return RuntimeError(
        f"Promotion for {which} is not supported, attempted to promote {a.scalar_name} and {b.scalar_name}"
    )


def _both_inexact(a: dtype, b: dtype) -> bool:
    return a.kind in "fc" and b.kind in "fc"


def _part(a: dtype) -> dtype:
    return a.to_real() if a.is_complex else a


def _wider_float(a: dtype, b: dtype) -> dtype:
    if a.itemsize == b.itemsize:  # float16 and bfloat16: neither holds the other
        return types.float32
    return a if a.itemsize > b.itemsize else b


def result_dtype(operands: Sequence[Operand]) -> dtype:
    """The type that an operation on `operands` computes in.

    Each operand is `(dtype, is_zero_dim, is_python_number)`; of a Python number only the kind of its dtype counts
    (see `number_dtype`), since floats and complex numbers take the current default type.

    >>> result_dtype([(types.float32, False, False), (types.float64, True, False)])
    torch.float32
    """
    if len(operands) == 2:
        key = (operands[0], operands[1], types.get_default_dtype())
        found = _results.get(key)
        if found is None:
            found = _results[key] = _result(operands)
        return found
    return _result(operands)


def _result(operands: Sequence[Operand]) -> dtype:
    dimensioned: dtype | None = None
    zero_dim: dtype | None = None
    number: dtype | None = None
    for of, is_zero_dim, is_python_number in operands:
        if is_python_number:
            number = _promote_known(number, _as_default(of))
        elif is_zero_dim:
            zero_dim = _promote_known(zero_dim, of)
        else:
            dimensioned = _promote_known(dimensioned, of)
    result = _outrank(dimensioned, _outrank(zero_dim, number))
    if result is None:
        raise ValueError("result_dtype() needs at least one operand")
    return result


def _promote_known(a: dtype | None, b: dtype | None) -> dtype | None:
    if a is None or b is None:
        return b if a is None else a
    return promote_types(a, b)


def _as_default(number: dtype) -> dtype:
    if number.is_complex:
        return types.get_default_dtype().to_complex()
    return types.get_default_dtype() if number.is_floating_point else number


def _outrank(higher: dtype | None, lower: dtype | None) -> dtype | None:
    """Combine two ranks: the higher keeps its width unless the lower is of a higher category."""
    if higher is None or lower is None:
        return lower if higher is None else higher
    if higher.is_complex:
        return higher
    if higher.is_floating_point:
        return higher.to_complex() if lower.is_complex else higher
    if lower.is_complex:  # not by promote_types: it refuses the wide unsigned types, this does not
        return lower
    if higher is types.bool or lower.kind in "fc":
        return promote_types(higher, lower)
    return higher


def number_dtype(value: complex) -> dtype:
    """The type a Python number stands for: bool, int64, the default dtype, or its complex partner.

    >>> number_dtype(3)
    torch.int64
    """
    if isinstance(value, bool):
        return types.bool
    if isinstance(value, int):
        return types.int64
    if isinstance(value, float):
        return types.get_default_dtype()
    return types.get_default_dtype().to_complex()


def floating_result(of: dtype) -> dtype:
    """The type of functions such as `sin` and true division: integers and bool compute in the default dtype."""
    return of if of.kind in "fc" else types.get_default_dtype()


def accumulating_result(of: dtype) -> dtype:
    """The type of `sum`, `prod` and `cumsum` without `dtype=`: integers and bool widen to int64."""
    return of if of.kind in "fc" else types.int64


def can_cast(from_: dtype, to: dtype) -> bool:
    """Whether a result of type `from_` may be written into a tensor of type `to`: its category must not fall.

    >>> can_cast(types.float64, types.float32), can_cast(types.float32, types.int64)
    (True, False)
    """
    if from_.is_complex and not to.is_complex:
        return False
    if from_.is_floating_point and to.kind in "iub":
        return False
    return from_ is types.bool or to is not types.bool
