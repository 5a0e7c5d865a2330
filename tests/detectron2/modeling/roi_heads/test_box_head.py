from __future__ import annotations

import pytest
import torch

from detectron2.layers import ShapeSpec
from detectron2.modeling import FastRCNNConvFCHead, build_box_head

POOLED = ShapeSpec(channels=4, height=7, width=7)


@pytest.mark.parametrize(
    ("conv_dims", "fc_dims", "norm", "names", "shape"),
    [
        ([], [8, 6], "", ["fc1.bias", "fc1.weight", "fc2.bias", "fc2.weight"], (6,)),
        ([5], [], "", ["conv1.bias", "conv1.weight"], (5, 7, 7)),
        ([32], [6], "GN", ["conv1.norm.bias", "conv1.norm.weight", "conv1.weight", "fc1.bias", "fc1.weight"], (6,)),
    ],
    ids=["fc", "conv", "conv with norm, fc"],
)
def test_layers(conv_dims: list, fc_dims: list, norm: str, names: list[str], shape: tuple) -> None:
    head = FastRCNNConvFCHead(POOLED, conv_dims=conv_dims, fc_dims=fc_dims, conv_norm=norm)
    assert sorted(head.state_dict()) == names
    for num_regions in (3, 0):
        x = head(torch.randn(num_regions, 4, 7, 7))
        assert x.shape == (num_regions, *shape)
        assert (x >= 0).all()
    announced = head.output_shape
    assert tuple(v for v in (announced.channels, announced.height, announced.width) if v) == shape


def test_from_config(small_cfg) -> None:
    head = build_box_head(small_cfg, POOLED)
    assert [head.fc1.out_features, head.fc2.out_features] == [32, 32]


def test_a_head_without_layers_is_an_error() -> None:
    with pytest.raises(ValueError, match="NUM_CONV and NUM_FC"):
        FastRCNNConvFCHead(POOLED, conv_dims=[], fc_dims=[])
