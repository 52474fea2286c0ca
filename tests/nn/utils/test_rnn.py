"""Padded and packed sequences."""

from __future__ import annotations

from typing import Any

import pytest


def sequences(torch: Any) -> list[Any]:
    return [torch.arange(1.0, n + 1) for n in (2, 4, 3)]


PROGRAMS = [
    lambda torch, rnn: rnn.pad_sequence(sequences(torch)),
    lambda torch, rnn: rnn.pad_sequence(sequences(torch), batch_first=True, padding_value=-1),
    lambda torch, rnn: rnn.pad_sequence(sequences(torch), batch_first=True, padding_side="left"),
    lambda torch, rnn: rnn.pad_sequence(sequences(torch), padding_side="up"),
    lambda torch, rnn: rnn.pad_sequence(3),
    lambda torch, rnn: list(rnn.pack_sequence(sequences(torch), enforce_sorted=False)),
    lambda torch, rnn: rnn.pack_sequence(sequences(torch)),
    lambda torch, rnn: rnn.unpack_sequence(rnn.pack_sequence(sequences(torch), enforce_sorted=False)),
    lambda torch, rnn: rnn.unpad_sequence(rnn.pad_sequence(sequences(torch)), torch.tensor([2, 4, 3])),
    lambda torch, rnn: list(rnn.pack_padded_sequence(torch.ones(4, 3), [4, 3, 1])),
    lambda torch, rnn: list(rnn.pack_padded_sequence(torch.ones(3, 4), torch.tensor([4, 3, 1]), batch_first=True)),
    lambda torch, rnn: rnn.pack_padded_sequence(torch.ones(4, 3), [4, 3, 0]),
    lambda torch, rnn: rnn.pack_padded_sequence(torch.ones(4, 3), [4, 3]),
    lambda torch, rnn: rnn.pad_packed_sequence(rnn.pack_padded_sequence(torch.ones(4, 3), [4, 3, 1]), total_length=6),
    lambda torch, rnn: rnn.pad_packed_sequence(rnn.pack_padded_sequence(torch.ones(4, 3), [4, 3, 1]), total_length=2),
    lambda torch, rnn: rnn.pad_packed_sequence(rnn.pack_sequence(sequences(torch), enforce_sorted=False), True, -1.0),
    lambda torch, rnn: rnn.pack_padded_sequence(torch.ones(4, 3), [4, 3, 1]).double().data.dtype,
    lambda torch, rnn: type(rnn.pack_padded_sequence(torch.ones(4, 3), [4, 3, 1]).to("cpu")).__name__,
    lambda torch, rnn: rnn.invert_permutation(torch.tensor([2, 0, 1])),
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_agrees_with_torch(agree_closely: Any, program: Any) -> None:
    agree_closely(lambda torch: program(torch, torch.nn.utils.rnn))
