"""The named tuples that operators with several results give: `torch.return_types.max` and its like.

Each is a tuple whose parts also have names; it prints as torch's do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Result(tuple[Any, ...]):
    """A tuple with names for its parts; made of the parts, or of one sequence of them."""

    __slots__ = ()
    _fields: tuple[str, ...] = ()
    n_fields = n_sequence_fields = n_unnamed_fields = 0

    def __new__(cls, *parts: Any) -> Result:
        if len(parts) == 1 and len(cls._fields) != 1 and isinstance(parts[0], Sequence):
            parts = tuple(parts[0])
        if len(parts) != len(cls._fields):
            raise TypeError(
                f"torch.return_types.{cls.__name__}() takes a {len(cls._fields)}-sequence ({len(parts)}-sequence given)"
            )
        return tuple.__new__(cls, parts)

    def __repr__(self) -> str:
        parts = ",\n".join([f"{name}={part!r}" for name, part in zip(self._fields, self, strict=True)])
        return f"torch.return_types.{type(self).__name__}(\n{parts})"

    def __reduce__(self) -> Any:
        return type(self), tuple(self)


def _part(position: int) -> property:
    return property(lambda self: tuple.__getitem__(self, position))


def _define(name: str, *fields: str) -> type[Result]:
    body: dict[str, Any] = {field: _part(i) for i, field in enumerate(fields)}
    body.update(
        __slots__=(),
        _fields=fields,
        __match_args__=fields,
        __module__=__name__,
        n_fields=len(fields),
        n_sequence_fields=len(fields),
    )
    return type(name, (Result,), body)


max = _define("max", "values", "indices")
min = _define("min", "values", "indices")
aminmax = _define("aminmax", "min", "max")
median = _define("median", "values", "indices")
nanmedian = _define("nanmedian", "values", "indices")
mode = _define("mode", "values", "indices")
kthvalue = _define("kthvalue", "values", "indices")
sort = _define("sort", "values", "indices")
topk = _define("topk", "values", "indices")
cummax = _define("cummax", "values", "indices")
cummin = _define("cummin", "values", "indices")
frexp = _define("frexp", "mantissa", "exponent")
slogdet = _define("slogdet", "sign", "logabsdet")
qr = _define("qr", "Q", "R")
svd = _define("svd", "U", "S", "V")
lstsq = _define("lstsq", "solution", "QR")
geqrf = _define("geqrf", "a", "tau")
triangular_solve = _define("triangular_solve", "solution", "cloned_coefficient")
histogram = _define("histogram", "hist", "bin_edges")
linalg_eig = _define("linalg_eig", "eigenvalues", "eigenvectors")
linalg_eigh = _define("linalg_eigh", "eigenvalues", "eigenvectors")
linalg_qr = _define("linalg_qr", "Q", "R")
linalg_svd = _define("linalg_svd", "U", "S", "Vh")
linalg_slogdet = _define("linalg_slogdet", "sign", "logabsdet")
linalg_lstsq = _define("linalg_lstsq", "solution", "residuals", "rank", "singular_values")
linalg_lu = _define("linalg_lu", "P", "L", "U")
linalg_lu_factor = _define("linalg_lu_factor", "LU", "pivots")
linalg_solve_ex = _define("linalg_solve_ex", "result", "info")
linalg_lu_factor_ex = _define("linalg_lu_factor_ex", "LU", "pivots", "info")
lu_unpack = _define("lu_unpack", "P", "L", "U")
linalg_inv_ex = _define("linalg_inv_ex", "inverse", "info")
linalg_cholesky_ex = _define("linalg_cholesky_ex", "L", "info")
