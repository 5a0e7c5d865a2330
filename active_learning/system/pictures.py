"""Small pictures that a run keeps for its report."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from active_learning.system.files import write_errors_named


def write_small_picture(path: Path, pixels: npt.NDArray[np.uint8], longest_side: int) -> None:
    """Writes (H, W, 3 or 4) blue, green, red and opacity as .jpg or .png, no longer than that in pixels.

    Raises:
        OSError: it cannot be written; the error names the file.
    """
    factor = longest_side / max(pixels.shape[:2])
    if factor < 1:
        width, height = (max(round(side * factor), 1) for side in pixels.shape[1::-1])
        pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    options = [cv2.IMWRITE_JPEG_QUALITY, 82] if path.suffix == ".jpg" else []
    _, content = cv2.imencode(path.suffix, np.ascontiguousarray(pixels), options)
    with write_errors_named(path):
        path.write_bytes(content.tobytes())  # imwrite cannot write into a folder with an umlaut everywhere
