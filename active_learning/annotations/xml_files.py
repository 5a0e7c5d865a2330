"""Xml files and their elements."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError, SubElement, TreeBuilder, indent, tostring
from xml.parsers.expat import ErrorString

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from active_learning.errors import AnnotationError
from active_learning.system.wording import and_more

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_STARTS = (b"<", b"\xff\xfe<", b"\xfe\xff\x00<")  # UTF-8 and the like, UTF-16 of both byte orders
_ENCODING = re.compile(rb"""(<\?xml\b[^>]*?)\sencoding\s*=\s*["']([A-Za-z][\w.-]*)["']""")
_KNOWN_TO_EXPAT = re.compile("utf.?(8|16)|iso-8859-1|us-ascii", re.IGNORECASE)
_DEEPEST = 100  # elements of annotation files are nested 5 deep
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_KINDS = {
    "annotation": "an xml file of CVAT's LabelMe 3.0 export or of Pascal VOC",
    "annotations": "a 'CVAT for images' xml file, which holds many images",
}


def is_xml(content: bytes) -> bool:
    """Whether the bytes of a file are meant to be xml."""
    return content.removeprefix(_BYTE_ORDER_MARK).lstrip().startswith(_STARTS)


def parse_xml(content: bytes, path: Path) -> Element:
    """The root element. Entities are refused, declared or external: they can blow up or name other files.

    Raises:
        AnnotationError: it is damaged, is not in the encoding that it names or declares entities; names the line.
    """
    text = content.removeprefix(_BYTE_ORDER_MARK)
    stripped = _readable(text.lstrip(), path)  # a declaration must come first
    parser = DefusedXMLParser(target=_TreeBuilder())
    try:
        parser.feed(stripped)
        root: Element = parser.close()
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        line = parser.parser.CurrentLineNumber + text[: len(text) - len(text.lstrip())].count(b"\n")
        place = f"line {line}, column {parser.parser.CurrentColumnNumber + 1}"
        if isinstance(error, DefusedXmlException):
            reason = "declares or uses an entity, which annotation tools never write; it is not read"
            raise AnnotationError(f"{path}: {place}: the xml file {reason}") from error
        damage = f"{_damaged_kind(content)} that is damaged or half-written: save the annotation again"
        reason = ErrorString(error.code) if isinstance(error, ParseError) else str(error)
        raise AnnotationError(f"{path}: {place}: {reason}; the file is {damage}") from error
    return root


def _readable(content: bytes, path: Path) -> bytes:
    """As UTF-8 where expat may not know the declared encoding, such as Shift_JIS. Raises AnnotationError."""
    declared = _ENCODING.match(content)
    if declared is None or _KNOWN_TO_EXPAT.fullmatch(name := declared[2].decode()):
        return content
    try:
        return declared[1] + content[declared.end() :].decode(name).encode()
    except (LookupError, ValueError) as error:
        reason = f"is not in the encoding that it names, {name}"
        raise AnnotationError(f"{path}: line 1: the xml file {reason}; save it as UTF-8, and name that") from error


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
    return _KINDS.get(root.group(1).decode(), "an xml file") if root else "an xml file"


def xml_text(element: Element, path: Path) -> str:
    """The element as indented xml text. Raises AnnotationError where it holds a character that xml does not know."""
    indent(element)
    text = tostring(element, "unicode", short_empty_elements=False)
    foreign = _NOT_XML.search(text)
    if foreign:
        around = text[max(foreign.start() - 20, 0) : foreign.end() + 20]
        raise AnnotationError(f"{path}: {around!r}: xml has no character {foreign.group()!r}; rename it")
    return text + "\n"


def check_xml_names(folder: Path, images: Iterable[str]) -> None:
    """Raises AnnotationError where image names hold characters that xml does not know, such as control characters."""
    if foreign := [repr(name) for name in images if _NOT_XML.search(name)]:
        reason = "image names with characters that CVAT's xml files cannot hold"
        raise AnnotationError(f"{folder}: {reason}: {and_more(foreign, 3)}; rename them, each with its annotation")


def is_pascal_voc(root: Element) -> bool:
    """Pascal VOC shares its root element with LabelMe 3.0, but has an element `size` and boxes."""
    return root.tag == "annotation" and any(root.find(tag) is not None for tag in ("size/width", "object/bndbox"))


def is_annotation_xml(root: Element) -> bool:
    """Whether an xml file is an annotation of some tool, by its root."""
    return root.tag in _KINDS


def kind_of_xml(root: Element) -> str:
    """What an xml file is that none of our formats recognises, in words."""
    if is_pascal_voc(root):
        return "a Pascal VOC xml file"
    if root.tag == "annotations" and root.find("track") is not None:
        return "a 'CVAT for video' xml file (export 'CVAT for images' instead)"
    return _KINDS.get(root.tag, "an xml file")


def text_of(element: Element, tag: str) -> str:
    """The text of a descendant, without the line ends that old files pad it with; "" where there is none."""
    return (element.findtext(tag) or "").strip()


def add_element(parent: Element, tag: str, text: str = "", /, **children: object) -> Element:
    """A new last child, with children of these tags and texts."""
    element = SubElement(parent, tag)
    element.text = text
    for child, value in children.items():
        add_element(element, child, str(value))
    return element


def whole_number(text: str) -> int | str | None:
    """None for ""; the text where it is no number."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text or None
