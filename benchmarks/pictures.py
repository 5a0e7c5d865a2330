"""The picture files of the benchmarks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt


def read_picture(path: Path) -> npt.NDArray[np.uint8]:
    """(H, W, 3) in blue, green, red."""
    pixels = cv2.imread(str(path))
    if pixels is None:
        raise SystemExit(f"{path}: cannot be read as an image")
    return np.asarray(pixels, np.uint8)
