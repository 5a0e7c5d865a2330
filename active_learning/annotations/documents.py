"""Loads and saves annotation files, and names the kinds of files that are something else."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable, Set
from enum import IntEnum
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from active_learning.annotations.xml_files import is_annotation_xml, is_xml, kind_of_xml, parse_xml
from active_learning.errors import AnnotationError
from active_learning.system.disk_space import reason_and_remedy
from active_learning.system.files import write_atomically

GIT_LFS = b"version https://git-lfs.github.com/"  # how the files begin that stand for others until they are fetched
_MOST_BYTES = 2**29  # the largest files are those of LabelMe with a huge image inside
# Fields that say that a json file is an annotation, though none of a tool whose files are read here.
_TELLING_FIELDS = frozenset(
    [
        "annotation",
        "annotations",
        "boxes",
        "label",
        "labels",
        "objects",
        "polygons",
        "regions",
        "segmentation",
        "shapes",
    ]
)
# Fields of which the last would hide the others, where a file that was put together by hand has several.
_UNIQUE_FIELDS = _TELLING_FIELDS | {"categories", "images", "points", "polygon"}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def is_coco(document: Any) -> bool:
    """Whether a document is that of a COCO json file of objects."""
    return _is_of_coco(document) and not (_is_panoptic(document) or _is_of_captions(document))


def _is_of_coco(document: Any) -> bool:
    has_images = isinstance(document, dict) and "images" in document
    return has_images and ("annotations" in document or "categories" in document)


def _is_panoptic(document: dict[str, Any]) -> bool:
    """Whether its regions are in PNG files, a colour each."""
    return _is_of_coco(document) and "segments_info" in _first_annotation(document)


def _is_of_captions(document: dict[str, Any]) -> bool:
    entries = document.get("annotations")
    if not (_is_of_coco(document) and isinstance(entries, list) and entries):
        return False
    return all(map(_is_caption, entries))


def _is_caption(entry: Any) -> bool:
    return isinstance(entry, dict) and "caption" in entry and entry.keys().isdisjoint(["category_id", "segmentation"])


def _first_annotation(document: dict[str, Any]) -> dict[str, Any]:
    entries = document.get("annotations")
    return entries[0] if isinstance(entries, list) and entries and isinstance(entries[0], dict) else {}


# What the top-level fields of a json file give away, the most telling first.
_JSON_KINDS: tuple[tuple[Callable[[dict[str, Any]], bool], str], ...] = (
    (_is_panoptic, "a COCO panoptic json file (export the instances instead)"),
    (_is_of_captions, "a COCO json file of captions (export the instances instead)"),
    (is_coco, "a COCO json file"),
    (lambda top: isinstance(top.get("annotation"), dict), "a json file of Supervisely's API"),
    (lambda top: "item" in top and "annotations" in top, "an item of V7 Darwin with several images"),
    (lambda top: "classes" in top and "tags" in top, "the meta.json of a Supervisely project"),
    (lambda top: any(key.startswith("_via_") for key in top), "a VGG Image Annotator project"),
    (lambda top: "items" in top and "categories" in top, "a Datumaro json file"),
    (lambda top: "instances" in top and "metadata" in top, "an annotation of SuperAnnotate"),
    (lambda top: "images" in top and "label_classes" in top, "an export of Hasty"),
    (lambda top: _all_values_have(top, {"regions"}), "a VGG Image Annotator json file"),
    (lambda top: _all_values_have(top, _TELLING_FIELDS), "a json file of the annotations of many images"),
)


def load_document(path: Path) -> Any:
    """What a file holds, parsed; raises as `read_content` and `parse_document`, which it consists of."""
    return parse_document(read_content(path), path)


def read_content(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        AnnotationError: it cannot be opened, is no regular file, is far too large or stands for one that is elsewhere.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise AnnotationError(f"{path}: is no regular file; remove it")
        if status.st_size > _MOST_BYTES:
            raise AnnotationError(f"{path}: has {status.st_size} bytes, no annotation has more than {_MOST_BYTES}")
        with path.open("rb") as stream:
            content = stream.read(_MOST_BYTES)
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read: {reason_and_remedy(error)}") from error
    if content.startswith(GIT_LFS):
        raise AnnotationError(f"{path}: is a pointer of Git LFS to the file; fetch that with: git lfs pull")
    return content


def parse_document(content: bytes, path: Path) -> Any:
    """What json text (UTF-8, with or without byte order mark) holds, or the root element of xml text.

    Args:
        path: the file that it comes from, for messages.

    Raises:
        AnnotationError: it is neither json nor xml, is cut off, has a field of objects twice, or is xml with entities.
    """
    if not content.strip(b"\x00\t\r\n "):
        raise AnnotationError(f"{path}: is empty; save the annotation again")
    if is_xml(content):
        return parse_xml(content, path)
    try:
        return json.loads(content, object_pairs_hook=_fields)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise AnnotationError(
            f"{path}: {place}: {error.msg}; the file is damaged or half-written: save the annotation again"
        ) from error
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: byte {error.start} is not UTF-8 text; save the file as UTF-8") from error
    except (RecursionError, ValueError) as error:
        raise AnnotationError(f"{path}: is no annotation that can be read: {error}") from error


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = next((name for name, value in pairs if name in _UNIQUE_FIELDS and value != fields[name]), None)
        if twice is not None:
            raise ValueError(f"it has the field {twice!r} twice, with other values; put them together in one")
    return fields


def _all_values_have(top: dict[str, Any], names: Set[str]) -> bool:
    """Whether the file is a mapping, such as of images to annotations, with one of these fields in each value."""
    return bool(top) and all(isinstance(value, dict) and not names.isdisjoint(value) for value in top.values())


def list_of(document: dict[str, Any], key: str, path: Path, remedy: str) -> list[Any]:
    """A field of a json file that must be a list. Raises AnnotationError."""
    value = document.get(key)
    if not isinstance(value, list):
        raise AnnotationError(f"{path}: {key}: must be a list, not {brief(value)}; {remedy}")
    return value


def place_of(entry: Any, index: int, entries: str, label_field: str) -> str:
    """Where an entry of the list `entries` stands in a json file, and its label, for messages."""
    return f"{entries}[{index}]: label {brief(entry.get(label_field) if isinstance(entry, dict) else None)}"


def write_json(path: Path, document: dict[str, Any], *, indent: int = 2) -> None:
    """Writes a json file atomically: UTF-8, with lone surrogates, which UTF-8 cannot hold, as \\uXXXX.

    Raises:
        AnnotationError: a field that was kept from another file is nested too deep.
    """
    try:
        text = json.dumps(document, ensure_ascii=False, indent=indent)
    except RecursionError as error:
        raise AnnotationError(f"{path}: a field is nested too deep to be written") from error
    write_atomically(path, _LONE_SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def brief(value: Any) -> str:
    """A value as it stands in a message."""
    try:
        text = repr(value)
    except RecursionError:
        return "a value nested too deep to show"
    return text if len(text) <= 40 else text[:37] + "..."


class FileKind(IntEnum):
    """What a json or xml file is, of which the first kinds come before the others."""

    ANNOTATION = 0  # of a tool whose files are read here
    DAMAGED = 1  # neither json nor xml
    OTHER_TOOL = 2
    NO_ANNOTATION = 3  # of another program, such as the data that a photo export puts beside each image


def kind_of_unknown(document: Any) -> FileKind:
    """Of a document that none of our formats recognises."""
    if isinstance(document, Element):
        return FileKind.OTHER_TOOL if is_annotation_xml(document) else FileKind.NO_ANNOTATION
    if isinstance(document, list):
        is_of_exiftool = bool(document) and isinstance(document[0], dict) and "SourceFile" in document[0]
        return FileKind.NO_ANNOTATION if is_of_exiftool else FileKind.OTHER_TOOL
    if not isinstance(document, dict) or not document:  # it may have been an annotation
        return FileKind.OTHER_TOOL
    is_other = any(is_kind(document) for is_kind, _ in _JSON_KINDS) or not _TELLING_FIELDS.isdisjoint(document)
    return FileKind.OTHER_TOOL if is_other else FileKind.NO_ANNOTATION


def kind_of_document(document: Any) -> str:
    """What a json or xml file is that none of our formats recognises, in words."""
    if isinstance(document, Element):
        return kind_of_xml(document)
    if isinstance(document, list):
        is_of_label_studio = bool(document) and isinstance(document[0], dict) and "annotations" in document[0]
        of_whom = "Label Studio (export COCO instead)" if is_of_label_studio else "COCO results or a list of images"
        return f"a json list, such as of {of_whom}"
    if not isinstance(document, dict):
        return "no annotation"
    kinds = (kind for is_kind, kind in _JSON_KINDS if is_kind(document))
    return next(kinds, f"no annotation: its fields are {', '.join(map(repr, list(document)[:5])) or 'none'}")
