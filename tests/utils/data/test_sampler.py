"""Samplers: the same indices as PyTorch under the same seed, the same errors."""

from __future__ import annotations

import pytest

import facula
from facula.utils import data

CASES = {
    "sequential": lambda lib, d: d.SequentialSampler(range(7)),
    "random": lambda lib, d: d.RandomSampler(range(11)),
    "random with a generator": lambda lib, d: d.RandomSampler(range(11), generator=lib.Generator().manual_seed(5)),
    "random, fewer": lambda lib, d: d.RandomSampler(range(11), num_samples=4),
    "random, several rounds": lambda lib, d: d.RandomSampler(range(5), num_samples=13),
    "replacement": lambda lib, d: d.RandomSampler(range(9), replacement=True),
    "replacement, blocks": lambda lib, d: d.RandomSampler(range(9), replacement=True, num_samples=70),
    "replacement, whole blocks": lambda lib, d: d.RandomSampler(range(9), replacement=True, num_samples=64),
    "subset": lambda lib, d: d.SubsetRandomSampler([4, 8, 15, 16, 23, 42]),
    "weighted": lambda lib, d: d.WeightedRandomSampler([0.1, 0.9, 0.4, 0.7, 3.0, 0.6], 8),
    "weighted, no replacement": lambda lib, d: d.WeightedRandomSampler([0.9, 0.4, 0.1, 0.2], 4, replacement=False),
    "batch": lambda lib, d: d.BatchSampler(d.RandomSampler(range(10)), 4, False),
    "batch, drop last": lambda lib, d: d.BatchSampler(d.RandomSampler(range(10)), 4, True),
}


def passes(lib, make) -> list:
    """Two passes over a sampler, its length, and where the default generator stands afterwards."""
    lib.manual_seed(3)
    sampler = make(lib, lib.utils.data)
    return [list(sampler), list(sampler), len(sampler), int(lib.randint(1 << 30, ()).item())]


@pytest.mark.parametrize("name", CASES)
def test_the_indices_are_torchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    assert passes(facula, CASES[name]) == passes(torch, CASES[name])


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_distributed_shares_are_torchs(length: int, drop_last: bool, shuffle: bool) -> None:
    torch = pytest.importorskip("torch")

    def shares(lib) -> list:
        result = []
        for rank in range(3):
            sampler = lib.utils.data.distributed.DistributedSampler(
                range(length), num_replicas=3, rank=rank, shuffle=shuffle, drop_last=drop_last, seed=2
            )
            sampler.set_epoch(4)
            result.append((list(sampler), len(sampler)))
        return result

    assert shares(facula) == shares(torch)


ERRORS = {
    "replacement": lambda d: d.RandomSampler(range(3), replacement=1),
    "num_samples": lambda d: d.RandomSampler(range(3), num_samples=0),
    "empty": lambda d: d.RandomSampler([]),
    "batch size": lambda d: d.BatchSampler(range(3), True, False),
    "batch size 0": lambda d: d.BatchSampler(range(3), 0, False),
    "drop_last": lambda d: d.BatchSampler(range(3), 1, 0),
    "weights": lambda d: d.WeightedRandomSampler([[1.0]], 1),
    "weighted num_samples": lambda d: d.WeightedRandomSampler([1.0], True),
    "weighted replacement": lambda d: d.WeightedRandomSampler([1.0], 1, replacement=0),
    "rank": lambda d: d.DistributedSampler(range(3), num_replicas=2, rank=2),
    "abstract": lambda d: iter(d.Sampler()),
}


@pytest.mark.parametrize("name", ERRORS)
def test_the_errors_are_torchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(Exception) as ours:
        ERRORS[name](data)
    with pytest.raises(Exception) as theirs:
        ERRORS[name](torch.utils.data)
    assert (type(ours.value), str(ours.value)) == (type(theirs.value), str(theirs.value))


def test_a_distributed_sampler_without_a_group_says_so() -> None:
    with pytest.raises((RuntimeError, ValueError)):
        data.DistributedSampler(range(3))


def test_own_samplers_can_be_subscripted() -> None:
    class Mine(data.Sampler[int]):
        def __iter__(self):
            return iter([2, 0])

    assert list(Mine()) == [2, 0]
    assert list(data.BatchSampler(Mine(), 5, False)) == [[2, 0]]
