"""Collating: structure, dtypes and errors of a batch, compared with PyTorch's."""

from __future__ import annotations

from collections import ChainMap, OrderedDict, UserDict, UserList, defaultdict, namedtuple
from types import MappingProxyType

import numpy as np
import pytest

import facula
from facula.utils.data import default_collate, default_convert
from facula.utils.data._utils import collate as module

Point = namedtuple("Point", "x y")


def shape_of(value: object) -> object:
    """A structure with tensors spelled out, so that those of two libraries compare."""
    if hasattr(value, "dtype") and hasattr(value, "tolist") and not isinstance(value, (np.ndarray, np.generic)):
        return ("tensor", str(value.dtype), tuple(value.shape), value.tolist())
    if hasattr(value, "keys"):
        return (type(value).__name__, {key: shape_of(value[key]) for key in value})
    if isinstance(value, (list, tuple, UserList)):
        return (type(value).__name__, [shape_of(item) for item in value])
    return (type(value).__name__, str(value))


BATCHES = {
    "tensors": lambda lib: [lib.ones(2, 3), lib.zeros(2, 3)],
    "scalars": lambda lib: [lib.tensor(1), lib.tensor(2)],
    "ints": lambda lib: [1, 2, 3],
    "floats": lambda lib: [1.5, 2.5],
    "mixed numbers": lambda lib: [1, True, 3],
    "floats and ints": lambda lib: [1.5, 2],
    "large ints": lambda lib: [1 << 62, -(1 << 63)],
    "transposed tensors": lambda lib: [lib.ones(2, 3).t(), lib.zeros(2, 3).t()],
    "tensors of two layouts": lambda lib: [lib.ones(2, 3), lib.zeros(3, 2).t()],
    "empty tensors": lambda lib: [lib.ones(0, 3), lib.zeros(0, 3)],
    "bools": lambda lib: [True, False],
    "strings": lambda lib: ["a", "b"],
    "bytes": lambda lib: [b"a", b"b"],
    "tuples": lambda lib: [(lib.ones(2), 1, "a"), (lib.zeros(2), 2, "b")],
    "lists": lambda lib: [[1, 2.0], [3, 4.0]],
    "named tuples": lambda lib: [Point(1, lib.ones(1)), Point(2, lib.ones(1))],
    "dicts": lambda lib: [{"a": 1, "b": {"c": lib.ones(1)}}, {"a": 2, "b": {"c": lib.zeros(1)}}],
    "ordered": lambda lib: [OrderedDict(z=1, a=2), OrderedDict(a=3, z=4)],
    "defaultdict": lambda lib: [defaultdict(int, a=1), defaultdict(int, a=2)],
    "user dict": lambda lib: [UserDict(a=1), UserDict(a=2)],
    "user list": lambda lib: [UserList([1, 2]), UserList([3, 4])],
    "chain map": lambda lib: [ChainMap({"a": 1}), ChainMap({"a": 2})],
    "read-only mapping": lambda lib: [MappingProxyType({"a": 1}), MappingProxyType({"a": 2})],
    "range": lambda lib: [range(3), range(3)],
    "arrays": lambda lib: [np.ones((2, 2), np.float32), np.zeros((2, 2), np.float32)],
    "array scalars": lambda lib: [np.float32(1.5), np.float32(2.5)],
    "numpy float64": lambda lib: [np.float64(1.5), np.float64(2.5)],
    "numpy bools": lambda lib: [np.bool_(True), np.bool_(False)],
    "numpy ints": lambda lib: [np.int16(1), np.int16(2)],
    "nested": lambda lib: [((1, [2.0]), {"k": (3,)}), ((4, [5.0]), {"k": (6,)})],
}


@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_is_torchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    ours = default_collate(BATCHES[name](facula))
    theirs = torch.utils.data.default_collate(BATCHES[name](torch))
    assert shape_of(ours) == shape_of(theirs)


@pytest.mark.parametrize("name", BATCHES)
def test_converting_is_torchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    for position in range(2):
        ours = default_convert(BATCHES[name](facula)[position])
        theirs = torch.utils.data.default_convert(BATCHES[name](torch)[position])
        assert shape_of(ours) == shape_of(theirs)


def test_values_without_an_oracle() -> None:
    x, (label, name) = default_collate([(facula.ones(2), (3, "a")), (facula.zeros(2), (4, "b"))])
    assert x.tolist() == [[1.0, 1.0], [0.0, 0.0]]
    assert label.tolist() == [3, 4]
    assert label.dtype is facula.int64
    assert name == ("a", "b")


def test_gradients_pass_through() -> None:
    leaf = facula.ones(2, requires_grad=True)
    batch = default_collate([leaf, leaf * 2])
    batch.sum().backward()
    assert leaf.grad.tolist() == [3.0, 3.0]


def test_a_batch_owns_its_memory() -> None:
    x = facula.ones(2)
    default_collate([x, x]).fill_(5.0)
    assert x.tolist() == [1.0, 1.0]


def test_errors() -> None:
    with pytest.raises(RuntimeError, match="each element in list of batch should be of equal size"):
        default_collate([[1, 2], [3]])
    with pytest.raises(TypeError, match="must contain tensors, numpy arrays, numbers, dicts or lists; found"):
        default_collate([object()])
    with pytest.raises(TypeError, match="found <U1"):
        default_collate([np.array(["a"])])
    with pytest.raises(RuntimeError, match="stack expects each tensor to be equal size"):
        default_collate([facula.ones(2), facula.ones(3)])
    with pytest.raises((RuntimeError, OverflowError, ValueError)):
        default_collate([1 << 70, 1])
    with pytest.raises(KeyError):
        default_collate([{"a": 1}, {"b": 1}])


def test_a_program_can_extend_it() -> None:
    class Money:
        def __init__(self, amount: int) -> None:
            self.amount = amount

    def total(batch, *, collate_fn_map=None):
        return sum(each.amount for each in batch)

    assert module.collate([Money(1), Money(2)], collate_fn_map={Money: total}) == 3
    module.default_collate_fn_map[Money] = total
    try:
        assert default_collate([(Money(1), 1), (Money(5), 2)])[0] == 6
        assert not module.tensors_collate_as_usual()
    finally:
        del module.default_collate_fn_map[Money]
    assert module.tensors_collate_as_usual()


def test_numpys_types_come_after_tensors() -> None:
    default_collate([1])
    assert list(module.default_collate_fn_map)[:2] == [facula.Tensor, np.ndarray]
