"""Where tiles lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_learning.tiles.grid import Tile, tiles_of


@pytest.mark.parametrize(
    ("height", "width", "size", "overlap", "expected"),
    [
        pytest.param(100, 100, 100, 0.2, [(0, 0)], id="just one"),
        pytest.param(60, 80, 100, 0.2, [(0, 0)], id="smaller than a tile"),
        pytest.param(101, 100, 100, 0.2, [(0, 0), (1, 0)], id="one row too many"),
        pytest.param(100, 180, 100, 0.2, [(0, 0), (0, 80)], id="two side by side"),
        pytest.param(100, 181, 100, 0.2, [(0, 0), (0, 40), (0, 81)], id="evenly"),
        pytest.param(180, 180, 100, 0.2, [(0, 0), (0, 80), (80, 0), (80, 80)], id="row by row"),
        pytest.param(100, 200, 100, 0.0, [(0, 0), (0, 100)], id="no overlap"),
    ],
)
def test_tiles_of(height: int, width: int, size: int, overlap: float, expected: list[tuple[int, int]]):
    assert tiles_of(height, width, size, overlap) == [Tile(y, x, size) for y, x in expected]


@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    size=st.integers(8, 120),
    overlap=st.sampled_from((0, 0.2, 0.5)),
)
def test_tiles_cover_the_image_and_overlap(height: int, width: int, size: int, overlap: float):
    tiles = tiles_of(height, width, size, overlap)
    covered = np.zeros((height, width), dtype=bool)
    for tile in tiles:
        x0, y0, x1, y1 = tile.bounds(height, width)
        covered[y0:y1, x0:x1] = True
        assert x0 < x1
        assert y0 < y1
    assert covered.all()
    for starts in (sorted({tile.x for tile in tiles}), sorted({tile.y for tile in tiles})):
        shared = [before + size - after for before, after in zip(starts, starts[1:], strict=False)]
        assert all(pixels >= np.floor(size * overlap) for pixels in shared)
