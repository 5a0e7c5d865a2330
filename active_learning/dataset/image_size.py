"""Height and width of an image as it is shown, from its header alone."""

from __future__ import annotations

from pathlib import Path

from active_learning.system.image_files import image_file, read_size


def image_size(path: Path, most_pixels: int | None = None) -> tuple[int, int]:
    """(height, width) in pixels, EXIF-rotated. No pixel is decoded.

    Raises:
        MaskALError: the file cannot be opened, is no image, or has more pixels (None: than the engine's limit).
    """
    with image_file(path, most_pixels) as file:
        return read_size(file)
