"""The json files of LabelMe, versions 2 to 7.

An object is a shape, or all shapes of one (label, group_id). Polygons cannot have holes: such parts are mask shapes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from active_learning.annotations import shapes
from active_learning.annotations.annotation import Annotation, Bitmap, Instance, Part, Polygon, ShapeError, Size
from active_learning.annotations.canvas import Canvas, Shape, open_canvas
from active_learning.annotations.documents import brief, list_of, place_of, write_json
from active_learning.annotations.png import decode_mask, encode_mask
from active_learning.system.names import normalised

VERSION = "5.5.0"  # the first with masks of zeros and ones; no version of LabelMe reads the field
TOP_FIELDS = frozenset(
    ["version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth", "lineColor", "fillColor"]
)
SHAPES_WITHOUT_AREA = ("line", "linestrip", "point", "points")
_place = partial(place_of, entries="shapes", label_field="label")
_label = partial(shapes.label_of, field="label")


def recognises(document: Any) -> bool:
    return isinstance(document, dict) and "shapes" in document


def image_name(document: Any) -> str:
    name = document.get("imagePath")
    return name.replace("\\", "/") if isinstance(name, str) else ""


def read(document: Any, *, path: Path, image: str, size: Size | None, within: Path | None = None) -> Annotation:
    """The objects of a LabelMe file; see `Codec.read`."""
    entries = list_of(document, "shapes", path, "save the annotation again")
    declared = (document.get("imageHeight"), document.get("imageWidth"))
    canvas = open_canvas(declared, size, path, ("imageHeight", "imageWidth"))
    named = image_name(document)
    here, there = (normalised(PurePosixPath(name).name).casefold() for name in (image, named))
    if named and here != there:
        canvas.warn_of_name(named, image, "imagePath")
    instances = canvas.objects(enumerate(entries), partial(_read_shape, canvas=canvas), _place, "shape", _label)
    extra = {key: value for key, value in document.items() if key not in TOP_FIELDS}
    return canvas.annotation(image, instances, extra)


def _read_shape(entry: Any, index: int, canvas: Canvas) -> Shape:
    """Raises ShapeError."""
    label, group = shapes.read_label(entry, "label", "points"), entry.get("group_id")
    if group is not None and not isinstance(group, (int, float, str)):
        raise ShapeError(f"group_id must be a number, not {brief(group)}")
    number = "" if group is False or group != group else shapes.label_text(group)  # 1, 1.0 and "1" are one group
    key = (label, "group", number) if number not in ("", "-1") else (label, index)  # -1 and NaN are none
    kind = entry.get("shape_type")
    kind = kind.casefold() if isinstance(kind, str) else kind
    region = _read_mask(entry, canvas) if kind == "mask" else _read_part(entry, kind, canvas)
    return Shape(key, label, (region,), shapes.read_score(entry.get("score")), f"shapes[{index}]")


def _read_part(entry: dict[str, Any], kind: Any, canvas: Canvas) -> Part:
    """Files from before 2019 give no kind: polygons."""
    kind = "polygon" if kind is None else kind
    if shapes.is_closed_outline(kind) and kind not in OUTLINES:
        return canvas.part(shapes.read_outline(entry.get("points"), f"a {kind}", 4))
    if not isinstance(kind, str) or kind not in OUTLINES:
        reason = "encloses no area" if kind in SHAPES_WITHOUT_AREA else "is unknown"
        raise ShapeError(f"shape_type {brief(kind)} {reason}")
    return canvas.part(OUTLINES[kind](entry.get("points")))


def _rectangle(points: Any) -> Polygon:
    """Two opposite corners in any order; other tools write all four, not always one after the other."""
    corners = shapes.read_points(points)
    if len(corners) != 4:
        return shapes.box_outline(*shapes.read_outline(points, "a rectangle", 2, 2))
    if np.allclose(corners[0] + corners[2], corners[1] + corners[3]):
        return corners
    x, y = (corners - corners.mean(axis=0)).T
    return corners[np.argsort(np.arctan2(y, x))]


def _circle(points: Any) -> Polygon:
    """The centre and any point of the rim, as a polygon that stays within 0.05 pixels of the circle."""
    centre, rim = shapes.read_outline(points, "a circle", 2, 2).tolist()
    radius = math.dist(centre, rim)
    return shapes.ellipse_outline(centre, (radius, radius))


OUTLINES: dict[str, Callable[[Any], Polygon]] = {
    "polygon": shapes.read_polygon,
    "rectangle": _rectangle,
    "oriented_rectangle": partial(shapes.read_outline, kind="an oriented_rectangle", fewest=4, most=4),
    "circle": _circle,
}


def _read_mask(entry: dict[str, Any], canvas: Canvas) -> Bitmap:
    """Placed by its first point and its own size: a dragged mask has fractional points. Other programs write a mask of
    the whole image with the box of the object."""
    points = np.rint(shapes.read_points(entry.get("points"))).astype(int)
    x, y = points.min(axis=0).tolist()
    text = entry.get("mask")
    if not isinstance(text, str) or not text:
        raise ShapeError("has no mask")
    most_pixels = canvas.most_pixels()
    try:
        mask = decode_mask(text, most_pixels)
    except ValueError as error:
        raise ShapeError(f"the mask cannot be decoded: {error}") from error
    is_of_box = len(points) < 2 or np.abs(np.ptp(points, axis=0)[::-1] + 1 - mask.shape).max() <= 1
    if mask.shape == (canvas.height, canvas.width) and not is_of_box:
        x = y = 0
    else:
        canvas.check_crop()
    return canvas.bitmap(Bitmap(x, y, mask))


def write(annotation: Annotation, path: Path, *, max_polygon_error: float = 1.0) -> None:
    """Writes a LabelMe file for an image that stands beside it.

    Outlines of bitmaps are within `max_polygon_error` pixels; polygons stay as they are, less what lies outside the
    image. Parts with holes become mask shapes. The shapes of an object in several have a group_id of its own.
    """
    entries: list[dict[str, Any]] = []
    for number, instance in enumerate(annotation.instances, start=1):
        written = _shapes_of(instance, annotation, max_polygon_error)
        for shape in written:
            shape["group_id"] = number if len(written) > 1 else None
        entries += written
    document = {
        **annotation.extra,
        "version": VERSION,
        "flags": {},
        "shapes": entries,
        "imagePath": PurePosixPath(annotation.image).name,
        "imageData": None,
        "imageHeight": annotation.height,
        "imageWidth": annotation.width,
    }
    write_json(path, document)


def _shapes_of(instance: Instance, annotation: Annotation, max_error: float) -> list[dict[str, Any]]:
    """A polygon or mask shape for each part; parts without a pixel inside the image are dropped."""
    regions = shapes.written_regions(instance, annotation.height, annotation.width, max_error)
    score = {} if instance.score is None else {"score": round(instance.score, 6)}
    common = {"label": instance.label, "description": "", "flags": {}, **score}
    return [{**common, **_geometry(region)} for region in regions]


def _geometry(region: Polygon | Bitmap) -> dict[str, Any]:
    if not isinstance(region, Bitmap):
        return {"shape_type": "polygon", "points": region.tolist(), "mask": None}
    rows, columns = region.mask.shape
    corners = [[region.x, region.y], [region.x + columns - 1, region.y + rows - 1]]
    return {"shape_type": "mask", "points": corners, "mask": encode_mask(region.mask)}
