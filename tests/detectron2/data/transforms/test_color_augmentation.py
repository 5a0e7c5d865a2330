from __future__ import annotations

import numpy as np
import pytest

from detectron2.data import transforms as T

_IMAGE = np.random.default_rng(0).integers(50, 200, (30, 40, 3), dtype=np.uint8)
_GREY = (_IMAGE @ np.array([0.299, 0.587, 0.114]))[:, :, None]


@pytest.mark.parametrize(
    ("augmentation", "neutral"),
    [(T.RandomBrightness, 0.0), (T.RandomContrast, _IMAGE.mean()), (T.RandomSaturation, _GREY)],
    ids=["brightness", "contrast", "saturation"],
)
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 1.2])
def test_blend(augmentation: type, neutral: object, weight: float) -> None:
    image, _ = T.apply_augmentations([augmentation(weight, weight)], _IMAGE)
    expected = np.clip(weight * _IMAGE + (1 - weight) * neutral, 0, 255)
    assert image.dtype == np.uint8
    assert np.abs(image - expected).max() <= 1


def test_weight_is_drawn_from_the_range() -> None:
    weights = [T.RandomBrightness(0.8, 1.2).get_transform(_IMAGE).dst_weight for _ in range(200)]
    assert 0.8 <= min(weights) < 0.82
    assert 1.18 < max(weights) <= 1.2


def test_lighting_adds_one_colour() -> None:
    np.random.seed(0)
    image, _ = T.apply_augmentations([T.RandomLighting(20.0)], _IMAGE.astype(np.float64))
    difference = (image - _IMAGE).reshape(-1, 3)
    np.testing.assert_allclose(difference, np.broadcast_to(difference[0], difference.shape), atol=1e-9)
    assert np.abs(difference[0]).max() > 0.1


@pytest.mark.parametrize("augmentation", [T.RandomSaturation(0.5, 1.5), T.RandomLighting(0.1)], ids=repr)
def test_colour_is_needed(augmentation: T.Augmentation) -> None:
    with pytest.raises(ValueError, match="RGB"):
        T.apply_augmentations([augmentation], _IMAGE[:, :, :1])
