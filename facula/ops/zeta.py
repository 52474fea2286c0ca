"""The Hurwitz zeta function, torch.special.zeta."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from facula.engine.modes import modes
from facula.ops import scalar as sc
from facula.ops.define import FUNCTIONS, composite, publish
from facula.ops.elementwise import pointwise
from facula.ops.expression import rule
from facula.runtime.objects import TensorBase

sc.KERNEL["zeta"] = lambda s, q: import_module("facula.ops.kernels.zeta").zeta(s, q)
_zeta = sc._operation("zeta")
rule("zeta")(lambda g, y, s, q: (None, g * -s * _zeta(s + 1.0, q)))


@pointwise(name="zeta", result="float", accepts="one", method=False, in_place=False, function=False, domain=(1.5, 4.0))
def _of_both(input: Any, other: Any) -> Any:
    return _zeta(input, other)


@_of_both.sample
def _(make: Any) -> Any:
    yield (2.5, make(3, 4, low=0.3, high=4.0)), {}
    yield (make(3, 1, low=1.5, high=4.0).detach().tolist()[0][0], make(low=0.3, high=4.0)), {}


@composite(name="special_zeta", function=False)
def zeta(input: Any, other: Any, *, out: Any = None) -> Any:
    """The sum over k >= 0 of (k + other) ** -input, one of them a tensor; differentiable in `other` alone.

    Infinite at input = 1 and at other = 0, -1, ..., NaN for input < 1. RuntimeError if `input` requires grad.

    >>> torch.special.zeta(torch.tensor(2.0), torch.tensor(1.0))
    tensor(1.6449)
    """
    if modes.grad_enabled and isinstance(input, TensorBase) and input._requires_grad:
        raise RuntimeError("the derivative for 'self' is not implemented (special.zeta: detach() its first argument)")
    return _of_both(input, other) if out is None else _of_both(input, other, out=out)


publish("zeta", zeta, namespaces=("torch.special",))
publish("logsumexp", FUNCTIONS["torch"]["logsumexp"], namespaces=("torch.special",))
