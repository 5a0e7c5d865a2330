"""The frozen network: ResNet-18 from the stem to res4, with weights from a file or as it is before any training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from benchmarks.strategy_lab.pictures import Picture
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import BasicStem, ResNet

LEVELS = ("res2", "res3", "res4")
STRIDES = (4, 8, 16)
PIXEL_MEAN, PIXEL_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # RGB, of ImageNet
CALIBRATION_PICTURES = 32


def network_input(pixels: npt.NDArray[np.uint8]) -> torch.Tensor:
    """(H, W, 3) RGB -> (1, 3, H, W) of about mean 0 and deviation 1."""
    mean, std = (np.array(values, dtype=np.float32) for values in (PIXEL_MEAN, PIXEL_STD))
    return torch.from_numpy((pixels - mean) / std).permute(2, 0, 1)[None]


def _resnet18(norm: str) -> ResNet:
    return ResNet(BasicStem(norm=norm), ResNet.make_default_stages(18, norm=norm)[:3], out_features=LEVELS)


class _Detector(nn.Module):
    """Gives the weights the names that they have in a detector with a feature pyramid."""

    def __init__(self, network: ResNet) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.bottom_up = network


def load_backbone(weights: Path) -> ResNet:
    """ResNet-18 to res4 from a file of weights of a detector with a feature pyramid (`backbone.bottom_up.*`)."""
    network = _resnet18("FrozenBN")
    DetectionCheckpointer(_Detector(network)).load(str(weights))
    return network.eval()


def random_backbone(pictures: Sequence[Picture]) -> ResNet:
    """The same network as it is before any training, its batch norms set by some of the pictures (README: why)."""
    torch.manual_seed(0)
    network = _resnet18("BN")
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # of all batches alike
    with torch.no_grad():
        for picture in pictures[:CALIBRATION_PICTURES]:
            network(network_input(picture.pixels))
    return network.eval()
