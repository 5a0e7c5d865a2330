from __future__ import annotations

import pytest
import torch

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone, build_backbone


class Halves(Backbone):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self._out_features = ["half"]
        self._out_feature_channels = {"half": channels}
        self._out_feature_strides = {"half": 2}

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"half": x[..., ::2, ::2]}


@BACKBONE_REGISTRY.register()
def build_halves_for_test(cfg, input_shape: ShapeSpec) -> Halves:
    return Halves(input_shape.channels)


@BACKBONE_REGISTRY.register()
def build_no_backbone_for_test(cfg, input_shape: ShapeSpec) -> torch.nn.Module:
    return torch.nn.Identity()


def test_a_registered_backbone_is_built_for_the_image_channels(small_cfg) -> None:
    small_cfg.MODEL.BACKBONE.NAME = "build_halves_for_test"
    small_cfg.MODEL.PIXEL_MEAN = [1.0, 2.0]
    backbone = build_backbone(small_cfg)
    assert backbone.output_shape() == {"half": ShapeSpec(channels=2, stride=2)}
    assert backbone.size_divisibility == 0
    assert backbone.padding_constraints == {}


def test_something_else_is_refused(small_cfg) -> None:
    small_cfg.MODEL.BACKBONE.NAME = "build_no_backbone_for_test"
    with pytest.raises(TypeError, match="build_no_backbone_for_test.*Identity"):
        build_backbone(small_cfg)


def test_forward_must_be_written() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Backbone()
