"""V7 Darwin files: reading, trouble, writing."""

from __future__ import annotations

import json
import random
import uuid
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from active_learning.annotations import Annotation, Bitmap, Instance, Part, darwin
from active_learning.annotations.contours import even_odd_mask, instance_mask, trace_mask
from active_learning.annotations.darwin_item import slot_files
from active_learning.annotations.documents import load_document
from active_learning.errors import AnnotationError
from tests.active_learning.annotations.boxes import box_of
from tests.active_learning.annotations.random_input import damaged_bytes, damaged_value, instance_of

SIZE = (80, 100)
SQUARE = [(10, 20), (30, 20), (30, 50), (10, 50)]
HOLE = [(15, 25), (25, 25), (25, 35), (15, 35)]
FAR = [(60, 20), (80, 20), (80, 50), (60, 50)]
BOX = {"x": 10, "y": 20, "w": 20, "h": 30}
SLOT = {"type": "image", "slot_name": "0", "width": 100, "height": 80, "source_files": [{"file_name": "a.jpg"}]}


def dots(points) -> list[dict[str, float]]:
    return [{"x": x, "y": y} for x, y in points]


def entry(name: object = "healthy", **fields: object) -> dict[str, object]:
    return {"id": "u1", "name": name, "slot_names": ["0"], "properties": [], **fields}


def polygon(*paths, **fields: object) -> dict[str, object]:
    return entry(
        polygon={"paths": [dots(path) for path in paths]}, bounding_box={"x": 0, "y": 0, "w": 1, "h": 1}, **fields
    )


def modern(*entries: object, slots: object = (SLOT,), item: object = None, **fields: object) -> dict[str, object]:
    item = (
        {"name": "a.jpg", "path": "/", "slots": slots if isinstance(slots, str) else list(slots)}
        if item is None
        else item
    )
    return {"version": "2.0", "item": item, "annotations": list(entries), **fields}


def legacy(*entries: object, **fields: object) -> dict[str, object]:
    image = {"original_filename": "a.jpg", "filename": "0001.jpg", "width": 100, "height": 80, "path": "/", **fields}
    return {"dataset": "nuts", "image": image, "annotations": list(entries)}


def layer(start: int, count: int, *, identifier: str = "u1", total: int = 8000, value: int = 1) -> dict[str, object]:
    runs = [0, start, value, count, 0, total - start - count]
    content = {"dense_rle": runs, "mask_annotation_ids_mapping": {identifier: 1}, "total_pixels": total}
    return {"id": "l1", "name": "__raster_layer__", "raster_layer": content, "slot_names": ["0"]}


def read(document: object, size: tuple[int, int] | None = SIZE, image: str = "a.jpg") -> Annotation:
    assert darwin.recognises(document)
    return darwin.read(json.loads(json.dumps(document)), path=Path("a.json"), image=image, size=size)


def masks_of(annotation: Annotation) -> list[np.ndarray]:
    return [instance_mask(one, annotation.height, annotation.width) for one in annotation.instances]


def test_files_of_the_real_tool(shared_dir):
    folder, seen = shared_dir / "formats" / "darwin", 0
    for image in json.loads((folder / "expected.json").read_text(encoding="utf-8"))["images"]:
        document = load_document(folder / image["annotation"])
        assert darwin.recognises(document)
        assert darwin.image_name(document) == image["image"]
        size = (image["height"], image["width"])
        annotation = darwin.read(document, path=folder / image["annotation"], image=image["image"], size=None)
        assert (annotation.warnings, annotation.height, annotation.width) == ((), *size)
        assert [one.label for one in annotation.instances] == [one["class"] for one in image["objects"]]
        for mask, truth in zip(masks_of(annotation), image["objects"], strict=True):
            regions = trace_mask(mask, 0)
            assert truth["area_range"][0] <= mask.sum() <= truth["area_range"][1]
            assert mask.sum() == pytest.approx(truth["area_px"], rel=0.01)
            assert np.abs(np.subtract(box_of(mask), truth["bbox_xywh"])).max() <= truth["bbox_tol"]
            assert (len(regions), sum(len(one.holes) for one in regions)) == (truth["parts"], truth["holes"])
            seen += 1
    assert seen == 13


@pytest.mark.parametrize("wrap", [modern, legacy], ids=["2.0", "1.0"])
@pytest.mark.parametrize(
    ("geometry", "area", "box"),
    [
        pytest.param({"polygon": {"paths": [dots(SQUARE)]}}, 600, [10, 20, 20, 30], id="paths"),
        pytest.param({"polygon": {"path": dots(SQUARE)}}, 600, [10, 20, 20, 30], id="path"),
        pytest.param({"polygon": {"paths": [dots(SQUARE)]}, "bounding_box": {"x": 0, "y": 0, "w": 9, "h": 9}}, 600,
                     [10, 20, 20, 30], id="derived box"),
        pytest.param({"polygon": {"paths": [dots(SQUARE), dots(HOLE)]}}, 500, [10, 20, 20, 30], id="hole"),
        pytest.param({"polygon": {"paths": [dots(SQUARE), dots(FAR)]}}, 1200, [10, 20, 70, 30], id="two parts"),
        pytest.param({"polygon": {"path": dots(SQUARE), "additional_paths": [dots(HOLE), dots(FAR)]}}, 1100,
                     [10, 20, 70, 30], id="additional paths"),
        pytest.param({"polygon": {"path": dots(SQUARE), "additional_paths": None}}, 600, [10, 20, 20, 30],
                     id="additional paths null"),
        pytest.param({"complex_polygon": {"path": [dots(SQUARE), dots(HOLE)]}}, 500, [10, 20, 20, 30], id="complex"),
        pytest.param({"complex_polygon": {"path": [dots(SQUARE)], "additional_paths": [dots(HOLE)]}}, 500,
                     [10, 20, 20, 30], id="complex and additional"),
        pytest.param({"polygon": {"paths": [dots(SQUARE), dots([(20, 20), (40, 20), (40, 50), (20, 50)])]}}, 600,
                     [10, 20, 30, 30], id="overlap is a hole"),
        pytest.param({"polygon": None, "bounding_box": BOX}, 600, [10, 20, 20, 30], id="polygon null"),
        pytest.param({"bounding_box": BOX}, 600, [10, 20, 20, 30], id="box"),
        pytest.param({"bounding_box": {"x": 30, "y": 50, "w": -20, "h": -30}}, 600, [10, 20, 20, 30], id="backwards"),
        pytest.param({"bounding_box": {"x": -10, "y": 70, "w": 20, "h": 30}}, 100, [0, 70, 10, 10], id="box over edge"),
        pytest.param({"bounding_box": BOX, "text": {"text": "x"}, "instance_id": {"value": 1}, "attributes": ["a"]},
                     600, [10, 20, 20, 30], id="sub-annotations"),
        pytest.param({"polygon": {"paths": [dots([(-10, -10), (10, -10), (10, 10), (-10, 10)])]}}, 100, [0, 0, 10, 10],
                     id="negative coordinates"),
        pytest.param({"ellipse": {"center": {"x": 50, "y": 40}, "radius": {"x": 20, "y": 10}, "angle": 0}}, 628,
                     [30, 30, 40, 20], id="ellipse"),
        pytest.param({"ellipse": {"center": {"x": 50, "y": 40}, "radius": {"x": 20, "y": 10}}}, 628,
                     [30, 30, 40, 20], id="ellipse without angle"),
        pytest.param({"ellipse": {"center": {"x": 50, "y": 40}, "radius": {"x": 20, "y": 10}, "angle": np.pi / 2}},
                     628, [40, 20, 20, 40], id="ellipse in radians"),
        pytest.param({"ellipse": {"center": {"x": 50, "y": 40}, "radius": {"x": 20, "y": 10}, "angle": -90}}, 628,
                     [40, 20, 20, 40], id="ellipse in degrees"),
    ],
)  # fmt: skip
def test_geometries(wrap, geometry, area, box):
    annotation = read(wrap(entry(**geometry)))
    assert annotation.warnings == ()
    (mask,) = masks_of(annotation)
    assert mask.sum() == pytest.approx(area, abs=8 if "ellipse" in geometry else 0)
    assert box_of(mask) == box


def test_an_ellipse_turns_clockwise():
    ellipse = {"center": {"x": 50, "y": 40}, "radius": {"x": 30, "y": 5}, "angle": 0.7}
    (mask,) = masks_of(read(modern(entry(ellipse=ellipse))))
    assert mask[40 + 15, 50 + 19]
    assert not mask[40 - 15, 50 + 19]


def test_masks_of_a_raster_layer():
    two = entry("damaged", id="u2", mask={})
    annotation = read(modern(entry(mask={}), two, layer(1010, 5), layer(2020, 3, identifier="u2")))
    assert annotation.warnings == ()
    assert [box_of(mask) for mask in masks_of(annotation)] == [[10, 10, 5, 1], [20, 20, 3, 1]]
    assert [one.origin for one in annotation.instances] == ["annotations[0]", "annotations[1]"]


@pytest.mark.parametrize("size", [(40, 50), (100, 80)], ids=["resized", "turned"])
def test_masks_of_a_raster_layer_of_another_size_are_left_out(size):
    annotation = read(modern(entry(mask={}), entry("good", bounding_box=BOX), layer(1010, 5)), size)
    assert [one.label for one in annotation.instances] == ["good"]
    (lost,) = annotation.lost
    assert f"the mask has height 80, width 100, the image {size[0]} and {size[1]}; export it for this" in lost.fault


GOOD = entry("good", bounding_box=BOX)
FRAMES = {"0": {"bounding_box": BOX, "keyframe": True}}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        pytest.param(polygon([(1, 1), (2, 2)]), "path 0: a path needs 3 points, not 2", id="two points"),
        pytest.param(polygon([]), "a path needs 3 points, not 0", id="empty path"),
        pytest.param(polygon(), "no points", id="no paths"),
        pytest.param(entry(polygon={}), "no points", id="polygon empty"),
        pytest.param(entry(polygon={"paths": None, "path": None}), "no points", id="paths null"),
        pytest.param(entry(polygon=[1]), "not an object with paths", id="polygon a list"),
        pytest.param(entry(polygon={"paths": [dots(SQUARE)], "additional_paths": 3}), "additional_paths", id="more"),
        pytest.param(polygon([(1, 1), (5, 5), (9, 9)]), "no area", id="zero area"),
        pytest.param(polygon([(1, 1), (float("nan"), 5), (9, 2)]), "not a number", id="NaN"),
        pytest.param(polygon([(1, 1), (1e300, 5), (9, 2)]), "absurdly large", id="absurd"),
        pytest.param(polygon([("1", "1"), ("5", "5"), ("9", "2")]), "pairs of numbers", id="texts"),
        pytest.param(polygon(SQUARE, [(1, 1), (None, 5), (9, 2)]), "pairs of numbers", id="null in a second path"),
        pytest.param(entry(polygon={"paths": [[[1, 1], [5, 5], [9, 2]]]}), "{x, y}", id="points as lists"),
        pytest.param(entry(polygon={"paths": ["abc", []]}), "{x, y}", id="path a text"),
        pytest.param(entry(polygon={"paths": [[{"x": 1}] * 3]}), "{x, y}", id="no y"),
        pytest.param(polygon([(200, 200), (210, 200), (210, 210)]), "outside the image", id="outside"),
        pytest.param(polygon(SQUARE, SQUARE), "mask is empty", id="path twice"),
        pytest.param(entry(bounding_box={"x": 1, "y": 1, "w": 0, "h": 9}), "no area", id="flat box"),
        pytest.param(entry(bounding_box={"x": 1, "y": 1}), "x, y, w, h", id="box without size"),
        pytest.param(entry(bounding_box=[1, 2, 3, 4]), "x, y, w, h", id="box a list"),
        pytest.param(entry(bounding_box={**BOX, "x": None}), "pairs of numbers", id="box of null"),
        pytest.param(entry(ellipse={"center": {"x": 5, "y": 5}}), "center and radius", id="no radius"),
        pytest.param(entry(ellipse=5), "center and radius", id="ellipse a number"),
        pytest.param(entry(ellipse={"center": {"x": 5, "y": 5}, "radius": {"x": 0, "y": 3}}), "no area", id="flat"),
        pytest.param(
            entry(ellipse={"center": {"x": 5, "y": 5}, "radius": {"x": 4, "y": 3}, "angle": "x"}),
            "pairs of numbers", id="angle a text",
        ),
        pytest.param(entry(mask={}), "no raster layer has one of id 'u1'", id="mask without layer"),
        pytest.param(entry(mask={}, id=["u1"]), "no raster layer", id="id a list"),
        *(
            pytest.param(entry(**{kind: {"x": 1, "y": 1}}), f"a {kind} encloses no area", id=kind)
            for kind in ("tag", "keypoint", "line", "skeleton", "string", "cuboid")
        ),
        pytest.param(entry(skeleton={}, bounding_box=BOX), "a skeleton encloses no area", id="skeleton with box"),
        pytest.param(entry(), "no geometry", id="nothing"),
        pytest.param(entry(hologram={}), "'hologram'", id="unknown geometry"),
        pytest.param(entry(frames=FRAMES, ranges=[[0, 1]]), "frames of a video", id="frames"),
        pytest.param(entry(" ", bounding_box=BOX), "name must be a text", id="name of blanks"),
        pytest.param(entry("", bounding_box=BOX), "name must be a text", id="name empty"),
        pytest.param("text", "not an object", id="text"),
        pytest.param(None, "not an object", id="null"),
    ],
)  # fmt: skip
def test_one_bad_object_never_costs_the_file(bad, reason):
    annotation = read(modern(GOOD, bad, GOOD))
    assert [one.origin for one in annotation.instances] == ["annotations[0]", "annotations[2]"]
    (warning,) = annotation.warnings
    label = bad.get("name") if isinstance(bad, dict) else None
    assert warning.startswith(f"a.json: annotations[1]: label {label!r}: ")
    assert reason in warning
    assert warning.endswith("; the object is left out")


@pytest.mark.parametrize(
    ("masks", "reason"),
    [
        pytest.param([layer(1010, 5, total=7000)], "7000 pixels, not 100x80", id="another size"),
        pytest.param([layer(1010, 0)], "mask is empty", id="empty"),
        pytest.param([{"name": "__raster_layer__", "raster_layer": {}}], "ids_mapping", id="damaged"),
    ],
)
def test_masks_that_cannot_be_decoded(masks, reason):
    annotation = read(modern(GOOD, entry(mask={}), *masks))
    assert len(annotation.instances) == 1
    (warning,) = annotation.warnings
    assert warning.startswith("a.json: annotations[1]: label 'healthy': ")
    assert reason in warning


@pytest.mark.parametrize(
    ("masks", "reason"),
    [
        pytest.param([layer(1010, 5)], "no annotation has the id 'u1'", id="without annotation"),
        pytest.param([entry(id=["u1"], bounding_box=BOX), layer(1010, 5)], "the id 'u1'", id="id a list"),
        pytest.param([layer(1010, 5, value=2)], "no annotation is mapped to [2]", id="without mapping"),
        pytest.param([layer(1010, 5, total=7000)], "7000 pixels, not 100x80", id="another size"),
        pytest.param(
            [entry(mask={}), layer(1010, 5), layer(9, 5, identifier="u9", value=3)], "mapped to [3]", id="beside others"
        ),
    ],
)
def test_masks_that_no_annotation_claims_are_lost(masks, reason):
    annotation = read(modern(*masks))
    (lost,) = annotation.lost
    assert lost.fault.startswith("a.json: raster layer: ") and reason in lost.fault
    assert f"{lost.fault}; the object is left out" in annotation.warnings


def test_a_mask_and_a_layer_of_others_are_both_lost():
    annotation = read(modern(GOOD, entry(mask={}), layer(1010, 5, identifier="u7")))
    assert len(annotation.instances) == 1
    of_layer, of_mask = annotation.warnings
    assert "no annotation has the id 'u7'" in of_layer
    assert of_mask.startswith("a.json: annotations[1]: label 'healthy': ")
    assert "no raster layer" in of_mask


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        pytest.param([(1, 1), (2, 2)], "path 1: a path needs 3 points", id="two points"),
        pytest.param([(1, 1), (5, 5), (9, 9)], "path 1: has no area", id="no area"),
        pytest.param([(200, 1), (250, 5), (209, 9)], "path 1: lies outside the image", id="outside"),
    ],
)
def test_one_empty_path_does_not_cost_the_object(path, reason):
    annotation = read(modern(polygon(SQUARE, path, HOLE)))
    assert [mask.sum() for mask in masks_of(annotation)] == [500]
    (warning,) = annotation.warnings
    assert reason in warning
    assert warning.endswith("the path is left out")


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(modern(entry(frames=FRAMES), slots=[{**SLOT, "type": "video"}]), id="2.0"),
        pytest.param(modern(slots=[{**SLOT, "type": "video"}]), id="2.0 without annotations"),
        pytest.param(modern(entry(frames=FRAMES), entry(ranges=[[0, 1]])), id="frames alone"),
        pytest.param(legacy(entry(frames=FRAMES), frame_urls=["x"], fps=5.0), id="1.0"),
    ],
)
def test_videos_are_said_to_be_so(document):
    with pytest.raises(AnnotationError, match=r"a\.json: is a video of V7 Darwin"):
        read(document)


def test_names_of_slots_that_are_nested_without_end():
    deep = json.loads("[" * 900 + "]" * 900)
    slots = [{**SLOT, "slot_name": deep}, {**SLOT, "slot_name": "1"}]
    annotation = read(modern({**polygon(SQUARE), "slot_names": [json.loads("[" * 900 + "]" * 900)]}, slots=slots))
    assert len(annotation.instances) == 1


@pytest.mark.parametrize("entries", [None, {}, "x"])
def test_annotations_must_be_a_list(entries):
    with pytest.raises(AnnotationError, match="annotations: must be a list"):
        read({**modern(), "annotations": entries})


@pytest.mark.parametrize(
    ("document", "size", "warning"),
    [
        pytest.param(modern(GOOD), SIZE, None, id="right"),
        pytest.param(modern(GOOD), None, None, id="size as declared"),
        pytest.param(legacy(GOOD), None, None, id="1.0, size as declared"),
        pytest.param(modern(GOOD, item={"name": "a.jpg", "path": "/"}), SIZE, None, id="no slots"),
        pytest.param(modern(GOOD, item={}), SIZE, None, id="item empty"),
        pytest.param(modern(GOOD, item=[1]), SIZE, None, id="item a list"),
        pytest.param(modern(GOOD, slots="x"), SIZE, None, id="slots a text"),
        pytest.param(modern(GOOD, slots=[{**SLOT, "width": 80, "height": 100}]), SIZE, "EXIF", id="transposed"),
        pytest.param(modern(GOOD, slots=[{**SLOT, "width": 7}]), SIZE, "slots[0].width 7", id="another size"),
        pytest.param(legacy(GOOD, width="x"), SIZE, "image.width 'x'", id="1.0, another size"),
        pytest.param(modern(GOOD, item={"name": "A", "path": "/", "slots": [SLOT]}), SIZE, None, id="renamed in V7"),
        pytest.param(modern(GOOD, item={"name": "a"}), SIZE, None, id="name without suffix"),
        pytest.param(modern(GOOD, item={"name": "b.jpg"}), SIZE, "names 'b.jpg'", id="another image"),
        pytest.param(legacy(GOOD, original_filename="A.JPG"), SIZE, None, id="capitals"),
        pytest.param(legacy(GOOD, original_filename="b.jpg"), SIZE, "names 'b.jpg'", id="1.0, another image"),
    ],
)
def test_the_image(document, size, warning):
    annotation = read(document, size)
    assert (annotation.height, annotation.width) == SIZE
    assert len(annotation.instances) == 1
    assert len(annotation.warnings) == (warning is not None)
    assert warning is None or warning in annotation.warnings[0]


def test_no_size_at_all():
    with pytest.raises(AnnotationError, match=r"slots\[0\].height, item.slots\[0\].width: no image size"):
        read(modern(GOOD, slots=[{**SLOT, "height": None}]), None)


def test_blanks_around_a_class_name_are_none_of_it():
    assert [one.label for one in read(modern(entry(" healthy\t", bounding_box=BOX))).instances] == ["healthy"]


def slots_of(*names: str) -> list[dict[str, object]]:
    sources = enumerate(names)
    return [{**SLOT, "slot_name": str(number), "source_files": [{"file_name": name}]} for number, name in sources]


@pytest.mark.parametrize(
    ("image", "sources", "origin"),
    [
        pytest.param("b.jpg", ["a.jpg", "b.jpg"], "annotations[1]", id="by the source file"),
        pytest.param("item/1/a.jpg", ["a.jpg", "a.jpg"], "annotations[1]", id="one name, by the folder of the slot"),
        pytest.param("item/1/x.jpg", ["a.jpg", "b.jpg"], "annotations[1]", id="renamed, by the folder of the slot"),
        pytest.param("item.jpg", ["a.jpg", "b.jpg"], "annotations[0]", id="the item's name is the first slot's"),
    ],
)
def test_the_slot_of_an_image(image, sources, origin):
    item = {"name": "item", "path": "/", "slots": slots_of(*sources)}
    annotation = read(modern(GOOD, {**GOOD, "slot_names": [1]}, item=item), None, image)
    assert [one.origin for one in annotation.instances] == [origin]


@pytest.mark.parametrize("sources", [["b.jpg", "c.jpg"], ["a.jpg", "a.jpg"]])
def test_an_image_of_no_certain_slot_is_a_fault(sources):
    item = {"name": "item", "path": "/", "slots": slots_of(*sources)}
    with pytest.raises(AnnotationError, match=r"item\.slots: none or several have the image 'a\.jpg'"):
        read(modern(GOOD, item=item), None)


@pytest.mark.parametrize("names", [["7"], ["1", "7"], [None], "7"])
def test_an_object_in_a_slot_that_is_not_there_is_lost(names):
    item = {"name": "item", "path": "/", "slots": slots_of("a.jpg", "b.jpg")}
    annotation = read(modern({**GOOD, "slot_names": names}, item=item))
    assert (annotation.instances, len(annotation.lost)) == ((), 1)
    assert "the image in slot '0'" in annotation.lost[0].fault


def test_of_several_slots_the_image_s_is_read():
    other = {**SLOT, "slot_name": "1", "width": 9, "source_files": [{"file_name": "b.jpg"}]}
    document = modern(GOOD, {**GOOD, "slot_names": ["1"]}, slots=[other, SLOT])
    annotation = read(document, None)
    assert (annotation.width, [one.origin for one in annotation.instances]) == (100, ["annotations[0]"])
    assert "is in slot ['1'], the image in slot '0'" in annotation.warnings[0]


@pytest.mark.parametrize(
    ("item", "name"),
    [
        pytest.param({"name": "a.jpg", "path": "/"}, "a.jpg", id="root"),
        pytest.param({"name": "a.jpg", "path": "/Möhren/field 1"}, "Möhren/field 1/a.jpg", id="folder"),
        pytest.param({"name": "a", "path": "/", "slots": [SLOT]}, "a.jpg", id="suffix of the source file"),
        pytest.param({"name": "a.png", "path": "/", "slots": [SLOT]}, "a.jpg", id="another suffix"),
        pytest.param({"name": "b.JPG", "slots": [SLOT]}, "b.JPG", id="capitals"),
        pytest.param({"path": "/x", "slots": [SLOT]}, "x/a.jpg", id="source file alone"),
        pytest.param({"name": 5, "path": None, "slots": [None, {"source_files": [3, {}]}]}, "", id="none"),
    ],
)
def test_image_names(item, name):
    assert darwin.image_name(modern(item=item)) == name


@pytest.mark.parametrize(
    ("document", "is_darwin"),
    [
        pytest.param(modern(), True, id="2.0"),
        pytest.param(legacy(), True, id="1.0"),
        pytest.param({"images": [], "annotations": [], "categories": []}, False, id="COCO"),
        pytest.param({"image": "a.jpg", "annotations": []}, False, id="createML"),
        pytest.param({"item": {}}, False, id="item alone"),
        pytest.param({"shapes": []}, False, id="LabelMe"),
        pytest.param([], False, id="list"),
        pytest.param(None, False, id="null"),
    ],
)
def test_recognises(document, is_darwin):
    assert darwin.recognises(document) == is_darwin


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=4), st.booleans())
def test_written_objects_read_back_alike(tmp_path_factory, seeds, bitmaps):
    instances = [instance_of(seed, f"class {seed % 3}") for seed in seeds]
    kept = [(one, mask) for one in instances if (mask := instance_mask(one, 260, 300)).sum() > 300]
    if bitmaps:
        kept = [(Instance(one.label, (), Bitmap(0, 0, mask), one.score), mask) for one, mask in kept]
    path = tmp_path_factory.mktemp("written") / "a.json"
    darwin.write(Annotation("sub/a.jpg", 260, 300, tuple(one for one, _ in kept)), path, max_polygon_error=0.5)
    again = darwin.read(load_document(path), path=path, image="sub/a.jpg", size=(260, 300))
    assert again.warnings == ()
    assert [(one.label, one.score) for one in again.instances] == [(one.label, 0.5) for one, _ in kept]
    for (_, mask), got in zip(kept, masks_of(again), strict=True):
        assert (mask & got).sum() / (mask | got).sum() >= 0.99


def test_written_files_are_as_v7_wants_them(tmp_path):
    overlapping = (Part(np.array(SQUARE, float)), Part(np.array(SQUARE, float) + 5))
    ring = Part(np.array(SQUARE, float), (np.array(HOLE, float),))
    instances = (
        Instance("healthy", overlapping, score=0.87654321),
        Instance("damaged", (ring,)),
        Instance("damaged", (Part(np.array(SQUARE) + 0.123456),)),
        Instance("damaged", (Part(np.array(SQUARE) + 1000.0),)),
        Instance("damaged", (), Bitmap(0, 0, np.zeros((3, 3), dtype=bool))),
    )
    darwin.write(Annotation("Möhren/field 1/ä.jpg", *SIZE, instances, extra={"properties": [1]}), tmp_path / "ä.json")
    document = load_document(tmp_path / "ä.json")
    item, entries = document["item"], document["annotations"]
    assert (document["version"], document["properties"]) == ("2.0", [1])
    assert (item["name"], item["path"]) == ("ä.jpg", "/Möhren/field 1")
    (slot,) = item["slots"]
    assert (slot["slot_name"], slot["type"], slot["height"], slot["width"]) == ("0", "image", *SIZE)
    assert darwin.image_name(document) == "Möhren/field 1/ä.jpg"
    assert [one["name"] for one in entries] == ["healthy", "damaged", "damaged"]
    assert [len(one["polygon"]["paths"]) for one in entries] == [1, 2, 1]  # overlapping parts are united
    assert [one.get("inference") for one in entries] == [{"confidence": 0.876543}, None, None]
    assert len({uuid.UUID(one["id"]) for one in entries}) == 3
    assert all(one["slot_names"] == ["0"] for one in entries)
    assert entries[1]["bounding_box"] == {"x": 10, "y": 20, "w": 20, "h": 30}
    assert entries[2]["polygon"]["paths"][0][0] == {"x": 10.12, "y": 20.12}


def test_paths_written_for_an_object_never_overlap(tmp_path):
    for seed in range(20):
        darwin.write(Annotation("a.jpg", 260, 300, (instance_of(seed),)), tmp_path / "a.json", max_polygon_error=2)
        for one in load_document(tmp_path / "a.json")["annotations"]:
            paths = [np.array([[p["x"], p["y"]] for p in path]) for path in one["polygon"]["paths"]]
            fine = [even_odd_mask([path * 4], 1040, 1200) for path in paths]
            for first, second in ((a, b) for i, a in enumerate(fine) for b in fine[:i]):
                shared = (first & second).sum()
                assert shared in (0, first.sum(), second.sum()), "apart, or one within the other"


def test_an_image_without_objects_is_written_as_a_negative(tmp_path):
    darwin.write(Annotation("a.jpg", *SIZE), tmp_path / "a.json")
    assert read(load_document(tmp_path / "a.json")).instances == ()


def mutate(rng: random.Random, content: bytes) -> bytes:
    if rng.random() < 0.5:
        document = json.loads(content)
        for _ in range(rng.randint(1, 4)):
            document = damaged_value(rng, document)
        return json.dumps(document).encode()
    return damaged_bytes(rng, content)


ELLIPSE = entry(ellipse={"center": {"x": 50, "y": 40}, "radius": {"x": 20, "y": 10}, "angle": 0.2})
WHOLE = [
    modern(polygon(SQUARE, HOLE, FAR), GOOD, ELLIPSE, entry(mask={}), layer(1010, 50), entry(tag={})),
    legacy(entry(complex_polygon={"path": [dots(SQUARE), dots(HOLE)]}), GOOD, entry(polygon={"path": dots(SQUARE)})),
]


@pytest.mark.parametrize("size", [SIZE, None], ids=["size known", "size declared"])
@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_raise_annotation_errors_alone(tmp_path, seed, size):
    rng, path = random.Random(seed), tmp_path / "a.json"
    outcomes = set()
    for _ in range(100):
        path.write_bytes(mutate(rng, json.dumps(rng.choice(WHOLE)).encode()))
        try:
            document = load_document(path)
            if not darwin.recognises(document):
                outcomes.add("not recognised")
                continue
            darwin.image_name(document)
            annotation = darwin.read(document, path=path, image="a.jpg", size=size)
        except AnnotationError as error:
            assert str(path) in str(error)
            outcomes.add("refused")
        else:
            assert all(mask.shape == (annotation.height, annotation.width) for mask in masks_of(annotation))
            outcomes.add("read")
    assert outcomes == {"not recognised", "refused", "read"}


def test_a_slot_without_a_file_name_is_passed_over():
    item = {
        "name": "x",
        "slots": [{"source_files": [{"file_name": "/"}]}, {"source_files": [{"file_name": "a/b.png"}]}],
    }
    assert slot_files({"item": item}) == ("x/b.png",)
