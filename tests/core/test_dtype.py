"""The dtypes against PyTorch's, and what must hold of them without it."""

from __future__ import annotations

import copy
import pickle

import pytest

from facula.core import dtype as types

ALL = types.ALL_DTYPES
ALIASES = ("short", "int", "long", "half", "float", "double", "chalf", "cfloat", "cdouble")


@pytest.fixture
def default_restored():
    before = types.get_default_dtype()
    yield
    types.set_default_dtype(before)


def outcome(function):
    """A result as text, or the exception it raised."""
    try:
        return repr(function())
    except (TypeError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("ours", ALL, ids=str)
def test_attributes_equal_torch(ours):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch, ours.name)
    assert repr(ours) == repr(theirs)
    for attribute in ("itemsize", "is_floating_point", "is_complex", "is_signed", "abbr"):
        assert getattr(ours, attribute) == getattr(theirs, attribute)
    assert outcome(ours.to_real) == outcome(theirs.to_real)
    assert outcome(ours.to_complex) == outcome(theirs.to_complex)


@pytest.mark.parametrize("ours", ALL, ids=str)
@pytest.mark.parametrize("info", ["finfo", "iinfo"])
def test_limits_equal_torch(ours, info):
    torch = pytest.importorskip("torch")
    mine, reference = getattr(types, info), getattr(torch, info)
    theirs = getattr(torch, ours.name)
    assert outcome(lambda: mine(ours)) == outcome(lambda: reference(theirs))
    try:
        expected = reference(theirs)
    except TypeError:
        return
    for attribute in [name for name in dir(expected) if not name.startswith("_")]:
        assert getattr(mine(ours), attribute) == getattr(expected, attribute), attribute


def test_limits_equal_numpy():
    import numpy as np

    for ours in (types.float16, types.float32, types.float64):
        mine, reference = types.finfo(ours), np.finfo(ours.numpy_name)
        assert (mine.max, mine.min, mine.eps, mine.tiny) == (
            reference.max,
            reference.min,
            reference.eps,
            reference.tiny,
        )
    for ours in ALL:
        if ours.kind in "iu":
            assert (types.iinfo(ours).min, types.iinfo(ours).max) == (
                np.iinfo(ours.numpy_name).min,
                np.iinfo(ours.numpy_name).max,
            )


def test_limits_of_the_default_dtype(default_restored):
    assert types.finfo() == types.finfo(types.float32) != types.finfo(types.float16)
    types.set_default_dtype(types.float64)
    assert types.finfo().bits == 64
    assert types.finfo(types.complex64) == types.finfo(types.float32)


@pytest.mark.parametrize("ours", ALL, ids=str)
def test_copies_are_the_same_object(ours):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(ours, protocol)) is ours
    assert copy.copy(ours) is ours
    assert copy.deepcopy([ours])[0] is ours


def test_aliases_name_the_same_objects():
    assert [getattr(types, alias).name for alias in ALIASES] == [
        *["int16", "int32", "int64", "float16", "float32", "float64"],
        *["complex32", "complex64", "complex128"],
    ]


def test_names_and_codes_are_unique():
    for attribute in ("name", "code", "scalar_name", "index"):
        assert len({getattr(ours, attribute) for ours in ALL}) == len(ALL)
    assert [ours.index for ours in ALL] == list(range(len(ALL)))


def test_numpy_names_have_the_same_size_and_kind():
    import numpy as np

    for ours in ALL:
        if ours.numpy_name is not None:
            assert (np.dtype(ours.numpy_name).itemsize, np.dtype(ours.numpy_name).kind) == (ours.itemsize, ours.kind)
            assert types.from_numpy_name(ours.numpy_name) is ours
    assert types.from_numpy_name("datetime64") is None


def test_instances_cannot_be_made_or_changed():
    with pytest.raises(TypeError, match=r"cannot create 'torch\.dtype' instances"):
        types.dtype()
    with pytest.raises(TypeError, match="not an acceptable base type"):
        type("mine", (types.dtype,), {})
    with pytest.raises(AttributeError, match="not writable"):
        types.float32.itemsize = 8


def test_default_dtype(default_restored):
    assert types.get_default_dtype() is types.float32
    types.set_default_dtype(types.bfloat16)
    assert types.get_default_dtype() is types.bfloat16
    with pytest.raises(TypeError, match=r"^only floating-point types are supported as the default type$"):
        types.set_default_dtype(types.int64)
    with pytest.raises(TypeError, match=r"^invalid dtype object: only floating-point types"):
        types.set_default_dtype("float32")
    assert types.get_default_dtype() is types.bfloat16
