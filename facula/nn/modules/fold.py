"""`Unfold` and `Fold`: windows of an image as columns of a matrix, and back.

In: images. Out: (N, C * window, number of windows), or the reverse.
"""

from __future__ import annotations

from typing import Any

from facula.nn import functional as F
from facula.nn.modules.module import Module
from facula.tensor.tensor import Tensor

__all__ = ["Fold", "Unfold"]


class Fold(Module):
    """Sums windows into an image: the transpose of `Unfold`.

    Args:
        output_size: height and width of the image; an int or a pair, as the others.
        kernel_size: of a window.
        dilation: the distance between two elements of a window. Default: 1
        padding: how many zeros were added on all sides. Default: 0
        stride: the step of the windows. Default: 1

    Shape:
        (N, C prod(kernel_size), L) -> (N, C, *output_size)
    """

    def __init__(
        self, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input: Tensor) -> Tensor:
        return F.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return (
            f"output_size={self.output_size}, kernel_size={self.kernel_size}, dilation={self.dilation}, "
            f"padding={self.padding}, "
            f"stride={self.stride}"
        )


class Unfold(Module):
    """Takes windows out of an image.

    Args:
        kernel_size: height and width of a window; an int or a pair, as the others.
        dilation: the distance between two elements of a window. Default: 1
        padding: how many zeros are added on all sides. Default: 0
        stride: the step of the windows. Default: 1

    Shape:
        (N, C, H, W) -> (N, C prod(kernel_size), L)
    """

    def __init__(self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input: Tensor) -> Tensor:
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, stride={self.stride}"
