"""What the readers share: points, room for masks, shapes joined to objects."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from active_learning.annotations.annotation import Bitmap, Part
from active_learning.annotations.shapes import (
    MOST_MASK_PIXELS,
    MaskRoom,
    Shape,
    ShapeError,
    check_drawable,
    clipped_outline,
    join_objects,
    read_points,
)

SQUARE = np.array([[2.0, 3.0], [6.0, 3.0], [6.0, 8.0], [2.0, 8.0]])


def test_points():
    assert read_points([[1, 2.5], [-3, 10**6]]).tolist() == [[1.0, 2.5], [-3.0, 1e6]]


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        pytest.param(None, "no points", id="null"),
        pytest.param([], "no points", id="none"),
        pytest.param([1, 2], "pairs of numbers", id="no pairs"),
        pytest.param([[1, 2], 3], "pairs of numbers", id="a pair and a number"),
        pytest.param([[1, True]], "pairs of numbers", id="a truth value"),
        pytest.param(["12", "34"], "pairs of numbers", id="texts for pairs"),
        pytest.param([{"x": 1, "y": 2}], "pairs of numbers", id="objects"),
        pytest.param([[[1, 2], [3, 4]]], "pairs of numbers", id="nested"),
        pytest.param([[1, 2], [3]], "pairs of numbers", id="ragged"),
        pytest.param([[1, 10**400]], "pairs of numbers", id="a huge integer"),
        pytest.param([[1, float("nan")]], "not a number", id="NaN"),
        pytest.param([[1, 1e308]], "absurdly large", id="far away"),
    ],
)
def test_what_is_no_points(points, reason):
    with pytest.raises(ShapeError, match=reason):
        read_points(points)


def test_a_long_text_among_many_points_takes_no_memory():
    points = [["x" * 20_000, 1.0], *([1.0, 2.0] for _ in range(5000))]  # as an array of texts, 800 MB
    tracemalloc.start()
    with pytest.raises(ShapeError):
        read_points(points)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22


def test_outlines_that_run_to_and_fro_without_end_are_refused():
    zigzag = np.stack([np.linspace(0, 50, 20_000), np.arange(20_000) % 2 * 40.0], axis=1)
    with pytest.raises(ShapeError, match="to and fro"):
        clipped_outline(zigzag, 40, 50)
    with pytest.raises(ShapeError, match="to and fro"):
        check_drawable([SQUARE] * 20_000, 40, 50)
    check_drawable([SQUARE] * 200, 40, 50)


def shape(*regions: Part | Bitmap, score: float | None = None) -> Shape:
    return Shape(("a", 0), "a", regions, score, "shapes[0]")


def test_masks_are_read_until_the_room_is_used_up():
    room = MaskRoom(40, 50, pixels=15)
    for _ in range(2):
        room.most_pixels()
        placed = room.place(Bitmap(-2, 0, np.ones((2, 7), dtype=bool)))
        assert (placed.x, placed.mask.shape) == (0, (2, 5))
    with pytest.raises(ShapeError, match="no more are read"):
        room.most_pixels()


def test_empty_masks_use_up_the_room_as_well():
    room = MaskRoom(40, 50, pixels=1)
    with pytest.raises(ShapeError, match="empty"):
        room.place(Bitmap(0, 0, np.zeros((4, 4), dtype=bool)))
    with pytest.raises(ShapeError, match="no more are read"):
        room.most_pixels()


@pytest.mark.parametrize(
    ("height", "width", "most"),
    [
        pytest.param(40, 50, 2**22, id="small image"),
        pytest.param(3000, 4000, 24_000_000, id="photograph"),
        pytest.param(2**14, 2**14, 2**28, id="huge image"),
    ],
)
def test_the_largest_mask(height, width, most):
    assert MaskRoom(height, width).most_pixels() == most
    assert most <= MOST_MASK_PIXELS


def test_shapes_of_an_object_are_one_instance():
    bitmap = Bitmap(20, 20, np.ones((2, 3), dtype=bool))
    groups = [[shape(Part(SQUARE), score=0.5), shape(Part(SQUARE + 10), score=0.75)], [shape(Part(SQUARE), bitmap)]]
    warnings: list[str] = []
    parts, mixed = join_objects(groups, MaskRoom(40, 50), Path("a.json"), warnings)
    assert (len(parts.parts), parts.bitmap, parts.score, parts.origin) == (2, None, 0.75, "shapes[0]")
    assert mixed.parts == ()
    assert mixed.bitmap is not None
    assert mixed.bitmap.mask.sum() == 20 + 6
    assert warnings == []


def test_objects_without_room_are_left_out_with_a_warning():
    far = [Bitmap(0, 0, np.ones((1, 1), dtype=bool)), Bitmap(49, 39, np.ones((1, 1), dtype=bool))]
    warnings: list[str] = []
    instances = join_objects([[shape(*far)], [shape(*far)]], MaskRoom(40, 50, pixels=100), Path("a.json"), warnings)
    assert len(instances) == 1
    (warning,) = warnings
    assert warning.startswith("a.json: shapes[0]: label 'a': the masks before it")
