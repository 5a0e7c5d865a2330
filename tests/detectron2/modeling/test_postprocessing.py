from __future__ import annotations

import pytest
import torch

from detectron2.modeling import detector_postprocess
from detectron2.structures import Boxes, Instances


def detections() -> Instances:
    boxes = Boxes([[10.0, 10, 50, 30], [90.0, 40, 120, 60], [200.0, 10, 220, 20]])
    return Instances(
        (60, 100), pred_boxes=boxes, scores=torch.tensor([0.9, 0.8, 0.7]), pred_masks=torch.ones(3, 1, 4, 4)
    )


def test_boxes_are_scaled_clipped_and_empty_ones_dropped() -> None:
    before = detections()
    after = detector_postprocess(before, 120, 300)
    assert after.image_size == (120, 300)
    assert after.pred_boxes.tensor.tolist() == [[30, 20, 150, 60], [270, 80, 300, 120]]
    assert torch.equal(after.scores, torch.tensor([0.9, 0.8]))
    assert before.pred_boxes.tensor[0].tolist() == [10, 10, 50, 30]
    assert len(before) == 3


def test_masks_are_pasted_at_their_boxes() -> None:
    masks = detector_postprocess(detections(), 60, 100).pred_masks
    assert masks.dtype == torch.bool
    assert masks.shape == (2, 60, 100)
    rows, columns = (masks[0].any(dim).nonzero().flatten().tolist() for dim in (1, 0))
    assert rows == list(range(10, 30))
    assert columns == list(range(10, 50))
    assert masks[0].sum() > 0.95 * 20 * 40


def test_proposals() -> None:
    proposals = Instances((60, 100), proposal_boxes=Boxes([[1.0, 2, 3, 4]]), objectness_logits=torch.zeros(1))
    assert detector_postprocess(proposals, 120, 200).proposal_boxes.tensor.tolist() == [[2, 4, 6, 8]]


def test_no_detections() -> None:
    empty = detector_postprocess(detections()[torch.zeros(3, dtype=torch.bool)], 120, 300)
    assert len(empty) == 0
    assert empty.pred_masks.shape == (0, 120, 300)


def test_without_boxes_is_an_error() -> None:
    with pytest.raises(ValueError, match="pred_boxes"):
        detector_postprocess(Instances((5, 5), scores=torch.zeros(1)), 5, 5)
