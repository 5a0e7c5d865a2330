"""Soil, leaves and laying things on the canvas."""

from __future__ import annotations

import numpy as np
import pytest

from demo.field import LEAF_KINDS, LEAF_SHAPE, Canvas, leaf, leaf_placing, placing, soil
from demo.heads import Sprite

LIGHT = np.array([-0.6, 0.0, 0.8])
RED_SQUARE = Sprite(np.full((10, 10, 3), [1.0, 0.0, 0.0], np.float32), np.ones((10, 10), np.float32))


def grey(height: int = 40, width: int = 60) -> Canvas:
    return Canvas(np.full((height, width, 3), 0.5, np.float32), LIGHT)


def at(x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y]], np.float64)


@pytest.mark.parametrize(
    ("place", "pixels"),
    [((20, 15), 100), ((-5, 15), 50), ((55, 35), 25), ((200, 15), 0), ((-50, -50), 0)],
    ids=["inside", "over-an-edge", "over-a-corner", "outside", "outside-above"],
)
def test_lay_returns_what_is_covered(place: tuple[int, int], pixels: int) -> None:
    canvas = grey()
    cover = canvas.lay(RED_SQUARE, at(*place), lift=2)
    assert cover.shape == (40, 60) and cover.sum() == pixels
    assert np.allclose(canvas.picture[cover], [1, 0, 0])


def test_a_shadow_falls_away_from_the_light() -> None:
    canvas = grey()
    canvas.lay(RED_SQUARE, at(25, 15), lift=6)
    left, right = canvas.picture[20, 22], canvas.picture[20, 37]
    assert right.max() < left.min()


def test_soil_is_brown_and_the_same_for_the_same_seed() -> None:
    first, second = (soil(np.random.default_rng(3), 120, 160, LIGHT).picture for _ in range(2))
    red, green, blue = first.mean(axis=(0, 1))
    assert np.array_equal(first, second)
    assert red > green > blue


def test_a_leaf_grows_from_its_stem_in_its_direction() -> None:
    matrix = leaf_placing((10, 20), angle=np.pi / 2, length=48, width=28)
    middle = LEAF_SHAPE[0] / 2
    assert np.allclose(matrix @ [0, middle, 1], [10, 20])
    assert np.allclose(matrix @ [LEAF_SHAPE[1], middle, 1], [10, 68])


def test_leaves_are_green_and_of_several_kinds() -> None:
    leaves = [leaf(np.random.default_rng(seed)) for seed in range(3 * LEAF_KINDS)]
    assert len({sprite.alpha.tobytes() for sprite in leaves}) > LEAF_KINDS / 2
    for sprite in leaves:
        red, green, blue = sprite.picture[sprite.alpha > 0.5].mean(axis=0)
        assert green > red and green > blue
        assert 0.2 < sprite.alpha.mean() < 0.8


def test_placing_lays_the_middle_where_it_is_asked_for() -> None:
    matrix = placing(np.random.default_rng(0), RED_SQUARE, (33.0, 21.0), 1.5)
    assert np.allclose(matrix @ [5, 5, 1], [33, 21])
