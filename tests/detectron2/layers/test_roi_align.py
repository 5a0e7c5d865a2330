"""RoIAlign, NMS, box losses and weight initialisation: the thin layers over torchvision and torch."""

from __future__ import annotations

import math

import pytest
import torch
import torchvision
from torch import nn

from detectron2.layers import (
    ROIAlign,
    ShapeSpec,
    batched_nms,
    ciou_loss,
    diou_loss,
)
from detectron2.layers.weight_init import c2_msra_fill, c2_xavier_fill


def test_roi_align_of_a_ramp_gives_cell_centres() -> None:
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    rois = torch.tensor([[0, 2.0, 2.0, 6.0, 6.0]])
    aligned = ROIAlign((2, 2), 1.0, 2)(ramp, rois)
    # pixel i has its value at i + 0.5
    torch.testing.assert_close(aligned[0, 0, 0], torch.tensor([2.5, 4.5]))
    shifted = ROIAlign((2, 2), 1.0, 2, aligned=False)(ramp, rois)
    torch.testing.assert_close(shifted, aligned + 0.5)


def test_roi_align_scale_type_and_shape() -> None:
    torch.manual_seed(0)
    maps, rois = torch.randn(2, 3, 16, 16), torch.tensor([[1, 8.0, 8, 40, 30], [0, 0, 0, 64, 64]])
    layer = ROIAlign((5, 7), 0.25, 0)
    expected = torchvision.ops.roi_align(maps, rois, (5, 7), 0.25, 0, True)
    torch.testing.assert_close(layer(maps, rois.double()), expected)
    assert layer(maps, rois[:0]).shape == (0, 3, 5, 7)
    assert "spatial_scale=0.25" in repr(layer)
    with pytest.raises(ValueError, match=r"expected \(K, 5\)"):
        layer(maps, rois[:, 1:])


@pytest.mark.parametrize("on", [True, False], ids=["own", "torchvision's"])
def test_one_number_is_both_sides(on: bool) -> None:
    maps, rois = torch.randn(1, 3, 16, 16), torch.tensor([[0, 2.0, 3, 12, 13]])
    one, pair = ROIAlign(7, 1.0, 2), ROIAlign((7, 7), 1.0, 2)
    one.cpu_kernels = pair.cpu_kernels = on
    torch.testing.assert_close(one(maps, rois), pair(maps, rois), rtol=0, atol=0)
    assert repr(one) == repr(pair)


def test_batched_nms_keeps_groups_apart_in_half_precision() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [2000, 2000, 2010, 2010]])
    scores = torch.tensor([0.5, 0.9, 0.7, 0.8])
    groups = torch.tensor([0, 0, 1, 900])
    assert batched_nms(boxes, scores, groups, 0.5).tolist() == [1, 3, 2]
    assert batched_nms(boxes.half(), scores, groups, 0.5).tolist() == [1, 3, 2]
    assert batched_nms(boxes.half(), scores.half(), groups, 0.5).tolist() == [1, 3, 2]
    assert batched_nms(boxes, scores.bfloat16(), groups, 0.5).tolist() == [1, 3, 2]
    assert batched_nms(boxes.double(), scores.double(), groups, 0.5).tolist() == [1, 3, 2]
    assert batched_nms(boxes[:0], scores[:0], groups[:0], 0.5).tolist() == []


def test_box_losses_by_hand() -> None:
    a, b = torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 0, 3, 4]])
    iou, centres, diagonal = 2 / 10, 0.5**2 * 4 + 1, 9 + 16
    diou = 1 - iou + centres / diagonal
    torch.testing.assert_close(diou_loss(a, b), torch.tensor([diou]))
    v = 4 / math.pi**2 * (math.atan(0.5) - math.atan(1)) ** 2
    torch.testing.assert_close(ciou_loss(a, b, reduction="sum"), torch.tensor(diou + v * v / (1 - iou + v)))
    assert diou_loss(a, a).abs().item() < 1e-6


@pytest.mark.parametrize("fill", [c2_msra_fill, c2_xavier_fill])
def test_weight_fills(fill) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(32, 64, 3)
    fill(conv)
    assert conv.bias.abs().sum() == 0
    variance = 2 / (64 * 9) if fill is c2_msra_fill else 1 / (32 * 9)
    assert conv.weight.var().item() == pytest.approx(variance, rel=0.05)
    fill(nn.Linear(3, 3, bias=False))


def test_xavier_fill_is_uniform() -> None:
    layer = nn.Linear(300, 200)
    c2_xavier_fill(layer)
    assert layer.weight.abs().max().item() <= math.sqrt(3 / 300)


def test_shape_spec_parts_are_optional() -> None:
    assert ShapeSpec() == ShapeSpec(channels=None, height=None, width=None, stride=None)
    assert ShapeSpec(channels=3, stride=4) != ShapeSpec(channels=3)
