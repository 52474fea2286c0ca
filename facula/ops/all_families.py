"""Every family of operators, imported so that its definitions are in the registry. A new family adds its line here."""

from __future__ import annotations

from importlib import import_module

FAMILIES = (
    "pointwise",
    "compare",
    "activation",
    "inplace",
    "copy",
    "view",
    "complex",
    "index",
    "along",
    "masks",
    "join",
    "scatter",
    "matrix_forms",
    "gradients",
    "reduce",
    "extremum",
    "vector_norm",
    "scan",
    "sort",
    "bins",
    "matmul",
    "linear",
    "contract",
    "conv",
    "random",
    "sampling",
    "dropout",
    "softmax",
    "loss",
    "pool",
    "norm",
    "embedding",
    "attention",
    "special",
    "zeta",
    "measure",
    "linalg",
    "cholesky",
    "spectral",
    "matrix",
    "fourier",
    "inplace_forms",
)

for _family in FAMILIES:
    import_module(f"facula.ops.{_family}")
