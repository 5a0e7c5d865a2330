"""The objects of an image, cut into those of its tiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_learning.annotations.annotation import Annotation, Bitmap, Instance, Part
from active_learning.annotations.coco import CocoImage, coco_image
from active_learning.annotations.contours import instance_mask
from active_learning.tiles.cutting import CutTile, cut_annotation, tiles_to_train_on
from active_learning.tiles.grid import Tile, tiles_of

HEIGHT, WIDTH = 90, 130


def box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float64)


def ellipse(x: float, y: float, radius_x: float, radius_y: float) -> np.ndarray:
    turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    inside = np.stack([x + radius_x * np.cos(turns), y + radius_y * np.sin(turns)], axis=1)
    return inside.clip(0, (WIDTH, HEIGHT)).round(3)


def annotated(*objects: np.ndarray | Bitmap | list[np.ndarray], height: int = HEIGHT, width: int = WIDTH) -> CocoImage:
    instances = []
    for one in objects:
        outlines = one if isinstance(one, list) else [one]
        parts = () if isinstance(one, Bitmap) else tuple(map(Part, outlines))
        instances.append(Instance("a", parts, one if isinstance(one, Bitmap) else None))
    return coco_image(Annotation("a.png", height, width, tuple(instances)))


def masks(cut: CutTile) -> list[np.ndarray]:
    return [instance_mask(one, cut.tile.size, cut.tile.size) for one in cut.objects]


def sliver_mask(cut: CutTile) -> np.ndarray:
    return np.any([instance_mask(Instance("", bitmap=one), *[cut.tile.size] * 2) for one in cut.slivers], axis=0)


numbers = st.floats(0, 1)


@given(
    places=st.lists(st.tuples(numbers, numbers, numbers, numbers), min_size=1, max_size=6),
    bitmaps=st.booleans(),
    size=st.integers(20, 150),
    overlap=st.sampled_from([0.0, 0.2, 0.5]),
)
def test_each_pixel_of_an_object_is_seen_in_each_tile_that_holds_it(places, bitmaps, size, overlap):
    outlines = [ellipse(x * WIDTH, y * HEIGHT, 3 + a * 60, 3 + b * 40) for x, y, a, b in places]
    wholes = [instance_mask(Instance("a", (Part(outline),)), HEIGHT, WIDTH) for outline in outlines]
    objects = [Bitmap(0, 0, one) for one in wholes] if bitmaps else outlines
    for cut in cut_annotation(annotated(*objects), tiles_of(HEIGHT, WIDTH, size, overlap)):
        x0, y0, x1, y1 = cut.tile.bounds(HEIGHT, WIDTH)
        seen = [one[y0:y1, x0:x1] for one in wholes]
        kept = masks(cut)
        for mask in kept:
            assert any(np.array_equal(mask[: y1 - y0, : x1 - x0], one) for one in seen)
            assert not mask[y1 - y0 :].any() and not mask[:, x1 - x0 :].any()
        for whole, one in zip(wholes, seen, strict=True):
            if one.sum() == whole.sum():  # it lies in the tile
                assert any(np.array_equal(mask[: y1 - y0, : x1 - x0], one) for mask in kept)
        covered = np.any([*kept, np.zeros((size, size), bool)], axis=0)
        all_of_it = np.any(seen, axis=0)
        hidden = sliver_mask(cut) if cut.slivers else np.zeros((size, size), bool)
        assert np.array_equal((covered | hidden)[: y1 - y0, : x1 - x0], all_of_it)
        assert not (covered & hidden).any()


@pytest.mark.parametrize(
    ("outline", "objects", "slivers"),
    [
        (box(10, 10, 30, 30), 1, 0),
        (box(40, 10, 60, 30), 1, 0),  # half of it
        (box(47, 10, 67, 30), 0, 1),  # 15 % of it
        (box(50, 10, 70, 30), 0, 0),  # beside it
        (box(45, 10, 55, 12), 0, 1),  # half of it, which is 10 pixels
        (box(10, 10, 13, 13), 1, 0),  # 9 pixels, but all of it
        (box(0, 0, 130, 90), 1, 0),  # 21 % of it, which is all of the tile
        (box(45, 0, 130, 90), 0, 1),  # 3 % of it, 10 % of the tile
    ],
    ids=["inside", "half", "sliver", "beside", "few pixels", "small", "larger than the tile", "side of a large one"],
)
def test_slivers_are_no_objects(outline, objects, slivers):
    (cut,) = cut_annotation(annotated(outline), [Tile(0, 0, 50)])
    assert (len(cut.objects), len(cut.slivers)) == (objects, slivers)


def test_an_object_in_parts_keeps_those_that_are_visible():
    (cut,) = cut_annotation(annotated([box(10, 10, 30, 30), box(60, 10, 70, 30)]), [Tile(0, 0, 50)])
    assert np.array_equal(masks(cut)[0], np.pad(np.ones((20, 20), bool), ((10, 20), (10, 20))))


def test_a_sliver_leaves_its_neighbours_their_pixels():
    (cut,) = cut_annotation(annotated(box(44, 10, 84, 50), box(30, 20, 47, 40)), [Tile(0, 0, 50)])
    assert len(cut.objects) == 1
    hidden = sliver_mask(cut)
    assert hidden[10:20, 44:].all() and hidden[20:40, 47:].all() and not hidden[20:40, :47].any()


@pytest.mark.parametrize(
    ("count", "taken"), [(0, 1), (1, 2), (3, 4), (4, 6), (12, 12)], ids=["none", "one", "three", "four", "all"]
)
def test_empty_tiles_are_a_share(count, taken):
    image = annotated(*(box(10 * at + 2, 2, 10 * at + 8, 8) for at in range(count)), height=10, width=120)
    tiles = cut_annotation(image, [Tile(0, 10 * at, 10) for at in range(12)])
    chosen = tiles_to_train_on(tiles, "a.png", 0)
    assert (len(chosen), sum(bool(one.objects) for one in chosen)) == (taken, count)
    assert [one.tile for one in chosen] == sorted(one.tile for one in chosen)


def test_name_and_seed_decide_on_the_empty_ones():
    tiles = cut_annotation(annotated(height=10, width=1000), [Tile(0, 10 * at, 10) for at in range(100)])

    def chosen(name: str, seed: int) -> list[Tile]:
        return [one.tile for one in tiles_to_train_on(tiles, name, seed)]

    assert chosen("a.png", 0) == chosen("a.png", 0)
    assert len({tuple(chosen(name, seed)) for name in "abc" for seed in range(3)}) > 5
