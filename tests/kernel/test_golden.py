"""The generated code of a few short kernels, to be read. FACULA_UPDATE_GOLDEN=1 accepts changes."""

import re

import pytest

from facula.kernel import target
from facula.kernel.emit import Emitter
from facula.kernel.language import f32, f64, fma, i64, kernel, load, parallel, ptr, splat, store, tail_mask, unroll


class Plain:
    """A processor that does not depend on the machine of the test."""

    is_x86, has_fma, has_f16, vector_bits, registers, cpu, machine = True, True, True, 256, 16, "plain", "x86_64"
    kernel_fingerprint = "plain"


@pytest.fixture(autouse=True)
def plain_processor(monkeypatch):
    original = Emitter.__init__
    target.host()
    monkeypatch.setattr(Emitter, "__init__", lambda self, module, machine: original(self, module, Plain()))


@kernel
def axpy(y: ptr(f32), x: ptr(f32), a: f64, lo: i64, hi: i64):
    scale = splat(f32(a), 8)
    main = lo + (hi - lo) // 8 * 8
    for i in range(lo, main, 8):
        store(y, i, fma(scale, load(x, i, 8), load(y, i, 8)))
    if main < hi:
        mask = tail_mask(8, hi - main)
        store(y, main, fma(scale, load(x, main, 8, mask), load(y, main, 8, mask)), mask)


@kernel
def collatz(n: i64) -> i64:
    steps = 0
    while n != 1:
        steps += 1
        if n % 2 == 0:
            n = n // 2
            continue
        if steps > 1000:
            break
        n = 3 * n + 1
    return steps


@kernel
def column_sums(out: ptr(f32), x: ptr(f32), n: i64):
    sums = [f32(0.0) for _ in range(2)]
    for i in range(n):
        for j in unroll(range(2)):
            sums[j] = sums[j] + x[i * 2 + j]
    for j in unroll(range(2)):
        out[j] = sums[j]


@kernel
def scaled(out: ptr(f32), x: ptr(f32), a: f32, n: i64):
    for i in parallel(0, n, 4):
        out[i] = x[i] * a


@pytest.mark.parametrize("k", [axpy, collatz, column_sums, scaled], ids=lambda k: k.name)
def test_generated_code(k, golden):
    text = re.sub(r"@k[0-9a-f]{32}", "@exported", k.ir())
    golden(f"{k.name}.ll", text)
    target.parse(text.replace("@exported", f"@golden_{k.name}"))
