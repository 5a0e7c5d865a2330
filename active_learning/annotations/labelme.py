"""The json files of LabelMe, versions 2 to 7.

An object is a shape, or all shapes of one (label, group_id). Polygons cannot have holes: such parts are mask shapes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from active_learning.annotations.annotation import Annotation, Bitmap, Instance, Part, Polygon
from active_learning.annotations.contours import (
    clip_polygon,
    crop_bitmap,
    parts_bitmap,
    polygon_area,
    polygon_mask,
    simplify_outline,
    trace_mask,
    union_bitmap,
)
from active_learning.annotations.png import decode_mask, encode_mask
from active_learning.errors import AnnotationError
from active_learning.files import write_atomically

VERSION = "5.5.0"  # the first with masks of zeros and ones; no version of LabelMe reads the field
TOP_FIELDS = frozenset(
    ["version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth", "lineColor", "fillColor"]
)
SHAPES_WITHOUT_AREA = ("line", "linestrip", "point", "points")
_FURTHEST = 1e7  # pixels; beyond it, coordinates are damage


class ShapeError(ValueError):
    """Why one shape is left out."""


@dataclass(frozen=True, eq=False)
class _Shape:
    """A readable shape; shapes of equal `key` are one object."""

    key: tuple[Any, ...]
    label: str
    region: Part | Bitmap
    score: float | None
    origin: str


def recognises(document: Any) -> bool:
    return isinstance(document, dict) and "shapes" in document


def image_name(document: Any) -> str:
    name = document.get("imagePath")
    return name.replace("\\", "/") if isinstance(name, str) else ""


def read(document: Any, *, path: Path, image: str, size: tuple[int, int] | None) -> Annotation:
    """The objects of a LabelMe file, clipped to the image; see `annotations.read_annotation`."""
    shapes = document.get("shapes")
    if not isinstance(shapes, list):
        raise AnnotationError(f"{path}: shapes: must be a list, not {_brief(shapes)}; save the annotation again")
    height, width, warnings = _image_size(document, path, size)
    warnings += _name_warnings(document, path, image)
    objects: dict[tuple[Any, ...], list[_Shape]] = {}
    for index, entry in enumerate(shapes):
        try:
            shape = _read_shape(entry, index, height, width)
        except ShapeError as fault:
            label = entry.get("label") if isinstance(entry, dict) else None
            warnings.append(f"{path}: shapes[{index}]: label {_brief(label)}: {fault}; the shape is left out")
        else:
            objects.setdefault(shape.key, []).append(shape)
    instances = tuple(_join(group, height, width) for group in objects.values())
    extra = {key: value for key, value in document.items() if key not in TOP_FIELDS}
    return Annotation(image, height, width, instances, tuple(warnings), extra)


def _image_size(document: dict[str, Any], path: Path, size: tuple[int, int] | None) -> tuple[int, int, list[str]]:
    """Height and width to trust, and a warning where the file declares others."""
    declared = (document.get("imageHeight"), document.get("imageWidth"))
    if size is None:
        if not all(type(length) is int and length > 0 for length in declared):
            raise AnnotationError(f"{path}: imageHeight, imageWidth: no image size ({declared[0]!r}, {declared[1]!r})")
        return declared[0], declared[1], []  # type: ignore[return-value]
    if declared in (size, (None, None)):
        return *size, []
    reason = "; was it annotated without regard to its EXIF rotation?" if declared == size[::-1] else ""
    heights = f"imageHeight {_brief(declared[0])}, imageWidth {_brief(declared[1])}"
    return *size, [f"{path}: {heights}: the image has height {size[0]}, width {size[1]}, which is used{reason}"]


def _name_warnings(document: dict[str, Any], path: Path, image: str) -> list[str]:
    named = image_name(document)
    if not named or PurePosixPath(named).name.casefold() == PurePosixPath(image).name.casefold():
        return []
    return [f"{path}: imagePath: names {named!r}, but the file stands beside {image!r} and is read for it"]


def _read_shape(entry: Any, index: int, height: int, width: int) -> _Shape:
    """Raises ShapeError."""
    if not isinstance(entry, dict):
        raise ShapeError(f"is {_brief(entry)}, not an object with label and points")
    label, group = entry.get("label"), entry.get("group_id")
    if not isinstance(label, str) or not label:
        raise ShapeError("the label must be a text")
    if group is not None and not isinstance(group, (int, str)):
        raise ShapeError(f"group_id must be a number, not {_brief(group)}")
    key = (label, index) if group is None else (label, "group", group)
    kind = entry.get("shape_type")
    region: Part | Bitmap
    if kind == "mask":
        region = _read_mask(entry, height, width)
    else:
        region = Part(_read_outline(entry, "polygon" if kind is None else kind, height, width))
    return _Shape(key, label, region, _score(entry.get("score")), f"shapes[{index}]")


def _read_outline(entry: dict[str, Any], kind: Any, height: int, width: int) -> Polygon:
    if not isinstance(kind, str) or kind not in OUTLINES:
        reason = "encloses no area" if kind in SHAPES_WITHOUT_AREA else "is unknown"
        raise ShapeError(f"shape_type {_brief(kind)} {reason}")
    outline = OUTLINES[kind](_points(entry))
    if outline.min() < 0 or outline[:, 0].max() > width or outline[:, 1].max() > height:
        clipped = clip_polygon(outline, height, width)
        if not _has_area(clipped, height, width):
            raise ShapeError("has no area" if not _has_area(outline, 0, 0) else "lies outside the image")
        return clipped
    if not _has_area(outline, height, width):
        raise ShapeError("has no area")
    return outline


def _has_area(outline: Polygon, height: int, width: int) -> bool:
    """The lobes of an outline that crosses itself can cancel out: such a one counts by its pixels."""
    if len(outline) < 3:
        return False
    return polygon_area(outline) > 1e-6 or bool(polygon_mask(outline, height, width).any())


def _points(entry: dict[str, Any]) -> Polygon:
    """Nx2 finite numbers. Raises ShapeError."""
    points = entry.get("points")
    if not isinstance(points, list) or not points:
        raise ShapeError("has no points")
    try:
        array = np.array(points)
    except (ValueError, OverflowError) as error:
        raise ShapeError("the points are not [x, y] pairs of numbers") from error
    if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "iuf":
        raise ShapeError("the points are not [x, y] pairs of numbers")
    array = array.astype(np.float64)
    if not (np.abs(array) < _FURTHEST).all():
        raise ShapeError("a coordinate is not a number or absurdly large")
    return array


def _polygon(points: Polygon) -> Polygon:
    if len(points) < 3:
        raise ShapeError(f"a polygon needs 3 points, not {len(points)}")
    return points


def _rectangle(points: Polygon) -> Polygon:
    """Two opposite corners in any order; other tools write all four."""
    if len(points) == 4:
        return points
    if len(points) != 2:
        raise ShapeError(f"a rectangle needs 2 points, not {len(points)}")
    (x0, y0), (x1, y1) = points
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def _oriented_rectangle(points: Polygon) -> Polygon:
    if len(points) != 4:
        raise ShapeError(f"an oriented_rectangle needs 4 points, not {len(points)}")
    return points


def _circle(points: Polygon) -> Polygon:
    """The centre and any point of the rim, as a polygon that stays within 0.05 pixels of the circle."""
    if len(points) != 2:
        raise ShapeError(f"a circle needs 2 points, not {len(points)}")
    radius = math.dist(points[0], points[1])
    count = min(max(16, math.ceil(10 * math.sqrt(radius))), 720)
    angles = np.arange(count) * (2 * math.pi / count)
    return points[0] + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


OUTLINES: dict[str, Callable[[Polygon], Polygon]] = {
    "polygon": _polygon,
    "rectangle": _rectangle,
    "oriented_rectangle": _oriented_rectangle,
    "circle": _circle,
}


def _read_mask(entry: dict[str, Any], height: int, width: int) -> Bitmap:
    """Placed by its first point and its own size: a dragged mask has fractional points."""
    x, y = np.rint(_points(entry)[0]).astype(int).tolist()
    text = entry.get("mask")
    if not isinstance(text, str) or not text:
        raise ShapeError("has no mask")
    try:
        mask = decode_mask(text)
    except ValueError as error:
        raise ShapeError(f"the mask cannot be decoded: {error}") from error
    if not mask.any():
        raise ShapeError("the mask is empty")
    bitmap = crop_bitmap(Bitmap(x, y, mask), height, width)
    if not bitmap.mask.size:
        raise ShapeError("lies outside the image")
    return bitmap


def _score(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= 1 else None


def _join(shapes: Sequence[_Shape], height: int, width: int) -> Instance:
    """The union of the shapes of one object."""
    scores = [shape.score for shape in shapes if shape.score is not None]
    first, score = shapes[0], max(scores, default=None)
    parts = tuple(shape.region for shape in shapes if isinstance(shape.region, Part))
    bitmaps = [shape.region for shape in shapes if isinstance(shape.region, Bitmap)]
    if not bitmaps:
        return Instance(first.label, parts, None, score, first.origin)
    if parts:
        bitmaps.append(parts_bitmap(parts, height, width))
    bitmap = bitmaps[0] if len(bitmaps) == 1 else union_bitmap(bitmaps)
    return Instance(first.label, (), bitmap, score, first.origin)


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def write(annotation: Annotation, path: Path, *, max_polygon_error: float = 1.0) -> None:
    """Writes a LabelMe file for an image that stands beside it.

    Outlines of bitmaps are within `max_polygon_error` pixels; polygons stay as they are, less what lies outside the
    image. Parts with holes become mask shapes. The shapes of an object in several have a group_id of its own.
    """
    shapes: list[dict[str, Any]] = []
    for number, instance in enumerate(annotation.instances, start=1):
        written = _shapes_of(instance, annotation, max_polygon_error)
        for shape in written:
            shape["group_id"] = number if len(written) > 1 else None
        shapes += written
    document = {
        **annotation.extra,
        "version": VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": PurePosixPath(annotation.image).name,
        "imageData": None,
        "imageHeight": annotation.height,
        "imageWidth": annotation.width,
    }
    write_atomically(path, json.dumps(document, ensure_ascii=False, indent=2))


def _shapes_of(instance: Instance, annotation: Annotation, max_error: float) -> list[dict[str, Any]]:
    """A polygon or mask shape for each part; parts without a pixel inside the image are dropped."""
    height, width = annotation.height, annotation.width
    bitmap = instance.bitmap
    if bitmap is None:
        parts: Sequence[Part] = instance.parts
    else:
        offset = np.array([bitmap.x, bitmap.y])
        parts = [_moved(part, offset, max_error) for part in trace_mask(bitmap.mask, 0)]
    regions = (
        _mask_shape(part, height, width) if part.holes else _polygon_shape(part, height, width) for part in parts
    )
    score = {} if instance.score is None else {"score": round(instance.score, 6)}
    common = {"label": instance.label, "description": "", "flags": {}, **score}
    return [{**common, **region} for region in regions if region is not None]


def _moved(part: Part, offset: np.ndarray, max_error: float) -> Part:
    """A traced part placed in the image; simplified, unless its holes make it a mask shape."""
    if part.holes:
        return Part(part.exterior + offset, tuple(hole + offset for hole in part.holes))
    return Part(simplify_outline(part.exterior, max_error) + offset)


def _polygon_shape(part: Part, height: int, width: int) -> dict[str, Any] | None:
    outline = clip_polygon(part.exterior, height, width).round(2)
    if not _has_area(outline, height, width):
        return None
    return {"shape_type": "polygon", "points": outline.tolist(), "mask": None}


def _mask_shape(part: Part, height: int, width: int) -> dict[str, Any] | None:
    bitmap = crop_bitmap(parts_bitmap([part], height, width), height, width)
    if not bitmap.mask.size:
        return None
    rows, columns = bitmap.mask.shape
    corners = [[bitmap.x, bitmap.y], [bitmap.x + columns - 1, bitmap.y + rows - 1]]
    return {"shape_type": "mask", "points": corners, "mask": encode_mask(bitmap.mask)}
