"""Scenes: the annotation is the visible part of each head."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from demo.camera import View
from demo.field import soil
from demo.scene import (
    LEAST_VISIBLE,
    MARGIN,
    SMALLEST_PART,
    Scene,
    _occlude,
    _places,
    _polygons,
    _view_matrix,
    draw_scene,
)

LIGHT = np.array([-0.6, 0.0, 0.8])


def scene(seed: int, labels: list[str]) -> Scene:
    return draw_scene(np.random.default_rng(seed), labels, 160, 200)


def mask(points: np.ndarray) -> np.ndarray:
    drawn = np.zeros((160, 200), np.uint8)
    cv2.fillPoly(drawn, [np.round(points - 0.5).astype(np.int32)], 1)
    return drawn.astype(bool)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_scene_holds_its_heads_apart_from_each_other(count: int) -> None:
    drawn = scene(count, ["healthy", "damaged", "matured", "cateye"][:count])
    assert drawn.picture.shape == (160, 200, 3) and drawn.picture.dtype == np.uint8
    assert 1 <= len(drawn.heads) <= count
    masks = [mask(part) for head in drawn.heads for part in head.parts]
    total = np.sum(masks, axis=0)
    assert (total > 1).sum() < 0.02 * (total > 0).sum()  # outlines of neighbours share a border line at most


def test_a_scene_is_the_same_for_the_same_seed() -> None:
    first, second = scene(7, ["headrot", "healthy"]), scene(7, ["headrot", "healthy"])
    assert np.array_equal(first.picture, second.picture)
    assert all(np.array_equal(a.parts[0], b.parts[0]) for a, b in zip(first.heads, second.heads, strict=True))


def test_a_yellow_head_is_yellow_inside_its_outline() -> None:
    """The outline is where the head is drawn."""
    drawn = scene(1, ["matured"])
    inside = np.any([mask(part) for part in drawn.heads[0].parts], axis=0)
    blue, green, red = (drawn.picture[..., channel].astype(float) for channel in range(3))
    yellow = (green + red) / 2 - blue
    assert yellow[inside].mean() > yellow[~inside].mean() + 20


def test_heads_have_room() -> None:
    for seed in range(20):
        places = _places(np.random.default_rng(seed), 3, 240, 320)
        assert places
        for number, (x, y, radius) in enumerate(places):
            assert 0 < x < 640 and 0 < y < 480
            assert all(np.hypot(x - a, y - b) > 0.9 * (radius + r) for a, b, r in places[:number])


def test_a_leaf_never_hides_most_of_a_head() -> None:
    head = np.zeros((320, 400), bool)
    head[100:220, 140:260] = True
    hidden = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        (left,) = _occlude(rng, soil(rng, 320, 400, LIGHT), (200, 160, 60), [head])
        assert left.sum() >= LEAST_VISIBLE * head.sum()
        hidden += left.sum() < head.sum()
    assert hidden > 10


@pytest.mark.parametrize("direction", [-1, 1])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (240, 320)], ids=str)
def test_the_margin_holds_all_that_a_view_can_show(height: int, width: int, direction: int) -> None:
    rows, columns = (height + 2 * math.ceil(MARGIN * height), width + 2 * math.ceil(MARGIN * width))
    view = View((0.02 * direction, 0.02 * direction), scale=0.9)
    back = cv2.invertAffineTransform(_view_matrix(view, (2 * rows, 2 * columns), (2 * width, 2 * height)))
    corners = np.array([[0, 0, 1], [2 * width - 1, 2 * height - 1, 1]]) @ back.T
    assert corners.min() >= 0 and (corners.max(axis=0) <= [2 * columns - 1, 2 * rows - 1]).all()


def test_heads_shrink_with_the_picture() -> None:
    small, large = (_places(np.random.default_rng(0), 3, side, side) for side in (96, 192))
    assert small and np.allclose(2 * np.array(small), large)


def test_smaller_parts_are_outlined_in_smaller_pictures() -> None:
    drawn = np.zeros((100, 100), bool)
    drawn[20:34, 20:34] = True
    assert not _polygons(drawn) and len(_polygons(drawn, unit=0.5)) == 1


def test_polygons_of_a_mask() -> None:
    drawn = np.zeros((200, 300), bool)
    drawn[20:60, 20:120] = True
    drawn[100:180, 40:100] = True
    drawn[10:14, 200:204] = True  # too small
    large, small = _polygons(drawn)
    assert cv2.contourArea(large.astype(np.float32)) == pytest.approx(80 * 60 / 4, rel=0.06)
    assert cv2.contourArea(small.astype(np.float32)) == pytest.approx(100 * 40 / 4, rel=0.06)
    assert np.allclose(small.min(axis=0), [10, 10], atol=0.5) and np.allclose(small.max(axis=0), [60, 30], atol=0.5)
    assert not _polygons(np.zeros((50, 50), bool))
    assert SMALLEST_PART > 4
