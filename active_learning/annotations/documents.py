"""Loads and saves annotation files, and names the kinds of files that are something else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, indent, tostring
from xml.parsers.expat import ErrorString

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from active_learning.errors import AnnotationError
from active_learning.system.files import write_atomically

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_XML_STARTS = (b"<", b"\xff\xfe<", b"\xfe\xff\x00<")  # UTF-8 and the like, UTF-16 of both byte orders
_DEEPEST = 100  # elements of annotation files are nested 5 deep
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MOST_BYTES = 2**29  # the largest files are those of LabelMe with a huge image inside
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_XML_KINDS = {
    "annotation": "an xml file of CVAT's LabelMe 3.0 export or of Pascal VOC",
    "annotations": "a 'CVAT for images' xml file, which holds many images",
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
    """The content of a json file (UTF-8, with or without byte order mark), or the root element of an xml file.

    Raises:
        AnnotationError: it cannot be opened, is neither json nor xml, is cut off, is an xml file with entities or is
            far too large.
    """
    return parse_document(read_content(path), path)


def parse_document(content: bytes, path: Path) -> Any:
    """As `load_document`, of the bytes of the file `path`."""
    if not content.strip(b"\x00\t\r\n "):
        raise AnnotationError(f"{path}: is empty; save the annotation again")
    if content.removeprefix(_BYTE_ORDER_MARK).lstrip().startswith(_XML_STARTS):
        return parse_xml(content, path)
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


def read_content(path: Path) -> bytes:
    """Raises AnnotationError where the file cannot be opened or is far too large."""
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise AnnotationError(f"{path}: has {size} bytes, no annotation has more than {_MOST_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read: {error.strerror or error}") from error


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


def parse_xml(content: bytes, path: Path) -> Element:
    """The root element. Entities are refused, declared or external: they can blow up or name other files.

    Raises:
        AnnotationError: it is damaged or declares entities; names the line.
    """
    text = content.removeprefix(_BYTE_ORDER_MARK)
    stripped = text.lstrip()  # a declaration must come first
    parser = DefusedXMLParser(target=_TreeBuilder())
    try:
        parser.feed(stripped)
        root: Element = parser.close()
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        line = parser.parser.CurrentLineNumber + text[: len(text) - len(stripped)].count(b"\n")
        place = f"line {line}, column {parser.parser.CurrentColumnNumber + 1}"
        if isinstance(error, DefusedXmlException):
            reason = "declares or uses an entity, which annotation tools never write; it is not read"
            raise AnnotationError(f"{path}: {place}: the xml file {reason}") from error
        damage = f"{_damaged_kind(content)} that is damaged or half-written: save the annotation again"
        reason = ErrorString(error.code) if isinstance(error, ParseError) else str(error)
        raise AnnotationError(f"{path}: {place}: {reason}; the file is {damage}") from error
    return root


class _TreeBuilder(TreeBuilder):
    """Refuses elements nested so deep that walking through them would exhaust the stack."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0

    def start(self, tag: Any, attrs: Any, /) -> Element:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValueError(f"elements are nested deeper than {_DEEPEST}")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> Element:
        self._depth -= 1
        return super().end(tag)


def _damaged_kind(content: bytes) -> str:
    root = re.search(rb"<([A-Za-z_][\w.-]*)", content[:4000])
    return _XML_KINDS.get(root.group(1).decode(), "an xml file") if root else "an xml file"


def xml_text(element: Element, path: Path) -> str:
    """The element as indented xml text. Raises AnnotationError where it holds a character that xml does not know."""
    indent(element)
    text = tostring(element, "unicode", short_empty_elements=False)
    foreign = _NOT_XML.search(text)
    if foreign:
        around = text[max(foreign.start() - 20, 0) : foreign.end() + 20]
        raise AnnotationError(f"{path}: {around!r}: xml has no character {foreign.group()!r}; rename it")
    return text + "\n"


def is_pascal_voc(root: Element) -> bool:
    """Pascal VOC shares its root element with LabelMe 3.0, but has an element `size` and boxes."""
    return root.tag == "annotation" and any(root.find(tag) is not None for tag in ("size/width", "object/bndbox"))


def _kind_of_xml(root: Element) -> str:
    if is_pascal_voc(root):
        return "a Pascal VOC xml file"
    if root.tag == "annotations" and root.find("track") is not None:
        return "a 'CVAT for video' xml file"
    return _XML_KINDS.get(root.tag, "an xml file")


def kind_of_document(document: Any) -> str:
    """What a json or xml file is that none of our formats recognises, in words."""
    if isinstance(document, Element):
        return _kind_of_xml(document)
    if isinstance(document, list):
        return "a json list, such as COCO results or a list of images"
    if not isinstance(document, dict):
        return "no annotation"
    kinds = (kind for is_kind, kind in _JSON_KINDS if is_kind(document))
    return next(kinds, f"no annotation: its fields are {', '.join(map(repr, list(document)[:5])) or 'none'}")
