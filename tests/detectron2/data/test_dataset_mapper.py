from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, DatasetMapper
from detectron2.data import transforms as T
from detectron2.data.detection_utils import SizeMismatchError, read_image


@pytest.fixture
def cfg() -> CfgNode:
    cfg = get_cfg()
    cfg.MODEL.MASK_ON = True
    cfg.INPUT.MIN_SIZE_TRAIN = (80,)
    cfg.INPUT.MIN_SIZE_TEST = 20
    cfg.INPUT.MASK_FORMAT = "bitmask"
    return cfg


@pytest.fixture
def records(small_dataset: str) -> list[dict[str, Any]]:
    return DatasetCatalog.get(small_dataset)


def _mapper(**arguments: Any) -> DatasetMapper:
    return DatasetMapper(True, **{"augmentations": [], "image_format": "BGR", "use_instance_mask": True, **arguments})


def test_training_input(cfg: CfgNode, records: list[dict[str, Any]]) -> None:
    before = copy.deepcopy(records[2])
    mapped = DatasetMapper(cfg, True)(records[2])
    assert mapped["image"].shape == (3, 80, 120)
    assert mapped["image"].dtype == torch.uint8
    assert mapped["image"].is_contiguous()
    instances = mapped["instances"]
    assert instances.image_size == (80, 120)
    assert instances.gt_classes.tolist() == [1, 0]
    assert instances.gt_masks.tensor.shape == (2, 80, 120)
    assert "annotations" not in mapped
    assert (mapped["height"], mapped["width"], mapped["image_id"]) == (40, 60, 3)
    assert records[2] == before


def test_crowds_are_left_out(cfg: CfgNode, records: list[dict[str, Any]]) -> None:
    assert len(DatasetMapper(cfg, True)(records[0])["instances"]) == 0


def test_test_input(cfg: CfgNode, records: list[dict[str, Any]]) -> None:
    mapped = DatasetMapper(cfg, False)(records[2])
    assert mapped["image"].shape == (3, 20, 30)
    assert not {"instances", "annotations"} & mapped.keys()


def test_unaugmented_image_is_the_file(records: list[dict[str, Any]]) -> None:
    image = _mapper()(records[1])["image"]
    np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), read_image(records[1]["file_name"], "BGR"))


def test_grey_images(records: list[dict[str, Any]]) -> None:
    assert _mapper(image_format="L", augmentations=[T.Resize((10, 10))])(records[1])["image"].shape == (1, 10, 10)


def test_masks_only_when_wanted(records: list[dict[str, Any]]) -> None:
    instances = _mapper(use_instance_mask=False)(records[2])["instances"]
    assert not instances.has("gt_masks")
    assert len(instances) == 2


def test_crop_makes_tight_boxes_and_drops_what_is_outside(records: list[dict[str, Any]]) -> None:
    mapper = _mapper(augmentations=[T.CropTransform(20, 10, 40, 30)], recompute_boxes=True)
    instances = mapper(records[2])["instances"]
    # The triangle reaches x = 20 at y = 10 only: without area inside.
    assert instances.gt_boxes.tensor.tolist() == [[0, 0, 10, 20]]


def test_crop_of_the_config_comes_first(cfg: CfgNode) -> None:
    cfg.INPUT.CROP.ENABLED = True
    mapper = DatasetMapper(cfg, True)
    assert isinstance(mapper.augmentations.augs[0], T.RandomCrop)
    assert mapper.recompute_boxes
    assert not DatasetMapper(cfg, False).recompute_boxes


@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
@pytest.mark.parametrize(
    ("changed", "error", "text"),
    [
        ({"segmentation": None}, ValueError, "annotation 1 of 2 .*has no 'segmentation'"),
        ({"segmentation": [[1.0, 2, 3, 4]]}, ValueError, "instance 1, polygon 0"),
        ({"segmentation": [[1.0, 2, 3]]}, ValueError, "3"),
        ({"segmentation": "square"}, ValueError, "polygons"),
        ({"category_id": None}, KeyError, "an annotation has no 'category_id'"),
        ({"bbox": None}, KeyError, "an annotation has no 'bbox'"),
    ],
    ids=["no mask", "two points", "half a point", "text", "no class", "no box"],
)
def test_the_file_of_a_faulty_annotation_is_named(
    records: list[dict[str, Any]], changed: dict[str, Any], error: type[Exception], text: str, mask_format: str
) -> None:
    record = copy.deepcopy(records[2])
    faulty = {key: value for key, value in {**record["annotations"][1], **changed}.items() if value is not None}
    record["annotations"][1] = faulty
    with pytest.raises(error, match=rf"3\.png: .*{text}"):
        _mapper(instance_mask_format=mask_format)(record)


def test_wrong_size_is_an_error(cfg: CfgNode, records: list[dict[str, Any]]) -> None:
    with pytest.raises(SizeMismatchError, match=r"2\.png"):
        DatasetMapper(cfg, True)({**records[1], "width": 40, "height": 60})


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"use_keypoint": True}, NotImplementedError),
        ({"precomputed_proposal_topk": 10}, NotImplementedError),
        ({"use_instance_mask": False, "recompute_boxes": True}, ValueError),
    ],
    ids=["keypoints", "proposals", "boxes of no masks"],
)
def test_what_is_not_supported_is_reported(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        _mapper(**arguments)
