"""Polygons to masks and back."""

from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from active_learning.annotations.annotation import Bitmap, Instance, Part
from active_learning.annotations.contours import (
    clip_polygon,
    crop_bitmap,
    crosses_itself,
    edge_rows,
    enclosed_area,
    even_odd_mask,
    instance_mask,
    parts_bitmap,
    parts_without_holes,
    polygon_area,
    trace_mask,
    union_bitmap,
)

SQUARE = np.array([[2.0, 3.0], [6.0, 3.0], [6.0, 8.0], [2.0, 8.0]])
coordinates = st.floats(-30, 60, allow_nan=False).map(lambda value: round(value, 2))
polygons = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=12).map(lambda points: np.array(points))


def masks(side: int = 24):
    return st.tuples(st.integers(1, side), st.integers(1, side)).flatmap(lambda shape: arrays(bool, shape))


def blobs():
    """Masks of a few ellipses and holes, as networks give them."""

    def build(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        canvas = np.zeros((120, 150), np.uint8)
        for value in (1, 1, 0):
            centre, axes = rng.integers(20, 100, 2).tolist(), rng.integers(4, 40, 2).tolist()
            cv2.ellipse(canvas, centre, axes, float(rng.integers(0, 180)), 0, 360, int(value), -1)
        return canvas.astype(bool)

    return st.integers(0, 10**6).map(build)


def by_pixel_centres(polygon: np.ndarray, height: int, width: int) -> np.ndarray:
    """Even-odd rule, one pixel at a time."""
    mask = np.zeros((height, width), dtype=bool)
    ends = list(zip(polygon.tolist(), np.roll(polygon, -1, axis=0).tolist(), strict=True))
    for row in range(height):
        for column in range(width):
            x, y = column + 0.5, row + 0.5
            for (x0, y0), (x1, y1) in ends:
                if (y0 <= y) != (y1 <= y) and x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x:
                    mask[row, column] ^= True
    return mask


@pytest.mark.parametrize(
    ("polygon", "area"),
    [
        pytest.param(SQUARE, 20, id="square"),
        pytest.param(SQUARE[::-1], 20, id="other way round"),
        pytest.param(SQUARE + 1e5, 20, id="far from the origin"),
        pytest.param(np.array([[0, 0], [4, 0], [0, 3]]), 6, id="triangle of whole numbers"),
        pytest.param(np.array([[0.0, 0], [4, 4], [4, 0], [0, 4]]), 0, id="bow tie"),
    ],
)
def test_polygon_area(polygon, area):
    assert polygon_area(polygon) == pytest.approx(area)


NOTCHED = np.array([[0.0, 0], [4, 0], [4, 4], [3, 4], [3, 1], [1, 1], [1, 4], [0, 4]])


@pytest.mark.parametrize(
    ("outline", "area", "crosses"),
    [
        pytest.param(SQUARE, 20, False, id="square"),
        pytest.param(SQUARE[::-1], 20, False, id="other way round"),
        pytest.param(NOTCHED, 10, False, id="with a notch"),
        pytest.param(NOTCHED[:, ::-1], 10, False, id="with a notch at its side"),
        pytest.param(np.concatenate([NOTCHED, NOTCHED[:1]]), 10, False, id="closed"),
        pytest.param(np.array([[0.0, 0], [4, 4], [4, 0], [0, 4]]), 8, True, id="bow tie"),
        pytest.param(np.array([[0.0, 0], [4, 4], [0, 4], [4, 0]]) * 1e5, 8e10, True, id="upright, large"),
        pytest.param(np.array([[10, 10], [110, 110], [110, 10], [10, 109.0]]) - 500, 5000, True, id="of unlike lobes"),
        pytest.param(
            np.array([[0.0, 0], [3, 3], [6, 0], [9, 3], [9, 0], [6, 3], [3, 0], [0, 3]]), 13.5, True, id="a chain"
        ),
        pytest.param(np.concatenate([SQUARE, SQUARE]), 0, True, id="twice round"),
        pytest.param(np.array([[0.0, 0], [9, 0], [5, 0], [2, 0]]), 0, False, id="a line"),
        pytest.param(np.array([[3.0, 0], [3, 9], [3, 5], [3, 7]]), 0, False, id="a line to and fro"),
    ],
)
def test_the_area_in_an_outline_that_may_cross_itself(outline, area, crosses):
    assert enclosed_area(outline) == pytest.approx(area, rel=0.01, abs=1e-6)
    assert crosses_itself(outline) == crosses


@given(outline=polygons)
def test_areas_are_those_of_the_pixels(outline):
    pixels = even_odd_mask([(outline + 30) * 10], 900, 900).sum() / 100
    length = np.hypot(*(outline - np.roll(outline, 1, axis=0)).T).sum()
    assert enclosed_area(outline) == pytest.approx(pixels, abs=0.1 * length + 1)


@pytest.mark.parametrize("side", [100, 1500])
@pytest.mark.parametrize("turned", [False, True])
def test_thin_bands_that_cross_themselves(side, turned):
    """A U of bands 2 wide, the right of whose arms crosses itself half-way: what is inside is as if it did not."""
    outline = np.array(
        [[0.0, 0], [2, 0], [2, side], [side - 2, side], [side, side / 2], [side - 2, 0], [side, 0],
         [side - 2, side / 2], [side, side], [side, side + 2], [0, side + 2]]
    )  # fmt: skip
    pixels = even_odd_mask([outline * (4, 4)], 4 * (side + 2), 4 * side).sum() / 16
    assert crosses_itself(outline) and polygon_area(outline) != pytest.approx(pixels, rel=0.05)
    assert enclosed_area(outline[:, ::-1] if turned else outline) == pytest.approx(pixels, rel=0.02)


def test_a_low_bar_that_crosses_itself_is_seen():
    """A T of which no row of 32 meets the bar."""
    stem = [[48.0, 2], [48, 1000], [52, 1000], [52, 2], [100, 2], [100, 0]]
    straight, crossed = np.array([[0, 0], [0, 2.0], *stem]), np.array([[0.0, 0], [46, 2], *stem, [46, 0], [0, 2]])
    assert [crosses_itself(outline) for outline in (straight, straight[:, ::-1])] == [False, False]
    assert [crosses_itself(outline) for outline in (crossed, crossed[:, ::-1])] == [True, True]


def test_an_outline_of_many_edges_is_counted_in_fewer_rows():
    rng = np.random.default_rng(0)
    assert 0 < enclosed_area(rng.uniform(0, 100, (200_000, 2))) < 10_000


def test_mask_of_a_polygon_paints_no_border():
    mask = even_odd_mask([SQUARE], 10, 10)
    assert mask.sum() == 20
    assert mask[3:8, 2:6].all()


@settings(max_examples=60, deadline=None)
@given(polygons)
def test_mask_of_a_polygon_samples_pixel_centres(polygon):
    assert (even_odd_mask([polygon], 14, 11) == by_pixel_centres(polygon, 14, 11)).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(polygons, min_size=1, max_size=4))
def test_an_odd_number_of_outlines_is_inside(outlines):
    expected = np.logical_xor.reduce([by_pixel_centres(outline, 14, 11) for outline in outlines])
    assert (even_odd_mask(outlines, 14, 11) == expected).all()


def test_drawing_takes_memory_for_the_mask_not_for_points_times_rows():
    zigzag = np.stack([np.linspace(0, 500, 5000), np.arange(5000) % 2 * 2000.0], axis=1)
    tracemalloc.start()
    mask = even_odd_mask([zigzag], 2000, 500)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert mask.shape == (2000, 500)
    assert peak < 150 * 2**20  # all crossings at once take 600 MB


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(polygons, st.lists(polygons, max_size=2)), min_size=1, max_size=3))
def test_parts_and_holes_are_drawn_in_crops_of_their_own(shapes):
    expected = np.zeros((14, 11), dtype=bool)
    for exterior, holes in shapes:
        inside = by_pixel_centres(exterior, 14, 11)
        for hole in holes:
            inside &= ~by_pixel_centres(hole, 14, 11)
        expected |= inside
    parts = tuple(Part(exterior, tuple(holes)) for exterior, holes in shapes)
    # filled from another corner, a pixel centre that lies on an edge can be rounded to the other side
    assert (filled(parts, (14, 11)) != expected).sum() <= 1


def test_parts_join_and_holes_are_left_out():
    parts = (Part(SQUARE, (np.array([[3.0, 4], [5, 4], [5, 6], [3, 6]]),)), Part(SQUARE + [3, 0]))
    mask = instance_mask(Instance("a", parts), 12, 12)
    assert mask.sum() == 20 - 4 + 20 - 5  # the second part covers column 5, where the first has no hole
    assert not mask[4, 3]


def test_parts_beside_the_image_leave_an_empty_crop():
    assert parts_bitmap([Part(SQUARE + 100)], 20, 20).mask.size == 0


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        pytest.param(2, 3, (2, 3, (4, 5)), id="inside"),
        pytest.param(-1, -2, (0, 0, (2, 4)), id="over the upper left"),
        pytest.param(8, 9, (8, 9, (1, 2)), id="over the lower right"),
        pytest.param(10, 10, (0, 0, (0, 0)), id="right of it"),
        pytest.param(-9, -9, (0, 0, (0, 0)), id="left of it"),
    ],
)
def test_crop_bitmap(x, y, expected):
    crop = crop_bitmap(Bitmap(x, y, np.ones((4, 5), dtype=bool)), 10, 10)
    assert (crop.x, crop.y, crop.mask.shape) == expected


def test_crop_bitmap_drops_empty_rows_and_columns():
    mask = np.zeros((6, 7), dtype=bool)
    mask[2, 3] = mask[4, 5] = True
    crop = crop_bitmap(Bitmap(10, 20, mask), 100, 100)
    assert (crop.x, crop.y, crop.mask.shape) == (13, 22, (3, 3))


def test_a_crop_lets_go_of_the_mask():
    assert crop_bitmap(Bitmap(0, 0, np.pad(np.ones((2, 2), dtype=bool), 50)), 200, 200).mask.base is None


def test_edge_rows():
    assert edge_rows([SQUARE, SQUARE + 100]) == 20


def test_union_bitmap():
    one, other = Bitmap(2, 3, np.ones((2, 2), dtype=bool)), Bitmap(3, 4, np.ones((2, 4), dtype=bool))
    union = union_bitmap([one, other])
    assert (union.x, union.y, union.mask.shape) == (2, 3, (3, 5))
    assert union.mask.sum() == 4 + 8 - 1


@settings(max_examples=60, deadline=None)
@given(polygons)
def test_clipping_keeps_what_is_inside(polygon):
    clipped = clip_polygon(polygon, 14, 11)
    inside = by_pixel_centres(polygon, 14, 11)
    if not len(clipped):
        assert not inside.any()
        return
    assert clipped.min() >= 0
    assert clipped[:, 0].max() <= 11
    assert clipped[:, 1].max() <= 14
    # a crossing is rounded by about 1e-14, which can move a pixel centre that lies on an edge to the other side
    assert (even_odd_mask([clipped], 14, 11) != inside).sum() <= 1


def test_clipping_far_outside_gives_nothing():
    assert len(clip_polygon(SQUARE + 500, 14, 11)) == 0


def filled(parts: tuple[Part, ...], shape: tuple[int, int]) -> np.ndarray:
    return instance_mask(Instance("a", parts), *shape)


@settings(max_examples=80, deadline=None)
@given(masks(), st.sampled_from([0.0, 0.2, 0.5, 0.69]))
def test_tracing_below_0_7_pixels_is_exact(mask, max_error):
    parts = trace_mask(mask, max_error)
    assert (len(parts) > 0) == mask.any()
    if len(parts):
        assert (filled(parts, mask.shape) == mask).all()


def distance_to_outline(points: np.ndarray, outline: np.ndarray) -> float:
    """The furthest of the points from a closed outline."""
    start, end = outline, np.roll(outline, -1, axis=0)
    along = end - start
    share = ((points[:, None] - start) * along).sum(2) / np.maximum((along**2).sum(1), 1e-12)
    nearest = start + np.clip(share, 0, 1)[..., None] * along
    return float(np.linalg.norm(points[:, None] - nearest, axis=2).min(axis=1).max())


def along_edges(outline: np.ndarray) -> np.ndarray:
    share = np.linspace(0, 1, 9)[:, None, None]
    return (outline + share * (np.roll(outline, -1, axis=0) - outline)).reshape(-1, 2)


@settings(max_examples=25, deadline=None)
@given(blobs(), st.sampled_from([0.5, 1.0, 1.5, 3.0]))
def test_traced_outlines_stay_within_the_error_and_have_few_points(mask, max_error):
    exact, simple = trace_mask(mask, 0), trace_mask(mask, max_error)
    assert len(exact) == len(simple)
    for before, after in zip(exact, simple, strict=True):
        pairs = zip((before.exterior, *before.holes), (after.exterior, *after.holes), strict=True)
        for outline, fewer in pairs:
            assert polygon_area(fewer) > 0
            assert len(fewer) <= len(outline)
            assert distance_to_outline(along_edges(fewer), outline) <= max_error + 1e-6
            assert distance_to_outline(along_edges(outline), fewer) <= max_error + 1e-6


def test_a_disc_needs_few_points():
    rows, columns = np.mgrid[:100, :100] + 0.5
    disc = (rows - 50) ** 2 + (columns - 50) ** 2 < 45**2
    (part,) = trace_mask(disc, 1.0)
    both = filled((part,), disc.shape)
    assert len(part.exterior) < 50
    assert (both & disc).sum() / (both | disc).sum() > 0.985


@pytest.mark.parametrize(
    ("rows", "parts", "holes"),
    [
        pytest.param([".....", ".#.#.", "....."], 2, [0, 0], id="two pixels"),
        pytest.param(["#..", ".#.", "..#"], 1, [0], id="a diagonal"),
        pytest.param(["###", "#.#", "###"], 1, [1], id="a ring"),
        pytest.param(["#####", "#...#", "#.#.#", "#...#", "#####"], 2, [0, 1], id="an island in a hole"),
        pytest.param(["...", "..."], 0, [], id="nothing"),
    ],
)
def test_regions_and_holes(rows, parts, holes):
    mask = np.array([[pixel == "#" for pixel in row] for row in rows])
    traced = trace_mask(mask, 0)
    assert len(traced) == parts
    assert sorted(len(part.holes) for part in traced) == holes


def test_a_box_keeps_its_corners():
    (part,) = trace_mask(np.ones((7, 12), dtype=bool), 1.0)
    assert sorted(part.exterior.tolist()) == [[0, 0], [0, 7], [12, 0], [12, 7]]


def test_a_single_pixel_survives_any_error():
    (part,) = trace_mask(np.ones((1, 1), dtype=bool), 50.0)
    assert polygon_area(part.exterior) > 0


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.6, 3.0]))
def test_parts_without_holes_cover_the_same_pixels(seed, max_error):
    rng = np.random.default_rng(seed)
    coarse = rng.random((6, 7)) < 0.7
    mask = np.repeat(np.repeat(coarse, 4, axis=0), 3, axis=1)
    parts = parts_without_holes(Bitmap(5, 2, mask), max_error)
    assert not any(part.holes for part in parts)
    if max_error < 0.7:
        instance = Instance("a", bitmap=Bitmap(5, 2, mask))
        filled = instance_mask(Instance("a", parts=parts), 40, 40) if parts else np.zeros((40, 40), bool)
        assert np.array_equal(filled, instance_mask(instance, 40, 40))


def test_a_ring_is_cut_once():
    ring = np.ones((9, 9), bool)
    ring[3:6, 3:6] = False
    assert len(parts_without_holes(Bitmap(0, 0, ring), 0.5)) == 2
