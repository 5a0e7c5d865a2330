"""Colours for drawing."""

from __future__ import annotations

import numpy as np
import pytest

from detectron2.utils.colormap import colormap, random_color


def test_colours_differ_and_neighbours_differ_clearly() -> None:
    colors = colormap(rgb=True, maximum=1)
    distance = np.linalg.norm(colors[:, None] - colors[None], axis=2)
    assert distance[~np.eye(len(colors), dtype=bool)].min() > 0.02
    assert np.diagonal(distance, 1).min() > 0.3


@pytest.mark.parametrize("maximum", [1, 255])
def test_order_and_range(maximum: int) -> None:
    rgb, bgr = colormap(True, maximum), colormap(False, maximum)
    assert np.array_equal(rgb, bgr[:, ::-1])
    assert 0.9 * maximum < rgb.max() <= maximum and rgb.min() >= 0
    assert rgb.dtype == np.float32


def test_the_table_cannot_be_spoilt() -> None:
    colormap(rgb=True)[:] = 0
    assert colormap(rgb=True).max() > 0


def test_random_colours() -> None:
    np.random.seed(0)
    assert random_color(rgb=True, maximum=1).tolist() in colormap(True, 1).tolist()


def test_other_maximum_is_refused() -> None:
    with pytest.raises(ValueError, match="1 or 255"):
        colormap(maximum=100)
