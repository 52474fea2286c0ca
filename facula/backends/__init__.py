"""`torch.backends`: switches of libraries that PyTorch may use. None of them is used here, and their answers say so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


def _backend(available: bool = False, **switches: Any) -> Any:
    return SimpleNamespace(is_available=lambda: available, is_built=lambda: available, **switches)


cudnn = _backend(enabled=False, benchmark=False, deterministic=True, allow_tf32=False, version=lambda: None)
cuda = _backend(matmul=SimpleNamespace(allow_tf32=False))
mps, mkl, mkldnn, openmp, xeon = _backend(), _backend(), _backend(enabled=False), _backend(), _backend()
