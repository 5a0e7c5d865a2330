"""Freezing a block."""

from __future__ import annotations

import torch

from detectron2.layers import BatchNorm2d, CNNBlockBase, Conv2d, FrozenBatchNorm2d


class Block(CNNBlockBase):
    def __init__(self) -> None:
        super().__init__(3, 8, 2)
        self.conv = Conv2d(3, 8, 3, stride=2, padding=1, norm=BatchNorm2d(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


def test_freeze_stops_gradients_and_statistics() -> None:
    block = Block()
    assert (block.in_channels, block.out_channels, block.stride) == (3, 8, 2)
    before = block.eval()(torch.ones(1, 3, 8, 8))
    assert block.freeze() is block
    assert isinstance(block.conv.norm, FrozenBatchNorm2d)
    assert not any(parameter.requires_grad for parameter in block.parameters())
    torch.testing.assert_close(block.train()(torch.ones(1, 3, 8, 8)), before)
