"""The json files of V7 Darwin: versions 2.0 and 1.0 are read, 2.0 is written.

An annotation is an object. Its polygon paths, parts and holes alike, are one even-odd figure; a bounding box beside
another geometry is derived from it. Masks share one run-length image a slot, the raster layer.

The unit of an ellipse's angle is not documented. V7's own exports hold values such as 0.2 and 0.57 for ellipses made
by hand, so up to a full turn it is read as radians, clockwise as seen; beyond 2 pi, it can only be degrees.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from active_learning.annotations import shapes
from active_learning.annotations.annotation import (
    Annotation,
    Bitmap,
    Instance,
    NotAnObjectError,
    Polygon,
    ShapeError,
    Size,
)
from active_learning.annotations.canvas import Canvas, Regions, Shape, open_canvas
from active_learning.annotations.contours import instance_bitmap
from active_learning.annotations.darwin_item import Item, item_of, same_name, slot_files
from active_learning.annotations.documents import brief, list_of, place_of, write_json
from active_learning.annotations.even_odd import paths_of_bitmap, paths_of_parts, region_of_paths
from active_learning.annotations.raster_layer import read_layers
from active_learning.errors import AnnotationError

VERSION = "2.0"
SCHEMA = "https://darwin-public.s3.eu-west-1.amazonaws.com/darwin_json/2.0/schema.json"
SLOT = "0"
TOP_FIELDS = frozenset(["version", "schema_ref", "item", "image", "annotations"])
WITHOUT_AREA = (
    "tag", "keypoint", "line", "skeleton", "string", "cuboid", "eye", "graph", "link", "simple_table", "table",
)  # fmt: skip
_place = partial(place_of, entries="annotations", label_field="name")


@dataclass(frozen=True, eq=False)
class _File:
    """What an object is read from: its image, the masks by annotation id, and why other masks are lost."""

    item: Item
    canvas: Canvas
    masks: dict[str, Bitmap]
    mask_faults: tuple[str, ...]


def recognises(document: Any) -> bool:
    if not isinstance(document, dict) or "annotations" not in document:
        return False
    return "item" in document or isinstance(document.get("image"), dict)


def image_name(document: Any) -> str:
    """Folder and name in the data set, without a leading slash; unchecked, as the file gives them."""
    item = item_of(document, "")
    return f"{item.folder}/{item.names[0]}".lstrip("/") if item.names else ""


def read(
    document: Any,
    *,
    path: Path,
    image: str,
    size: Size | None,
    within: Path | None = None,
    is_one_of_many: bool = False,
) -> Annotation:
    """The objects of a Darwin file; see `Codec.read`. `is_one_of_many`: those of other slots are read, too."""
    entries = list_of(document, "annotations", path, "export the item again")
    item = item_of(document, image)
    if item.is_video or (entries and all(map(_is_of_video, entries))):
        raise AnnotationError(f"{path}: is a video of V7 Darwin, annotated by frames; export its frames as images")
    if item.is_unclear:
        raise AnnotationError(f"{path}: item.slots: none or several have the image {image!r}; name it as V7 does")
    canvas = open_canvas(item.declared, size, path, item.places)
    if item.names and not same_name(item.names, image):
        canvas.warn_of_name(item.names[0], image)
    sizes = (item.declared, (canvas.height, canvas.width))
    file = _File(item, canvas, *read_layers(filter(item.holds, entries), sizes, canvas))
    objects = [(index, entry) for index, entry in enumerate(entries) if not _is_layer(entry)]
    if is_one_of_many:
        objects = [one for one in objects if not item.is_of_another_image(one[1])]
    instances = canvas.objects(objects, partial(_read_object, file=file), _place, label=_label)
    extra = {key: value for key, value in document.items() if key not in TOP_FIELDS}
    return canvas.annotation(image, instances, extra)


def _label(entry: Any) -> str:
    """Without blanks around it, as V7's own library reads it."""
    return shapes.label_of(entry, "name").strip()


def _is_layer(entry: Any) -> bool:
    return isinstance(entry, dict) and "raster_layer" in entry


def _is_of_video(entry: Any) -> bool:
    return isinstance(entry, dict) and bool(entry.get("frames") or entry.get("ranges"))


def _read_object(entry: Any, index: int, file: _File) -> Shape:
    """Raises ShapeError."""
    label = shapes.read_label(entry, "name", "geometry").strip()
    if not file.item.holds(entry):
        fault = NotAnObjectError if file.item.is_of_another_image(entry) else ShapeError
        raise fault(f"is in slot {brief(entry['slot_names'])}, the image in slot {brief(file.item.slot)}")
    regions, faults = _read_regions(entry, file)
    place = f"{file.canvas.place}: {_place(entry, index)}"
    file.canvas.warnings += [f"{place}: {fault}; the path is left out" for fault in faults]
    inference = entry.get("inference")
    score = shapes.read_score(inference.get("confidence")) if isinstance(inference, dict) else None
    return Shape((index,), label, regions, score, f"annotations[{index}]")


def _read_regions(entry: dict[str, Any], file: _File) -> Regions:
    """The first geometry of GEOMETRIES, so that a bounding box counts only where it stands alone. Raises ShapeError."""
    if _is_of_video(entry):
        raise ShapeError("is annotated by frames of a video")
    kinds = [kind for kind in GEOMETRIES if entry.get(kind) is not None]
    without = [kind for kind in WITHOUT_AREA if kind in entry]
    if without and kinds in ([], ["bounding_box"]):
        fault = NotAnObjectError if without[0] == "tag" else ShapeError
        raise fault(f"a {without[0]} encloses no area")
    if not kinds:
        raise ShapeError(f"has no geometry that is known here: its fields are {brief(sorted(entry))}")
    return GEOMETRIES[kinds[0]](entry, file)


def _read_polygon(entry: dict[str, Any], file: _File) -> Regions:
    """Paths that enclose nothing change nothing and are left out; one of unreadable numbers costs the object."""
    kept, faults = [], []
    polygon = entry["polygon"] if entry.get("polygon") is not None else entry["complex_polygon"]
    canvas = file.canvas
    for number, points in enumerate(_paths(polygon)):
        if isinstance(points, list) and len(points) < 3:
            faults.append(f"path {number}: a path needs 3 points, not {len(points)}")
            continue
        outline = _points(points)
        try:
            kept.append(canvas.part(outline).exterior)
        except ShapeError as fault:
            faults.append(f"path {number}: {fault}")
    if not kept:
        raise ShapeError("; ".join(faults))
    shapes.check_drawable(kept, canvas.height, canvas.width)
    if len(kept) > 1:
        canvas.most_pixels()
    region = region_of_paths(kept, canvas.height, canvas.width)
    return (canvas.bitmap(region),) if isinstance(region, Bitmap) else region, faults


def _paths(polygon: Any) -> list[Any]:
    """All paths, wherever a version of the format keeps them. Raises ShapeError."""
    if not isinstance(polygon, dict):
        raise ShapeError(f"the polygon is {brief(polygon)}, not an object with paths")
    paths = polygon.get("paths") if polygon.get("paths") is not None else polygon.get("path")
    if not isinstance(paths, list) or not paths:
        raise ShapeError("has no points")
    if not any(isinstance(path, list) for path in paths):
        paths = [paths]
    more = polygon.get("additional_paths") or []
    if not isinstance(more, list):
        raise ShapeError(f"additional_paths must be a list, not {brief(more)}")
    return [*paths, *more]


def _points(points: Any) -> Polygon:
    """Nx2 from a list of {x, y}. Raises ShapeError."""
    try:
        pairs = [[point["x"], point["y"]] for point in points]
    except (TypeError, KeyError) as error:
        raise ShapeError("the points are not {x, y} pairs of numbers") from error
    return shapes.read_points(pairs)


def _read_ellipse(entry: dict[str, Any], file: _File) -> Regions:
    ellipse = entry["ellipse"]
    try:
        center, radii = _points([ellipse["center"], ellipse["radius"]])
        angle = ellipse.get("angle")
    except (TypeError, KeyError) as error:
        raise ShapeError("the ellipse has no center and radius") from error
    turn = 0.0 if angle is None else float(shapes.read_points([[angle, 0]])[0, 0])
    radians = turn if abs(turn) <= 2 * math.pi else math.radians(turn)
    return (file.canvas.part(shapes.ellipse_outline(center.tolist(), radii.tolist(), radians)),), []


def _read_mask(entry: dict[str, Any], file: _File) -> Regions:
    identifier = entry.get("id")
    bitmap = file.masks.get(identifier) if isinstance(identifier, str) else None
    if bitmap is None:
        reason = "; ".join(file.mask_faults) or f"no raster layer has one of id {brief(identifier)}"
        raise ShapeError(f"the mask cannot be decoded: {reason}")
    return (file.canvas.bitmap(bitmap),), []


def _read_box(entry: dict[str, Any], file: _File) -> Regions:
    box = entry["bounding_box"]
    try:
        (x, y), (w, h) = shapes.read_points([[box["x"], box["y"]], [box["w"], box["h"]]])
    except (TypeError, KeyError) as error:
        raise ShapeError("the bounding box is not x, y, w, h") from error
    return (file.canvas.part(shapes.box_outline((x, y), (x + w, y + h))),), []


GEOMETRIES: dict[str, Callable[[dict[str, Any], _File], Regions]] = {
    "polygon": _read_polygon,
    "complex_polygon": _read_polygon,
    "ellipse": _read_ellipse,
    "mask": _read_mask,
    "bounding_box": _read_box,
}


class SlotImages:
    """The images of an item with several slots; see `codec.ImageCollection`."""

    def __init__(self, document: dict[str, Any], path: Path) -> None:
        self._document, self._path = document, path
        self.images = slot_files(document)
        self.faults: list[str] = []
        self.warnings: list[str] = []

    def paths_of(self, name: str) -> tuple[str, ...]:
        """With the folders of the item and its slot, or without."""
        item = item_of(self._document, name)
        return f"images/{name}", name, f"{item.folder}/{PurePosixPath(name).name}"

    def read(self, name: str, *, size: Size | None) -> Annotation:
        """As `read`."""
        return read(self._document, path=self._path, image=name, size=size, is_one_of_many=True)


def write(annotation: Annotation, path: Path, *, max_polygon_error: float = 1.0) -> None:
    """Writes a Darwin 2.0 file for the image of that name and folder in a V7 data set.

    Objects become polygon paths that do not overlap: outlines of bitmaps, and of parts that had to be united, are
    within `max_polygon_error` pixels. Objects without an area inside the image are dropped.
    """
    image = PurePosixPath(annotation.image)
    folder = "/".join(part for part in image.parent.parts if part != "/")
    slot = {
        "type": "image",
        "slot_name": SLOT,
        "width": annotation.width,
        "height": annotation.height,
        "thumbnail_url": None,
        "source_files": [{"file_name": image.name, "url": None}],
    }
    entries = (_entry(instance, annotation, max_polygon_error) for instance in annotation.instances)
    document = {
        **annotation.extra,
        "version": VERSION,
        "schema_ref": SCHEMA,
        "item": {"name": image.name, "path": f"/{folder}", "slots": [slot]},
        "annotations": [entry for entry in entries if entry is not None],
    }
    write_json(path, document, indent=1)


def _entry(instance: Instance, annotation: Annotation, max_error: float) -> dict[str, Any] | None:
    if instance.bitmap is None:
        paths = paths_of_parts(instance.parts, annotation.height, annotation.width, max_error)
    else:
        paths = paths_of_bitmap(instance_bitmap(instance, annotation.height, annotation.width), max_error)
    if not paths:
        return None
    points = np.concatenate(paths)
    (x, y), (w, h) = points.min(axis=0).tolist(), np.ptp(points, axis=0).round(2).tolist()
    entry = {
        "id": str(uuid.uuid4()),
        "name": instance.label,
        "polygon": {"paths": [[{"x": x, "y": y} for x, y in path.tolist()] for path in paths]},
        "bounding_box": {"x": x, "y": y, "w": w, "h": h},
        "slot_names": [SLOT],
        "properties": [],
    }
    if instance.score is not None:
        entry["inference"] = {"confidence": round(instance.score, 6)}
    return entry
