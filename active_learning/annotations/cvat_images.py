"""The xml files of 'CVAT for images 1.1': one annotations.xml of all images of a task, job or project.

An object is a shape, or all shapes of an image with one label and one group_id above 0.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from active_learning.annotations.annotation import Annotation, Bitmap, Instance, Part, Polygon
from active_learning.annotations.documents import xml_text
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
    written_regions,
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
    for name, element in named_images(document, path, on_fault).items():
        try:
            annotations[name] = read_image(element, name, path, size_of(name) if size_of is not None else None)
        except AnnotationError as fault:
            if on_fault is None:
                raise
            on_fault(str(fault))
    return annotations


def read(document: Any, *, path: Path, image: str, size: tuple[int, int] | None) -> Annotation:
    """The objects of one image; names compare NFC-normalised and, as CVAT does, without suffix.

    Raises:
        AnnotationError: the file does not describe the image, or it cannot be read.
    """
    found = named_images(document, path, lambda _: None)
    names = [image] if image in found else []
    for named in (_without_suffix, lambda name: PurePosixPath(_without_suffix(name)).name):
        names = names or [name for name in found if named(name) == named(image)]
    if len(names) != 1:
        reason = f"may mean {' or '.join(map(brief, names[:3]))}" if names else "is not among its images"
        raise AnnotationError(f"{path}: image {image!r} {reason}; see how the task names its images")
    return replace(read_image(found[names[0]], names[0], path, size), image=image)


def _without_suffix(name: str) -> str:
    return str(PurePosixPath(unicodedata.normalize("NFC", name)).with_suffix("")) if name else ""


def named_images(document: Any, path: Path, on_fault: Callable[[str], None] | None = None) -> dict[str, Element]:
    """The image elements of a file by name, as in `read_all`."""
    found: dict[str, Element] = {}
    for index, name, element in _named_elements(document):
        try:
            if name in found:
                raise AnnotationError(f"{path}: image[{index}]: {brief(name)} is described twice; the first one counts")
            found[_checked_name(name, index, path)] = element
        except AnnotationError as fault:
            if on_fault is None:
                raise
            on_fault(str(fault))
    return found


def _named_elements(document: Element) -> Iterator[tuple[int, str, Element]]:
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


def read_image(element: Element, name: str, path: Path, size: tuple[int, int] | None) -> Annotation:
    """The objects of an image element. Raises AnnotationError."""
    place = f"{path}: image {name!r}"
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


class CvatImagesWriter:
    """Gathers annotations, one after another, for an annotations.xml that CVAT's upload takes.

    Parts without holes are polygons, as in `cvat.write`; those with holes are masks. The shapes of an object in several
    have a group_id of its own. Predictions, which have a score, are marked as automatic.
    """

    def __init__(self, classes: Sequence[str], *, max_polygon_error: float = 1.0) -> None:
        self._max_error = max_polygon_error
        self._document = Element("annotations")
        _add(self._document, "version", "1.1")
        task = _add(_add(self._document, "meta"), "task")
        _add(task, "name", "MaskAL")
        self._size = _add(task, "size")
        _add(task, "mode", "annotation")
        labels = _add(task, "labels")
        for name in classes:
            label = _add(labels, "label")
            _add(label, "name", name)
            _add(label, "type", "any")
            _add(label, "attributes")
        self._images = self._groups = 0

    def add(self, annotation: Annotation) -> None:
        size = {"width": str(annotation.width), "height": str(annotation.height)}
        image = SubElement(self._document, "image", {"id": str(self._images), "name": annotation.image, **size})
        self._images += 1
        for instance in annotation.instances:
            regions = written_regions(instance, annotation.height, annotation.width, self._max_error)
            self._groups += len(regions) > 1
            group = {"group_id": str(self._groups)} if len(regions) > 1 else {}
            for region in regions:
                _add_shape(image, instance, region, group)

    def text(self, path: Path) -> str:
        """The xml text; `path` is its file, for messages.

        Raises:
            AnnotationError: it holds a character that xml does not know.
        """
        self._size.text = str(self._images)
        return '<?xml version="1.0" encoding="utf-8"?>\n' + xml_text(self._document, path)


def _add(parent: Element, tag: str, text: str = "") -> Element:
    element = SubElement(parent, tag)
    element.text = text
    return element


def _add_shape(image: Element, instance: Instance, region: Polygon | Bitmap, group: dict[str, str]) -> None:
    source = "manual" if instance.score is None else "auto"
    common = {"label": instance.label, "source": source, "occluded": "0", "z_order": "0", **group}
    if isinstance(region, Bitmap):
        rows, columns = region.mask.shape
        box = {"left": region.x, "top": region.y, "width": columns, "height": rows}
        places = {key: str(value) for key, value in box.items()}
        SubElement(image, "mask", {**common, "rle": _runs(region), **places})
    else:
        points = ";".join(f"{x:.2f},{y:.2f}" for x, y in region.tolist())
        SubElement(image, "polygon", {**common, "points": points})


def _runs(bitmap: Bitmap) -> str:
    """Run lengths as `_mask` reads them."""
    pixels = bitmap.mask.ravel()
    changes = np.flatnonzero(np.diff(pixels.astype(np.int8), prepend=0))
    return ", ".join(map(str, np.diff(changes, prepend=0, append=len(pixels)).tolist()))
