"""Reading images: every kind of file becomes HxWxC uint8 (or float for YUV), turned upright by its EXIF orientation."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from PIL import Image

from detectron2.utils.file_io import PathManager
from detectron2.utils.image_file import DAMAGED, check_file, eight_bits, read_pixels

# ITU-R BT.601 luma and its two colour differences, as rows.
_RGB_TO_YUV = np.array(
    [[0.299, 0.587, 0.114], [-0.14713, -0.28886, 0.436], [0.615, -0.51499, -0.10001]], dtype=np.float64
)
_YUV_TO_RGB = np.array([[1.0, 0.0, 1.13983], [1.0, -0.39465, -0.58060], [1.0, 2.03211, 0.0]], dtype=np.float64)


def read_image(file_name: str, format: str | None = None) -> np.ndarray:
    """Read an image upright: BMP, JPEG, JPEG 2000, PNG, PPM, Sun raster, TIFF or WebP.

    Images of more than `image_file.MAX_PIXELS`, or than a program has allowed by Pillow's Image.MAX_IMAGE_PIXELS, are
    refused.

    Args:
        file_name: path, or an address PathManager knows.
        format: "BGR", "YUV-BT.601" or a Pillow mode such as "RGB" and "L"; None keeps the file's own mode.

    Returns:
        HxWxC uint8 (YUV: float, colours divided by 255); "L" gives HxWx1.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read as an image; the message names the file.
    """
    try:
        check_file(str(file_name))
        with PathManager.open(str(file_name), "rb") as file:
            return convert_PIL_to_numpy(read_pixels(file, deep_greys=format is None), format)
    except FileNotFoundError:
        raise
    except DAMAGED as error:
        raise OSError(f"{file_name}: cannot be read as an image: {error}") from error


def convert_PIL_to_numpy(image: Image.Image, format: str | None) -> np.ndarray:  # noqa: N802
    """Convert a Pillow image to an array.

    Greys of more than 8 bits and floats are spread over 8 bits (`detectron2.utils.deep_pixels`); alpha is dropped;
    palettes, CMYK and bitmaps are converted to the colours they show.

    Returns HxWxC (or HxW for format None and a grey file); `format` is as for read_image.
    """
    if format is None:
        return np.asarray(image)
    image = eight_bits(image)
    mode = "RGB" if format in ("BGR", "YUV-BT.601") else format
    array = np.asarray(image if image.mode == mode else image.convert(mode))
    if format == "BGR":
        return cv2.cvtColor(array, cv2.COLOR_RGB2BGR)
    if format == "YUV-BT.601":
        return np.dot(array / 255.0, _RGB_TO_YUV.T)
    return array[:, :, None] if format == "L" else array


def convert_image_to_rgb(image: np.ndarray | torch.Tensor, format: str) -> np.ndarray:
    """HxWx3 uint8 RGB, for drawing, of an HxWxC array or tensor of a `format` that read_image knows."""
    array = image.cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    if format == "BGR":
        return array[:, :, ::-1]
    if format == "YUV-BT.601":
        return (np.dot(array, _YUV_TO_RGB.T) * 255.0).clip(0, 255).astype(np.uint8)
    if format == "L":
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    return np.asarray(Image.fromarray(array, mode=format).convert("RGB")) if format != "RGB" else array
