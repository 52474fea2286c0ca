"""In-place forms of operators of other families that compute beside and then take the result over."""

from __future__ import annotations

from facula.ops.define import FUNCTIONS, METHODS
from facula.ops.inplace import derived_in_place

for _name in ("addmm", "addmv", "addbmm", "baddbmm", "addr", "cumsum", "cumprod"):
    if _name + "_" not in METHODS:
        derived_in_place(_name + "_", FUNCTIONS["torch"][_name], _name == "addmv")
