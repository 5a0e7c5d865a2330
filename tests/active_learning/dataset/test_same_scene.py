from __future__ import annotations

import numpy as np
import pytest

from active_learning.dataset.same_scene import SIDE, show_one_scene

NOISE = np.random.default_rng(0).uniform(0, 255, (SIDE, SIDE)).astype(np.float32)
EVEN = np.full((SIDE, SIDE), 100, np.float32)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param(NOISE, NOISE, True, id="itself"),
        pytest.param(NOISE, NOISE[::-1].copy(), False, id="upside down"),
        pytest.param(NOISE, 255 - NOISE, False, id="negative"),
        pytest.param(NOISE, EVEN, False, id="something and nothing"),
        pytest.param(EVEN, EVEN + 1, True, id="nothing, equally bright"),
        pytest.param(EVEN, EVEN + 40, False, id="nothing, brighter"),
    ],
)
def test_one_scene(one: np.ndarray, other: np.ndarray, same: bool) -> None:
    assert show_one_scene(one, other) is same
    assert show_one_scene(other, one) is same
