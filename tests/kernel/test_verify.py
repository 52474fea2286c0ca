"""Each rule of the verifier accepts what it should and refuses the rest, naming operation and types."""

import pytest

from facula.kernel.errors import KernelError
from facula.kernel.language import b1, f32, f64, i32, i64, ptr, u32, vec
from facula.kernel.verify import RULES, check

V, M = vec(f32, 4), vec(b1, 4)
NUMBERS = ([(f32, f32), (i32, i32), (V, V)], [(f32, f64), (b1, b1), (i32, u32), (ptr(f32), ptr(f32)), (V, f32)])
INTEGERS = ([(i32, i32), (u32, u32), (vec(i64, 2), vec(i64, 2))], [(f32, f32), (i32, i64), (b1, b1)])
BITS = ([(i32, i32), (b1, b1), (M, M)], [(f32, f32), (i32, u32), (M, b1)])
FLOAT = ([(f32,), (V,)], [(i32,), (b1,), (ptr(f32),)])
CASES = {
    **dict.fromkeys(["add", "sub", "mul", "div", "rem"], NUMBERS),
    **dict.fromkeys(["udiv", "urem", "min", "max", "shl", "shr", "ushr"], INTEGERS),
    **dict.fromkeys(["and", "or", "xor"], BITS),
    **dict.fromkeys(["negate", "sqrt", "fabs", "floor", "ceil", "trunc", "rint"], FLOAT),
    "copysign": ([(f32, f32)], [(i32, i32), (f32, f64)]),
    "compare": ([(f32, f32), (b1, b1), (ptr(f32), ptr(f32))], [(f32, f64), (ptr(f32), ptr(f64)), (V, f32)]),
    "fma": ([(f64, f64, f64)], [(f32, f32, f64), (i32, i32, i32)]),
    "select": ([(b1, f32, f32), (M, V, V), (b1, V, V)], [(i32, f32, f32), (M, f32, f32), (b1, f32, f64)]),
    "when": ([(b1,)], [(M,), (i32,)]),
    "join": ([(f32, f32)], [(f32, f64)]),
    "popcount": ([(i32,), (vec(u32, 4),)], [(f32,), (b1,)]),
    "bitcast": ([(f32, i32), (f64, vec(i32, 2)), (ptr(f32), ptr(i32))], [(f32, f64), (f64, ptr(f32))]),
    "cast": ([(f32, i32), (V, vec(i32, 4)), (b1, f32)], [(V, i32), (ptr(f32), i64), (i64, ptr(f32))]),
    "splat": ([(f32,), (ptr(f32),)], [(V,)]),
    "load": ([(ptr(f32),)], [(f32,)]),
    "store": ([(ptr(f32), f32), (ptr(f32), V)], [(f32, f32), (ptr(f32), f64)]),
    "offset": ([(ptr(f32), i64)], [(ptr(f32), i32), (f32, i64)]),
    "gather": ([(ptr(f32), vec(i64, 4)), (ptr(f32), i64)], [(ptr(f32), vec(i32, 4)), (f32, i64)]),
    "mask": ([(M, V), (b1, f32)], [(M, vec(f32, 8)), (V, V)]),
    "atomic": ([(ptr(i64), i64)], [(ptr(i64), i32), (i64, i64)]),
}


def test_every_rule_has_cases():
    assert set(CASES) == set(RULES)


@pytest.mark.parametrize("op", RULES)
def test_rule(op):
    accepted, refused = CASES[op]
    for types in accepted:
        check(op, *types)
    for types in refused:
        with pytest.raises(KernelError) as caught:
            check(op, *types)
        assert str(caught.value) == f"{op} takes {RULES[op][0]}, not {', '.join(map(repr, types))}"
