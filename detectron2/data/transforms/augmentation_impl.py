"""Random geometry and colours. `interp` is Pillow's interpolation, but RandomRotation's is OpenCV's (None: linear)."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from numbers import Real
from typing import Any

import fvcore.transforms.transform as T
import numpy as np
from PIL import Image

from detectron2.data.transforms.augmentation import AugInput, Augmentation, AugmentationOrTransform, as_augmentation
from detectron2.data.transforms.transform import ExtentTransform, ResizeTransform, RotationTransform
from detectron2.utils.errors import InputError

__all__ = [
    "FixedSizeCrop", "RandomApply", "RandomBrightness", "RandomContrast", "RandomCrop", "RandomExtent", "RandomFlip",
    "RandomLighting", "RandomRotation", "RandomSaturation", "Resize", "ResizeScale", "ResizeShortestEdge",
]  # fmt: skip

_BILINEAR = Image.Resampling.BILINEAR


def _check_choice(name: str, value: str, *allowed: str) -> None:
    if value not in allowed:
        raise InputError(f"{name} must be one of {', '.join(allowed)}, not '{value}'")


def _check_numbers(name: str, values: Iterable[Any], smallest: float, largest: float = math.inf) -> None:
    """A bool counts as 0 or 1 everywhere in Python, and so would YAML's `yes` in a list of sizes."""
    for value in values:
        if isinstance(value, bool | np.bool_) or not isinstance(value, Real) or not smallest <= float(value) <= largest:
            most = "" if largest == math.inf else f" and at most {largest:g}"
            raise InputError(f"{name} is {value!r}; it must be a number of at least {smallest:g}{most}")


def _check_pair(name: str, values: Sequence[Any]) -> None:
    if len(values) != 2:
        raise InputError(f"{name} must be (height, width), not {values!r}")


class RandomApply(Augmentation):
    """Apply another augmentation or transform with a probability."""

    def __init__(self, tfm_or_aug: AugmentationOrTransform, prob: float = 0.5) -> None:
        if not 0.0 <= prob <= 1.0:
            raise InputError(f"prob must be in [0, 1], not {prob}")
        self.tfm_or_aug = self.aug = as_augmentation(tfm_or_aug)
        self.prob = prob

    def get_transform(self, *args: object) -> T.Transform:
        return self.aug.get_transform(*args) if self._rand_range() < self.prob else T.NoOpTransform()

    def __call__(self, aug_input: AugInput) -> T.Transform:
        return self.aug(aug_input) if self._rand_range() < self.prob else T.NoOpTransform()


@dataclass(eq=False, repr=False)
class RandomFlip(Augmentation):
    """Flip horizontally or vertically with a probability."""

    prob: float = 0.5
    _: KW_ONLY
    horizontal: bool = True
    vertical: bool = False

    def __post_init__(self) -> None:
        if self.horizontal == self.vertical:
            raise InputError("choose horizontal or vertical, exactly one; for both use two RandomFlip")

    def get_transform(self, image: np.ndarray) -> T.Transform:
        height, width = image.shape[:2]
        if self._rand_range() >= self.prob:
            return T.NoOpTransform()
        return T.HFlipTransform(width) if self.horizontal else T.VFlipTransform(height)


@dataclass(eq=False, repr=False)
class Resize(Augmentation):
    """Resize to `shape`: (height, width), or one number for a square."""

    shape: int | tuple[int, int]
    interp: int = _BILINEAR

    def __post_init__(self) -> None:
        shape = (self.shape, self.shape) if isinstance(self.shape, int) else self.shape
        _check_pair("Resize: shape", shape)
        _check_numbers("Resize: shape", shape, 1)

    def get_transform(self, image: np.ndarray) -> T.Transform:
        height, width = image.shape[:2]
        new_height, new_width = (self.shape, self.shape) if isinstance(self.shape, int) else self.shape
        return ResizeTransform(height, width, new_height, new_width, self.interp)


@dataclass(eq=False, repr=False)
class ResizeShortestEdge(Augmentation):
    """Scale so that the shorter edge gets a random length and the longer one does not exceed `max_size`.

    short_edge_length: lengths to choose from ("choice"), or the smallest and the largest ("range", inclusive). A length
    of 0 leaves the image as it is. max_size is stronger than the shorter edge's length.
    """

    short_edge_length: int | Sequence[int]
    max_size: int = sys.maxsize
    sample_style: str = "range"
    interp: int = _BILINEAR

    def __post_init__(self) -> None:
        _check_choice("sample_style", self.sample_style, "range", "choice")
        self.is_range = self.sample_style == "range"
        if isinstance(self.short_edge_length, int):
            self.short_edge_length = (self.short_edge_length, self.short_edge_length)
        if self.is_range and len(self.short_edge_length) != 2:
            raise InputError(f"sample_style 'range' needs (smallest, largest), not {self.short_edge_length}")
        if not len(self.short_edge_length):
            raise InputError("ResizeShortestEdge: short_edge_length has no length to choose from")
        _check_numbers("ResizeShortestEdge: short_edge_length", self.short_edge_length, 0)
        _check_numbers("ResizeShortestEdge: max_size", [self.max_size], 1)
        if self.is_range and self.short_edge_length[0] > self.short_edge_length[1]:
            raise InputError(f"ResizeShortestEdge: {self.short_edge_length} must be the smallest, then the largest")

    def get_transform(self, image: np.ndarray) -> T.Transform:
        height, width = image.shape[:2]
        lengths: Any = self.short_edge_length
        size = int(np.random.randint(lengths[0], lengths[1] + 1) if self.is_range else np.random.choice(lengths))
        if size == 0:
            return T.NoOpTransform()
        return ResizeTransform(height, width, *self.get_output_shape(height, width, size, self.max_size), self.interp)

    @staticmethod
    def get_output_shape(oldh: int, oldw: int, short_edge_length: int, max_size: int) -> tuple[int, int]:
        """(height, width) after scaling, rounded half up; at least 1, however thin the image is."""
        scale = short_edge_length / min(oldh, oldw)
        # The shorter edge is set, not computed: 3 * (800 / 3) may round to something else.
        height, width = (short_edge_length, oldw * scale) if oldh < oldw else (oldh * scale, short_edge_length)
        longer = max(height, width)
        if longer > max_size:
            height, width = height * (max_size / longer), width * (max_size / longer)
        return max(int(height + 0.5), 1), max(int(width + 0.5), 1)


@dataclass(eq=False, repr=False)
class ResizeScale(Augmentation):
    """Scale an image to fit into a target size that is itself scaled at random (large scale jitter)."""

    min_scale: float
    max_scale: float
    target_height: int
    target_width: int
    interp: int = _BILINEAR

    def __post_init__(self) -> None:
        _check_numbers("ResizeScale: scale", [self.min_scale, self.max_scale], 0)
        _check_numbers("ResizeScale: target size", [self.target_height, self.target_width], 1)

    def get_transform(self, image: np.ndarray) -> T.Transform:
        height, width = image.shape[:2]
        scale = np.random.uniform(self.min_scale, self.max_scale)
        factor = min(self.target_height * scale / height, self.target_width * scale / width)
        new_height, new_width = np.round(np.multiply((height, width), factor)).astype(int).clip(min=1).tolist()
        return ResizeTransform(height, width, new_height, new_width, self.interp)


@dataclass(eq=False, repr=False)
class FixedSizeCrop(Augmentation):
    """Crop at random to at most `crop_size` (height, width), then pad at the right and the bottom to exactly that."""

    crop_size: tuple[int, int]
    pad: bool = True
    pad_value: float = 128.0
    seg_pad_value: int = 255

    def __post_init__(self) -> None:
        _check_pair("FixedSizeCrop: crop_size", self.crop_size)
        _check_numbers("FixedSizeCrop: crop_size", self.crop_size, 1)

    def get_transform(self, image: np.ndarray) -> T.Transform:
        size = np.array(image.shape[:2])
        kept = np.minimum(size, self.crop_size)
        (height, width), (kept_height, kept_width) = size.tolist(), kept.tolist()
        y0, x0 = np.round((size - kept) * np.random.uniform(0.0, 1.0)).astype(int).tolist()
        crop = T.CropTransform(x0, y0, kept_width, kept_height, width, height)
        if not self.pad:
            return T.TransformList([crop])
        below, right = self.crop_size[0] - kept_height, self.crop_size[1] - kept_width
        fill = (self.pad_value, self.seg_pad_value)
        return T.TransformList([crop, T.PadTransform(0, 0, right, below, kept_width, kept_height, *fill)])


@dataclass(eq=False, repr=False)
class RandomRotation(Augmentation):
    """Rotate by a random angle.

    angle: degrees, counter-clockwise: (smallest, largest) for "range", any number of them for "choice". expand: make
    the result hold the whole rotated image. center: relative (x, y) in [0, 1]: one point, two corners of a range, or
    points to choose from; None is the middle. sample_style: "range" or "choice", for angle and centre.
    """

    angle: Any
    expand: bool = True
    center: Any = None
    sample_style: str = "range"
    interp: int | None = None

    def __post_init__(self) -> None:
        _check_choice("sample_style", self.sample_style, "range", "choice")
        self.is_range = self.sample_style == "range"
        if isinstance(self.angle, (int, float)):
            self.angle = (self.angle, self.angle)
        if self.center is not None and isinstance(self.center[0], (int, float)):
            self.center = (self.center, self.center)

    def get_transform(self, image: np.ndarray) -> T.Transform:
        height, width = image.shape[:2]
        angle = float(np.random.uniform(*self.angle) if self.is_range else np.random.choice(self.angle))
        if angle % 360 == 0:
            return T.NoOpTransform()
        center = None if self.center is None else self._sample_center(height, width)
        return RotationTransform(height, width, angle, expand=self.expand, center=center, interp=self.interp)

    def _sample_center(self, height: int, width: int) -> tuple[float, float]:
        if self.is_range:
            x, y = np.random.uniform(*self.center)
        else:
            x, y = self.center[np.random.randint(len(self.center))]
        return width * float(x), height * float(y)


@dataclass(eq=False, repr=False)
class RandomExtent(Augmentation):
    """Take out a rectangle of random size around a randomly shifted centre, which may reach outside the image.

    scale_range: smallest and largest size of the rectangle relative to the image; above 1 zooms out. shift_range: width
    of the range of the centre's shift in (x, y), relative to the image.
    """

    scale_range: tuple[float, float]
    shift_range: tuple[float, float]

    def get_transform(self, image: np.ndarray) -> T.Transform:
        size = np.array(image.shape[1::-1])
        half = size * 0.5 * np.random.uniform(*self.scale_range)
        center = size * (0.5 + np.multiply(self.shift_range, np.random.rand(2) - 0.5))
        (x0, y0), (x1, y1) = (center - half).tolist(), (center + half).tolist()
        return ExtentTransform(src_rect=(x0, y0, x1, y1), output_size=(max(int(y1 - y0), 1), max(int(x1 - x0), 1)))


@dataclass(eq=False, repr=False)
class RandomCrop(Augmentation):
    """Crop a rectangle of a given or random size at a random place.

    crop_type: "relative": `crop_size` is (height, width) relative to the image; "relative_range": at least that, at
    most the image; "absolute": in pixels, at most the image; "absolute_range": both edges between the two numbers of
    `crop_size` in pixels.
    """

    crop_type: str
    crop_size: Sequence[float]

    def __post_init__(self) -> None:
        _check_choice("crop_type", self.crop_type, "relative_range", "relative", "absolute", "absolute_range")
        is_relative = self.crop_type.startswith("relative")
        _check_pair("RandomCrop: crop_size", self.crop_size)
        _check_numbers(f"RandomCrop: {self.crop_type} crop_size", self.crop_size, *((0, 1) if is_relative else (1,)))

    def get_transform(self, image: np.ndarray) -> T.Transform:
        height, width = image.shape[:2]
        crop_height, crop_width = self.get_crop_size((height, width))
        y0 = np.random.randint(height - crop_height + 1)
        x0 = np.random.randint(width - crop_width + 1)
        return T.CropTransform(x0, y0, crop_width, crop_height, width, height)

    def get_crop_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the crop in an image of (height, width) pixels."""
        height, width = image_size
        first, second = self.crop_size
        if self.crop_type == "absolute":
            return min(int(first), height), min(int(second), width)
        if self.crop_type == "absolute_range":
            edges = [np.random.randint(min(side, int(first)), min(side, int(second)) + 1) for side in image_size]
            return int(edges[0]), int(edges[1])
        if self.crop_type == "relative_range":
            first, second = np.add(self.crop_size, np.random.rand(2) * np.subtract(1, self.crop_size))
        return max(int(height * first + 0.5), 1), max(int(width * second + 0.5), 1)


@dataclass(eq=False, repr=False)
class _RandomBlend(Augmentation):
    """Weight the image by a random w and something neutral by 1 - w: w < 1 takes away, w > 1 adds."""

    intensity_min: float
    intensity_max: float

    def _neutral(self, image: np.ndarray) -> np.ndarray | float:
        raise NotImplementedError

    def get_transform(self, image: np.ndarray) -> T.Transform:
        weight = np.random.uniform(self.intensity_min, self.intensity_max)
        return T.BlendTransform(src_image=self._neutral(image), src_weight=1 - weight, dst_weight=weight)


class RandomContrast(_RandomBlend):
    """Blend with the image's mean."""

    def _neutral(self, image: np.ndarray) -> float:
        return image.mean()


class RandomBrightness(_RandomBlend):
    """Blend with black."""

    def _neutral(self, image: np.ndarray) -> float:
        return 0


class RandomSaturation(_RandomBlend):
    """Blend an RGB image with its grey version."""

    def _neutral(self, image: np.ndarray) -> np.ndarray:
        _check_rgb("RandomSaturation", image)
        return image.dot([0.299, 0.587, 0.114])[:, :, np.newaxis]


class RandomLighting(Augmentation):
    """Add a random colour along the principal components of ImageNet's colours (R, G, B), to an RGB image.

    Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", 2012, section 4.1.
    """

    eigen_vecs = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
    eigen_vals = np.array([0.2175, 0.0188, 0.0045])

    def __init__(self, scale: float) -> None:
        """`scale` is the standard deviation of the weight of each component."""
        self.scale = scale

    def get_transform(self, image: np.ndarray) -> T.Transform:
        _check_rgb("RandomLighting", image)
        color = self.eigen_vecs.dot(np.random.normal(scale=self.scale, size=3) * self.eigen_vals)
        return T.BlendTransform(src_image=color, src_weight=1.0, dst_weight=1.0)


def _check_rgb(name: str, image: np.ndarray) -> None:
    if image.shape[-1] != 3:
        raise InputError(f"{name} is for RGB images, not for an array of shape {image.shape}")
