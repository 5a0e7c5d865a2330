"""The camera: near views, and the same exposure a moment later."""

from __future__ import annotations

import numpy as np
import pytest

from demo.camera import Camera, View


def test_a_sampled_view_is_near_the_first() -> None:
    rng = np.random.default_rng(0)
    views = [View.sample(rng) for _ in range(300)]
    shifts = np.array([view.shift for view in views])
    assert 0.018 < abs(shifts).max() <= 0.02
    for factors in ([view.scale for view in views], [view.brightness for view in views]):
        assert 0.9 <= min(factors) < 0.92 and 1.08 < max(factors) <= 1.1


def test_a_moment_later_the_noise_is_another_and_the_light_as_bright_as_asked_for() -> None:
    flat = np.full((80, 120, 3), 0.3, np.float32)
    first = Camera.sample(np.random.default_rng(0), 40, 60)
    same, brighter = (first.again(np.random.default_rng(1), brightness) for brightness in (1.0, 1.1))
    before, after, more = (camera.photograph(flat).astype(float) for camera in (first, same, brighter))
    assert before.shape == (40, 60, 3)
    assert (before != after).any()
    assert after.mean() == pytest.approx(before.mean(), rel=0.01)
    assert more.mean() / after.mean() == pytest.approx(1.1**first.gamma, rel=0.01)
