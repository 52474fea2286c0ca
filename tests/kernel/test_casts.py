"""Conversions between all scalar types, as scalars and as vectors."""

import functools

import numpy as np
import pytest

from facula.kernel import target
from facula.kernel.emit import Emitter
from facula.kernel.interpret import round_bf16
from facula.kernel.language import bf16, bitcast, f16, f32, f64, i64, kernel, load, ptr, store, u16, u32, u64, vec
from facula.kernel.types import scalar_types
from tests.kernel.harness import both, native

NUMPY = {
    "b1": "bool", "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64", "u8": "uint8", "u16": "uint16",
    "u32": "uint32", "u64": "uint64", "f16": "float16", "bf16": "uint16", "f32": "float32", "f64": "float64",
}  # fmt: skip
LANES = 4


@functools.cache
def converter(source, to):
    """A kernel that converts LANES values at a time, then one by one."""

    @kernel
    def convert(out: ptr(to), x: ptr(source), n: i64):
        for i in range(0, n // 2, LANES):
            store(out, i, to(load(x, i, LANES)))
        for i in range(n // 2, n):
            out[i] = to(x[i])

    return convert


def bits_of_bf16(x):
    return (round_bf16(np.asarray(x, np.float32)).view(np.uint32) >> 16).astype(np.uint16)


def samples(source, to):
    """Values of `source` that conversion to `to` defines, and that show how it rounds and wraps."""
    if source.kind == "b":
        return np.array([0, 1, 1, 0], bool)
    if source.is_integer:
        info = np.iinfo(NUMPY[source.name])
        return np.array([0, 1, 2, 100, info.max, info.min, info.max // 3, info.min // 3], info.dtype)
    x = np.array([0.0, -0.0, 1, 1.5, 2.5, 3.49, 100.75, 0.1, 1 / 3, 2049.0, 4099.0, 65504.0])
    if to.kind in "ufb" or to.bits > 16:
        x = np.concatenate([x, [120.5, 5.0, 6.0, 7.0]])
    if to.kind == "i":
        x = np.concatenate([x, -x, [-1.999]])
    if to.kind == "i" and to.bits >= 32:
        x = np.concatenate([x, [1e30, -1e30, np.inf, -np.inf, np.nan]])
    if to.kind == "f":
        x = np.concatenate(
            [x, -x, [np.inf, -np.inf, np.nan, 1e-8, 6e-8, 1e-40, 65519.9, 65520.0, 3e38, 1.00390625, 1.01171875]]
        )
    with np.errstate(over="ignore"):
        x = x.astype(np.float32 if source is bf16 else NUMPY[source.name])
    return bits_of_bf16(x) if source is bf16 else x


@pytest.mark.parametrize("source", scalar_types.values(), ids=repr)
@pytest.mark.parametrize("to", scalar_types.values(), ids=repr)
def test_every_pair(source, to):
    x = samples(source, to)
    x = np.concatenate([x, np.zeros(-len(x) % LANES, x.dtype)])
    x = np.concatenate([x, x])
    _, out, _ = both(converter(source, to), np.zeros(len(x), NUMPY[to.name]), x, len(x))
    assert np.array_equal(out[: len(out) // 2], out[len(out) // 2 :], equal_nan=to.name in ("f16", "f32", "f64"))
    if source.kind in "iub" and to.kind in "iu":
        assert np.array_equal(out, x.astype(out.dtype))
    if source.name in ("f32", "f64") and to.name in ("f32", "f64"):
        with np.errstate(over="ignore"):
            assert np.array_equal(out, x.astype(out.dtype), equal_nan=True)


def test_f16_rounds_as_numpy_does():
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.standard_normal(4000) * 10.0 ** rng.uniform(-9, 6, 4000), np.arange(0, 8) * 2.0**-25])
    x = x.astype(np.float32)
    with np.errstate(over="ignore"):
        _, out, _ = both(converter(f32, f16), np.zeros(len(x), np.float16), x, len(x))
        assert np.array_equal(out, x.astype(np.float16))
    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    back = native_convert(f16, f32, every, np.float32)
    assert np.array_equal(back, every.astype(np.float32), equal_nan=True)


def native_convert(source, to, x, dtype):
    out = np.zeros(len(x), dtype)
    native(converter(source, to), out, x, len(x))
    return out


def test_bf16_rounds_to_even():
    rng = np.random.default_rng(2)
    bits = rng.integers(0, 2**32, 4000, dtype=np.uint64).astype(np.uint32)
    bits[:6] = [0x3F808000, 0x3F818000, 0x3F808001, 0x7F7FFFFF, 0x00000001, 0x7F800001]
    x = bits.view(np.float32)
    out = native_convert(f32, bf16, x, np.uint16)
    assert out[:6].tolist() == [0x3F80, 0x3F82, 0x3F81, 0x7F80, 0x0000, 0x7FC0]
    assert np.array_equal(out, bits_of_bf16(x))
    ordinary = np.isfinite(x)
    nearest = (out.astype(np.uint32) << 16).view(np.float32)[ordinary].astype(np.float64)
    error = np.abs(nearest - x[ordinary])
    assert np.all((error <= np.abs(x[ordinary]) * 2.0**-8) | (np.abs(x[ordinary]) < 1e-37) | np.isinf(nearest))


@pytest.mark.parametrize("T", [f16, bf16], ids=repr)
def test_arithmetic_of_narrow_floats(T):
    from facula.kernel.language import fma, maximum, sqrt

    @kernel
    def k(out: ptr(T), x: ptr(T), y: ptr(T), n: i64):
        for i in range(0, n, LANES):
            a, b = load(x, i, LANES), load(y, i, LANES)
            store(out, i, a * b + a / b - maximum(a, b) * 2.0)
        for i in range(n):
            a, b = x[i], y[i]
            out[n + i] = fma(a, b, -a) + sqrt(abs(b)) if a < b else -a

    rng = np.random.default_rng(3)
    x, y = (rng.standard_normal(64).astype(np.float32) for _ in range(2))
    x, y = (bits_of_bf16(v) if T is bf16 else v.astype(np.float16) for v in (x, y))
    both(k, np.zeros(128, x.dtype), x, y, 64)


def test_narrow_constants():
    @kernel
    def k(out: ptr(f16), brain: ptr(bf16)):
        out[0] = f16(1e6)
        out[1] = f16(-1e6)
        out[2] = f16(0.1)
        brain[0] = bf16(1e39)
        brain[1] = bf16(0.1)
        brain[2] = bf16(-3.0)

    _, out, brain = both(k, np.zeros(3, np.float16), np.zeros(3, np.uint16))
    assert out.tolist() == [np.inf, -np.inf, np.float16(0.1)]
    assert brain.tolist() == [0x7F80, 0x3DCD, 0xC040]


class WithoutHalf:
    """The processor of this machine, without its instructions for half precision."""

    def __init__(self):
        self.__dict__.update(target.host().__dict__)
        self.has_f16 = False


def test_half_precision_by_integer_operations(monkeypatch):
    """The code for processors without conversions gives the same bits."""
    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    rng = np.random.default_rng(4)
    x = (rng.standard_normal(4000) * 10.0 ** rng.uniform(-9, 6, 4000)).astype(np.float32)
    x[:4] = [np.inf, -np.inf, 65520, 65519.9]

    @kernel
    def widen(out: ptr(f32), x: ptr(f16), n: i64):
        for i in range(0, n, LANES):
            store(out, i, f32(load(x, i, LANES)))

    @kernel
    def narrow(out: ptr(f16), x: ptr(f32), n: i64):
        for i in range(0, n, LANES):
            store(out, i, f16(load(x, i, LANES)))

    original = Emitter.__init__
    monkeypatch.setattr(Emitter, "__init__", lambda self, module, machine: original(self, module, WithoutHalf()))
    out = np.zeros(65536, np.float32)
    native(widen, out, every, 65536)
    assert "fpext" not in widen.ir()
    assert np.array_equal(out, every.astype(np.float32), equal_nan=True)
    halves = np.zeros(4000, np.float16)
    native(narrow, halves, x, 4000)
    with np.errstate(over="ignore"):
        assert np.array_equal(halves, x.astype(np.float16))


def test_bitcasts():
    @kernel
    def k(x: f64, p: ptr(u16), q: ptr(u64)) -> i64:
        pair = bitcast(x, vec(u32, 2))
        p[0] = bitcast(f16(1.5), u16)
        p[1] = bitcast(bf16(1.5), u16)
        p[2] = u16(bitcast(load(q, 0, 8) > 2, vec_of_bits))
        q[0] = u64(pair[1])
        return bitcast(x, i64)

    from facula.kernel.language import u8

    vec_of_bits = u8
    result, p, q = both(k, -2.5, np.zeros(3, np.uint16), np.arange(8, dtype=np.uint64))
    assert result == np.array(-2.5).view(np.int64)
    assert p.tolist() == [0x3E00, 0x3FC0, 0b11111000] and q[0] == 0xC0040000


def test_scalars_spread_over_vectors():
    @kernel
    def k(out: ptr(f32), x: f64):
        store(out, 0, vec(f32, 4)(x) + f32(1.0))

    assert both(k, np.zeros(4, np.float32), 0.5)[1].tolist() == [1.5] * 4


def test_a_macro_that_makes_numbers():
    @kernel
    def k() -> f64:
        return f64(3) / f64(True)

    assert both(k) == 3.0
