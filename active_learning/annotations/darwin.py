"""The json files of V7 Darwin: versions 2.0 and 1.0 are read, 2.0 is written.

An annotation is an object. Its polygon paths, parts and holes alike, are one even-odd figure; a bounding box beside
another geometry is derived from it. Masks share one run-length image a slot, the raster layer.

The unit of an ellipse's angle is not documented. V7's own exports hold values such as 0.2 and 0.57 for ellipses drawn
by hand, so up to a full turn it is read as radians, clockwise as seen; beyond 2 pi, it can only be degrees.
"""

from __future__ import annotations

import math
import unicodedata
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import numpy as np

from active_learning.annotations.annotation import Annotation, Bitmap, Instance, Part, Polygon
from active_learning.annotations.contours import instance_bitmap
from active_learning.annotations.documents import write_json
from active_learning.annotations.even_odd import paths_of_bitmap, paths_of_parts, region_of_paths
from active_learning.annotations.raster_layer import read_layers
from active_learning.annotations.shapes import (
    MaskRoom,
    ShapeError,
    brief,
    check_drawable,
    clipped_outline,
    ellipse_outline,
    image_size,
    read_points,
    read_score,
)
from active_learning.errors import AnnotationError

VERSION = "2.0"
SCHEMA = "https://darwin-public.s3.eu-west-1.amazonaws.com/darwin_json/2.0/schema.json"
SLOT = "0"
TOP_FIELDS = frozenset(["version", "schema_ref", "item", "image", "annotations"])
WITHOUT_AREA = (
    "tag", "keypoint", "line", "skeleton", "string", "cuboid", "eye", "graph", "link", "simple_table", "table",
)  # fmt: skip
_VIDEO_FIELDS = ("fps", "frame_urls", "frame_manifest")

Region: TypeAlias = "tuple[Part, ...] | Bitmap"


@dataclass(frozen=True, eq=False)
class _Item:
    """The image as the file describes it.

    `names` it may go by, the most telling first; `declared` (height, width) stand at `places`; `slot` is its slot, None
    where all annotations are of this image.
    """

    folder: str = ""
    names: tuple[str, ...] = ()
    declared: tuple[Any, Any] = (None, None)
    places: tuple[str, str] = ("height", "width")
    slot: str | None = None
    is_video: bool = False


@dataclass(frozen=True, eq=False)
class _Canvas:
    """What an object is read against: the image's size, the masks by annotation id, why other masks are lost."""

    room: MaskRoom
    masks: dict[str, Bitmap]
    mask_faults: tuple[str, ...]


def recognises(document: Any) -> bool:
    if not isinstance(document, dict) or "annotations" not in document:
        return False
    return "item" in document or isinstance(document.get("image"), dict)


def image_name(document: Any) -> str:
    """Folder and name in the data set, without a leading slash; unchecked, as the file gives them."""
    item = _describe(document, "")
    return f"{item.folder}/{item.names[0]}".lstrip("/") if item.names else ""


def read(document: Any, *, path: Path, image: str, size: tuple[int, int] | None) -> Annotation:
    """The objects of a Darwin file, clipped to the image; see `annotations.read_annotation`."""
    entries = document.get("annotations")
    if not isinstance(entries, list):
        raise AnnotationError(f"{path}: annotations: must be a list, not {brief(entries)}; export the item again")
    item = _describe(document, image)
    if item.is_video or (entries and all(map(_is_of_video, entries))):
        raise AnnotationError(f"{path}: is a video of V7 Darwin, annotated by frames; export its frames as images")
    height, width, warnings = image_size(item.declared, size, path, item.places)
    warnings += _name_warnings(item, path, image)
    own = [entry for entry in entries if _is_in_slot(entry, item.slot)]
    canvas = _Canvas(MaskRoom(height, width), *read_layers(own, (item.declared, (height, width))))
    instances = []
    for index, entry in enumerate(entries):
        if isinstance(entry, dict) and "raster_layer" in entry:
            continue
        label = entry.get("name") if isinstance(entry, dict) else None
        place = f"{path}: annotations[{index}]: label {brief(label)}"
        try:
            instance, faults = _read_object(entry, index, item, canvas)
        except ShapeError as fault:
            warnings.append(f"{place}: {fault}; the object is left out")
        else:
            instances.append(instance)
            warnings += [f"{place}: {fault}; the path is left out" for fault in faults]
    extra = {key: value for key, value in document.items() if key not in TOP_FIELDS}
    return Annotation(image, height, width, tuple(instances), tuple(warnings), extra)


def _describe(document: dict[str, Any], image: str) -> _Item:
    item = document.get("item")
    if isinstance(item, dict):
        return _describe_item(item, image)
    top = document.get("image")
    if not isinstance(top, dict):
        return _Item()
    return _Item(
        folder=_text(top.get("path")),
        names=_texts(top.get("original_filename"), top.get("filename")),
        declared=(top.get("height"), top.get("width")),
        places=("image.height", "image.width"),
        is_video=any(top.get(field) for field in _VIDEO_FIELDS),
    )


def _describe_item(item: dict[str, Any], image: str) -> _Item:
    """Of several slots, the image's is the one with a source file of its name, or else the first."""
    entries = item.get("slots")
    slots = [slot for slot in entries if isinstance(slot, dict)] if isinstance(entries, list) else []
    folder, name = _text(item.get("path")), _text(item.get("name"))
    if not slots:
        return _Item(folder, _texts(name))
    slot = next((slot for slot in slots if _same_name(_source_names(slot), image)), slots[0])
    sources = _source_names(slot)
    suffix = PurePosixPath(sources[0]).suffix if sources else ""
    stem = name.removesuffix(PurePosixPath(name).suffix)
    on_disk = stem + suffix if name and suffix and not name.casefold().endswith(suffix.casefold()) else name
    place, name_of_slot = f"item.slots[{slots.index(slot)}]", slot.get("slot_name")
    return _Item(
        folder=folder,
        names=_texts(on_disk, name, *sources),
        declared=(slot.get("height"), slot.get("width")),
        places=(f"{place}.height", f"{place}.width"),
        slot=name_of_slot if len(slots) > 1 and isinstance(name_of_slot, str) else None,
        is_video=slot.get("type") == "video" or any(slot.get(field) for field in _VIDEO_FIELDS),
    )


def _source_names(slot: dict[str, Any]) -> tuple[str, ...]:
    files = slot.get("source_files")
    files = files if isinstance(files, list) else []
    return _texts(*(file.get("file_name") for file in files if isinstance(file, dict)))


def _text(value: Any) -> str:
    return value.replace("\\", "/") if isinstance(value, str) else ""


def _texts(*values: Any) -> tuple[str, ...]:
    return tuple(text for value in values if (text := _text(value)))


def _same_name(names: Iterable[str], image: str) -> bool:
    """Whether one of the names is the image's; names in V7 may go without a suffix."""
    path = PurePosixPath(image)
    return not {_folded(path.name), _folded(path.stem)}.isdisjoint(_folded(PurePosixPath(name).name) for name in names)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _name_warnings(item: _Item, path: Path, image: str) -> list[str]:
    if not item.names or _same_name(item.names, image):
        return []
    return [f"{path}: names {item.names[0]!r}, but the file stands beside {image!r} and is read for it"]


def _is_of_video(entry: Any) -> bool:
    return isinstance(entry, dict) and bool(entry.get("frames") or entry.get("ranges"))


def _is_in_slot(entry: Any, slot: str | None) -> bool:
    names = entry.get("slot_names") if isinstance(entry, dict) else None
    return slot is None or not isinstance(names, list) or not names or slot in names


def _read_object(entry: Any, index: int, item: _Item, canvas: _Canvas) -> tuple[Instance, list[str]]:
    """The object and why paths of it were left out. Raises ShapeError."""
    if not isinstance(entry, dict):
        raise ShapeError(f"is {brief(entry)}, not an object with name and geometry")
    label = entry.get("name")
    if not isinstance(label, str) or not label:
        raise ShapeError("the name must be a text")
    if not _is_in_slot(entry, item.slot):
        raise ShapeError(f"is in slot {brief(entry['slot_names'])}, the image in slot {brief(item.slot)}")
    region, faults = _read_region(entry, canvas)
    inference = entry.get("inference")
    score = read_score(inference.get("confidence")) if isinstance(inference, dict) else None
    parts, bitmap = ((), region) if isinstance(region, Bitmap) else (region, None)
    return Instance(label, parts, bitmap, score, f"annotations[{index}]"), faults


def _read_region(entry: dict[str, Any], canvas: _Canvas) -> tuple[Region, list[str]]:
    """The first geometry of GEOMETRIES, so that a bounding box counts only where it stands alone. Raises ShapeError."""
    if _is_of_video(entry):
        raise ShapeError("is annotated by frames of a video")
    kinds = [kind for kind in GEOMETRIES if entry.get(kind) is not None]
    without = [kind for kind in WITHOUT_AREA if kind in entry]
    if without and kinds in ([], ["bounding_box"]):
        raise ShapeError(f"a {without[0]} encloses no area")
    if not kinds:
        raise ShapeError(f"has no geometry that is known here: its fields are {brief(sorted(entry))}")
    return GEOMETRIES[kinds[0]](entry, canvas)


def _read_polygon(entry: dict[str, Any], canvas: _Canvas) -> tuple[Region, list[str]]:
    """Paths that enclose nothing change nothing and are left out; one of unreadable numbers costs the object."""
    kept, faults = [], []
    polygon = entry["polygon"] if entry.get("polygon") is not None else entry["complex_polygon"]
    for number, points in enumerate(_paths(polygon)):
        try:
            kept.append(_read_path(points, canvas))
        except _EmptyPathError as fault:
            faults.append(f"path {number}: {fault}")
    if not kept:
        raise ShapeError("; ".join(faults))
    check_drawable(kept, canvas.room.height, canvas.room.width)
    if len(kept) > 1:
        canvas.room.most_pixels()
    region = region_of_paths(kept, canvas.room.height, canvas.room.width)
    return canvas.room.place(region) if isinstance(region, Bitmap) else region, faults


class _EmptyPathError(ValueError):
    """Why a path encloses nothing of the image."""


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


def _read_path(points: Any, canvas: _Canvas) -> Polygon:
    """Raises ShapeError, or _EmptyPathError."""
    if isinstance(points, list) and len(points) < 3:
        raise _EmptyPathError(f"a path needs 3 points, not {len(points)}")
    outline = _points(points)
    try:
        return clipped_outline(outline, canvas.room.height, canvas.room.width)
    except ShapeError as fault:
        raise _EmptyPathError(str(fault)) from fault


def _points(points: Any) -> Polygon:
    """Nx2 from a list of {x, y}. Raises ShapeError."""
    try:
        pairs = [[point["x"], point["y"]] for point in points]
    except (TypeError, KeyError) as error:
        raise ShapeError("the points are not {x, y} pairs of numbers") from error
    return read_points(pairs)


def _read_ellipse(entry: dict[str, Any], canvas: _Canvas) -> tuple[Region, list[str]]:
    ellipse = entry["ellipse"]
    try:
        center, radii = _points([ellipse["center"], ellipse["radius"]])
        angle = ellipse.get("angle")
    except (TypeError, KeyError) as error:
        raise ShapeError("the ellipse has no center and radius") from error
    turn = 0.0 if angle is None else float(read_points([[angle, 0]])[0, 0])
    outline = ellipse_outline(center.tolist(), radii.tolist(), turn if abs(turn) <= 2 * math.pi else math.radians(turn))
    return (Part(clipped_outline(outline, canvas.room.height, canvas.room.width)),), []


def _read_mask(entry: dict[str, Any], canvas: _Canvas) -> tuple[Region, list[str]]:
    identifier = entry.get("id")
    bitmap = canvas.masks.get(identifier) if isinstance(identifier, str) else None
    if bitmap is None:
        reason = "; ".join(canvas.mask_faults) or f"no raster layer has one of id {brief(identifier)}"
        raise ShapeError(f"the mask cannot be decoded: {reason}")
    return canvas.room.place(bitmap), []


def _read_box(entry: dict[str, Any], canvas: _Canvas) -> tuple[Region, list[str]]:
    box = entry["bounding_box"]
    try:
        (x, y), (w, h) = read_points([[box["x"], box["y"]], [box["w"], box["h"]]])
    except (TypeError, KeyError) as error:
        raise ShapeError("the bounding box is not x, y, w, h") from error
    outline = np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]])
    return (Part(clipped_outline(outline, canvas.room.height, canvas.room.width)),), []


GEOMETRIES: dict[str, Callable[[dict[str, Any], _Canvas], tuple[Region, list[str]]]] = {
    "polygon": _read_polygon,
    "complex_polygon": _read_polygon,
    "ellipse": _read_ellipse,
    "mask": _read_mask,
    "bounding_box": _read_box,
}


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
