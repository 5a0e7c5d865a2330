"""Pictures that were saved anew, and others that are like them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from active_learning.dataset.same_pictures import read_pictures, same_pictures

Image = np.ndarray
COARSE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
SCENE = cv2.resize(COARSE, (640, 480), interpolation=cv2.INTER_CUBIC)


def with_object(side: int) -> Image:
    image = SCENE.copy()
    image[200 : 200 + side, 300 : 300 + side] = 255 - image[200 : 200 + side, 300 : 300 + side]
    return image


def faint(seed: int) -> Image:
    pixels = np.random.default_rng(seed).integers(120, 130, (6, 8), np.uint8)
    return cv2.resize(pixels, (640, 480), interpolation=cv2.INTER_CUBIC)


SAME: dict[str, tuple[str, Callable[[], Image], list[int]]] = {
    "as PNG, packed otherwise": (".png", lambda: SCENE, [cv2.IMWRITE_PNG_COMPRESSION, 9]),
    "as JPEG": (".jpg", lambda: SCENE, []),
    "as a bad JPEG": (".jpg", lambda: SCENE, [cv2.IMWRITE_JPEG_QUALITY, 40]),
    "as WebP": (".webp", lambda: SCENE, [cv2.IMWRITE_WEBP_QUALITY, 60]),
    "as TIFF": (".tif", lambda: SCENE, []),
    "half as large": (".jpg", lambda: cv2.resize(SCENE, (320, 240), interpolation=cv2.INTER_AREA), []),
}
OTHER: dict[str, Callable[[], Image]] = {
    "another scene": lambda: SCENE[::-1].copy(),
    "moved by a tenth": lambda: np.roll(SCENE, 48, axis=0),
    "nearer": lambda: cv2.resize(SCENE[24:456, 32:608], (640, 480)),
    "with an object more": lambda: with_object(60),
    "brighter": lambda: cv2.convertScaleAbs(SCENE, alpha=0.8, beta=40),
    "black": lambda: np.zeros_like(SCENE),
}


def found(folder: Path, name: str, image: Image, options: list[int], scene: Image = SCENE) -> list[tuple[str, str]]:
    for place in (folder / "train", folder / "test"):
        place.mkdir()
    cv2.imwrite(str(folder / "train/other.png"), SCENE[:, ::-1])
    cv2.imwrite(str(folder / "train/a.png"), scene)
    cv2.imwrite(str(folder / "train/black.png"), np.zeros_like(SCENE))
    (folder / "train/damaged.png").write_bytes(b"")
    cv2.imwrite(str(folder / "test" / name), image, options)
    test = read_pictures(folder / "test", [name])
    train = read_pictures(folder / "train", ["a.png", "black.png", "damaged.png", "other.png"])
    return [(image.name, image.other) for image in same_pictures(test, train)]


@pytest.mark.parametrize("kind", SAME)
def test_a_picture_that_was_saved_anew_is_found(tmp_path: Path, kind: str) -> None:
    suffix, make, options = SAME[kind]
    assert found(tmp_path, f"z{suffix}", make(), options) == [(f"z{suffix}", "a.png")]


@pytest.mark.parametrize("kind", OTHER)
def test_another_picture_is_none(tmp_path: Path, kind: str) -> None:
    assert found(tmp_path, "z.jpg", OTHER[kind](), []) == []


def test_pictures_of_little_contrast_are_told_apart(tmp_path: Path) -> None:
    assert found(tmp_path, "z.jpg", faint(1), [], scene=faint(2)) == []


def test_a_folder_without_images(tmp_path: Path) -> None:
    none = read_pictures(tmp_path, [])
    assert same_pictures(none, none) == []
