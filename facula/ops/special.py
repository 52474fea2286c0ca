"""The functions of torch.special beyond the elementary ones: error, gamma, Bessel and normal distribution functions.

Each is a scalar body over macros of the kernel language, with its derivative as a rule of one line.
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

from facula.core import dtype as dt
from facula.ops import scalar as sc
from facula.ops.define import FUNCTIONS, METHODS, composite, layout_of, publish
from facula.ops.elementwise import pointwise
from facula.ops.expression import make, rule
from facula.ops.inplace import derived_in_place

_SPECIAL = ("torch.special",)
_BOTH = ("torch", "torch.special")


def _of_family(name: str, arguments: int) -> Any:
    """A function of the family's own kernels, for bodies and rules."""
    sc.KERNEL[name] = lambda *x: getattr(import_module("facula.ops.kernels.special"), name)(*x)
    return sc._operation(name)


_erfcx, _log_ndtr, _ndtr, _ndtri = (sc._function(n) for n in ("erfcx", "log_ndtr", "ndtr", "ndtri"))
_i0, _i0e, _i1, _i1e = (sc._function(n) for n in ("i0", "i0e", "i1", "i1e"))
_zeta, _trigamma = _of_family("zeta", 2), _of_family("trigamma", 1)

rule("erfcx")(lambda g, y, x: (g * (2.0 * x * y - 2.0 / math.sqrt(math.pi)),))
rule("ndtr")(lambda g, y, x: (g * sc.exp(-0.5 * (x * x)) * (1.0 / math.sqrt(2.0 * math.pi)),))
rule("ndtri")(lambda g, y, x: (g * sc.exp(0.5 * (y * y)) * math.sqrt(2.0 * math.pi),))
rule("log_ndtr")(lambda g, y, x: (g * (math.sqrt(2.0 / math.pi) / _erfcx(x * -math.sqrt(0.5))),))
rule("i0")(lambda g, y, x: (g * _i1(x),))
rule("i0e")(lambda g, y, x: (g * (_i1e(x) - sc.sign(x) * y),))
rule("i1")(lambda g, y, x: (g * sc.select(make("eq", x, 0.0), 0.5, _i0(x) - y / x),))
rule("i1e")(lambda g, y, x: (g * sc.select(make("eq", x, 0.0), 0.5, _i0e(x) - y * (sc.sign(x) + 1.0 / x)),))
rule("digamma")(lambda g, y, x: (g * _trigamma(x),))
rule("trigamma")(lambda g, y, x: (g * -2.0 * _zeta(x * 0.0 + 3.0, x),))
rule("zeta")(lambda g, y, s, q: (None, g * -s * _zeta(s + 1.0, q)))


def _special(
    name: str, doc: str, body: Any, domain: tuple[float, float] = (-2.0, 2.0), public: tuple[str, ...] = _SPECIAL
) -> Any:
    """A function of one argument under torch.special; in `torch` and as a method too where `public` says so."""

    def function(input: Any) -> Any:
        return body(input)

    function.__name__, function.__doc__ = name, doc
    shared = "torch" in public
    return pointwise(
        name if shared else f"special_{name}", result="float", method=shared, in_place=shared, namespaces=public, domain=domain
    )(function)  # fmt: skip


erfcx = _special("erfcx", "exp(x ** 2) * erfc(x), which neither overflows nor vanishes for large x.", _erfcx)
ndtr = _special("ndtr", "The distribution function of the standard normal distribution.", _ndtr)
ndtri = _special("ndtri", "The inverse of `ndtr`: infinite at 0 and 1, NaN beyond.", _ndtri, (0.05, 0.95))
log_ndtr = _special("log_ndtr", "log(ndtr(x)), without underflow for very negative x.", _log_ndtr)
i0 = _special("i0", "The modified Bessel function of the first kind, of order 0.", _i0, public=_BOTH)
i0e = _special("i0e", "exp(-|x|) * i0(x).", _i0e)
i1 = _special("i1", "The modified Bessel function of the first kind, of order 1.", _i1)
i1e = _special("i1e", "exp(-|x|) * i1(x).", _i1e)
entr = _special(
    "entr", "-x * log(x): 0 at 0, -inf below.",
    lambda x: sc.select(x > 0.0, -x * sc.log(x), sc.select(x == 0.0, x * 0.0, sc.select(x < 0.0, x * 0.0 - math.inf, x))),
    (0.1, 2.0),
)  # fmt: skip

for _name in ("erfcx", "ndtr", "ndtri", "log_ndtr", "i0e", "i1", "i1e", "entr"):
    FUNCTIONS["torch.special"][_name] = FUNCTIONS["torch.special"].pop(f"special_{_name}")


@entr.gradient
def _(grad: Any, input: Any) -> Any:
    return grad * sc.select(input < 0.0, math.nan, -sc.log(input) - 1.0)


@pointwise(
    "special_xlog1py", result="float", accepts="one", domain=(0.3, 3.0), method=False, in_place=False, namespaces=_SPECIAL
)
def xlog1py(input: Any, other: Any) -> Any:
    """input * log1p(other), 0 where input is 0 (unless other is NaN)."""
    return sc.select(sc.is_nan(other), other, sc.select(input == 0, input * 0.0, input * sc.log1p(other)))


@xlog1py.gradient
def _(grad: Any, input: Any, other: Any) -> Any:
    return sc.select((input == 0) & (other <= -1), 0.0, grad * sc.log1p(other)), grad * (input / (other + 1.0))


@pointwise(
    "special_zeta", result="float", accepts="one", domain=(1.5, 4.0), method=False, in_place=False, namespaces=_SPECIAL
)
def zeta(input: Any, other: Any) -> Any:
    """The Hurwitz zeta function, sum over k of (k + other) ** -input; differentiable in `other` alone."""
    return _zeta(input, other)


for _name in ("xlog1py", "zeta"):
    FUNCTIONS["torch.special"][_name] = FUNCTIONS["torch.special"].pop(f"special_{_name}")


# -- polygamma and the multivariate gamma function ------------------------------------------------------------------
@pointwise(result="float", method=False, in_place=False, function=False, domain=(0.5, 4.0))
def trigamma(input: Any) -> Any:
    """The second derivative of lgamma."""
    return _trigamma(input)


@composite(namespaces=_BOTH, out=True)
def polygamma(n: int, input: Any) -> Any:
    """The n-th derivative of digamma (n >= 0): (-1) ** (n + 1) * n! * zeta(n + 1, input).

    >>> torch.polygamma(1, torch.tensor([1., 0.5]))
    tensor([1.6449, 4.9348])
    """
    own = layout_of(input, "polygamma", 2)
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    if n == 0:
        return METHODS["digamma"](input)
    if n == 1:
        return trigamma(input)
    if own.dtype.kind not in "fc":
        input = input.to(dt.get_default_dtype())
    return zeta(float(n + 1), input) * float((-1) ** (n + 1) * math.factorial(n))


publish("polygamma", lambda input, n: polygamma(n, input), method=True, namespaces=())
derived_in_place("polygamma_", METHODS["polygamma"], True)


@composite(method="mvlgamma", namespaces=_BOTH, aliases=("multigammaln",), out=True)
def mvlgamma(input: Any, p: int) -> Any:
    """The logarithm of the multivariate gamma function of dimension p; every element must exceed (p - 1) / 2.

    p (p - 1) / 4 * log(pi) + sum over j < p of lgamma(input - j / 2).
    """
    own = layout_of(input, "mvlgamma")
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    if own.dtype.kind not in "fc":
        input = input.to(dt.get_default_dtype())
    total = METHODS["lgamma"](input)
    for j in range(1, p):
        total = total + METHODS["lgamma"](input - 0.5 * j)
    return total + 0.25 * p * (p - 1) * math.log(math.pi)


derived_in_place("mvlgamma_", METHODS["mvlgamma"], True)
publish("logsumexp", FUNCTIONS["torch"]["logsumexp"], namespaces=_SPECIAL)
