"""Damage to the content of an xml file: it stays xml, but for entities and the like."""

from __future__ import annotations

import copy
import random
import re
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

TEXTS = (
    "", " ", "0", "1", "-1", "1e308", "nan", "inf", "-1e999", "9" * 400, "9" * 6000, "1.5", "0x10", "1_0", "٣", "²",
    "../outside.png", "../../outside.png", "/etc/passwd", "link.png", "C:\\x.png", "a" * 5000, "x" * 100_000, ".", "..",
    "Masks", "default", "yes", "true", "1,2,3", ",,,", "0,0", "0," * 5000, "1,2;3,4;5,6", "1,2;3", ";;;", "16384",
    "30000", "4294967296", "bounding_box", "rotation=nan", "rotation=1e308", 'a="\\', "k=v," * 2000, "\\" * 999,
    "e\u0301", "0,99999999", "0,268435456", "5,-5",
)  # fmt: skip
NAMES = (
    "a", "object", "name", "deleted", "id", "parts", "hasparts", "ispartof", "polygon", "pt", "x", "y", "segm", "mask",
    "box", "filename", "folder", "imagesize", "nrows", "ncols", "image", "ellipse", "tag", "track", "annotation",
    "annotations", "label", "points", "rle", "left", "top", "width", "height", "group_id", "rotation", "size",
)  # fmt: skip
HEADS = (
    b'<?xml version="1.0" encoding="utf-16"?>',
    b'<?xml version="1.0" encoding="utf-7"?>',
    b'<?xml version="1.0" encoding="cp037"?>',
    b'<?xml version="1.0" encoding="none-such"?>',
    b'<?xml version="1.1"?>',
    b'<!DOCTYPE a [<!ENTITY x "' + b"y" * 100 + b'">]>',
    b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    b'<!DOCTYPE a SYSTEM "http://localhost/x.dtd">',
    b"<!DOCTYPE a [<!ELEMENT a (" + b"(" * 3000 + b"b" + b")" * 3000 + b")>]>",
    b'<!DOCTYPE a [<!ATTLIST object id CDATA "5">]>',
    b"<!--" + b"-" * 3000,
    b"<?x " + b"y" * 3000 + b"?>",
)


def mutate_xml(content: bytes, rng: random.Random) -> bytes:
    root = ElementTree.fromstring(content)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        parents = [element for element in root.iter() if len(element)] or [root]
        rng.choice(_CHANGES)(rng.choice(parents), rng, root)
    changed = ElementTree.tostring(root)
    if rng.random() < 0.1:
        changed = rng.choice(HEADS) + changed
    if rng.random() < 0.05:
        changed = re.sub(rb">([^<]+)<", rb">&x;<", changed, count=rng.randrange(1, 5))
    return changed


def _text(parent: Element, rng: random.Random, root: Element) -> None:
    leaves = [element for element in parent.iter() if not len(element)] or [parent]
    rng.choice(leaves).text = rng.choice(TEXTS)


def _attribute(parent: Element, rng: random.Random, root: Element) -> None:
    element = rng.choice(list(root.iter()))
    name = rng.choice([*element.attrib, rng.choice(NAMES)])
    if rng.random() < 0.2:
        element.attrib.pop(name, None)
    else:
        element.set(name, rng.choice(TEXTS))


def _near(parent: Element, rng: random.Random, root: Element) -> None:
    """A number of a text or an attribute a little or far off."""
    element = rng.choice(list(root.iter()))
    places = [*element.attrib, None]
    name = rng.choice(places)
    text = (element.text if name is None else element.get(name)) or ""
    changed = re.sub(r"\d+", lambda found: str(int(found[0][:9]) * rng.choice((0, 1, 1, -1, 2, 1000))), text)
    if name is None:
        element.text = changed
    else:
        element.set(name, changed)


def _delete(parent: Element, rng: random.Random, root: Element) -> None:
    if len(parent):
        parent.remove(rng.choice(list(parent)))


def _repeat(parent: Element, rng: random.Random, root: Element) -> None:
    if len(parent):
        child = rng.choice(list(parent))
        for _ in range(rng.choice((1, 1, 30))):
            parent.insert(rng.randrange(len(parent) + 1), copy.deepcopy(child))


def _transplant(parent: Element, rng: random.Random, root: Element) -> None:
    other = copy.deepcopy(rng.choice(list(root.iter())))
    parent.insert(rng.randrange(len(parent) + 1), other)


def _rename(parent: Element, rng: random.Random, root: Element) -> None:
    rng.choice([parent, *parent]).tag = rng.choice(NAMES)


def _nest(parent: Element, rng: random.Random, root: Element) -> None:
    for _ in range(rng.choice((5, 90, 600))):
        parent = SubElement(parent, rng.choice(NAMES))


_CHANGES = (_text, _text, _text, _attribute, _attribute, _near, _near, _delete, _repeat, _transplant, _rename, _nest)
