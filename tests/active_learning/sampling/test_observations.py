from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from active_learning.sampling.observations import Detection, Mask, group_detections
from active_learning.sampling.tensors import read_passes

ONE = (torch.zeros(1, 4), torch.ones(1, 1))


def random_masks(seed: int, n: int, height: int, width: int, density: float) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((n, height, width)) < density)


@given(
    seed=st.integers(0, 9999),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    density=st.sampled_from([0.0, 0.01, 0.1, 0.9]),
)
def test_masks_are_cut_without_loss(seed: int, size: tuple[int, int], density: float) -> None:
    height, width = size
    masks = random_masks(seed, 4, height, width, density)
    three, one = read_passes(
        [(masks[:3], torch.zeros(3, 4), torch.ones(3, 1)), (masks[3:], torch.zeros(1, 4), torch.ones(1, 1))]
    )
    detections = [*three, *one]
    for whole, cut in zip(masks.numpy(), (detection.mask for detection in detections), strict=True):
        pasted = np.zeros((height, width), dtype=bool)
        rows, columns = cut.pixels.shape
        pasted[cut.y : cut.y + rows, cut.x : cut.x + columns] = cut.pixels
        assert np.array_equal(pasted, whole)
        assert cut.area == whole.sum()
    for whole, cut in zip(masks.numpy(), (detection.mask for detection in detections), strict=True):
        first = masks[0].numpy()
        union = (whole | first).sum()
        assert cut.iou(detections[0].mask) == pytest.approx((whole & first).sum() / union if union else 0.0)


def test_masks_in_any_memory_order() -> None:
    masks = random_masks(0, 3, 8, 9, 0.3).permute(0, 2, 1)
    ((first, *_),) = read_passes([(masks, torch.zeros(3, 4), torch.ones(3, 2))])
    assert first.mask.area == int(masks[0].sum())


def test_passes_with_gradients_and_half_precision() -> None:
    masks = random_masks(0, 2, 5, 5, 0.5)
    one_pass = (masks, torch.zeros(2, 4, requires_grad=True), torch.ones(2, 3, dtype=torch.float16))
    assert [detection.probabilities.dtype for detection in read_passes([one_pass])[0]] == [np.float64] * 2


def test_empty_passes_may_have_any_size() -> None:
    empty = (torch.zeros(0, 1, 1, dtype=torch.bool), torch.zeros(0, 4), torch.zeros(0, 7))
    full = (random_masks(0, 1, 5, 5, 0.5), torch.zeros(1, 4), torch.ones(1, 2))
    assert [len(one_pass) for one_pass in read_passes([empty, full, empty])] == [0, 1, 0]
    assert read_passes([empty]) == [[]]


def test_the_first_fitting_group_wins_over_a_better_one() -> None:
    masks = torch.zeros(3, 4, 20, dtype=torch.bool)
    for mask, (start, end) in zip(masks, ((0, 10), (6, 16), (4, 14)), strict=True):
        mask[:, start:end] = True
    detections = [one_pass[0] for one_pass in read_passes([(mask[None], *ONE) for mask in masks])]
    groups = group_detections([[detection] for detection in detections], 0.4)
    assert [[index for index, _ in group] for group in groups] == [[0, 2], [1]]
    assert all(member is detections[index] for group in groups for index, member in group)


@given(seed=st.integers(0, 9999), threshold=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
def test_groups_are_those_of_all_pairs(seed: int, threshold: float) -> None:
    """The bound that spares counting pixels leaves out none that would fit."""
    rng = np.random.default_rng(seed)
    masks = torch.zeros(12, 10, 10, dtype=torch.bool)
    for mask in masks:
        (y0, x0), (height, width) = rng.integers(0, 8, 2), rng.integers(0, 5, 2)
        mask[y0 : y0 + height, x0 : x0 + width] = True
    (detections,) = read_passes([(masks, torch.zeros(12, 4), torch.ones(12, 1))])
    expected: list[list[int]] = []
    for index, detection in enumerate(detections):
        fitting = [group for group in expected if detection.mask.iou(detections[group[0]].mask) > threshold]
        fitting[0].append(index) if fitting else expected.append([index])
    groups = group_detections([detections], threshold)
    assert [[detections.index(member) for _, member in group] for group in groups] == expected


def test_many_detections_are_grouped_fast() -> None:
    masks = [Mask(20 * (index % 100), 0, np.ones((15, 15), dtype=bool), 225) for index in range(2000)]
    passes = [[Detection(mask, np.zeros(4), np.ones(1)) for mask in masks]]
    started = time.thread_time()
    groups = group_detections(passes, 0.5)
    assert [len(group) for group in groups] == [20] * 100
    assert time.thread_time() - started < 1.0


@given(seed=st.integers(0, 9999), height=st.integers(0, 9), width=st.integers(0, 9))
def test_cut_keeps_every_pixel(seed: int, height: int, width: int) -> None:
    pixels = np.random.default_rng(seed).random((height, width)) < 0.1
    mask = Mask.cut(3, 4, pixels)
    whole = np.zeros((height + 4, width + 3), dtype=bool)
    x0, y0, x1, y1 = mask.bounds
    whole[y0:y1, x0:x1] = mask.pixels
    assert np.array_equal(whole[4:, 3:], pixels)
    assert mask.area == pixels.sum()
    assert not mask.area or (mask.pixels[[0, -1]].any(axis=1).all() and mask.pixels[:, [0, -1]].any(axis=0).all())


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        pytest.param((0, 0, 60, 40), (10, 5, 20, 11), id="all of it"),
        pytest.param((12, 8, 18, 10), (12, 8, 18, 10), id="inside"),
        pytest.param((0, 0, 13, 7), (10, 5, 13, 7), id="a corner"),
        pytest.param((0, 0, 10, 40), None, id="left of it"),
        pytest.param((20, 0, 60, 40), None, id="right of it"),
        pytest.param((0, 11, 60, 40), None, id="below it"),
        pytest.param((0, 0, 60, 5), None, id="above it"),
    ],
)
def test_a_mask_within_a_window(window: tuple[int, int, int, int], expected: tuple[int, int, int, int] | None):
    found = Mask(10, 5, np.ones((6, 10), dtype=bool), 60).within(*window)
    if expected is None:
        assert found.area == 0 and not found.pixels.size
    else:
        assert found.bounds == expected
        assert found.area == found.pixels.size
