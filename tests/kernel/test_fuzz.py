"""Random kernels, compiled and interpreted: the same bits.

Programs are drawn from a grammar of typed statements and expressions that avoids undefined behaviour. The seeds are
fixed, so a failure is found again; the failing program stands in the file that the message names.
"""

import importlib.util
import random
import sys

import numpy as np
import pytest

from tests.kernel.harness import both

HEADER = """from facula.kernel.language import (
    b1, f32, f64, fma, floor, i8, i32, i64, kernel, load, maximum, minimum, ptr, rint, select, shuffle, store, u8, u32,
    unroll, vec,
)

V, I = vec(f32, 4), vec(i32, 4)

"""
INTEGERS = ["i8", "i32", "i64", "u8", "u32"]
FLOATS = ["f32", "f64"]
VECTORS = ["V", "I"]
TYPES = INTEGERS + FLOATS + VECTORS + ["b1"]
DTYPES = {"i8": "int8", "i32": "int32", "i64": "int64", "u8": "uint8", "u32": "uint32", "f32": "float32",
          "f64": "float64", "b1": "bool"}  # fmt: skip


class Writer:
    """One random kernel's source."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.lines = []
        self.names = {t: [f"{t}_{k}" for k in range(2)] for t in TYPES}
        self.counters = 0
        self.budget = 30

    def pick(self, *choices):
        return self.random.choice(choices)

    def expression(self, t, depth):
        if depth == 0 or self.random.random() < 0.15:
            return self.leaf(t)
        e = lambda kind=t: self.expression(kind, depth - 1)  # noqa: E731
        if self.random.random() < 0.15:
            return f"({e()} if {e('b1')} else {e()})"
        if t == "b1":
            kind = self.pick(*INTEGERS, *FLOATS)
            compared = f"({e(kind)} {self.pick('<', '<=', '>', '>=', '==', '!=')} {e(kind)})"
            return self.pick(
                compared, compared, f"({e()} and {e()})", f"({e()} or {e()})", f"(not {e()})", f"({e()} ^ {e()})"
            )
        if t in FLOATS:
            other = self.pick(*INTEGERS, *FLOATS, "b1")
            return self.pick(
                f"({e()} + {e()})", f"({e()} - {e()})", f"({e()} * {e()})", f"({e()} / {e()})", f"(-{e()})",
                f"fma({e()}, {e()}, {e()})", f"{t}({e(other)})", f"abs({e()})", f"min({e()}, {e()})",
                f"maximum({e()}, {e()})", f"floor({e()})", f"rint({e()})", f"select({e('b1')}, {e()}, {e()})",
            )  # fmt: skip
        if t in INTEGERS:
            bits = 7 if t in ("i8", "u8") else 31
            return self.pick(
                f"({e()} + {e()})", f"({e()} - {e()})", f"({e()} * {e()})", f"({e()} // (({e()} & 7) | 1))",
                f"({e()} % ({e()} & 15 | 1))", f"({e()} // {self.pick(2, 8, 5)})", f"({e()} % {self.pick(4, 7)})",
                f"({e()} & {e()})", f"({e()} | {e()})", f"({e()} ^ {e()})", f"(~{e()})", f"(-{e()})",
                f"({e()} << ({e()} & {bits}))", f"({e()} >> ({e()} & {bits}))", f"{t}({e(self.pick(*INTEGERS, 'b1'))})",
                f"max({e()}, {e()})", f"minimum({e()}, {e()})", f"abs({e()})", self.narrow(t, e),
            )  # fmt: skip
        lanes = [self.random.randrange(8) for _ in range(4)]
        scalar = "f32" if t == "V" else "i32"
        by = self.leaf(scalar)
        common = [f"({e()} + {e()})", f"({e()} - {e()})", f"({e()} * {e()})", f"shuffle({e()}, {e()}, {lanes})",
                  f"{t}({e(scalar)})", f"({e()} * {by})", f"select({e()} < {e()}, {e()}, {e()})"]  # fmt: skip
        if t == "V":
            common += [f"({e()} / {e()})", f"V({e('I')})", f"minimum({e()}, {e()})", f"floor({e()})"]
        else:
            common += [f"({e()} & {e()})", f"I({e('V')})", f"({e()} >> {self.random.randrange(31)})"]
        return self.pick(*common)

    def narrow(self, t, e):
        """A float as an integer: i8 and u32 of large floats are as the processor likes, so bounded first."""
        return f"{t}(minimum(maximum({e('f64')}, 0.0), 100.0))"

    def leaf(self, t):
        if self.random.random() < 0.6:
            return self.pick(*self.names[t])
        number = (
            self.pick("0.0", "1.5", "-0.25", "3.0", "1e10") if t in [*FLOATS, "V"] else str(self.random.randrange(100))
        )
        return f"b1({self.pick(True, False)})" if t == "b1" else f"{t}({number})"

    def block(self, indent, depth, loop):
        for _ in range(self.random.randrange(1, 4)):
            self.statement(indent, depth, loop)

    def statement(self, indent, depth, loop):
        self.budget -= 1
        choice = self.random.random()
        write = lambda text: self.lines.append("    " * indent + text)  # noqa: E731
        if self.budget < 0 or depth == 0 or choice < 0.5:
            t = self.pick(*TYPES)
            write(f"{self.pick(*self.names[t])} = {self.expression(t, 2)}")
        elif choice < 0.7:
            write(f"if {self.expression('b1', 2)}:")
            self.block(indent + 1, depth - 1, loop)
            if self.random.random() < 0.5:
                write("else:")
                self.block(indent + 1, depth - 1, loop)
        elif choice < 0.78 and loop:
            write(f"if {self.expression('b1', 1)}:")
            write("    " + self.pick("break", "continue"))
        else:
            self.counters += 1
            name = f"c{self.counters}"
            kind = self.pick("range", "unroll", "while")
            if kind == "while":
                write(f"{name} = 0")
                write(f"while {name} < {self.random.randrange(1, 4)}:")
                write(f"    {name} += 1")
            else:
                bounds = self.pick("3", "n", "1, n", "n, 0, -1") if kind == "range" else self.pick("2", "1, 3")
                write(f"for {name} in {f'range({bounds})' if kind == 'range' else f'unroll(range({bounds}))'}:")
                write(f"    i64_0 = i64_0 + {name}")
            self.block(indent + 1, depth - 1, True)

    def source(self, name):
        arrays = [f"p_{t}: ptr({t})" for t in DTYPES]
        self.lines = ["@kernel", f"def {name}({', '.join(arrays)}, n: i64):"]
        for t in DTYPES:
            for k in range(2):
                self.lines.append(f"    {t}_{k} = p_{t}[{k}]")
        for k in range(2):
            self.lines += [f"    V_{k} = load(p_f32, {2 + 4 * k}, 4)", f"    I_{k} = load(p_i32, {2 + 4 * k}, 4)"]
        for _ in range(6):
            self.statement(1, 3, False)
        for t in DTYPES:
            for k in range(2):
                self.lines.append(f"    p_{t}[{k}] = {t}_{k}")
        for k in range(2):
            self.lines += [f"    store(p_f32, {2 + 4 * k}, V_{k})", f"    store(p_i32, {2 + 4 * k}, I_{k})"]
        return "\n".join(self.lines) + "\n\n\n"


@pytest.mark.parametrize("seed", range(6))
def test_random_kernels(seed, tmp_path):
    count = 10
    file = tmp_path / f"random_kernels_{seed}.py"
    file.write_text(HEADER + "".join(Writer(seed * 1000 + k).source(f"k{k}") for k in range(count)))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    rng = np.random.default_rng(seed)
    for k in range(count):
        for n in (0, 3):
            arrays = []
            for dtype in map(np.dtype, DTYPES.values()):
                if dtype.kind == "f":
                    arrays.append((rng.standard_normal(10) * 10.0 ** rng.integers(-2, 3, 10)).astype(dtype))
                elif dtype.kind == "b":
                    arrays.append(rng.random(10) < 0.5)
                else:
                    info = np.iinfo(dtype)
                    small = rng.integers(-5 if info.min else 0, 20, 10)
                    arrays.append(
                        np.where(rng.random(10) < 0.7, small, rng.integers(info.min, info.max, 10)).astype(dtype)
                    )
            try:
                both(getattr(module, f"k{k}"), *arrays, n)
            except Exception as error:
                raise AssertionError(f"kernel k{k} with n = {n} in {file}") from error
