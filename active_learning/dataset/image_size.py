"""Height and width of an image as it is to be looked at, from its header alone."""

from __future__ import annotations

import struct
from pathlib import Path

from PIL import Image, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from active_learning.errors import MaskALError

_ORIENTATION = 0x0112
_TRANSPOSED = (5, 6, 7, 8)  # the values of the EXIF orientation that swap height and width


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) in pixels, EXIF-rotated. No pixel is decoded.

    Raises:
        MaskALError: the file cannot be opened or is no image.
    """
    try:
        with Image.open(path) as image:
            width, height, orientation = _header(image)
    except UnidentifiedImageError as error:
        raise MaskALError(f"{path}: is no image or is damaged; replace or remove it") from error
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise MaskALError(f"{path}: cannot be read as an image: {error}; replace or remove it") from error
    return (width, height) if orientation in _TRANSPOSED else (height, width)


def _header(image: Image.Image) -> tuple[int, int, int]:
    """Width and height as stored, and the EXIF orientation."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # newer versions of Pillow have swapped `size` already
        tags = image.tag_v2
        return tags[TiffImagePlugin.IMAGEWIDTH], tags[TiffImagePlugin.IMAGELENGTH], tags.get(_ORIENTATION, 1)
    if isinstance(image, PngImagePlugin.PngImageFile):
        return *image.size, _png_orientation(image)
    return *image.size, image.getexif().get(_ORIENTATION, 1)


def _png_orientation(image: PngImagePlugin.PngImageFile) -> int:
    """PNG allows EXIF behind the pixels, where Pillow would decode them all to look for it."""
    if "exif" not in image.info and "Raw profile type exif" not in image.info:
        block = _png_exif_block(image)
        if block is None:
            return 1
        image.info["exif"] = b"Exif\x00\x00" + block
    orientation: int = Image.Image.getexif(image).get(_ORIENTATION, 1)
    return orientation


def _png_exif_block(image: PngImagePlugin.PngImageFile) -> bytes | None:
    """Steps from chunk to chunk."""
    stream = image.fp
    if stream is None:
        raise ValueError("the image has been closed")
    stream.seek(8)
    while len(header := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", header)
        if kind == b"eXIf":
            return stream.read(length)
        stream.seek(length + 4, 1)
    return None
