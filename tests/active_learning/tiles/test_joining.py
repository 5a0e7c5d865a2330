"""What is detected in several tiles is one object; what lies side by side stays two."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from active_learning.sampling.observations import Mask
from active_learning.tiles.grid import Tile, tiles_of
from active_learning.tiles.joining import JoinedDetection, TileDetection, join_tiles
from tests.work import calls_of

SIZE, OVERLAP = 100, 0.2
HEIGHT = WIDTH = 260  # 3 x 3 tiles, at 0, 80, 160
NMS = 0.5


def mask_of(x0: int, y0: int, x1: int, y1: int) -> Mask:
    """An ellipse, so that no shape is its own box."""
    rows, columns = np.mgrid[y0:y1, x0:x1] + 0.5
    across, down = (columns - (x0 + x1) / 2) / ((x1 - x0) / 2), (rows - (y0 + y1) / 2) / ((y1 - y0) / 2)
    return Mask.cut(x0, y0, across**2 + down**2 <= 1)


def in_tile(mask: Mask, tile: Tile, label: int = 0, score: float = 0.9, image: tuple[int, int] = (HEIGHT, WIDTH)):
    """What a network that is never wrong sees of an object in a tile; None for nothing."""
    x0, y0, x1, y1 = tile.bounds(*image)
    left, top, right, bottom = mask.bounds
    window = max(x0, left), max(y0, top), min(x1, right), min(y1, bottom)
    if window[0] >= window[2] or window[1] >= window[3]:
        return None
    visible = Mask.cut(window[0], window[1], mask.window(*window))
    if not visible.area:
        return None
    return TileDetection(tile, label, score, np.array(visible.bounds, dtype=np.float64), visible)


def perfect(masks: Sequence[Mask], image: tuple[int, int] = (HEIGHT, WIDTH), least: int = 1) -> list[TileDetection]:
    tiles = tiles_of(*image, SIZE, OVERLAP)
    seen = (in_tile(mask, tile, image=image) for tile in tiles for mask in masks)
    return [one for one in seen if one is not None and one.mask.area >= least]


def join(found: Sequence[TileDetection], image: tuple[int, int] = (HEIGHT, WIDTH)) -> list[JoinedDetection]:
    return join_tiles(found, *image, nms_threshold=NMS)


def masks_found(found: Sequence[TileDetection]) -> list[tuple[int, ...]]:
    return sorted((*one.mask.bounds, one.mask.area) for one in join(found))


ONE_OBJECT = {
    "in one tile": (20, 20, 60, 60),
    "in the overlap of two": (82, 20, 98, 60),
    "reaching into the overlap": (60, 20, 90, 60),
    "over the border": (60, 20, 130, 60),
    "in the corner of four": (60, 60, 130, 130),
    "exactly at a border": (40, 20, 100, 60),
    "larger than a tile": (10, 10, 150, 150),
    "over three tiles": (5, 30, 255, 70),
    "over all tiles": (2, 2, 258, 258),
    "a sliver in the second tile": (20, 20, 82, 60),
    "two pixels": (99, 99, 101, 101),
}


@pytest.mark.parametrize("bounds", ONE_OBJECT.values(), ids=ONE_OBJECT)
def test_an_object_is_found_once_and_whole(bounds: tuple[int, int, int, int]):
    mask = mask_of(*bounds)
    assert masks_found(perfect([mask])) == [(*mask.bounds, mask.area)]


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param([(40, 20, 130, 50), (40, 50, 130, 80)], id="both over one border"),
        pytest.param([(60, 20, 90, 60), (90, 20, 120, 60)], id="touching in the overlap"),
        pytest.param([(10, 20, 150, 50), (10, 50, 150, 80)], id="both larger than a tile"),
        pytest.param([(60, 60, 95, 130), (95, 60, 130, 130)], id="at the corner of four"),
    ],
)
def test_touching_objects_stay_two(pair: list[tuple[int, int, int, int]]):
    masks = [mask_of(*bounds) for bounds in pair]
    assert masks_found(perfect(masks)) == sorted((*mask.bounds, mask.area) for mask in masks)


@st.composite
def separate_objects(draw: st.DrawFn) -> list[Mask]:
    """Ellipses in cells of a grid of random lines, so that none touch; some are larger than a tile."""
    columns = sorted(draw(st.lists(st.integers(0, 520), min_size=2, max_size=7, unique=True)))
    rows = sorted(draw(st.lists(st.integers(0, 520), min_size=2, max_size=7, unique=True)))
    cells = [
        (x0 + 1, y0 + 1, x1 - 1, y1 - 1)
        for x0, x1 in zip(columns, columns[1:], strict=False)
        for y0, y1 in zip(rows, rows[1:], strict=False)
        if x1 - x0 > 12 and y1 - y0 > 12
    ]
    return [mask_of(*cell) for cell in cells]


@settings(max_examples=60, deadline=None)
@given(separate_objects())
def test_each_of_many_objects_is_found_once_and_whole(masks: list[Mask]):
    image = (520, 520)
    joined = join(perfect(masks, image), image)
    assert sorted((*one.mask.bounds, one.mask.area) for one in joined) == sorted(
        (*mask.bounds, mask.area) for mask in masks
    )


def tile_at(x: int, y: int) -> Tile:
    return Tile(y, x, SIZE)


def seen(bounds: tuple[int, int, int, int], tile: Tile, label: int = 0, score: float = 0.9) -> TileDetection:
    found = in_tile(mask_of(*bounds), tile, label, score)
    assert found is not None
    return found


def outcome(found: Sequence[TileDetection]) -> list[tuple[int, float, bool]]:
    return [(found[one.source].label, found[one.source].score, one.whole) for one in join(found)]


LEFT, RIGHT = tile_at(0, 0), tile_at(80, 0)
OVER = (60, 20, 130, 60)
A, B = (84, 20, 96, 56), (84, 34, 96, 70)  # whole in both tiles, and over each other
UPPER, LOWER, LOWER_CUT = (84, 20, 96, 38), (84, 38, 96, 56), (80, 38, 98, 50)


def as_one(tile: Tile, label: int, score: float, *objects: tuple[int, int, int, int]) -> TileDetection:
    """What a tile sees of several objects that it takes for one."""
    pixels = np.zeros((HEIGHT, WIDTH), dtype=bool)
    for mask in (mask_of(*bounds) for bounds in objects):
        x0, y0, x1, y1 = mask.bounds
        pixels[y0:y1, x0:x1] |= mask.pixels
    mask = Mask.cut(0, 0, pixels)
    return TileDetection(tile, label, score, np.array(mask.bounds, dtype=np.float64), mask)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param(
            [seen((60, 20, 95, 60), LEFT, score=0.6), seen((60, 20, 95, 60), RIGHT, score=0.9)],
            [(0, 0.6, True)],
            id="the whole one stands, although the cut one scores higher",
        ),
        pytest.param(
            [seen(OVER, LEFT, 0, 0.6), seen(OVER, RIGHT, 1, 0.7)], [(1, 0.7, False)], id="cut: the best class"
        ),
        pytest.param(
            [seen((83, 20, 98, 60), LEFT, 0, 0.6), seen((83, 20, 98, 60), RIGHT, 1, 0.7)],
            [(1, 0.7, False)],
            id="near both borders: as if cut",
        ),
        pytest.param(
            [seen((85, 20, 94, 60), LEFT, 0, 0.6), seen((85, 20, 94, 60), RIGHT, 1, 0.7)],
            [(1, 0.7, True)],
            id="whole ones of two classes: suppression goes across classes",
        ),
        pytest.param(
            [seen((86, 20, 94, 60), LEFT, 0, 0.6), seen((86, 33, 94, 73), RIGHT, 1, 0.7)],
            [(1, 0.7, True)],
            id="of two classes, seen otherwise: their boxes alone say so",
        ),
        pytest.param(
            [seen(A, tile, 0, 0.6) for tile in (LEFT, RIGHT)] + [seen(B, tile, 1, 0.7) for tile in (LEFT, RIGHT)],
            [(1, 0.7, True), (0, 0.6, True)],
            id="two classes over each other, both whole in both tiles",
        ),
        pytest.param(
            [seen(A, LEFT, 0, 0.6), seen(B, LEFT, 1, 0.7), seen(A, RIGHT, 1, 0.8)],
            [(1, 0.8, True), (1, 0.7, True)],
            id="two in one tile, of which the other sees one, as of the other class",
        ),
        pytest.param(
            [seen(UPPER, LEFT, 0, 0.6), seen(LOWER, LEFT, 1, 0.7), as_one(RIGHT, 2, 0.8, UPPER, LOWER)],
            [(2, 0.8, True), (1, 0.7, True)],
            id="two whole ones in one tile, which the other sees as one",
        ),
        pytest.param(
            [seen(UPPER, LEFT, 0, 0.6), seen(LOWER_CUT, LEFT, 0, 0.7), as_one(RIGHT, 0, 0.8, UPPER, LOWER_CUT)],
            [(0, 0.8, False), (0, 0.6, True)],
            id="a whole one and a cut one in one tile, which the other sees as one",
        ),
        pytest.param(
            [seen((86, 20, 94, 60), LEFT, 0, 0.6), seen((86, 24, 94, 64), RIGHT, 0, 0.7)],
            [(0, 0.7, True)],
            id="the same, seen otherwise",
        ),
        pytest.param(
            [seen((20, 20, 98, 60), LEFT), seen((88, 30, 120, 50), RIGHT, score=0.3)],
            [(0, 0.9, False), (0, 0.3, True)],
            id="a whole one beside it stays",
        ),
        pytest.param(
            [seen(OVER, LEFT, 0, 0.9), seen(OVER, LEFT, 1, 0.3), seen(OVER, RIGHT, 0, 0.8), seen(OVER, RIGHT, 1, 0.2)],
            [(0, 0.9, False), (1, 0.3, False)],
            id="two classes for one object in each tile",
        ),
    ],
)
def test_which_detections_stand(found: list[TileDetection], expected: list[tuple[int, float, bool]]):
    assert outcome(found) == expected


def test_a_fragment_inside_an_object_of_another_tile_goes():
    fragment = TileDetection(RIGHT, 0, 0.4, np.array([80.0, 30.0, 84.0, 50.0]), mask_of(80, 30, 84, 50))
    assert outcome([seen((20, 20, 92, 60), LEFT), fragment]) == [(0, 0.9, True)]


def test_a_fragment_that_its_own_tile_sees_beside_the_object_stays():
    fragment = TileDetection(RIGHT, 1, 0.4, np.array([80.0, 35.0, 86.0, 45.0]), mask_of(80, 35, 86, 45))
    found = [seen(OVER, LEFT), seen(OVER, RIGHT), fragment]
    assert outcome(found) == [(0, 0.9, False), (1, 0.4, False)]


def test_an_object_of_two_parts_in_a_tile_is_one():
    rows, columns = np.mgrid[0:60, 0:100]
    arch = Mask.cut(20, 20, (columns > 79) | (rows < 12) | (rows > 47))  # the left tile sees its two feet
    assert masks_found(perfect([arch])) == [(*arch.bounds, arch.area)]


def found_in_tiles(count: int, side: int):
    rng = np.random.default_rng(0)
    masks = [mask_of(x, y, x + 60, y + 60) for x, y in rng.integers(0, side - 60, (count, 2)).tolist()]
    found = []
    for tile in tiles_of(side, side, 1000, OVERLAP):
        x0, y0, x1, y1 = tile.bounds(side, side)
        near = (mask for mask in masks if mask.x < x1 and mask.y < y1 and mask.x + 60 > x0 and mask.y + 60 > y0)
        found += [one for mask in near if (one := in_tile(mask, tile, image=(side, side)))]
    return found


def test_work_grows_with_the_objects_and_not_with_their_square():
    few, many = found_in_tiles(500, 3000), found_in_tiles(2000, 6000)
    assert len(join_tiles(many, 6000, 6000, nms_threshold=NMS)) > 1500
    work = [calls_of(join_tiles, found, side, side, nms_threshold=NMS) for found, side in ((few, 3000), (many, 6000))]
    assert work[1] < 6 * work[0]
