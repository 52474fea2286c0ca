"""torch.special: the special functions of mathematics, element by element.

What is here is whatever the operator families put under "torch.special"; this module must never know their names.
"""

from __future__ import annotations

from facula.ops import all_families as _all_families
from facula.ops.define import FUNCTIONS as _FUNCTIONS

globals().update(_FUNCTIONS["torch.special"])
__all__ = sorted(_FUNCTIONS["torch.special"])
