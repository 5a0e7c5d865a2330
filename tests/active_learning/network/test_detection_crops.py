from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from active_learning.network.detection_crops import cut_detections
from detectron2.modeling import detector_postprocess
from detectron2.structures import Boxes, Instances


def found(count, seed=0, size=(40, 60)):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([size[1], size[0]])
    boxes = torch.cat([corner, corner + torch.rand(count, 2, generator=generator) * 30], dim=1)
    return Instances(
        size,
        pred_boxes=Boxes(boxes),
        softmaxes=torch.rand(count, 3, generator=generator),
        pred_masks=torch.rand(count, 1, 14, 14, generator=generator),
        passes=torch.arange(count) // 2,
    )


@given(seed=st.integers(0, 9999), count=st.integers(0, 6), height=st.integers(1, 90), width=st.integers(1, 90))
@settings(deadline=None, max_examples=40)
def test_pixels_boxes_and_order_of_the_full_size_result(seed, count, height, width):
    detections = found(count, seed)
    expected = detector_postprocess(detections, height, width)
    members = cut_detections(detections, height, width)
    assert [index for index, _ in members] == expected.passes.tolist()
    for (_, detection), mask, box, row in zip(
        members, expected.pred_masks, expected.pred_boxes, expected.softmaxes, strict=True
    ):
        whole = np.zeros((height, width), dtype=bool)
        x0, y0, x1, y1 = detection.mask.bounds
        whole[y0:y1, x0:x1] = detection.mask.pixels
        assert np.array_equal(whole, mask.numpy())
        assert detection.mask.area == int(mask.sum())
        assert detection.box.tolist() == pytest.approx(box.tolist())
        assert detection.probabilities.tolist() == pytest.approx(row.tolist())


def test_boxes_without_area_go_and_the_input_stays():
    detections = found(3)
    detections.pred_boxes.tensor[1, 2] = detections.pred_boxes.tensor[1, 0]
    assert [index for index, _ in cut_detections(detections, 40, 60)] == [0, 1]
    assert detections.pred_masks.shape == (3, 1, 14, 14)
    assert len(detections) == 3


def test_masks_are_cut_to_what_they_hold():
    detections = found(1)
    detections.pred_boxes = Boxes([[10.0, 10.0, 38.0, 38.0]])
    detections.pred_masks = torch.zeros(1, 1, 14, 14)
    ((_, empty),) = cut_detections(detections, 40, 60)
    assert (empty.mask.area, empty.mask.pixels.size) == (0, 0)
    detections.pred_masks[0, 0, 3:7, 2:5] = 1.0
    ((_, filled),) = cut_detections(detections, 40, 60)
    assert filled.mask.pixels.any(axis=0)[[0, -1]].all()
    assert filled.mask.pixels.any(axis=1)[[0, -1]].all()
