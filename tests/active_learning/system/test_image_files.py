from __future__ import annotations

import errno
import io
import os
import struct
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps, JpegImagePlugin, PngImagePlugin

from active_learning.annotations.documents import read_content
from active_learning.errors import AnnotationError, MaskALError
from active_learning.system.disk_space import REMEDIES
from active_learning.system.image_files import image_file, image_size, pixels_fault, read_pixels
from active_learning.system.pixel_limit import pixel_limit
from detectron2.data.detection_utils import read_image


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"%!PS-Adobe", "is a PostScript file, which is not read; save it as JPEG or PNG", id="kind"),
        pytest.param(b"text", "is no image or is damaged; replace or remove it", id="no image"),
        pytest.param(b"RIFF\x10\0\0\0WEBPVP8 ", "cannot be read as an image: ", id="damaged"),
        pytest.param(None, "is no regular file; replace or remove it", id="pipe"),
    ],
)
def test_faults_name_file_and_remedy(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "a.png"
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    with pytest.raises(MaskALError) as caught:
        image_size(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert pixels_fault(path) == str(caught.value)


COLOURS = np.random.default_rng(0).integers(0, 4096, (24, 40, 3))
LOSSLESS = cv2.imencode(".png", COLOURS.astype(np.uint16))[1].tobytes()


@pytest.mark.parametrize(
    ("content", "is_whole"),
    [
        pytest.param(lambda: cv2.imencode(".tif", COLOURS / 4096)[1].tobytes(), True, id="colours of doubles"),
        pytest.param(lambda: cv2.imencode(".tif", COLOURS[:, :, 0] / 9)[1].tobytes(), True, id="greys of doubles"),
        pytest.param(lambda: cv2.imencode(".tif", COLOURS.astype(np.float32))[1].tobytes(), True, id="floats"),
        pytest.param(lambda: LOSSLESS, True, id="16 bits"),
        pytest.param(lambda: LOSSLESS[:-40] + LOSSLESS[-24:], False, id="16 bits, cut in the middle"),
        pytest.param(lambda: float_tiff(np.nan), False, id="floats without a number"),
    ],
)
def test_what_is_whole_is_what_a_training_reads(tmp_path: Path, content: Callable[[], bytes], is_whole: bool) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(content())
    fault = pixels_fault(path)
    assert (fault == "") == is_whole, fault
    with nullcontext() if is_whole else pytest.raises(OSError, match="cannot be read as an image"):
        read_image(str(path), "BGR")


def float_tiff(value: float) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((8, 8), value, np.float32)).save(stream, "TIFF")
    return stream.getvalue()


def test_the_limit_is_that_of_the_settings_alone(tmp_path: Path) -> None:
    path, before = tmp_path / "a.png", Image.MAX_IMAGE_PIXELS
    Image.new("1", (2000, 1000)).save(path)
    assert image_size(path, 2_000_000) == (1000, 2000)
    with pytest.raises(MaskALError, match="2 million pixels .*; raise max_image_megapixels"):
        image_size(path, 1_999_999)
    with pytest.raises(MaskALError, match="2 million"), image_file(path, 1_999_999) as file:
        read_pixels(file)
    with pixel_limit(5), pytest.raises(MaskALError), image_file(path, 6):
        raise OSError("something else")
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ESTALE, errno.EACCES])
def test_a_fault_of_the_system_is_not_laid_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "a.png"
    Image.new("1", (2, 2)).save(path)

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "open", fail)
    reason = f"{os.strerror(number)}; {REMEDIES[number]}"
    assert pixels_fault(path) == f"{path}: cannot be read as an image: {reason}"
    path = path.with_suffix(".json")
    path.touch()
    with pytest.raises(AnnotationError) as caught:
        read_content(path)
    assert str(caught.value) == f"{path}: cannot be read: {reason}"


# Sizes from headers, against the size of the decoded and rotated image.


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
