"""Transforms beyond those of fvcore: resize, extent, rotation, colour functions.

Coordinates are Nx2 float arrays, (x, y) in pixels; (0, 0) is the corner, not the centre, of the first pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from fvcore.transforms.transform import CropTransform, NoOpTransform, Transform, TransformList
from PIL import Image

from detectron2.utils.errors import InputError

__all__ = ["ColorTransform", "ExtentTransform", "PILColorTransform", "ResizeTransform", "RotationTransform"]

_BILINEAR = Image.Resampling.BILINEAR
_NEAREST = Image.Resampling.NEAREST
_TORCH_MODES: dict[int, str] = {_NEAREST: "nearest", _BILINEAR: "bilinear", Image.Resampling.BICUBIC: "bicubic"}


def _through_pil(image: np.ndarray, operation: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Run a Pillow operation on an HxW, HxWx1 or HxWx3 (or x4) array; the trailing axis is kept."""
    one_channel = image.ndim == 3 and image.shape[2] == 1
    picture = Image.fromarray(image[:, :, 0] if one_channel else image)
    result = np.asarray(operation(picture))
    return result[:, :, None] if one_channel else result


def _check_size(transform: Any, image: np.ndarray) -> None:
    h, w = transform.h, transform.w
    if image.shape[:2] != (h, w):
        raise InputError(f"this transform is for images of {h}x{w} (height x width), not {image.shape[:2]}")


class ResizeTransform(Transform):
    """Resize an image. uint8 goes through Pillow (antialiased), other types through torch's interpolate (not)."""

    def __init__(self, h: int, w: int, new_h: int, new_w: int, interp: int | None = None) -> None:
        """From h x w to new_h x new_w pixels; `interp` is Pillow's interpolation, None is bilinear."""
        self.h, self.w, self.new_h, self.new_w = h, w, new_h, new_w
        self.interp = _BILINEAR if interp is None else interp

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Resize an HxW or HxWxC array."""
        _check_size(self, img)
        interp = self.interp if interp is None else interp
        if img.dtype == np.uint8:
            return _through_pil(img, lambda picture: picture.resize((self.new_w, self.new_h), interp))
        if interp not in _TORCH_MODES:
            raise InputError(f"interpolation {interp!r} is for uint8 images only; {img.dtype} has nearest to bicubic")
        # torch interpolates floats only; float64 holds every label of a segmentation exactly.
        values = np.ascontiguousarray(img if img.dtype.kind == "f" else img.astype(np.float64))
        channels = torch.from_numpy(values).view(self.h, self.w, -1).permute(2, 0, 1)[None]
        resized = F.interpolate(channels, (self.new_h, self.new_w), mode=_TORCH_MODES[interp])
        shape = (self.new_h, self.new_w, *img.shape[2:])
        return resized[0].permute(1, 2, 0).reshape(shape).numpy().astype(img.dtype, copy=False)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Scale coordinates in place; those of integers lose their fractions."""
        coords[:] = coords * (self.new_w / self.w, self.new_h / self.h)
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Resize labels or a mask by nearest neighbour."""
        values = segmentation.view(np.uint8) if segmentation.dtype == bool else segmentation
        return self.apply_image(values, interp=_NEAREST).view(segmentation.dtype)

    def inverse(self) -> ResizeTransform:
        """Back to the old size."""
        return ResizeTransform(self.new_h, self.new_w, self.h, self.w, self.interp)


class ExtentTransform(Transform):
    """Take a rectangle out of an image and scale it; what lies outside the image is filled."""

    def __init__(
        self,
        src_rect: tuple[float, float, float, float],
        output_size: tuple[int, int],
        interp: int = _BILINEAR,
        fill: int = 0,
    ) -> None:
        """`src_rect` is (x0, y0, x1, y1) in pixels; the result is of `output_size` (height, width)."""
        self.src_rect = src_rect
        self.output_size = output_size
        self.interp = interp
        self.fill = fill

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Take the rectangle out of an HxW or HxWxC uint8 array."""
        resample = self.interp if interp is None else interp
        channels = img.shape[2] if img.ndim == 3 else 1
        fill = self.fill if channels == 1 else (self.fill,) * channels
        size, method = self.output_size[::-1], Image.Transform.EXTENT
        return _through_pil(
            img, lambda picture: picture.transform(size, method, self.src_rect, resample, fillcolor=fill)
        )

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Move and scale coordinates."""
        x0, y0, x1, y1 = self.src_rect
        height, width = self.output_size
        scale = (width / (x1 - x0), height / (y1 - y0))
        return ((coords - (x0, y0)) * scale).astype(coords.dtype)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Take the rectangle out of labels by nearest neighbour."""
        return self.apply_image(segmentation, interp=_NEAREST)


class RotationTransform(Transform):
    """Rotate an image about a point."""

    def __init__(
        self,
        h: int,
        w: int,
        angle: float,
        expand: bool = True,
        center: tuple[float, float] | None = None,
        interp: int | None = None,
    ) -> None:
        """
        Args:
            h, w: size of the image in pixels.
            angle: degrees, counter-clockwise.
            expand: make the result large enough to hold the whole rotated image; then `center` has no effect.
            center: (x, y) in pixels, None for the middle.
            interp: OpenCV's interpolation, None for linear.
        """
        middle = (w / 2, h / 2)
        self.h, self.w, self.angle, self.expand, self.interp = h, w, angle, expand, interp
        self.center = middle if center is None else center
        self.bound_h, self.bound_w = self._rotated_size() if expand else (h, w)
        shift = np.array([self.bound_w / 2, self.bound_h / 2]) - self._matrix(0.0) @ (*middle, 1) if expand else 0.0
        self.rm_coords = self._matrix(0.0)
        # Pixel (0, 0) has its centre at (0.5, 0.5), while warpAffine counts from pixel centres.
        self.rm_image = self._matrix(-0.5)
        if expand:
            self.rm_coords[:, 2] += shift
            self.rm_image[:, 2] += shift

    def _rotated_size(self) -> tuple[int, int]:
        cos, sin = abs(np.cos(np.deg2rad(self.angle))), abs(np.sin(np.deg2rad(self.angle)))
        return int(np.rint(self.h * cos + self.w * sin)), int(np.rint(self.h * sin + self.w * cos))

    def _matrix(self, offset: float) -> np.ndarray:
        center = (float(self.center[0] + offset), float(self.center[1] + offset))
        return cv2.getRotationMatrix2D(center, self.angle, 1)

    def _does_nothing(self, array: np.ndarray) -> bool:
        return len(array) == 0 or self.angle % 360 == 0

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Rotate an HxW or HxWxC array; new pixels are 0."""
        if self._does_nothing(img):
            return img
        _check_size(self, img)
        interp = interp if interp is not None else self.interp
        flags = cv2.INTER_LINEAR if interp is None else interp
        rotated = cv2.warpAffine(img, self.rm_image, (self.bound_w, self.bound_h), flags=flags)
        # OpenCV drops the axis of a single channel.
        return rotated.reshape(*rotated.shape[:2], *img.shape[2:])

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Rotate coordinates."""
        coords = np.asarray(coords, dtype=float)
        if self._does_nothing(coords):
            return coords
        return coords @ self.rm_coords[:, :2].T + self.rm_coords[:, 2]

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Rotate labels or a mask by nearest neighbour."""
        values = segmentation.view(np.uint8) if segmentation.dtype == bool else segmentation
        return self.apply_image(values, interp=cv2.INTER_NEAREST).astype(segmentation.dtype, copy=False)

    def inverse(self) -> Transform:
        """Rotate back and cut out the original frame; only with `expand`, otherwise parts are lost."""
        if not self.expand:
            raise NotImplementedError("a rotation with expand=False cuts corners off and has no inverse")
        back = RotationTransform(self.bound_h, self.bound_w, -self.angle, True, None, self.interp)
        crop = CropTransform((back.bound_w - self.w) // 2, (back.bound_h - self.h) // 2, self.w, self.h)
        return TransformList([back, crop])


class ColorTransform(Transform):
    """A function of the image that leaves coordinates alone."""

    def __init__(self, op: Callable[[np.ndarray], np.ndarray]) -> None:
        """`op` takes and returns an HxWxC array."""
        if not callable(op):
            raise InputError(f"op must be a function of an image, not {op!r}")
        self.op = op

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        return self.op(img)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        return segmentation

    def inverse(self) -> Transform:
        """Nothing: only geometry is inverted."""
        return NoOpTransform()


class PILColorTransform(ColorTransform):
    """A function of a Pillow image, such as a method of ImageEnhance, that leaves coordinates alone."""

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        operation: Any = self.op
        return np.asarray(operation(Image.fromarray(img)))
