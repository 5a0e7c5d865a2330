"""COCO json files: reading, trouble, writing."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as run_lengths

from active_learning.annotations import Annotation, Bitmap, Instance, Part
from active_learning.annotations.coco import CocoFile, CocoWriter, coco_image, region_fields
from active_learning.annotations.contours import instance_mask
from active_learning.annotations.documents import is_coco
from active_learning.annotations.labels import refuse_loss_of_all
from active_learning.errors import AnnotationError

HEIGHT, WIDTH = 30, 40
SQUARE = [2, 3, 12, 3, 12, 13, 2, 13]
RING = np.pad(np.zeros((2, 3), dtype=bool), 2, constant_values=True)
PATH = Path("data/train.json")


def whole(mask: np.ndarray, top: int = 7, left: int = 5) -> np.ndarray:
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    image[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    return image


def packed(mask: np.ndarray) -> dict[str, Any]:
    runs = run_lengths.encode(np.asfortranarray(mask))
    return {"size": [HEIGHT, WIDTH], "counts": runs["counts"].decode()}


def listed(mask: np.ndarray) -> dict[str, Any]:
    flat = np.concatenate([[0], mask.T.ravel()])
    changes = np.flatnonzero(np.diff(flat))
    return {"size": [HEIGHT, WIDTH], "counts": np.diff([0, *changes, mask.size]).tolist()}


def entry(segmentation: Any, **fields: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 7, "category_id": 3, "iscrowd": 0, "segmentation": segmentation, **fields}


def document(*entries: Any, **fields: Any) -> dict[str, Any]:
    image = {"id": 7, "file_name": "sub/a.png", "height": HEIGHT, "width": WIDTH}
    categories = [{"id": 3, "name": "healthy"}, {"id": 90, "name": "ä b"}]
    return {"images": [image], "annotations": list(entries), "categories": categories, **fields}


def read(*entries: Any, size: tuple[int, int] | None = None, **fields: Any) -> Annotation:
    file = CocoFile(document(*entries, **fields), PATH)
    assert file.faults == file.warnings == []
    return file.read("sub/a.png", size=size)


def areas(annotation: Annotation) -> list[tuple[str, int]]:
    return [(one.label, int(instance_mask(one, HEIGHT, WIDTH).sum())) for one in annotation.instances]


@pytest.mark.parametrize(
    ("segmentation", "area"),
    [
        pytest.param([SQUARE], 100, id="polygon"),
        pytest.param(SQUARE, 100, id="polygon that is not in a list"),
        pytest.param([SQUARE, [20, 3, 22, 3, 22, 5, 20, 5]], 104, id="two parts"),
        pytest.param([SQUARE, SQUARE], 100, id="parts are a union"),
        pytest.param([[-5, -5, 3, -5, 3, 3, -5, 3]], 9, id="clipped"),
        pytest.param(packed(whole(RING)), 36, id="run lengths as text"),
        pytest.param(listed(whole(RING)), 36, id="run lengths as numbers"),
        pytest.param([packed(whole(RING))], 36, id="run lengths in a list"),
        pytest.param([packed(whole(RING)), [20, 3, 22, 3, 22, 5, 20, 5]], 40, id="run lengths and a polygon"),
    ],
)
def test_regions_are_read(segmentation, area):
    annotation = read(entry(segmentation))
    assert (annotation.warnings, areas(annotation)) == ((), [("healthy", area)])


def test_a_mask_is_where_it_was():
    (instance,) = read(entry(packed(whole(RING)))).instances
    assert (instance_mask(instance, HEIGHT, WIDTH) == whole(RING)).all()


def test_fields_of_an_object():
    first, second = read(entry([SQUARE], score=0.75), entry([SQUARE], category_id=90, iscrowd=False)).instances
    assert (first.label, first.score, first.origin) == ("healthy", 0.75, "annotations[0]")
    assert (second.label, second.score) == ("ä b", None)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        pytest.param(entry(packed(whole(RING)), iscrowd=1), "crowd", id="crowd"),
        pytest.param(entry([SQUARE], category_id=4), "category_id 4 is not in categories", id="category"),
        pytest.param(entry([SQUARE], category_id=[4]), "is not in categories", id="category of no kind"),
        pytest.param(entry([]), "has no segmentation", id="empty"),
        pytest.param(entry([], bbox=[1, 2, 3, 4]), "has a box, but no segmentation", id="box"),
        pytest.param(entry(None), "has no segmentation", id="none"),
        pytest.param(entry([[1, 2, 3, 4]]), "needs 3 points, not 2", id="two points"),
        pytest.param(entry([[1, 2, 3, 4, 5]]), "pairs", id="odd"),
        pytest.param(entry([["a"] * 6]), "pairs", id="texts"),
        pytest.param(entry([[float("nan")] * 6]), "not a number", id="nan"),
        pytest.param(entry([[50, 50, 60, 50, 60, 60]]), "outside", id="outside"),
        pytest.param(entry({"counts": [1200]}), "no height and width", id="no size"),
        pytest.param(entry({"size": [10**6, 10**6], "counts": [1]}), "of this world", id="huge"),
        pytest.param(entry({"size": [30, 40], "counts": [1200]}), "mask is empty", id="nothing set"),
        pytest.param(entry({"size": [30, 40], "counts": [7, 5]}), "fill 12 of 1200", id="cut off"),
        pytest.param(entry({"size": [30, 40], "counts": [7.5, "x"]}), "no run lengths", id="no numbers"),
        pytest.param(entry({"size": [30, 40], "counts": [7.5, 1192.5]}), "no run lengths", id="halves"),
        pytest.param(entry({"size": [30, 40], "counts": [0, float("nan"), 1200]}), "no run lengths", id="nan runs"),
        pytest.param(entry({"size": [30, 40], "counts": [0, True, 1199]}), "no run lengths", id="true"),
        pytest.param(entry({"size": [30, 40], "counts": "b'0:[b0'"}), "counts.decode", id="bytes as text"),
        pytest.param(entry({"size": [30, 40], "counts": "\x01"}), "cannot be decoded", id="no text of runs"),
    ],
)
def test_one_bad_object_never_costs_the_image(bad, reason):
    annotation = read(bad, entry([SQUARE]))
    assert areas(annotation) == [("healthy", 100)]
    (warning,) = annotation.warnings
    assert warning.startswith("data/train.json: image 'sub/a.png': annotations[0]: label ")
    assert reason in warning


def test_one_bad_polygon_never_costs_the_object():
    annotation = read(entry([[1, 2], SQUARE]))
    assert areas(annotation) == [("healthy", 100)]
    assert "segmentation[0]: a polygon needs 3 points, not 1; the polygon is left out" in annotation.warnings[0]


@pytest.mark.parametrize("size", [[30.0, 40.0], ["30", "40"]], ids=["decimals", "texts"])
def test_a_size_may_be_written_as_decimals_or_texts(size):
    assert areas(read(entry({"size": size, "counts": [0, 10, 1190]}))) == [("healthy", 10)]


@pytest.mark.parametrize("size", [[30.5, 40], [True, 1200], [0, 0], [-30, -40], ["a", 40], [30], "30", {}, None])
def test_a_size_that_is_none_is_named(size):
    annotation = read(entry({"size": size, "counts": [0, 10, 1190]}), entry([SQUARE]))
    assert areas(annotation) == [("healthy", 100)]
    assert f"size {size!r} is no height and width" in annotation.warnings[0]


def test_run_lengths_may_be_written_as_decimals():
    assert areas(read(entry({"size": [30, 40], "counts": [0.0, 10.0, 1190.0]}))) == [("healthy", 10)]


@pytest.mark.parametrize("size", [[40, 30], [15, 80], [60, 80], [30, 41]], ids=["turned", "as many", "larger", "near"])
def test_a_mask_of_another_size_is_left_out(size):
    """Its pixels are those of another image, and would be a wrong mask here."""
    runs = {"size": size, "counts": [0, size[0] * size[1]]}
    annotation = read(entry(runs), entry([SQUARE]))
    assert areas(annotation) == [("healthy", 100)]
    assert f"the mask has height {size[0]}, width {size[1]}, the image 30 and 40; export it" in annotation.warnings[0]
    assert ("EXIF rotation" in annotation.warnings[0]) == (size == [40, 30])
    with pytest.raises(AnnotationError, match="the mask has height"):
        refuse_loss_of_all(read(entry(runs)), Path("a.json"))


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        pytest.param({"id": 7}, "has no file_name", id="no name"),
        pytest.param({"file_name": "a.png"}, "not an image with id", id="no id"),
        pytest.param("a.png", "not an image with id", id="no object"),
        pytest.param({"id": 7, "file_name": "/"}, "is no name of a file", id="no name of a file"),
        pytest.param({"id": 7, "file_name": "a\0.png"}, "is no name of a file", id="null byte"),
    ],
)
def test_images_that_cannot_be_read(image, reason):
    good = {"id": 8, "file_name": "b\\ä.png", "height": HEIGHT, "width": WIDTH}
    file = CocoFile(document(entry([SQUARE], image_id=8), images=[image, good]), PATH)
    assert file.images == ("b/ä.png",)
    assert reason in file.faults[0]
    assert areas(file.read("b/ä.png", size=None)) == [("healthy", 100)]


TWO = [{"id": 7, "file_name": name, "height": HEIGHT, "width": WIDTH} for name in ("a.png", "b.png")]
THIRD = {"id": 8, "file_name": "c.png", "height": HEIGHT, "width": WIDTH}


@pytest.mark.parametrize(
    "ids", [pytest.param((7, 7), id="numbers"), pytest.param((7, "7"), id="a text"), pytest.param((7, 7.0), id="float")]
)
def test_images_of_one_id_are_faults_and_the_others_are_read(ids):
    images = [{**image, "id": one} for image, one in zip(TWO, ids, strict=True)]
    content = document(entry([SQUARE]), entry([SQUARE], image_id=8), images=[*images, THIRD])
    file = CocoFile(content, PATH)
    assert file.images == ("c.png",)
    first, second = file.faults
    assert f"images[0]: id {ids[0]!r} is of several images; give each its own" in first
    assert f"images[1]: id {ids[1]!r} is of several images; give each its own" in second
    assert (file.warnings, areas(file.read("c.png", size=None))) == ([], [("healthy", 100)])


@pytest.mark.parametrize("name", ["a.png", "s/a.png", "s\\a.png"])
def test_images_of_one_name_are_faults_and_the_others_are_read(name):
    images = [{**TWO[0], "file_name": name.replace("\\", "/")}, {**TWO[1], "id": 9, "file_name": name}]
    content = document(entry([SQUARE]), entry([SQUARE], image_id=9), images=[*images, THIRD])
    file = CocoFile(content, PATH)
    assert (file.images, file.warnings) == (("c.png",), [])
    assert all("is of several images; put their objects under one id" in fault for fault in file.faults)
    assert len(file.faults) == 2


def test_an_image_or_object_that_is_described_twice_alike_is_one():
    objects = [entry([SQUARE], id=number) for number in (1, 2, 1)]
    file = CocoFile(document(*objects, images=[TWO[0], THIRD, dict(TWO[0])]), PATH)
    assert (file.images, file.faults, file.warnings) == (("a.png", "c.png"), [], [])
    assert areas(file.read("a.png", size=None)) == [("healthy", 100)] * 2


@pytest.mark.parametrize(
    ("again", "second"),
    [
        pytest.param({"width": 7}, {"id": 2}, id="of another size"),
        pytest.param({}, {"id": 1, "iscrowd": 1}, id="with other objects under the same ids"),
    ],
)
def test_images_of_two_data_sets_with_one_id_are_not_one(again, second):
    objects = [entry([SQUARE], id=1), {**entry([SQUARE], id=1), **second}]
    file = CocoFile(document(*objects, images=[TWO[0], {**TWO[0], **again}]), PATH)
    assert file.images == ()
    assert all("is of several images" in fault for fault in file.faults) and len(file.faults) == 2


def test_categories_of_one_id_are_a_fault_of_the_file():
    with pytest.raises(AnnotationError, match=r"categories\[1\]: id 3 is of 'healthy' and 'b'; give each its own"):
        CocoFile(document(categories=[{"id": 3, "name": "healthy"}, {"id": "3", "name": "b"}]), PATH)
    same = {"id": 3, "name": "healthy"}
    content = document(entry([SQUARE]), categories=[same, same, {"name": "none"}])
    assert areas(CocoFile(content, PATH).read("sub/a.png", size=None)) == [("healthy", 100)]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"image_id": "7", "category_id": "3"}, id="texts"),
        pytest.param({"image_id": 7.0, "category_id": 3.0}, id="floats"),
    ],
)
def test_ids_are_numbers_however_they_are_written(fields):
    assert areas(read(entry([SQUARE], **fields))) == [("healthy", 100)]


def test_masks_that_cvat_marks_as_crowds_are_objects():
    attributes = {"occluded": False}
    assert areas(read(entry(packed(whole(RING)), iscrowd=1, attributes=attributes))) == [("healthy", int(RING.sum()))]


def test_objects_with_holes_that_v7_marks_as_crowds_are_objects():
    image = {"id": 7, "file_name": "sub/a.png", "height": HEIGHT, "width": WIDTH, "darwin_url": "https://v7/a.png"}
    ring, square = entry(listed(whole(RING)), iscrowd=1, extra={}), entry([SQUARE], iscrowd=0, extra={}, id=2)
    annotation = read(ring, square, images=[image])
    assert (annotation.warnings, areas(annotation)) == ((), [("healthy", int(RING.sum())), ("healthy", 100)])


def test_names_of_categories_may_be_numbers():
    annotation = CocoFile(document(entry([SQUARE]), categories=[{"id": 3, "name": 5}]), PATH)
    assert [one.label for one in annotation.read("sub/a.png", size=None).instances] == ["5"]


def test_entries_of_no_image_are_told():
    file = CocoFile(document(entry([SQUARE], image_id=99), "x", entry([SQUARE])), PATH)
    assert ["image_id 99" in file.warnings[0], "annotations[1]" in file.warnings[1]] == [True, True]
    assert areas(file.read("sub/a.png", size=None)) == [("healthy", 100)]


def test_the_real_size_counts():
    annotation = read(entry([SQUARE]), size=(WIDTH, HEIGHT))
    assert (annotation.height, annotation.width) == (WIDTH, HEIGHT)
    assert "EXIF" in annotation.warnings[0]


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_what_must_be_lists(key):
    with pytest.raises(AnnotationError, match=f"train.json: {key}: must be a list"):
        CocoFile(document(**{key: {}}), PATH)


@pytest.mark.parametrize(
    ("content", "is_one"),
    [
        pytest.param(document(), True, id="coco"),
        pytest.param({"images": [], "categories": []}, True, id="no annotations"),
        pytest.param({"images": []}, False, id="images alone"),
        pytest.param([], False, id="results"),
    ],
)
def test_files_are_told_apart(content, is_one):
    assert is_coco(content) is is_one


def test_written_ids_sizes_and_scores():
    writer = CocoWriter(["healthy", "ä b"])
    square = Part(np.array(SQUARE, float).reshape(4, 2))
    writer.add(Annotation("a.png", HEIGHT, WIDTH, (Instance("ä b", (square,), None, 0.1234567),)))
    writer.add(Annotation("sub/ä.png", HEIGHT, WIDTH))
    ring = coco_image(Annotation("c.png", HEIGHT, WIDTH, (Instance("healthy", (), Bitmap(5, 7, RING)),)))
    writer.add_image(ring)
    content = json.loads(writer.text())
    assert [(one["id"], one["file_name"]) for one in content["images"]] == [
        (1, "a.png"), (2, "sub/ä.png"), (3, "c.png"),
    ]  # fmt: skip
    first, second = content["annotations"]
    assert (first["id"], first["image_id"], first["category_id"], first["score"]) == (1, 1, 2, 0.123457)
    assert (second["id"], second["image_id"], second["category_id"]) == (2, 3, 1)
    assert second["segmentation"] == packed(whole(RING))
    assert "score" not in second
    assert ring.bitmaps == 1


def box(x: float, y: float, width: float, height: float) -> np.ndarray:
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])


@pytest.mark.parametrize(
    ("instance", "area", "bbox", "polygons"),
    [
        pytest.param(Instance("a", (Part(box(1.25, 2, 4, 3)),)), 12, [1.25, 2, 4, 3], 1, id="polygon"),
        pytest.param(
            Instance("a", (Part(box(1, 2, 4, 3)), Part(box(11, 2, 4, 3)))), 24, [1, 2, 14, 3], 2, id="two parts"
        ),
        pytest.param(
            Instance("a", (Part(box(1, 2, 4, 3)), Part(box(3, 2, 4, 3)))), 18, [1, 2, 6, 3], 2, id="overlapping parts"
        ),
        pytest.param(Instance("a", (Part(box(1, 2, 4, 3)),) * 3), 12, [1, 2, 4, 3], 3, id="a part three times"),
        pytest.param(
            Instance("a", (Part(box(0, 0, 10, 10), (box(2, 2, 3, 3),)),)), 91, [0, 0, 10, 10], None, id="hole"
        ),
        pytest.param(
            Instance("a", (), Bitmap(38, 28, np.ones((2, 2), dtype=bool))), 4, [38, 28, 2, 2], None, id="last pixels"
        ),
        pytest.param(
            Instance("a", (), Bitmap(0, 0, np.ones((30, 40), dtype=bool))), 1200, [0, 0, 40, 30], None, id="all pixels"
        ),
        pytest.param(
            Instance("a", (Part(np.array([[0.0, 0], [10, 10], [10, 0], [0, 10]])),)), 50, [0, 0, 10, 10], 1, id="lobes"
        ),
        pytest.param(
            Instance("a", (Part(np.array([[0.0, 0], [10, 10], [10, 0], [0, 9.9]])),)),
            50,
            [0, 0, 10, 10],
            1,
            id="unlike",
        ),
    ],
)
def test_regions(instance, area, bbox, polygons):
    region = region_fields(instance, 30, 40)
    assert region["area"] == pytest.approx(area, abs=0.5 if polygons and area == 50 else 1e-6)
    assert region["bbox"] == bbox
    if polygons is not None:
        assert len(region["segmentation"]) == polygons
        return
    mask = run_lengths.decode(region["segmentation"])
    assert (mask == instance_mask(instance, 30, 40)).all()


def broken(content: Any, chance: random.Random) -> Any:
    """The content with one value, somewhere, replaced or removed."""
    content = copy.deepcopy(content)
    here, values = content, [None, -1, 10**30, float("nan"), "", "\ud800", [], {}, [[]], True, [1, 2]]
    while True:
        key = chance.choice(list(here) if isinstance(here, dict) else range(len(here)))
        inner = here[key]
        if isinstance(inner, (dict, list)) and inner and chance.random() < 0.85:
            here = inner
            continue
        if chance.random() < 0.3:
            del here[key]
        else:
            here[key] = chance.choice(values)
        return content


@settings(max_examples=300)
@given(seed=st.integers(0, 2**32))
def test_damaged_files_raise_annotation_errors_alone(seed):
    good = document(entry([SQUARE]), entry(packed(whole(RING))), entry(listed(whole(RING)), iscrowd=1))
    content = broken(good, random.Random(seed))
    try:
        file = CocoFile(content, PATH) if is_coco(content) else None
        for name in file.images if file else ():
            file.read(name, size=(HEIGHT, WIDTH))
    except AnnotationError as error:
        assert "train.json" in str(error)


@pytest.mark.parametrize(("stored", "asked"), [("1.0", 1), ("-1", -1), ("7", 7.0), (" 7", None)], ids=str)
def test_ids_as_texts_are_numbers(stored, asked):
    fields = {"images": [{"id": stored, "file_name": "sub/a.png", "height": HEIGHT, "width": WIDTH}]}
    file = CocoFile(document(entry([SQUARE], image_id=asked), **fields), PATH)
    assert bool(file.warnings) == (asked is None)


@pytest.mark.parametrize("crowd", [0, 0.0, False, "0", "0.0", "false", "False", "", None], ids=repr)
def test_what_is_no_crowd_is_an_object(crowd):
    assert len(read(entry([SQUARE], iscrowd=crowd)).instances) == 1
    for other in (1, True, "1", "true"):
        with pytest.raises(AnnotationError, match="is a crowd"):
            refuse_loss_of_all(
                CocoFile(document(entry([SQUARE], iscrowd=other)), PATH).read("sub/a.png", size=None), PATH
            )


def test_other_programs_find_the_fields_that_they_take_for_granted():
    writer = CocoWriter(["healthy"])
    assert sorted(json.loads(writer.text())) == ["annotations", "categories", "images"]
    content = json.loads(writer.text(for_others=True))
    assert content["info"] and content["categories"] == [{"id": 1, "name": "healthy", "supercategory": "healthy"}]
