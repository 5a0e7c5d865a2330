"""Loads annotation files, and names the kinds of files that are something else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from active_learning.errors import AnnotationError

_XML_KINDS = {
    b"annotation": "an xml file of CVAT's LabelMe 3.0 export or of Pascal VOC",
    b"annotations": "a 'CVAT for images' xml file",
}

# What the top-level fields of a json file give away, the most telling first.
_JSON_KINDS: tuple[tuple[Callable[[dict[str, Any]], bool], str], ...] = (
    (lambda top: "images" in top and ("annotations" in top or "categories" in top), "a COCO json file"),
    (lambda top: "item" in top and "annotations" in top, "a V7 Darwin 2.0 json file"),
    (lambda top: isinstance(top.get("image"), dict) and "annotations" in top, "a V7 Darwin 1.0 json file"),
    (lambda top: "objects" in top and "size" in top, "a Supervisely json file"),
    (lambda top: isinstance(top.get("annotation"), dict), "a json file of Supervisely's API"),
    (lambda top: "classes" in top and "tags" in top, "the meta.json of a Supervisely project"),
    (lambda top: any(key.startswith("_via_") for key in top), "a VGG Image Annotator project"),
)


def load_document(path: Path) -> Any:
    """The content of a json file; UTF-8, with or without byte order mark.

    Raises:
        AnnotationError: it cannot be opened, is no json file or is cut off.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not content.strip(b"\x00\t\r\n "):
        raise AnnotationError(f"{path}: is empty; save the annotation again")
    if content.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        raise AnnotationError(f"{path}: is {_xml_kind(content)}, which cannot be read; export it as LabelMe json")
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise AnnotationError(
            f"{path}: {place}: {error.msg}; the file is damaged or half-written: save the annotation again"
        ) from error
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: byte {error.start} is not UTF-8 text; save the file as UTF-8") from error
    except (RecursionError, ValueError) as error:
        raise AnnotationError(f"{path}: is no annotation: {error}") from error


def _xml_kind(content: bytes) -> str:
    root = re.search(rb"<([A-Za-z_][\w.-]*)", content[:4000])
    return _XML_KINDS.get(root.group(1), "an xml file") if root else "an xml file"


def kind_of_document(document: Any) -> str:
    """What a json file is that none of our formats recognises, in words."""
    if isinstance(document, list):
        return "a json list, such as COCO results or a list of images"
    if not isinstance(document, dict):
        return "no annotation"
    kinds = (kind for is_kind, kind in _JSON_KINDS if is_kind(document))
    return next(kinds, f"no annotation: its fields are {', '.join(map(repr, list(document)[:5])) or 'none'}")
