"""How large an image may be, for whatever reads it here, through Pillow's own switch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

MOST_PIXELS = 250 * 10**6  # unless the settings' max_image_megapixels give another number


@contextmanager
def pixel_limit(most_pixels: int | None) -> Iterator[None]:
    """Images of more pixels are refused in the block, with Image.DecompressionBombError; None: the engine's limit."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, most_pixels
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
