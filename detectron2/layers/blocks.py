"""Base of the blocks that residual stages are made of."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from detectron2.layers.batch_norm import FrozenBatchNorm2d

_Block = TypeVar("_Block", bound="CNNBlockBase")


class CNNBlockBase(nn.Module):
    """A block with one input and one output, both NCHW; `stride` is the ratio of their sizes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.stride = stride

    def freeze(self: _Block) -> _Block:
        """Stop training of this block: no gradients, batch norms become frozen ones. Returns itself."""
        self.requires_grad_(False)
        FrozenBatchNorm2d.convert_frozen_batchnorm(self)
        return self
