"""Masks as PNG files inside json, base64-encoded."""

from __future__ import annotations

import base64
import binascii
import struct
import zlib

import cv2
import numpy as np

from active_learning.annotations.annotation import Mask

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_PIXELS = 2**28
DATA_URL = "data:image/png;base64,"


def encode_mask(mask: Mask) -> str:
    """HxW mask as a base64 PNG of 8-bit zeros and ones."""
    _, png = cv2.imencode(".png", mask.astype(np.uint8))
    return base64.b64encode(png.tobytes()).decode("ascii")


def decode_mask(text: str, most_pixels: int = MOST_PIXELS) -> Mask:
    """HxW mask from a base64 PNG of any depth, a data URL or not; see `decode_png`.

    Raises:
        ValueError: it is no whole PNG, or has more than `most_pixels`.
    """
    return decode_png(decode_base64(text.removeprefix(DATA_URL)), most_pixels=most_pixels)


def decode_base64(text: str) -> bytes:
    """Raises ValueError where it is no base64 text."""
    try:
        return base64.b64decode(text)
    except binascii.Error as error:
        raise ValueError(f"no base64 text: {error}") from error


def decode_png(png: bytes, *, by_alpha: bool = False, most_pixels: int = MOST_PIXELS) -> Mask:
    """HxW mask from the bytes of a PNG of any depth.

    Args:
        by_alpha: where the PNG has an alpha channel, it alone counts; else it does not where it is opaque everywhere.
            What is non-zero in any channel that counts is set.

    Raises:
        ValueError: it is no whole PNG, or has more than `most_pixels`.
    """
    _check_chunks(png)
    width, height = struct.unpack(">II", png[16:24])
    if not 0 < width * height <= most_pixels:
        raise ValueError(f"a PNG of {width}x{height} pixels")
    try:
        image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(f"cv2 cannot decode the PNG: {error}") from error
    if image is None:
        raise ValueError("cv2 cannot decode the PNG")
    channels = image.reshape(height, width, -1)
    if channels.shape[2] == 4:
        opaque = channels[:, :, 3] > 0
        if by_alpha or not opaque.all():
            return np.asarray(opaque)
    return np.asarray(channels[:, :, :3].any(axis=2))


def _check_chunks(png: bytes) -> None:
    """Raises ValueError unless all chunks are there: cv2 fills up a truncated PNG without a word."""
    if not png.startswith(SIGNATURE) or png[12:16] != b"IHDR":
        raise ValueError("no PNG file")
    position, kind, view = len(SIGNATURE), b"", memoryview(png)  # no copies of large chunks
    while kind != b"IEND":
        if position + 12 > len(png):
            raise ValueError("the PNG is cut off")
        length, kind = struct.unpack(">I4s", png[position : position + 8])
        end = position + 8 + length
        if png[end : end + 4] != struct.pack(">I", zlib.crc32(view[position + 4 : end])):
            raise ValueError(f"the PNG is damaged at byte {position}")
        position = end + 4
