"""Image files as all of MaskAL opens them: through the engine, which knows the formats; faults name file and remedy."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image

from active_learning.errors import UnreadableImageError
from active_learning.system.disk_space import REMEDIES, reason_and_remedy
from active_learning.system.pixel_limit import pixel_limit
from detectron2.utils.image_file import (
    DAMAGED,
    UnknownImageError,
    check_file,
    check_pixels,
    eight_bits,
    read_pixels,
    read_size,
    read_small,
)

__all__ = ["eight_bits", "grey_thumbnail", "image_error", "image_file", "image_size", "image_threads", "pixels_fault",
           "read_pixels"]  # fmt: skip
THREADS = 2  # each holds an image


@contextmanager
def image_threads(most_pixels: int | None) -> Iterator[ThreadPoolExecutor]:
    """Threads that read images of no more pixels in the block; those left are not begun after an error, or Ctrl-C."""
    threads = ThreadPoolExecutor(THREADS)
    try:
        with pixel_limit(most_pixels):  # one switch for the whole process, so not in each of them
            yield threads
    finally:
        threads.shutdown(cancel_futures=True)


@contextmanager
def image_file(path: Path, most_pixels: int | None = None) -> Iterator[IO[bytes]]:
    """An image file to read in the block, by `read_pixels` or `check_pixels`.

    Raises:
        UnreadableImageError: it cannot be read, is of another format, damaged, or has more pixels (None: than the
            engine's limit).
    """
    try:
        check_file(str(path))
        with path.open("rb") as file, pixel_limit(most_pixels):
            yield file
    except DAMAGED as error:
        raise image_error(path, error, most_pixels) from error


def image_size(path: Path, most_pixels: int | None = None) -> tuple[int, int]:
    """(height, width) in pixels as the image is shown, EXIF-rotated, from its header alone. Raises as `image_file`."""
    with image_file(path, most_pixels) as file:
        return read_size(file)


def image_error(path: Path, error: Exception, most_pixels: int | None = None) -> UnreadableImageError:
    """What is wrong with an image file, in words, of what opening or decoding it has raised."""
    if isinstance(error, Image.DecompressionBombError):
        remedy = "make the image smaller" if most_pixels is None else "raise max_image_megapixels"
        return UnreadableImageError(f"{path}: {error}; {remedy}")
    if isinstance(error, UnknownImageError):
        return UnreadableImageError(f"{path}: {error}; replace or remove it")
    reason = reason_and_remedy(error) if isinstance(error, OSError) else str(error)
    is_systems = isinstance(error, OSError) and error.errno in REMEDIES  # else the file itself is wrong
    remedy = "" if is_systems else "; replace or remove it"
    return UnreadableImageError(f"{path}: cannot be read as an image: {reason}{remedy}")


def pixels_fault(path: Path, most_pixels: int | None = None) -> str:
    """What is wrong with an image, all of it decoded; "" for nothing."""
    try:
        with image_file(path, most_pixels) as file:
            check_pixels(file)
    except UnreadableImageError as error:
        return str(error)
    return ""


def grey_thumbnail(path: Path, side: int, most_pixels: int | None = None) -> npt.NDArray[np.uint8]:
    """The upright image in greys, (side, side) whatever its shape. Raises as `image_file`."""
    with image_file(path, most_pixels) as file:
        small = read_small(file, 2 * side).convert("L")
        return np.asarray(small.resize((side, side), Image.Resampling.BOX))
