"""The json files of Supervisely's image projects: `<dataset>/ann/<image.ext>.json`.

An object is an entry of `objects`, or all entries of one class with the same `instance` or, without it, the same value
of the tag @label-group-id. Outlines come in two coordinate systems, one a file: where any coordinate has a
fraction, the file is the labelling tool's and holds corner coordinates; whole numbers are indices of pixels, as the SDK
writes them, and stand for the pixels' middles. The SDK also paints the pixels under a polygon's border, which makes it
half a pixel larger all round; here a polygon ends at the annotator's line, in either system.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from active_learning.annotations.annotation import Annotation, Bitmap, Instance, Mask, ShapeError, Size
from active_learning.annotations.canvas import Shape, open_canvas
from active_learning.annotations.contours import crop_bitmap, instance_bitmap
from active_learning.annotations.documents import brief, list_of, place_of, write_json
from active_learning.annotations.shapes import is_closed_outline, label_of, read_label, read_score
from active_learning.annotations.supervisely_geometry import GEOMETRIES, Grid, has_fractions, has_outline
from active_learning.annotations.supervisely_meta import META_FILE, SCORE_TAG, read_meta
from active_learning.errors import AnnotationError
from active_learning.system.names import normalised

GROUP_TAG = "@label-group-id"
TOP_FIELDS = frozenset(["size", "tags", "objects"])
FIELDS_OF_KINDS = {"bitmap": "bitmap", "alpha_mask": "alpha_mask", "parts": "multipolygon", "angle": "oriented_bbox"}
SHAPES_WITHOUT_AREA = ("point", "line", "cuboid", "cuboid_2d", "graph")
_place = partial(place_of, entries="objects", label_field="classTitle")
_label = partial(label_of, field="classTitle")


@dataclass(frozen=True)
class _File(Grid):
    """What the shapes of a file have in common."""

    path: Path

    @cached_property
    def class_shapes(self) -> dict[str, str]:
        """The shapes of the classes, from the project that the file lies in; empty outside of a project."""
        files = (folder / META_FILE for folder in list(self.path.parents)[1:8])
        return next((read_meta(file).shapes for file in files if file.is_file()), {})


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


def read(document: Any, *, path: Path, image: str, size: Size | None, within: Path | None = None) -> Annotation:
    """The objects of a Supervisely file; see `Codec.read`."""
    content = _content(document)
    if "frames" in content or "framesCount" in content:
        raise AnnotationError(f"{path}: is the annotation of a video in Supervisely; export the frames as images")
    entries = list_of(content, "objects", path, "export the project again")
    stored = content["size"] if isinstance(content.get("size"), dict) else {}
    declared = (stored.get("height"), stored.get("width"))
    canvas = open_canvas(declared, size, path, ("size.height", "size.width"))
    named = image_name(document)
    here, there = (normalised(PurePosixPath(name).name) for name in (image, named))
    if named and here != there:
        canvas.warn_of_name(named, image, "imageName")
    file = _File(canvas, has_fractions(entries), path)
    instances = canvas.objects(enumerate(entries), partial(_read_object, file=file), _place, label=_label)
    extra = {key: value for key, value in content.items() if key not in TOP_FIELDS and value not in (None, "", {})}
    return canvas.annotation(image, instances, extra)


def _read_object(entry: Any, index: int, file: _File) -> Shape:
    """Raises ShapeError."""
    label = read_label(entry, "classTitle", "a geometry")
    kind = _kind(entry, label, file)
    if kind not in GEOMETRIES and is_closed_outline(kind) and has_outline(entry, 4):
        kind = "polygon"
    if kind not in GEOMETRIES:
        reason = "encloses no area" if kind in SHAPES_WITHOUT_AREA else "is unknown"
        raise ShapeError(f"geometryType {brief(kind)} {reason}")
    regions, faults = GEOMETRIES[kind](entry, file)
    file.canvas.warnings += [f"{file.path}: {_place(entry, index)}: {fault}" for fault in faults]
    return Shape(_key(entry, label, index), label, regions, read_score(_tag(entry, SCORE_TAG)), f"objects[{index}]")


def _kind(entry: dict[str, Any], label: str, file: _File) -> str:
    """The geometry's type, which old files leave to the class and others to the fields. Raises ShapeError."""
    for key in ("geometryType", "shape", "type"):
        kind = entry.get(key)
        if kind is not None and not isinstance(kind, str):
            raise ShapeError(f"{key} {brief(kind)} is unknown")
        if kind and kind != "any":
            return kind
    implied = next((kind for key, kind in FIELDS_OF_KINDS.items() if entry.get(key) is not None), None)
    if implied is not None:
        return implied
    try:
        kind = file.class_shapes.get(label, "any")
    except AnnotationError as error:
        raise ShapeError(f"has no geometryType, and the project's classes cannot be read: {error}") from error
    if kind != "any":
        return kind
    if has_outline(entry, 3):
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


def write(annotation: Annotation, path: Path, *, max_polygon_error: float = 1.0, automatic: bool = True) -> None:
    """Writes a Supervisely file: one bitmap an object, with all its parts and holes.

    Scores become the tag "confidence", which the project's meta.json must then have.

    Args:
        max_polygon_error: nothing here is approximated.
        automatic: whether the objects are marked as a network's (nnCreated, nnUpdated).
    """
    height, width = annotation.height, annotation.width
    objects = []
    for instance in annotation.instances:
        bitmap = crop_bitmap(instance_bitmap(instance, height, width), height, width)
        if bitmap.mask.size:
            objects.append(_bitmap_object(instance, bitmap, automatic))
    document = {
        "description": "",
        "customBigData": {},
        **annotation.extra,
        "size": {"height": height, "width": width},
        "tags": [],
        "objects": objects,
    }
    write_json(path, document)


def _bitmap_object(instance: Instance, bitmap: Bitmap, automatic: bool) -> dict[str, Any]:
    tags = [] if instance.score is None else [{"name": SCORE_TAG, "value": round(instance.score, 6)}]
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
