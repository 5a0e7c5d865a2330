from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from detectron2.layers import ShapeSpec
from detectron2.modeling import FPN, Backbone, build_backbone
from detectron2.modeling.backbone import LastLevelMaxPool


class Pyramid(Backbone):
    """Average-pooled copies of the input."""

    def __init__(self, strides: list[int]) -> None:
        super().__init__()
        self.strides = strides

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {f"c{s}": F.avg_pool2d(x, s) for s in self.strides}

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {f"c{s}": ShapeSpec(channels=3, stride=s) for s in self.strides}


def test_levels_and_shapes(small_cfg) -> None:
    backbone = build_backbone(small_cfg).eval()
    assert backbone.size_divisibility == 32
    assert {name: spec.stride for name, spec in backbone.output_shape().items()} == {
        f"p{level}": 2**level for level in range(2, 7)
    }
    with torch.no_grad():
        features = backbone(torch.zeros(1, 3, 64, 128))
    assert [tuple(f.shape) for f in features.values()] == [(1, 16, 64 >> i, 128 >> i) for i in range(2, 7)]


def identity(network: FPN) -> FPN:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.dirac_(module.weight)
    return network


@pytest.mark.parametrize(("fuse_type", "weight"), [("sum", 1.0), ("avg", 0.5)])
def test_maps_are_fused_top_down(fuse_type: str, weight: float) -> None:
    network = identity(FPN(Pyramid([4, 8]), ["c4", "c8"], 3, fuse_type=fuse_type))
    image = torch.rand(1, 3, 16, 16)
    features = network(image)
    coarse = F.avg_pool2d(image, 8)
    fine = (F.avg_pool2d(image, 4) + coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)) * weight
    assert list(features) == ["p2", "p3"]
    assert torch.allclose(features["p3"], coarse)
    assert torch.allclose(features["p2"], fine)


def test_last_level_takes_every_second_pixel() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert LastLevelMaxPool()(x)[0].flatten().tolist() == [0, 2, 8, 10]


@pytest.mark.parametrize("norm", ["", "GN", "BN"])
def test_norm_replaces_the_bias(norm: str) -> None:
    network = FPN(Pyramid([4, 8]), ["c4", "c8"], 32, norm=norm)
    assert (network.fpn_lateral2.bias is None) == bool(norm)
    assert (network.fpn_output3.norm is None) != bool(norm)


def test_square_padding_is_handed_on() -> None:
    assert FPN(Pyramid([4, 8]), ["c4", "c8"], 3, square_pad=64).padding_constraints == {"square_size": 64}


@pytest.mark.parametrize(
    ("names", "fuse_type", "message"),
    [
        (["c4", "c16"], "sum", "double"),
        (["c4", "c32"], "sum", "the backbone gives"),
        ([], "sum", "IN_FEATURES"),
        (["c4"], "max", "FUSE_TYPE"),
    ],
    ids=["gap", "unknown", "none", "fuse type"],
)
def test_wrong_options(names: list[str], fuse_type: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FPN(Pyramid([4, 8, 16]), names, 3, fuse_type=fuse_type)
