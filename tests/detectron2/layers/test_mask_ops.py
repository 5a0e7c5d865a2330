"""Mask pasting against a plain full-image reference."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from detectron2.layers import mask_ops, paste_masks_in_image
from detectron2.structures import Boxes


def pasted_everywhere(masks: torch.Tensor, boxes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Every pixel of the image sampled from each mask."""
    x0, y0, x1, y1 = boxes[:, :, None].unbind(1)
    xs = ((torch.arange(width) + 0.5)[None] - x0) / (x1 - x0) * 2 - 1
    ys = ((torch.arange(height) + 0.5)[None] - y0) / (y1 - y0) * 2 - 1
    grid = torch.stack((xs[:, None].expand(-1, height, width), ys[:, :, None].expand(-1, height, width)), dim=3)
    return F.grid_sample(masks[:, None], grid, align_corners=False)[:, 0]


def random_boxes(count: int, size: int) -> torch.Tensor:
    """Some reach outside an image of size x size, some lie outside wholly."""
    start = (torch.rand(count, 2) * 1.6 - 0.4) * size
    return torch.cat((start, start + 0.3 + torch.rand(count, 2) * size), dim=1)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 6),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    mask_size=st.sampled_from([1, 2, 7, 14, 28]),
    threshold=st.sampled_from([0.5, 0.3, 0.01, 0.9, 0.0]),
)
def test_equals_sampling_of_the_whole_image(seed, count, height, width, mask_size, threshold) -> None:
    torch.manual_seed(seed)
    masks, boxes = torch.rand(count, mask_size, mask_size), random_boxes(count, max(height, width))
    soft = pasted_everywhere(masks, boxes, height, width)
    pasted = paste_masks_in_image(masks, boxes, (height, width), threshold)
    assert pasted.dtype is torch.bool
    assert pasted.equal(soft >= threshold)


@pytest.mark.parametrize("threshold", [0.5, 0.3, 0.0, -1.0])
def test_pasting_whole_masks_gives_the_same(threshold: float, monkeypatch) -> None:
    monkeypatch.setattr(mask_ops, "MOST_PIXELS", 3 * 60 * 70)
    torch.manual_seed(0)
    masks, boxes = torch.rand(40, 28, 28), random_boxes(40, 60)
    boxes[3], boxes[7, 2], boxes[11, 3] = torch.nan, torch.inf, boxes[11, 1]
    expected = paste_masks_in_image(masks, boxes, (60, 70), threshold)
    found = torch.full_like(expected, threshold == 0)
    mask_ops._paste_whole(found, masks, boxes, threshold)
    differing = found != expected
    if threshold < 0:  # rounded down from numbers that are equal but for rounding
        assert (found.int() - expected.int()).abs().max() <= 1
    assert differing.float().mean() < 1e-4


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), mask_size=st.sampled_from([3, 28]))
def test_soft_masks_are_bytes(seed: int, mask_size: int) -> None:
    torch.manual_seed(seed)
    masks, boxes = torch.rand(3, mask_size, mask_size), random_boxes(3, 40)
    pasted = paste_masks_in_image(masks, Boxes(boxes), (40, 50), threshold=-1)
    assert pasted.dtype is torch.uint8
    assert pasted.equal((pasted_everywhere(masks, boxes, 40, 50) * 255).to(torch.uint8))


@pytest.mark.parametrize(
    "box",
    [[5, 5, 5, 9], [9, 5, 5, 9], [1, 1, float("inf"), 5], [float("nan"), 1, 3, 5], [-50, -50, -40, -40]],
    ids=["no width", "negative width", "infinite", "nan", "outside"],
)
def test_boxes_that_hold_nothing_give_empty_masks(box: list[float]) -> None:
    boxes = torch.tensor([box, [2.0, 2, 6, 6]])
    pasted = paste_masks_in_image(torch.ones(2, 28, 28), boxes, (10, 12))
    assert pasted[0].sum() == 0
    assert pasted[1].sum() == 16


def test_no_masks() -> None:
    pasted = paste_masks_in_image(torch.empty(0, 28, 28), Boxes([]), (10, 12))
    assert pasted.shape == (0, 10, 12)
    assert pasted.dtype is torch.bool


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.bool], ids=str)
def test_any_type_of_masks(dtype: torch.dtype) -> None:
    masks = (torch.rand(2, 14, 14, generator=torch.Generator().manual_seed(0)) > 0.4).to(dtype)
    boxes = torch.tensor([[1.5, 2.5, 17.2, 13.9], [0, 0, 20, 20]])
    assert paste_masks_in_image(masks, boxes, (20, 20)).equal(pasted_everywhere(masks.float(), boxes, 20, 20) >= 0.5)


@pytest.mark.parametrize(
    ("masks", "boxes", "message"),
    [
        (torch.ones(1, 28, 14), torch.ones(1, 4), r"expected \(N, M, M\)"),
        (torch.ones(1, 1, 14, 14), torch.ones(1, 4), r"expected \(N, M, M\)"),
        (torch.ones(2, 14, 14), torch.ones(1, 4), "2 masks but 1 boxes"),
    ],
    ids=["not square", "four dimensions", "lengths"],
)
def test_wrong_shapes_are_reported(masks: torch.Tensor, boxes: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paste_masks_in_image(masks, boxes, (10, 10))


@pytest.mark.gpu
def test_gpu_gives_the_masks_of_the_cpu() -> None:
    torch.manual_seed(0)
    masks, boxes = torch.rand(50, 28, 28), random_boxes(50, 200)
    on_gpu = paste_masks_in_image(masks.cuda(), boxes.cuda(), (200, 300))
    assert on_gpu.device.type == "cuda"
    differing = (on_gpu.cpu() != paste_masks_in_image(masks, boxes, (200, 300))).float().mean()
    assert differing < 1e-5
