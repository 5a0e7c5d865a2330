"""The two forms of suppression, that of processors and that of GPUs, on a processor."""

from __future__ import annotations

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detectron2.layers import nms_by_image
from detectron2.layers.nms import _one_by_one, _together

IMAGES, GROUPS = 3, 4


def candidates(count: int, seed: int) -> tuple[torch.Tensor, ...]:
    """Boxes, of which some are empty, different scores, validity, images and groups; coordinates are exact."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 20, (count, 2), generator=generator)
    boxes = torch.cat((corners, corners + torch.randint(0, 12, (count, 2), generator=generator)), dim=1).float()
    scores = torch.randperm(count, generator=generator).float()
    valid = torch.rand(count, generator=generator) < 0.7
    images, groups = (torch.randint(0, most, (count,), generator=generator) for most in (IMAGES, GROUPS))
    return boxes, scores, valid, images, groups


@given(count=st.integers(0, 60), seed=st.integers(0, 9999), threshold=st.sampled_from([0.0, 0.3, 0.7, 1.0]))
@settings(deadline=None, max_examples=60)
def test_all_together_is_one_by_one(count: int, seed: int, threshold: float) -> None:
    boxes, scores, valid, images, groups = candidates(count, seed)
    for own_groups, group_count in ((groups, GROUPS), (None, 1)):
        arguments = (boxes, scores, valid, images, IMAGES, own_groups, group_count, threshold)
        expected, found = _one_by_one(*arguments), _together(*arguments)
        assert [rows.tolist() for rows in found] == [rows.tolist() for rows in expected]
        assert all(valid[rows].all() for rows in found)


def test_one_image_needs_no_counts() -> None:
    boxes, scores, valid, _, groups = candidates(40, 1)
    arguments = (boxes, scores, valid, torch.zeros_like(groups), 1, groups, GROUPS, 0.5)
    (found,), (expected,) = _together(*arguments), nms_by_image(*arguments)
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("of_a_gpu", [False, True])
def test_any_type_of_boxes_and_scores(monkeypatch, of_a_gpu: bool, grouped: bool, dtype: torch.dtype) -> None:
    monkeypatch.setattr(sys.modules[_together.__module__], "counting_waits", lambda boxes: of_a_gpu)
    boxes, scores, valid, images, groups = candidates(40, 1)  # all fit into each type
    kind = (groups, GROUPS) if grouped else (None, 1)
    wanted = nms_by_image(boxes, scores, valid, images, IMAGES, *kind, 0.5)
    found = nms_by_image(boxes.to(dtype), scores.to(dtype), valid, images, IMAGES, *kind, 0.5)
    assert [rows.tolist() for rows in found] == [rows.tolist() for rows in wanted]


@pytest.mark.parametrize("form", [_one_by_one, _together])
def test_what_is_not_valid_suppresses_nothing_and_is_not_kept(form) -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [torch.nan, 0, 1, 1], [50, 50, 60, 60]])
    scores, valid = torch.tensor([3.0, 2.0, torch.nan, 1.0]), torch.tensor([False, True, False, True])
    image = torch.zeros(4, dtype=torch.int64)
    assert [rows.tolist() for rows in form(boxes, scores, valid, image, 2, None, 1, 0.5)] == [[1, 3], []]
    nothing = torch.zeros(4, dtype=torch.bool)
    assert [rows.tolist() for rows in form(boxes, scores, nothing, image, 1, None, 1, 0.5)] == [[]]
