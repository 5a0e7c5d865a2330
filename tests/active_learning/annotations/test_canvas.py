"""The image that shapes are read for: room for masks, shapes joined to objects, the size to trust."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from active_learning.annotations import canvas as canvas_module
from active_learning.annotations.annotation import Bitmap, Part, ShapeError
from active_learning.annotations.canvas import MOST_MASK_PIXELS, Canvas, Shape, open_canvas
from active_learning.errors import AnnotationError

PATH = Path("a.json")
TOO_MUCH = r"^a\.json: its masks take more room than those of an image of 50x40 pixels may; export polygons"
SQUARE = np.array([[2.0, 3.0], [6.0, 3.0], [6.0, 8.0], [2.0, 8.0]])


def canvas(pixels: int = MOST_MASK_PIXELS, undecoded: int = 2**30) -> Canvas:
    image = Canvas(40, 50, PATH)
    image.pixels, image.undecoded = pixels, undecoded
    return image


def shape(*regions: Part | Bitmap, score: float | None = None) -> Shape:
    return Shape(("a", 0), "a", regions, score, "shapes[0]")


def test_masks_are_read_until_the_room_is_used_up():
    image = canvas(pixels=15)
    for _ in range(2):
        image.most_pixels()
        placed = image.bitmap(Bitmap(-2, 0, np.ones((2, 7), dtype=bool)))
        assert (placed.x, placed.mask.shape) == (0, (2, 5))
    with pytest.raises(AnnotationError, match=TOO_MUCH):
        image.most_pixels()


def test_empty_masks_use_up_the_room_as_well():
    image = canvas(undecoded=16)
    with pytest.raises(ShapeError, match="empty"):
        image.bitmap(Bitmap(0, 0, np.zeros((4, 4), dtype=bool)))
    with pytest.raises(AnnotationError, match=TOO_MUCH):
        image.most_pixels()


@pytest.mark.parametrize(
    ("height", "width", "most"),
    [
        pytest.param(40, 50, 2**22, id="small image"),
        pytest.param(3000, 4000, 24_000_000, id="photograph"),
        pytest.param(2**14, 2**14, 2**28, id="huge image"),
    ],
)
def test_the_largest_mask(height, width, most):
    assert Canvas(height, width, PATH).most_pixels() == most
    assert most <= MOST_MASK_PIXELS


def test_shapes_of_an_object_are_one_instance():
    bitmap = Bitmap(20, 20, np.ones((2, 3), dtype=bool))
    groups = [[shape(Part(SQUARE), score=0.5), shape(Part(SQUARE + 10), score=0.75)], [shape(Part(SQUARE), bitmap)]]
    image = canvas()
    parts, mixed = image.join(groups)
    assert (len(parts.parts), parts.bitmap, parts.score, parts.origin) == (2, None, 0.75, "shapes[0]")
    assert mixed.parts == ()
    assert mixed.bitmap is not None
    assert mixed.bitmap.mask.sum() == 20 + 6
    assert image.warnings == []


def test_a_file_is_refused_where_objects_find_no_room():
    """Those that are left out would be background."""
    far = [Bitmap(0, 0, np.ones((1, 1), dtype=bool)), Bitmap(49, 39, np.ones((1, 1), dtype=bool))]
    image = canvas(pixels=100)
    with pytest.raises(AnnotationError, match=TOO_MUCH):
        image.join([[shape(*far)], [shape(*far)]])


def test_the_objects_of_a_large_image_find_room_in_masks_of_its_size(monkeypatch):
    """As CVAT's are; what is kept are the crops of the objects."""
    monkeypatch.setattr(canvas_module, "MOST_MASK_PIXELS", 2 * 100 * 100)
    monkeypatch.setattr(canvas_module, "_MOST_DECODED", 16 * 2 * 100 * 100)
    image, mask = Canvas(100, 100, PATH), np.zeros((100, 100), dtype=bool)
    mask[40:45, 60:65] = True
    for _ in range(1000):
        image.most_pixels()
        assert image.bitmap(Bitmap(0, 0, mask)).mask.shape == (5, 5)
    with pytest.raises(AnnotationError, match="its masks take more room than those of an image of 100x100 pixels"):
        image.most_pixels()


def test_what_a_file_may_keep_is_bounded():
    assert Canvas(2**14, 2**14, PATH).pixels == 2**30
    assert Canvas(1, 1, PATH).pixels == MOST_MASK_PIXELS


def test_shapes_of_one_key_are_joined_and_faulty_ones_named():
    def read(entry: str, index: int) -> Shape:
        if entry == "bad":
            raise ShapeError("has no points")
        return Shape((entry,), entry, (Part(SQUARE + index),), None, f"shapes[{index}]")

    image = canvas()
    entries = [(0, "a"), (2, "bad"), (3, "b"), (7, "a")]
    instances = image.objects(entries, read, lambda entry, index: f"shapes[{index}]: label {entry}", "shape")
    assert [(one.label, len(one.parts), one.origin) for one in instances] == [
        ("a", 2, "shapes[0]"),
        ("b", 1, "shapes[3]"),
    ]
    assert image.warnings == ["a.json: shapes[2]: label bad: has no points; the shape is left out"]


@pytest.mark.parametrize(
    ("declared", "size", "expected", "warning"),
    [
        pytest.param((40, 50), (40, 50), (40, 50), "", id="right"),
        pytest.param((80, 100), (40, 50), (40, 50), "h 80, w 100: the image has height 40, width 50", id="resized"),
        pytest.param(("40", "50"), (40, 50), (40, 50), "", id="as texts"),
        pytest.param((None, None), (40, 50), (40, 50), "", id="not declared"),
        pytest.param((40, 50), None, (40, 50), "", id="unknown"),
        pytest.param((50, 40), (40, 50), (40, 50), "h 50, w 40: the image has height 40, .*EXIF", id="transposed"),
        pytest.param(("50", "40"), (40, 50), (40, 50), "h '50', w '40': the image .*EXIF", id="transposed, as texts"),
        pytest.param(("x", 40), (40, 50), (40, 50), "h 'x', w 40: the image has height 40, width 50", id="no number"),
        pytest.param((None, 80), (40, 50), (40, 50), "h None, w 80: the image has height 40", id="one of two"),
        pytest.param((0, 0), (40, 50), (40, 50), "h 0, w 0: the image has height 40, width 50", id="zero"),
    ],
)
def test_the_real_size_counts(declared, size, expected, warning):
    image = open_canvas(declared, size, PATH, ("h", "w"))
    assert (image.height, image.width) == expected
    assert len(image.warnings) == bool(warning)
    is_size = warning and "x" not in declared and all(map(int, map(float, (length or 0 for length in declared))))
    assert image.declared == (tuple(map(int, declared)) if is_size else None)
    assert not warning or re.search(warning, image.warnings[0])


COPY, OTHER = "its outlines are of a copy of another size; export", "its outlines are of another image, or of one that"


@pytest.mark.parametrize(
    ("declared", "misfit"),
    [
        pytest.param((64, 96), COPY, id="shrunk"),
        pytest.param((1280, 1920), COPY, id="enlarged"),
        pytest.param((67, 100), COPY, id="shrunk, and rounded"),
        pytest.param(("64", "96"), COPY, id="as texts"),
        pytest.param((64.0, 96.0), COPY, id="as floats"),
        pytest.param((640, 640), OTHER, id="cropped"),
        pytest.param((96, 64), OTHER, id="shrunk and turned"),
        pytest.param((960, 640), "", id="turned: the outlines may be right"),
        pytest.param((641, 959), "", id="rounded"),
        pytest.param((640, 960), "", id="right"),
        pytest.param((0, 96), "", id="no height"),
        pytest.param((None, 96), "", id="height not declared"),
        pytest.param((True, 96), "", id="no number"),
        pytest.param((float("nan"), float("inf")), "", id="NaN"),
        pytest.param(([], "x"), "", id="neither a number"),
    ],
)
def test_outlines_for_another_size_are_named(declared, misfit):
    image = open_canvas(declared, (640, 960), PATH, ("h", "w"))
    assert image.annotation("a.png", ()).misfit == ""  # no outline, no fault
    image.part(SQUARE)
    found = image.annotation("a.png", ()).misfit
    assert bool(found) == bool(misfit)
    assert not misfit or re.match(rf"a.json: h .*, w .*: the image has height 640, width 960; {misfit}", found)


@pytest.mark.parametrize("declared", [(None, None), (0, 5), (True, 5), (2.0, 5), (2**20, 2**20)])
def test_without_any_size_nothing_is_read(declared):
    with pytest.raises(AnnotationError, match="a.json: h, w: "):
        open_canvas(declared, None, PATH, ("h", "w"))


OUTLINES = {
    "in both": ([[10, 10], [30, 10], [30, 30]], ""),
    "a little outside of the image": ([[10, 10], [42, 10], [42, 30]], ""),
    "as of the image that was not turned": (
        [[10, 10], [49, 10], [49, 30]],
        "lies outside of the image (40 x 50 pixels)",
    ),
    "in neither": ([[10, 10], [49, 10], [49, 45]], ""),
}


@pytest.mark.parametrize("kind", OUTLINES)
def test_outlines_may_be_of_the_image_before_it_was_turned(kind):
    points, fault = OUTLINES[kind]
    image = open_canvas((40, 50), (50, 40), PATH, ("imageHeight", "imageWidth"))
    if fault:
        with pytest.raises(AnnotationError, match=re.escape(fault) + r".*before it was turned \(50 x 40 pixels\)"):
            image.part(np.array(points, float))
    else:
        image.part(np.array(points, float))
