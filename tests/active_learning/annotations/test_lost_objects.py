"""An image that loses all its objects is a fault, not an image without objects; one that loses some is a warning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from active_learning.annotations import (
    FORMATS,
    Annotation,
    Bitmap,
    Instance,
    check_labels,
    read_annotation,
    read_leniently,
)
from active_learning.annotations import cvat_images as cvat_images_codec
from active_learning.annotations.coco import CocoFile
from active_learning.annotations.labels import leave_out_unknown
from active_learning.errors import AnnotationError

SIZE = (80, 100)
SQUARE = [[10, 20], [30, 20], [30, 50], [10, 50]]
POINTS = [{"x": x, "y": y} for x, y in SQUARE]
NAN = float("nan")


def labelme(*shapes: dict[str, Any]) -> str:
    return json.dumps({"shapes": list(shapes), "imagePath": "a.jpg", "imageData": None})


def shape(kind: str = "polygon", points: object = SQUARE, label: object = "healthy") -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind}


def darwin(*entries: dict[str, Any]) -> str:
    return json.dumps({"version": "2.0", "item": {"name": "a.jpg", "path": "/"}, "annotations": list(entries)})


def supervisely(*entries: dict[str, Any]) -> str:
    return json.dumps({"size": {"height": 80, "width": 100}, "tags": [], "objects": list(entries)})


def cvat(*objects: str) -> str:
    return f"<annotation><filename>a.jpg</filename><folder></folder>{''.join(objects)}</annotation>"


def cvat_images(*elements: str) -> str:
    return f'<annotations><image id="0" name="a.jpg" width="100" height="80">{"".join(elements)}</image></annotations>'


XML_SQUARE = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in SQUARE)
XML_GOOD = f"<object><name>healthy</name><deleted>0</deleted><polygon>{XML_SQUARE}</polygon></object>"
IMAGES_GOOD = '<polygon label="healthy" points="10,20;30,20;30,50;10,50"/>'
GOOD = {
    labelme: shape(),
    darwin: {"name": "healthy", "polygon": {"paths": [POINTS]}},
    supervisely: {
        "classTitle": "healthy",
        "geometryType": "polygon",
        "points": {"exterior": SQUARE, "interior": []},
    },
    cvat: XML_GOOD,
    cvat_images: IMAGES_GOOD,
}
SHARES = [[0.1, 0.25], [0.3, 0.25], [0.3, 1], [0.1, 1]]
IN_SHARES = [
    pytest.param(labelme, shape(points=SHARES), id="LabelMe"),
    pytest.param(labelme, shape("rectangle", SHARES[::2]), id="LabelMe: rectangle"),
    pytest.param(darwin, {"name": "healthy", "polygon": {"paths": [[{"x": x, "y": y} for x, y in SHARES]]}},
                 id="Darwin"),
    pytest.param(supervisely, {**GOOD[supervisely], "points": {"exterior": SHARES, "interior": []}}, id="Supervisely"),
    pytest.param(cvat_images, '<box label="healthy" xtl="0.1" ytl="0.2" xbr="0.5" ybr="1.0"/>', id="CVAT for images"),
]  # fmt: skip
LOST = [
    pytest.param(labelme, shape("line", SQUARE[:2]), id="LabelMe: line"),
    pytest.param(labelme, shape("linestrip"), id="LabelMe: linestrip"),
    pytest.param(labelme, shape("point", [[5, 5]]), id="LabelMe: point"),
    pytest.param(labelme, shape("polygon", [[NAN, 1], [2, 3], [4, 9]]), id="LabelMe: NaN"),
    pytest.param(labelme, shape("cuboid", SQUARE * 2), id="X-AnyLabeling: cuboid"),
    pytest.param(labelme, shape("spline"), id="LabelMe: unknown kind"),
    pytest.param(labelme, shape(points=[[500, 500], [600, 500], [600, 600]]), id="LabelMe: outside"),
    pytest.param(labelme, shape("mask", [[1, 1]], "healthy"), id="LabelMe: mask without pixels"),
    pytest.param(labelme, shape(label=None), id="LabelMe: no label"),
    pytest.param(darwin, {"name": "healthy", "keypoint": {"x": 1, "y": 1}}, id="Darwin: keypoint"),
    pytest.param(darwin, {"name": "healthy", "mask": {}, "id": "m"}, id="Darwin: mask without layer"),
    pytest.param(supervisely, {"classTitle": "healthy", "geometryType": "line", "points": {"exterior": SQUARE}},
                 id="Supervisely: line"),
    pytest.param(supervisely, {"classTitle": "healthy", "bitmap": {"origin": [0, 0], "data": "x"}},
                 id="Supervisely: damaged bitmap"),
    pytest.param(cvat, "<object><name>healthy</name><segm><mask>gone.png</mask></segm></object>", id="CVAT: no mask"),
    pytest.param(cvat, f"<object><name/><polygon>{XML_SQUARE}</polygon></object>", id="CVAT: no name"),
    pytest.param(cvat_images, '<polyline label="healthy" points="1,1;9,9"/>', id="CVAT for images: line"),
    pytest.param(cvat_images, '<skeleton label="healthy"><points label="1" points="1,1"/></skeleton>',
                 id="CVAT for images: skeleton"),
    pytest.param(cvat_images, '<mask label="healthy" left="0" top="0" width="2" height="2" rle="9"/>',
                 id="CVAT for images: damaged mask"),
]  # fmt: skip


@pytest.fixture
def save(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / ("a.xml" if text.startswith("<") else "a.json")
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(("document", "lost"), LOST)
def test_all_objects_lost_is_a_fault(save, document, lost):
    path = save(document(lost, lost))
    with pytest.raises(AnnotationError, match=r"no object is left of a\.jpg: correct it, or save the image") as caught:
        read_annotation(path, image="a.jpg", size=SIZE)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(("document", "lost"), LOST)
def test_some_objects_lost_is_a_warning(save, document, lost):
    annotation = read_annotation(save(document(GOOD[document], lost)), image="a.jpg", size=SIZE)
    assert [one.label for one in annotation.instances] == ["healthy"]
    assert len(annotation.lost) == 1
    assert "left out" in annotation.warnings[-1]


@pytest.mark.parametrize(("document", "shares"), IN_SHARES)
def test_objects_in_shares_of_the_images_size_are_named(save, document, shares):
    """They are kept: a file may hold a single object of less than a pixel. Beside one elsewhere they are no shares."""
    annotation = read_annotation(save(document(shares, shares)), image="a.jpg", size=SIZE)
    assert len(annotation.instances) == 2
    assert "first pixel; if their points are shares of width and height, write pixels" in annotation.warnings[-1]
    assert read_annotation(save(document(GOOD[document], shares)), image="a.jpg", size=SIZE).warnings == ()


def test_the_outline_of_the_first_pixel_is_no_share(save):
    pixel = shape("rectangle", [[0, 0], [1, 1]])
    assert read_annotation(save(labelme(pixel)), image="a.jpg", size=SIZE).warnings == ()
    assert read_annotation(save(labelme(shape(points=SHARES))), image="a.jpg", size=(1, 1)).warnings == ()


@pytest.mark.parametrize(
    "document",
    [
        *(pytest.param(one(), id=f"{one.__name__}: saved as empty") for one in GOOD),
        pytest.param(cvat_images('<tag label="healthy"/>'), id="CVAT: a tag of the whole image"),
        pytest.param(darwin({"name": "healthy", "tag": {}}), id="Darwin: a tag of the whole image"),
        pytest.param(cvat(XML_GOOD.replace("<deleted>0", "<deleted>1")), id="CVAT: deleted by the person"),
    ],
)
def test_what_a_person_saved_as_empty_is_an_image_without_objects(save, document):
    annotation = read_annotation(save(document), image="a.jpg", size=SIZE)
    assert (annotation.instances, annotation.lost) == ((), ())


@pytest.mark.parametrize(
    ("shapes", "mode", "fault"),
    [
        pytest.param([shape(label=3)], "error", "label '3' is not in classes", id="a number"),
        pytest.param([shape(), shape(label=3)], "error", "label '3' is not in classes", id="a number beside others"),
        pytest.param([shape(), shape("line", label="x")], "error", "label 'x' is not in classes", id="of a line"),
        pytest.param([shape("line")], "skip", "encloses no area; no object is left", id="a line of the classes"),
        pytest.param([shape("line"), shape(label="x")], "skip", "no object is left", id="a line, and another label"),
        pytest.param([shape(label=3)], "skip", "", id="other labels alone, as the user wishes"),
        pytest.param([shape("line", label="scale")], "skip", "", id="a line of another label, as the user wishes"),
        pytest.param([shape(), shape("line")], "error", "", id="a line beside others"),
        pytest.param([shape(label=1), shape(label=2.0)], "error", "", id="numbers that are classes"),
    ],
)
def test_labels_and_losses_together(save, shapes, mode, fault):
    path = save(labelme(*shapes))
    annotation = read_leniently(path, image="a.jpg", size=SIZE)
    if fault:
        with pytest.raises(AnnotationError, match=fault):
            check_labels(annotation, ["healthy", "1", "2"], mode, path)
    else:
        known = check_labels(annotation, ["healthy", "1", "2"], mode, path).instances
        assert {one.label for one in known} <= {"healthy", "1", "2"}


def test_classes_that_may_be_misspelt(save):
    path = save(labelme(shape(), shape(label="weed")))
    annotation = read_leniently(path, image="a.jpg", size=SIZE)
    assert [one.label for one in leave_out_unknown(annotation, ["weed"], path).instances] == ["weed"]
    with pytest.raises(AnnotationError, match=r"'Healthy'\?\)\n.*'weed'.*no object is left.*--unknown-labels skip"):
        leave_out_unknown(annotation, ["Healthy"], path)


def test_of_many_lost_objects_the_first_are_named(save):
    with pytest.raises(AnnotationError) as caught:
        read_annotation(save(labelme(*[shape("line")] * 9)), image="a.jpg", size=SIZE)
    assert [line.partition("a.json: ")[2][:9] for line in str(caught.value).splitlines()] == [
        "shapes[0]", "shapes[1]", "shapes[2]", "6 more; n",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "image_id"),
    [
        pytest.param({"iscrowd": 1}, 1, id="a crowd"),
        pytest.param({"segmentation": []}, 1, id="a box alone"),
        pytest.param({"category_id": 9}, 1, id="no category"),
        pytest.param({"segmentation": [[1, 1, NAN, 5, 9, 9]]}, 1, id="NaN"),
        pytest.param({}, "a.jpg", id="an image that the file does not have"),
    ],
)
def test_all_objects_of_a_coco_image_lost(entry, image_id):
    good = {"image_id": image_id, "category_id": 1, "segmentation": [[10, 20, 30, 20, 30, 50]]}
    images = [{"id": 1, "file_name": "a.jpg"}]
    content = {"images": images, "categories": [{"id": 1, "name": "healthy"}], "annotations": [{**good, **entry}]}
    annotation = CocoFile(content, Path("c.json")).read("a.jpg", size=SIZE)
    with pytest.raises(AnnotationError, match=r"c\.json: .*no object is left of a\.jpg"):
        leave_out_unknown(annotation, ["healthy"], Path("c.json"))


@pytest.mark.parametrize("size", [(40, 50), (100, 80)], ids=["resized", "turned"])
@pytest.mark.parametrize("tool", ["labelme", "cvat", "supervisely", "cvat_images"])
def test_a_mask_of_an_image_of_another_size_is_lost(tmp_path, tool, size):
    """As of one that was resized since: it is of other pixels."""
    path = tmp_path / ("a.xml" if "cvat" in tool else "a.json")
    ring = np.pad(np.zeros((2, 3), dtype=bool), 4, constant_values=True)
    write = cvat_images_codec.write if tool == "cvat_images" else FORMATS[tool].codec.write
    write(Annotation("a.jpg", *SIZE, (Instance("healthy", (), Bitmap(9, 8, ring)),)), path)
    assert len(read_annotation(path, image="a.jpg", size=SIZE).instances) == 1
    message = f"has height 80, width 100, the image {size[0]} and {size[1]}; export it for this image"
    with pytest.raises(AnnotationError, match=message):
        read_annotation(path, image="a.jpg", size=size)
