"""Average recalls worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from detectron2.evaluation.box_proposals import average_recalls
from detectron2.structures import Boxes


def test_recall_over_the_thresholds() -> None:
    objects = Boxes(torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]]))
    proposals = Boxes(torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 56.1]]))  # overlaps 1 and 0.61
    found = average_recalls([(proposals, objects, torch.tensor([100.0, 100.0]))])
    assert found["AR@100"] == pytest.approx((10 + 3) / 20 * 100)
    assert found["ARs@1000"] == found["AR@100"]
    assert math.isnan(found["ARl@100"])


def test_objects_of_an_image_without_proposals_are_missed() -> None:
    objects, areas = Boxes(torch.tensor([[0.0, 0, 50, 50]])), torch.tensor([2500.0])
    found = average_recalls([(objects, objects, areas), (Boxes(torch.zeros(0, 4)), objects, areas)])
    assert (found["AR@100"], found["ARm@1000"]) == (50, 50)
