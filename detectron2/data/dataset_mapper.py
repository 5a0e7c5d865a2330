"""DatasetMapper: from a data set's dict to what the network takes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from detectron2.config import CfgNode, configurable
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.utils.errors import InputError

logger = logging.getLogger(__name__)


@contextmanager
def _file_named(file_name: str) -> Iterator[None]:
    """Errors of annotations begin with the image's name."""
    try:
        yield
    except KeyError as error:
        raise KeyError(f"{file_name}: an annotation has no {error}") from error
    except ValueError as error:
        raise InputError(f"{file_name}: {error}") from error


class DatasetMapper:
    """Reads the image, augments image and annotations alike, and makes tensors.

    A callable: takes a dict with "file_name" and, for training, "annotations"; returns a new dict with also
    "image" (CxHxW, uint8) and "instances" (training only; crowd annotations are left out).
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[T.Augmentation | T.Transform],
        image_format: str,
        use_instance_mask: bool = False,
        use_keypoint: bool = False,
        instance_mask_format: str = "polygon",
        keypoint_hflip_indices: np.ndarray | None = None,
        precomputed_proposal_topk: int | None = None,
        recompute_boxes: bool = False,
    ) -> None:
        """
        Args:
            is_train: whether annotations are used.
            augmentations: applied one after another.
            image_format: as for detection_utils.read_image.
            use_instance_mask: use "segmentation" of the annotations.
            use_keypoint, keypoint_hflip_indices, precomputed_proposal_topk: must keep their defaults.
            instance_mask_format: "polygon" or "bitmask", what the masks become.
            recompute_boxes: take boxes from the augmented masks: tight, also after a crop.

        Raises:
            NotImplementedError: keypoints or precomputed proposals are requested.
        """
        if use_keypoint or keypoint_hflip_indices is not None or precomputed_proposal_topk is not None:
            raise NotImplementedError("keypoints and precomputed proposals are not supported")
        if recompute_boxes and not use_instance_mask:
            raise ValueError("recompute_boxes needs use_instance_mask")
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        self.use_instance_mask = use_instance_mask
        self.instance_mask_format = instance_mask_format
        self.recompute_boxes = recompute_boxes
        logger.info("Augmentations used in %s: %s", "training" if is_train else "inference", augmentations)

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        augmentations = utils.build_augmentation(cfg, is_train)
        crop = is_train and cfg.INPUT.CROP.ENABLED
        if crop:
            augmentations.insert(0, T.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
        return {
            "is_train": is_train,
            "augmentations": augmentations,
            "image_format": cfg.INPUT.FORMAT,
            "use_instance_mask": cfg.MODEL.MASK_ON,
            "use_keypoint": cfg.MODEL.KEYPOINT_ON,
            "instance_mask_format": cfg.INPUT.MASK_FORMAT,
            "precomputed_proposal_topk": (
                cfg.DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN if cfg.MODEL.LOAD_PROPOSALS else None
            ),
            "recompute_boxes": crop and cfg.MODEL.MASK_ON,
        }

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """
        Raises:
            SizeMismatchError: the image has another size than the dict states.
            ValueError: an annotation cannot be used.
            KeyError: it lacks "bbox", "bbox_mode" or "category_id".
            OSError: the image cannot be read.
        """
        # Shallow: below, entries are replaced and never changed inside.
        dataset_dict = dict(dataset_dict)
        image = utils.read_image(dataset_dict["file_name"], format=self.image_format)
        utils.check_image_size(dataset_dict, image)
        aug_input = T.AugInput(image)
        transforms = self.augmentations(aug_input)
        image = aug_input.image if aug_input.image.ndim == 3 else aug_input.image[:, :, None]
        dataset_dict["image"] = torch.from_numpy(np.require(image.transpose(2, 0, 1), requirements=("C", "W")))
        if not self.is_train:
            dataset_dict.pop("annotations", None)
            dataset_dict.pop("sem_seg_file_name", None)
        elif "annotations" in dataset_dict:
            with _file_named(dataset_dict["file_name"]):
                self._transform_annotations(dataset_dict, transforms, image.shape[:2])
        return dataset_dict

    def _transform_annotations(
        self, dataset_dict: dict[str, Any], transforms: T.Transform, image_shape: tuple[int, int]
    ) -> None:
        unused = {"keypoints"} if self.use_instance_mask else {"keypoints", "segmentation"}
        annotations = [
            utils.transform_instance_annotations(
                {key: value for key, value in annotation.items() if key not in unused}, transforms, image_shape
            )
            for annotation in dataset_dict.pop("annotations")
            if annotation.get("iscrowd", 0) == 0
        ]
        instances = utils.annotations_to_instances(annotations, image_shape, mask_format=self.instance_mask_format)
        if self.recompute_boxes and instances.has("gt_masks"):
            instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
        dataset_dict["instances"] = utils.filter_empty_instances(instances)
