"""Noise, bumps and light."""

from __future__ import annotations

import numpy as np
import pytest

from demo.texture import bumps, fractal_noise, grain, jittered_grid, lit, mix, nearest_points, soft_step, tinted


@pytest.mark.parametrize(("height", "width", "coarsest"), [(40, 60, 30), (5, 7, 100), (64, 64, 3)], ids=str)
def test_noise_is_of_moderate_size_and_mean(height: int, width: int, coarsest: float) -> None:
    noise = fractal_noise(np.random.default_rng(0), height, width, coarsest, 4)
    assert noise.shape == (height, width) and noise.dtype == np.float32
    assert np.abs(noise).max() < 2.5 and noise.std() > 0.05


def test_grain_has_unit_variance_or_about() -> None:
    assert grain(np.random.default_rng(0), 100, 100).std() == pytest.approx(1, abs=0.25)


def test_nearest_points_of_two_points() -> None:
    distance, number = nearest_points(np.array([[2, 5], [12, 5]]), 10, 15)
    assert distance[5, 2] == 0 and distance[5, 4] == pytest.approx(2, abs=0.05)
    assert number[5, 0] == number[5, 6] != number[5, 8] == number[5, 14]


def test_a_jittered_grid_covers_the_patch_about_evenly() -> None:
    points = jittered_grid(np.random.default_rng(0), 100, 100, 10)
    distance, _ = nearest_points(points, 100, 100)
    assert 100 < len(points) < 140
    assert distance.max() < 13


def test_bumps_are_half_spheres() -> None:
    assert bumps(np.array([0.0, 3.0, 5.0, 9.0]), 5.0) == pytest.approx([1, 0.8, 0, 0])


def test_a_slope_to_the_light_is_brighter_than_one_away_from_it() -> None:
    roof = 20 - np.abs(np.arange(41, dtype=np.float32) - 20)[None].repeat(9, axis=0)
    brightness = lit(roof, np.array([-0.6, 0.0, 0.8]))
    flat = lit(np.zeros((9, 9), np.float32), np.array([-0.6, 0.0, 0.8]))
    assert brightness[4, 10] > flat[4, 4] > brightness[4, 30]


def test_mixing_and_tinting() -> None:
    half = np.full((2, 2), 0.5, np.float32)
    picture = tinted(half, (1.0, 0.5, 0.0))
    assert picture[0, 0] == pytest.approx([0.5, 0.25, 0])
    assert mix(picture, (1.0, 1.0, 1.0), half)[1, 1] == pytest.approx([0.75, 0.625, 0.5])


def test_soft_step() -> None:
    assert soft_step(np.array([0.0, 0.9, 1.0, 1.1, 2.0]), 1.0, 0.4) == pytest.approx([0, 0.25, 0.5, 0.75, 1])
