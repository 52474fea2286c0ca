"""The loader in one process: PyTorch's batches under the same seed, its lengths, its argument errors."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest

import facula
from facula.utils import data
from facula.utils.data import DataLoader
from tests.utils.data.samples import Shares, Squares, spell


def tensors(lib):
    return lib.utils.data.TensorDataset(lib.arange(20.0).view(10, 2), lib.arange(10))


LOADERS = {
    "plain": lambda lib, make: make(tensors(lib)),
    "batches": lambda lib, make: make(tensors(lib), batch_size=4),
    "shuffled": lambda lib, make: make(tensors(lib), batch_size=4, shuffle=True),
    "drop last": lambda lib, make: make(tensors(lib), batch_size=4, shuffle=True, drop_last=True),
    "generator": lambda lib, make: make(
        tensors(lib), batch_size=3, shuffle=True, generator=lib.Generator().manual_seed(9)
    ),
    "generator, in order": lambda lib, make: make(tensors(lib), generator=lib.Generator().manual_seed(9)),
    "subset": lambda lib, make: make(lib.utils.data.Subset(tensors(lib), [7, 1, 1, 4]), batch_size=3, shuffle=True),
    "split": lambda lib, make: make(lib.utils.data.random_split(tensors(lib), [7, 3])[0], batch_size=2, shuffle=True),
    "concat": lambda lib, make: make(tensors(lib) + tensors(lib), batch_size=6, shuffle=True),
    "stack": lambda lib, make: make(lib.utils.data.StackDataset(x=tensors(lib), y=range(10)), batch_size=6),
    "single": lambda lib, make: make(tensors(lib), batch_size=None, shuffle=True),
    "sampler": lambda lib, make: make(
        tensors(lib), batch_size=2, sampler=lib.utils.data.WeightedRandomSampler([1.0] * 10, 5)
    ),
    "list as sampler": lambda lib, make: make(tensors(lib), batch_size=2, sampler=[3, 1, 2]),
    "batch sampler": lambda lib, make: make(tensors(lib), batch_sampler=[[0, 3], [5], [2, 2, 2]]),
    "python list": lambda lib, make: make([(i, str(i), {"a": i / 2}) for i in range(7)], batch_size=3, shuffle=True),
    "own collate": lambda lib, make: make(list(range(7)), batch_size=3, shuffle=True, collate_fn=sum),
    "own collate of tensors": lambda lib, make: make(tensors(lib), batch_size=3, collate_fn=lambda b: b[0]),
}


def epochs(lib, name: str) -> list:
    lib.manual_seed(17)
    loader = LOADERS[name](lib, lib.utils.data.DataLoader)
    first = [spell(batch) for batch in loader]
    lib.rand(3)
    second = [spell(batch) for batch in loader]
    return [first, second, len(loader), lib.randint(1 << 30, ()).item()]


@pytest.mark.parametrize("name", LOADERS)
def test_the_batches_are_torchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    assert epochs(facula, name) == epochs(torch, name)


def test_values_without_an_oracle() -> None:
    batches = list(DataLoader(Squares(5), batch_size=2))
    assert [x.tolist() for x, _ in batches] == [[[0.0] * 3, [1.0] * 3], [[2.0] * 3, [3.0] * 3], [[4.0] * 3]]
    assert [y.tolist() for _, y in batches] == [[0, 1], [4, 9], [16]]
    shuffled = DataLoader(range(100), batch_size=7, shuffle=True)
    seen = [index for batch in shuffled for index in batch.tolist()]
    assert seen != list(range(100))
    assert sorted(seen) == list(range(100))


def test_batches_own_their_memory() -> None:
    x = facula.zeros(4, 2)
    (batch,) = next(iter(DataLoader(data.TensorDataset(x), batch_size=4)))
    batch.fill_(1.0)
    assert x.sum().item() == 0.0


def test_iterable() -> None:
    loader = DataLoader(Shares(7), batch_size=3)
    assert len(loader) == 3
    assert [batch.tolist() for batch in loader] == [[0, 1, 2], [3, 4, 5], [6]]
    dropping = DataLoader(Shares(7), batch_size=3, drop_last=True)
    assert (len(dropping), len(list(dropping))) == (2, 2)
    single = DataLoader(Shares(3), batch_size=None)
    assert (len(single), list(single)) == (3, [0, 1, 2])


def test_a_wrong_length_is_noticed() -> None:
    class Longer(Shares):
        def __len__(self) -> int:
            return 2

    loader = DataLoader(Longer(3), batch_size=None)
    assert len(loader) == 2
    with pytest.warns(UserWarning, match=r"was reported to be 2\(when accessing len\(dataloader\)\), but 3 samples"):
        list(loader)


ERRORS = {
    "workers": lambda d, s: d.DataLoader(s, num_workers=-1),
    "timeout": lambda d, s: d.DataLoader(s, timeout=-1),
    "prefetch": lambda d, s: d.DataLoader(s, prefetch_factor=2),
    "prefetch < 0": lambda d, s: d.DataLoader(s, num_workers=1, prefetch_factor=-2),
    "persistent": lambda d, s: d.DataLoader(s, persistent_workers=True),
    "sampler and shuffle": lambda d, s: d.DataLoader(s, sampler=[0], shuffle=True),
    "batch sampler and size": lambda d, s: d.DataLoader(s, batch_sampler=[[0]], batch_size=2),
    "batch sampler and shuffle": lambda d, s: d.DataLoader(s, batch_sampler=[[0]], shuffle=True),
    "batch sampler and drop": lambda d, s: d.DataLoader(s, batch_sampler=[[0]], drop_last=True),
    "no batch and drop": lambda d, s: d.DataLoader(s, batch_size=None, drop_last=True),
    "batch size": lambda d, s: d.DataLoader(s, batch_size=0),
    "batch size type": lambda d, s: d.DataLoader(s, batch_size=1.5),
    "context without workers": lambda d, s: d.DataLoader(s, multiprocessing_context="fork"),
    "unknown context": lambda d, s: d.DataLoader(s, num_workers=1, multiprocessing_context="thread"),
    "not a context": lambda d, s: d.DataLoader(s, num_workers=1, multiprocessing_context=3),
    "empty and shuffled": lambda d, s: d.DataLoader([], shuffle=True),
    "assigned": lambda d, s: setattr(d.DataLoader(s), "batch_size", 3),
    "timeout without workers": lambda d, s: iter(d.DataLoader(s, timeout=1)),
    "no index": lambda d, s: list(d.DataLoader(d.Dataset(), sampler=[0])),
    "no length": lambda d, s: len(d.DataLoader(d.Dataset())),
    "pickled": lambda d, s: iter(d.DataLoader(s)).__getstate__(),
}


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("name", ERRORS)
def test_argument_errors_are_torchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(Exception) as ours:
        ERRORS[name](data, [1, 2])
    with pytest.raises(Exception) as theirs:
        ERRORS[name](torch.utils.data, [1, 2])
    assert (type(ours.value), str(ours.value)) == (type(theirs.value), str(theirs.value))


@pytest.mark.parametrize("option", ["shuffle", "sampler", "batch_sampler"])
def test_iterable_datasets_take_no_order(option: str) -> None:
    with pytest.raises(ValueError, match=f"expected unspecified {option} option"):
        DataLoader(Shares(3), **{option: True})


def test_too_many_workers_warn() -> None:
    with pytest.warns(UserWarning, match="This DataLoader will create 4096 worker processes in total"):
        DataLoader([1], num_workers=4096)


def test_pinning_without_an_accelerator_warns() -> None:
    cuda = getattr(facula, "cuda", None)
    if cuda is not None and cuda.is_available():
        pytest.skip("there is an accelerator")
    with pytest.warns(UserWarning, match="no accelerator is found"):
        assert [batch.tolist() for batch in DataLoader([1, 2], pin_memory=True)] == [[1], [2]]


def test_attributes() -> None:
    loader = DataLoader(range(3), batch_size=2, shuffle=True)
    assert isinstance(loader.sampler, data.RandomSampler)
    assert isinstance(loader.batch_sampler, data.BatchSampler)
    assert (loader.batch_size, loader.num_workers, loader.drop_last, loader.prefetch_factor) == (2, 0, False, None)
    loader.num_workers = 0
    assert DataLoader[int] is not None
    assert len(iter(loader)) == 2


def test_no_process_machinery_without_workers() -> None:
    code = (
        "import sys, facula; from facula.utils.data import DataLoader; list(DataLoader(range(3)));"
        "heavy = {'multiprocessing', 'multiprocessing.connection', 'mmap'} & set(sys.modules); print(sorted(heavy))"
    )
    with warnings.catch_warnings():
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
