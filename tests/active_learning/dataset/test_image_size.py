"""Image sizes from headers, against the size of the decoded and rotated image."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps, JpegImagePlugin, PngImagePlugin

from active_learning.dataset.image_size import image_size
from active_learning.errors import MaskALError


def picture() -> Image.Image:
    return Image.fromarray(np.zeros((30, 40, 3), np.uint8))


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("suffix", ["bmp", "dib", "jpeg", "jpg", "jpe", "png", "ppm", "tiff", "tif", "jp2"])
def test_plain_images(tmp_path, suffix):
    path = tmp_path / f"ä b.{suffix}"
    picture().save(path)
    assert image_size(path) == (30, 40)


@pytest.mark.parametrize("suffix", ["pbm", "pgm"])
def test_grey_images(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    picture().convert("1" if suffix == "pbm" else "L").save(path)
    assert image_size(path) == (30, 40)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(tmp_path, suffix, orientation):
    path = tmp_path / f"a.{suffix}"
    picture().save(path, exif=exif(orientation))
    with Image.open(path) as image:
        rotated = ImageOps.exif_transpose(image)
    assert image_size(path) == (rotated.height, rotated.width)
    assert image_size(path) == ((40, 30) if orientation >= 5 else (30, 40))


def test_png_with_exif_behind_the_pixels(tmp_path):
    path = tmp_path / "a.png"
    picture().save(path)
    content, block = path.read_bytes(), exif(6).tobytes().removeprefix(b"Exif\x00\x00")
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    path.write_bytes(content[:-12] + chunk + content[-12:])
    assert image_size(path) == (40, 30)


def test_no_pixel_is_decoded(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("decoded")

    for suffix in ("jpg", "png"):
        picture().save(tmp_path / f"a.{suffix}", exif=exif(6))
    picture().save(tmp_path / "b.png")
    for plugin in (JpegImagePlugin.JpegImageFile, PngImagePlugin.PngImageFile):
        monkeypatch.setattr(plugin, "load", refuse)
    assert [image_size(tmp_path / name) for name in ("a.jpg", "a.png", "b.png")] == [(40, 30), (40, 30), (30, 40)]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"no image", id="text"),
        pytest.param(b"\xff\xd8\xff\xe0", id="JPEG cut off"),
        pytest.param(b"\x89PNG\r\n\x1a\n\x00\x00", id="PNG cut off"),
        pytest.param(b"II*\x00\xff\xff", id="TIFF cut off"),
        pytest.param(b"BM", id="BMP cut off"),
        pytest.param(b"P6 x", id="PPM damaged"),
    ],
)
def test_damaged_images_are_named(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(MaskALError, match=r"a\.jpg"):
        image_size(path)


def test_an_image_that_is_not_there(tmp_path):
    with pytest.raises(MaskALError, match=r"none\.jpg: cannot be read"):
        image_size(tmp_path / "none.jpg")
