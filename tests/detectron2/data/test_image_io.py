from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detectron2.data.image_io import convert_image_to_rgb, read_image

_RGB = np.array([[[255, 0, 10], [0, 200, 20], [1, 2, 3]], [[9, 8, 7], [60, 70, 80], [30, 20, 10]]], dtype=np.uint8)


def _save(path: Path, image: Image.Image, **arguments: object) -> str:
    image.save(path, **arguments)
    return str(path)


@pytest.mark.parametrize(
    ("format", "expected"),
    [("RGB", _RGB), ("BGR", _RGB[:, :, ::-1]), (None, _RGB)],
    ids=["rgb", "bgr", "as it is"],
)
def test_channel_order(tmp_path: Path, format: str | None, expected: np.ndarray) -> None:
    image = read_image(_save(tmp_path / "a.png", Image.fromarray(_RGB)), format)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, expected)


def test_grey_has_one_channel(tmp_path: Path) -> None:
    image = read_image(_save(tmp_path / "a.png", Image.fromarray(_RGB)), "L")
    assert image.shape == (2, 3, 1)
    assert image[0, 0, 0] == round(255 * 0.299 + 10 * 0.114)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int) -> None:
    # How a picture that should be seen as _RGB lies in a file of each orientation (EXIF 2.3, tag 274).
    stored = {
        1: _RGB,
        2: _RGB[:, ::-1],
        3: _RGB[::-1, ::-1],
        4: _RGB[::-1],
        5: _RGB.transpose(1, 0, 2),
        6: np.rot90(_RGB, 1),
        7: np.rot90(_RGB, 2).transpose(1, 0, 2),
        8: np.rot90(_RGB, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = _save(tmp_path / "a.png", Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    np.testing.assert_array_equal(read_image(path, "RGB"), _RGB)


@pytest.mark.parametrize(
    "exif",
    [b"Exif\x00\x00garbage that is no TIFF", b"Exif\x00\x00II*\x00\xff\xff\xff\x7f"],
    ids=["garbage", "bad offset"],
)
def test_damaged_exif_does_not_matter(tmp_path: Path, exif: bytes) -> None:
    path = _save(tmp_path / "a.jpg", Image.fromarray(_RGB), exif=exif)
    assert read_image(path, "BGR").shape == (2, 3, 3)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(np.array([[0, 256, 0xFFFF]], dtype=np.uint16)), [0, 1, 255]),
        (Image.fromarray(np.array([[100, 110, 120]], dtype=np.uint16)), [0, 128, 255]),
        (Image.fromarray(np.array([[0, 128, 255]], dtype=np.uint8)), [0, 128, 255]),
        (Image.fromarray(np.array([[False, True]])), [0, 255]),
        (Image.fromarray(np.array([[0, 128, 255]], dtype=np.uint8)).convert("LA"), [0, 128, 255]),
        (Image.fromarray(np.array([[7, 7]], dtype=np.uint8)).convert("P"), [7, 7]),
    ],
    ids=["16 bits", "few of 16 bits", "grey", "bitmap", "grey with alpha", "palette"],
)
def test_greys_of_all_kinds(tmp_path: Path, image: Image.Image, expected: list[int]) -> None:
    read = read_image(_save(tmp_path / "a.png", image), "BGR")
    assert read.shape == (1, len(expected), 3)
    np.testing.assert_array_equal(read[0], np.repeat(np.array(expected)[:, None], 3, axis=1))


def test_alpha_is_dropped_and_cmyk_converted(tmp_path: Path) -> None:
    rgba = np.dstack([_RGB, np.full((2, 3), 7, np.uint8)])
    np.testing.assert_array_equal(read_image(_save(tmp_path / "a.png", Image.fromarray(rgba)), "RGB"), _RGB)
    red = Image.new("RGB", (8, 8), (250, 5, 5)).convert("CMYK")
    pixel = read_image(_save(tmp_path / "a.jpg", red, quality=95), "RGB")[4, 4].astype(int)
    assert abs(pixel - [250, 5, 5]).max() < 12


def test_yuv_and_back(tmp_path: Path) -> None:
    yuv = read_image(_save(tmp_path / "a.png", Image.fromarray(_RGB)), "YUV-BT.601")
    assert yuv[0, 0, 0] == pytest.approx((0.299 * 255 + 0.114 * 10) / 255)
    np.testing.assert_allclose(convert_image_to_rgb(yuv, "YUV-BT.601").astype(int), _RGB, atol=1)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no\.png"):
        read_image(str(tmp_path / "no.png"), "BGR")


@pytest.mark.parametrize("keep", [0, 20, 60], ids=["empty", "header", "truncated"])
def test_broken_file_is_named(tmp_path: Path, keep: int) -> None:
    path = Path(_save(tmp_path / "broken.png", Image.effect_noise((64, 64), 50)))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(OSError, match=r"broken\.png"):
        read_image(str(path), "BGR")


@pytest.mark.parametrize(
    ("image", "format"),
    [(_RGB, "RGB"), (torch.from_numpy(_RGB[:, :, ::-1].copy()), "BGR")],
    ids=["array", "tensor"],
)
def test_rgb_for_drawing(image: np.ndarray | torch.Tensor, format: str) -> None:
    np.testing.assert_array_equal(convert_image_to_rgb(image, format), _RGB)


def test_grey_for_drawing() -> None:
    assert convert_image_to_rgb(np.zeros((2, 3, 1), np.uint8), "L").shape == (2, 3, 3)
