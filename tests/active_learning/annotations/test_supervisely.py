"""Supervisely files: reading, trouble, writing."""

from __future__ import annotations

import base64
import io
import json
import math
import random
import struct
import tracemalloc
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from active_learning.annotations import Annotation, Bitmap, Instance, Part, supervisely
from active_learning.annotations.contours import instance_mask, trace_mask
from active_learning.annotations.documents import load_document
from active_learning.annotations.supervisely_meta import check_meta, read_meta
from active_learning.errors import AnnotationError
from tests.active_learning.annotations.boxes import box_of
from tests.active_learning.annotations.random_input import damaged_bytes, damaged_value, instance_of

SIZE = (80, 100)
SQUARE = [[10, 20], [30, 20], [30, 50], [10, 50]]
FIRST, SECOND = [[0, 0], [10, 0], [10, 10], [0, 10]], [[50, 50], [60, 50], [60, 60], [50, 60]]
RING = np.pad(np.zeros((2, 3), dtype=bool), 2, constant_values=True)  # 6x7 with a hole of 2x3
HALF = 0.5


def png(image: Image.Image, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


def palette(mask: np.ndarray) -> bytes:
    """The form that the SDK writes."""
    image = Image.fromarray(mask.astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 255, 255, 255])
    return png(image, transparency=0, bits=1)


def alpha(mask: np.ndarray, colour: int = 255) -> bytes:
    """The form that the labelling tool writes."""
    picture = np.full((*mask.shape, 4), colour, np.uint8)
    picture[..., 3] = mask * 255
    return png(Image.fromarray(picture))


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def packed(content: bytes) -> str:
    return text(zlib.compress(content))


def entry(kind: object = "polygon", **fields: object) -> dict[str, object]:
    return {"classTitle": "healthy", "tags": [], "geometryType": kind, "shape": kind, **fields}


def polygon(exterior: object = SQUARE, *interior: object, **fields: object) -> dict[str, object]:
    return entry(points={"exterior": exterior, "interior": list(interior)}, **fields)


def rectangle(*corners: object, **fields: object) -> dict[str, object]:
    return entry("rectangle", points={"exterior": list(corners), "interior": []}, **fields)


def bitmap(data: object = packed(palette(RING)), origin: object = (5, 7), **fields: object) -> dict[str, object]:
    return entry(
        "bitmap", bitmap={"origin": list(origin) if isinstance(origin, tuple) else origin, "data": data}, **fields
    )


def document(*objects: object, **fields: object) -> dict[str, object]:
    size = {"height": SIZE[0], "width": SIZE[1]}
    return {"description": "", "tags": [], "size": size, "objects": list(objects), "customBigData": {}, **fields}


def read(content: object, size=SIZE, path=Path("a.jpg.json")) -> Annotation:
    assert supervisely.recognises(content)
    return supervisely.read(content, path=path, image="a.jpg", size=size)


def read_file(path: Path, size=SIZE) -> Annotation:
    content = load_document(path)
    if not supervisely.recognises(content):
        raise AnnotationError(f"{path}: is not of Supervisely")
    return read(content, size, path)


def mask_of(instance: Instance) -> np.ndarray:
    return instance_mask(instance, *SIZE)


def test_files_of_the_real_tool(shared_dir):
    folder = shared_dir / "formats" / "supervisely"
    seen = 0
    for image in json.loads((folder / "expected.json").read_text(encoding="utf-8"))["images"]:
        size = (image["height"], image["width"])
        annotation = read_file(folder / image["annotation"], size)
        assert annotation.warnings == ()
        assert [one.label for one in annotation.instances] == [one["class"] for one in image["objects"]]
        for instance, truth in zip(annotation.instances, image["objects"], strict=True):
            mask = instance_mask(instance, *size)
            regions = trace_mask(mask, 0)
            assert truth["area_range"][0] <= mask.sum() <= truth["area_range"][1]
            assert np.abs(np.subtract(box_of(mask), truth["bbox_xywh"])).max() <= truth["bbox_tol"]
            assert (len(regions), sum(len(one.holes) for one in regions)) == (truth["parts"], truth["holes"])
            assert mask.sum() == pytest.approx(truth["area_px"], rel=0.01)
            seen += 1
    assert seen == 9


def test_the_meta_of_the_real_tool(shared_dir):
    meta = read_meta(shared_dir / "formats" / "supervisely" / "meta.json")
    assert meta.shapes["headrot"] == "bitmap"
    assert meta.has_scores
    check_meta(meta, ["damaged", "headrot"])


@pytest.mark.parametrize(
    ("one", "area", "box"),
    [
        pytest.param(polygon(), 600, [10, 20, 20, 30], id="polygon"),
        pytest.param(polygon([[1, 1], [90, 1], [90, 70.5], [1, 70.5]]), 89 * 69, [1, 1, 89, 69], id="floats"),
        pytest.param(polygon(SQUARE, [[15, 25], [20, 25], [20, 35], [15, 35]]), 550, [10, 20, 20, 30], id="hole"),
        pytest.param(polygon(SQUARE, [[90, 60], [200, 60], [200, 90]]), 600, [10, 20, 20, 30], id="hole elsewhere"),
        pytest.param(entry(points={"exterior": SQUARE}), 600, [10, 20, 20, 30], id="interior missing"),
        pytest.param(entry(points={"exterior": SQUARE, "interior": None}), 600, [10, 20, 20, 30], id="interior null"),
        pytest.param(
            polygon([[-10, -10], [10, -10], [10, 10], [-10, 10]]), 100, [0, 0, 10, 10], id="negative coordinates"
        ),
        pytest.param(polygon([[90, 70], [150, 70], [150, 99], [90, 99]]), 100, [90, 70, 10, 10], id="beyond the image"),
        pytest.param(rectangle([12, 22], [51, 57]), 40 * 36, [12, 22, 40, 36], id="rectangle"),
        pytest.param(rectangle([51, 22], [12, 57]), 40 * 36, [12, 22, 40, 36], id="rectangle other diagonal"),
        pytest.param(rectangle([7, 7], [7, 7]), 1, [7, 7, 1, 1], id="rectangle of a pixel"),
        pytest.param(rectangle([12.0, 22.0], [51, 57]), 40 * 36, [12, 22, 40, 36], id="whole numbers as floats"),
        pytest.param(rectangle([12.25, 22], [52, 58]), 40 * 36, [12, 22, 40, 36], id="rectangle of floats"),
        pytest.param(rectangle([0, 0], [99, 79]), 8000, [0, 0, 100, 80], id="rectangle of the image"),
        pytest.param(
            entry("oriented_bbox", points=[[20, 30], [39, 39]], angle=0), 200, [20, 30, 20, 10], id="oriented upright"
        ),
        pytest.param(
            entry("oriented_bbox", points=[[20, 30], [39, 39]], angle=math.pi / 2), 200, [25, 25, 10, 20], id="turned"
        ),
        pytest.param(
            entry("oriented_bbox", points={"exterior": [[20.5, 30.5], [40.5, 50.5]]}, angle=math.pi), 400,
            [20, 30, 20, 20], id="oriented floats",
        ),
        pytest.param(
            entry("multipolygon", parts=[{"exterior": SQUARE, "interior": []}, {"exterior": SECOND}]),
            700, [10, 20, 50, 40], id="multipolygon",
        ),
        pytest.param(bitmap(), 36, [5, 7, 7, 6], id="bitmap of the SDK"),
        pytest.param(bitmap(packed(alpha(RING))), 36, [5, 7, 7, 6], id="bitmap of the tool"),
        pytest.param(bitmap(packed(alpha(RING, 0))), 36, [5, 7, 7, 6], id="black with alpha"),
        pytest.param(bitmap(packed(png(Image.fromarray(RING)))), 36, [5, 7, 7, 6], id="1 bit"),
        pytest.param(bitmap(packed(png(Image.fromarray(RING * np.uint8(9))))), 36, [5, 7, 7, 6], id="grey"),
        pytest.param(bitmap(text(palette(RING))), 36, [5, 7, 7, 6], id="plain PNG"),
        pytest.param(bitmap(text(alpha(RING))), 36, [5, 7, 7, 6], id="plain PNG with alpha"),
        pytest.param(bitmap(origin=(-2, -2)), 14, [0, 0, 5, 4], id="bitmap over the edge"),
        pytest.param(bitmap(origin=(4.6, 7.4)), 36, [5, 7, 7, 6], id="fractional origin"),
        pytest.param(bitmap(geometryType="alpha_mask", shape="alpha_mask"), 36, [5, 7, 7, 6], id="alpha mask"),
        pytest.param(
            entry("alpha_mask", alpha_mask={"origin": [5, 7], "data": packed(alpha(RING))}),
            36, [5, 7, 7, 6], id="alpha mask under its own name",
        ),
        pytest.param(bitmap(geometryType=None, shape=None), 36, [5, 7, 7, 6], id="bitmap without type"),
        pytest.param(polygon(geometryType="any", shape=None, bitmap=None), 600, [10, 20, 20, 30], id="old polygon"),
        pytest.param(polygon(geometryType=None), 600, [10, 20, 20, 30], id="shape alone"),
    ],
)  # fmt: skip
def test_geometries(one, area, box):
    annotation = read(document(one))
    assert annotation.warnings == ()
    (instance,) = annotation.instances
    mask = mask_of(instance)
    assert mask.sum() == area
    assert box_of(mask) == box


def test_a_box_turns_clockwise():
    box = entry("oriented_bbox", points=[[20, 30], [59, 39]], angle=math.radians(30))
    (instance,) = read(document(box)).instances
    rows, columns = np.nonzero(mask_of(instance))
    assert np.polyfit(columns, rows, 1)[0] > 0.4  # rows grow downwards: the right end goes down


def test_one_fraction_makes_a_file_one_of_corner_coordinates():
    whole, fractional = polygon(), polygon([[50.5, 20], [60, 20], [60, 30]])
    (indices,) = read(document(whole)).instances
    assert indices.parts[0].exterior.tolist() == (np.array(SQUARE) + HALF).tolist()
    corners = read(document(whole, fractional)).instances[0]
    assert corners.parts[0].exterior.tolist() == SQUARE
    slanted = entry("oriented_bbox", points=[[1.5, 2.5], [9.5, 8.5]], angle=0.1)
    assert read(document(whole, slanted)).instances[0].parts[0].exterior.tolist() == (np.array(SQUARE) + HALF).tolist()


def grouped(value: object) -> list[dict[str, object]]:
    return [{"name": "other"}, {"name": "@label-group-id", "value": value}]


@pytest.mark.parametrize(
    ("entries", "objects"),
    [
        pytest.param([polygon(FIRST), polygon(SECOND)], [("healthy", 100)] * 2, id="none"),
        pytest.param([polygon(FIRST, instance="k"), polygon(SECOND, instance="k")], [("healthy", 200)], id="instance"),
        pytest.param([polygon(FIRST, instance=0), polygon(SECOND, instance=0)], [("healthy", 200)], id="instance 0"),
        pytest.param([polygon(FIRST, instance=""), polygon(SECOND, instance="")], [("healthy", 100)] * 2, id="empty"),
        pytest.param(
            [polygon(FIRST, instance="k"), polygon(SECOND, instance="k", classTitle="damaged")],
            [("healthy", 100), ("damaged", 100)],
            id="one instance, two classes",
        ),
        pytest.param(
            [polygon(FIRST, tags=grouped("g")), bitmap(tags=grouped("g")), polygon(SECOND, tags=grouped("h"))],
            [("healthy", 100 + 36 - 12), ("healthy", 100)],
            id="tag, polygon and bitmap",
        ),
        pytest.param([polygon(FIRST, instance="k"), polygon(FIRST, instance="k")], [("healthy", 100)], id="overlap"),
        pytest.param([polygon(FIRST, tags=["g"]), polygon(SECOND, tags=None)], [("healthy", 100)] * 2, id="old tags"),
    ],
)
def test_parts_of_one_object(entries, objects):
    annotation = read(document(*entries))
    assert annotation.warnings == ()
    assert [(one.label, mask_of(one).sum()) for one in annotation.instances] == objects


@cache
def bomb() -> str:
    return text(zlib.compress(palette(RING) + bytes(200_000_000), level=1))


def huge(width: int, height: int) -> str:
    """A PNG that declares a size, with the right checksum."""
    content = bytearray(palette(RING))
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return packed(bytes(content))


CUT = palette(RING)[:-12]


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        pytest.param(polygon([[1, 1], [5, 5]]), "needs 3 points", id="two points"),
        pytest.param(polygon([[1, 1], [5, 5], [9, 9]]), "has no area", id="zero area"),
        pytest.param(polygon([]), "has no points", id="no points"),
        pytest.param(entry(), "the points must have exterior", id="points missing"),
        pytest.param(entry(points=SQUARE), "the points must have exterior", id="points a list"),
        pytest.param(polygon([[1, 1], [5, float("nan")], [9, 3]]), "not a number", id="NaN"),
        pytest.param(polygon([[1, 1], [5, float("inf")], [9, 3]]), "not a number", id="infinity"),
        pytest.param(polygon([["1", 1], [5, 1], [9, 3]]), "not [x, y] pairs", id="text"),
        pytest.param(polygon([[1, 1, 1], [5, 1, 1], [9, 3, 1]]), "not [x, y] pairs", id="three numbers"),
        pytest.param(polygon([[1e300, 1], [5, 1], [9, 3]]), "absurdly large", id="far away"),
        pytest.param(polygon([[200, 1], [300, 1], [300, 9]]), "outside the image", id="outside"),
        pytest.param(rectangle([1, 1]), "needs 2 points", id="rectangle of a point"),
        pytest.param(rectangle([100, 1], [120, 9]), "outside the image", id="rectangle outside"),
        pytest.param(entry("oriented_bbox", points=[[1, 1], [9, 9]]), "angle", id="angle missing"),
        pytest.param(entry("oriented_bbox", points=[[1, 1], [9, 9]], angle=float("nan")), "angle", id="angle NaN"),
        pytest.param(entry("multipolygon", parts=[]), "has no parts", id="no parts"),
        pytest.param(entry("multipolygon", parts=[3]), "parts[0]", id="parts of numbers"),
        pytest.param(polygon(geometryType="line"), "'line' encloses no area", id="line"),
        pytest.param(entry("point", points={"exterior": [[1, 1]]}), "'point' encloses no area", id="point"),
        pytest.param(entry("cuboid", points=[], faces=[]), "'cuboid' encloses no area", id="cuboid"),
        pytest.param(entry("graph", nodes={}), "'graph' encloses no area", id="graph"),
        pytest.param(entry("mask_3d"), "'mask_3d' is unknown", id="another type"),
        pytest.param(polygon(geometryType=7), "7 is unknown", id="type a number"),
        pytest.param(rectangle([1, 1], [9, 9], geometryType=None, shape=None), "no geometryType", id="no type"),
        pytest.param(entry("bitmap"), "has no mask", id="bitmap missing"),
        pytest.param(bitmap(""), "has no mask", id="data empty"),
        pytest.param(bitmap(5), "has no mask", id="data a number"),
        pytest.param(bitmap(origin=None), "not [x, y] pairs", id="origin missing"),
        pytest.param(bitmap("abc"), "cannot be decoded: no base64", id="no base64"),
        pytest.param(bitmap("Möhre"), "cannot be decoded", id="no ASCII"),
        pytest.param(bitmap("Zm9vYmFy"), "cannot be decoded: neither", id="other bytes"),
        pytest.param(bitmap(packed(CUT)), "the PNG is cut off", id="PNG cut off"),
        pytest.param(bitmap(text(CUT)), "the PNG is cut off", id="plain PNG cut off"),
        pytest.param(bitmap(text(zlib.compress(palette(RING))[:-9])), "compressed PNG is cut off", id="zlib cut off"),
        pytest.param(bitmap(packed(b"no png")), "no PNG file", id="compressed text"),
        pytest.param(bitmap(bomb()), "when decompressed", id="zlib bomb"),
        pytest.param(bitmap(huge(60_000, 60_000)), "60000x60000", id="huge PNG"),
        pytest.param(bitmap(packed(palette(RING & False))), "the mask is empty", id="mask empty"),
        pytest.param(bitmap(origin=(500, 1)), "outside the image", id="mask outside"),
        pytest.param(polygon(classTitle=None), "classTitle must be a text", id="label null"),
        pytest.param(polygon(classTitle=""), "classTitle must be a text", id="label empty"),
        pytest.param(polygon(instance=[1]), "instance must be", id="instance a list"),
        pytest.param("object", "not an object", id="object a text"),
        pytest.param(None, "not an object", id="object null"),
    ],
)
def test_one_bad_object_never_costs_the_file(one, reason):
    good = polygon(classTitle="good")
    annotation = read(document(good, one, good))
    assert [(one.label, one.origin) for one in annotation.instances] == [("good", "objects[0]"), ("good", "objects[2]")]
    (warning,) = annotation.warnings
    label = one.get("classTitle") if isinstance(one, dict) else None
    assert warning.startswith(f"a.jpg.json: objects[1]: label {label!r}: ")
    assert reason in warning


@pytest.mark.parametrize("corners", [([10, 20], [40, 45]), ([40, 45], [10, 20]), ([40, 20], [10, 45])])
def test_whole_corners_of_a_rectangle_are_pixels_in_any_file(corners):
    annotation = read(document(polygon([[1, 1], [9.5, 1], [9.5, 9]]), rectangle(*corners)))
    assert box_of(mask_of(annotation.instances[1])) == [10, 20, 31, 26]


def test_closed_outlines_of_other_kinds_are_polygons():
    annotation = read(
        document(polygon(geometryType="quadrilateral"), polygon(classTitle=5, geometryType="rotated_box"))
    )
    assert [(one.label, mask_of(one).sum()) for one in annotation.instances] == [("healthy", 600), ("5", 600)]


@pytest.mark.parametrize(
    ("one", "reason", "area"),
    [
        pytest.param(polygon(SQUARE, [[1, 2], [3, 4]]), "points.interior[0]: a polygon needs 3", 600, id="hole"),
        pytest.param(entry(points={"exterior": SQUARE, "interior": 5}), "points.interior: is 5", 600, id="holes"),
        pytest.param(
            entry("multipolygon", parts=[{"exterior": SQUARE}, {"exterior": [[300, 300], [400, 300], [400, 400]]}]),
            "parts[1]: lies outside the image; the part is left out",
            600,
            id="part",
        ),
        pytest.param(
            entry("multipolygon", parts=[{"exterior": SQUARE, "interior": [[]]}]),
            "parts[0].interior[0]: has no points; the hole is filled",
            600,
            id="hole of a part",
        ),
    ],
)
def test_one_bad_hole_or_part_never_costs_the_object(one, reason, area):
    annotation = read(document(one))
    assert [mask_of(instance).sum() for instance in annotation.instances] == [area]
    (warning,) = annotation.warnings
    assert warning.startswith(f"a.jpg.json: objects[0]: label 'healthy': {reason}")


@pytest.mark.parametrize(
    ("content", "size", "warning"),
    [
        pytest.param(document(polygon()), SIZE, None, id="right"),
        pytest.param(document(polygon(), size=None), SIZE, None, id="no size"),
        pytest.param(document(polygon(), size={"height": 100, "width": 80}), SIZE, "EXIF rotation", id="transposed"),
        pytest.param(document(polygon(), size={"height": "x"}), SIZE, "height 80, width 100", id="another size"),
        pytest.param(document(polygon()), None, None, id="size as declared"),
        pytest.param({"annotation": document(polygon())}, SIZE, None, id="the API's"),
        pytest.param({"annotation": document(polygon()), "imageName": "a.jpg"}, SIZE, None, id="the API's, named"),
        pytest.param(
            {"annotation": document(polygon()), "imageName": "b.jpg"}, SIZE, "names 'b.jpg'", id="of another image"
        ),
    ],
)
def test_top_fields(content, size, warning):
    annotation = read(content, size)
    assert (annotation.height, annotation.width) == SIZE
    assert [mask_of(one).sum() for one in annotation.instances] == [600]
    assert len(annotation.warnings) == (warning is not None)
    assert warning is None or warning in annotation.warnings[0]


@pytest.mark.parametrize(
    ("content", "size", "reason"),
    [
        pytest.param(document(size={"height": 0, "width": 5}), None, "no image size", id="size zero"),
        pytest.param(document(size={"height": 10**9, "width": 10**9}), None, "size.height", id="size absurd"),
        pytest.param(document() | {"objects": {}}, SIZE, "objects: must be a list", id="objects no list"),
        pytest.param(document(framesCount=3, frames=[]), SIZE, "video", id="video"),
    ],
)
def test_files_that_cannot_be_read(content, size, reason):
    with pytest.raises(AnnotationError, match=reason) as caught:
        read(content, size)
    assert str(caught.value).startswith("a.jpg.json: ")


@pytest.mark.parametrize(
    ("content", "recognised", "name"),
    [
        pytest.param(document(), True, "", id="file"),
        pytest.param({"annotation": document(), "imageName": "ä.jpg", "imageId": 5}, True, "ä.jpg", id="API"),
        pytest.param({"objects": [polygon()]}, True, "", id="without size"),
        pytest.param({"classes": [], "tags": []}, False, None, id="meta.json"),
        pytest.param({"images": [], "annotations": []}, False, None, id="COCO"),
        pytest.param({"shapes": [], "imagePath": "a.jpg"}, False, None, id="LabelMe"),
        pytest.param({"annotation": None}, False, None, id="wraps nothing"),
        pytest.param([document()], False, None, id="list"),
        pytest.param(None, False, None, id="null"),
    ],
)
def test_recognition(content, recognised, name):
    assert supervisely.recognises(content) is recognised
    assert name is None or supervisely.image_name(content) == name


def test_types_left_to_the_classes_are_those_of_the_project(tmp_path):
    path = tmp_path / "meta.json"
    path.write_text(json.dumps({"classes": [{"title": "healthy", "shape": "rectangle"}], "tags": []}), encoding="utf-8")
    one = rectangle([10, 10], [19, 29], geometryType=None, shape=None)
    annotation = read(document(one), path=tmp_path / "ds" / "ann" / "a.jpg.json")
    assert [mask_of(instance).sum() for instance in annotation.instances] == [200]
    path.write_text("[]", encoding="utf-8")
    (warning,) = read(document(one), path=tmp_path / "ds" / "ann" / "a.jpg.json").warnings
    assert "classes cannot be read" in warning


def test_scores_and_other_fields_are_kept(tmp_path):
    tags = [{"name": "confidence", "value": 0.75}]
    annotation = read(document(bitmap(tags=tags), description="scene", camera="left"))
    assert annotation.extra == {"description": "scene", "camera": "left"}
    supervisely.write(annotation, tmp_path / "a.jpg.json")
    again = read_file(tmp_path / "a.jpg.json")
    assert again.extra == annotation.extra
    assert [one.score for one in again.instances] == [0.75]
    supervisely.write(annotation.without_scores(), tmp_path / "a.jpg.json", automatic=False)
    (written,) = json.loads((tmp_path / "a.jpg.json").read_text(encoding="utf-8"))["objects"]
    assert (written["tags"], written["nnCreated"], written["nnUpdated"]) == ([], False, False)


def polygons_or_bitmap(seed: int, label: str) -> Instance:
    """As `instance_of`; in one of two cases a bitmap that begins left of the image."""
    instance = instance_of(seed, label)
    if random.Random(seed).random() < 0.5:
        return instance
    return Instance(label, (), Bitmap(-20, 0, np.pad(instance_mask(instance, 260, 300), ((0, 0), (20, 9)))), 0.5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**9), st.sampled_from(["healthy", "Möhre"])), min_size=1, max_size=4))
def test_written_objects_read_back_exactly(tmp_path_factory, seeds):
    instances = [polygons_or_bitmap(seed, label) for seed, label in seeds]
    kept = tuple(one for one in instances if instance_mask(one, 260, 300).any())
    path = tmp_path_factory.mktemp("written") / "a.jpg.json"
    supervisely.write(Annotation("sub/a.jpg", 260, 300, kept), path, max_polygon_error=0.5)
    again = read_file(path, (260, 300))
    assert again.warnings == ()
    assert [(one.label, one.score) for one in again.instances] == [(one.label, 0.5) for one in kept]
    for before, after in zip(kept, again.instances, strict=True):
        assert (instance_mask(before, 260, 300) == instance_mask(after, 260, 300)).all()


def test_written_files_are_as_supervisely_wants_them(tmp_path):
    instances = (
        Instance("healthy", (), Bitmap(10, 20, RING), 0.9),
        Instance("damaged", (Part(np.array(SQUARE) + 1000.0),)),
        Instance("damaged", (), Bitmap(0, 0, np.zeros((3, 3), dtype=bool))),
    )
    supervisely.write(Annotation("Möhren/ä.jpg", *SIZE, instances), tmp_path / "ä.jpg.json")
    written = json.loads((tmp_path / "ä.jpg.json").read_text(encoding="utf-8"))
    (one,) = written.pop("objects")
    assert written == {"description": "", "customBigData": {}, "size": {"height": 80, "width": 100}, "tags": []}
    picture = Image.open(io.BytesIO(zlib.decompress(base64.b64decode(one.pop("bitmap")["data"]))))
    assert (picture.mode, picture.size) == ("RGBA", (7, 6))
    assert (np.asarray(picture)[..., 3] == RING * 255).all()
    assert one == {
        "classTitle": "healthy",
        "description": "",
        "tags": [{"name": "confidence", "value": 0.9}],
        "shape": "bitmap",
        "geometryType": "bitmap",
        "nnCreated": True,
        "nnUpdated": True,
    }


def test_an_image_without_objects_is_written_as_a_negative(tmp_path):
    supervisely.write(Annotation("a.jpg", *SIZE), tmp_path / "a.jpg.json")
    assert read_file(tmp_path / "a.jpg.json").instances == ()


SAMPLE = document(
    polygon(SQUARE, [[15, 25], [20, 25], [20, 35]], instance="k"), rectangle([1, 2], [30, 40], instance="k"),
    bitmap(tags=grouped("g")), bitmap(text(alpha(RING)), tags=[{"name": "confidence", "value": 0.5}]),
    entry("multipolygon", parts=[{"exterior": SQUARE, "interior": []}], tags=grouped("g")),
    entry("oriented_bbox", points=[[20, 30], [39, 39]], angle=0.5),
    rectangle([3, 3], [8, 8], geometryType="any", shape=None),
)  # fmt: skip


def damaged_mask(rng: random.Random) -> str:
    """A mask cut off, with other bytes, blown up, or of another size."""
    content = bytearray(palette(RING) if rng.random() < 0.5 else alpha(RING))
    if rng.random() < 0.3:
        content = content[: rng.randint(0, len(content))]
    for _ in range(rng.randint(0, 3) if content else 0):
        content[rng.randrange(len(content))] = rng.randrange(256)
    if rng.random() < 0.2:
        return huge(rng.choice([0, 1, 7, 5000, 2**31]), rng.choice([0, 1, 6, 5000, 2**31]))
    if rng.random() < 0.2:
        content += bytes(20_000_000)
    outer = bytearray(zlib.compress(bytes(content), 1)) if rng.random() < 0.6 else content
    if outer and rng.random() < 0.3:
        outer[rng.randrange(len(outer))] = rng.randrange(256)
    return text(bytes(outer))


def damaged_file(rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        return json.dumps(document(polygon(), bitmap(damaged_mask(rng)), bitmap(damaged_mask(rng)))).encode()
    if rng.random() < 0.6:
        content: object = SAMPLE
        for _ in range(rng.randint(1, 6)):
            content = damaged_value(rng, content)
        return json.dumps(content).encode()
    sample = json.dumps(SAMPLE).encode()
    return damaged_bytes(rng, sample)


@pytest.mark.parametrize("seed", range(10))
def test_damaged_files_raise_annotation_errors_alone(tmp_path, seed):
    rng, path, outcomes = random.Random(seed), tmp_path / "a.jpg.json", set()
    for _ in range(60):
        path.write_bytes(damaged_file(rng))
        size = SIZE if rng.random() < 0.8 else None
        try:
            annotation = read_file(path, size)
        except AnnotationError as error:
            assert str(path) in str(error)
            outcomes.add("refused")
        else:
            shape = (annotation.height, annotation.width)
            assert all(instance_mask(one, *shape).shape == shape for one in annotation.instances)
            outcomes.add("read")
    assert outcomes == {"refused", "read"}


@pytest.mark.parametrize(
    "data", [pytest.param(bomb(), id="zlib bomb"), pytest.param(huge(2**16, 2**16), id="huge PNG")]
)
def test_bombs_take_little_memory(data):
    content = document(bitmap(data), bitmap(data))
    tracemalloc.start()
    try:
        read(content)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
