"""RoIAlign, NMS, box losses and weight initialisation: the thin layers over torchvision and torch."""

from __future__ import annotations

import importlib
import math

import pytest
import torch
import torchvision
from torch import Tensor, nn

from detectron2.layers import (
    ROIAlign,
    ShapeSpec,
    batched_nms,
    ciou_loss,
    diou_loss,
)
from detectron2.layers.weight_init import c2_msra_fill, c2_xavier_fill

roi_align = importlib.import_module("detectron2.layers.roi_align")  # the package has a function of this name


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


def _boxes() -> Tensor:
    """Inside, across each border, outside, larger than the map, thin, empty, and turned inside out; of two maps."""
    corners = [
        *([8, 8, 40, 30], [-9, 3, 20, 70], [30, -5, 90, 21], [-60, -60, 200, 150], [70, 10, 90, 30], [-40, 0, -10, 9]),
        *([5, 5, 5.5, 60], [20, 20, 20, 20], [30, 30, 10, 12], [0, 0, 64, 48], [63.9, 47.9, 64.1, 48.1]),
    ]
    return torch.tensor([[index, *box] for index in (1, 0) for box in corners])


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2, 3])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_crops_and_gradients_are_those_of_torchvision(
    monkeypatch: pytest.MonkeyPatch, aligned: bool, ratio: int, layout: torch.memory_format
) -> None:
    monkeypatch.setattr(roi_align, "AT_ONCE", 1000)  # several parts
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 12, 16).to(memory_format=layout).requires_grad_()
    expected = torchvision.ops.roi_align(maps, _boxes(), (5, 7), 0.25, ratio, aligned)
    crops = ROIAlign((5, 7), 0.25, ratio, aligned)(maps, _boxes())
    torch.testing.assert_close(crops, expected, rtol=0, atol=2e-6)
    weights = torch.randn_like(expected)
    (gradient,) = torch.autograd.grad((crops * weights).sum(), [maps])
    (wanted,) = torch.autograd.grad((expected * weights).sum(), [maps])
    torch.testing.assert_close(gradient, wanted, rtol=0, atol=2e-5)


def test_no_boxes_give_a_gradient_of_zeros() -> None:
    maps = torch.randn(2, 3, 12, 16, requires_grad=True)
    ROIAlign((5, 7), 0.25, 0)(maps, _boxes()[:0]).sum().backward()
    assert maps.grad.shape == maps.shape
    assert not maps.grad.any()


@pytest.mark.parametrize("ratio", [0, 2])
def test_a_box_that_is_not_finite_spoils_no_other(ratio: int) -> None:
    maps, box = torch.randn(1, 3, 12, 16), [0, 4, 4, 30, 30]
    layer = ROIAlign((5, 7), 0.25, ratio)
    crops = layer(maps, torch.tensor([box, [0, math.nan, 0, 9, 9], [0, 0, 0, math.inf, 9], box]))
    torch.testing.assert_close(crops[[0, 3]], layer(maps, torch.tensor([box, box])))


def test_more_samples_than_memory_allows_are_left_to_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roi_align, "_WeightedSums", None)
    monkeypatch.setattr(roi_align, "MOST", 1000)
    maps = torch.randn(2, 1, 12, 16)
    expected = torchvision.ops.roi_align(maps, _boxes(), (2, 2), 1.0, 0, True)
    torch.testing.assert_close(ROIAlign((2, 2), 1.0, 0)(maps, _boxes()), expected)


def test_batched_nms_keeps_groups_apart_in_half_precision() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [2000, 2000, 2010, 2010]])
    scores = torch.tensor([0.5, 0.9, 0.7, 0.8])
    groups = torch.tensor([0, 0, 1, 900])
    assert batched_nms(boxes, scores, groups, 0.5).tolist() == [1, 3, 2]
    assert batched_nms(boxes.half(), scores, groups, 0.5).tolist() == [1, 3, 2]
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
