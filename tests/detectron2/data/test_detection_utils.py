from __future__ import annotations

from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.structures import BitMasks, Boxes, BoxMode, Instances, PolygonMasks

_SQUARE = [2.0, 1.0, 6.0, 1.0, 6.0, 4.0, 2.0, 4.0]
_BITMAP = np.zeros((8, 10), dtype=np.uint8)
_BITMAP[1:4, 2:6] = 1
_RLE = mask_util.encode(np.asfortranarray(_BITMAP))
_UNCOMPRESSED = {"size": [8, 10], "counts": [17, 3, 5, 3, 5, 3, 5, 3, 36]}


def _annotation(segmentation: Any = None) -> dict[str, Any]:
    annotation = {"bbox": [2, 1, 4, 3], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1}
    return annotation if segmentation is None else {**annotation, "segmentation": segmentation}


@pytest.mark.parametrize(
    ("given_size", "wrong"),
    [({}, False), ({"height": 8, "width": 10}, False), ({"height": 10, "width": 8}, True), ({"width": 9}, True)],
    ids=["unknown", "right", "rotated", "too narrow"],
)
def test_image_size(given_size: dict[str, int], wrong: bool) -> None:
    record = {"file_name": "some.png", **given_size}
    if wrong:
        with pytest.raises(utils.SizeMismatchError, match=r"some\.png.*8x10"):
            utils.check_image_size(record, np.zeros((8, 10, 3)))
    else:
        utils.check_image_size(record, np.zeros((8, 10, 3)))
        assert (record["height"], record["width"]) == (8, 10)


def test_polygon_and_box_are_flipped_and_the_source_is_untouched() -> None:
    source = [np.array(_SQUARE)]
    result = utils.transform_instance_annotations(_annotation(source), [T.HFlipTransform(10)], (8, 10))
    np.testing.assert_array_equal(result["bbox"], [4, 1, 8, 4])
    assert result["bbox_mode"] == BoxMode.XYXY_ABS
    np.testing.assert_array_equal(result["segmentation"][0], [8, 1, 4, 1, 4, 4, 8, 4])
    np.testing.assert_array_equal(source[0], _SQUARE)


@pytest.mark.parametrize("run_lengths", [_RLE, _UNCOMPRESSED], ids=["compressed", "uncompressed"])
def test_run_lengths_are_flipped(run_lengths: dict) -> None:
    result = utils.transform_instance_annotations(_annotation(run_lengths), T.HFlipTransform(10), (8, 10))
    np.testing.assert_array_equal(result["segmentation"], _BITMAP[:, ::-1])


def test_box_is_clipped_to_the_image() -> None:
    result = utils.transform_instance_annotations(_annotation(), T.CropTransform(3, 0, 2, 8, 10, 8), (8, 2))
    np.testing.assert_array_equal(result["bbox"], [0, 1, 2, 4])


@pytest.mark.parametrize(
    ("annotation", "error", "text"),
    [
        ({**_annotation(), "keypoints": [1, 2, 3]}, NotImplementedError, "keypoints"),
        (_annotation("square"), ValueError, "polygons"),
        (_annotation(mask_util.encode(np.asfortranarray(_BITMAP.T))), ValueError, "does not fit"),
    ],
    ids=["keypoints", "text", "mask of another size"],
)
def test_faulty_annotation(annotation: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        utils.transform_instance_annotations(annotation, T.NoOpTransform(), (8, 10))


def test_polygons_become_instances() -> None:
    instances = utils.annotations_to_instances([_annotation([_SQUARE]), _annotation([_SQUARE, _SQUARE])], (8, 10))
    assert isinstance(instances.gt_masks, PolygonMasks)
    assert instances.gt_classes.tolist() == [1, 1]
    assert instances.gt_boxes.tensor.tolist() == [[2, 1, 6, 4]] * 2
    assert instances.image_size == (8, 10)


@pytest.mark.parametrize(
    "segmentation",
    [[_SQUARE], _RLE, _UNCOMPRESSED, _BITMAP, _BITMAP.astype(bool)],
    ids=["polygon", "compressed", "uncompressed", "bitmap", "bool bitmap"],
)
def test_all_segmentations_become_bitmasks(segmentation: Any) -> None:
    masks = utils.annotations_to_instances([_annotation(segmentation)], (8, 10), mask_format="bitmask").gt_masks
    assert isinstance(masks, BitMasks)
    np.testing.assert_array_equal(masks.tensor[0].numpy(), _BITMAP)


@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
def test_no_annotations(mask_format: str) -> None:
    instances = utils.annotations_to_instances([], (8, 10), mask_format=mask_format)
    assert instances.gt_boxes.tensor.shape == (0, 4)
    assert instances.gt_classes.dtype == torch.int64
    assert len(utils.filter_empty_instances(instances)) == 0


_SECOND = [2.0, 1.0, 6.0, 1.0]


@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
@pytest.mark.parametrize(
    ("segmentations", "text"),
    [
        ([[_SQUARE], None], r"annotation 1 of 2 .*has no 'segmentation', but annotation 0 has one"),
        ([None, None, [_SQUARE]], r"annotation 0 of 3 .*has no 'segmentation', but annotation 2 has one"),
        ([[_SECOND]], r"instance 0, polygon 0: shape \(4,\)"),
        ([[_SQUARE], [_SQUARE, _SECOND]], r"instance 1, polygon 1: shape \(4,\)"),
        ([[_SQUARE[:7]]], r"instance 0, polygon 0: shape \(7,\)"),
        ([[[]]], r"instance 0, polygon 0: shape \(0,\)"),
        ([[_SQUARE], [[_SQUARE]]], r"instance 1, polygon 0: shape \(1, 8\)"),
    ],
    ids=["second without", "first without", "two points", "two points beside others", "half a point", "none", "nested"],
)
def test_segmentations_that_cannot_be_used_are_named(segmentations: list[Any], text: str, mask_format: str) -> None:
    with pytest.raises(ValueError, match=text):
        utils.annotations_to_instances([_annotation(one) for one in segmentations], (8, 10), mask_format=mask_format)


@pytest.mark.parametrize(
    ("segmentation", "mask_format", "text"),
    [(_RLE, "polygon", "MASK_FORMAT"), (_BITMAP, "polygon", "MASK_FORMAT"), ([_SQUARE], "png", "'png'")],
    ids=["run lengths as polygons", "bitmap as polygons", "unknown format"],
)
def test_masks_that_do_not_fit_the_format(segmentation: Any, mask_format: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        utils.annotations_to_instances([_annotation(segmentation)], (8, 10), mask_format=mask_format)


@pytest.mark.parametrize(
    ("by_box", "by_mask", "kept"),
    [(True, True, [0]), (True, False, [0, 2]), (False, True, [0, 1])],
    ids=["both", "boxes", "masks"],
)
def test_empty_instances_are_left_out(by_box: bool, by_mask: bool, kept: list[int]) -> None:
    masks = np.zeros((3, 8, 10), dtype=bool)
    masks[:2, 1:3, 1:3] = True
    boxes = torch.tensor([[1.0, 1, 3, 3], [1, 1, 1, 3], [1, 1, 3, 3]])
    instances = Instances((8, 10), gt_boxes=Boxes(boxes), gt_masks=BitMasks(torch.from_numpy(masks)))
    instances.gt_classes = torch.arange(3)
    filtered, mask = utils.filter_empty_instances(instances, by_box, by_mask, return_mask=True)
    assert filtered.gt_classes.tolist() == kept
    assert mask.nonzero().flatten().tolist() == kept


@pytest.mark.parametrize(
    ("flip", "is_train", "names"),
    [
        ("horizontal", True, ["ResizeShortestEdge", "RandomFlip"]),
        ("vertical", True, ["ResizeShortestEdge", "RandomFlip"]),
        ("none", True, ["ResizeShortestEdge"]),
        ("horizontal", False, ["ResizeShortestEdge"]),
    ],
)
def test_standard_augmentations(flip: str, is_train: bool, names: list[str]) -> None:
    cfg = get_cfg()
    cfg.INPUT.RANDOM_FLIP = flip
    augmentations = utils.build_augmentation(cfg, is_train)
    assert [type(augmentation).__name__ for augmentation in augmentations] == names
    if len(names) == 2:
        assert augmentations[1].vertical == (flip == "vertical")


def test_unknown_flip() -> None:
    cfg = get_cfg()
    cfg.INPUT.RANDOM_FLIP = "diagonal"
    with pytest.raises(ValueError, match="diagonal"):
        utils.build_augmentation(cfg, True)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 9), st.integers(0, 9), st.data())
def test_crop_contains_the_centre(height: int, width: int, extra_y: int, extra_x: int, data: st.DataObject) -> None:
    image = (height + extra_y, width + extra_x)
    y, x = data.draw(st.floats(0, image[0])), data.draw(st.floats(0, image[1]))
    instance = {"bbox": [x, y, x, y], "bbox_mode": BoxMode.XYXY_ABS}
    crop = utils.gen_crop_transform_with_instance((height, width), image, instance)
    assert 0 <= crop.x0 <= x <= crop.x0 + width <= image[1]
    assert 0 <= crop.y0 <= y <= crop.y0 + height <= image[0]


def test_crop_larger_than_the_image() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        utils.gen_crop_transform_with_instance((9, 9), (8, 10), _annotation())


def test_datasets_must_agree() -> None:
    MetadataCatalog.get("test_agree_a").thing_classes = ["a"]
    MetadataCatalog.get("test_agree_b").thing_classes = ["b"]
    utils.check_metadata_consistency("thing_classes", ["test_agree_a"])
    with pytest.raises(ValueError, match="test_agree_b"):
        utils.check_metadata_consistency("thing_classes", ["test_agree_a", "test_agree_b"])


@pytest.mark.parametrize("enlarged", [False, True], ids=["flipped", "flipped and enlarged"])
@pytest.mark.parametrize("segmentation", [_RLE, _UNCOMPRESSED, _BITMAP], ids=["compressed", "uncompressed", "bitmap"])
def test_masks_go_through_the_transforms(segmentation: Any, enlarged: bool) -> None:
    transforms = [T.HFlipTransform(10), *([T.ScaleTransform(8, 10, 16, 20, "bilinear")] if enlarged else [])]
    size = (16, 20) if enlarged else (8, 10)
    annotation = utils.transform_instance_annotations(_annotation(segmentation), transforms, size)
    expected = _BITMAP[:, ::-1].repeat(size[0] // 8, axis=0).repeat(size[0] // 8, axis=1)
    np.testing.assert_array_equal(annotation["segmentation"], expected)
    # Upstream takes transformed masks as they are, also for an image of another size.
    masks = utils.annotations_to_instances([annotation, annotation], (30, 30), mask_format="bitmask").gt_masks
    np.testing.assert_array_equal(masks.tensor[1].numpy(), expected)


@pytest.mark.parametrize(
    "segmentations",
    [[_RLE], [_BITMAP, _BITMAP.T], [[_SQUARE], _BITMAP], [_BITMAP[..., None], _BITMAP]],
    ids=["run lengths", "two sizes", "polygon and mask", "three axes"],
)
def test_masks_of_different_sizes_are_refused(segmentations: list) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        utils.annotations_to_instances([_annotation(one) for one in segmentations], (9, 11), mask_format="bitmask")


def test_crop_around_what_is_outside_is_refused() -> None:
    with pytest.raises(AssertionError, match="centre outside"):
        utils.gen_crop_transform_with_instance((2, 2), (3, 3), {"bbox": [4, 4, 6, 6], "bbox_mode": BoxMode.XYXY_ABS})


@pytest.mark.parametrize("segmentation", [_RLE, _BITMAP, _BITMAP * 255], ids=["run lengths", "bitmap", "of 255"])
def test_what_a_crop_pads_is_of_no_object(segmentation: Any) -> None:
    crop = T.FixedSizeCrop((20, 20)).get_transform(np.zeros((8, 10, 3), np.uint8))
    annotation = utils.transform_instance_annotations(_annotation(segmentation), crop, (20, 20))
    assert utils.annotations_to_instances([annotation], (20, 20), "bitmask").gt_masks.tensor.sum() == 12
