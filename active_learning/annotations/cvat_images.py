"""The xml files of 'CVAT for images 1.1': one annotations.xml of all images of a task, job or project.

An object is a shape, or all shapes of an image with one label and one group_id above 0.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from active_learning.annotations.annotation import Annotation, Bitmap, Part, Polygon
from active_learning.annotations.shapes import (
    MaskRoom,
    Shape,
    ShapeError,
    brief,
    clipped_outline,
    ellipse_outline,
    image_size,
    join_objects,
    read_points,
    rotated,
)
from active_learning.errors import AnnotationError

SHAPES_WITHOUT_AREA = ("tag", "points", "polyline", "cuboid", "skeleton")


def recognises(document: Any) -> bool:
    """Video exports share the root element, but have tracks instead of images."""
    return isinstance(document, Element) and document.tag == "annotations" and document.find("track") is None


def read_all(
    document: Any,
    *,
    path: Path,
    size_of: Callable[[str], tuple[int, int] | None] | None = None,
    on_fault: Callable[[str], None] | None = None,
) -> dict[str, Annotation]:
    """The annotations of all images in a file, by image name: its path in the task, with "/".

    Images of the same name in several subsets of a project are named <subset>/<name>.

    Args:
        size_of: the real (height, width) in pixels, EXIF-rotated, of the image of a name; None where it is unknown
            and the file's declaration counts.
        on_fault: told why an image cannot be read, which is then left out; without it, the first such fault is raised.

    Raises:
        AnnotationError: as above, with file, place and reason.
    """
    annotations: dict[str, Annotation] = {}
    for index, name, element in _named_images(document):
        try:
            if name in annotations:
                raise AnnotationError(f"{path}: image[{index}]: {brief(name)} is described twice; the first one counts")
            annotations[_checked_name(name, index, path)] = _read_image(element, name, path, size_of)
        except AnnotationError as fault:
            if on_fault is None:
                raise
            on_fault(str(fault))
    return annotations


def _named_images(document: Element) -> Iterator[tuple[int, str, Element]]:
    elements = document.findall("image")
    names = [element.get("name", "").strip().replace("\\", "/") for element in elements]
    counts = Counter(unicodedata.normalize("NFC", name) for name in names)
    for index, (name, element) in enumerate(zip(names, elements, strict=True)):
        subset = element.get("subset", "").strip()
        is_shared = counts[unicodedata.normalize("NFC", name)] > 1 and subset
        yield index, f"{subset}/{name}" if is_shared else name, element


def _checked_name(name: str, index: int, path: Path) -> str:
    parts = PurePosixPath(name).parts
    if not parts:
        raise AnnotationError(f"{path}: image[{index}]: has no name; export the task again")
    if parts[0] == "/" or ".." in parts or PureWindowsPath(name).drive:
        raise AnnotationError(f"{path}: image[{index}]: name {brief(name)} leads out of the image folder")
    return name


def _read_image(
    element: Element, name: str, path: Path, size_of: Callable[[str], tuple[int, int] | None] | None
) -> Annotation:
    place = f"{path}: image {name!r}"
    size = size_of(name) if size_of is not None else None
    declared = (_whole_number(element, "height"), _whole_number(element, "width"))
    height, width, warnings = image_size(declared, size, place, ("height", "width"))
    room = MaskRoom(height, width)
    objects: dict[tuple[Any, ...], list[Shape]] = {}
    for index, child in enumerate(element):
        try:
            shape = _read_shape(child, index, name, room)
        except ShapeError as fault:
            kind, label = f"{child.tag}[{index}]", brief(child.get("label"))
            warnings.append(f"{place}: {kind}: label {label}: {fault}; the shape is left out")
        else:
            objects.setdefault(shape.key, []).append(shape)
    instances = join_objects(objects.values(), room, path, warnings)
    return Annotation(name, height, width, instances, tuple(warnings))


def _whole_number(element: Element, key: str) -> Any:
    """None where there is no such attribute; the text where it is no number."""
    text = element.get(key, "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text or None


def _read_shape(element: Element, index: int, image: str, room: MaskRoom) -> Shape:
    """Raises ShapeError."""
    kind = element.tag
    if kind != "mask" and kind not in OUTLINES:
        raise ShapeError("encloses no area" if kind in SHAPES_WITHOUT_AREA else "such shapes are unknown")
    label = element.get("label", "").strip()
    if not label:
        raise ShapeError("has no label")
    group = element.get("group_id", "").strip()
    key = (label, "group", group) if group not in ("", "0") else (label, index)
    region: Part | Bitmap
    if kind == "mask":
        region = _mask(element, room)
    else:
        region = Part(clipped_outline(OUTLINES[kind](element), room.height, room.width))
    return Shape(key, label, (region,), None, f"image {image!r}: {kind}[{index}]")


def _numbers(element: Element, *keys: str) -> list[float]:
    """Finite numbers, none absurdly large. Raises ShapeError."""
    found = []
    for key in keys:
        try:
            found.append(float(element.get(key, "")))
        except ValueError as error:
            raise ShapeError(f"{key} {brief(element.get(key))} is no number") from error
    read_points([[number, 0.0] for number in found])
    return found


def _rotation(element: Element) -> float:
    """Degrees, clockwise."""
    return _numbers(element, "rotation")[0] if element.get("rotation") else 0.0


def _polygon(element: Element) -> Polygon:
    try:
        points = [
            [float(number) for number in pair.split(",")] for pair in element.get("points", "").split(";") if pair
        ]
    except ValueError as error:
        raise ShapeError("the points are not x,y pairs of numbers") from error
    outline = read_points(points)
    if len(outline) < 3:
        raise ShapeError(f"a polygon needs 3 points, not {len(outline)}")
    return outline


def _box(element: Element) -> Polygon:
    left, top, right, bottom = _numbers(element, "xtl", "ytl", "xbr", "ybr")
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    return rotated(corners, _rotation(element), corners.mean(axis=0))


def _ellipse(element: Element) -> Polygon:
    x, y, *radii = _numbers(element, "cx", "cy", "rx", "ry")
    return ellipse_outline((x, y), radii, math.radians(_rotation(element)))


OUTLINES: dict[str, Callable[[Element], Polygon]] = {"polygon": _polygon, "box": _box, "ellipse": _ellipse}


def _mask(element: Element, room: MaskRoom) -> Bitmap:
    """Runs of background and object in turn, row by row through the box; the first is background."""
    left, top, width, height = (round(number) for number in _numbers(element, "left", "top", "width", "height"))
    if width < 1 or height < 1 or width * height > room.most_pixels():
        raise ShapeError(f"width {width}, height {height} are no box")
    try:
        runs = [int(run) for run in element.get("rle", "").split(",")]
    except ValueError as error:
        raise ShapeError(f"the mask cannot be decoded: rle {brief(element.get('rle'))}") from error
    if min(runs) < 0 or sum(runs) != width * height:
        raise ShapeError(f"the mask cannot be decoded: its runs fill {sum(runs)} of {width * height} pixels")
    flags = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return room.place(Bitmap(left, top, flags.reshape(height, width)))
