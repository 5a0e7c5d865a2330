"""Where the tiles of an image lie."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Tile:
    """A square of `size` x `size` pixels with its corner at column x, row y of the image.

    Where the image is smaller than the tile, the tile reaches beyond its right or lower side.
    """

    y: int
    x: int
    size: int

    def bounds(self, height: int, width: int) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1: its columns x0..x1-1 and rows y0..y1-1 that lie in an image of that size."""
        return self.x, self.y, min(self.x + self.size, width), min(self.y + self.size, height)

    def visible_area(self, height: int, width: int) -> int:
        """Pixels of it that lie in an image of that size."""
        x0, y0, x1, y1 = self.bounds(height, width)
        return (x1 - x0) * (y1 - y0)


def tiles_of(height: int, width: int, size: int, overlap: float) -> list[Tile]:
    """Tiles that cover an image of that size, row by row.

    They lie evenly, the last ones at the image's sides; neighbours share at least `overlap` of their side.

    Args:
        size: side of a tile in pixels, at least 1.
        overlap: from 0 to below 1.
    """
    rows, columns = (_starts(length, size, overlap) for length in (height, width))
    return [Tile(y, x, size) for y in rows for x in columns]


def _starts(length: int, size: int, overlap: float) -> list[int]:
    room = max(length - size, 0)
    steps = math.ceil(room / max(math.floor(size * (1 - overlap)), 1))
    return [round(step * room / steps) for step in range(steps + 1)] if steps else [0]
