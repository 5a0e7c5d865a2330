"""The xml files of LabelMe 3.0, one an image, as CVAT exports and imports them.

An object is an `object` element, or all of one class that `parts` links. Polygons cannot have holes: such parts are
masks, PNG files in a folder Masks. Its place: beside the xml file, or beside the folder that the element `folder`
names (CVAT), or at Masks/<subset> for Annotations/<subset> (datumaro).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import cv2
import numpy as np

from active_learning.annotations.annotation import Annotation, Bitmap, Instance, Part, Polygon
from active_learning.annotations.documents import is_pascal_voc, parse_xml
from active_learning.annotations.png import decode_png
from active_learning.annotations.shapes import (
    MaskRoom,
    Shape,
    ShapeError,
    brief,
    clipped_outline,
    image_size,
    join_objects,
    read_points,
    read_score,
    rotated,
    written_regions,
)
from active_learning.errors import AnnotationError
from active_learning.files import write_atomically

MASKS = "Masks"
TOP_ELEMENTS = frozenset(["filename", "folder", "source", "imagesize", "object"])
EXTRA = "cvat_elements"  # the key of Annotation.extra for the xml texts of unknown top-level elements
_MASK_COLOUR = (0, 203, 255, 153)  # blue, green, red, alpha
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class _Frame:
    """What reading the objects of one image needs; `warnings` grows."""

    path: Path
    folder: str
    room: MaskRoom
    warnings: list[str]


def recognises(document: Any) -> bool:
    if not isinstance(document, Element) or document.tag != "annotation" or is_pascal_voc(document):
        return False
    return any(document.find(tag) is not None for tag in ("filename", "imagesize", "object"))


def image_name(document: Any) -> str:
    """The file's name alone: `folder` is a path in the task, a subset or a collection, as the writer likes."""
    return _text(document, "filename").replace("\\", "/")


def read(document: Any, *, path: Path, image: str, size: tuple[int, int] | None) -> Annotation:
    """The objects of a LabelMe 3.0 file, clipped to the image; see `annotations.read_annotation`.

    Opens no files but masks in the Masks folders that belong to the place of `path`.
    """
    declared = (_whole_number(document, "imagesize/nrows"), _whole_number(document, "imagesize/ncols"))
    height, width, warnings = image_size(declared, size, path, ("imagesize/nrows", "imagesize/ncols"))
    warnings += _name_warnings(document, path, image)
    frame = _Frame(path, _text(document, "folder").replace("\\", "/"), MaskRoom(height, width), warnings)
    elements = document.findall("object")
    leaders = _leaders(elements, frame)
    objects: dict[tuple[Any, ...], list[Shape]] = {}
    for index, element in enumerate(elements):
        if _text(element, "deleted").lower() in ("1", "yes", "true"):
            continue
        try:
            shape = _read_object(element, index, leaders[index], frame)
        except ShapeError as fault:
            warnings.append(f"{_place(element, index, frame)}: {fault}; the object is left out")
        else:
            objects.setdefault(shape.key, []).append(shape)
    instances = join_objects(objects.values(), frame.room, path, warnings)
    unknown = [tostring(element, "unicode").strip() for element in document if element.tag not in TOP_ELEMENTS]
    return Annotation(image, height, width, instances, tuple(warnings), {EXTRA: unknown} if unknown else {})


def _text(element: Element, tag: str) -> str:
    """The text of a descendant, without the line ends that old files pad it with; "" where there is none."""
    return (element.findtext(tag) or "").strip()


def _whole_number(element: Element, tag: str) -> Any:
    """None where there is no such text; the text where it is no number."""
    text = _text(element, tag)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text or None


def _place(element: Element, index: int, frame: _Frame) -> str:
    number = _text(element, "id")
    return f"{frame.path}: object[{index}]{number and f' (id {number[:20]})'}: label {brief(_text(element, 'name'))}"


def _name_warnings(document: Element, path: Path, image: str) -> list[str]:
    """Names are compared without suffix, as CVAT does."""
    named = image_name(document)
    stems = {unicodedata.normalize("NFC", PurePosixPath(name).stem).casefold() for name in (named, image)}
    if not named or len(stems) == 1:
        return []
    return [f"{path}: filename: names {brief(named)}, but the file is read for {image!r}"]


def _leaders(elements: Sequence[Element], frame: _Frame) -> list[int]:
    """For each object the index of the first one that `parts` links it to, over any number of steps.

    Deleted objects link too: what remains of their parts belongs together.
    """
    indices: dict[str, int] = {}
    for index, element in enumerate(elements):
        number = _text(element, "id")
        if number and indices.setdefault(number, index) != index:
            frame.warnings.append(f"{_place(element, index, frame)}: object[{indices[number]}] has this id already")
    leaders = list(range(len(elements)))
    for index, element in enumerate(elements):
        for number in _linked_ids(element):
            if number not in indices:
                frame.warnings.append(f"{_place(element, index, frame)}: there is no object {brief(number)} to join")
                continue
            one, other = _first(leaders, index), _first(leaders, indices[number])
            leaders[max(one, other)] = min(one, other)
    return [_first(leaders, index) for index in range(len(elements))]


def _linked_ids(element: Element) -> Iterator[str]:
    for tag in ("parts/hasparts", "parts/ispartof"):
        yield from filter(None, (number.strip() for number in _text(element, tag).split(",")))


def _first(leaders: list[int], index: int) -> int:
    while leaders[index] != index:
        leaders[index] = leaders[leaders[index]]
        index = leaders[index]
    return index


def _read_object(element: Element, index: int, leader: int, frame: _Frame) -> Shape:
    """Raises ShapeError."""
    label = _text(element, "name")
    if not label:
        raise ShapeError("has no name")
    attributes = read_attributes(_text(element, "attributes"))
    region: Part | Bitmap
    if element.find("polygon/pt") is not None:
        outline = _read_polygon(element, attributes)
        region = Part(clipped_outline(outline, frame.room.height, frame.room.width))
    elif element.find("segm") is not None:
        region = _read_mask(element, index, frame)
    else:
        raise ShapeError("has no points" if element.find("polygon") is not None else "has neither polygon nor segm")
    score = read_score(_number(attributes.get("score", "")))
    return Shape((label, leader), label, (region,), score, f"object[{index}]")


def _read_polygon(element: Element, attributes: dict[str, str]) -> Polygon:
    """Boxes are the upright ones that CVAT writes, turned by what the attributes say. Raises ShapeError."""
    points = [[_number(_text(point, axis)) for axis in "xy"] for point in element.iterfind("polygon/pt")]
    if any(None in point for point in points):
        raise ShapeError("the points are not [x, y] pairs of numbers")
    outline = read_points(points)
    is_box = _text(element, "type") == "bounding_box"
    if is_box and len(outline) == 2:
        (x0, y0), (x1, y1) = outline
        outline = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    if len(outline) < 3:
        raise ShapeError(f"a polygon needs 3 points, not {len(outline)}")
    degrees = _number(attributes.get("rotation", "")) if is_box else None
    if not degrees:
        return outline
    if not np.isfinite(degrees):
        raise ShapeError(f"rotation {degrees} is no angle")
    return rotated(outline, degrees, (outline.min(axis=0) + outline.max(axis=0)) / 2)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def read_attributes(text: str) -> dict[str, str]:
    r"""The attributes of `k=v, k2=v2`, where `\` escapes , = " \ and texts that look like numbers are quoted."""
    found: dict[str, str] = {}
    for entry in re.findall(r"(?:\\.|[^\\,])+", text, re.DOTALL):
        halves = re.fullmatch(r"((?:\\.|[^\\=])*)=(.*)", entry.strip(), re.DOTALL)
        if halves:
            key, value = halves[1].strip(), re.sub(r'^"(.*)"$', r"\1", halves[2].strip(), flags=re.DOTALL)
            found[re.sub(r"\\(.)", r"\1", key)] = re.sub(r"\\(.)", r"\1", value)
    return found


def _read_mask(element: Element, index: int, frame: _Frame) -> Bitmap:
    """Raises ShapeError."""
    name = _text(element, "segm/mask").replace("\\", "/")
    if not name:
        raise ShapeError("has no mask")
    most_pixels = frame.room.most_pixels()
    file = _find_mask(name, frame)
    try:
        with file.open("rb") as stream:
            content = stream.read(8 * most_pixels + 2**16)  # more than any PNG of so many pixels
        mask = decode_png(content, most_pixels=most_pixels)
    except OSError as error:
        raise ShapeError(f"mask {brief(name)} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ShapeError(f"mask {brief(name)} cannot be decoded: {error}") from error
    height, width = frame.room.height, frame.room.width
    if mask.shape != (height, width):
        sizes = f"height {mask.shape[0]}, width {mask.shape[1]}, the image {height} and {width}"
        frame.warnings.append(f"{_place(element, index, frame)}: mask {brief(name)} has {sizes}; it is not scaled")
    return frame.room.place(Bitmap(0, 0, mask))


def _find_mask(name: str, frame: _Frame) -> Path:
    """The mask's file; never one that lies, or is linked to, outside the folder that holds Masks. Raises ShapeError."""
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or PureWindowsPath(name).drive or len(name) > 1000:
        raise ShapeError(f"mask {brief(name)} leads out of the folder {MASKS}")
    for masks in _mask_folders(frame.path, frame.folder):
        file = masks / relative
        try:
            is_file, real, home = file.is_file(), file.resolve(), masks.parent.resolve()
        except (OSError, RuntimeError, ValueError) as error:  # too long a name, links in a circle
            raise ShapeError(f"mask {brief(name)} cannot be found: {error}") from error
        if is_file and not real.is_relative_to(home):
            raise ShapeError(f"mask {brief(name)} is a link out of {masks.parent}")
        if is_file:
            return file
    raise ShapeError(f"there is no mask {brief(name)} in the folder {MASKS}")


def _mask_folders(path: Path, folder: str) -> list[Path]:
    """Where the masks of an xml file may lie, the likeliest first."""
    place = path.absolute().parent
    folders = [place / MASKS]
    root = _without_tail(place, folder)
    if root is not None:
        folders.append(root / MASKS)
    if "Annotations" in place.parts:
        split = len(place.parts) - 1 - place.parts[::-1].index("Annotations")
        masks, subset = Path(*place.parts[:split], MASKS), place.parts[split + 1 :]
        folders += [masks.joinpath(*subset[:count]) for count in range(len(subset), -1, -1)]
    return folders


def _without_tail(place: Path, folder: str) -> Path | None:
    """The place less `folder`, where it ends with that."""
    tail = PurePosixPath(unicodedata.normalize("NFC", folder)).parts
    end = tuple(unicodedata.normalize("NFC", part) for part in place.parts[-len(tail) :]) if tail else ()
    return place.parents[len(tail) - 1] if tail and end == tail and ".." not in tail else None


def write(annotation: Annotation, path: Path, *, max_polygon_error: float = 1.0) -> None:
    """Writes a LabelMe 3.0 file in CVAT's layout, with an object element for each part.

    Outlines of bitmaps are within `max_polygon_error` pixels; polygons stay as they are, less what lies outside the
    image. Parts with holes become masks, PNG files below Masks: beside `path`, or where `path` ends with the folders
    of the image's name, beside the uppermost of these.

    Raises:
        AnnotationError: a text holds a character that xml does not know, or `extra` an element that is none.
    """
    folder = PurePosixPath(annotation.image).parent.as_posix()
    root = _without_tail(path.absolute().parent, folder) if folder != "." else None
    document = _document_of(annotation, "" if root is None else folder, path)
    masks: dict[str, Bitmap] = {}
    number = 0
    for instance in annotation.instances:
        regions = written_regions(instance, annotation.height, annotation.width, max_polygon_error)
        numbers = list(range(number, number + len(regions)))
        number += len(regions)
        for one, region in zip(numbers, regions, strict=True):
            element = _object_of(instance, one, numbers, document)
            if isinstance(region, Bitmap):
                name = str(PurePosixPath("" if root is None else folder) / f"{path.stem}_mask_{one}.png")
                masks[name] = region
                _add_segm(element, name, region)
            else:
                _add_polygon(element, region)
            _add(element, "attributes", "" if instance.score is None else f"score={instance.score:.6g}")
    text = _checked_text(document, path)
    for name, region in masks.items():
        _write_mask(region, annotation, (root or path.parent) / MASKS / name)
    write_atomically(path, text)


def _checked_text(document: Element, path: Path) -> str:
    indent(document)
    text = tostring(document, "unicode", short_empty_elements=False)
    foreign = _NOT_XML.search(text)
    if foreign:
        around = text[max(foreign.start() - 20, 0) : foreign.end() + 20]
        raise AnnotationError(f"{path}: {around!r}: xml has no character {foreign.group()!r}; rename it")
    return text + "\n"


def _document_of(annotation: Annotation, folder: str, path: Path) -> Element:
    document = Element("annotation")
    _add(document, "filename", PurePosixPath(annotation.image).name)
    _add(document, "folder", folder)
    source = _add(document, "source")
    _add(source, "sourceImage")
    _add(source, "sourceAnnotation", "MaskAL")
    size = _add(document, "imagesize")
    _add(size, "nrows", str(annotation.height))
    _add(size, "ncols", str(annotation.width))
    kept = annotation.extra.get(EXTRA)  # from a file of another tool, it may be anything
    texts = [text for text in kept if isinstance(text, str)] if isinstance(kept, list) else []
    document.extend(parse_xml(text.encode(errors="replace"), path) for text in texts)
    return document


def _add(parent: Element, tag: str, text: str = "") -> Element:
    element = SubElement(parent, tag)
    element.text = text
    return element


def _object_of(instance: Instance, number: int, numbers: Sequence[int], document: Element) -> Element:
    """An object element but for its region; the first of the object's `numbers` leads the others."""
    leader, *others = numbers
    element = _add(document, "object")
    values = {"name": instance.label, "deleted": 0, "verified": 0, "occluded": "no", "date": "", "id": number}
    for tag, value in values.items():
        _add(element, tag, str(value))
    parts = _add(element, "parts")
    _add(parts, "hasparts", ",".join(map(str, others)) if number == leader else "")
    _add(parts, "ispartof", "" if number == leader else str(leader))
    return element


def _add_polygon(element: Element, outline: Polygon) -> None:
    polygon = _add(element, "polygon")
    for x, y in outline.tolist():
        point = _add(polygon, "pt")
        _add(point, "x", f"{x:.2f}")
        _add(point, "y", f"{y:.2f}")
    _add(polygon, "username")


def _add_segm(element: Element, name: str, bitmap: Bitmap) -> None:
    rows, columns = bitmap.mask.shape
    segm = _add(element, "segm")
    _add(segm, "mask", name)
    box = _add(segm, "box")
    corners = {"xmin": bitmap.x, "ymin": bitmap.y, "xmax": bitmap.x + columns, "ymax": bitmap.y + rows}
    for tag, value in corners.items():
        _add(box, tag, f"{value:.2f}")
    _add(segm, "username")


def _write_mask(bitmap: Bitmap, annotation: Annotation, file: Path) -> None:
    """A PNG of the image's size, transparent but for the object."""
    image = np.zeros((annotation.height, annotation.width, 4), np.uint8)
    rows, columns = bitmap.mask.shape
    image[bitmap.y : bitmap.y + rows, bitmap.x : bitmap.x + columns][bitmap.mask] = _MASK_COLOUR
    _, png = cv2.imencode(".png", image)
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(file.name + ".tmp")
    draft.write_bytes(png.tobytes())
    draft.replace(file)
