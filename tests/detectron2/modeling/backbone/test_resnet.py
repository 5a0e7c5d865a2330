from __future__ import annotations

import pytest
import torch
from torch import nn

from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import BasicBlock, BasicStem, BottleneckBlock, ResNet, build_backbone, make_stage
from detectron2.modeling.backbone import build_resnet_backbone
from detectron2.modeling.backbone.resnet import DeformBottleneckBlock

ALL = ["stem", "res2", "res3", "res4", "res5"]


@pytest.fixture
def resnet_cfg(small_cfg):
    small_cfg.MODEL.BACKBONE.NAME = "build_resnet_backbone"
    small_cfg.MODEL.RESNETS.OUT_FEATURES = ALL
    return small_cfg


@pytest.mark.parametrize(
    ("options", "channels", "strides"),
    [
        ({"DEPTH": 18}, [64, 64, 128, 256, 512], [4, 4, 8, 16, 32]),
        ({"DEPTH": 50, "RES2_OUT_CHANNELS": 256}, [64, 256, 512, 1024, 2048], [4, 4, 8, 16, 32]),
        ({"DEPTH": 50, "RES2_OUT_CHANNELS": 64, "RES5_DILATION": 2}, [64, 64, 128, 256, 512], [4, 4, 8, 16, 16]),
        (
            {"DEPTH": 50, "RES2_OUT_CHANNELS": 64, "NUM_GROUPS": 4, "WIDTH_PER_GROUP": 8, "STRIDE_IN_1X1": False},
            [64, 64, 128, 256, 512],
            [4, 4, 8, 16, 32],
        ),
    ],
    ids=["R18", "R50", "dilated", "ResNeXt"],
)
def test_features_are_as_announced(resnet_cfg, options: dict, channels: list[int], strides: list[int]) -> None:
    for key, value in options.items():
        resnet_cfg.MODEL.RESNETS[key] = value
    backbone = build_backbone(resnet_cfg).eval()
    shapes = backbone.output_shape()
    assert [shapes[name].channels for name in ALL] == channels
    assert [shapes[name].stride for name in ALL] == strides
    with torch.no_grad():
        features = backbone(torch.zeros(1, 3, 64, 96))
    assert list(features) == ALL
    for name, channel, stride in zip(ALL, channels, strides, strict=True):
        assert features[name].shape == (1, channel, 64 // stride, 96 // stride)


@pytest.mark.parametrize(("depth", "num_blocks"), [(18, 8), (34, 16), (50, 16), (101, 33), (152, 50)])
def test_depth_gives_the_published_number_of_blocks(depth: int, num_blocks: int) -> None:
    with torch.device("meta"):
        stages = ResNet.make_default_stages(depth, norm="")
    assert sum(map(len, stages)) == num_blocks
    assert stages[-1][-1].out_channels == (512 if depth < 50 else 2048)


def test_stages_behind_the_last_output_are_left_out(resnet_cfg) -> None:
    resnet_cfg.MODEL.RESNETS.OUT_FEATURES = ["res3"]
    backbone = build_resnet_backbone(resnet_cfg, ShapeSpec(channels=3))
    assert backbone.stage_names == ("res2", "res3")
    assert not any(key.startswith("res4") for key in backbone.state_dict())


@pytest.mark.parametrize(("freeze_at", "frozen"), [(0, []), (1, ["stem"]), (3, ["stem", "res2", "res3"])])
def test_freezing(resnet_cfg, freeze_at: int, frozen: list[str]) -> None:
    resnet_cfg.MODEL.BACKBONE.FREEZE_AT = freeze_at
    backbone = build_backbone(resnet_cfg)
    for name in ALL:
        part = getattr(backbone, name)
        is_frozen = name in frozen
        assert all(p.requires_grad != is_frozen for p in part.parameters())
        assert any(isinstance(m, FrozenBatchNorm2d) for m in part.modules()) == is_frozen
        assert any(isinstance(m, nn.BatchNorm2d) for m in part.modules()) != is_frozen


@pytest.mark.parametrize("norm", ["FrozenBN", "BN", "GN", ""])
def test_norms(resnet_cfg, norm: str) -> None:
    resnet_cfg.MODEL.RESNETS.NORM = norm
    features = build_backbone(resnet_cfg)(torch.rand(2, 3, 64, 64))
    assert all(torch.isfinite(feature).all() for feature in features.values())


@pytest.mark.parametrize(("in_1x1", "strides"), [(True, [(2, 2), (1, 1), (1, 1)]), (False, [(1, 1), (2, 2), (1, 1)])])
def test_where_the_bottleneck_strides(in_1x1: bool, strides: list) -> None:
    block = BottleneckBlock(8, 16, bottleneck_channels=4, stride=2, num_groups=2, dilation=1, stride_in_1x1=in_1x1)
    assert [conv.stride for conv in (block.conv1, block.conv2, block.conv3)] == strides
    assert block.conv2.groups == 2
    assert block(torch.rand(2, 8, 8, 8)).shape == (2, 16, 4, 4)


def test_dilated_stage_keeps_the_size_of_its_maps() -> None:
    blocks = make_stage(
        BottleneckBlock, 2, in_channels=8, out_channels=16, bottleneck_channels=4, dilation=2, stride_per_block=[1, 1]
    )
    assert all(block.conv2.dilation == block.conv2.padding == (2, 2) for block in blocks)
    assert nn.Sequential(*blocks)(torch.rand(2, 8, 9, 9)).shape == (2, 16, 9, 9)


def test_any_dilation_can_be_asked_for() -> None:
    with torch.device("meta"):
        stages = ResNet.make_default_stages(50, dilation=2)
    assert {block.conv2.dilation for blocks in stages for block in blocks} == {(2, 2)}


@pytest.mark.parametrize(("modulated", "channels"), [(False, 36), (True, 54)], ids=["plain", "modulated"])
@pytest.mark.parametrize("norm", ["FrozenBN", "BN", ""])
def test_deformable_block_without_offsets_is_a_plain_one(modulated: bool, channels: int, norm: str) -> None:
    options = {"bottleneck_channels": 8, "stride": 2, "num_groups": 2, "norm": norm}
    plain = BottleneckBlock(4, 16, **options)
    block = DeformBottleneckBlock(4, 16, deform_modulated=modulated, deform_num_groups=2, **options)
    assert block.conv2_offset.weight.shape == (channels, 8, 3, 3)
    assert block.conv2_offset.stride == (2, 2)
    new = set(block.state_dict()) - set(plain.state_dict())
    assert new == {"conv2_offset.weight", "conv2_offset.bias"}
    plain.load_state_dict({key: value for key, value in block.state_dict().items() if key not in new})
    if modulated:
        # Each point then weighs a half.
        plain.conv2.weight.data.mul_(0.5)
    x = torch.rand(2, 4, 11, 9)
    torch.testing.assert_close(block(x), plain(x), rtol=1e-4, atol=1e-5)
    block(x).sum().backward()
    assert block.conv2_offset.weight.grad.abs().sum() > 0


def test_offsets_are_pairs_of_y_and_x() -> None:
    """A move of all points by one pixel down is the plain convolution of the image moved up."""
    block = DeformBottleneckBlock(4, 4, bottleneck_channels=4, norm="")
    nn.init.constant_(block.conv2_offset.bias[0::2], 1.0)
    block.conv2.bias = nn.Parameter(torch.rand(4))  # as folding a norm into the convolution leaves it
    x = torch.rand(1, 4, 8, 8)
    torch.testing.assert_close(block.middle(x)[:, :, :-2], block.conv2(x)[:, :, 1:-1])


def test_deformable_block_in_mixed_precision() -> None:
    block = DeformBottleneckBlock(4, 16, bottleneck_channels=4, norm="BN")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        block(torch.rand(2, 4, 8, 8)).float().sum().backward()
    assert block.conv2.weight.grad.isfinite().all()


def test_convolutions_start_with_msra_weights() -> None:
    block = BasicBlock(64, 64)
    assert block.conv1.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)
    assert block.shortcut is None


def test_classifier() -> None:
    resnet = ResNet(BasicStem(norm=""), [make_stage(BasicBlock, 1, in_channels=64, out_channels=64)], num_classes=7)
    assert resnet(torch.rand(2, 3, 32, 32))["linear"].shape == (2, 7)
    assert resnet.output_shape()["linear"].channels == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"DEPTH": 20}, "depth 20"),
        ({"DEFORM_ON_PER_STAGE": [False, False, True, True]}, "depth 18 has no deformable blocks"),
        ({"RES5_DILATION": 3}, "RES5_DILATION"),
        ({"RES2_OUT_CHANNELS": 256}, "RES2_OUT_CHANNELS 256"),
        ({"OUT_FEATURES": ["res6"]}, "res6"),
    ],
    ids=["depth", "deformable", "dilation", "wide basic blocks", "unknown feature"],
)
def test_wrong_options_are_named(resnet_cfg, options: dict, message: str) -> None:
    for key, value in options.items():
        resnet_cfg.MODEL.RESNETS[key] = value
    with pytest.raises(ValueError, match=message):
        build_backbone(resnet_cfg)


@pytest.mark.parametrize("kwargs", [{"stride_per_block": [1]}, {"stride_per_block": [1, 1], "stride": 2}])
def test_make_stage_checks_values_per_block(kwargs: dict) -> None:
    with pytest.raises(ValueError, match="stride_per_block"):
        make_stage(BasicBlock, 2, in_channels=4, out_channels=4, **kwargs)
