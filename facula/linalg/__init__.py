"""torch.linalg: norms, products, factorisations and solutions of linear systems, on matrices and batches of them.

What is here is whatever the operator families put under "torch.linalg"; this module must never know their names.
"""

from __future__ import annotations

from facula.ops import all_families as _all_families
from facula.ops.define import FUNCTIONS as _FUNCTIONS
from facula.ops.linalg import LinAlgError

globals().update(_FUNCTIONS["torch.linalg"])
__all__ = ["LinAlgError", *sorted(_FUNCTIONS["torch.linalg"])]
