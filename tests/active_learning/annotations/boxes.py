"""The box of a mask, for tests of readers and writers."""

from __future__ import annotations

import numpy as np


def box_of(mask: np.ndarray) -> list[int]:
    """x, y, width, height of what is set in an (H, W) mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
