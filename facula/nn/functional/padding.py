"""Padding: constant, reflected, replicated and circular borders.

In: a tensor and widths, two per dimension, beginning with the last dimension. Out: the enlarged (or, for negative
widths, cut) tensor.
"""

from __future__ import annotations

from typing import Any

from facula.tensor.creation import arange
from facula.tensor.tensor import Tensor


def pad(input: Tensor, pad: Any, mode: str = "constant", value: float | None = None) -> Tensor:
    """Add elements on both sides of the last dimensions.

    Args:
        input: any shape; for the modes other than 'constant' with a batch or channel dimension before the padded ones.
        pad: (left, right) of the last dimension, then of the one before, and so on. Negative widths cut.
        mode: 'constant', 'reflect', 'replicate' or 'circular'. Default: 'constant'
        value: what 'constant' fills with. Default: 0

    Raises:
        RuntimeError: more widths than the input has dimensions, an odd number of them, or a result of negative size.
        NotImplementedError: an unknown mode, or one that does not take so many dimensions.

    Example:
        >>> import facula as torch
        >>> torch.nn.functional.pad(torch.ones(2), (1, 2))
        tensor([0., 1., 1., 0., 0.])
    """
    widths = [int(width) for width in pad]
    if len(widths) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    count = len(widths) // 2
    if count > input.dim():
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got padding length "
            f"{len(widths)} and input "
            f"of dimension {input.dim()}"
        )
    if mode == "constant":
        return _constant(input, widths, 0 if value is None else value)
    if value is not None and value != 0:
        raise ValueError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if count not in (1, 2, 3) or input.dim() not in (count + 1, count + 2):
        raise NotImplementedError("Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now")
    result = input
    for position in range(count):
        left, right = widths[2 * position], widths[2 * position + 1]
        if left or right:
            result = _border(result, result.dim() - 1 - position, left, right, mode, widths, input)
    return result


def _constant(input: Tensor, widths: list[int], value: float) -> Tensor:
    shape = list(input.shape)
    inner = input
    places = []
    for position in range(len(widths) // 2):
        dim = input.dim() - 1 - position
        left, right = widths[2 * position], widths[2 * position + 1]
        size = shape[dim] + left + right
        if size < 0:
            raise RuntimeError(
                f"The input size {shape[dim]}, plus negative padding {left} and {right} resulted in a negative output "
                "size, which is "
                f"invalid. Check dimension {dim} of your input."
            )
        start, stop = max(0, -left), shape[dim] - max(0, -right)
        inner = inner.narrow(dim, start, max(stop - start, 0))
        places.append((dim, max(left, 0), max(stop - start, 0)))
        shape[dim] = size
    result = input.new_full(shape, value)
    target = result
    for dim, start, length in places:
        target = target.narrow(dim, start, length)
    target.copy_(inner)
    return result


def _border(input: Tensor, dim: int, left: int, right: int, mode: str, widths: list[int], original: Tensor) -> Tensor:
    """Pad one dimension by gathering: every new element is a copy of some old one."""
    size = input.shape[dim]
    _check_border(size, dim, left, right, mode, widths, original)
    if mode == "circular":
        # Negative widths cut first; what is left is what goes around.
        kept = size + min(left, 0) + min(right, 0)
        index = arange(-max(left, 0), kept + max(right, 0), device=input.device).remainder(kept) + max(-left, 0)
        return input.index_select(dim, index)
    index = arange(-left, size + right, device=input.device)
    if mode == "replicate":
        index = index.clamp(0, size - 1)
    else:
        index = (size - 1) - ((size - 1) - index.abs()).abs()
    return input.index_select(dim, index)


def _check_border(size: int, dim: int, left: int, right: int, mode: str, widths: list[int], original: Tensor) -> None:
    if mode == "reflect" and (left >= size or right >= size):
        raise RuntimeError(
            "Argument #4: Padding size should be less than the corresponding input dimension, but got: padding "
            f"({left}, {right}) at "
            f"dimension {dim} of input {list(original.shape)}"
        )
    if mode == "circular" and (left > size or right > size):
        raise RuntimeError("Padding value causes wrapping around more than once.")
    if size + left + right < 1:
        raise RuntimeError(
            f"input (W: {size}) is too small. Calculated output W: {size + left + right}"
            if len(widths) == 2
            else f"input of shape {list(original.shape)} is too small for the padding {tuple(widths)}"
        )
