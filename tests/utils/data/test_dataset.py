"""Datasets: indexing, joining, splitting, and the errors of each."""

from __future__ import annotations

import pytest

import facula
from facula.utils import data
from facula.utils.data.dataset import collated_batch


class Stream(data.IterableDataset):
    def __init__(self, stop: int) -> None:
        self.stop = stop

    def __iter__(self):
        return iter(range(self.stop))

    def __len__(self) -> int:
        return self.stop


def test_tensor_dataset_gives_rows() -> None:
    x, y = facula.arange(6.0).view(3, 2), facula.tensor([7, 8, 9])
    dataset = data.TensorDataset(x, y)
    assert len(dataset) == 3
    row, label = dataset[1]
    assert row.tolist() == [2.0, 3.0]
    assert label.item() == 8
    x[1, 0] = 5.0
    assert row.tolist() == [5.0, 3.0], "rows are views"
    with pytest.raises(IndexError):
        dataset[3]
    with pytest.raises(AssertionError, match="Size mismatch between tensors"):
        data.TensorDataset(x, facula.zeros(2))


def test_a_whole_batch_is_what_collating_the_samples_gives() -> None:
    x, y = facula.arange(12.0).view(6, 2).t().contiguous().t(), facula.arange(6)
    dataset = data.Subset(data.Subset(data.TensorDataset(x, y), [5, 4, 3, 2]), range(1, 4))
    indices = [2, 0, 0]
    whole = collated_batch(dataset, indices)
    usual = data.default_collate([dataset[index] for index in indices])
    assert [t.tolist() for t in whole] == [t.tolist() for t in usual]
    assert [(t.dtype, t.stride()) for t in whole] == [(t.dtype, t.stride()) for t in usual]


@pytest.mark.parametrize("indices", [[], [-1], [6], [True], [0.0], [[0]]])
def test_unusual_indices_are_left_to_the_samples(indices: list) -> None:
    assert collated_batch(data.TensorDataset(facula.arange(6)), indices) is None


def test_an_overridden_sample_is_respected() -> None:
    class Doubled(data.TensorDataset):
        def __getitem__(self, index):
            return (super().__getitem__(index)[0] * 2,)

    loader = data.DataLoader(Doubled(facula.arange(4)), batch_size=4)
    assert [batch.tolist() for (batch,) in loader] == [[0, 2, 4, 6]]


def test_concat() -> None:
    joined = data.TensorDataset(facula.arange(2)) + data.TensorDataset(facula.arange(5, 8))
    assert [joined[i][0].item() for i in range(5)] == [0, 1, 5, 6, 7]
    assert joined[-1][0].item() == 7
    assert len(joined) == 5
    assert joined.cumulative_sizes == [2, 5]
    with pytest.warns(FutureWarning, match="renamed to"):
        assert joined.cummulative_sizes == [2, 5]
    with pytest.raises(ValueError, match="absolute value of index should not exceed dataset length"):
        joined[-6]
    with pytest.raises(IndexError):
        joined[5]
    with pytest.raises(AssertionError, match="should not be an empty iterable"):
        data.ConcatDataset([])
    with pytest.raises(AssertionError, match="does not support IterableDataset"):
        data.ConcatDataset([Stream(2)])


def test_chain() -> None:
    chained = Stream(2) + Stream(3)
    assert list(chained) == [0, 1, 0, 1, 2]
    assert len(chained) == 5
    with pytest.raises(AssertionError, match="only supports IterableDataset"):
        list(data.ChainDataset([[1]]))


def test_an_iterable_dataset_needs_iter() -> None:
    with pytest.raises(TypeError, match="abstract"):
        data.IterableDataset()
    with pytest.raises(NotImplementedError, match="should implement __getitem__"):
        data.Dataset()[0]


class Halves:
    """Gives samples in bulk, and remembers that it was asked to."""

    def __init__(self) -> None:
        self.asked: list = []

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index):
        return index / 2

    def __getitems__(self, indices):
        self.asked.append(indices)
        return [self[index] for index in indices]


def test_stack() -> None:
    halves = Halves()
    pairs = data.StackDataset(halves, "abcd")
    assert pairs[1] == (0.5, "b")
    assert pairs.__getitems__([0, 3]) == [(0.0, "a"), (1.5, "d")]
    assert halves.asked == [[0, 3]]
    named = data.StackDataset(half=halves, letter="abcd")
    assert named[2] == {"half": 1.0, "letter": "c"}
    assert named.__getitems__([3]) == [{"half": 1.5, "letter": "d"}]
    assert len(named) == 4
    for arguments, keywords, message in (
        ((), {}, "At least one dataset"),
        (("a",), {"b": "b"}, "both types are given"),
        (("a", "bc"), {}, "Size mismatch between datasets"),
    ):
        with pytest.raises(ValueError, match=message):
            data.StackDataset(*arguments, **keywords)
    halves.__class__.__getitems__, kept = (lambda self, indices: [0]), Halves.__getitems__
    try:
        with pytest.raises(ValueError, match="Expected 2, got 1"):
            pairs.__getitems__([0, 1])
    finally:
        Halves.__getitems__ = kept


def test_subset() -> None:
    halves = Halves()
    part = data.Subset(halves, [3, 1])
    assert (len(part), part[0], part.__getitems__([1, 0])) == (2, 0.5 * 3, [0.5, 1.5])
    assert halves.asked == [[1, 3]]
    assert data.Subset(facula.arange(5), [4, 2])[[0, 1]].tolist() == [4, 2]

    class Half(data.Subset):
        def __getitem__(self, index):
            return super().__getitem__(index) / 2

    with pytest.raises(NotImplementedError, match="overrides __getitem__ but not __getitems__"):
        Half(halves, [0])


@pytest.mark.parametrize("lengths", [[3, 7], [10], [0.3, 0.3, 0.4], [0.5, 0.5], [0.33, 0.33, 0.34], [1.0]])
def test_random_split_is_torchs(lengths: list) -> None:
    torch = pytest.importorskip("torch")

    def split(lib) -> list:
        lib.manual_seed(1)
        first = lib.utils.data.random_split(range(10), lengths)
        second = lib.utils.data.random_split(range(10), lengths, generator=lib.Generator().manual_seed(42))
        return [list(part.indices) for part in first + second]

    assert split(facula) == split(torch)


def test_random_split_errors() -> None:
    with pytest.raises(ValueError, match="does not equal the length of the input dataset"):
        data.random_split(range(10), [3, 6])
    with pytest.raises(ValueError, match="Fraction at index 0 is not between 0 and 1"):
        data.random_split(range(10), [1.5, -0.5])
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        data.random_split(range(2), [0.95, 0.05])


def test_datasets_can_be_subscripted() -> None:
    from typing import Generic, TypeVar

    T = TypeVar("T")

    class Mine(data.Dataset[T], Generic[T]):
        def __getitem__(self, index):
            return index

    class Stream2(data.IterableDataset[int]):
        def __iter__(self):
            return iter([1])

    assert Mine()[3] == 3
    assert list(Stream2()) == [1]
    assert isinstance(Stream2(), data.IterableDataset)
