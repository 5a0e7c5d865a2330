"""Pixels of more than 8 bits, and floats, as 8 bits that can be seen."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

QUANTILES = (0.001, 0.999)  # what lies outside, such as a dead pixel of a camera, is clipped
_SAMPLE = 2**20  # pixels that are looked at for the quantiles
_ROWS = 256  # converted at once: whole images would take 8 bytes a value


def stretched(pixels: Any, nodata: Any = None) -> npt.NDArray[np.uint8]:
    """The bands of an image, each spread linearly over 0 to 255.

    A band's quantiles become 0 and 255; where they are equal, its least and greatest value. LabelMe spreads bands from
    the least to the greatest value (labelme/_label_file.py).

    Args:
        pixels: HxW or HxWxC, of any type that numpy reads.
        nodata: a value that stands for none, as number or text (GDAL's tag); it becomes 0, as NaN does.

    Raises:
        ValueError: a band holds no number.
    """
    array = np.asarray(pixels)
    missing = math.nan
    with contextlib.suppress(TypeError, ValueError):
        missing = float(str(nodata).strip("\x00 "))
    if array.ndim == 2:
        return _stretched_band(array, missing)
    return np.dstack([_stretched_band(array[:, :, band], missing) for band in range(array.shape[2])])


def _stretched_band(band: npt.NDArray[Any], missing: float) -> npt.NDArray[np.uint8]:
    low, high = _range(band, missing)
    result = np.zeros(band.shape, np.uint8)
    if low < high:
        for top in range(0, len(band), _ROWS):
            rows = _numbers(band[top : top + _ROWS], missing)
            scaled = (np.clip(rows, low, high) - low) * (255 / (high - low)) + 0.5
            result[top : top + _ROWS] = np.nan_to_num(scaled)
    return result


def _range(band: npt.NDArray[Any], missing: float) -> tuple[float, float]:
    step = math.ceil(math.sqrt(band.size / _SAMPLE))
    values = _numbers(band[::step, ::step], missing)
    values = values[np.isfinite(values)]
    low, high = np.quantile(values, QUANTILES) if values.size else (0, 0)
    return (float(low), float(high)) if low < high else _extremes(band, missing)


def _extremes(band: npt.NDArray[Any], missing: float) -> tuple[float, float]:
    """Where nearly all values are alike, what differs is what is to be seen."""
    low, high = math.inf, -math.inf
    for top in range(0, len(band), _ROWS):
        rows = _numbers(band[top : top + _ROWS], missing)
        if len(finite := rows[np.isfinite(rows)]):
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if low > high:
        raise ValueError("a band holds no number")
    return low, high


def _numbers(values: npt.NDArray[Any], missing: float) -> npt.NDArray[np.float64]:
    numbers = values.astype(np.float64)
    numbers[numbers == missing] = np.nan
    return numbers


def decode_deep(content: bytes) -> npt.NDArray[Any]:
    """HxWx3 (or HxW) of an image file's own type, red first and without alpha.

    Raises ValueError where OpenCV cannot decode it.
    """
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(f"its pixels cannot be decoded: {error}") from error
    if pixels is None:
        raise ValueError("its pixels cannot be decoded")
    return pixels if pixels.ndim == 2 else pixels[:, :, 2::-1]
