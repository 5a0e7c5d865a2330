"""The json files of Supervisely's image projects: `<dataset>/ann/<image.ext>.json`.

An object is an entry of `objects`, or all entries of one class with the same `instance` or, without it, the same value
of the tag @label-group-id. Outlines come in two coordinate systems, told apart file by file: where any coordinate has a
fraction, the file is the labelling tool's and holds corner coordinates; whole numbers are indices of pixels, as the SDK
writes them, and stand for the pixels' middles. The SDK also paints the pixels under a polygon's border, which makes it
half a pixel larger all round; here a polygon ends at the line that the annotator drew, in either system.
"""

from __future__ import annotations

import base64
import math
import unicodedata
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from active_learning.annotations.annotation import Annotation, Bitmap, Instance, Mask, Part, Polygon
from active_learning.annotations.contours import clip_polygon, crop_bitmap, instance_bitmap
from active_learning.annotations.documents import write_json
from active_learning.annotations.png import SIGNATURE, decode_base64, decode_png
from active_learning.annotations.shapes import (
    MaskRoom,
    Shape,
    ShapeError,
    brief,
    clipped_outline,
    has_area,
    image_size,
    join_objects,
    read_points,
    read_score,
    rotated,
)
from active_learning.annotations.supervisely_meta import (
    META_FILE,
    SCORE_TAG,
    Meta,
    check_meta,
    read_meta,
    write_meta,
)
from active_learning.errors import AnnotationError

__all__ = ["Meta", "check_meta", "image_name", "read", "read_meta", "recognises", "write", "write_meta"]

GROUP_TAG = "@label-group-id"
TOP_FIELDS = frozenset(["size", "tags", "objects"])
TELLING_FIELDS = {"bitmap": "bitmap", "alpha_mask": "alpha_mask", "parts": "multipolygon", "angle": "oriented_bbox"}
SHAPES_WITHOUT_AREA = ("point", "line", "cuboid", "cuboid_2d", "graph")


@dataclass(frozen=True)
class _File:
    """What the shapes of a file have in common."""

    path: Path
    room: MaskRoom
    has_fractions: bool
    warnings: list[str] = field(default_factory=list)

    @cached_property
    def class_shapes(self) -> dict[str, str]:
        """The shapes of the classes, from the project that the file lies in; empty outside of a project."""
        for folder in list(self.path.parents)[1:8]:
            if (folder / META_FILE).is_file():
                return read_meta(folder / META_FILE).shapes
        return {}

    def warn(self, index: int, entry: Any, reason: str) -> None:
        label = entry.get("classTitle") if isinstance(entry, dict) else None
        self.warnings.append(f"{self.path}: objects[{index}]: label {brief(label)}: {reason}")


def recognises(document: Any) -> bool:
    """An annotation, or the API's wrapping of one."""
    content = _content(document)
    if not isinstance(content, dict) or "objects" not in content:
        return False
    entries = content["objects"] if isinstance(content["objects"], list) else []
    return "size" in content or any(isinstance(entry, dict) and "classTitle" in entry for entry in entries)


def image_name(document: Any) -> str:
    """The name in what the API gives; elsewhere "", since files of a project are named `<image.ext>.json`."""
    name = document.get("imageName")
    return name if isinstance(name, str) else ""


def _content(document: Any) -> Any:
    inner = document.get("annotation") if isinstance(document, dict) else None
    return inner if isinstance(inner, dict) else document


def read(document: Any, *, path: Path, image: str, size: tuple[int, int] | None) -> Annotation:
    """The objects of a Supervisely file, clipped to the image; see `annotations.read_annotation`."""
    content = _content(document)
    entries = content["objects"]
    if "frames" in content or "framesCount" in content:
        raise AnnotationError(f"{path}: is the annotation of a video in Supervisely; export the frames as images")
    if not isinstance(entries, list):
        raise AnnotationError(f"{path}: objects: must be a list, not {brief(entries)}; export the project again")
    declared = content["size"] if isinstance(content.get("size"), dict) else {}
    height, width, warnings = image_size(
        (declared.get("height"), declared.get("width")), size, path, ("size.height", "size.width")
    )
    room = MaskRoom(height, width)
    file = _File(path, room, _has_fractions(entries), warnings + _name_warnings(document, path, image))
    objects: dict[tuple[Any, ...], list[Shape]] = {}
    for index, entry in enumerate(entries):
        try:
            shape = _read_object(entry, index, file)
        except ShapeError as fault:
            file.warn(index, entry, f"{fault}; the object is left out")
        else:
            objects.setdefault(shape.key, []).append(shape)
    instances = join_objects(objects.values(), file.room, path, file.warnings)
    extra = {key: value for key, value in content.items() if key not in TOP_FIELDS and value not in (None, "", {})}
    return Annotation(image, height, width, instances, tuple(file.warnings), extra)


def _has_fractions(entries: Sequence[Any]) -> bool:
    """Whether any outline has a coordinate between whole numbers; boxes with an angle may have some in any file."""
    outlined = [entry for entry in entries if isinstance(entry, dict) and "angle" not in entry]
    pending = [entry.get(key) for entry in outlined for key in ("points", "parts")]
    while pending:
        value = pending.pop()
        if isinstance(value, float) and math.isfinite(value) and not value.is_integer():
            return True
        if isinstance(value, (list, dict)):
            pending += value.values() if isinstance(value, dict) else value
    return False


def _name_warnings(document: dict[str, Any], path: Path, image: str) -> list[str]:
    named = image_name(document)
    here, there = (unicodedata.normalize("NFC", PurePosixPath(name).name) for name in (image, named))
    if here == there or not named:
        return []
    return [f"{path}: imageName: names {named!r}, but the file stands beside {image!r} and is read for it"]


def _read_object(entry: Any, index: int, file: _File) -> Shape:
    """Raises ShapeError."""
    if not isinstance(entry, dict):
        raise ShapeError(f"is {brief(entry)}, not an object with classTitle and a geometry")
    label = entry.get("classTitle")
    if not isinstance(label, str) or not label:
        raise ShapeError("the classTitle must be a text")
    kind = _kind(entry, label, file)
    if kind not in GEOMETRIES:
        reason = "encloses no area" if kind in SHAPES_WITHOUT_AREA else "is unknown"
        raise ShapeError(f"geometryType {brief(kind)} {reason}")
    regions, faults = GEOMETRIES[kind](entry, file)
    for fault in faults:
        file.warn(index, entry, fault)
    return Shape(_key(entry, label, index), label, regions, read_score(_tag(entry, SCORE_TAG)), f"objects[{index}]")


def _kind(entry: dict[str, Any], label: str, file: _File) -> str:
    """The geometry's type, which old files leave to the class and others to the fields. Raises ShapeError."""
    for key in ("geometryType", "shape", "type"):
        kind = entry.get(key)
        if kind is not None and not isinstance(kind, str):
            raise ShapeError(f"{key} {brief(kind)} is unknown")
        if kind and kind != "any":
            return kind
    told = next((kind for key, kind in TELLING_FIELDS.items() if entry.get(key) is not None), None)
    if told is not None:
        return told
    try:
        kind = file.class_shapes.get(label, "any")
    except AnnotationError as error:
        raise ShapeError(f"has no geometryType, and the project does not tell: {error}") from error
    if kind != "any":
        return kind
    points = entry.get("points")
    exterior = points.get("exterior") if isinstance(points, dict) else None
    if isinstance(exterior, list) and len(exterior) >= 3:
        return "polygon"
    raise ShapeError("has no geometryType, and its class has no shape of its own")


def _key(entry: dict[str, Any], label: str, index: int) -> tuple[Any, ...]:
    for name, group in (("instance", entry.get("instance")), (GROUP_TAG, _tag(entry, GROUP_TAG))):
        if isinstance(group, (int, str)) and group != "":
            return label, name, group
        if group is not None and group != "":
            raise ShapeError(f"{name} must be a text or a number, not {brief(group)}")
    return label, index


def _tag(entry: dict[str, Any], name: str) -> Any:
    """The value of an object's tag; None where it has none."""
    tags = entry.get("tags")
    named = [tag for tag in tags if isinstance(tag, dict) and tag.get("name") == name] if isinstance(tags, list) else []
    return named[0].get("value") if named else None


Regions = tuple[tuple[Part | Bitmap, ...], list[str]]  # and the faults of what was left out


def _polygon(entry: dict[str, Any], file: _File) -> Regions:
    part, faults = _read_part(entry.get("points"), file, "points")
    return (part,), faults


def _multipolygon(entry: dict[str, Any], file: _File) -> Regions:
    if not isinstance(entry.get("parts"), list) or not entry["parts"]:
        raise ShapeError("has no parts")
    parts, faults = [], []
    for index, points in enumerate(entry["parts"]):
        place = f"parts[{index}]"
        try:
            part, holes_faults = _read_part(points, file, place)
        except ShapeError as fault:
            faults.append(f"{place}: {fault}; the part is left out")
        else:
            parts.append(part)
            faults += holes_faults
    if not parts:
        raise ShapeError(faults[0].removesuffix("; the part is left out"))
    return tuple(parts), faults


def _read_part(points: Any, file: _File, place: str) -> tuple[Part, list[str]]:
    """An exterior with its holes, and the faults of the holes that are left out."""
    if not isinstance(points, dict):
        raise ShapeError(f"the points must have exterior and interior, but are {brief(points)}")
    exterior = clipped_outline(_outline(points.get("exterior"), file), file.room.height, file.room.width)
    interior = points.get("interior") or []
    if not isinstance(interior, list):
        return Part(exterior), [f"{place}.interior: is {brief(interior)}, not a list; the holes are filled"]
    holes, faults = [], []
    for index, ring in enumerate(interior):
        try:
            hole = clip_polygon(_outline(ring, file), file.room.height, file.room.width)
        except ShapeError as fault:
            faults.append(f"{place}.interior[{index}]: {fault}; the hole is filled")
        else:
            holes += [hole] if has_area(hole, file.room.height, file.room.width) else []
    return Part(exterior, tuple(holes)), faults


def _outline(points: Any, file: _File) -> Polygon:
    """Corner coordinates. Raises ShapeError."""
    outline = read_points(points)
    if len(outline) < 3:
        raise ShapeError(f"a polygon needs 3 points, not {len(outline)}")
    return outline if file.has_fractions else outline + 0.5


def _rectangle(entry: dict[str, Any], file: _File) -> Regions:
    corners = _box(entry.get("points"), file.has_fractions)
    return (Part(clipped_outline(corners, file.room.height, file.room.width)),), []


def _oriented_bbox(entry: dict[str, Any], file: _File) -> Regions:
    """A box turned about its middle by an angle in radians, clockwise."""
    angle = entry.get("angle")
    if not isinstance(angle, (int, float)) or isinstance(angle, bool) or not abs(angle) < 1e6:
        raise ShapeError(f"the angle must be a number of radians, not {brief(angle)}")
    corners = _box(entry.get("points"), file.has_fractions or _has_fractions([{"points": entry.get("points")}]))
    turned = rotated(corners, math.degrees(angle), corners.mean(axis=0))
    return (Part(clipped_outline(turned, file.room.height, file.room.width)),), []


def _box(points: Any, has_fractions: bool) -> Polygon:
    """The four corners of a box, given by two opposite ones; both pixels belong to it where they are indices."""
    ends = read_points(points.get("exterior") if isinstance(points, dict) else points)
    if len(ends) != 2:
        raise ShapeError(f"a rectangle needs 2 points, not {len(ends)}")
    (x0, y0), (x1, y1) = ends.min(axis=0), ends.max(axis=0) + (0 if has_fractions else 1)
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def _bitmap(entry: dict[str, Any], file: _File) -> Regions:
    content = entry.get("bitmap", entry.get("alpha_mask"))
    if not isinstance(content, dict) or not isinstance(content.get("data"), str) or not content["data"]:
        raise ShapeError("has no mask")
    x, y = np.rint(read_points([content.get("origin")])[0]).astype(int).tolist()
    most_pixels = file.room.most_pixels()
    try:
        mask = _decode(content["data"], most_pixels)
    except ValueError as error:
        raise ShapeError(f"the mask cannot be decoded: {error}") from error
    return (file.room.place(Bitmap(x, y, mask)),), []


GEOMETRIES: dict[str, Callable[[dict[str, Any], _File], Regions]] = {
    "polygon": _polygon,
    "multipolygon": _multipolygon,
    "rectangle": _rectangle,
    "oriented_bbox": _oriented_bbox,
    "bitmap": _bitmap,
    "alpha_mask": _bitmap,
}


def _decode(text: str, most_pixels: int) -> Mask:
    """A mask from a base64 PNG, mostly compressed once more. Raises ValueError."""
    content = decode_base64(text)
    if not content.startswith(SIGNATURE):
        content = _decompress(content, 4 * most_pixels + 2**16)
    return decode_png(content, by_alpha=True, most_pixels=most_pixels)


def _decompress(content: bytes, most_bytes: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        png = stream.decompress(content, most_bytes)
    except zlib.error as error:
        raise ValueError(f"neither a PNG nor compressed by zlib: {error}") from error
    if stream.unconsumed_tail:
        raise ValueError(f"more than {most_bytes} bytes when decompressed")
    if not stream.eof:
        raise ValueError("the compressed PNG is cut off")
    return png


def write(
    annotation: Annotation,
    path: Path,
    *,
    max_polygon_error: float = 1.0,
    automatic: bool = True,
    scores: bool = True,
) -> None:
    """Writes a Supervisely file: one bitmap an object, with all its parts and holes.

    Args:
        max_polygon_error: nothing here is approximated.
        automatic: whether the objects are marked as a network's (nnCreated, nnUpdated).
        scores: whether they get their scores as the tag "confidence", which the project's meta.json must then have.
    """
    height, width = annotation.height, annotation.width
    objects = []
    for instance in annotation.instances:
        bitmap = crop_bitmap(instance_bitmap(instance, height, width), height, width)
        if bitmap.mask.size:
            objects.append(_bitmap_object(instance, bitmap, automatic, scores))
    document = {
        "description": "",
        "customBigData": {},
        **annotation.extra,
        "size": {"height": height, "width": width},
        "tags": [],
        "objects": objects,
    }
    write_json(path, document)


def _bitmap_object(instance: Instance, bitmap: Bitmap, automatic: bool, scores: bool) -> dict[str, Any]:
    tags = [{"name": SCORE_TAG, "value": round(instance.score, 6)}] if scores and instance.score is not None else []
    return {
        "classTitle": instance.label,
        "description": "",
        "tags": tags,
        "bitmap": {"origin": [bitmap.x, bitmap.y], "data": _encode(bitmap.mask)},
        "shape": "bitmap",
        "geometryType": "bitmap",
        "nnCreated": automatic,
        "nnUpdated": automatic,
    }


def _encode(mask: Mask) -> str:
    """The alpha channel of a white picture: the form that the tool and the SDK both read."""
    picture = np.where(mask[:, :, None], np.uint8(255), np.zeros(4, np.uint8))
    _, png = cv2.imencode(".png", picture)
    return base64.b64encode(zlib.compress(png.tobytes())).decode("ascii")
