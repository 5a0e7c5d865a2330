"""The xml files of LabelMe 3.0, one an image, as CVAT exports and imports them.

An object is an `object` element, or all of one class that `parts` links. Polygons cannot have holes: such parts are
masks, PNG files in a folder Masks (see cvat_masks.py).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np

from active_learning.annotations.annotation import Annotation, Bitmap, Instance, Part, Polygon
from active_learning.annotations.cvat_masks import (
    MASKS,
    encode_mask_file,
    find_mask,
    free_mask_name,
    without_tail,
    write_mask_file,
)
from active_learning.annotations.documents import is_pascal_voc, parse_xml, xml_text
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
from active_learning.system.files import write_atomically

TOP_ELEMENTS = frozenset(["filename", "folder", "source", "imagesize", "object"])
EXTRA = "cvat_elements"  # the key of Annotation.extra for the xml texts of unknown top-level elements


@dataclass(frozen=True)
class _Frame:
    """What reading the objects of one image needs; masks lie `within` a folder, if it is given; `warnings` grows."""

    path: Path
    folder: str
    within: Path | None
    room: MaskRoom
    warnings: list[str]


def recognises(document: Any) -> bool:
    if not isinstance(document, Element) or document.tag != "annotation" or is_pascal_voc(document):
        return False
    return any(document.find(tag) is not None for tag in ("filename", "imagesize", "object"))


def image_name(document: Any) -> str:
    """The file's name alone: `folder` is a path in the task, a subset or a collection, as the writer likes."""
    return _text(document, "filename").replace("\\", "/")


def read(
    document: Any, *, path: Path, image: str, size: tuple[int, int] | None, within: Path | None = None
) -> Annotation:
    """The objects of a LabelMe 3.0 file, clipped to the image; see `annotations.read_annotation`.

    Opens no files but masks in the Masks folders that belong to the place of `path`, and lie `within` that folder.
    """
    declared = (_whole_number(document, "imagesize/nrows"), _whole_number(document, "imagesize/ncols"))
    height, width, warnings = image_size(declared, size, path, ("imagesize/nrows", "imagesize/ncols"))
    warnings += _name_warnings(document, path, image)
    frame = _Frame(path, folder_of(document), within, MaskRoom(height, width), warnings)
    elements = document.findall("object")
    leaders = _leaders(elements, frame)
    objects: dict[tuple[Any, ...], list[Shape]] = {}
    for index, element in enumerate(elements):
        if _is_deleted(element):
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


def mask_files(document: Any, *, path: Path, within: Path | None = None) -> dict[str, Path | None]:
    """From the names of the masks that a LabelMe 3.0 file refers to, to their files; None where there is none."""
    found: dict[str, Path | None] = {}
    for element in document.findall("object"):
        name = _mask_name(element)
        if not name or _is_deleted(element) or _is_outlined(element):
            continue
        try:
            found[name] = find_mask(name, path, folder_of(document), within)
        except ShapeError:
            found[name] = None
    return found


def _is_deleted(element: Element) -> bool:
    return _text(element, "deleted").lower() in ("1", "yes", "true")


def _is_outlined(element: Element) -> bool:
    return element.find("polygon/pt") is not None


def folder_of(document: Any) -> str:
    """The element `folder`: a path in the task, a subset or a collection."""
    return _text(document, "folder").replace("\\", "/")


def _mask_name(element: Element) -> str:
    return _text(element, "segm/mask").replace("\\", "/")


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
    if _is_outlined(element):
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
    name = _mask_name(element)
    if not name:
        raise ShapeError("has no mask")
    most_pixels = frame.room.most_pixels()
    file = find_mask(name, frame.path, frame.folder, frame.within)
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


def write(annotation: Annotation, path: Path, *, max_polygon_error: float = 1.0) -> None:
    """Writes a LabelMe 3.0 file in CVAT's layout, with an object element for each part.

    Outlines of bitmaps are within `max_polygon_error` pixels; polygons stay as they are, less what lies outside the
    image. Parts with holes become masks, PNG files below Masks: beside `path`, or where `path` ends with the folders
    of the image's name, beside the uppermost of these. Masks that are there already are not overwritten.

    Raises:
        AnnotationError: a text holds a character that xml does not know, or `extra` an element that is none.
    """
    folder = PurePosixPath(annotation.image).parent.as_posix()
    root = without_tail(path.absolute().parent, folder) if folder != "." else None
    folder = "" if root is None else folder
    masks_folder = (root or path.parent) / MASKS
    document = _document_of(annotation, folder, path)
    masks: dict[str, bytes] = {}
    number = 0
    for instance in annotation.instances:
        regions = written_regions(instance, annotation.height, annotation.width, max_polygon_error)
        numbers = list(range(number, number + len(regions)))
        number += len(regions)
        for one, region in zip(numbers, regions, strict=True):
            element = _object_of(instance, one, numbers, document)
            if isinstance(region, Bitmap):
                content = encode_mask_file(region, annotation.height, annotation.width)
                name = free_mask_name(str(PurePosixPath(folder) / f"{path.stem}_mask_{one}"), content, masks_folder)
                masks[name] = content
                _add_segm(element, name, region)
            else:
                _add_polygon(element, region)
            _add(element, "attributes", "" if instance.score is None else f"score={instance.score:.6g}")
    text = xml_text(document, path)
    for name, content in masks.items():
        write_mask_file(content, masks_folder / name)
    write_atomically(path, text)


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
