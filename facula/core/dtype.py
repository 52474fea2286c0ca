"""Element types: what one element of a tensor is.

A `dtype` is one of a fixed set of immutable singletons, so identity compares them and dictionaries key on them.
Besides PyTorch's public attributes each carries the short `code` that kernels are named by, its NumPy name and its
`kind`; the rules that combine types live in `facula.core.promotion`.

Comes in: nothing. Goes out: the singletons, `finfo`/`iinfo`, and the default floating-point type. This module must
never know tensors, kernels or NumPy (it names NumPy's types by string only).
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn


class dtype:
    """The type of a tensor's elements, such as `torch.float32`.

    Attributes:
        name: `'float32'`, as it stands after `torch.`.
        code: a short name used in kernel names: `'f32'`, `'i64'`, `'b8'`, `'bf16'`, `'c64'`.
        kind: `'b'` bool, `'i'` signed integer, `'u'` unsigned integer, `'f'` floating point, `'c'` complex.
        itemsize: bytes of one element.
        is_floating_point, is_complex, is_signed: as in PyTorch (complex is not floating point; bool is unsigned).
        numpy_name: the NumPy type with the same bits, or None where NumPy has none (bfloat16, complex32, float8).
        scalar_name: PyTorch's name of the C++ scalar type (`'Float'`), which its error messages use.
        index: the position in `ALL_DTYPES`; a small dense integer for table lookups.

    The instances are made here once; `dtype()` raises TypeError.

    >>> float32
    torch.float32
    >>> complex64.to_real() is float32
    True
    """

    __slots__ = (
        "code",
        "index",
        "is_complex",
        "is_floating_point",
        "is_signed",
        "itemsize",
        "kind",
        "name",
        "numpy_name",
        "scalar_name",
    )

    name: str
    code: str
    kind: str
    itemsize: builtins.int
    is_floating_point: builtins.bool
    is_complex: builtins.bool
    is_signed: builtins.bool
    numpy_name: str | None
    scalar_name: str
    index: builtins.int

    def __new__(cls) -> dtype:
        raise TypeError("cannot create 'torch.dtype' instances")

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError("type 'torch.dtype' is not an acceptable base type")

    def __setattr__(self, attribute: str, value: object) -> NoReturn:
        raise AttributeError(f"attribute '{attribute}' of 'torch.dtype' objects is not writable")

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        # A bare string makes pickle refer to the module's global of that name: the same object comes back.
        return self.name

    @property
    def abbr(self) -> str:
        """A short readable name, `'f32'`."""
        return self.code

    def to_real(self) -> dtype:
        """The type of the real part: complex64 gives float32; any other type gives itself."""
        return _REAL_OF.get(self, self)

    def to_complex(self) -> dtype:
        """The complex type whose parts have this type: float32 gives complex64; a complex type gives itself."""
        found = _COMPLEX_OF.get(self)
        if found is None:
            raise RuntimeError(f"Unknown Complex ScalarType for {self.scalar_name}")
        return found


ALL_DTYPES: list[dtype] = []


def _define(name: str, scalar_name: str, code: str, kind: str, itemsize: builtins.int, numpy_name: str | None) -> dtype:
    self: dtype = object.__new__(dtype)
    fields = {
        "name": name,
        "code": code,
        "kind": kind,
        "itemsize": itemsize,
        "is_floating_point": kind == "f",
        "is_complex": kind == "c",
        # float8_e8m0fnu is an exponent alone: the one floating-point type without a sign.
        "is_signed": kind in "ifc" and name != "float8_e8m0fnu",
        "numpy_name": numpy_name,
        "scalar_name": scalar_name,
        "index": len(ALL_DTYPES),
    }
    for field, value in fields.items():
        object.__setattr__(self, field, value)
    ALL_DTYPES.append(self)
    return self


uint8 = _define("uint8", "Byte", "u8", "u", 1, "uint8")
int8 = _define("int8", "Char", "i8", "i", 1, "int8")
int16 = _define("int16", "Short", "i16", "i", 2, "int16")
int32 = _define("int32", "Int", "i32", "i", 4, "int32")
int64 = _define("int64", "Long", "i64", "i", 8, "int64")
float16 = _define("float16", "Half", "f16", "f", 2, "float16")
float32 = _define("float32", "Float", "f32", "f", 4, "float32")
float64 = _define("float64", "Double", "f64", "f", 8, "float64")
complex32 = _define("complex32", "ComplexHalf", "c32", "c", 4, None)
complex64 = _define("complex64", "ComplexFloat", "c64", "c", 8, "complex64")
complex128 = _define("complex128", "ComplexDouble", "c128", "c", 16, "complex128")
bool = _define("bool", "Bool", "b8", "b", 1, "bool")
bfloat16 = _define("bfloat16", "BFloat16", "bf16", "f", 2, None)
uint16 = _define("uint16", "UInt16", "u16", "u", 2, "uint16")
uint32 = _define("uint32", "UInt32", "u32", "u", 4, "uint32")
uint64 = _define("uint64", "UInt64", "u64", "u", 8, "uint64")
# Names for storage and conversion only: no arithmetic, no promotion.
float8_e5m2 = _define("float8_e5m2", "Float8_e5m2", "f8e5m2", "f", 1, None)
float8_e4m3fn = _define("float8_e4m3fn", "Float8_e4m3fn", "f8e4m3fn", "f", 1, None)
float8_e5m2fnuz = _define("float8_e5m2fnuz", "Float8_e5m2fnuz", "f8e5m2fnuz", "f", 1, None)
float8_e4m3fnuz = _define("float8_e4m3fnuz", "Float8_e4m3fnuz", "f8e4m3fnuz", "f", 1, None)
float8_e8m0fnu = _define("float8_e8m0fnu", "Float8_e8m0fnu", "f8e8m0fnu", "f", 1, None)

# The C names. From here on `int`, `float` and `bool` are dtypes in this module: annotations say `builtins.int`.
short = int16
int = int32
long = int64
half = float16
float = float32
double = float64
chalf = complex32
cfloat = complex64
cdouble = complex128

_REAL_OF = {complex32: float16, complex64: float32, complex128: float64}
_COMPLEX_OF = {float16: complex32, bfloat16: complex64, float32: complex64, float64: complex128}
_COMPLEX_OF |= {full: full for full in (complex32, complex64, complex128)}

_BY_NUMPY_NAME = {each.numpy_name: each for each in ALL_DTYPES if each.numpy_name is not None}


def from_numpy_name(name: str) -> dtype | None:
    """The dtype whose elements have the bits of NumPy's `name` (`'float32'`), or None where there is none."""
    return _BY_NUMPY_NAME.get(name)


_default = float32
_default_listeners: list[Callable[[], None]] = []


def on_default_dtype(listener: Callable[[], None]) -> None:
    """Call `listener()` whenever the default type changes: what was planned with the old one no longer holds."""
    _default_listeners.append(listener)


def get_default_dtype() -> dtype:
    """The floating-point type given to Python floats and to new tensors without a dtype; float32 at first."""
    return _default


def set_default_dtype(d: dtype) -> None:
    """Make `d`, a floating-point type, the default. TypeError for anything else.

    >>> set_default_dtype(float64); get_default_dtype()
    torch.float64
    >>> set_default_dtype(float32)
    """
    global _default
    if not isinstance(d, dtype):
        raise TypeError("invalid dtype object: only floating-point types are supported as the default type")
    if not d.is_floating_point:
        raise TypeError("only floating-point types are supported as the default type")
    if d is not _default:
        _default = d
        for listener in _default_listeners:
            listener()


class _TypeInfo:
    """What `finfo` and `iinfo` share: the described type, equality and hashing by it."""

    __slots__ = ("_dtype", "bits", "max", "min")

    _dtype: dtype
    bits: builtins.int

    @property
    def dtype(self) -> str:
        """The described type's name, `'float32'`."""
        return self._dtype.name

    def __eq__(self, other: object) -> builtins.bool:
        return type(other) is type(self) and other._dtype is self._dtype

    def __hash__(self) -> builtins.int:
        return hash((type(self), self._dtype))


# bits of significand after the point, smallest and largest normal exponent, the largest value.
_FLOAT_FORMATS: dict[dtype, tuple[builtins.int, builtins.int, Any]] = {
    float16: (10, -14, 65504.0),
    bfloat16: (7, -126, (2 - 2.0**-7) * 2.0**127),
    float32: (23, -126, (2 - 2.0**-23) * 2.0**127),
    float64: (52, -1022, (2 - 2.0**-52) * 2.0**1023),
    float8_e5m2: (2, -14, 57344.0),
    float8_e4m3fn: (3, -6, 448.0),
    float8_e5m2fnuz: (3, -15, 57344.0),
    float8_e4m3fnuz: (3, -7, 240.0),
    float8_e8m0fnu: (0, -127, 2.0**127),
}

# Decimal digits that always survive a round trip; below 10 bits PyTorch says 2 for bfloat16 and 0 for float8.
_DECIMAL_DIGITS = {float16: 3, bfloat16: 2, float32: 6, float64: 15}


class finfo(_TypeInfo):
    """Limits of a floating-point type (of the default dtype when none is given; of the parts of a complex type).

    Attributes: bits, eps (the step after 1), max, min (most negative), tiny = smallest_normal, resolution, dtype.
    TypeError for a type that is not floating point.

    >>> finfo(float16).max
    65504.0
    """

    __slots__ = ("eps", "resolution", "smallest_normal", "tiny")

    min: builtins.float
    max: builtins.float

    def __init__(self, type: dtype | None = None) -> None:
        described = _default if type is None else type
        if not isinstance(described, dtype):
            raise TypeError(f"finfo(): argument 'type' (position 1) must be torch.dtype, not {_class_name(type)}")
        described = _REAL_OF.get(described, described)
        if described not in _FLOAT_FORMATS:
            raise TypeError(
                "torch.finfo() requires a floating point input type. Use torch.iinfo to handle 'torch.finfo'"
            )
        digits, low_exponent, largest = _FLOAT_FORMATS[described]
        self._dtype = described
        self.bits = described.itemsize * 8
        self.eps = 2.0**-digits
        self.max = largest
        self.tiny = self.smallest_normal = 2.0**low_exponent
        self.min = -largest if described.is_signed else self.tiny
        self.resolution = builtins.float(f"1e-{_DECIMAL_DIGITS.get(described, 0)}")

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, eps={self.eps:g}, "
            f"smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, dtype={self.dtype})"
        )


class iinfo(_TypeInfo):
    """Limits of an integer type: bits, min, max, dtype. TypeError for a type that is not an integer's.

    >>> iinfo(int8).min, iinfo(uint8).max
    (-128, 255)
    """

    __slots__ = ()

    min: builtins.int
    max: builtins.int

    def __init__(self, type: dtype) -> None:
        if not isinstance(type, dtype):
            raise TypeError(f"iinfo(): argument 'type' (position 1) must be torch.dtype, not {_class_name(type)}")
        if type is bool:
            raise TypeError("torch.bool is not supported by torch.iinfo")
        if type.kind not in "iu":
            raise TypeError("torch.iinfo() requires an integer input type. Use torch.finfo to handle 'torch.iinfo'")
        self._dtype = type
        self.bits = type.itemsize * 8
        self.min = -(1 << (self.bits - 1)) if type.is_signed else 0
        self.max = (1 << (self.bits - type.is_signed)) - 1

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"


def _class_name(value: object) -> str:
    return value.__class__.__name__
