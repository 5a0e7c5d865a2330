"""COCO's json format: read it, and write any registered data set in it.

Format: https://cocodataset.org/#format-data, "Object detection".
"""

from __future__ import annotations

import datetime
import json
import logging
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_util

from detectron2.data.catalog import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode, PolygonMasks
from detectron2.utils.file_io import PathManager

__all__ = ["convert_to_coco_dict", "convert_to_coco_json", "load_coco_json"]

logger = logging.getLogger(__name__)

_MIN_POLYGON_NUMBERS = 6


def load_coco_json(
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    dataset_name: str | None = None,
    extra_annotation_keys: Sequence[str] | None = None,
) -> list[dict]:
    """Read a json file in COCO's instance format.

    Args:
        json_file: the file.
        image_root: folder that its file names are relative to.
        dataset_name: gets the classes as metadata (thing_classes, thing_dataset_id_to_contiguous_id), and category
            ids become 0, 1, ... in the order of the ids. None: category ids are left as they are.
        extra_annotation_keys: further keys of annotations to keep.

    Returns:
        One dict an image, ordered by image id: file_name, height, width, image_id and annotations; these have iscrowd,
        bbox (x0, y0, width, height), bbox_mode, category_id and, if present, segmentation as polygons or run lengths.

    Raises:
        ValueError: the file is not such a json, or contradicts itself.
    """
    content = _read_json(json_file)
    contiguous_id = _set_class_metadata(content, dataset_name, json_file) if dataset_name is not None else None
    by_image = _annotations_by_image(content, json_file)
    keys = ("iscrowd", "bbox", "category_id", *(extra_annotation_keys or ()))
    records, dropped = [], 0
    for image in sorted(content["images"], key=lambda image: image["id"]):
        annotations = []
        for source in by_image.get(image["id"], ()):
            annotation = {key: source[key] for key in keys if key in source}
            if source.get("segmentation"):
                annotation["segmentation"] = _clean_segmentation(source["segmentation"])
                if not annotation["segmentation"]:
                    dropped += 1
                    continue
            annotation["bbox_mode"] = BoxMode.XYWH_ABS
            if contiguous_id is not None:
                annotation["category_id"] = _to_contiguous(contiguous_id, source, json_file)
            annotations.append(annotation)
        # Not pathlib: the root may be a web address, whose double slash it would lose.
        file_name = os.path.join(image_root, image["file_name"])  # noqa: PTH118
        size = {"height": image["height"], "width": image["width"]}
        records.append({"file_name": file_name, **size, "image_id": image["id"], "annotations": annotations})
    if dropped:
        logger.warning("%s: left out %d annotations without a polygon of 3 points or more", json_file, dropped)
    logger.info("Loaded %d images in COCO format from %s", len(records), json_file)
    return records


def _read_json(json_file: str | os.PathLike[str]) -> dict:
    path = Path(PathManager.get_local_path(os.fspath(json_file)))
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{json_file}: not a json file: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise ValueError(f"{json_file}: not in COCO format: it needs an object with 'images' as a list")
    return content


def _set_class_metadata(content: dict, dataset_name: str, json_file: str | os.PathLike[str]) -> dict[int, int]:
    try:
        categories = sorted(content["categories"], key=lambda category: category["id"])
        names = [category["name"] for category in categories]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{json_file}: 'categories' must be a list of objects with id and name") from error
    contiguous_id = {category["id"]: index for index, category in enumerate(categories)}
    if len(contiguous_id) != len(categories):
        raise ValueError(f"{json_file}: two categories have the same id")
    metadata = MetadataCatalog.get(dataset_name)
    metadata.thing_classes = names
    metadata.thing_dataset_id_to_contiguous_id = contiguous_id
    return contiguous_id


def _annotations_by_image(content: dict, json_file: str | os.PathLike[str]) -> dict[Any, list[dict]]:
    annotations = content.get("annotations", [])
    ids = [annotation["id"] for annotation in annotations if "id" in annotation]
    if len(set(ids)) != len(ids):
        raise ValueError(f"{json_file}: two annotations have the same id")
    images = {image["id"] for image in content["images"]}
    if len(images) != len(content["images"]):
        raise ValueError(f"{json_file}: two images have the same id")
    by_image: dict[Any, list[dict]] = defaultdict(list)
    for index, annotation in enumerate(annotations):
        if annotation.get("ignore", 0):
            raise ValueError(f"{json_file}: annotations[{index}]: 'ignore' is not supported, use 'iscrowd'")
        if annotation.get("image_id") not in images:
            raise ValueError(f"{json_file}: annotations[{index}]: no image has the id {annotation.get('image_id')!r}")
        if len(annotation.get("bbox", ())) != 4:
            raise ValueError(f"{json_file}: annotations[{index}]: 'bbox' must be [x, y, width, height]")
        by_image[annotation["image_id"]].append(annotation)
    return by_image


def _clean_segmentation(segmentation: Any) -> Any:
    """Run lengths compressed; of polygons those with at least 3 points."""
    if isinstance(segmentation, dict):
        if isinstance(segmentation["counts"], list):
            return mask_util.frPyObjects(segmentation, *segmentation["size"])
        return segmentation
    return [p for p in segmentation if len(p) % 2 == 0 and len(p) >= _MIN_POLYGON_NUMBERS]


def _to_contiguous(contiguous_id: dict[int, int], annotation: dict, json_file: str | os.PathLike[str]) -> int:
    try:
        return contiguous_id[annotation["category_id"]]
    except KeyError as error:
        raise ValueError(
            f"{json_file}: annotation {annotation.get('id')}: category_id {annotation.get('category_id')!r} "
            "is not in 'categories'"
        ) from error


def convert_to_coco_dict(dataset_name: str) -> dict[str, Any]:
    """A registered data set in COCO's instance format.

    Image ids are the "image_id" of the dicts or else their places; annotation ids start at 1; category ids are those of
    thing_dataset_id_to_contiguous_id, or else the classes' numbers.
    """
    dataset_dicts = DatasetCatalog.get(dataset_name)
    metadata = MetadataCatalog.get(dataset_name)
    contiguous_id = metadata.get("thing_dataset_id_to_contiguous_id")
    names = metadata.thing_classes
    dataset_id = {i: i for i in range(len(names))}
    if contiguous_id is not None:
        dataset_id = {contiguous: original for original, contiguous in contiguous_id.items()}
    images: list[dict] = []
    annotations: list[dict] = []
    for place, record in enumerate(dataset_dicts):
        image_id = record.get("image_id", place)
        images.append(
            {
                "id": image_id,
                "width": int(record["width"]),
                "height": int(record["height"]),
                "file_name": str(record["file_name"]),
            }
        )
        for source in record.get("annotations", ()):
            ids = {"id": len(annotations) + 1, "image_id": image_id}
            category = dataset_id[source["category_id"]]
            annotations.append({**ids, "category_id": category, **_coco_geometry(source)})
    return {
        "info": {
            "date_created": datetime.datetime.now().isoformat(timespec="seconds"),
            "description": f"COCO json of the data set {dataset_name}",
        },
        "licenses": None,
        "images": images,
        "annotations": annotations,
        "categories": [{"id": dataset_id[i], "name": name} for i, name in enumerate(names)],
    }


def _coco_geometry(annotation: dict) -> dict[str, Any]:
    box = BoxMode.convert([float(x) for x in annotation["bbox"]], annotation["bbox_mode"], BoxMode.XYWH_ABS)
    geometry: dict[str, Any] = {
        "bbox": [round(float(x), 3) for x in box],
        "area": float(box[2] * box[3]),
        "iscrowd": int(annotation.get("iscrowd", 0)),
    }
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        run_lengths = _clean_segmentation(segmentation)
        counts = run_lengths["counts"]
        geometry["area"] = float(mask_util.area(run_lengths))
        geometry["segmentation"] = {
            "size": [int(edge) for edge in run_lengths["size"]],
            "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts,
        }
    elif segmentation is not None:
        polygons = [np.asarray(polygon, dtype=np.float64).reshape(-1) for polygon in segmentation]
        geometry["area"] = float(PolygonMasks([polygons]).area()[0])
        geometry["segmentation"] = [polygon.tolist() for polygon in polygons]
    return geometry


def convert_to_coco_json(dataset_name: str, output_file: str | os.PathLike[str], allow_cached: bool = True) -> None:
    """Write a registered data set as a json file in COCO's instance format.

    Args:
        output_file: the file; its folder is made.
        allow_cached: leave an existing file as it is, even if the data set has changed since.
    """
    output = Path(output_file)
    if output.exists() and allow_cached:
        logger.warning("Using the existing COCO json %s; delete it if the data set has changed", output)
        return
    logger.info("Writing data set '%s' in COCO format to %s", dataset_name, output)
    output.parent.mkdir(parents=True, exist_ok=True)
    # Each process of a distributed run may write: only whole files ever stand under the final name.
    temporary = output.with_name(f"{output.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(convert_to_coco_dict(dataset_name)), encoding="utf-8")
    temporary.replace(output)
