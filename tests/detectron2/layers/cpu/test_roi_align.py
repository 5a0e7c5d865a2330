"""RoIAlign as weighted sums of pixels, against torchvision's operator."""

from __future__ import annotations

import math

import pytest
import torch
import torchvision
from torch import Tensor

from detectron2.layers import ROIAlign
from detectron2.layers.cpu import roi_align


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
def test_values_and_gradients_are_those_of_torchvision(
    monkeypatch: pytest.MonkeyPatch, aligned: bool, ratio: int, layout: torch.memory_format
) -> None:
    monkeypatch.setattr(roi_align, "MAX_BLOCK", 1000)  # several parts
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


def test_more_sampling_points_than_memory_allows_are_left_to_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roi_align, "_WeightedSums", None)
    monkeypatch.setattr(roi_align, "MAX_PIXELS", 1000)
    maps = torch.randn(2, 1, 12, 16)
    expected = torchvision.ops.roi_align(maps, _boxes(), (2, 2), 1.0, 0, True)
    torch.testing.assert_close(ROIAlign((2, 2), 1.0, 0)(maps, _boxes()), expected)
