"""torch.fft: discrete Fourier transforms of one and several dimensions, of complex and of real signals.

What is here is whatever the operator families put under "torch.fft"; this module must never know their names.
"""

from __future__ import annotations

from facula.ops import all_families as _all_families
from facula.ops.define import FUNCTIONS as _FUNCTIONS

globals().update(_FUNCTIONS["torch.fft"])
__all__ = sorted(_FUNCTIONS["torch.fft"])
