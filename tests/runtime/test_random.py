"""Random streams: the kernels against the NumPy reference, and both against torch."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from facula.kernel import language
from facula.runtime import random as streams
from tests.runtime.random_reference import Reference

DTYPES = ("float32", "float64", "float16", "bfloat16")
SIZES = (1, 2, 3, 15, 16, 17, 31, 33, 100, 1025, 2049)
KERNEL_TYPE = {
    "float32": language.f32, "float64": language.f64, "float16": language.f16, "bfloat16": language.bf16,
    "int8": language.i8, "uint8": language.u8, "int16": language.i16, "int32": language.i32, "int64": language.i64,
    "bool": language.b1,
}  # fmt: skip


def empty(n: int, dtype: str) -> np.ndarray:
    return np.empty(n, np.uint16 if dtype == "bfloat16" else dtype)


def readable(array: np.ndarray, dtype: str) -> np.ndarray:
    """bfloat16 bits as float32; other arrays as they are."""
    return (array.astype(np.uint32) << 16).view(np.float32) if dtype == "bfloat16" else array


def draw(generator: streams.Generator, family, n: int, dtype: str, *parameters) -> np.ndarray:
    out = empty(n, dtype)
    generator.draw(family(KERNEL_TYPE[dtype]), n, out.ctypes.data, *parameters)
    return readable(out, dtype)


def seeded(seed: int) -> streams.Generator:
    return streams.Generator().manual_seed(seed)


# Each entry: the family of kernels, its parameters, and what the reference calls it.
CONTINUOUS = {
    "uniform": (streams.continuous.uniform, (0.0, 1.0), Reference.uniform),
    "uniform between": (streams.continuous.uniform, (-0.3, 1.7), Reference.uniform),
    "uniform narrow": (streams.continuous.uniform, (1.0, 1.0001), Reference.uniform),
    "log_normal": (streams.continuous.log_normal, (0.5, 0.75), Reference.log_normal),
    "exponential": (streams.continuous.exponential, (2.5, 0.0), lambda s, n, d, a, _: s.exponential(n, d, a)),
    "cauchy": (streams.continuous.cauchy, (0.5, 2.0), Reference.cauchy),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous(name: str, dtype: str) -> None:
    family, parameters, expected = CONTINUOUS[name]
    ours, theirs = seeded(7), Reference(7)
    for n in SIZES:  # one stream through: each call begins where the last one ended
        np.testing.assert_array_equal(
            draw(ours, family, n, dtype, *parameters), expected(theirs, n, dtype, *parameters)
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.3, 1.7)])
def test_normal(dtype: str, mean: float, std: float) -> None:
    ours, theirs = seeded(3), Reference(3)
    for n in SIZES:
        family = streams.continuous.normal_blocks if n >= 16 else streams.continuous.normal
        np.testing.assert_array_equal(draw(ours, family, n, dtype, mean, std), theirs.normal(n, dtype, mean, std))
    scattered = draw(ours, streams.continuous.normal, 41, dtype, mean, std)
    np.testing.assert_array_equal(scattered, theirs.normal(41, dtype, mean, std, contiguous=False))


def test_normal_extremes() -> None:
    """The smallest and largest unit numbers give finite radii."""
    sample = draw(seeded(0), streams.continuous.normal_blocks, 1 << 20, "float32", 0.0, 1.0)
    assert np.isfinite(sample).all() and abs(sample.mean()) < 4e-3 and abs(sample.std() - 1) < 4e-3


@pytest.mark.parametrize("dtype", [*DTYPES, "int8", "int16", "int32", "int64"])
@pytest.mark.parametrize(("low", "high"), [(0, 10), (-7, 9), (3, 4), (-100, 28)])
def test_integers(dtype: str, low: int, high: int) -> None:
    ours, theirs = seeded(11), Reference(11)
    for n in SIZES:
        sample = draw(ours, streams.discrete.integers32, n, dtype, low, high - low)
        np.testing.assert_array_equal(sample.astype(np.int64), theirs.integers(n, low, high).astype(np.int64))


@pytest.mark.parametrize(("low", "high"), [(0, 2**28), (-(2**62), 2**62 + 12345), (0, 2**63 - 1), (-5, 2**40)])
def test_long_integers(low: int, high: int) -> None:
    ours, theirs = seeded(11), Reference(11)
    for n in SIZES:
        span = (high - low + 2**63) % 2**64 - 2**63
        sample = draw(ours, streams.discrete.integers64, n, "int64", low, span)
        np.testing.assert_array_equal(sample, theirs.integers(n, low, high).astype(np.int64))


def test_full_range_integers() -> None:
    sample = draw(seeded(1), streams.discrete.integers64, 100, "int64", 0, 0)
    np.testing.assert_array_equal(sample.view(np.uint64), Reference(1).long_words(100))


@pytest.mark.parametrize("dtype", [*DTYPES, "int64", "uint8", "bool"])
@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
def test_bernoulli(dtype: str, p: float) -> None:
    ours, theirs = seeded(5), Reference(5)
    for n in SIZES:
        np.testing.assert_array_equal(draw(ours, streams.discrete.bernoulli, n, dtype, p, 0.0), theirs.bernoulli(n, p))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bernoulli_each(dtype: str) -> None:
    ours, theirs = seeded(5), Reference(5)
    probabilities = np.linspace(0, 1, 1030).astype(dtype)
    out = empty(1030, "int64")
    kernel = streams.discrete.bernoulli_each(language.i64, KERNEL_TYPE[dtype])
    assert ours.draw_checked(kernel, 1030, out.ctypes.data, probabilities.ctypes.data) == 0
    np.testing.assert_array_equal(out, theirs.bernoulli_each(probabilities, dtype))
    probabilities[[0, 4, 1029]] = -0.1, 1.1, np.nan
    assert ours.draw_checked(kernel, 1030, out.ctypes.data, probabilities.ctypes.data) == 3


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout(p: float) -> None:
    x = np.linspace(-1, 1, 1027, dtype=np.float32)
    out, noise = np.empty_like(x), np.empty_like(x)
    kernel = streams.discrete.dropout(language.f32)
    seeded(2).draw(kernel, len(x), out.ctypes.data, noise.ctypes.data, x.ctypes.data, 1 - p)
    kept = Reference(2).bernoulli(len(x), 1 - p)
    np.testing.assert_array_equal(noise, kept / np.float32(1 - p))
    np.testing.assert_array_equal(out, x * noise)


@pytest.mark.parametrize("dtype", ["int64", "float32", "int32"])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 1000, 5000])
def test_permutation(n: int, dtype: str) -> None:
    ours, theirs = seeded(8), Reference(8)
    np.testing.assert_array_equal(draw(ours, streams.discrete.permutation, n, dtype), theirs.permutation(n))
    np.testing.assert_array_equal(draw(ours, streams.continuous.uniform, 3, "float32", 0.0, 1.0), theirs.uniform(3))


def test_long_permutation() -> None:
    """The variant for lengths that no test can afford, on one that it can."""
    sample = draw(seeded(8), streams.discrete.long_permutation, 1000, "int64")
    draws, expected = Reference(8).long_words(999), np.arange(1000)
    for i in range(999):
        other = i + int(draws[i]) % (1000 - i)
        expected[[i, other]] = expected[[other, i]]
    np.testing.assert_array_equal(sample, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_choices(dtype: str) -> None:
    ours, theirs = seeded(6), Reference(6)
    probabilities = (np.random.default_rng(0).random((4, 1500)) + 0.01).astype(dtype)
    one, many = np.empty(4, np.int64), np.empty((4, 300), np.int64)
    room = np.empty(1500, "float64" if dtype == "float64" else "float32")
    T = KERNEL_TYPE[dtype]
    ours.draw(streams.choice.choose_one(T), 4, one.ctypes.data, probabilities.ctypes.data, 1500)
    np.testing.assert_array_equal(one, theirs.choose_one(probabilities, dtype))
    kernel = streams.choice.choose_many(T)
    bad = ours.draw_checked(kernel, 4, many.ctypes.data, probabilities.ctypes.data, room.ctypes.data, 1500, 300)
    assert bad == 0
    np.testing.assert_array_equal(many, theirs.choose_many(probabilities, 300, dtype))


@pytest.mark.parametrize(
    ("row", "found"),
    [([1, 2], 0), ([1, -1], 1), ([np.nan, 1], 1), ([np.inf, 1], 2), ([0, 0], 3)],
)
def test_choices_refuse(row: list[float], found: int) -> None:
    probabilities = np.array([[1, 1], row], np.float64)
    out, room = np.empty(4, np.int64), np.empty(2)
    addresses = probabilities.ctypes.data, room.ctypes.data
    check, many = streams.choice.check_rows(language.f64), streams.choice.choose_many(language.f64)
    assert seeded(0).draw_checked(check, 2, addresses[0], 2) == found
    assert seeded(0).draw_checked(many, 2, out.ctypes.data, *addresses, 2, 2) == found


def test_seeds() -> None:
    for seed in (0, 1, -1, 2**32, 2**63 + 5, 2**64 - 1, -(2**63)):
        generator = seeded(seed)
        assert generator.initial_seed() == seed % 2**64
        sample = draw(generator, streams.continuous.uniform, 4, "float32", 0.0, 1.0)
        np.testing.assert_array_equal(sample, Reference(seed).uniform(4))
    assert seeded(np.int64(3)).initial_seed() == 3
    for seed in (2**64, -(2**63) - 1):
        with pytest.raises(ValueError, match="Overflow"):
            seeded(seed)
    for wrong in (2.5, "a", True, None):
        with pytest.raises(RuntimeError, match="manual_seed expected a long, but got"):
            seeded(wrong)
    assert streams.Generator().initial_seed() == 67280421310721
    generator = streams.Generator()
    assert generator.seed() == generator.initial_seed() != streams.Generator().seed()


def test_saved_states() -> None:
    generator = seeded(-4)
    for n in (0, 1, 622, 1, 5, 2000):
        draw(generator, streams.continuous.uniform, n, "float32", 0.0, 1.0)
        saved, twin = generator.state_bytes(), generator.clone_state()
        assert len(saved) == 5056
        other = streams.Generator()
        other.restore_bytes(saved)
        assert other.state_bytes() == saved and other.initial_seed() == generator.initial_seed()
        samples = [draw(g, streams.continuous.normal, 3, "float64", 0.0, 1.0) for g in (generator, other, twin)]
        np.testing.assert_array_equal(samples[0], samples[1])
        np.testing.assert_array_equal(samples[0], samples[2])
    with pytest.raises(RuntimeError, match="of size 5056 but found the input RNG state size to be 3"):
        generator.restore_bytes(b"abc")
    with pytest.raises(RuntimeError, match="Invalid mt19937 state"):
        generator.restore_bytes(bytes(5056))


def test_other_devices() -> None:
    with pytest.raises(RuntimeError, match="cuda"):
        streams.Generator("cuda")


def test_threads_share_a_stream() -> None:
    """Numbers drawn by several threads at once are the stream's, each given to exactly one of them."""
    generator, kernel = seeded(1), streams.continuous.uniform(language.f64)
    samples = [np.empty(200_000) for _ in range(4)]

    def work(sample: np.ndarray) -> None:
        generator.draw(kernel, len(sample), sample.ctypes.data, 0.0, 1.0)
        for i in range(2000):
            generator.draw(kernel, 1, sample[i:].ctypes.data, 0.0, 1.0)

    workers = [threading.Thread(target=work, args=(sample,)) for sample in samples]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    position = draw(generator, streams.continuous.uniform, 1, "float64", 0.0, 1.0)
    reference = draw(seeded(1), streams.continuous.uniform, 4 * 202_000 + 1, "float64", 0.0, 1.0)
    assert position[0] == reference[-1]
    assert np.isin(np.concatenate(samples), reference).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_child_inherits_the_stream() -> None:
    generator = seeded(9)
    draw(generator, streams.continuous.uniform, 5, "float32", 0.0, 1.0)
    reader, writer = os.pipe()
    generator._lock.acquire()  # as if another thread were drawing just now
    child = os.fork()
    if child == 0:
        sample = draw(generator, streams.continuous.uniform, 5, "float32", 0.0, 1.0)
        os.write(writer, sample.tobytes())
        os._exit(0)
    generator._lock.release()
    os.waitpid(child, 0)
    inherited = np.frombuffer(os.read(reader, 20), np.float32)
    os.close(reader)
    os.close(writer)
    np.testing.assert_array_equal(inherited, draw(generator, streams.continuous.uniform, 5, "float32", 0.0, 1.0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_reference_is_torch(dtype: str) -> None:
    """Every method of the reference against the call that it stands for."""
    torch = pytest.importorskip("torch")
    kind = getattr(torch, dtype)
    generator, reference = torch.Generator().manual_seed(21), Reference(21)

    def check(filled, expected) -> None:
        np.testing.assert_array_equal(filled.double().numpy(), np.asarray(expected, np.float64))

    for n in (1, 5, 16, 17, 100, 1003):

        def fresh(n: int = n):
            return torch.empty(n, dtype=kind)

        check(fresh().uniform_(-0.3, 1.7, generator=generator), reference.uniform(n, dtype, -0.3, 1.7))
        check(fresh().normal_(0.3, 1.7, generator=generator), reference.normal(n, dtype, 0.3, 1.7))
        scattered = torch.empty(n, 2, dtype=kind)[:, 0].normal_(generator=generator)
        check(scattered, reference.normal(n, dtype, contiguous=False) if n > 1 else reference.normal(n, dtype))
        check(fresh().log_normal_(0.5, 0.75, generator=generator), reference.log_normal(n, dtype, 0.5, 0.75))
        check(fresh().exponential_(2.5, generator=generator), reference.exponential(n, dtype, 2.5))
        check(fresh().cauchy_(0.5, 2.0, generator=generator), reference.cauchy(n, dtype, 0.5, 2.0))
        check(fresh().bernoulli_(0.3, generator=generator), reference.bernoulli(n, 0.3))
        check(fresh().random_(0, 10, generator=generator), reference.integers(n, 0, 10))
        check(torch.randperm(n, generator=generator), reference.permutation(n))
        check(torch.empty(n, dtype=torch.int64).geometric_(0.3, generator=generator), reference.geometric(n, 0.3))
        long = torch.empty(n, dtype=torch.int64).random_(0, 2**28, generator=generator)
        check(long, reference.integers(n, 0, 2**28))
        p = torch.linspace(0.1, 1, n).to(kind)
        check(torch.bernoulli(p, generator=generator), reference.bernoulli_each(p.double().numpy(), dtype))
        rows = p.expand(3, n)
        array = p.double().numpy()[None].repeat(3, 0)
        check(torch.multinomial(rows.contiguous(), 1, generator=generator)[:, 0], reference.choose_one(array, dtype))
        check(torch.multinomial(rows, 9, True, generator=generator), reference.choose_many(array, 9, dtype))


def test_states_are_torch_states() -> None:
    torch = pytest.importorskip("torch")
    theirs, ours = torch.Generator().manual_seed(5), seeded(5)
    for n in (0, 1, 5, 640, 17):
        torch.rand(n, generator=theirs)
        torch.randn(1, generator=theirs)
        draw(ours, streams.continuous.uniform, n, "float32", 0.0, 1.0)
        draw(ours, streams.continuous.normal, 1, "float32", 0.0, 1.0)
        assert ours.state_bytes() == theirs.get_state().numpy().tobytes()
    back = torch.Generator()
    back.set_state(torch.frombuffer(bytearray(ours.state_bytes()), dtype=torch.uint8))
    expected = torch.rand(700, generator=back).numpy()
    np.testing.assert_array_equal(draw(ours, streams.continuous.uniform, 700, "float32", 0.0, 1.0), expected)
