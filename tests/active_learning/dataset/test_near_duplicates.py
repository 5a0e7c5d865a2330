"""Drawn scenes and changed copies of them: which are found to be the same, in files of all kinds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from active_learning.dataset.near_duplicates import (
    keep_near_duplicates,
    kept_near_duplicates,
    near_duplicates,
    one_of_each,
)

Pixels = npt.NDArray[np.uint8]
HEIGHT, WIDTH = 240, 320


def scene(seed: int) -> Pixels:
    """Discs of all sizes on an uneven ground, (240, 320, 3)."""
    rng = np.random.default_rng(seed)
    ground = cv2.resize(rng.integers(60, 120, (6, 8, 3), np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    for _ in range(14):
        centre = tuple(int(one) for one in rng.integers((0, 0), (WIDTH, HEIGHT)))
        cv2.circle(ground, centre, int(rng.integers(6, 45)), rng.integers(0, 255, 3).tolist(), -1, cv2.LINE_AA)
    return ground


def zoomed(pixels: Pixels, factor: float) -> Pixels:
    """About the middle; of the same size."""
    transform = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), 0, factor)
    return cv2.warpAffine(pixels, transform, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)


def shifted(pixels: Pixels, share: float) -> Pixels:
    transform = np.float32([[1, 0, share * WIDTH], [0, 1, -share * HEIGHT]])
    return cv2.warpAffine(pixels, transform, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)


def encoded(pixels: Pixels, quality: int) -> Pixels:
    return cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "re-encoded": lambda pixels: encoded(pixels, 30),
    "smaller": lambda pixels: cv2.resize(pixels, (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA),
    "zoomed by 0.9": lambda pixels: zoomed(pixels, 0.9),
    "zoomed by 1.1": lambda pixels: zoomed(pixels, 1.1),
    "shifted by 2 %": lambda pixels: shifted(pixels, 0.02),
    "brighter": lambda pixels: cv2.convertScaleAbs(pixels, alpha=1.1),
    "darker": lambda pixels: cv2.convertScaleAbs(pixels, alpha=0.9),
}


def found(folder: Path) -> list[list[str]]:
    return near_duplicates(folder, sorted(path.name for path in folder.iterdir()))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_copy_is_found_among_other_scenes(tmp_path: Path, change: Callable[[Pixels], Pixels]) -> None:
    for seed in range(12):
        cv2.imwrite(str(tmp_path / f"{seed:02d}.jpg"), scene(seed))
    cv2.imwrite(str(tmp_path / "copy.png"), change(scene(3)))
    assert found(tmp_path) == [["03.jpg", "copy.png"]]


def test_all_copies_are_one_group(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "other.png"), scene(1))
    for number, change in enumerate(CHANGES.values()):
        cv2.imwrite(str(tmp_path / f"{number}.png"), change(scene(0)))
    assert found(tmp_path) == [[f"{number}.png" for number in range(len(CHANGES))]]


def test_another_object_makes_another_scene(tmp_path: Path) -> None:
    pixels = scene(5)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    cv2.circle(pixels, (160, 120), 25, (250, 250, 250), -1)
    cv2.imwrite(str(tmp_path / "b.png"), pixels)
    assert found(tmp_path) == []


def save_turned(pixels: Pixels, path: Path) -> None:
    """Lying on its side, with the orientation in EXIF that puts it upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(pixels)[:, :, ::-1].copy()).save(path, exif=exif, quality=95)


SAVED: dict[str, tuple[str, Callable[[Pixels, Path], object]]] = {
    "grey": ("b.png", lambda pixels, path: cv2.imwrite(str(path), cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY))),
    "16 bits": ("b.png", lambda pixels, path: cv2.imwrite(str(path), pixels.astype(np.uint16) * 257)),
    "floats": ("b.tif", lambda pixels, path: cv2.imwrite(str(path), pixels.astype(np.float32) / 255)),
    "alpha": ("b.png", lambda pixels, path: cv2.imwrite(str(path), cv2.cvtColor(pixels, cv2.COLOR_BGR2BGRA))),
    "palette": ("b.png", lambda pixels, path: Image.fromarray(pixels[:, :, ::-1]).quantize(200).save(path)),
    "turned by EXIF": ("b.jpg", save_turned),
    "CMYK": ("b.jpg", lambda pixels, path: Image.fromarray(pixels[:, :, ::-1]).convert("CMYK").save(path)),
}


@pytest.mark.parametrize(("name", "save"), SAVED.values(), ids=SAVED)
def test_files_of_all_kinds(tmp_path: Path, name: str, save: Callable[[Pixels, Path], object]) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), scene(7))
    save(scene(7), tmp_path / name)
    cv2.imwrite(str(tmp_path / "c.png"), scene(8))
    assert found(tmp_path) == [["a.png", name]]


def test_nothing_to_be_seen_and_nothing_to_be_read(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "black.png")
    Image.new("L", (1, 1)).save(tmp_path / "black, tiny.png")
    Image.new("L", (1, 1), 200).save(tmp_path / "bright, tiny.png")
    (tmp_path / "no image.png").write_bytes(b"text")
    cv2.imwrite(str(tmp_path / "cut.jpg"), scene(1))
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:900])
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    assert found(tmp_path) == [["black, tiny.png", "black.png"]]


def test_a_small_object_on_an_even_ground_is_seen(tmp_path: Path) -> None:
    for number, place in enumerate(((40, 40), (200, 90))):
        pixels = np.full((HEIGHT, WIDTH), 90, np.uint8)
        cv2.circle(pixels, place, 8, 200, -1)
        cv2.imwrite(str(tmp_path / f"{number}.png"), pixels)
    assert found(tmp_path) == []


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_images(tmp_path: Path, count: int) -> None:
    for seed in range(count):
        cv2.imwrite(str(tmp_path / f"{seed}.png"), scene(seed))
    assert found(tmp_path) == []


def test_what_was_found_is_kept_while_images_stay(tmp_path: Path) -> None:
    folder, file, images = tmp_path / "train", tmp_path / "data" / "near_duplicates.json", ["a.png", "b.png"]
    folder.mkdir()
    for name in images:
        Image.new("L", (9, 9)).save(folder / name)
    assert kept_near_duplicates(file, folder, images) is None
    keep_near_duplicates(file, folder, images, [images])
    assert kept_near_duplicates(file, folder, images) == [images]
    assert kept_near_duplicates(file, folder, images[:1]) is None
    Image.new("L", (9, 10)).save(folder / "b.png")
    assert kept_near_duplicates(file, folder, images) is None
    for damage in ("{", "[]", '{"images": 1}'):
        file.write_text(damage, encoding="utf-8")
        assert kept_near_duplicates(file, folder, images) is None


def test_one_of_each_group_in_the_order_given() -> None:
    assert one_of_each("fedcba", [["a", "c"], ["b", "e", "f"]]) == (["f", "d", "c"], ["e", "b", "a"])
