"""TIFF files whose tables are wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile


def write_tiff_with_part(
    path: Path, pixels: np.ndarray, tag: str, part: int, change: Callable[[int], int], **options: Any
) -> None:
    """A TIFF of (H, W, 3) pixels in which one number of a list, such as the lengths of its strips, is another."""
    tifffile.imwrite(path, pixels, photometric="rgb", **options)
    with tifffile.TiffFile(path, mode="r+b") as file:
        entry = file.pages.first.tags[tag]
        values = list(entry.value)
        values[part] = change(values[part])
        entry.overwrite(values)
