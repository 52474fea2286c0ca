"""Batches of sequences of different lengths: padded, or packed step by step.

A packed sequence holds, for each step, the rows of those sequences that are that long; the sequences are sorted by
length.

In: tensors and lengths. Out: `PackedSequence`s, or padded tensors. It must never know about modules.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from facula.core.dtype import int64
from facula.nn.functional import _operators as op
from facula.tensor.creation import arange, as_tensor, tensor
from facula.tensor.tensor import Tensor

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]

PackedSequence_ = namedtuple("PackedSequence_", ("data", "batch_sizes", "sorted_indices", "unsorted_indices"))


class PackedSequence(PackedSequence_):
    """Sequences of different lengths without padding. Made by `pack_padded_sequence` and `pack_sequence`.

    Attributes:
        data: (sum of lengths, *), the rows of all steps one after the other.
        batch_sizes: (longest length), on the CPU: how many sequences have each step.
        sorted_indices, unsorted_indices: how the sequences were sorted by length, and how to undo it; None when they
            came sorted.
    """

    def __new__(
        cls,
        data: Any,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        if batch_sizes is None:
            if not isinstance(data, (list, tuple)) or len(data) != 2:
                raise AssertionError("Expected data to be a 2-element list or tuple of (data, batch_sizes)")
            data, batch_sizes = data
        elif batch_sizes.device.type != "cpu":
            raise ValueError(
                "batch_sizes should always be on CPU. Instances of PackedSequence should never be created manually. "
                "They should be "
                "instantiated by functions like pack_sequence and pack_padded_sequences in nn.utils.rnn. "
                "https://pytorch.org/docs/stable/nn.html#torch.nn.utils.rnn.pack_sequence"
            )
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def _with_data(self, data: Tensor) -> PackedSequence:
        return type(self)(data, self.batch_sizes, self.sorted_indices, self.unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same sequences with another dtype or on another device; itself when nothing changes."""
        data = self.data.to(*args, **kwargs)
        return self if data is self.data else self._with_data(data)

    def cpu(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same sequences on the CPU."""
        return self.to(*args, device="cpu", **kwargs)

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same sequences on a CUDA device."""
        return self.to(*args, device="cuda", **kwargs)

    def double(self) -> PackedSequence:
        """The same sequences as float64."""
        return self._with_data(self.data.double())

    def float(self) -> PackedSequence:
        """The same sequences as float32."""
        return self._with_data(self.data.float())

    def half(self) -> PackedSequence:
        """The same sequences as float16."""
        return self._with_data(self.data.half())

    def long(self) -> PackedSequence:
        """The same sequences as int64."""
        return self._with_data(self.data.long())

    def int(self) -> PackedSequence:
        """The same sequences as int32."""
        return self._with_data(self.data.int())

    def short(self) -> PackedSequence:
        """The same sequences as int16."""
        return self._with_data(self.data.short())

    def char(self) -> PackedSequence:
        """The same sequences as int8."""
        return self._with_data(self.data.char())

    def byte(self) -> PackedSequence:
        """The same sequences as uint8."""
        return self._with_data(self.data.byte())

    def pin_memory(self) -> PackedSequence:
        """The same sequences in pinned memory."""
        return self._with_data(self.data.pin_memory())

    def is_pinned(self) -> bool:
        """Whether the data is in pinned memory."""
        return self.data.is_pinned()

    @property
    def is_cuda(self) -> bool:
        """Whether the data is on a CUDA device."""
        return self.data.is_cuda


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes `permutation`; None for None."""
    if permutation is None:
        return None
    places = arange(0, permutation.numel(), device=permutation.device)
    return permutation.new_empty(permutation.shape).scatter_(0, permutation, places)


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack a padded batch.

    Args:
        input: (longest, N, *), or (N, longest, *) with `batch_first`.
        lengths: N lengths, a list or a tensor on the CPU.
        batch_first: whether the batch is the first dimension. Default: False
        enforce_sorted: the sequences come sorted by length, longest first; else they are sorted here. Default: True

    Raises:
        RuntimeError: lengths that are not positive, not as many as sequences, or, when enforced, not sorted.
    """
    lengths = as_tensor(lengths, dtype=int64, device="cpu")
    if enforce_sorted:
        order = None
    else:
        lengths, order = lengths.sort(descending=True)
        order = order.to(input.device)
        input = input.index_select(0 if batch_first else 1, order)
    steps = input.transpose(0, 1) if batch_first else input
    values = lengths.tolist()
    _check_lengths(values, steps)
    sizes = [sum(length > t for length in values) for t in range(values[0])]
    if all(size == sizes[0] for size in sizes) and sizes[0] == steps.size(1):
        data = steps[: len(sizes)].reshape(-1, *steps.shape[2:])
    else:
        data = op.cat([steps[t, :size] for t, size in enumerate(sizes)], 0)
    return PackedSequence(data, tensor(sizes, dtype=int64), order, None)


def _check_lengths(values: list[int], steps: Tensor) -> None:
    if steps.numel() == 0:
        raise RuntimeError("Cannot pack empty tensors.")
    if len(values) != steps.size(1):
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(values)} (batch_size={steps.size(1)})"
        )
    if values[-1] <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    if any(a < b for a, b in pairwise(values)):
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to "
            "pack_padded_sequence and/or pack_sequence to sidestep this requirement if you do not need ONNX "
            "exportability."
        )
    if values[0] > steps.size(0):
        raise RuntimeError(
            f"Expected a length of at most {steps.size(0)}, the padded sequences' own, but got {values[0]}"
        )


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """Undo `pack_padded_sequence`.

    Args:
        sequence: what to unpack.
        batch_first: whether the batch comes out as the first dimension. Default: False
        padding_value: what the rest is filled with. Default: 0.0
        total_length: the padded length. Default: the longest sequence's

    Returns:
        (longest, N, *), or (N, longest, *), and the lengths.

    Raises:
        ValueError: `total_length` is shorter than the longest sequence.
    """
    sizes = sequence.batch_sizes.tolist()
    longest = len(sizes)
    if total_length is not None:
        if total_length < longest:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in input, but got "
                f"total_length={total_length} and max sequence length being {longest}"
            )
        longest = total_length
    data = sequence.data
    batch = sizes[0]
    padded = data.new_full((longest, batch, *data.shape[1:]), padding_value)
    start = 0
    for t, size in enumerate(sizes):
        padded[t, :size] = data[start : start + size]
        start += size
    if batch_first:
        padded = padded.transpose(0, 1)
    lengths = tensor([sum(size > i for size in sizes) for i in range(batch)], dtype=int64)
    order = sequence.unsorted_indices
    if order is not None:
        return padded.index_select(0 if batch_first else 1, order), lengths[order.cpu()]
    return padded, lengths


def pad_sequence(
    sequences: Any, batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """One padded tensor of sequences (L_i, *).

    Args:
        sequences: tensors that agree in all dimensions but the first.
        batch_first: whether the batch is the first dimension. Default: False
        padding_value: what the rest is filled with. Default: 0.0
        padding_side: 'right' or 'left'. Default: 'right'

    Returns:
        (longest, N, *), or (N, longest, *).

    Example:
        >>> import facula as torch
        >>> torch.nn.utils.rnn.pad_sequence([torch.ones(2), torch.ones(3)], batch_first=True)
        tensor([[1., 1., 0.],
                [1., 1., 1.]])
    """
    if isinstance(sequences, Tensor):
        sequences = sequences.unbind(0)
    elif not isinstance(sequences, Iterable):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}"
        )
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    sequences = tuple(sequences)
    if not sequences:
        raise RuntimeError("received an empty list of sequences")
    longest = max(item.size(0) for item in sequences)
    trailing = sequences[0].shape[1:]
    shape = (len(sequences), longest) if batch_first else (longest, len(sequences))
    padded = sequences[0].new_full((*shape, *trailing), padding_value)
    for i, item in enumerate(sequences):
        length = item.size(0)
        place = slice(0, length) if padding_side == "right" else slice(longest - length, longest)
        if batch_first:
            padded[i, place] = item
        else:
            padded[place, i] = item
    return padded


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The sequences of a padded tensor, each of its own length."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    return [sequence[: int(length)] for sequence, length in zip(padded_sequences, lengths)]


def pack_sequence(sequences: Any, enforce_sorted: bool = True) -> PackedSequence:
    """Pack a list of tensors (L_i, *); sorted by length, longest first, unless `enforce_sorted` is false."""
    lengths = as_tensor([item.size(0) for item in sequences])
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences of a packed one, each of its own length."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
