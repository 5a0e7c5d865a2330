"""Masks in their three forms, against pycocotools and roi_align."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from torchvision.ops import masks_to_boxes, roi_align

from detectron2.layers import paste_masks_in_image
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks, ROIMasks, polygons_to_bitmask
from detectron2.structures import masks as masks_module

SQUARE = np.array([2.0, 2, 8, 2, 8, 8, 2, 8])
TRIANGLE = np.array([10.0, 1, 18, 1, 10, 9])


def random_polygons(rng: np.random.Generator, size: float) -> list[np.ndarray]:
    """One to three polygons of 3 to 8 points, each star-shaped around its centre."""
    polygons = []
    for _ in range(rng.integers(1, 4)):
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
        radius = rng.uniform(0.1, 0.5, len(angles)) * size
        centre = rng.uniform(0.2, 0.8, 2) * size
        polygons.append((centre + radius[:, None] * np.stack((np.cos(angles), np.sin(angles)), 1)).ravel())
    return polygons


def reference_crop(polygons: list[np.ndarray], box: np.ndarray, size: int) -> np.ndarray:
    """Each polygon shifted and scaled, rasterised and united by pycocotools; the scales are rounded as numpy does."""
    x0, y0, x1, y1 = box
    scale = [size / max(x1 - x0, 0.1), size / max(y1 - y0, 0.1)]
    mask = np.zeros((size, size), dtype=bool)
    for polygon in polygons:
        moved = (polygon.reshape(-1, 2) - [x0, y0]) * scale
        for run in coco_mask.frPyObjects([moved.ravel().tolist()], size, size):
            mask |= coco_mask.decode(run).astype(bool)
    return mask


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 5), mask_size=st.sampled_from([1, 14, 28, 33]))
def test_polygon_crops_equal_pycocotools(seed: int, count: int, mask_size: int) -> None:
    rng = np.random.default_rng(seed)
    polygons = [random_polygons(rng, 60.0) for _ in range(count)]
    start = rng.uniform(-5, 50, (count, 2))
    boxes = torch.tensor(np.hstack((start, start + rng.uniform(0, 40, (count, 2)))), dtype=torch.float32)
    crops = PolygonMasks(polygons).crop_and_resize(boxes, mask_size)
    assert crops.dtype is torch.bool and crops.shape == (count, mask_size, mask_size)
    for crop, instance, box in zip(crops, polygons, boxes.numpy(), strict=True):
        assert np.array_equal(crop.numpy(), reference_crop(instance, box, mask_size))


@pytest.mark.skipif(int(np.__version__.split(".")[0]) < 2, reason="the numpy before rounds the scale otherwise")
def test_points_on_the_border_of_a_cell_fall_as_in_detectron2() -> None:
    """28 / 40 is a little less in float32 than 0.7, so that (27, 21) lies left of and above what it would be."""
    polygon = np.array([27.0, 21, 24, 26, 27, 32, 24, 12])
    (crop,) = PolygonMasks([[polygon]]).crop_and_resize(torch.tensor([[0.0, 0, 40, 40]]), 28)
    in_double, in_single = (polygons_to_bitmask([polygon * scale], 28, 28) for scale in (28 / 40, np.float32(28 / 40)))
    assert np.array_equal(crop.numpy(), in_single)
    assert not np.array_equal(crop.numpy(), in_double)


def test_polygon_crop_of_an_instance_without_polygons_is_empty() -> None:
    crops = PolygonMasks([[SQUARE], [], [TRIANGLE]]).crop_and_resize(torch.tensor([[2.0, 2, 8, 8]] * 3), 14)
    assert crops.flatten(1).sum(1).tolist() == [14 * 14, 0, 0]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 5), mask_size=st.sampled_from([7, 28]))
def test_bitmap_crops_equal_roi_align(seed: int, count: int, mask_size: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(count, 40, 50, generator=generator) > 0.5
    start = torch.rand(count, 2, generator=generator) * 40 - 5
    boxes = torch.cat((start, start + torch.rand(count, 2, generator=generator) * 30), dim=1)
    expected = roi_align(masks[:, None].float(), list(boxes[:, None]), mask_size, 1.0, 0, True)[:, 0] >= 0.5
    assert BitMasks(masks).crop_and_resize(boxes, mask_size).equal(expected)


def test_bitmap_crops_do_not_depend_on_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = BitMasks(torch.rand(7, 20, 30, generator=torch.Generator().manual_seed(0)) > 0.4)
    boxes = torch.tensor([[1.5, 2, 17, 18.5]]).repeat(7, 1)
    at_once = masks.crop_and_resize(boxes, 14)
    monkeypatch.setattr(masks_module, "_CROP_PIXELS", 20 * 30 * 3)
    assert masks.crop_and_resize(boxes, 14).equal(at_once)


@pytest.mark.parametrize("masks", [BitMasks(torch.zeros(0, 8, 9)), PolygonMasks([])], ids=["bitmaps", "polygons"])
def test_crop_of_nothing(masks) -> None:
    crops = masks.crop_and_resize(torch.empty(0, 4), 28)
    assert crops.shape == (0, 28, 28) and crops.dtype is torch.bool
    assert len(masks.nonempty()) == 0
    assert masks.get_bounding_boxes().tensor.shape == (0, 4)


@pytest.mark.parametrize("masks", [BitMasks(torch.ones(2, 8, 9)), PolygonMasks([[SQUARE]] * 2)], ids=["bits", "polys"])
def test_crop_needs_a_box_each(masks) -> None:
    with pytest.raises(ValueError, match="2 masks cannot be cropped by 1 boxes"):
        masks.crop_and_resize(torch.ones(1, 4), 28)


def test_polygons_to_bitmask_unites() -> None:
    mask = polygons_to_bitmask([SQUARE, SQUARE + 3], 20, 20)
    assert mask.dtype == bool and mask.shape == (20, 20)
    assert mask.sum() == 36 + 36 - 9
    assert polygons_to_bitmask([], 5, 6).sum() == 0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_bitmaps_of_polygons(seed: int) -> None:
    rng = np.random.default_rng(seed)
    polygons = [random_polygons(rng, 40.0) for _ in range(3)] + [[]]
    masks = BitMasks.from_polygon_masks(PolygonMasks(polygons), 40, 50)
    assert masks.image_size == (40, 50)
    for mask, instance in zip(masks, polygons, strict=True):
        assert np.array_equal(mask.numpy(), polygons_to_bitmask(instance, 40, 50))
    assert BitMasks.from_polygon_masks(polygons, 40, 50).tensor.equal(masks.tensor)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), density=st.sampled_from([0.01, 0.1, 0.9]))
def test_bitmap_boxes_enclose_the_pixels(seed: int, density: float) -> None:
    masks = BitMasks(torch.rand(4, 17, 13, generator=torch.Generator().manual_seed(seed)) < density)
    boxes, full = masks.get_bounding_boxes().tensor, masks.nonempty()
    assert boxes[~full].abs().sum() == 0
    if full.any():
        expected = masks_to_boxes(masks.tensor[full]) + torch.tensor([0, 0, 1, 1])
        torch.testing.assert_close(boxes[full], expected)


def test_polygon_boxes_areas_and_emptiness() -> None:
    masks = PolygonMasks([[SQUARE, TRIANGLE], [TRIANGLE], []])
    assert masks.get_bounding_boxes().tensor.tolist() == [[2, 1, 18, 9], [10, 1, 18, 9], [0, 0, 0, 0]]
    assert masks.area().tolist() == [36 + 32, 32, 0]
    assert masks.nonempty().tolist() == [True, True, False]


@pytest.mark.parametrize(
    "item", [1, -1, slice(1, 3), [2, 0], torch.tensor([1, 1]), torch.tensor([True, False, True]), np.array([0, 2])],
    ids=["int", "negative", "slice", "list", "indices", "bools", "array"],
)  # fmt: skip
def test_indexing_is_that_of_a_tensor(item) -> None:
    polygons = PolygonMasks([[SQUARE], [TRIANGLE], [SQUARE, TRIANGLE]])
    bits = BitMasks.from_polygon_masks(polygons, 20, 20)
    selected = polygons[item]
    assert isinstance(selected, PolygonMasks)
    assert BitMasks.from_polygon_masks(selected, 20, 20).tensor.equal(bits[item].tensor)
    assert ROIMasks(bits.tensor.float())[item].tensor.equal(bits[item].tensor.float())


def test_polygon_index_of_wrong_length() -> None:
    masks = PolygonMasks([[SQUARE], [TRIANGLE]])
    with pytest.raises(IndexError, match="3 bools cannot index 2"):
        _ = masks[torch.tensor([True, False, True])]
    with pytest.raises(IndexError, match="one dimension"):
        _ = masks[torch.tensor([[0]])]


@pytest.mark.parametrize(
    ("polygons", "message"),
    [
        (np.zeros((2, 6)), "list of lists"),
        ([SQUARE], "instance 0 must be a list"),
        ([[SQUARE], [[1, 2, 3, 4]]], "instance 1, polygon 0"),
        ([[[1, 2, 3, 4, 5, 6, 7]]], "instance 0, polygon 0"),
        ([[[[1, 2], [3, 4], [5, 6]]]], r"shape \(3, 2\)"),
    ],
    ids=["array", "polygons only", "two points", "odd", "pairs"],
)
def test_polygons_are_checked(polygons, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PolygonMasks(polygons)


def test_polygons_are_float64_and_stay_on_the_cpu() -> None:
    masks = PolygonMasks([[torch.tensor([0, 0, 4, 0, 4, 4])]])
    assert next(iter(masks))[0].dtype == np.float64
    assert masks.to("meta") is masks
    assert masks.device.type == "cpu"


def test_cat() -> None:
    bits = BitMasks(torch.ones(2, 4, 5))
    assert len(BitMasks.cat([bits, bits[0]])) == 3
    polygons = PolygonMasks([[SQUARE], []])
    assert [len(instance) for instance in PolygonMasks.cat([polygons, polygons])] == [1, 0, 1, 0]
    with pytest.raises(ValueError, match="no image size"):
        BitMasks.cat([])


def test_roi_masks_paste() -> None:
    squares = torch.rand(3, 28, 28, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[1.0, 2, 15, 12], [0, 0, 20, 18], [5, 5, 9, 9]])
    masks = ROIMasks(squares)
    pasted = masks.to_bitmasks(Boxes(boxes), 18, 20)
    assert isinstance(pasted, BitMasks)
    assert pasted.tensor.equal(paste_masks_in_image(squares, boxes, (18, 20)))
    assert BitMasks.from_roi_masks(masks, boxes, 18, 20).tensor.equal(pasted.tensor)
    higher = masks.to_bitmasks(boxes, 18, 20, threshold=0.8)
    assert higher.tensor.sum() < pasted.tensor.sum()
    assert masks.to("meta").device.type == "meta"
    assert Instances((18, 20), pred_masks=masks)[1].pred_masks.tensor.equal(squares[1:2])


@pytest.mark.parametrize(
    ("make", "shape"), [(BitMasks, (4, 5)), (BitMasks, (1, 1, 4, 5)), (ROIMasks, (2, 1, 28, 28))], ids=str
)
def test_wrong_dimensions(make, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        make(torch.zeros(shape))


def test_representations_name_the_count() -> None:
    for masks in (BitMasks(torch.ones(2, 4, 5)), PolygonMasks([[SQUARE]] * 2), ROIMasks(torch.ones(2, 3, 3))):
        assert "num_instances=2" in repr(masks)


def test_bitmaps_take_arrays() -> None:
    masks = BitMasks(np.ones((2, 4, 5), dtype=np.uint8))
    assert masks.tensor.dtype is torch.bool
    assert masks.to("meta").device.type == "meta"


@pytest.mark.gpu
def test_crops_on_a_gpu_are_those_of_the_cpu() -> None:
    polygons = PolygonMasks([[SQUARE], [TRIANGLE]])
    boxes = torch.tensor([[1.0, 1, 9, 9], [9.0, 1, 19, 10]])
    bits = BitMasks.from_polygon_masks(polygons, 20, 20)
    for masks in (polygons, bits):
        on_gpu = masks.to("cuda").crop_and_resize(boxes.cuda(), 28)
        assert on_gpu.device.type == "cuda"
        assert on_gpu.cpu().equal(masks.crop_and_resize(boxes, 28))
