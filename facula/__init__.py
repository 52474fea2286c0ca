"""facula: tensors, automatic differentiation and neural networks with PyTorch's API, in Python down to the machine code.

`import facula as torch`, or run a program that imports torch with `facula run`.
"""

from __future__ import annotations

from math import e, inf, nan, pi
from typing import Any

from facula import public as _public_names
from facula.core.device import device, get_default_device, set_default_device
from facula.core.dtype import (
    bfloat16,
    bool,
    cdouble,
    cfloat,
    chalf,
    complex32,
    complex64,
    complex128,
    double,
    dtype,
    finfo,
    float,
    float16,
    float32,
    float64,
    get_default_dtype,
    half,
    iinfo,
    int,
    int8,
    int16,
    int32,
    int64,
    long,
    set_default_dtype,
    short,
    uint8,
    uint16,
    uint32,
    uint64,
)  # fmt: skip
from facula.core.layout import Size
from facula.core.promotion import can_cast, promote_types
from facula.core.shapes import public_broadcast_shapes as broadcast_shapes
from facula.engine.modes import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)  # fmt: skip
from facula.ops import all_families
from facula.ops.define import FUNCTIONS as _FUNCTIONS
from facula.tensor import random as _random_tensors
from facula.tensor.formats import (
    channels_last,
    channels_last_3d,
    contiguous_format,
    layout,
    memory_format,
    preserve_format,
    strided,
)  # fmt: skip
from facula.tensor.tensor import Tensor
from facula.tensor.tensor import attach_methods as _attach_methods

__version__ = "0.1.0"
newaxis = None

globals().update(_FUNCTIONS["torch"])
_attach_methods()

_LAZY = {
    name: f"facula.{name}"
    for name in (
        "nn", "optim", "utils", "autograd", "linalg", "fft", "special", "random", "testing", "jit", "cuda", "amp", "distributed",
        "return_types", "serialization", "distributions", "backends", "version", "multiprocessing", "overrides", "func", "compiler", "types",
        "mps", "hub", "onnx", "quantization", "ao", "sparse", "profiler", "package", "export", "masked", "nested", "storage",
    )
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Submodules and rarely used names are imported when first asked for."""
    from importlib import import_module
    from importlib.util import find_spec

    if name in _LAZY and find_spec(_LAZY[name]) is not None:
        return import_module(_LAZY[name])
    found = _FUNCTIONS["torch"].get(name)
    if found is None:
        found = _public_names.find(name)
    if found is not None:
        globals()[name] = found
        return found
    raise AttributeError(f"module 'torch' has no attribute {name!r}")
