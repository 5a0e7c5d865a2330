"""Even-odd paths to parts with holes, and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from active_learning.annotations import Bitmap, Instance, Part
from active_learning.annotations.contours import even_odd_mask, instance_mask, polygon_area
from active_learning.annotations.even_odd import (
    join_paths,
    paths_of_bitmap,
    paths_of_parts,
    region_of_paths,
    split_path,
)
from tests.work import calls_of

HEIGHT, WIDTH = 80, 100


def square(x: float, y: float, side: float) -> np.ndarray:
    return np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]], dtype=float)


def even_odd(paths) -> np.ndarray:
    """The definition itself: pixels that an odd number of paths enclose."""
    return np.logical_xor.reduce([even_odd_mask([path], HEIGHT, WIDTH) for path in paths])


def mask_of(region) -> np.ndarray:
    parts, bitmap = ((), region) if isinstance(region, Bitmap) else (region, None)
    return instance_mask(Instance("a", parts, bitmap), HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("paths", "holes"),
    [
        pytest.param([square(10, 10, 20)], [0], id="one path"),
        pytest.param([square(10, 10, 20), square(50, 10, 20)], [0, 0], id="two parts"),
        pytest.param([square(10, 10, 20), square(30, 10, 20)], [0, 0], id="parts that touch"),
        pytest.param([square(10, 10, 30), square(15, 15, 10)], [1], id="hole"),
        pytest.param([square(15, 15, 10), square(10, 10, 30)], [1], id="hole first"),
        pytest.param([square(10, 10, 30), square(10, 15, 10)], [1], id="hole at the border"),
        pytest.param([square(10, 10, 30), square(15, 15, 5), square(25, 25, 5)], [2], id="two holes"),
        pytest.param([square(5, 5, 60), square(10, 10, 40), square(20, 20, 20)], [1, 0], id="part within a hole"),
        pytest.param(
            [square(5, 5, 60), square(10, 10, 40), square(20, 20, 20), square(25, 25, 5)], [1, 1], id="four deep"
        ),
        pytest.param([square(10, 10, 20), square(20, 20, 20)], None, id="overlap"),
        pytest.param([square(10, 10, 20), square(10, 10, 20), square(50, 10, 20)], None, id="path twice"),
    ],
)
def test_paths_become_parts_where_they_do_not_overlap(paths, holes):
    region = region_of_paths(paths, HEIGHT, WIDTH)
    assert isinstance(region, Bitmap) == (holes is None)
    assert holes is None or [len(part.holes) for part in region] == holes
    assert np.array_equal(mask_of(region), even_odd(paths))


@pytest.mark.parametrize(
    ("parts", "count"),
    [
        pytest.param([Part(square(10, 10, 20)), Part(square(50, 10, 20))], 2, id="apart"),
        pytest.param([Part(square(10, 10, 20)), Part(square(20, 20, 20))], 1, id="overlap"),
        pytest.param([Part(square(10, 10, 20)), Part(square(10, 10, 20))], 1, id="part twice"),
        pytest.param([Part(square(10, 10, 20)), Part(square(12, 12, 5))], 1, id="part within a part"),
        pytest.param([Part(square(10, 10, 30), (square(15, 15, 10),)), Part(square(12, 12, 20))], 1, id="hole filled"),
        pytest.param([Part(square(10, 10, 30), (square(30, 30, 30),))], 1, id="hole over the border"),
        pytest.param(
            [Part(square(10, 10, 40), (square(15, 15, 20),)), Part(square(20, 20, 5))], 3, id="part within a hole"
        ),
        pytest.param([Part(square(10, 10, 20)), Part(square(29.8, 12, 20))], 1, id="a fifth of a pixel shared"),
        pytest.param([Part(square(10, 10, 20)), Part(square(29.99, 12, 20))], 2, id="shared by rounding only"),
        pytest.param([Part(square(-10, -10, 20)), Part(square(300, 10, 20))], 1, id="partly outside"),
        pytest.param([Part(square(300, 10, 20))], 0, id="outside"),
        pytest.param([], 0, id="no parts"),
    ],
)
def test_parts_become_paths_that_do_not_overlap(parts, count):
    paths = paths_of_parts(parts, HEIGHT, WIDTH, 0.5)
    assert len(paths) == count
    truth = instance_mask(Instance("a", tuple(parts)), HEIGHT, WIDTH) if count else np.zeros((HEIGHT, WIDTH))
    assert not count or np.array_equal(even_odd(paths), truth)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9), st.sampled_from([0.0, 0.5, 1.0, 3.0]), st.floats(0.1, 0.9))
def test_masks_become_paths(seed, max_error, density):
    rng = np.random.default_rng(seed)
    mask = np.repeat(np.repeat(rng.random((12, 15)) < density, 3, axis=0), 2, axis=1)
    paths = paths_of_bitmap(Bitmap(7, 9, mask), max_error)
    truth = mask_of(Bitmap(7, 9, mask)) if mask.any() else np.zeros((HEIGHT, WIDTH), dtype=bool)
    filled = even_odd(paths) if paths else np.zeros_like(truth)
    if max_error < 0.7:
        assert np.array_equal(filled, truth)
    union = mask_of(region_of_paths(paths, HEIGHT, WIDTH)) if paths else filled
    assert np.array_equal(union, filled)
    assert all(len(path) >= 3 for path in paths)


def test_near_regions_keep_apart_whatever_the_error():
    mask = np.zeros((40, 40), dtype=bool)
    mask[5:35, 5:19] = mask[5:35:2, 19] = mask[5:35, 21:35] = True
    mask[6:35:2, 20] = False
    paths = paths_of_bitmap(Bitmap(0, 0, mask), 6.0)
    assert len(paths) == 2
    assert (np.sum([even_odd_mask([path], 40, 40) for path in paths], axis=0) <= 1).all()


@pytest.mark.parametrize("count", [1000, 1001])
def test_objects_of_very_many_paths_become_bitmaps(count):
    paths = [square(column, row, 1) for row in range(0, 79, 2) for column in range(0, 99, 2)][:count]
    region = region_of_paths(paths, HEIGHT, WIDTH)
    assert isinstance(region, Bitmap) == (count > 1000)
    assert np.array_equal(mask_of(region), even_odd(paths))
    assert np.array_equal(even_odd(paths_of_parts([Part(path) for path in paths], HEIGHT, WIDTH, 0.5)), even_odd(paths))


def test_of_hundreds_of_parts_over_each_other_each_is_not_compared_with_each():
    few, many = ([Part(square(10 + shift, 10, 20)) for shift in np.linspace(0, 1, count)] for count in (225, 900))
    (path,) = paths_of_parts(many, HEIGHT, WIDTH, 1.0)
    assert np.array_equal(even_odd([path]), instance_mask(Instance("a", tuple(many)), HEIGHT, WIDTH))
    work = [calls_of(paths_of_parts, parts, HEIGHT, WIDTH, 1.0) for parts in (few, many)]
    assert work[1] < 6 * work[0]


def test_hundreds_of_specks_in_a_large_image_take_no_time():
    mask = np.zeros((3000, 4000), dtype=bool)
    mask[100:2900, 100:3900] = True
    mask[200:2800:130, 200:3800:130] = False
    paths = paths_of_bitmap(Bitmap(0, 0, mask), 0.5)
    region = region_of_paths(paths, 3000, 4000)
    assert [len(part.holes) for part in region] == [20 * 28]


@pytest.mark.parametrize(
    ("paths", "area"),
    [
        pytest.param([square(10, 10, 20)], 400, id="one path"),
        pytest.param([square(10, 10, 20), square(50, 10, 20)[::-1]], 800, id="two parts"),
        pytest.param([square(10, 10, 30), square(15, 15, 10)], 800, id="hole"),
        pytest.param([square(15, 15, 10)[::-1], square(10, 10, 30)], 800, id="hole first"),
        pytest.param([square(10, 10, 30), square(15, 15, 5), square(25, 25, 5), square(60, 60, 5)], 875, id="all"),
        pytest.param([square(5, 5, 60), square(10, 10, 40), square(20, 20, 20)], 2400, id="part within a hole"),
        pytest.param([square(10, 10, 20), square(30, 30, 20)], 800, id="corners that touch"),
        pytest.param([square(10, 10, 30), square(10, 10, 5)], 875, id="hole in the corner"),
    ],
)
def test_paths_joined_to_one_enclose_the_same(paths, area):
    joined = join_paths(paths)
    assert np.array_equal(even_odd_mask([joined], HEIGHT, WIDTH), even_odd(paths))
    assert polygon_area(joined) == pytest.approx(area)
    rings = split_path(joined)
    assert np.array_equal(even_odd(rings), even_odd(paths))
    if len(np.unique(np.concatenate(paths), axis=0)) < sum(map(len, paths)):  # a shared corner needs no line
        return
    assert sorted(polygon_area(ring) for ring in rings) == pytest.approx(sorted(map(polygon_area, paths)))


@settings(max_examples=300, deadline=None)
@given(points=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5)), min_size=1, max_size=30))
def test_any_path_split_encloses_the_same(points):
    """Points of a coarse grid run the same lines to and fro often."""
    path = np.array(points, dtype=float) * 12
    rings = split_path(path)
    assert np.array_equal(even_odd(rings), even_odd([path]))


def test_long_paths_are_joined_in_bounded_time():
    turns = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    circle = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    paths = [circle * radius + (50, 40) for radius in (39, 30, 20, 10)]
    joined = join_paths(paths)
    assert len(joined) == 4 * 20_000 + 3 * 2
    assert (even_odd_mask([joined], HEIGHT, WIDTH) ^ even_odd(paths)).sum() <= 1
