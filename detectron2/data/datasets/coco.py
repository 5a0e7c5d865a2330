"""COCO's json format: read it, and write any registered data set in it.

Format: https://cocodataset.org/#format-data, "Object detection".
"""

from __future__ import annotations

import datetime
import functools
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_util

from detectron2.data.catalog import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode, PolygonMasks
from detectron2.utils.file_io import PathManager

__all__ = ["convert_to_coco_dict", "convert_to_coco_json", "load_coco_json", "register_coco_instances"]

logger = logging.getLogger(__name__)

PathLike = str | os.PathLike[str]


def register_coco_instances(name: str, metadata: dict[str, Any], json_file: PathLike, image_root: PathLike) -> None:
    """Register a data set in COCO's instance format. Nothing is read yet.

    Args:
        name: what DATASETS.TRAIN and DATASETS.TEST will call it.
        metadata: more to know about it; may be {}.
        json_file: annotations.
        image_root: folder that the file names in the json are relative to.
    """
    json_file, image_root = os.fspath(json_file), os.fspath(image_root)
    DatasetCatalog.register(name, functools.partial(load_coco_json, json_file, image_root, name))
    MetadataCatalog.get(name).set(json_file=json_file, image_root=image_root, evaluator_type="coco", **metadata)


def load_coco_json(
    json_file: PathLike,
    image_root: PathLike,
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
    try:
        content = json.loads(Path(PathManager.get_local_path(os.fspath(json_file))).read_bytes())
        by_image = _annotations_by_image(content)
        contiguous_id = None if dataset_name is None else _set_class_metadata(content, dataset_name)
        keys = ("iscrowd", "bbox", "category_id", *(extra_annotation_keys or ()))
        annotations = {id_: [_annotation(a, keys, contiguous_id) for a in found] for id_, found in by_image.items()}
        records, dropped = _records(content["images"], annotations, image_root)
    except json.JSONDecodeError as error:
        raise ValueError(f"{json_file}: not a json file: {error}") from error
    except ValueError as error:
        raise ValueError(f"{json_file}: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{json_file}: not in COCO format: {type(error).__name__}: {error}") from error
    if dropped:
        logger.warning("%s: left out %d annotations without a polygon of 3 points or more", json_file, dropped)
    logger.info("Loaded %d images in COCO format from %s", len(records), json_file)
    return records


def _records(
    images: Sequence[dict], annotations: dict[Any, list[dict]], image_root: PathLike
) -> tuple[list[dict], int]:
    """Of each image, ordered by id; and how many annotations without a polygon of 3 points were left out."""
    records, dropped = [], 0
    for image in sorted(images, key=lambda image: image["id"]):
        kept = [annotation for annotation in annotations[image["id"]] if annotation.get("segmentation", True)]
        dropped += len(annotations[image["id"]]) - len(kept)
        # Not pathlib: the root may be a web address, whose double slash it would lose.
        file_name = os.path.join(image_root, image["file_name"])  # noqa: PTH118
        size = {"height": image["height"], "width": image["width"]}
        records.append({"file_name": file_name, **size, "image_id": image["id"], "annotations": kept})
    return records, dropped


def _set_class_metadata(content: dict, dataset_name: str) -> dict[int, int]:
    try:
        names = {category["id"]: category["name"] for category in content["categories"]}
    except (KeyError, TypeError) as error:
        raise ValueError("'categories' must be a list of objects with id and name") from error
    if len(names) != len(content["categories"]):
        raise ValueError("two categories have the same id")
    contiguous_id = {category: index for index, category in enumerate(sorted(names))}
    metadata = MetadataCatalog.get(dataset_name)
    metadata.thing_classes = [names[category] for category in contiguous_id]
    metadata.thing_dataset_id_to_contiguous_id = contiguous_id
    return contiguous_id


def _annotations_by_image(content: Any) -> dict[Any, list[dict]]:
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise ValueError("not in COCO format: it needs an object with 'images' as a list")
    annotations = content.get("annotations", [])
    ids = [annotation["id"] for annotation in annotations if "id" in annotation]
    if len(set(ids)) != len(ids):
        raise ValueError("two annotations have the same id")
    by_image: dict[Any, list[dict]] = {image["id"]: [] for image in content["images"]}
    if len(by_image) != len(content["images"]):
        raise ValueError("two images have the same id")
    for index, annotation in enumerate(annotations):
        if annotation.get("ignore", 0):
            raise ValueError(f"annotations[{index}]: 'ignore' is not supported, use 'iscrowd'")
        if annotation.get("image_id") not in by_image:
            raise ValueError(f"annotations[{index}]: no image has the id {annotation.get('image_id')!r}")
        if len(annotation.get("bbox", ())) != 4:
            raise ValueError(f"annotations[{index}]: 'bbox' must be [x, y, width, height]")
        by_image[annotation["image_id"]].append(annotation)
    return by_image


def _annotation(source: dict, keys: Sequence[str], contiguous_id: dict[int, int] | None) -> dict[str, Any]:
    annotation = {key: source[key] for key in keys if key in source}
    if source.get("segmentation"):
        annotation["segmentation"] = _clean_segmentation(source["segmentation"])
    annotation["bbox_mode"] = BoxMode.XYWH_ABS
    if contiguous_id is not None:
        category = source.get("category_id")
        if category not in contiguous_id:
            raise ValueError(f"annotation {source.get('id')}: category_id {category!r} is not in 'categories'")
        annotation["category_id"] = contiguous_id[category]
    return annotation


def _clean_segmentation(segmentation: Any) -> Any:
    """Run lengths compressed; of polygons those with at least 3 points."""
    if not isinstance(segmentation, dict):
        return [p for p in segmentation if len(p) % 2 == 0 and len(p) >= 6]
    plain = isinstance(segmentation["counts"], list)
    return mask_util.frPyObjects(segmentation, *segmentation["size"]) if plain else segmentation


def convert_to_coco_dict(dataset_name: str) -> dict[str, Any]:
    """A registered data set in COCO's instance format.

    Image ids are the "image_id" of the dicts or else their places; annotation ids start at 1; category ids are those of
    thing_dataset_id_to_contiguous_id, or else the classes' numbers.
    """
    dataset_dicts = DatasetCatalog.get(dataset_name)
    metadata = MetadataCatalog.get(dataset_name)
    names = metadata.thing_classes
    contiguous_id = metadata.get("thing_dataset_id_to_contiguous_id") or {i: i for i in range(len(names))}
    dataset_id = {contiguous: original for original, contiguous in contiguous_id.items()}
    images: list[dict] = []
    annotations: list[dict] = []
    for place, record in enumerate(dataset_dicts):
        image_id = record.get("image_id", place)
        size = {"width": int(record["width"]), "height": int(record["height"])}
        images.append({"id": image_id, **size, "file_name": str(record["file_name"])})
        for source in record.get("annotations", ()):
            ids = {"id": len(annotations) + 1, "image_id": image_id}
            annotations.append({**ids, "category_id": dataset_id[source["category_id"]], **_coco_geometry(source)})
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
        geometry["area"] = float(mask_util.area(run_lengths))
        counts = run_lengths["counts"]
        text = counts.decode("ascii") if isinstance(counts, bytes) else counts
        geometry["segmentation"] = {"size": [int(edge) for edge in run_lengths["size"]], "counts": text}
    elif segmentation is not None:
        polygons = [np.asarray(polygon, dtype=np.float64).reshape(-1) for polygon in segmentation]
        geometry["area"] = float(PolygonMasks([polygons]).area()[0])
        geometry["segmentation"] = [polygon.tolist() for polygon in polygons]
    return geometry


def convert_to_coco_json(dataset_name: str, output_file: PathLike, allow_cached: bool = True) -> None:
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
    # Each process of a distributed run may write: only whole files ever get the final name.
    temporary = output.with_name(f"{output.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(convert_to_coco_dict(dataset_name)), encoding="utf-8")
    temporary.replace(output)
