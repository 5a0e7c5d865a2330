"""Random geometry: flips, resizes, crops, rotations."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from fvcore.transforms.transform import (
    CropTransform,
    HFlipTransform,
    NoOpTransform,
    PadTransform,
    Transform,
    TransformList,
    VFlipTransform,
)
from PIL import Image

from detectron2.data.transforms.augmentation import (
    AugInput,
    Augmentation,
    AugmentationOrTransform,
    as_augmentation,
)
from detectron2.data.transforms.transform import ExtentTransform, ResizeTransform, RotationTransform

__all__ = [
    "FixedSizeCrop",
    "RandomApply",
    "RandomCrop",
    "RandomExtent",
    "RandomFlip",
    "RandomRotation",
    "Resize",
    "ResizeScale",
    "ResizeShortestEdge",
]

_BILINEAR = Image.Resampling.BILINEAR


def _check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not '{value}'")


class RandomApply(Augmentation):
    """Apply another augmentation or transform with a probability."""

    def __init__(self, tfm_or_aug: AugmentationOrTransform, prob: float = 0.5) -> None:
        if not 0.0 <= prob <= 1.0:
            raise ValueError(f"prob must be in [0, 1], not {prob}")
        self.aug = as_augmentation(tfm_or_aug)
        self.prob = prob

    def get_transform(self, *args: object) -> Transform:
        return self.aug.get_transform(*args) if self._rand_range() < self.prob else NoOpTransform()

    def __call__(self, aug_input: AugInput) -> Transform:
        return self.aug(aug_input) if self._rand_range() < self.prob else NoOpTransform()


class RandomFlip(Augmentation):
    """Flip horizontally or vertically with a probability."""

    def __init__(self, prob: float = 0.5, *, horizontal: bool = True, vertical: bool = False) -> None:
        if horizontal == vertical:
            raise ValueError("choose horizontal or vertical, exactly one; for both use two RandomFlip")
        self.prob = prob
        self.horizontal = horizontal
        self.vertical = vertical

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        if self._rand_range() >= self.prob:
            return NoOpTransform()
        return HFlipTransform(width) if self.horizontal else VFlipTransform(height)


class Resize(Augmentation):
    """Resize to a fixed size."""

    def __init__(self, shape: int | tuple[int, int], interp: int = _BILINEAR) -> None:
        """
        Args:
            shape: (height, width), or one number for a square.
            interp: Pillow's interpolation.
        """
        self.shape = (shape, shape) if isinstance(shape, int) else shape
        self.interp = interp

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        return ResizeTransform(height, width, *self.shape, self.interp)


class ResizeShortestEdge(Augmentation):
    """Scale so that the shorter edge gets a length drawn at random and the longer one does not exceed `max_size`."""

    def __init__(
        self,
        short_edge_length: int | Sequence[int],
        max_size: int = sys.maxsize,
        sample_style: str = "range",
        interp: int = _BILINEAR,
    ) -> None:
        """
        Args:
            short_edge_length: lengths to choose from ("choice"), or the smallest and the largest ("range", inclusive).
                A length of 0 leaves the image as it is.
            max_size: upper bound of the longer edge, stronger than the shorter edge's length.
            sample_style: "range" or "choice".
            interp: Pillow's interpolation.
        """
        _check_choice("sample_style", sample_style, ("range", "choice"))
        self.is_range = sample_style == "range"
        if isinstance(short_edge_length, int):
            short_edge_length = (short_edge_length, short_edge_length)
        if self.is_range and len(short_edge_length) != 2:
            raise ValueError(f"sample_style 'range' needs (smallest, largest), not {short_edge_length}")
        self.short_edge_length = short_edge_length
        self.max_size = max_size
        self.sample_style = sample_style
        self.interp = interp

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        if self.is_range:
            size = np.random.randint(self.short_edge_length[0], self.short_edge_length[1] + 1)
        else:
            size = np.random.choice(self.short_edge_length)
        if size == 0:
            return NoOpTransform()
        return ResizeTransform(
            height, width, *self.get_output_shape(height, width, int(size), self.max_size), self.interp
        )

    @staticmethod
    def get_output_shape(oldh: int, oldw: int, short_edge_length: int, max_size: int) -> tuple[int, int]:
        """(height, width) after scaling, rounded half up."""
        scale = short_edge_length / min(oldh, oldw)
        # The shorter edge is set, not computed: 3 * (800 / 3) may round to something else.
        height, width = (short_edge_length, oldw * scale) if oldh < oldw else (oldh * scale, short_edge_length)
        longer = max(height, width)
        if longer > max_size:
            height, width = height * (max_size / longer), width * (max_size / longer)
        return int(height + 0.5), int(width + 0.5)


class ResizeScale(Augmentation):
    """Scale an image to fit into a target size that is itself scaled at random (large scale jitter)."""

    def __init__(
        self, min_scale: float, max_scale: float, target_height: int, target_width: int, interp: int = _BILINEAR
    ) -> None:
        self.min_scale = min_scale
        self.max_scale = max_scale
        self.target_height = target_height
        self.target_width = target_width
        self.interp = interp

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        scale = np.random.uniform(self.min_scale, self.max_scale)
        factor = min(self.target_height * scale / height, self.target_width * scale / width)
        new_height, new_width = np.round(np.multiply((height, width), factor)).astype(int).tolist()
        return ResizeTransform(height, width, new_height, new_width, self.interp)


class FixedSizeCrop(Augmentation):
    """Crop at random to at most a size, then pad at the right and the bottom to exactly that size."""

    def __init__(
        self, crop_size: tuple[int, int], pad: bool = True, pad_value: float = 128.0, seg_pad_value: int = 255
    ) -> None:
        """
        Args:
            crop_size: (height, width) in pixels.
            pad: fill up smaller images.
            pad_value, seg_pad_value: what image and segmentation are filled with.
        """
        self.crop_size = crop_size
        self.pad = pad
        self.pad_value = pad_value
        self.seg_pad_value = seg_pad_value

    def get_transform(self, image: np.ndarray) -> Transform:
        size = np.array(image.shape[:2])
        kept = np.minimum(size, self.crop_size)
        (height, width), (kept_height, kept_width) = size.tolist(), kept.tolist()
        y0, x0 = np.round((size - kept) * np.random.uniform(0.0, 1.0)).astype(int).tolist()
        crop = CropTransform(x0, y0, kept_width, kept_height, width, height)
        if not self.pad:
            return TransformList([crop])
        below, right = self.crop_size[0] - kept_height, self.crop_size[1] - kept_width
        fill = (self.pad_value, self.seg_pad_value)
        return TransformList([crop, PadTransform(0, 0, right, below, kept_width, kept_height, *fill)])


class RandomRotation(Augmentation):
    """Rotate by a random angle."""

    def __init__(
        self,
        angle: float | Sequence[float],
        expand: bool = True,
        center: Sequence[Any] | None = None,
        sample_style: str = "range",
        interp: int | None = None,
    ) -> None:
        """
        Args:
            angle: degrees, counter-clockwise: (smallest, largest) for "range", any number of them for "choice".
            expand: make the result hold the whole rotated image.
            center: relative (x, y) in [0, 1]: one point, two corners of a range, or points to choose from; None is
                the middle.
            sample_style: "range" or "choice", for angle and centre.
            interp: OpenCV's interpolation, None for linear.
        """
        _check_choice("sample_style", sample_style, ("range", "choice"))
        self.is_range = sample_style == "range"
        self.angle: Any = (angle, angle) if isinstance(angle, (int, float)) else angle
        self.expand = expand
        one_point = center is not None and isinstance(center[0], (int, float))
        self.center: Any = (center, center) if one_point else center
        self.sample_style = sample_style
        self.interp = interp

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        angle = float(np.random.uniform(*self.angle) if self.is_range else np.random.choice(self.angle))
        if angle % 360 == 0:
            return NoOpTransform()
        center = None if self.center is None else self._draw_center(height, width)
        return RotationTransform(height, width, angle, expand=self.expand, center=center, interp=self.interp)

    def _draw_center(self, height: int, width: int) -> tuple[float, float]:
        if self.is_range:
            (x0, y0), (x1, y1) = self.center
            x, y = np.random.uniform(x0, x1), np.random.uniform(y0, y1)
        else:
            x, y = self.center[np.random.randint(len(self.center))]
        return width * float(x), height * float(y)


class RandomExtent(Augmentation):
    """Take out a rectangle of random size around a randomly shifted centre, which may reach outside the image."""

    def __init__(self, scale_range: tuple[float, float], shift_range: tuple[float, float]) -> None:
        """
        Args:
            scale_range: smallest and largest size of the rectangle relative to the image; above 1 zooms out.
            shift_range: width of the range of the centre's shift in (x, y), relative to the image.
        """
        self.scale_range = scale_range
        self.shift_range = shift_range

    def get_transform(self, image: np.ndarray) -> Transform:
        size = np.array(image.shape[1::-1])
        half = size * 0.5 * np.random.uniform(*self.scale_range)
        shift_x = self.shift_range[0] * (np.random.rand() - 0.5)
        shift_y = self.shift_range[1] * (np.random.rand() - 0.5)
        center = size * (0.5 + np.array([shift_x, shift_y]))
        (x0, y0), (x1, y1) = (center - half).tolist(), (center + half).tolist()
        return ExtentTransform(src_rect=(x0, y0, x1, y1), output_size=(int(y1 - y0), int(x1 - x0)))


class RandomCrop(Augmentation):
    """Crop a rectangle of a given or random size at a random place."""

    def __init__(self, crop_type: str, crop_size: Sequence[float]) -> None:
        """
        Args:
            crop_type: "relative": `crop_size` is (height, width) relative to the image; "relative_range": at least
                that, at most the image; "absolute": in pixels, at most the image; "absolute_range": both edges
                between crop_size[0] and crop_size[1] pixels.
            crop_size: two numbers.
        """
        _check_choice("crop_type", crop_type, ("relative_range", "relative", "absolute", "absolute_range"))
        self.crop_type = crop_type
        self.crop_size = crop_size

    def get_transform(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        crop_height, crop_width = self.get_crop_size((height, width))
        y0 = np.random.randint(height - crop_height + 1)
        x0 = np.random.randint(width - crop_width + 1)
        return CropTransform(x0, y0, crop_width, crop_height, width, height)

    def get_crop_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the crop in an image of (height, width) pixels."""
        height, width = image_size
        first, second = self.crop_size
        if self.crop_type == "absolute":
            return min(int(first), height), min(int(second), width)
        if self.crop_type == "absolute_range":
            return self._draw_edge(height), self._draw_edge(width)
        if self.crop_type == "relative_range":
            drawn = np.random.rand(2)
            first, second = first + drawn[0] * (1 - first), second + drawn[1] * (1 - second)
        return int(height * first + 0.5), int(width * second + 0.5)

    def _draw_edge(self, length: int) -> int:
        smallest, largest = (min(length, int(edge)) for edge in self.crop_size)
        return int(np.random.randint(smallest, largest + 1))
