"""Heads: solid, inside their sprite, and different from class to class."""

from __future__ import annotations

import numpy as np
import pytest

from demo.heads import CLASSES, TRAITS, Sprite, draw_head

LIGHT = np.array([-0.5, -0.45, 0.74])


def head(label: str, seed: int = 0, radius: float = 60) -> Sprite:
    return draw_head(np.random.default_rng(seed), label, radius, LIGHT)


def mean_color(sprite: Sprite) -> np.ndarray:
    return sprite.picture[sprite.alpha > 0.5].mean(axis=0)


@pytest.mark.parametrize("label", CLASSES)
@pytest.mark.parametrize("radius", [30, 75, 130])
def test_a_head_fills_its_sprite_but_not_to_the_edge(label: str, radius: float) -> None:
    sprite = head(label, radius=radius)
    assert sprite.picture.shape == (*sprite.alpha.shape, 3)
    assert sprite.picture.min() >= 0 and sprite.picture.max() <= 1
    border = np.concatenate([sprite.alpha[0], sprite.alpha[-1], sprite.alpha[:, 0], sprite.alpha[:, -1]])
    assert border.max() == 0
    assert 0.55 * np.pi * radius**2 < (sprite.alpha > 0.5).sum() < 1.2 * np.pi * radius**2


@pytest.mark.parametrize("label", CLASSES)
def test_same_seed_same_head_other_seed_another(label: str) -> None:
    assert np.array_equal(head(label).picture, head(label).picture)
    assert not np.array_equal(head(label).alpha, head(label, seed=1).alpha)


@pytest.mark.parametrize(
    ("label", "sign"),
    [("matured", 1), ("cateye", 1), ("damaged", 1), ("headrot", 1)],
    ids=["matured-yellow", "cateye-yellow", "damaged-brown", "headrot-brown"],
)
def test_a_trait_shifts_the_color_of_the_whole_head(label: str, sign: int) -> None:
    red_over_blue = [mean_color(head(name, seed))[[0, 2]] for name in ("healthy", label) for seed in range(4)]
    healthy, other = np.split(np.array([red / blue for red, blue in red_over_blue]), 2)
    assert sign * (other.min() - healthy.max()) > 0


def test_every_class_has_a_trait() -> None:
    assert tuple(TRAITS) == CLASSES
