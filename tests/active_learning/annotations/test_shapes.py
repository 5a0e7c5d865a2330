"""What the readers share about a single shape."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from active_learning.annotations.annotation import ShapeError
from active_learning.annotations.shapes import check_drawable, clipped_outline, read_points

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
