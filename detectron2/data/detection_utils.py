"""Between a data set's dicts and what the network is trained on: checks, transformed annotations, Instances.

N: number of annotations of an image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.data.catalog import MetadataCatalog
from detectron2.data.image_io import convert_image_to_rgb, convert_PIL_to_numpy, read_image  # noqa: F401
from detectron2.structures import BitMasks, Boxes, BoxMode, Instances, PolygonMasks, polygons_to_bitmask
from detectron2.utils.errors import InputError
from detectron2.utils.generic_mask import decode_run_lengths


class SizeMismatchError(ValueError):
    """An image has another size than its annotations are for."""


def check_image_size(dataset_dict: dict, image: np.ndarray) -> None:
    """Compare "width" and "height" of the dict with the image (SizeMismatchError), and add them if they are missing."""
    height, width = image.shape[:2]
    expected = (dataset_dict.get("height", height), dataset_dict.get("width", width))
    if expected != (height, width):
        raise SizeMismatchError(
            f"{dataset_dict.get('file_name', 'image')}: the image has height x width {height}x{width}, but its "
            f"annotations are for {expected[0]}x{expected[1]}: was it rotated or resized after annotating?"
        )
    dataset_dict.setdefault("width", width)
    dataset_dict.setdefault("height", height)


def transform_instance_annotations(
    annotation: dict[str, Any],
    transforms: Any,
    image_size: tuple[int, int],
    *,
    keypoint_hflip_indices: np.ndarray | None = None,
) -> dict[str, Any]:
    """Transform box and segmentation of one annotation, in place.

    Args:
        annotation: "bbox" with "bbox_mode"; "segmentation" as polygons [x0, y0, x1, y1, ...] or run lengths.
        transforms: the Transform, or list of them, that was applied to the image.
        image_size: (height, width) of the transformed image; boxes are clipped to it.
        keypoint_hflip_indices: accepted for compatibility; keypoints raise an error.

    Returns:
        The annotation: "bbox" absolute (x0, y0, x1, y1), polygons as flat arrays, run lengths as an HxW array.

    Raises:
        NotImplementedError: the annotation has keypoints.
        ValueError: unknown kind of segmentation, or run lengths of another size than the image.
    """
    if "keypoints" in annotation:
        raise NotImplementedError("keypoints are not supported: remove 'keypoints' from the annotations")
    transform = T.TransformList(transforms) if isinstance(transforms, Sequence) else transforms
    box = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
    box = transform.apply_box(np.array([box], dtype=np.float64))[0]
    height, width = image_size
    annotation["bbox"] = np.minimum(box.clip(min=0), [width, height, width, height])
    annotation["bbox_mode"] = BoxMode.XYXY_ABS
    if "segmentation" in annotation:
        annotation["segmentation"] = _transform_segmentation(annotation["segmentation"], transform, image_size)
    return annotation


def _transform_segmentation(
    segmentation: Any, transforms: T.Transform, image_size: tuple[int, int]
) -> list[np.ndarray] | np.ndarray:
    if isinstance(segmentation, (list, tuple)):
        # Copied: some transforms change coordinates in place.
        polygons = [np.array(polygon, dtype=np.float64).reshape(-1, 2) for polygon in segmentation]
        return [polygon.reshape(-1) for polygon in transforms.apply_polygons(polygons)]
    mask = (_bitmap(segmentation) != 0).astype(np.uint8)
    mask = (transforms.apply_segmentation(mask) == 1).astype(np.uint8)  # FixedSizeCrop pads with 255
    return _sized(mask, image_size)


def _bitmap(segmentation: Any) -> np.ndarray:
    if not isinstance(segmentation, (dict, np.ndarray)):
        raise ValueError(
            "a segmentation is a list of polygons [x0, y0, x1, y1, ...] or run lengths {'size', 'counts'}, "
            f"not {type(segmentation)}"
        )
    return decode_run_lengths(segmentation) if isinstance(segmentation, dict) else segmentation


def _sized(bitmap: np.ndarray, image_size: tuple[int, ...]) -> np.ndarray:
    if bitmap.shape != tuple(image_size):
        raise InputError(f"a mask of {bitmap.shape} does not fit its image of {tuple(image_size)} (height, width)")
    return bitmap


def annotations_to_instances(
    annos: Sequence[dict[str, Any]], image_size: tuple[int, int], mask_format: str = "polygon"
) -> Instances:
    """Make the Instances a network is trained on.

    Args:
        annos: N annotations of one image, usually after transform_instance_annotations, which gives their masks the
            size of the image.
        image_size: (height, width).
        mask_format: "polygon" or "bitmask". Run lengths and masks need "bitmask".

    Returns:
        Instances with gt_boxes (Nx4, absolute (x0, y0, x1, y1)), gt_classes (N, int64) and, if annotated, gt_masks.

    Raises:
        ValueError: a segmentation does not fit `mask_format`, polygons and run lengths not `image_size`, arrays differ
            in size, a polygon has fewer than three points, or only some of the annotations have a segmentation.
    """
    boxes = [BoxMode.convert(anno["bbox"], anno["bbox_mode"], BoxMode.XYXY_ABS) for anno in annos]
    target = Instances(image_size)
    target.gt_boxes = Boxes(torch.as_tensor(np.array(boxes, dtype=np.float32).reshape(-1, 4)))
    target.gt_classes = torch.tensor([int(anno["category_id"]) for anno in annos], dtype=torch.int64)
    has_mask = ["segmentation" in anno for anno in annos]
    if any(has_mask):
        if not all(has_mask):
            raise InputError(
                f"annotation {has_mask.index(False)} of {len(annos)} (from 0, without crowds) has no 'segmentation', "
                f"but annotation {has_mask.index(True)} has one: annotate each object's outline, or none's"
            )
        segmentations = [anno["segmentation"] for anno in annos]
        target.gt_masks = _make_masks(segmentations, image_size, mask_format)
    return target


def _make_masks(segmentations: list[Any], image_size: tuple[int, int], mask_format: str) -> PolygonMasks | BitMasks:
    if mask_format == "polygon":
        try:
            return PolygonMasks(segmentations)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"masks are not polygons: {error}. For run lengths and bitmaps set INPUT.MASK_FORMAT to 'bitmask'"
            ) from error
    if mask_format != "bitmask":
        raise ValueError(f"mask_format must be 'polygon' or 'bitmask', not '{mask_format}'")
    # checks the polygons: the rasteriser takes other lengths for boxes, or does not know them
    polygons = PolygonMasks([one if isinstance(one, (list, tuple)) else [] for one in segmentations])
    masks = [_mask(one, own, image_size) for one, own in zip(segmentations, polygons, strict=True)]
    return BitMasks(np.stack([_sized(mask, masks[0].shape) for mask in masks]) != 0)


def _mask(segmentation: Any, polygons: list[np.ndarray], image_size: tuple[int, int]) -> np.ndarray:
    if isinstance(segmentation, (list, tuple)):
        return polygons_to_bitmask(polygons, *image_size)
    bitmap = _bitmap(segmentation)
    return _sized(bitmap, image_size) if isinstance(segmentation, dict) else bitmap


def filter_empty_instances(
    instances: Instances,
    by_box: bool = True,
    by_mask: bool = True,
    box_threshold: float = 1e-5,
    return_mask: bool = False,
) -> Instances | tuple[Instances, torch.Tensor]:
    """Leave out instances without area, which cropping and resizing make.

    Args:
        by_box: leave out boxes not wider and higher than `box_threshold` pixels.
        by_mask: leave out empty masks.
        return_mask: also return which of the N are kept, as a bool tensor.
    """
    if not by_box and not by_mask:
        raise InputError("filter_empty_instances needs by_box, by_mask or both")
    keep = torch.ones(len(instances), dtype=torch.bool)
    if by_box:
        keep &= instances.gt_boxes.nonempty(threshold=box_threshold)
    if by_mask and instances.has("gt_masks"):
        keep &= instances.gt_masks.nonempty()
    # Indexing copies every mask, and nearly always all are kept.
    kept = instances if bool(keep.all()) else instances[keep]
    return (kept, keep) if return_mask else kept


def build_augmentation(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """The standard augmentations of cfg.INPUT: resize by the shortest edge and, in training, a random flip."""
    if not is_train:
        return [T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST, "choice")]
    resize = T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING)
    flip = cfg.INPUT.RANDOM_FLIP
    if flip not in ("none", "horizontal", "vertical"):
        raise InputError(f"INPUT.RANDOM_FLIP must be 'none', 'horizontal' or 'vertical', not '{flip}'")
    if flip == "none":
        return [resize]
    return [resize, T.RandomFlip(horizontal=flip == "horizontal", vertical=flip == "vertical")]


build_transform_gen = build_augmentation


def gen_crop_transform_with_instance(
    crop_size: tuple[int, int], image_size: tuple[int, int], instance: dict[str, Any]
) -> T.CropTransform:
    """A random crop that contains the centre of an instance's box; sizes are (height, width) in pixels.

    Raises ValueError where the crop is larger than the image, or the box's centre lies outside of it.
    """
    size, image = np.asarray(crop_size, dtype=np.int64), np.asarray(image_size, dtype=np.int64)
    if (size > image).any():
        raise InputError(f"a crop of {tuple(crop_size)} does not fit into an image of {tuple(image_size)}")
    box = np.asarray(BoxMode.convert(instance["bbox"], instance["bbox_mode"], BoxMode.XYXY_ABS), dtype=np.float64)
    center = (box[[1, 0]] + box[[3, 2]]) / 2
    if (center < 0).any() or (center > image).any():
        raise InputError(f"the box {box.tolist()} has its centre outside of an image of {tuple(image_size)}")
    lowest = np.maximum(np.ceil(center).astype(np.int64) - size, 0)
    highest = np.minimum(np.floor(center).astype(np.int64), image - size)
    y0, x0 = np.random.randint(lowest, highest + 1).tolist()
    return T.CropTransform(x0, y0, int(size[1]), int(size[0]), int(image[1]), int(image[0]))


def check_metadata_consistency(key: str, dataset_names: Iterable[str]) -> None:
    """Check that data sets used together agree on a metadata key, usually "thing_classes".

    Raises AttributeError where one does not have it, ValueError where two differ.
    """
    values = {name: getattr(MetadataCatalog.get(name), key) for name in dataset_names}
    if not values:
        raise InputError("no data sets to compare")
    first = next(iter(values))
    for name, value in values.items():
        if value != values[first]:
            raise ValueError(f"data sets differ in '{key}': '{first}' has {values[first]!r}, '{name}' has {value!r}")
