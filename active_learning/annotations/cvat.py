"""The xml files of LabelMe 3.0, one an image, as CVAT exports and imports them.

An object is an `object` element, or all of one class that `parts` links. Polygons cannot have holes: such parts are
masks, PNG files in a folder Masks (see cvat_masks.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element, tostring

import numpy as np

from active_learning.annotations import shapes
from active_learning.annotations.annotation import Annotation, Bitmap, Instance, Part, Polygon, ShapeError, Size
from active_learning.annotations.canvas import Canvas, Shape, open_canvas
from active_learning.annotations.cvat_masks import MASKS, encode_mask_file, find_mask, free_mask_name, without_tail
from active_learning.annotations.cvat_parts import first_of_each_object
from active_learning.annotations.documents import brief
from active_learning.annotations.png import decode_png
from active_learning.annotations.xml_files import add_element, is_pascal_voc, parse_xml, text_of, whole_number, xml_text
from active_learning.system.files import DRAFT, draft_of, write_atomically
from active_learning.system.names import normalised

TOP_ELEMENTS = frozenset(["filename", "folder", "source", "imagesize", "object"])
EXTRA = "cvat_elements"  # the key of Annotation.extra for the xml texts of unknown top-level elements


@dataclass(frozen=True)
class _File:
    """Where the masks of a file are, and the image that its objects are read for."""

    path: Path
    folder: str
    within: Path | None
    canvas: Canvas


def recognises(document: Any) -> bool:
    if not isinstance(document, Element) or document.tag != "annotation" or is_pascal_voc(document):
        return False
    return any(document.find(tag) is not None for tag in ("filename", "imagesize", "object"))


def image_name(document: Any) -> str:
    """The file's name alone: `folder` is a path in the task, a subset or a collection, as the writer likes."""
    return text_of(document, "filename").replace("\\", "/")


def image_folder(document: Any) -> str:
    """The element `folder`: a path in the task, a subset or a collection."""
    return text_of(document, "folder").replace("\\", "/")


def read(document: Any, *, path: Path, image: str, size: Size | None, within: Path | None = None) -> Annotation:
    """The objects of a LabelMe 3.0 file; see `Codec.read`.

    Opens no files but masks in the Masks folders that belong to the place of `path`, and lie `within` that folder.
    """
    fields = ("imagesize/nrows", "imagesize/ncols")
    height, width = (whole_number(text_of(document, field)) for field in fields)
    canvas = open_canvas((height, width), size, path, fields)
    canvas.warnings += _name_warnings(document, path, image)
    elements = document.findall("object")
    firsts, faults = first_of_each_object(elements)
    canvas.warnings += [f"{path}: {_place(elements[index], index)}: {fault}" for index, fault in faults]
    file = _File(path, image_folder(document), within, canvas)
    present = [(index, element) for index, element in enumerate(elements) if not _is_deleted(element)]
    reader = partial(_read_object, firsts=firsts, file=file)
    instances = canvas.objects(present, reader, _place, label=partial(text_of, tag="name"))
    unknown = [tostring(element, "unicode").strip() for element in document if element.tag not in TOP_ELEMENTS]
    extra = {EXTRA: unknown} if unknown else {}
    return canvas.annotation(image, instances, extra)


def mask_files(document: Any, *, path: Path, within: Path | None = None) -> dict[str, Path | None]:
    """From the names of the masks that a LabelMe 3.0 file refers to, to their files; None where there is none."""
    found: dict[str, Path | None] = {}
    for element in document.findall("object"):
        name = _mask_name(element)
        if not name or _is_deleted(element) or _is_outlined(element):
            continue
        try:
            found[name] = find_mask(name, path, image_folder(document), within)
        except ShapeError:
            found[name] = None
    return found


def _is_deleted(element: Element) -> bool:
    return text_of(element, "deleted").lower() in ("1", "yes", "true")


def _is_outlined(element: Element) -> bool:
    return element.find("polygon/pt") is not None


def _mask_name(element: Element) -> str:
    return text_of(element, "segm/mask").replace("\\", "/")


def _place(element: Element, index: int) -> str:
    number = text_of(element, "id")
    return f"object[{index}]{number and f' (id {number[:20]})'}: label {brief(text_of(element, 'name'))}"


def _name_warnings(document: Element, path: Path, image: str) -> list[str]:
    """Names are compared without suffix, as CVAT does."""
    named = image_name(document)
    stems = {normalised(PurePosixPath(name).stem).casefold() for name in (named, image)}
    if not named or len(stems) == 1:
        return []
    return [f"{path}: filename: names {brief(named)}, but the file is read for {image!r}"]


def _read_object(element: Element, index: int, firsts: Sequence[int], file: _File) -> Shape:
    """Raises ShapeError."""
    label = text_of(element, "name")
    if not label:
        raise ShapeError("has no name")
    attributes = read_attributes(text_of(element, "attributes"))
    region: Part | Bitmap
    if _is_outlined(element):
        region = file.canvas.part(_read_polygon(element, attributes))
    elif element.find("segm") is not None:
        region = _read_mask(element, file)
    else:
        raise ShapeError("has no points" if element.find("polygon") is not None else "has neither polygon nor segm")
    score = shapes.read_score(_number(attributes.get("score", "")))
    return Shape((label, firsts[index]), label, (region,), score, f"object[{index}]")


def _read_polygon(element: Element, attributes: dict[str, str]) -> Polygon:
    """Boxes are the upright ones that CVAT writes, turned by the angle in the attributes. Raises ShapeError."""
    points = [[_number(text_of(point, axis)) for axis in "xy"] for point in element.iterfind("polygon/pt")]
    if any(None in point for point in points):
        raise ShapeError("the points are not [x, y] pairs of numbers")
    is_box = text_of(element, "type") == "bounding_box"
    by_two_corners = is_box and len(points) == 2
    outline = shapes.box_outline(*shapes.read_points(points)) if by_two_corners else shapes.read_polygon(points)
    degrees = _number(attributes.get("rotation", "")) if is_box else None
    if not degrees:
        return outline
    if not np.isfinite(degrees):
        raise ShapeError(f"rotation {degrees} is no angle")
    return shapes.rotated(outline, degrees, (outline.min(axis=0) + outline.max(axis=0)) / 2)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def read_attributes(text: str) -> dict[str, str]:
    r"""The attributes of `k=v, k2=v2`, where `\` escapes , = " \ and texts that could be numbers are quoted."""
    found: dict[str, str] = {}
    for entry in re.findall(r"(?:\\.|[^\\,])+", text, re.DOTALL):
        halves = re.fullmatch(r"((?:\\.|[^\\=])*)=(.*)", entry.strip(), re.DOTALL)
        if halves:
            key, value = halves[1].strip(), re.sub(r'^"(.*)"$', r"\1", halves[2].strip(), flags=re.DOTALL)
            found[re.sub(r"\\(.)", r"\1", key)] = re.sub(r"\\(.)", r"\1", value)
    return found


def _read_mask(element: Element, file: _File) -> Bitmap:
    """Raises ShapeError."""
    name, canvas = _mask_name(element), file.canvas
    if not name:
        raise ShapeError("has no mask")
    most_pixels = canvas.most_pixels()
    mask_file = find_mask(name, file.path, file.folder, file.within)
    try:
        with mask_file.open("rb") as stream:
            content = stream.read(8 * most_pixels + 2**16)  # more than any PNG of so many pixels
        mask = decode_png(content, most_pixels=most_pixels)
    except OSError as error:
        raise ShapeError(f"mask {brief(name)} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ShapeError(f"mask {brief(name)} cannot be decoded: {error}") from error
    height, width = mask.shape
    canvas.check_mask(height, width, name)
    return canvas.bitmap(Bitmap(0, 0, mask))


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
    masks_folder, stem = (root or path.parent) / MASKS, PurePosixPath(path.name.removesuffix(DRAFT)).stem
    document = _document_of(annotation, folder, path)
    masks: dict[str, bytes] = {}
    number = 0
    for instance in annotation.instances:
        regions = shapes.written_regions(instance, annotation.height, annotation.width, max_polygon_error)
        numbers = list(range(number, number + len(regions)))
        number += len(regions)
        for one, region in zip(numbers, regions, strict=True):
            element = _object_of(instance, one, numbers, document)
            if isinstance(region, Bitmap):
                content = encode_mask_file(region, annotation.height, annotation.width)
                name = free_mask_name(str(PurePosixPath(folder) / f"{stem}_mask_{one}"), content, masks_folder)
                masks[name] = content
                _add_segm(element, name, region)
            else:
                _add_polygon(element, region)
            add_element(element, "attributes", "" if instance.score is None else f"score={instance.score:.6g}")
    text = xml_text(document, path)
    for name, content in masks.items():
        with draft_of(masks_folder / name) as draft:
            draft.write_bytes(content)
    write_atomically(path, text)


def _document_of(annotation: Annotation, folder: str, path: Path) -> Element:
    document = Element("annotation")
    add_element(document, "filename", PurePosixPath(annotation.image).name)
    add_element(document, "folder", folder)
    add_element(document, "source", sourceImage="", sourceAnnotation="MaskAL")
    add_element(document, "imagesize", nrows=annotation.height, ncols=annotation.width)
    kept = annotation.extra.get(EXTRA)  # from a file of another tool, it may be anything
    texts = [text for text in kept if isinstance(text, str)] if isinstance(kept, list) else []
    document.extend(parse_xml(text.encode(errors="replace"), path) for text in texts)
    return document


def _object_of(instance: Instance, number: int, numbers: Sequence[int], document: Element) -> Element:
    """An object element but for its region; the first of the object's `numbers` leads the others."""
    leader, *others = numbers
    values = {"name": instance.label, "deleted": 0, "verified": 0, "occluded": "no", "date": "", "id": number}
    element = add_element(document, "object", **values)
    links = (",".join(map(str, others)), "") if number == leader else ("", leader)
    add_element(element, "parts", hasparts=links[0], ispartof=links[1])
    return element


def _add_polygon(element: Element, outline: Polygon) -> None:
    polygon = add_element(element, "polygon")
    for x, y in outline.tolist():
        add_element(polygon, "pt", x=f"{x:.2f}", y=f"{y:.2f}")
    add_element(polygon, "username")


def _add_segm(element: Element, name: str, bitmap: Bitmap) -> None:
    rows, columns = bitmap.mask.shape
    segm = add_element(element, "segm", mask=name)
    corners = {"xmin": bitmap.x, "ymin": bitmap.y, "xmax": bitmap.x + columns, "ymax": bitmap.y + rows}
    add_element(segm, "box", **{tag: f"{value:.2f}" for tag, value in corners.items()})
    add_element(segm, "username")
