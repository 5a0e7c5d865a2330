"""LabelMe files: reading, trouble, writing."""

from __future__ import annotations

import base64
import io
import json
import random
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from active_learning.annotations import Annotation, Bitmap, Instance, Part, labelme, read_annotation
from active_learning.annotations.contours import instance_mask, polygon_area, trace_mask
from active_learning.annotations.png import encode_mask
from active_learning.errors import AnnotationError
from tests.active_learning.annotations.boxes import box_of
from tests.active_learning.annotations.random_input import damaged_bytes, damaged_value, instance_of

SIZE = (80, 100)
SQUARE = [[10, 20], [30, 20], [30, 50], [10, 50]]


def shape(kind: str | None = "polygon", points: object = SQUARE, **fields: object) -> dict[str, object]:
    return {"label": "healthy", "points": points, "shape_type": kind, "group_id": None, "flags": {}, **fields}


def read(path, size=SIZE) -> Annotation:
    return read_annotation(path, image="a.jpg", size=size)


def only_mask(annotation: Annotation) -> np.ndarray:
    assert annotation.warnings == ()
    (instance,) = annotation.instances
    return instance_mask(instance, annotation.height, annotation.width)


BOMB = encode_mask(np.zeros((5000, 5000), dtype=bool))
RING = np.pad(np.zeros((2, 3), dtype=bool), 2, constant_values=True)  # 6x7 with a hole of 2x3
WHOLE = encode_mask(np.pad(RING, ((7, SIZE[0] - 13), (5, SIZE[1] - 12))))


def samples(shared_dir):
    expected = json.loads((shared_dir / "formats" / "labelme" / "expected.json").read_text(encoding="utf-8"))
    for image in expected["images"]:
        path = shared_dir / "formats" / "labelme" / image["annotation"]
        size = (image["height"], image["width"])
        yield image, read_annotation(path, image=image["image"], size=size)


def test_files_of_the_real_tool(shared_dir):
    seen = 0
    for expected, annotation in samples(shared_dir):
        assert annotation.warnings == ()
        assert [one.label for one in annotation.instances] == [one["class"] for one in expected["objects"]]
        for instance, truth in zip(annotation.instances, expected["objects"], strict=True):
            mask = instance_mask(instance, annotation.height, annotation.width)
            regions = trace_mask(mask, 0)
            assert truth["area_range"][0] <= mask.sum() <= truth["area_range"][1]
            assert np.abs(np.subtract(box_of(mask), truth["bbox_xywh"])).max() <= truth["bbox_tol"]
            assert (len(regions), sum(len(one.holes) for one in regions)) == (truth["parts"], truth["holes"])
            assert mask.sum() == pytest.approx(truth["area_px"], rel=0.01)
            seen += 1
    assert seen == 10


def test_photographs_of_the_real_tool(shared_dir):
    paths = sorted((shared_dir / "data" / "nuts").glob("*.json"))
    annotations = [read_annotation(path, image=f"{path.stem}.jpg", size=None) for path in paths]
    assert sum(len(one.instances) for one in annotations) == 165
    assert {instance.label for one in annotations for instance in one.instances} == {"date", "fig", "hazelnut"}
    assert [warning for one in annotations for warning in one.warnings] == []


@pytest.mark.parametrize(
    ("entry", "area", "box"),
    [
        pytest.param(shape(), 600, [10, 20, 20, 30], id="polygon"),
        pytest.param(shape(None), 600, [10, 20, 20, 30], id="shape_type null"),
        pytest.param({"label": "healthy", "points": SQUARE}, 600, [10, 20, 20, 30], id="file before 2019"),
        pytest.param(shape(flags=None), 600, [10, 20, 20, 30], id="flags null"),
        pytest.param(shape(flags=[]), 600, [10, 20, 20, 30], id="flags a list"),
        pytest.param(shape(line_color=None, fill_color=[1, 2]), 600, [10, 20, 20, 30], id="colours"),
        pytest.param(shape("rectangle", [[10, 20], [30, 50]]), 600, [10, 20, 20, 30], id="rectangle"),
        pytest.param(shape("rectangle", [[30, 50], [10, 20]]), 600, [10, 20, 20, 30], id="rectangle backwards"),
        pytest.param(shape("rectangle", [[30, 20], [10, 50]]), 600, [10, 20, 20, 30], id="rectangle other diagonal"),
        pytest.param(shape("rectangle", SQUARE), 600, [10, 20, 20, 30], id="rectangle of four points"),
        pytest.param(
            shape("oriented_rectangle", [[20, 10], [30, 20], [20, 30], [10, 20]]), 200, [10, 10, 19, 20], id="oriented"
        ),
        pytest.param(shape("circle", [[50, 40], [50, 60]]), 1257, [30, 20, 40, 40], id="circle"),
        pytest.param(shape("circle", [[0, 0], [20, 0]]), 314, [0, 0, 20, 20], id="circle over the corner"),
        pytest.param(shape("mask", [[5, 7], [11, 12]], mask=encode_mask(RING)), 36, [5, 7, 7, 6], id="mask"),
        pytest.param(
            shape("mask", [[4.6, 7.4], [10.6, 12.4]], mask=encode_mask(RING)), 36, [5, 7, 7, 6], id="dragged mask"
        ),
        pytest.param(shape("mask", [[-2, -2], [4, 3]], mask=encode_mask(RING)), 14, [0, 0, 5, 4], id="mask over edge"),
        pytest.param(shape("mask", [[11, 12], [5, 7]], mask=encode_mask(RING)), 36, [5, 7, 7, 6], id="corners turned"),
        pytest.param(shape("mask", [[5, 7], [11, 12]], mask=WHOLE), 36, [5, 7, 7, 6], id="mask of the whole image"),
        pytest.param(shape("mask", [[2, 1], [101, 80]], mask=WHOLE), 36, [7, 8, 7, 6], id="that, dragged"),
        pytest.param(
            shape(points=[[-10, -10], [10, -10], [10, 10], [-10, 10]]), 100, [0, 0, 10, 10], id="negative coordinates"
        ),
        pytest.param(
            shape(points=[[90, 70], [150, 70], [150, 99], [90, 99]]), 100, [90, 70, 10, 10], id="beyond the image"
        ),
    ],
)
def test_shapes(save, entry, area, box):
    mask = only_mask(read(save(entry)))
    assert mask.sum() == pytest.approx(area, abs=12 if entry.get("shape_type") == "circle" else 0)
    assert box_of(mask) == box


def test_one_bit_masks_of_older_versions(save):
    stream = io.BytesIO()
    Image.fromarray(RING).save(stream, "PNG")
    text = base64.b64encode(stream.getvalue()).decode()
    assert only_mask(read(save(shape("mask", [[5, 7], [11, 12]], mask=text)))).sum() == 36


FIRST = [[0, 0], [10, 0], [10, 10], [0, 10]]
SECOND = [[50, 50], [60, 50], [60, 60], [50, 60]]


@pytest.mark.parametrize(
    ("entries", "objects"),
    [
        pytest.param([shape(points=FIRST), shape(points=SECOND)], [("healthy", 100)] * 2, id="no group"),
        pytest.param(
            [shape(points=FIRST, group_id=0), shape(points=SECOND, group_id=0)], [("healthy", 200)], id="group 0"
        ),
        pytest.param(
            [shape(points=FIRST, group_id=1), shape(points=SECOND, group_id=1, label="damaged")],
            [("healthy", 100), ("damaged", 100)],
            id="one group, two labels",
        ),
        pytest.param(
            [shape(points=FIRST, group_id=3), shape(points=FIRST, group_id=3)], [("healthy", 100)], id="overlap"
        ),
        pytest.param(
            [shape(points=FIRST, group_id=3), shape("mask", [[50, 50], [56, 55]], mask=encode_mask(RING), group_id=3)],
            [("healthy", 136)],
            id="polygon and mask",
        ),
        pytest.param(
            [shape(points=FIRST, group_id=1), shape(points=SECOND, group_id="1"), shape(points=FIRST, group_id=1.0)],
            [("healthy", 200)],
            id="a group's number as a text",
        ),
        pytest.param(
            [shape(points=FIRST, group_id=one) for one in ("", "", float("nan"), float("nan"))],
            [("healthy", 100)] * 4,
            id="empty groups",
        ),
        pytest.param(
            [shape(points=FIRST, group_id=one) for one in (-1, -1, -1.0, "-1", False, False)],
            [("healthy", 100)] * 6,
            id="no groups, as other programs write them",
        ),
        pytest.param(
            [{"label": "healthy", "points": FIRST}, {"label": "healthy", "points": SECOND}],
            [("healthy", 100)] * 2,
            id="no group_id field",
        ),
    ],
)
def test_objects_are_groups(save, entries, objects):
    annotation = read(save(*entries))
    areas = [(one.label, int(instance_mask(one, *SIZE).sum())) for one in annotation.instances]
    assert areas == objects


@pytest.mark.parametrize("kind", ["rotation", "quadrilateral", "rotated_rectangle", "obb", "Polygon", "freehand"])
def test_closed_outlines_of_other_tools(save, kind):
    assert only_mask(read(save(shape(kind)))).sum() == 600


@pytest.mark.parametrize("kind", ["rotation", "quadrilateral"])
def test_closed_outlines_of_other_tools_have_four_points(save, kind):
    annotation = read(save(GOOD, shape(kind, SQUARE[:3])))
    assert f"a {kind} needs 4 points, not 3" in annotation.warnings[0]


def test_a_label_of_a_number_is_its_text(save):
    labels = [one.label for one in read(save(shape(label=5), shape(label=2.0), shape(label=0))).instances]
    assert labels == ["5", "2", "0"]


GOOD = shape(label="good")


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        pytest.param(shape(points=[[1, 1], [2, 2]]), "3 points", id="two points"),
        pytest.param(shape(points=[]), "no points", id="no points"),
        pytest.param(shape(points=None), "no points", id="points null"),
        pytest.param(shape(points=[[1, 1], [5, 5], [9, 9]]), "no area", id="zero area"),
        pytest.param(shape(points=[[5, 5]] * 4), "no area", id="one place"),
        pytest.param(shape(points=[[1, 1], [float("nan"), 5], [9, 2]]), "not a number", id="NaN"),
        pytest.param(shape(points=[[1, 1], [float("inf"), 5], [9, 2]]), "absurdly large", id="infinity"),
        pytest.param(shape(points=[[1, 1], [10**400, 5], [9, 2]]), "pairs of numbers", id="huge integer"),
        pytest.param(shape(points=[["1", "1"], ["5", "5"], ["9", "2"]]), "pairs of numbers", id="texts"),
        pytest.param(shape(points=[["1" * 50_000, "1"]] * 3000), "pairs of numbers", id="long texts"),
        pytest.param(shape(points=[[1, 1], [5, 70]] * 9000), "to and fro", id="an outline without end"),
        pytest.param(shape(points=[[1, 1], [None, 5], [9, 2]]), "pairs of numbers", id="null coordinate"),
        pytest.param(shape(points=[[1, 1, 1], [5, 5, 1], [9, 2, 1]]), "pairs of numbers", id="three coordinates"),
        pytest.param(shape(points=[[1, 1], [5], [9, 2]]), "pairs of numbers", id="ragged"),
        pytest.param(shape(points=[[200, 200], [210, 200], [210, 210]]), "outside the image", id="outside"),
        pytest.param(shape("rectangle", [[1, 1], [1, 9]]), "no area", id="flat rectangle"),
        pytest.param(shape("rectangle", [[1, 1]]), "2 points", id="rectangle of one point"),
        pytest.param(shape("circle", [[5, 5], [5, 5]]), "no area", id="circle of radius 0"),
        pytest.param(shape("circle", [[5, 5]]), "2 points", id="circle of one point"),
        pytest.param(shape("oriented_rectangle", [[5, 5], [6, 6]]), "4 points", id="oriented of two points"),
        pytest.param(shape("line", [[1, 1], [5, 5]]), "encloses no area", id="line"),
        pytest.param(shape("linestrip", SQUARE), "encloses no area", id="linestrip"),
        pytest.param(shape("point", [[1, 1]]), "encloses no area", id="point"),
        pytest.param(shape("points", SQUARE), "encloses no area", id="points"),
        pytest.param(shape("spline"), "'spline' is unknown", id="unknown type"),
        pytest.param(shape(7), "7 is unknown", id="type a number"),
        pytest.param(shape("mask", [[1, 1], [7, 6]]), "no mask", id="mask missing"),
        pytest.param(
            shape("mask", [[1, 1], [7, 6]], mask=BOMB), "5000x5000 pixels", id="mask far larger than the image"
        ),
        pytest.param(shape("mask", [[1, 1], [7, 6]], mask="AAAA"), "cannot be decoded", id="mask broken"),
        pytest.param(
            shape("mask", [[1, 1], [7, 6]], mask=encode_mask(RING)[:-24]), "cannot be decoded", id="mask cut off"
        ),
        pytest.param(shape("mask", [[500, 1]], mask=encode_mask(RING)), "outside the image", id="mask outside"),
        pytest.param(shape("mask", [[5, 1]], mask=encode_mask(RING & False)), "mask is empty", id="mask empty"),
        pytest.param(shape(label=None), "label must be a text", id="label null"),
        pytest.param(shape(label=""), "label must be a text", id="label empty"),
        pytest.param(shape(group_id=[1]), "group_id", id="group a list"),
        pytest.param("shape", "not an object", id="shape a text"),
        pytest.param(None, "not an object", id="shape null"),
    ],
)
def test_one_bad_object_never_costs_the_file(save, entry, reason):
    path = save(GOOD, entry, GOOD)
    annotation = read(path)
    assert [(one.label, one.origin) for one in annotation.instances] == [("good", "shapes[0]"), ("good", "shapes[2]")]
    (warning,) = annotation.warnings
    label = entry.get("label") if isinstance(entry, dict) else None
    assert warning.startswith(f"{path}: shapes[1]: label {label!r}: ")
    assert reason in warning


def test_lobes_that_cancel_out_are_kept(save):
    mask = only_mask(read(save(shape(points=[[0, 0], [40, 40], [40, 0], [0, 40]]))))
    assert mask.sum() == pytest.approx(800, abs=40)


@pytest.mark.parametrize(
    ("fields", "size", "warning"),
    [
        pytest.param({}, SIZE, None, id="right"),
        pytest.param({"imageHeight": None, "imageWidth": None}, SIZE, None, id="not declared"),
        pytest.param({"imageHeight": 100, "imageWidth": 80}, SIZE, "EXIF rotation", id="transposed"),
        pytest.param({"imageHeight": 50, "imageWidth": "x"}, SIZE, "height 80, width 100", id="another"),
        pytest.param({"imagePath": "..\\sub\\A.JPG"}, SIZE, None, id="name on Windows"),
        pytest.param(
            {"imagePath": "b.jpg"}, SIZE, "imagePath: names 'b.jpg', but the file stands beside", id="another image"
        ),
        pytest.param({"imagePath": 5}, SIZE, None, id="name a number"),
        pytest.param({"imageData": "not read"}, SIZE, None, id="image data"),
        pytest.param({"flags": None, "version": None}, SIZE, None, id="old file"),
        pytest.param({}, None, None, id="size as declared"),
    ],
)
def test_top_fields(save, fields, size, warning):
    annotation = read(save(GOOD, **fields), size)
    assert (annotation.height, annotation.width) == SIZE
    assert len(annotation.instances) == 1
    assert len(annotation.warnings) == (warning is not None)
    assert warning is None or warning in annotation.warnings[0]


def test_an_image_name_is_the_same_in_either_form_of_its_accents(save):
    path = save(GOOD, imagePath=unicodedata.normalize("NFD", "é.jpg"))
    for form in ("NFC", "NFD"):
        image = unicodedata.normalize(form, "é.jpg")
        assert read_annotation(path, image=image, size=SIZE).warnings == ()


def test_no_size_at_all(save):
    with pytest.raises(AnnotationError, match="no image size"):
        read(save(GOOD, imageHeight=None), None)


def test_extra_fields_and_scores_are_kept(save, tmp_path):
    annotation = read(save(shape(score=0.75), camera="left"))
    assert annotation.extra == {"camera": "left"}
    assert annotation.instances[0].score == 0.75
    labelme.write(annotation, tmp_path / "b.json")
    again = read(tmp_path / "b.json")
    assert (again.extra, again.instances[0].score) == ({"camera": "left"}, 0.75)


def as_bitmap(instance: Instance) -> Instance:
    return Instance(instance.label, (), Bitmap(0, 0, instance_mask(instance, 260, 300)), instance.score)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=4), st.booleans())
def test_written_objects_read_back_alike(tmp_path_factory, seeds, bitmaps):
    instances = [instance_of(seed) for seed in seeds]
    instances = [as_bitmap(one) if bitmaps else one for one in instances]
    masks = [mask for one in instances if (mask := instance_mask(one, 260, 300)).sum() > 300]
    kept = tuple(one for one in instances if instance_mask(one, 260, 300).sum() > 300)
    path = tmp_path_factory.mktemp("written") / "a.json"
    labelme.write(Annotation("sub/a.jpg", 260, 300, kept), path, max_polygon_error=0.5)
    again = read_annotation(path, image="a.jpg", size=(260, 300))
    assert again.warnings == ()
    assert [(one.label, one.score) for one in again.instances] == [("healthy", 0.5)] * len(kept)
    for mask, instance in zip(masks, again.instances, strict=True):
        read_mask = instance_mask(instance, 260, 300)
        assert (mask & read_mask).sum() / (mask | read_mask).sum() >= 0.99


def test_written_files_are_as_labelme_wants_them(tmp_path):
    two = np.zeros((40, 60), dtype=bool)
    two[5:15, 5:15] = two[5:15, 30:50] = True
    instances = (
        Instance("healthy", (), Bitmap(10, 20, two), 0.9),
        Instance("damaged", (Part(np.array(SQUARE, dtype=float), (np.array(SQUARE) * 0.5 + [10, 18],)),)),
        Instance("damaged", (Part(np.array(SQUARE) + 0.123456),)),
        Instance("damaged", (Part(np.array(SQUARE) + 1000.0),)),
        Instance("damaged", (), Bitmap(0, 0, np.zeros((3, 3), dtype=bool))),
    )
    labelme.write(Annotation("Möhren/ä.jpg", *SIZE, instances), tmp_path / "ä.json", max_polygon_error=1.0)
    document = json.loads((tmp_path / "ä.json").read_text(encoding="utf-8"))
    assert document["imagePath"] == "ä.jpg"
    assert (document["imageData"], document["imageHeight"], document["imageWidth"]) == (None, *SIZE)
    kinds = [(one["label"], one["shape_type"], one["group_id"], one.get("score")) for one in document["shapes"]]
    assert kinds == [
        ("healthy", "polygon", 1, 0.9),
        ("healthy", "polygon", 1, 0.9),
        ("damaged", "mask", None, None),
        ("damaged", "polygon", None, None),
    ]
    mask = document["shapes"][2]
    assert mask["points"] == [[10, 20], [29, 49]]  # both pixels belong to the mask
    assert mask["mask"]
    assert document["shapes"][3]["points"][0] == [10.12, 20.12]
    assert polygon_area(np.array(document["shapes"][3]["points"])) == pytest.approx(600)


def test_an_image_without_objects_is_written_as_a_negative(tmp_path):
    labelme.write(Annotation("a.jpg", *SIZE), tmp_path / "a.json")
    assert read(tmp_path / "a.json").instances == ()


@pytest.mark.parametrize("seed", range(10))
def test_damaged_files_raise_annotation_errors_alone(save, seed):
    rng = random.Random(seed)
    path = save(
        shape(), shape("rectangle", [[1, 2], [30, 40]]), shape("circle", [[30, 30], [40, 40]], group_id=2),
        shape("mask", [[5, 7], [11, 12]], mask=encode_mask(RING), group_id=2),
    )  # fmt: skip
    content = path.read_bytes()
    outcomes = set()
    for _ in range(60):
        if rng.random() < 0.5:
            document = json.loads(content)
            for _ in range(rng.randint(1, 4)):
                document = damaged_value(rng, document)
            path.write_text(json.dumps(document), encoding="utf-8")
        else:
            path.write_bytes(damaged_bytes(rng, content))
        try:
            annotation = read(path)
        except AnnotationError as error:
            assert str(path) in str(error)
            outcomes.add("refused")
        else:
            assert all(instance_mask(one, *SIZE).shape == SIZE for one in annotation.instances)
            outcomes.add("read")
    assert outcomes == {"refused", "read"}


@pytest.mark.parametrize(
    ("kind", "points", "area"),
    [
        ("Rectangle", [[10, 20], [30, 50]], 600),
        ("rectangle", [[10, 20], [30, 20], [10, 50], [30, 50]], 600),
        ("rectangle", [[30, 50], [10, 20], [30, 20], [10, 50]], 600),
        ("rectangle", [[20, 10], [40, 30], [20, 50], [0, 30]], 800),
    ],
    ids=["in capitals", "corners across", "corners in no order", "turned"],
)
def test_corners_in_any_order_enclose_the_rectangle(save, kind, points, area):
    mask = only_mask(read(save(shape(kind, points))))
    assert abs(int(mask.sum()) - area) <= 60


def test_a_mask_may_be_a_data_url(save):
    mask = f"data:image/png;base64,{encode_mask(RING)}"
    assert only_mask(read(save(shape("mask", [[5, 7], [11, 12]], mask=mask)))).sum() == RING.sum()
