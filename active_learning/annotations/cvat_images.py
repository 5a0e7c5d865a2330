"""The xml files of 'CVAT for images 1.1': one annotations.xml of all images of a task, job or project.

An object is a shape, or all shapes of an image with one label and one group_id above 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from active_learning.annotations.annotation import (
    Annotation,
    Bitmap,
    Instance,
    NotAnObjectError,
    Polygon,
    ShapeError,
    Size,
)
from active_learning.annotations.canvas import Canvas, Shape, open_canvas
from active_learning.annotations.documents import brief
from active_learning.annotations.run_lengths import runs_of
from active_learning.annotations.shapes import box_outline, ellipse_outline, read_points, read_polygon, written_regions
from active_learning.annotations.xml_files import add_element, whole_number, xml_text
from active_learning.errors import AnnotationError
from active_learning.system.files import write_atomically
from active_learning.system.names import normalised

SHAPES_WITHOUT_AREA = ("tag", "points", "polyline", "cuboid", "skeleton")


def recognises(document: Any) -> bool:
    """Video exports share the root element, but have tracks instead of images."""
    return isinstance(document, Element) and document.tag == "annotations" and document.find("track") is None


def image_name(document: Any) -> str:
    """That of the only image; "" where there are several."""
    names = [name for _, name, _ in _named_elements(document)]
    return names[0] if len(names) == 1 else ""


def read(document: Any, *, path: Path, image: str, size: Size | None, within: Path | None = None) -> Annotation:
    """The objects of one image; names compare NFC-normalised and, as CVAT does, without suffix.

    Raises:
        AnnotationError: the file does not describe the image, or it cannot be read.
    """
    found = images_of(document, path)
    names = [image] if image in found.images else []
    for named in (_without_suffix, lambda name: PurePosixPath(_without_suffix(name.strip())).name):
        names = names or [name for name in found.images if named(name) == named(image)]
    if len(names) != 1:
        reason = f"may mean {' or '.join(map(brief, names[:3]))}" if names else "is not among its images"
        raise AnnotationError(f"{path}: image {image!r} {reason}; see how the task names its images")
    annotation = replace(found.read(names[0], size=size), image=image)
    if _folder(names[0]) in ("", _folder(image)) or not _folder(image):
        return annotation
    warning = f"{path}: names {names[0]!r}, but is read for {image!r}"
    return replace(annotation, warnings=(*annotation.warnings, warning))


def write(annotation: Annotation, path: Path, *, max_polygon_error: float = 1.0) -> None:
    """Writes a file of one image; see `CvatImagesWriter`.

    Raises:
        AnnotationError: a text holds a character that xml does not know.
    """
    labels = dict.fromkeys(instance.label for instance in annotation.instances)
    writer = CvatImagesWriter(list(labels), max_polygon_error=max_polygon_error)
    writer.add(annotation)
    write_atomically(path, writer.text(path))


def _folder(name: str) -> str:
    return PurePosixPath(normalised(name)).parent.as_posix().removeprefix(".")


def _without_suffix(name: str) -> str:
    return str(PurePosixPath(normalised(name)).with_suffix("")) if name else ""


def images_of(document: Any, path: Path) -> CvatImages:
    """The images of a file."""
    return CvatImages(document, path)


class CvatImages:
    """The images of a file; see `codec.ImageCollection`.

    A name is the path in the task, with "/". Images of one name in several subsets of a project are named
    <subset>/<name>.
    """

    def __init__(self, document: Any, path: Path) -> None:
        self._path = path
        self._elements: dict[str, Element] = {}
        self.faults: list[str] = []
        self.warnings: list[str] = []
        counts = Counter(name for _, name, _ in _named_elements(document))
        for index, name, element in _named_elements(document):
            fault = _name_fault(name, counts[name])
            if fault:
                self.faults.append(f"{path}: image[{index}]: {fault}")
            else:
                self._elements[name] = element

    @property
    def images(self) -> tuple[str, ...]:
        return tuple(self._elements)

    def paths_of(self, name: str) -> tuple[str, ...]:
        """In an unpacked export the image lies in a folder of its subset."""
        subset = self._elements[name].get("subset", "").strip() or self._path.stem  # datumaro names the file after it
        return f"images/{subset}/{name}", f"{subset}/{name}", name, name.strip()

    def read(self, name: str, *, size: Size | None) -> Annotation:
        """The objects of one of `images`, clipped to the image. Raises AnnotationError."""
        element = self._elements[name]
        fields = ("height", "width")
        height, width = (whole_number(element.get(field, "").strip()) for field in fields)
        canvas = open_canvas((height, width), size, f"{self._path}: image {name!r}", fields)
        reader = partial(_read_shape, image=name, canvas=canvas)
        instances = canvas.objects(enumerate(element), reader, _place, "shape", _label)
        return canvas.annotation(name, instances)


def _named_elements(document: Element) -> Iterator[tuple[int, str, Element]]:
    elements = document.findall("image")
    names = [element.get("name", "").replace("\\", "/") for element in elements]  # blanks at the ends are of the name
    counts = Counter(normalised(name) for name in names)
    for index, (name, element) in enumerate(zip(names, elements, strict=True)):
        subset = element.get("subset", "").strip()
        is_shared = counts[normalised(name)] > 1 and subset
        yield index, f"{subset}/{name}" if is_shared else name, element


def _name_fault(name: str, count: int) -> str:
    """Why an image cannot have a name that stands so often in the file; "" where it can."""
    parts = PurePosixPath(name).parts
    if not parts:
        return "has no name; export the task again"
    if count > 1:
        return f"{brief(name)} is described {count} times; put its shapes together in one"
    if parts[0] == "/" or ".." in parts or PureWindowsPath(name).drive:
        return f"name {brief(name)} leads out of the image folder"
    return ""


def _place(element: Element, index: int) -> str:
    return f"{element.tag}[{index}]: label {brief(element.get('label'))}"


def _label(element: Element) -> str:
    return element.get("label", "").strip()


def _read_shape(element: Element, index: int, image: str, canvas: Canvas) -> Shape:
    """Raises ShapeError."""
    kind = element.tag
    if kind != "mask" and kind not in OUTLINES:
        fault = NotAnObjectError if kind == "tag" else ShapeError
        raise fault("encloses no area" if kind in SHAPES_WITHOUT_AREA else "such shapes are unknown")
    label = _label(element)
    if not label:
        raise ShapeError("has no label")
    group = element.get("group_id", "").strip()
    key = (label, "group", group) if group not in ("", "0") else (label, index)
    region = _mask(element, canvas) if kind == "mask" else canvas.part(OUTLINES[kind](element))
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
    return read_polygon(points)


def _box(element: Element) -> Polygon:
    left, top, right, bottom = _numbers(element, "xtl", "ytl", "xbr", "ybr")
    return box_outline((left, top), (right, bottom), _rotation(element))


def _ellipse(element: Element) -> Polygon:
    x, y, *radii = _numbers(element, "cx", "cy", "rx", "ry")
    return ellipse_outline((x, y), radii, math.radians(_rotation(element)))


OUTLINES: dict[str, Callable[[Element], Polygon]] = {"polygon": _polygon, "box": _box, "ellipse": _ellipse}


def _mask(element: Element, canvas: Canvas) -> Bitmap:
    """Runs of background and object in turn, row by row through the box; the first is background. Raises ShapeError."""
    canvas.check_crop()
    left, top, width, height = (round(number) for number in _numbers(element, "left", "top", "width", "height"))
    if width < 1 or height < 1 or width * height > canvas.most_pixels():
        raise ShapeError(f"width {width}, height {height} are no box")
    try:
        runs = [int(run) for run in element.get("rle", "").split(",")]
    except ValueError as error:
        raise ShapeError(f"the mask cannot be decoded: rle {brief(element.get('rle'))}") from error
    if min(runs) < 0 or sum(runs) != width * height:
        raise ShapeError(f"the mask cannot be decoded: its runs fill {sum(runs)} of {width * height} pixels")
    flags = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return canvas.bitmap(Bitmap(left, top, flags.reshape(height, width)))


class CvatImagesWriter:
    """Gathers annotations, one after another, for an annotations.xml that CVAT's upload takes.

    Parts without holes are polygons, as in `cvat.write`; those with holes are masks. The shapes of an object in several
    have a group_id of its own. Predictions, which have a score, are marked as automatic.
    """

    def __init__(self, classes: Sequence[str], *, max_polygon_error: float = 1.0) -> None:
        self._max_error = max_polygon_error
        self._document = Element("annotations")
        add_element(self._document, "version", "1.1")
        task = add_element(add_element(self._document, "meta"), "task", name="MaskAL")
        self._size = add_element(task, "size")
        add_element(task, "mode", "annotation")
        labels = add_element(task, "labels")
        for name in classes:
            add_element(labels, "label", name=name, type="any", attributes="")
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


def _add_shape(image: Element, instance: Instance, region: Polygon | Bitmap, group: dict[str, str]) -> None:
    source = "manual" if instance.score is None else "auto"
    common = {"label": instance.label, "source": source, "occluded": "0", "z_order": "0", **group}
    if isinstance(region, Bitmap):
        rows, columns = region.mask.shape
        runs = runs_of(Bitmap(0, 0, region.mask.T), columns, rows).tolist()  # row by row, as `_mask` reads them
        box = {"left": region.x, "top": region.y, "width": columns, "height": rows}
        places = {key: str(value) for key, value in box.items()}
        SubElement(image, "mask", {**common, "rle": ", ".join(map(str, runs)), **places})
    else:
        points = ";".join(f"{x:.2f},{y:.2f}" for x, y in region.tolist())
        SubElement(image, "polygon", {**common, "points": points})
