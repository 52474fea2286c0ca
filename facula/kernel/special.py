"""The special functions: error functions, gamma functions, Bessel functions of imaginary argument, as macros.

Like the elementary ones (`math`), of which they are made: float32 or float64 in, the same type out, one source for
every width and processor.
"""

from __future__ import annotations

import math as _math

from facula.kernel.math import _exp_parts, exp, exp_fast_nonpositive, log, log1p
from facula.kernel.numeric import constant, element_type, in_double, polynomial, scale, two_product
from facula.kernel.trigonometry import COS, SIN
from facula.kernel.types import f32
from facula.kernel.values import Value, absolute, copysign, floor, fma, rint, select, sqrt

INFINITY, NAN = _math.inf, _math.nan

# f32: erf(x) / x - 1 in x**2 for |x| < 0.92; -log(erfc(x)) on 0.9..4
_ERF_NEAR_F32 = (
    0.128379167,
    -0.3761263373,
    0.1128369545,
    -0.02685939505,
    0.005201022928,
    -0.0008142587217,
    8.36957335e-5,
)
_ERF_FAR_F32 = (
    0.000166511464,
    1.127796954,
    0.6369766132,
    0.1041131727,
    -0.02231494856,
    0.003065418651,
    -0.0001982118063,
)
# f64: erf(x) / x - 1 in x**2 on 0..1; exp(x**2) erfc(x) (1 + 2 x) in (x - 4) / (x + 4) on 0.49..28
_ERF_NEAR = (
    0.1283791670955126, -0.37612638903183754, 0.11283791670955119, -0.026866170645129736, 0.005223977625422104,
    -0.0008548327021854214, 0.00012055332899393883, -1.4925647465956485e-05, 1.6462043420826237e-06,
    -1.6364614554752861e-07, 1.4792146609872266e-08, -1.216304501303421e-09, 8.703794250610697e-11,
    -4.222894090238812e-12,
)  # fmt: skip
_ERFC_FAR = (
    1.2329951186255526, -0.1396211168405625, 0.015379652102619847, 0.06809705425468857, -0.10103906603631055,
    0.09373283499852943, -0.0663303658120724, 0.037167515533885476, -0.016197734059575777, 0.005031970017641195,
    -0.000757773275755154, -0.0001992569598946785, 0.00015062161891273517, -2.4398078950874317e-05,
    -1.1221876587109176e-05, 5.706546916247988e-06, 2.9357078107539417e-07, -8.195856347301382e-07,
    7.482926551711999e-08, 1.0332031674158207e-07, -1.7980788774230974e-08, -9.674673837361196e-09,
    1.8357517669471647e-09,
)  # fmt: skip
_SQRT_PI = 1.7724538509055159
_TWO_OVER_SQRT_PI = 1.1283791670955126
# lgamma(2 + z) / z on -0.8..1/2
_LGAMMA_NEAR = (
    0.42278433509846713, 0.3224670334241132, -0.06735230105319817, 0.02058080842778469, -0.00738555102866569,
    0.0028905103307383436, -0.001192753912078892, 0.0005096695245596215, -0.00022315474984817662,
    9.945752239364546e-05, -4.492634788468381e-05, 2.0507027263738283e-05, -9.438655911445238e-06,
    4.376771316259055e-06, -2.0426025070918845e-06, 9.438606105008596e-07, -4.444313942631234e-07,
    2.501600897021736e-07, -8.558167798240014e-08, -1.6944189021145264e-08, -9.032990535691916e-08,
    3.946127924052364e-08, 7.062392225162083e-08, 3.7459730037911414e-08,
)  # fmt: skip
# (lgamma(x) - (x - 1/2) log(x) + x - log(2 pi) / 2) x in 1 / x**2, for x >= 8
_STIRLING = (
    0.08333333333333333, -0.0027777777777776786, 0.0007936507935156998, -0.0005952380249469703,
    0.0008417328033002976, -0.0019149917859023113, 0.006209337976372296, -0.020877738155504234,
)  # fmt: skip
# (log(x) - 1 / (2 x) - digamma(x)) x**2 in 1 / x**2, for x >= 10
_DIGAMMA = (
    0.08333333333333333, -0.00833333333333325, 0.00396825396807575, -0.0041666665223815055, 0.007575700029100656,
    -0.02108025525482764, 0.08179960787094227, -0.34233532653917903,
)  # fmt: skip
# I0(x) and I1(x) / x in x**2 on 0..8; exp(-x) sqrt(x) I(x) in 16 / x - 1 beyond
_I_NEAR = (
    (
        1.0, 0.25, 0.015625, 0.0004340277777777778, 6.781684027777776e-06, 6.781684027777845e-08,
        4.709502797066704e-10, 2.402807549538963e-12, 9.385966989079723e-15, 2.896903399914967e-17,
        7.242258116154708e-20, 1.4963356606196306e-22, 2.5977699216348116e-25, 3.8435384855816503e-28,
        4.892690105573571e-31, 5.5359712643560964e-34, 4.722655623403248e-37, 6.9144650994137284e-40,
    ),
    (
        0.5, 0.0625, 0.0026041666666666665, 5.425347222222222e-05, 6.781684027777777e-07, 5.651403356481509e-09,
        3.363930569333755e-11, 1.5017547184580627e-13, 5.214426105305318e-16, 1.448451698641065e-18,
        3.2919355565281237e-21, 6.23473055250689e-24, 9.991450894972569e-27, 1.372650106191951e-29,
        1.631345596013543e-32, 1.726789124242794e-35, 1.4027480896809705e-38, 1.893932400245202e-41,
    ),
)  # fmt: skip
_I_FAR = (
    (
        0.4021765094450081, 0.0033605519836678705, 0.00013621607439189514, 1.1143033790101725e-05,
        1.4838475679051436e-06, 2.9735988152079953e-07, 8.872215172162902e-08, 3.932555936503317e-08,
        2.154888088645308e-08, 7.55666027287995e-09, -6.750855963665453e-09, -1.34172233409608e-08,
        -5.392087932421719e-09, 7.57502236388361e-09, 7.397763944198312e-09, -3.545601215335033e-09,
        -5.897886544975399e-09, 1.5656224067336691e-09, 3.5758320209995063e-09, -6.043758788669836e-10,
        -1.5753206100755085e-09, 1.6622751496197474e-10, 4.4017961353903026e-10, -2.2650383303630908e-11,
        -5.7611733775119016e-11,
    ),
    (
        0.38939845902587233, -0.009749577193235744, -0.00021923576383386142, -1.5038547199764112e-05,
        -1.8349101344191933e-06, -3.48385598065049e-07, -1.0001284393318697e-07, -4.312890155993795e-08,
        -2.3374367048996647e-08, -8.429681226080883e-09, 6.737298475602784e-09, 1.4042335798687012e-08,
        5.963065227574152e-09, -7.664310448447839e-09, -7.858751399550002e-09, 3.4650138385416975e-09,
        6.191940167408597e-09, -1.4833580291067718e-09, -3.737616530337265e-09, 5.617511493696425e-10,
        1.6445701595635356e-09, -1.5332431713535647e-10, -4.5960929768491163e-10, 2.0867731178179202e-11,
        6.020216933959224e-11,
    ),
)  # fmt: skip


# -- error functions ----------------------------------------------------------------------------------------------
def erf(x: Value) -> Value:
    """The error function, 2 / sqrt(pi) times the integral of exp(-t**2) from 0 to x."""
    magnitude = absolute(x)
    z = magnitude * magnitude
    if element_type(x) is f32:
        near = fma(magnitude, polynomial(z, _ERF_NEAR_F32), magnitude)
        clipped = select(magnitude > 4.0, constant(x, 4.0), magnitude)
        far = 1.0 - exp_fast_nonpositive(-polynomial(clipped, _ERF_FAR_F32))
        return copysign(select(magnitude < 0.92, near, far), x)
    near = fma(magnitude, polynomial(z, _ERF_NEAR), magnitude)
    clipped = select(magnitude > 6.0, constant(x, 6.0), magnitude)
    return copysign(select(magnitude < 1.0, near, 1.0 - _erfc_far(clipped)), x)


def _erfc_far(x: Value) -> Value:
    """erfc(x) for 0.49 <= x <= 28."""
    square, lost = two_product(x, x)
    p, n, bits = _exp_parts(-square, -lost)
    return scale(p * _scaled_erfc(x), n, bits)


def _scaled_erfc(x: Value) -> Value:
    """exp(x**2) erfc(x) for x >= 0.49."""
    return polynomial((x - 4.0) / (x + 4.0), _ERFC_FAR) / fma(x, 2.0, 1.0)


@in_double
def erfc(x: Value) -> Value:
    """1 - erf(x), without cancellation for large x."""
    magnitude = absolute(x)
    near = fma(x, polynomial(x * x, _ERF_NEAR), x)
    clipped = select(magnitude > 27.5, constant(x, 27.5), magnitude)
    far = _erfc_far(clipped)
    return select(magnitude < 0.5, 1.0 - near, select(x < 0.0, 2.0 - far, far))


@in_double
def erfcx(x: Value) -> Value:
    """exp(x**2) erfc(x)."""
    magnitude = absolute(x)
    near = exp(x * x) * (1.0 - fma(x, polynomial(x * x, _ERF_NEAR), x))
    inverse = 1.0 / x
    series = polynomial(inverse * inverse, (1.0, -0.5, 0.75, -1.875, 6.5625, -29.53125))
    asymptotic = inverse * 0.5641895835477563 * series
    far = select(magnitude > 28.0, asymptotic, _scaled_erfc(magnitude))
    square, lost = two_product(x, x)
    grown = exp(square)
    negative = fma(grown + grown, lost, grown + grown) - _scaled_erfc(magnitude)
    negative = select(x < -26.7, constant(x, INFINITY), negative)
    return select(x == x, select(magnitude < 0.5, near, select(x < 0.0, negative, far)), x)


# M. B. Giles, Approximating the erfinv function (GPU Computing Gems, 2012), the single precision polynomials.
_ERFINV_CENTRE = (
    1.50140941, 0.246640727, -0.00417768164, -0.00125372503, 0.00021858087, -4.39150654e-06, -3.5233877e-06,
    3.43273939e-07, 2.81022636e-08,
)  # fmt: skip
_ERFINV_TAIL = (
    2.83297682, 1.00167406, 0.00943887047, -0.0076224613, 0.00573950773, -0.00367342844, 0.00134934322,
    0.000100950558, -0.000200214257,
)  # fmt: skip


@in_double
def erfinv(x: Value) -> Value:
    """The inverse of erf: infinite at -1 and 1, NaN beyond."""
    magnitude = absolute(x)
    rest = 1.0 - magnitude
    w = -log(rest * (1.0 + magnitude))
    far = sqrt(w) - 3.0
    bounded = select(far > 1.0, constant(x, 1.0), far)
    y = magnitude * select(w < 5.0, polynomial(w - 2.5, _ERFINV_CENTRE), polynomial(bounded, _ERFINV_TAIL))
    # Farther out: erfc(y) ~ exp(-y**2) / (y sqrt(pi)), solved for y by substitution.
    v = -log(select(rest > 0.0, rest, constant(x, 0.5)))
    guess = sqrt(v - log(sqrt(v) * _SQRT_PI))
    y = select(far > 1.0, sqrt(v - log(guess * _SQRT_PI)), y)
    # A step of Halley's method triples the digits.
    for _ in range(2):
        miss = select(magnitude < 0.5, erf(y) - magnitude, rest - erfc(y))
        step = miss * exp(y * y) * (1.0 / _TWO_OVER_SQRT_PI)
        y = y - step / fma(y, step, 1.0)
    small = x * (1.0 / _TWO_OVER_SQRT_PI)
    result = select(magnitude < 1e-9, small, copysign(y, x))
    outside = select(magnitude > 1.0, constant(x, NAN), x)
    return select(magnitude < 1.0, result, select(magnitude == 1.0, x * INFINITY, outside))


# -- gamma functions ----------------------------------------------------------------------------------------------
_PI = 3.141592653589793


def sin_pi(x: Value) -> Value:
    """sin(pi x), exactly zero at whole numbers (f64)."""
    x = select(absolute(x) > 2.0**53, x * 0.0, x)  # even
    n = rint(x * 2.0)
    r = (x - n * 0.5) * _PI
    z = r * r
    sine = fma(r * z, polynomial(z, SIN), r)
    cosine = fma(z * z, polynomial(z, COS), fma(z, -0.5, 1.0))
    quarter = n - floor(n * 0.25) * 4.0
    odd = (quarter == 1.0) | (quarter == 3.0)
    value = select(odd, cosine, sine)
    return select(quarter >= 2.0, -value, value)


def _lgamma_positive(x: Value) -> Value:
    """log(gamma(x)) for x > 0."""
    # Up or down to 2 + z in 1.2..2.5, with a product of the factors passed.
    one = constant(x, 1.0)
    factor = select(x < 0.5, x * (x + 1.0), select(x < 1.2, x, one))
    z = select(x < 0.5, x, x - 1.0)
    down = x
    for _ in range(6):
        more = down >= 2.5
        down = select(more, down - 1.0, down)
        factor = select(more, factor * down, factor)
    z = select(x < 1.2, z, down - 2.0)
    logarithm = log(factor)
    near = fma(z, polynomial(z, _LGAMMA_NEAR), select(x < 1.2, -logarithm, logarithm))
    large = select(x < 8.0, constant(x, 8.0), x)
    inverse = 1.0 / large
    far = fma(large - 0.5, log(large) - 1.0, 0.4189385332046727) + inverse * polynomial(inverse * inverse, _STIRLING)
    huge = select(x > 1e300, x * (log(x) - 1.0), far)
    return select(x < 8.0, near, huge)


@in_double
def lgamma(x: Value) -> Value:
    """log(|gamma(x)|): infinite at zero and at negative whole numbers."""
    magnitude = absolute(x)
    positive = _lgamma_positive(select(magnitude < 1e-300, constant(x, 1e-300), magnitude))
    tiny = magnitude < 1e-20
    positive = select(tiny, -log(magnitude), positive)
    turn = absolute(sin_pi(magnitude))
    reflected = log(_PI / (magnitude * turn)) - positive
    result = select((x < 0.0) & ~tiny, reflected, positive)
    pole = (x <= 0.0) & (floor(x) == x)
    result = select(pole | (magnitude == INFINITY), constant(x, INFINITY), result)
    return select(x == x, result, x)


@in_double
def digamma(x: Value) -> Value:
    """The derivative of lgamma: -infinity at 0 (infinity at -0), NaN at negative whole numbers."""
    negative = x < 0.0
    y = select(negative, 1.0 - x, x)
    total = constant(x, 0.0)
    # digamma(y) = digamma(y + 1) - 1 / y, until the asymptotic series holds; two steps to a division.
    for _ in range(5):
        more = y < 10.0
        total = select(more, total + fma(y, 2.0, 1.0) / (y * (y + 1.0)), total)
        y = select(more, y + 2.0, y)
    inverse = 1.0 / y
    w = inverse * inverse
    result = log(y) - fma(w, polynomial(w, _DIGAMMA), fma(inverse, 0.5, total))
    fraction = x - rint(x)
    s = sin_pi(fraction)
    c = sin_pi(fraction + 0.5)
    reflected = result - _PI * c / s
    result = select(negative, reflected, result)
    result = select(negative & (fraction == 0.0), constant(x, NAN), result)
    result = select(x == 0.0, copysign(constant(x, INFINITY), -x), result)
    return select(x == INFINITY, x, result)


@in_double
def sinc(x: Value) -> Value:
    """sin(pi x) / (pi x), 1 at 0."""
    result = sin_pi(x) / (x * _PI)
    return select(x == 0.0, constant(x, 1.0), select(absolute(x) == INFINITY, constant(x, 0.0), result))


# -- Bessel functions of imaginary argument -----------------------------------------------------------------------
def _bessel_i(x: Value, order: int, scaled: bool) -> Value:
    magnitude = absolute(x)
    clipped = select(magnitude > 8.0, constant(x, 8.0), magnitude)
    near = polynomial(clipped * clipped, _I_NEAR[order])
    if order:
        near = near * clipped
    outer = select(magnitude < 8.0, constant(x, 8.0), magnitude)
    far = polynomial(16.0 / outer - 1.0, _I_FAR[order]) / sqrt(outer)
    if scaled:
        near = near * exp(-clipped)
    else:
        half = exp(outer * 0.5)
        far = (far * half) * half
    result = select(magnitude < 8.0, near, far)
    result = select(magnitude == INFINITY, constant(x, 0.0 if scaled else INFINITY), result)
    if order:
        result = copysign(result, x)
    return select(x == x, result, x)


@in_double
def i0(x: Value) -> Value:
    """The modified Bessel function of the first kind, of order 0."""
    return _bessel_i(x, 0, False)


@in_double
def i0e(x: Value) -> Value:
    """exp(-|x|) i0(x)."""
    return _bessel_i(x, 0, True)


@in_double
def i1(x: Value) -> Value:
    """The modified Bessel function of the first kind, of order 1."""
    return _bessel_i(x, 1, False)


@in_double
def i1e(x: Value) -> Value:
    """exp(-|x|) i1(x)."""
    return _bessel_i(x, 1, True)


# -- the normal distribution --------------------------------------------------------------------------------------
@in_double
def ndtr(x: Value) -> Value:
    """The normal distribution function."""
    return erfc(x * -_math.sqrt(0.5)) * 0.5


@in_double
def ndtri(p: Value) -> Value:
    """The inverse of `ndtr`."""
    return erfinv(fma(p, 2.0, -1.0)) * _math.sqrt(2.0)


@in_double
def log_ndtr(x: Value) -> Value:
    """log(ndtr(x)), without underflow for very negative x."""
    low = x * -_math.sqrt(0.5)
    far = log(erfcx(select(low < 0.0, constant(x, 0.0), low)) * 0.5) - x * x * 0.5
    return select(x < -1.0, far, log1p(erfc(-low) * -0.5))
