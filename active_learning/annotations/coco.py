"""COCO json files, each of many images.

An entry of `annotations` is an object: polygons whose union it is, or run lengths, which can have holes. A crowd
(iscrowd 1) is a region of many objects and none itself; it is left out with a warning. CVAT and V7 mark every mask so:
their entries, known by the attribute "occluded" and by the image's darwin_url, are objects. Ids are numbers, or the
same as text.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from active_learning.annotations.annotation import (
    Annotation,
    Bitmap,
    Instance,
    LostObject,
    Part,
    Polygon,
    ShapeError,
    Size,
)
from active_learning.annotations.canvas import Canvas, Regions, Shape, open_canvas
from active_learning.annotations.contours import crop_bitmap, enclosed_area, instance_bitmap, union_area
from active_learning.annotations.documents import brief, list_of
from active_learning.annotations.png import MOST_PIXELS
from active_learning.annotations.run_lengths import bitmap_of, decode_runs, encode_runs, runs_of
from active_learning.annotations.shapes import clipped_bitmap, label_text, read_polygon, read_score
from active_learning.errors import AnnotationError

_DECIMALS = 3  # of a pixel
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,19}(\.0+)?")
_NO_CROWD = ("none", "", "0", "0.0", "false")  # iscrowd, as texts


class CocoFile:
    """A COCO json file, whose images are read one by one; see `codec.ImageCollection`.

    `images` are their names, paths with "/" as the file gives them. `faults` are why images cannot be read, `warnings`
    name entries that are of no image, each with file, place and reason.
    """

    def __init__(self, document: Any, path: Path) -> None:
        """Raises AnnotationError where images, annotations or categories are no lists."""
        keys, fields = ("images", "categories", "annotations"), {"annotations": [], **document}
        images, categories, objects = (list_of(fields, key, path, "export the data set again") for key in keys)
        self._path = path
        self.faults: list[str] = []
        self.warnings: list[str] = []
        self._images: dict[str, dict[str, Any]] = {}
        self._labels = _labels_by_id(categories, path)
        entries = _without_repeats(objects)
        ids = Counter(own for _, entry in entries if (own := _key(_field(entry, "id"))) is not None)
        is_of_two = any(count > 1 for count in ids.values())  # then equal images may be those of two data sets, too
        names = self._names_by_id(list(enumerate(images)) if is_of_two else _without_repeats(images))
        self._entries: dict[str, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
        for index, entry in entries:
            number = _key(_field(entry, "image_id"))
            if number not in names:
                found = brief(_field(entry, "image_id") if isinstance(entry, dict) else entry)
                self.warnings.append(f"{path}: annotations[{index}]: image_id {found} is none of its images; left out")
            elif name := names[number]:
                self._entries[name].append((index, entry))

    def _names_by_id(self, images: list[tuple[int, Any]]) -> dict[Any, str]:
        """From ids to the names of the images; "" for those of `faults`, such as several with one id or name."""
        ids = Counter(_key(_field(entry, "id")) for _, entry in images)
        files = Counter(_file_name(entry) for _, entry in images)
        names: dict[Any, str] = {}
        for index, entry in images:
            try:
                name = _checked_name(entry)
                if ids[_key(entry["id"])] > 1:
                    raise ShapeError(f"id {brief(entry['id'])} is of several images; give each its own")
                if files[name] > 1:
                    raise ShapeError(f"file_name {brief(name)} is of several images; put their objects under one id")
            except ShapeError as fault:
                self.faults.append(f"{self._path}: images[{index}]: {fault}; the image is left out")
                names.setdefault(_key(_field(entry, "id")), "")
            else:
                self._images[name] = entry
                names[_key(entry["id"])] = name
        return names

    @property
    def images(self) -> tuple[str, ...]:
        return tuple(self._images)

    def paths_of(self, name: str) -> tuple[str, ...]:
        return (name,)

    def read(self, name: str, *, size: Size | None) -> Annotation:
        """The objects of one of `images`, clipped to the image; `size` as in `annotations.read_annotation`.

        Raises:
            AnnotationError: the size is unknown.
        """
        place = f"{self._path}: image {name!r}"
        declared = (self._images[name].get("height"), self._images[name].get("width"))
        canvas = open_canvas(declared, size, place, ("height", "width"))
        if self.warnings and name not in self._entries:  # they may be its objects
            canvas.lost.append(LostObject("", self.warnings[0]))
        is_of_v7 = "darwin_url" in self._images[name]
        instances = canvas.objects(
            self._entries.get(name, ()),
            lambda entry, index: _read_object(entry, index, self._label(entry), canvas, is_of_v7=is_of_v7),
            lambda entry, index: _place(index, self._label(entry)),
            label=lambda entry: label_text(self._label(entry)),
        )
        return canvas.annotation(name, instances)

    def _label(self, entry: dict[str, Any]) -> Any:
        return self._labels.get(_key(entry.get("category_id")))


def _place(index: int, label: Any) -> str:
    return f"annotations[{index}]: label {brief(label)}"


def _field(entry: Any, name: str) -> Any:
    return entry.get(name) if isinstance(entry, dict) else None


def _key(number: Any) -> Any:
    """An id that can be a key, one that is written as a number as that; None where it is none."""
    if isinstance(number, float) and number.is_integer():
        return int(number)
    if isinstance(number, str) and _WHOLE_NUMBER.fullmatch(number):
        return int(number.partition(".")[0])
    return number if isinstance(number, (int, str)) and not isinstance(number, bool) else None


def _labels_by_id(categories: list[Any], path: Path) -> dict[Any, Any]:
    """Raises AnnotationError where categories of several names have one id."""
    labels: dict[Any, Any] = {}
    for index, entry in enumerate(categories):
        number, name = _key(_field(entry, "id")), _field(entry, "name")
        if number is None:
            continue
        if labels.setdefault(number, name) != name:
            both = f"{brief(labels[number])} and {brief(name)}"
            raise AnnotationError(f"{path}: categories[{index}]: id {number!r} is of {both}; give each its own")
    return labels


def _without_repeats(entries: list[Any]) -> list[tuple[int, Any]]:
    """With their index, but for those equal to the first of their id: files that were put together hold some twice."""
    first: dict[Any, Any] = {}
    kept = []
    for index, entry in enumerate(entries):
        own = _key(_field(entry, "id"))
        if own is None or first.setdefault(own, entry) is entry or first[own] != entry:
            kept.append((index, entry))
    return kept


def _file_name(entry: Any) -> str:
    """With "/" between folders; "" where it has none."""
    name = _field(entry, "file_name")
    return name.replace("\\", "/") if isinstance(name, str) else ""


def _checked_name(entry: Any) -> str:
    """Raises ShapeError."""
    if not isinstance(entry, dict) or _key(entry.get("id")) is None:
        raise ShapeError(f"is {brief(entry)}, not an image with id and file_name")
    name = _file_name(entry)
    if not name:
        raise ShapeError("has no file_name")
    if not PurePosixPath(name).name or "\x00" in name:
        raise ShapeError(f"file_name {brief(name)} is no name of a file")
    return name


def _read_object(entry: dict[str, Any], index: int, label: Any, canvas: Canvas, *, is_of_v7: bool) -> Shape:
    """Raises ShapeError."""
    label = label_text(label)
    if not label:
        raise ShapeError(f"category_id {brief(entry.get('category_id'))} is not in categories")
    if str(entry.get("iscrowd")).strip().lower() not in _NO_CROWD and not (is_of_v7 or _is_of_cvat(entry)):
        raise ShapeError("is a crowd (iscrowd 1), not an object; if it is one, set that to 0")
    region = entry.get("segmentation")
    regions, faults = _read_runs(region, canvas) if isinstance(region, dict) else _read_polygons(region, entry, canvas)
    canvas.warnings += [f"{canvas.place}: {_place(index, label)}: {fault}" for fault in faults]
    return Shape((index,), label, regions, read_score(entry.get("score")), f"annotations[{index}]")


def _is_of_cvat(entry: dict[str, Any]) -> bool:
    """Its exporter (in Datumaro) sets iscrowd where a shape is a mask, which says nothing about the object."""
    attributes = entry.get("attributes")
    return isinstance(attributes, dict) and "occluded" in attributes


def _read_polygons(region: Any, entry: dict[str, Any], canvas: Canvas) -> Regions:
    """Raises ShapeError."""
    parts: list[Part | Bitmap] = []
    faults = []
    for number, polygon in enumerate(_polygons(region, entry)):
        try:
            regions, more = _read_part(polygon, canvas)
            parts += regions
            faults += more
        except ShapeError as fault:
            faults.append(f"segmentation[{number}]: {fault}; the polygon is left out")
    if not parts:
        raise ShapeError(faults[0].removesuffix("; the polygon is left out"))
    return tuple(parts), faults


def _read_part(part: Any, canvas: Canvas) -> Regions:
    """A polygon; some programs write run lengths in its place. Raises ShapeError."""
    return _read_runs(part, canvas) if isinstance(part, dict) else ((canvas.part(_outline(part)),), [])


def _polygons(region: Any, entry: dict[str, Any]) -> list[Any]:
    if not region:
        raise ShapeError("has a box, but no segmentation" if entry.get("bbox") else "has no segmentation")
    if not isinstance(region, list):
        raise ShapeError(f"segmentation {brief(region)} is no list of polygons")
    return region if isinstance(region[0], (list, dict)) else [region]


def _outline(numbers: Any) -> Polygon:
    """Nx2 from [x0, y0, x1, y1, ...]. Raises ShapeError."""
    if not isinstance(numbers, list) or len(numbers) % 2:
        raise ShapeError("the points are not x, y pairs of numbers")
    return read_polygon([numbers[at : at + 2] for at in range(0, len(numbers), 2)])


def _read_runs(region: dict[str, Any], canvas: Canvas) -> Regions:
    """Raises ShapeError."""
    size, counts = _lengths(region.get("size")), region.get("counts")
    if len(size) != 2 or not all(isinstance(one, int) and one > 0 for one in size):
        raise ShapeError(f"size {brief(region.get('size'))} is no height and width")
    if size[0] * size[1] > MOST_PIXELS:
        raise ShapeError(f"size {brief(size)} is no image of this world")
    try:
        bitmap = bitmap_of(_runs(counts), *size)
    except ValueError as error:
        raise ShapeError(f"the mask cannot be decoded: {error}") from error
    canvas.check_mask(*size)
    return (clipped_bitmap(bitmap, canvas.height, canvas.width),), []


def _lengths(size: Any) -> list[Any]:
    """As whole numbers, which some programs write as 50.0 or "50"."""
    return [_key(one) for one in size] if isinstance(size, list) else []


def _runs(counts: Any) -> np.ndarray | list[int]:
    """From COCO's text, or its list of numbers, which some programs write as 7.0. Raises ValueError."""
    if isinstance(counts, str):
        return decode_runs(counts)
    if isinstance(counts, list) and all(type(run) in (int, float) and 0 <= run <= MOST_PIXELS for run in counts):
        runs = list(map(int, counts))
        if runs == counts:
            return runs
    raise ValueError(f"counts {brief(counts)} are no run lengths")


@dataclass(frozen=True)
class CocoImage:
    """What a COCO json file holds of an image; regions are json text, which takes a tenth of the memory of its numbers.

    Attributes:
        labels, regions: one an object; a region is its segmentation, area, bbox and, if it has one, score.
        bitmaps: how many objects are run lengths, as they have holes or are bitmaps; the others are polygons.
        warnings, skipped: those of the annotation.
        origins: the place of each object in its file.
        cut_off: from numbers of objects to the share of their outlines that lay outside the image; the others have 0.
        may_be_unopened: there is no object, and the file is of a tool that exports images so that nobody has opened.
    """

    name: str
    height: int
    width: int
    labels: tuple[str, ...]
    regions: tuple[str, ...]
    bitmaps: int
    warnings: tuple[str, ...]
    origins: tuple[str, ...] = ()
    cut_off: dict[int, float] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    may_be_unopened: bool = False


def coco_image(annotation: Annotation) -> CocoImage:
    """What CocoWriter writes of an annotation."""
    height, width = annotation.height, annotation.width
    regions = [_region(instance, height, width) for instance in annotation.instances]
    return CocoImage(
        annotation.image,
        height,
        width,
        tuple(sys.intern(instance.label) for instance in annotation.instances),
        tuple(map(json.dumps, regions)),
        sum(isinstance(region["segmentation"], dict) for region in regions),
        annotation.warnings,
        tuple(sys.intern(instance.origin) for instance in annotation.instances),
        {number: share for number, one in enumerate(annotation.instances) if (share := _cut_off(one))},
        tuple(map(sys.intern, annotation.skipped)),
    )


def _cut_off(instance: Instance) -> float:
    """The share of the area of all its outlines."""
    shares = np.array([part.cut_off for part in instance.parts])
    if not shares.any():
        return 0.0
    inside = np.array([enclosed_area(part.exterior) for part in instance.parts])
    outside = inside * shares / np.maximum(1 - shares, 1e-9)
    return float(outside.sum() / max((inside + outside).sum(), 1e-9))


def _region(instance: Instance, height: int, width: int) -> dict[str, Any]:
    score = {} if instance.score is None else {"score": round(instance.score, 6)}
    return {**region_fields(instance, height, width), **score}


class CocoWriter:
    """Gathers annotations, one after another, for a COCO json file.

    Category ids count from 1 in the order of `classes`, image and annotation ids from 1.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._category_ids = {name: number for number, name in enumerate(classes, start=1)}
        self._images: list[dict[str, Any]] = []
        self._objects: list[str] = []

    def add(self, annotation: Annotation) -> None:
        """All labels must be of the classes."""
        self.add_image(coco_image(annotation))

    def add_image(self, image: CocoImage) -> None:
        """As `add`."""
        image_id = len(self._images) + 1
        self._images.append({"id": image_id, "file_name": image.name, "height": image.height, "width": image.width})
        for label, region in zip(image.labels, image.regions, strict=True):
            ids = {"id": len(self._objects) + 1, "image_id": image_id, "category_id": self._category_ids[label]}
            self._objects.append(f"{json.dumps({**ids, 'iscrowd': 0})[:-1]}, {region[1:]}")

    def text(self, *, for_others: bool = False) -> str:
        """`for_others`: with the fields that other programs take for granted, such as pycocotools 2.0.10."""
        categories = [{"id": number, "name": name} for name, number in self._category_ids.items()]
        info = ""
        if for_others:
            categories = [{**one, "supercategory": one["name"]} for one in categories]
            info = '"info": {"description": "MaskAL"}, "licenses": [], '
        images, categories_text = (json.dumps(part, ensure_ascii=False) for part in (self._images, categories))
        objects = ", ".join(self._objects)
        return f'{{{info}"images": {images}, "annotations": [{objects}], "categories": {categories_text}}}'


def region_fields(instance: Instance, height: int, width: int) -> dict[str, Any]:
    """segmentation, area and bbox (x, y, width, height) of an object."""
    if instance.bitmap is not None or any(part.holes for part in instance.parts):
        return _bitmap_region(instance_bitmap(instance, height, width), height, width)
    polygons = [part.exterior.round(_DECIMALS).ravel().tolist() for part in instance.parts]
    # Of lists: numpy is slow on a handful of points.
    xs, ys = ([value for polygon in polygons for value in polygon[axis::2]] for axis in (0, 1))
    left, top = min(xs), min(ys)
    return {
        "segmentation": polygons,
        "area": round(union_area(instance.parts, height, width), _DECIMALS),
        "bbox": [left, top, round(max(xs) - left, _DECIMALS), round(max(ys) - top, _DECIMALS)],
    }


def _bitmap_region(bitmap: Bitmap, height: int, width: int) -> dict[str, Any]:
    bitmap = crop_bitmap(bitmap, height, width)
    rows, columns = bitmap.mask.shape
    return {
        "segmentation": {"size": [height, width], "counts": encode_runs(runs_of(bitmap, height, width))},
        "area": int(bitmap.mask.sum()),
        "bbox": [bitmap.x, bitmap.y, columns, rows],
    }
