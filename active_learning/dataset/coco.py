"""The COCO json file that the network trains on, and the lists of images."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as run_lengths

from active_learning.annotations import Annotation, Bitmap, Instance, Part, check_labels, read_annotation
from active_learning.annotations.contours import crop_bitmap, instance_bitmap, parts_bitmap, polygon_area
from active_learning.dataset.image_folder import AnnotatedImage, check_image_name, image_size, pair_annotations
from active_learning.errors import MaskALError
from active_learning.files import write_atomically

_DECIMALS = 3  # of a pixel


@dataclass(frozen=True)
class DatasetSummary:
    """What a COCO json file holds: images, those without objects, objects and images of each class.

    `bitmaps` is the number of objects written as run lengths: training on them needs INPUT.MASK_FORMAT "bitmask".
    """

    images: int
    negatives: int
    objects: dict[str, int]
    images_with: dict[str, int]
    warnings: tuple[str, ...]
    bitmaps: int = 0


def write_coco_json(
    folder: Path, images: Sequence[str], classes: Sequence[str], output: Path, *, unknown_labels: str = "error"
) -> DatasetSummary:
    """Writes the annotations of images, which stand beside them, as one COCO json file.

    Category ids count from 1 in the order of `classes`, image and annotation ids from 1. An object is polygons, or run
    lengths where it has holes or is a bitmap. Images without objects are kept. No image is decoded.

    Raises:
        MaskALError: names every image that has no annotation or a faulty one; then nothing is written.
    """
    annotations = list(_read_all(folder, images, classes, unknown_labels))
    category_ids = {name: number for number, name in enumerate(classes, start=1)}
    objects = [
        (image_id, instance, annotation)
        for image_id, annotation in enumerate(annotations, start=1)
        for instance in annotation.instances
    ]
    document = {
        "images": [
            {"id": image_id, "file_name": one.image, "height": one.height, "width": one.width}
            for image_id, one in enumerate(annotations, start=1)
        ],
        "annotations": [
            {
                "id": number,
                "image_id": image_id,
                "category_id": category_ids[instance.label],
                "iscrowd": 0,
                **_region(instance, one.height, one.width),
            }
            for number, (image_id, instance, one) in enumerate(objects, start=1)
        ],
        "categories": [{"id": number, "name": name} for name, number in category_ids.items()],
    }
    write_atomically(output, json.dumps(document, ensure_ascii=False))
    bitmaps = sum(isinstance(entry["segmentation"], dict) for entry in document["annotations"])
    return _summary(annotations, classes, bitmaps)


def _read_all(folder: Path, images: Sequence[str], classes: Sequence[str], unknown_labels: str) -> Iterator[Annotation]:
    """Raises one MaskALError for all faulty files, after the last."""
    pairs = pair_annotations(folder, images)
    faults: list[str] = []
    for name in images:
        if name not in pairs:
            faults.append(f"{folder / name}: there is no annotation beside it; annotate it or take it off the list")
            continue
        try:
            yield _read(folder, AnnotatedImage(name, pairs[name]), classes, unknown_labels)
        except MaskALError as error:
            faults.append(str(error))
    if faults:
        raise MaskALError("\n".join(faults))


def _read(folder: Path, image: AnnotatedImage, classes: Sequence[str], unknown_labels: str) -> Annotation:
    size = image_size(folder / image.name)
    annotation = read_annotation(image.annotation, image=image.name, size=size)
    return check_labels(annotation, classes, unknown_labels, image.annotation)


def _summary(annotations: Sequence[Annotation], classes: Sequence[str], bitmaps: int) -> DatasetSummary:
    objects, images_with = Counter(dict.fromkeys(classes, 0)), Counter(dict.fromkeys(classes, 0))
    for annotation in annotations:
        labels = [instance.label for instance in annotation.instances]
        objects.update(labels)
        images_with.update(set(labels))
    negatives = sum(not annotation.instances for annotation in annotations)
    warnings = tuple(warning for annotation in annotations for warning in annotation.warnings)
    return DatasetSummary(len(annotations), negatives, dict(objects), dict(images_with), warnings, bitmaps)


def _region(instance: Instance, height: int, width: int) -> dict[str, Any]:
    """segmentation, area and bbox (x, y, width, height) of an object."""
    if instance.bitmap is not None or any(part.holes for part in instance.parts):
        return _bitmap_region(instance_bitmap(instance, height, width), height, width)
    points = np.concatenate([part.exterior for part in instance.parts])
    corner, extent = points.min(axis=0), np.ptp(points, axis=0)
    return {
        "segmentation": [part.exterior.round(_DECIMALS).ravel().tolist() for part in instance.parts],
        "area": round(_area(instance.parts, height, width), _DECIMALS),
        "bbox": [*corner.round(_DECIMALS).tolist(), *extent.round(_DECIMALS).tolist()],
    }


def _area(parts: Sequence[Part], height: int, width: int) -> float:
    """Of the union: what parts share, counted in pixels, counts once."""
    areas = [polygon_area(part.exterior) for part in parts]
    if not min(areas):  # an outline whose lobes cancel out
        return float(parts_bitmap(parts, height, width).mask.sum())
    if len(parts) == 1 or not _boxes_overlap(parts):
        return sum(areas)
    pixels = sum(int(parts_bitmap([part], height, width).mask.sum()) for part in parts)
    return sum(areas) - (pixels - int(parts_bitmap(parts, height, width).mask.sum()))


def _boxes_overlap(parts: Sequence[Part]) -> bool:
    """Whether the boxes of any two parts overlap; taken for so where there are too many to compare."""
    if len(parts) > 1000:
        return True
    low = np.stack([part.exterior.min(axis=0) for part in parts])
    high = np.stack([part.exterior.max(axis=0) for part in parts])
    below = (low[:, None] < high[None]).all(axis=2)
    return int((below & below.T).sum()) > len(parts)


def _bitmap_region(bitmap: Bitmap, height: int, width: int) -> dict[str, Any]:
    bitmap = crop_bitmap(bitmap, height, width)
    rows, columns = bitmap.mask.shape
    return {
        "segmentation": _encode(bitmap, height, width),
        "area": int(bitmap.mask.sum()),
        "bbox": [bitmap.x, bitmap.y, columns, rows],
    }


def _encode(bitmap: Bitmap, height: int, width: int) -> dict[str, Any]:
    """COCO run lengths, column by column from the image's upper left; only the columns of the crop are looked at."""
    rows, count = bitmap.mask.shape
    columns = np.zeros((count, height), dtype=np.int8)
    columns[:, bitmap.y : bitmap.y + rows] = bitmap.mask.T
    changes = np.flatnonzero(np.diff(columns.ravel(), prepend=0, append=0)) + bitmap.x * height
    counts = np.diff(changes, prepend=0, append=height * width)
    encoded = run_lengths.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width)
    return {"size": [height, width], "counts": encoded["counts"].decode("ascii")}


def write_image_list(path: Path, names: Iterable[str]) -> None:
    """One relative name a line.

    Raises:
        MaskALError: a name holds a line break or leads out of its folder.
    """
    names = [check_image_name(name) for name in names]
    for name in names:
        if "\n" in name or "\r" in name:
            raise MaskALError(f"image name {name!r}: holds a line break; rename the image")
    write_atomically(path, "".join(f"{name}\n" for name in names))


def read_image_list(path: Path) -> list[str]:
    """The names of an image list; line ends and backslashes of Windows are understood.

    Raises:
        MaskALError: the file cannot be read, or a name leads out of its folder.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise MaskALError(f"{path}: cannot be read as an image list: {error}") from error
    lines = (line.replace("\\", "/") for line in text.split("\n") if line.strip())
    return [check_image_name(name) for name in lines]
