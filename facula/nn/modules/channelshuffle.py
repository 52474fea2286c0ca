"""`ChannelShuffle`, which lets groups of channels exchange information.

Source: Zhang et al., "ShuffleNet", 2017.
"""

from __future__ import annotations

from facula.nn import functional as F
from facula.nn.modules.module import Module
from facula.tensor.tensor import Tensor

__all__ = ["ChannelShuffle"]


class ChannelShuffle(Module):
    """Takes the channels of g groups in turn: the first of each, the second of each, and so on.

    Args:
        groups: g; divides the number of channels.

    Shape:
        (N, C, *) -> the same
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, input: Tensor) -> Tensor:
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"
