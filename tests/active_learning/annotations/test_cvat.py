"""LabelMe 3.0 xml files: reading, trouble, writing."""

from __future__ import annotations

import json
import os
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from active_learning.annotations import (
    Annotation,
    Bitmap,
    Instance,
    Part,
    cvat,
)
from active_learning.annotations.contours import instance_mask, trace_mask
from active_learning.annotations.documents import kind_of_document, load_document
from active_learning.annotations.labels import refuse_loss_of_all
from active_learning.errors import AnnotationError
from tests.active_learning.annotations.boxes import box_of
from tests.active_learning.annotations.random_input import damaged_bytes, instance_of

SIZE = (80, 100)
SQUARE = [(10, 20), (30, 20), (30, 50), (10, 50)]
RING = np.pad(np.zeros((2, 3), dtype=bool), 2, constant_values=True)  # 6x7 with a hole of 2x3


def read(path: Path, size: tuple[int, int] | None = SIZE, image: str = "a.jpg") -> Annotation:
    document = load_document(path)
    assert cvat.recognises(document)
    return cvat.read(document, path=path, image=image, size=size)


def points(corners=SQUARE) -> str:
    return "<polygon>" + "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in corners) + "</polygon>"


def thing(region: str | None = None, name: str = "healthy", number: object = 0, parts: str = "", **fields: str) -> str:
    others = "".join(f"<{tag}>{escape(text)}</{tag}>" for tag, text in fields.items())
    region = points() if region is None else region
    return f"<object><name>{name}</name><id>{number}</id>{parts}{others}{region}</object>"


def parts(has: str = "", of: str = "") -> str:
    return f"<parts><hasparts>{has}</hasparts><ispartof>{of}</ispartof></parts>"


def segm(name: str) -> str:
    return f"<segm><mask>{name}</mask></segm>"


@pytest.fixture
def save(tmp_path):
    """Writes a file of the object texts given; `head` replaces filename, folder and size."""

    def write(*objects: str, head: str | None = None, place: str = "a.xml") -> Path:
        if head is None:
            head = "<filename>a.jpg</filename><folder/><imagesize><nrows>80</nrows><ncols>100</ncols></imagesize>"
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"<annotation>{head}{''.join(objects)}</annotation>", encoding="utf-8")
        return path

    return write


def save_mask(file: Path, mask: np.ndarray, size: tuple[int, int] = SIZE, at: tuple[int, int] = (7, 5)) -> None:
    image = np.zeros((*size, 4), np.uint8)
    image[at[0] : at[0] + mask.shape[0], at[1] : at[1] + mask.shape[1]][mask] = (0, 200, 255, 153)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(cv2.imencode(".png", image)[1].tobytes())


def areas(annotation: Annotation) -> list[tuple[str, int]]:
    return [
        (one.label, int(instance_mask(one, annotation.height, annotation.width).sum())) for one in annotation.instances
    ]


@pytest.mark.parametrize("layout", ["labelme30_cvat", "labelme30_datumaro"])
def test_files_of_the_real_tool(shared_dir, layout):
    folder = shared_dir / "formats" / "cvat" / layout
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    seen = 0
    for image in expected["images"]:
        for size in ((image["height"], image["width"]), None):
            annotation = read(folder / image["annotation"], size, Path(image["image"]).name)
            assert annotation.warnings == ()
            assert (annotation.height, annotation.width) == (image["height"], image["width"])
            assert [one.label for one in annotation.instances] == [one["class"] for one in image["objects"]]
            for instance, truth in zip(annotation.instances, image["objects"], strict=True):
                mask = instance_mask(instance, annotation.height, annotation.width)
                regions = trace_mask(mask, 0)
                assert mask.sum() == truth["area_px"]
                assert box_of(mask) == truth["bbox_xywh"]
                assert (len(regions), sum(len(one.holes) for one in regions)) == (truth["parts"], truth["holes"])
                seen += 1
    assert seen == 10


ROTATED = "rotation=90.0"
WIDE = [(10, 20), (50, 20), (50, 40), (10, 40)]


@pytest.mark.parametrize(
    ("entry", "area", "box"),
    [
        pytest.param(thing(), 600, [10, 20, 20, 30], id="polygon"),
        pytest.param(thing(type="bounding_box"), 600, [10, 20, 20, 30], id="box"),
        pytest.param(thing(points([(10, 20), (30, 50)]), type="bounding_box"), 600, [10, 20, 20, 30], id="two corners"),
        pytest.param(thing(type="bounding_box", attributes="rotation=0.0"), 600, [10, 20, 20, 30], id="not turned"),
        pytest.param(
            thing(points(WIDE), type="bounding_box", attributes=ROTATED), 800, [20, 10, 20, 40], id="turned by 90"
        ),
        pytest.param(
            thing(points(WIDE), type="bounding_box", attributes='a=x\\, y, rotation="90"'), 800, [20, 10, 20, 40],
            id="turned among attributes",
        ),
        pytest.param(thing(points(WIDE), attributes=ROTATED), 800, [10, 20, 40, 20], id="polygons do not turn"),
        pytest.param(
            thing(points([(-10, -10), (10, -10), (10, 10), (-10, 10)])), 100, [0, 0, 10, 10], id="negative coordinates"
        ),
        pytest.param(thing(points([(90, 70), (150, 70), (150, 99), (90, 99)])), 100, [90, 70, 10, 10], id="beyond"),
        pytest.param(thing(points([("\n10\n", " 20 "), *SQUARE[1:]])), 600, [10, 20, 20, 30], id="padded numbers"),
    ],
)  # fmt: skip
def test_polygons_and_boxes(save, entry, area, box):
    annotation = read(save(entry))
    assert annotation.warnings == ()
    mask = instance_mask(annotation.instances[0], *SIZE)
    assert mask.sum() == pytest.approx(area, abs=1)
    assert box_of(mask) == box


def test_boxes_turn_clockwise(save):
    entry = thing(points([(20, 30), (80, 30), (80, 40), (20, 40)]), type="bounding_box", attributes="rotation=30.0")
    mask = instance_mask(read(save(entry)).instances[0], *SIZE)
    assert mask.sum() == pytest.approx(600, abs=10)
    assert mask[47, 71]  # the right end has gone down
    assert mask[22, 28]
    assert not mask[22, 71]


def test_files_of_the_first_labelme(save):
    """Texts padded with line ends, neither parts nor size, ids from 0, a deleted object."""
    head = "<filename>\na.jpg\n</filename><folder>\nusers/x\n</folder>"
    path = save(
        "<object><name>\nhealthy\n</name><deleted>\n0\n</deleted><id>\n0\n</id>" + points() + "</object>",
        "<object><name>\nhealthy\n</name><deleted>\n1\n</deleted><id>\n1\n</id>" + points() + "</object>",
        head=head,
    )
    annotation = read(path)
    assert (annotation.warnings, areas(annotation)) == ((), [("healthy", 600)])
    assert cvat.image_name(load_document(path)) == "a.jpg"


FIRST, SECOND, THIRD = (points([(x, x), (x + 10, x), (x + 10, x + 10), (x, x + 10)]) for x in (0, 30, 60))


@pytest.mark.parametrize(
    ("entries", "objects"),
    [
        pytest.param([thing(FIRST, number=0), thing(SECOND, number=1)], [100, 100], id="no parts"),
        pytest.param(
            [thing(FIRST, number=0, parts=parts(has="1")), thing(SECOND, number=1, parts=parts(of="0"))], [200],
            id="both ends",
        ),
        pytest.param([thing(FIRST, number=4, parts=parts(has="7")), thing(SECOND, number=7)], [200], id="hasparts"),
        pytest.param([thing(FIRST, number=4), thing(SECOND, number=7, parts=parts(of=" 4\n"))], [200], id="ispartof"),
        pytest.param(
            [thing(FIRST, number=0, parts=parts(has="1, 2")), thing(SECOND, number=1), thing(THIRD, number=2)], [300],
            id="list",
        ),
        pytest.param(
            [thing(FIRST, number=2, parts=parts(of="1")), thing(SECOND, number=1, parts=parts(of="0")),
             thing(THIRD, number=0)], [300],
            id="chain backwards",
        ),
        pytest.param(
            [thing(FIRST, number=0, parts=parts(has="1")), thing(SECOND, number=1, parts=parts(has="0"))], [200],
            id="circle",
        ),
        pytest.param([thing(FIRST, number=0, parts=parts(has="0", of="0"))], [100], id="itself"),
        pytest.param(
            [thing(FIRST, number=0, parts=parts(has="1"), deleted="1"), thing(SECOND, number=1)], [100],
            id="leader deleted",
        ),
        pytest.param(
            [thing(FIRST, number=0, parts=parts(has="1")), thing(SECOND, "damaged", 1), thing(THIRD, number=2)],
            [100, 100, 100], id="another class",
        ),
        pytest.param([thing(FIRST, number=0, parts=parts(has="1")), thing(FIRST, number=1)], [100], id="overlap"),
    ],
)  # fmt: skip
def test_objects_are_linked_parts(save, entries, objects):
    annotation = read(save(*entries))
    assert annotation.warnings == ()
    assert [area for _, area in areas(annotation)] == objects


def test_a_long_chain_is_one_object(save):
    entries = [thing(FIRST, number=index, parts=parts(has=str(index + 1))) for index in range(3000)]
    assert areas(read(save(*entries, thing(SECOND, number=3000)))) == [("healthy", 200)]


@pytest.mark.parametrize(
    ("place", "head", "mask", "name"),
    [
        pytest.param("a.xml", "", "Masks/m.png", "m.png", id="beside"),
        pytest.param("default/sub/a.xml", "<folder>sub</folder>", "default/Masks/sub/m.png", "sub/m.png", id="cvat"),
        pytest.param(
            "default/s/t/a.xml", "<folder>s/t</folder>", "default/Masks/s/t/m.png", "s/t/m.png", id="cvat deep"
        ),
        pytest.param(
            "default/s/t/a.xml", "<folder>s\\t</folder>", "default/Masks/s/t/m.png", "s\\t\\m.png", id="windows"
        ),
        pytest.param("Annotations/val/a.xml", "<folder>val</folder>", "Masks/val/m.png", "m.png", id="datumaro"),
        pytest.param(
            "Annotations/val/s/a.xml", "<folder>val</folder>", "Masks/val/s/m.png", "s/m.png", id="datumaro sub"
        ),
        pytest.param("Annotations/a.xml", "", "Masks/m.png", "m.png", id="first labelme"),
        pytest.param("ä b/a.xml", "", "ä b/Masks/mäsk 1.png", "\nmäsk 1.png\n", id="unicode"),
    ],
)
def test_masks_are_found(save, tmp_path, place, head, mask, name):
    path = save(thing(segm(name)), head=f"<filename>a.jpg</filename>{head}", place=place)
    save_mask(tmp_path / mask, RING)
    annotation = read(path)
    assert (annotation.warnings, areas(annotation)) == ((), [("healthy", 36)])
    assert box_of(instance_mask(annotation.instances[0], *SIZE)) == [5, 7, 7, 6]


@pytest.mark.parametrize("name", ["../../m.png", "/m.png", "..\\..\\m.png", "C:\\m.png", "s/../../../m.png"])
def test_no_mask_leads_out_of_its_folder(save, tmp_path, name):
    path = save(thing(segm(name)), place="in/a.xml")
    (tmp_path / "in" / "Masks").mkdir()
    save_mask(tmp_path / "m.png", RING)
    annotation = read(path)
    assert annotation.instances == ()
    assert "leads out of the folder Masks" in annotation.warnings[0]


def test_no_link_leads_out_of_the_folder(save, tmp_path):
    path = save(thing(segm("m.png")), place="in/a.xml")
    save_mask(tmp_path / "secret.png", RING)
    (tmp_path / "in" / "Masks").mkdir()
    (tmp_path / "in" / "Masks" / "m.png").symlink_to(tmp_path / "secret.png")
    annotation = read(path)
    assert annotation.instances == ()
    assert "is a link out of" in annotation.warnings[0]


GOOD = thing(name="good")


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        pytest.param(thing(points(SQUARE[:2])), "3 points, not 2", id="two points"),
        pytest.param(thing(points([])), "has no points", id="no points"),
        pytest.param(thing(points([(1, 1), (5, 5), (9, 9)])), "no area", id="zero area"),
        pytest.param(thing(points([(1, 1), ("nan", 5), (9, 2)])), "not a number", id="NaN"),
        pytest.param(thing(points([(1, 1), ("1e300", 5), (9, 2)])), "absurdly large", id="huge"),
        pytest.param(thing(points([(1, 1), ("x", 5), (9, 2)])), "pairs of numbers", id="text"),
        pytest.param(thing("<polygon><pt><x>1</x></pt></polygon>"), "pairs of numbers", id="no y"),
        pytest.param(thing(points([(200, 200), (210, 200), (210, 210)])), "outside the image", id="outside"),
        pytest.param(thing(type="bounding_box", attributes="rotation=inf"), "no angle", id="endless rotation"),
        pytest.param(thing(""), "neither polygon nor segm", id="no region"),
        pytest.param(thing("<segm/>"), "has no mask", id="segm without mask"),
        pytest.param(thing(segm("none.png")), "no mask 'none.png'", id="mask is not there"),
        pytest.param(thing(segm("x" * 500 + ".png")), "cannot be found", id="mask of a long name"),
        pytest.param(thing(segm("text.png")), "cannot be decoded: no PNG", id="mask is no png"),
        pytest.param(thing(segm("cut.png")), "cannot be decoded", id="mask cut off"),
        pytest.param(thing(segm("empty.png")), "mask is empty", id="mask empty"),
        pytest.param(thing(segm(".")), "no mask '.'", id="mask a folder"),
        pytest.param(thing(name=""), "has no name", id="no class"),
        pytest.param("<object/>", "has no name", id="nothing at all"),
    ],
)
def test_one_bad_object_never_costs_the_file(save, tmp_path, entry, reason):
    save_mask(tmp_path / "Masks" / "cut.png", RING)
    whole = (tmp_path / "Masks" / "cut.png").read_bytes()
    (tmp_path / "Masks" / "cut.png").write_bytes(whole[:-20])
    (tmp_path / "Masks" / "text.png").write_text("text")
    save_mask(tmp_path / "Masks" / "empty.png", RING & False)
    path = save(GOOD, entry.replace("<id>0<", "<id>1<"), GOOD.replace("<id>0<", "<id>2<"))
    annotation = read(path)
    assert [(one.label, one.origin) for one in annotation.instances] == [("good", "object[0]"), ("good", "object[2]")]
    (warning,) = annotation.warnings
    assert warning.startswith(f"{path}: object[1]")
    assert reason in warning


@pytest.mark.parametrize(
    ("head", "size", "warning"),
    [
        pytest.param("<imagesize><nrows>\n80\n</nrows><ncols> 100</ncols></imagesize>", SIZE, None, id="right"),
        pytest.param("", SIZE, None, id="not declared"),
        pytest.param("<imagesize><nrows/><ncols/></imagesize>", SIZE, None, id="empty"),
        pytest.param("<imagesize><nrows>80</nrows><ncols>100</ncols></imagesize>", None, None, id="as declared"),
        pytest.param(
            "<imagesize><nrows>100</nrows><ncols>80</ncols></imagesize>", SIZE, "EXIF rotation", id="transposed"
        ),
        pytest.param("<imagesize><nrows>x</nrows></imagesize>", SIZE, "height 80, width 100", id="text"),
        pytest.param("<filename>b.jpg</filename>", SIZE, "names 'b.jpg'", id="another image"),
        pytest.param("<filename>sub\\A.png</filename>", SIZE, None, id="another suffix"),
    ],
)
def test_top_elements(save, head, size, warning):
    head = head if "filename" in head else f"<filename>a.jpg</filename>{head}"
    annotation = read(save(GOOD, head=head), size)
    assert (annotation.height, annotation.width, len(annotation.instances)) == (*SIZE, 1)
    assert [warning in one for one in annotation.warnings] == ([True] if warning else [])


@pytest.mark.parametrize(
    ("entries", "warning"),
    [
        pytest.param([thing(FIRST, parts=parts(has="9"))], "there is no object '9'", id="part is not there"),
        pytest.param([thing(FIRST), thing(SECOND)], "object[0] has this id already", id="id twice"),
    ],
)
def test_links_that_lead_nowhere_are_told(save, entries, warning):
    annotation = read(save(*entries))
    assert len(annotation.instances) == len(entries)
    assert [warning in one for one in annotation.warnings] == [True]


@pytest.mark.parametrize("size", [(40, 50), (100, 80), (160, 200)], ids=["smaller", "turned", "larger"])
def test_masks_of_another_size_are_left_out(save, tmp_path, size):
    save_mask(tmp_path / "Masks" / "m.png", RING, size=size)
    annotation = read(save(thing(segm("m.png")), GOOD))
    assert [label for label, _ in areas(annotation)] == ["good"]
    assert f"mask 'm.png' has height {size[0]}, width {size[1]}, the image 80 and 100" in "\n".join(annotation.warnings)
    with pytest.raises(AnnotationError, match="mask 'm.png' has height"):
        refuse_loss_of_all(read(save(thing(segm("m.png")))), tmp_path / "a.xml")


def test_no_size_at_all(save):
    with pytest.raises(AnnotationError, match="no image size"):
        read(save(GOOD, head="<filename>a.jpg</filename>"), None)


@pytest.mark.parametrize(
    ("text", "attributes"),
    [
        pytest.param("", {}, id="none"),
        pytest.param("rotation=30.0", {"rotation": "30.0"}, id="one"),
        pytest.param("a=1, b = two words", {"a": "1", "b": "two words"}, id="two"),
        pytest.param(r"a=x\, y, b\=c=\"q\"", {"a": "x, y", "b=c": '"q"'}, id="escapes"),
        pytest.param('n="5"', {"n": "5"}, id="quoted number"),
        pytest.param("flag, =, ,,", {"": ""}, id="no value"),
        pytest.param("a=b\\", {"a": "b"}, id="escape at the end"),
    ],
)
def test_attributes(text, attributes):
    assert cvat.read_attributes(text) == attributes


VOC = "<annotation><filename>a.jpg</filename><size><width>3</width></size><object><name>x</name></object></annotation>"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        pytest.param(VOC, "Pascal VOC", id="voc"),
        pytest.param("<annotation><object><bndbox/></object></annotation>", "Pascal VOC", id="voc without size"),
        pytest.param("<annotation/>", "LabelMe 3.0 export or of Pascal VOC", id="nothing in it"),
        pytest.param("<annotations><image/></annotations>", "CVAT for images.*many images", id="cvat images"),
        pytest.param("<annotations><track/></annotations>", "CVAT for video", id="cvat video"),
        pytest.param("<svg/>", "an xml file", id="other"),
    ],
)
def test_other_xml_files_are_told_apart(tmp_path, content, kind):
    path = tmp_path / "a.xml"
    path.write_text(content, encoding="utf-8")
    document = load_document(path)
    assert not cvat.recognises(document)
    assert re.search(kind, kind_of_document(document))


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>\n<annotation><filename>&b;</filename></annotation>'
EXTERNAL = '<!DOCTYPE a [\n<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation><filename>&a;</filename></annotation>'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"<annotation>\n<filename>a", "line 2, column .*half-written", id="half-written"),
        pytest.param(b"\n\n<annotation>\n</annotations>", "line 4, column 3: mismatched tag; ", id="wrong end"),
        pytest.param(BOMB.encode(), "line 1, .*entity", id="entity bomb"),
        pytest.param(EXTERNAL.encode(), "line 2, .*entity", id="external entity"),
        pytest.param(b"<annotation>&none;</annotation>", "undefined entity", id="undefined entity"),
        pytest.param(b'<?xml version="1.0" encoding="none"?><annotation/>', "names, none; save it as", id="encoding"),
        pytest.param(b'<?xml version="1.0" encoding="hex"?><annotation/>', "names, hex; save it as", id="no encoding"),
        pytest.param(
            b"<?xml version='1.0' encoding='GB2312'?><a>\xe2\x82\xac</a>", "line 1: .*GB2312; save", id="other"
        ),
        pytest.param(b'<?xml version="1.0" encoding="big5"?><annotation>', "line 1.*half-writ", id="half, in big5"),
        pytest.param(
            b'<?xml version="1.0" encoding="big5"?>' + BOMB.encode(), "line 1, .*entity", id="entity bomb in big5"
        ),
        pytest.param(b"<annotation>\xff</annotation>", "not well-formed", id="not utf-8"),
        pytest.param(b"<a>" * 100_000, "nested deeper", id="nested endlessly"),
    ],
)
def test_broken_xml(tmp_path, content, reason):
    path = tmp_path / "a.xml"
    path.write_bytes(content)
    with pytest.raises(AnnotationError, match=reason) as caught:
        load_document(path)
    assert str(caught.value).startswith(f"{path}: line ")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(tmp_path, encoding):
    path = tmp_path / "a.xml"
    path.write_bytes(f"<annotation><filename>ä.jpg</filename>{thing(name='möhre')}</annotation>".encode(encoding))
    annotation = read(path, image="ä.jpg")
    assert (annotation.warnings, areas(annotation)) == ((), [("möhre", 600)])


LABEL = "\u4eba\u53c2"


@pytest.mark.parametrize("encoding", ["Shift_JIS", "shift_jis", "EUC-JP", "cp932", "UTF-8"])
def test_declared_encodings(tmp_path, encoding):
    text = f'\n<?xml version="1.0" encoding="{encoding}"?>\n<annotation><filename>{LABEL}.jpg</filename>'
    path = tmp_path / "a.xml"
    path.write_bytes(f"{text}{thing(name=LABEL)}</annotation>".encode(encoding))
    annotation = read(path, image=f"{LABEL}.jpg")
    assert (annotation.warnings, areas(annotation)) == ((), [(LABEL, 600)])


def test_a_document_type_alone_is_harmless(tmp_path):
    path = tmp_path / "a.xml"
    text = f'<?xml version="1.0"?>\n<!DOCTYPE annotation SYSTEM "http://x/a.dtd">\n<annotation>{GOOD}</annotation>'
    path.write_text(text, encoding="utf-8")
    assert areas(read(path)) == [("good", 600)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=4), st.booleans())
def test_written_objects_read_back_alike(tmp_path_factory, seeds, bitmaps):
    instances = [instance_of(seed) for seed in seeds]
    kept = [one for one in instances if instance_mask(one, 260, 300).sum() > 300]
    masks = [instance_mask(one, 260, 300) for one in kept]
    if bitmaps:
        kept = [Instance(one.label, (), Bitmap(0, 0, mask), 0.5) for one, mask in zip(kept, masks, strict=True)]
    path = tmp_path_factory.mktemp("written") / "sub" / "a.xml"
    cvat.write(Annotation("sub/a.jpg", 260, 300, tuple(kept)), path, max_polygon_error=0.5)
    again = read(path, (260, 300))
    assert again.warnings == ()
    assert [(one.label, one.score) for one in again.instances] == [("healthy", 0.5)] * len(kept)
    for mask, instance in zip(masks, again.instances, strict=True):
        read_mask = instance_mask(instance, 260, 300)
        assert (mask & read_mask).sum() / (mask | read_mask).sum() >= 0.99


def test_written_files_are_as_cvat_wants_them(tmp_path):
    two = np.zeros((40, 60), dtype=bool)
    two[5:15, 5:15] = two[5:15, 30:50] = True
    square = np.array(SQUARE, dtype=float)
    instances = (
        Instance("healthy", (), Bitmap(10, 20, two), 0.9),
        Instance("damaged & co", (Part(square, (square * 0.5 + [10, 18],)), Part(square + 40.123))),
        Instance("damaged", (Part(square + 1000.0),)),
        Instance("damaged", (Part(square),)),
    )
    path = tmp_path / "Möhren" / "ä.xml"
    cvat.write(Annotation("Möhren/ä.jpg", *SIZE, instances), path)
    root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    assert (root.findtext("filename"), root.findtext("folder")) == ("ä.jpg", "Möhren")
    assert (root.findtext("imagesize/nrows"), root.findtext("imagesize/ncols")) == ("80", "100")
    rows = [[one.findtext(tag) for tag in ("name", "id", "parts/hasparts", "parts/ispartof", "attributes")]
            for one in root.iter("object")]  # fmt: skip
    assert rows == [
        ["healthy", "0", "1", "", "score=0.9"],
        ["healthy", "1", "", "0", "score=0.9"],
        ["damaged & co", "2", "3", "", ""],
        ["damaged & co", "3", "", "2", ""],
        ["damaged", "4", "", "", ""],
    ]
    assert [one.text for one in root.iter("mask")] == ["Möhren/ä_mask_2.png"]
    assert root.findtext("object[4]/polygon/pt/x") == "50.12"
    png = cv2.imdecode(np.fromfile(tmp_path / "Masks" / "Möhren" / "ä_mask_2.png", np.uint8), cv2.IMREAD_UNCHANGED)
    assert png.shape == (*SIZE, 4)
    again = read(path, image="ä.jpg")
    assert again.warnings == ()
    assert [area for _, area in areas(again)] == [300, 450 + 400, 600]
    assert not list(tmp_path.rglob("*.tmp"))


def test_an_image_without_objects_is_written_as_a_negative(tmp_path):
    cvat.write(Annotation("a.jpg", *SIZE), tmp_path / "a.xml")
    annotation = read(tmp_path / "a.xml", None)
    assert (annotation.instances, annotation.warnings, annotation.height) == ((), (), 80)
    assert not (tmp_path / "Masks").exists()


def test_unknown_elements_are_kept(save, tmp_path):
    annotation = read(save(GOOD, "<camera side='left'><lens>ä &amp; b</lens></camera>"))
    cvat.write(annotation, tmp_path / "b.xml")
    camera = ElementTree.parse(tmp_path / "b.xml").find("camera")
    assert (camera.get("side"), camera.findtext("lens")) == ("left", "ä & b")
    assert areas(read(tmp_path / "b.xml")) == [("good", 600)]


def test_texts_that_xml_cannot_hold_are_refused(tmp_path):
    square = np.array(SQUARE, dtype=float)
    instance = Instance("bad\x01name", (Part(square, (square * 0.5 + [10, 18],)),))
    with pytest.raises(AnnotationError, match="'\\\\x01'"):
        cvat.write(Annotation("a.jpg", *SIZE, (instance,)), tmp_path / "a.xml")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def opened() -> Iterator[list[str]]:
    """The paths of files opened in this process while the test runs."""
    paths: list[str] = []
    watching = [True]

    def watch(event: str, arguments: tuple) -> None:
        if watching and event == "open" and isinstance(arguments[0], (str, os.PathLike)):
            paths.append(os.fspath(arguments[0]))

    sys.addaudithook(watch)
    yield paths
    watching.clear()


JUNK = [
    "",
    "\n",
    "-1",
    "nan",
    "1e308",
    "9" * 5000,
    "../../x.png",
    "/etc/passwd",
    "0,1,2",
    "<x/>",
    "ä",
    "1",
    "bounding_box",
]


def damage(rng: random.Random, root: ElementTree.Element) -> None:
    """Replaces the text of an element, drops, doubles or moves one."""
    pairs = [(parent, child) for parent in root.iter() for child in parent]
    parent, child = rng.choice(pairs)
    action = rng.random()
    if action < 0.6:
        rng.choice([one for one in root.iter() if not len(one)]).text = rng.choice(JUNK)
    elif action < 0.75:
        parent.remove(child)
    elif action < 0.9:
        parent.append(child)
    else:
        child.tag = rng.choice(["object", "polygon", "segm", "pt", "mask", "name", "unknown"])


def damaged_file(rng: random.Random, content: bytes) -> bytes:
    if rng.random() < 0.5:
        root = ElementTree.fromstring(content)
        for _ in range(rng.randint(1, 5)):
            damage(rng, root)
        return ElementTree.tostring(root)
    return damaged_bytes(rng, content, 3)


@pytest.mark.parametrize("seed", range(10))
def test_damaged_files_raise_annotation_errors_alone(save, tmp_path, opened, seed):
    rng = random.Random(seed)
    save_mask(tmp_path / "Masks" / "m.png", RING)
    path = save(
        thing(FIRST, number=0, parts=parts(has="1,2")), thing(segm("m.png"), number=1, parts=parts(of="0")),
        thing(SECOND, number=2, type="bounding_box", attributes="rotation=30.0"),
        thing(THIRD, "damaged", 3, deleted="0"),
    )  # fmt: skip
    content = path.read_bytes()
    outcomes = set()
    for _ in range(60):
        path.write_bytes(damaged_file(rng, content))
        opened.clear()
        try:
            document = load_document(path)
            if not cvat.recognises(document):
                outcomes.add("refused")
                continue
            annotation = cvat.read(document, path=path, image="a.jpg", size=SIZE)
        except AnnotationError as error:
            assert str(path) in str(error)
            outcomes.add("refused")
        else:
            assert all(instance_mask(one, *SIZE).shape == SIZE for one in annotation.instances)
            outcomes.add("read")
        assert opened
        assert all(Path(one).is_relative_to(tmp_path) for one in opened)
    assert outcomes == {"refused", "read"}


@pytest.mark.parametrize("kept", [5, "text", {"a": 1}, [5, None], {}], ids=repr)
def test_fields_of_other_tools_are_no_elements(tmp_path, kept):
    cvat.write(Annotation("a.jpg", *SIZE, extra={cvat.EXTRA: kept}), tmp_path / "a.xml")
    assert read(tmp_path / "a.xml").extra == {}


def test_a_mask_far_larger_than_the_image_is_left_out(save, tmp_path):
    (tmp_path / "Masks").mkdir()
    cv2.imwrite(str(tmp_path / "Masks" / "a.png"), np.zeros((4000, 4000), np.uint8))
    annotation = read(save(thing(segm("a.png"))))
    (warning,) = annotation.warnings
    assert "4000x4000 pixels" in warning
