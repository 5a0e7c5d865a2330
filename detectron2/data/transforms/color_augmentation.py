"""Random colours: brightness, contrast, saturation, lighting."""

from __future__ import annotations

import numpy as np
from fvcore.transforms.transform import BlendTransform, Transform

from detectron2.data.transforms.augmentation import Augmentation

__all__ = ["RandomBrightness", "RandomContrast", "RandomLighting", "RandomSaturation"]

_LUMA = np.array([0.299, 0.587, 0.114])
# Principal components of the colours of ImageNet's images (R, G, B), Krizhevsky et al. 2012, section 4.1.
_EIGEN_VECTORS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]],
)
_EIGEN_VALUES = np.array([0.2175, 0.0188, 0.0045])


class _RandomBlend(Augmentation):
    """Weight the image by w and something neutral by 1 - w: w < 1 takes away, w > 1 adds."""

    def __init__(self, intensity_min: float, intensity_max: float) -> None:
        """
        Args:
            intensity_min, intensity_max: range of w.
        """
        self.intensity_min = intensity_min
        self.intensity_max = intensity_max

    def _neutral(self, image: np.ndarray) -> np.ndarray | float:
        raise NotImplementedError

    def get_transform(self, image: np.ndarray) -> Transform:
        weight = np.random.uniform(self.intensity_min, self.intensity_max)
        return BlendTransform(src_image=self._neutral(image), src_weight=1 - weight, dst_weight=weight)


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
        if image.shape[-1] != 3:
            raise ValueError(f"RandomSaturation is for RGB images, not for an array of shape {image.shape}")
        return image.dot(_LUMA)[:, :, np.newaxis]


class RandomLighting(Augmentation):
    """Add a random colour along the principal components of ImageNet's colours, to an RGB image.

    Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", 2012, section 4.1.
    """

    def __init__(self, scale: float) -> None:
        """
        Args:
            scale: standard deviation of the weight of each component.
        """
        self.scale = scale
        self.eigen_vecs = _EIGEN_VECTORS
        self.eigen_vals = _EIGEN_VALUES

    def get_transform(self, image: np.ndarray) -> Transform:
        if image.shape[-1] != 3:
            raise ValueError(f"RandomLighting is for RGB images, not for an array of shape {image.shape}")
        weights = np.random.normal(scale=self.scale, size=3)
        return BlendTransform(src_image=self.eigen_vecs.dot(weights * self.eigen_vals), src_weight=1.0, dst_weight=1.0)
