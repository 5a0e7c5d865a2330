"""Images that are cut off, and whole ones with all that cameras and programs append to theirs."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from active_learning.system import image_ends
from active_learning.system.image_ends import broken_off_fault, cut_off_fault, whole_fault
from active_learning.system.image_files import image_size, pixels_fault

PIXELS = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)


def encoded(kind: str, pixels: np.ndarray = PIXELS, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def with_thumbnail() -> bytes:
    small, stream = encoded("JPEG", quality=20), io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "JPEG", exif=b"Exif\0\0" + small)
    return stream.getvalue()


def with_second_image() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "MPO", save_all=True, append_images=[Image.fromarray(PIXELS[::2])])
    return stream.getvalue()


def tiff(pixels: np.ndarray = PIXELS, **options: object) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, photometric="rgb", **options)
    return stream.getvalue()


JPEG, PNG = encoded("JPEG"), encoded("PNG")
WHOLE: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: JPEG,
    "JPEG, progressive": lambda: encoded("JPEG", progressive=True),
    "JPEG with restarts": lambda: encoded("JPEG", restart_marker_rows=1),
    "JPEG with tables of its own": lambda: encoded("JPEG", quality=95, optimize=True),
    "JPEG with a thumbnail": with_thumbnail,
    "two images (MPO)": with_second_image,
    "TIFF in strips": lambda: tiff(rowsperstrip=16),
    "TIFF in tiles": lambda: tiff(tile=(32, 32), compression="zlib"),
    "TIFF, large offsets": lambda: tiff(bigtiff=True),
    "TIFF, big-endian": lambda: tiff(byteorder=">"),
    "PNG": lambda: PNG,
    "BMP": lambda: encoded("BMP"),
    "WebP": lambda: encoded("WEBP"),
    "JPEG 2000": lambda: encoded("JPEG2000"),
}
APPENDED: dict[str, bytes] = {
    "nothing": b"",
    "zeros": bytes(700),
    "many zeros": bytes(20_000),
    "a note": b"SEFHe\0\0\0SEFT",
    "a film": b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 100,
}


@pytest.mark.parametrize(
    ("kind", "appended"),
    [(kind, appended) for kind in WHOLE for appended in APPENDED if (kind, appended) != ("JPEG 2000", "a film")],
)  # which Pillow does not read
def test_a_whole_image_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, appended: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(WHOLE[kind]() + APPENDED[appended])
    assert cut_off_fault(path) == whole_fault(path) == ""
    if kind.startswith(("JPEG", "two", "TIFF")) and kind != "JPEG 2000" or appended in ("nothing", "zeros", "a note"):
        monkeypatch.setattr(image_ends, "pixels_fault", lambda *_: "decoded")
        assert cut_off_fault(path) == ""  # though nothing was decoded


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", [kind for kind in WHOLE if kind != "two images (MPO)"])
def test_an_image_that_is_cut_off_is_named(tmp_path: Path, kind: str, share: float) -> None:
    path, content = tmp_path / "a.jpg", WHOLE[kind]()
    path.write_bytes(content[: int(len(content) * share)])
    fault = cut_off_fault(path)
    assert fault == pixels_fault(path)
    assert fault.startswith(f"{path}: ") or kind == "JPEG 2000"  # of which Pillow shows what is there


SMOOTH = cv2.resize(PIXELS[:9, :12], (600, 400), interpolation=cv2.INTER_CUBIC)  # of which decoders take zeros as some
DARK = np.where(np.arange(400)[:, None, None] < 20, SMOOTH, 0).astype(np.uint8)
ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {
    "JPEG by OpenCV": lambda pixels: cv2.imencode(".jpg", pixels)[1].tobytes(),
    "JPEG by Pillow": lambda pixels: encoded("JPEG", pixels),
    "JPEG, the best": lambda pixels: encoded("JPEG", pixels, quality=100, subsampling=0),
    "JPEG, progressive": lambda pixels: encoded("JPEG", pixels, progressive=True),
    "JPEG with restarts": lambda pixels: encoded("JPEG", pixels, restart_marker_rows=1),
    "PNG by OpenCV": lambda pixels: cv2.imencode(".png", pixels)[1].tobytes(),
    "PNG by Pillow": lambda pixels: encoded("PNG", pixels),
    "PNG, not compressed": lambda pixels: encoded("PNG", pixels, compress_level=0),
    "WebP without loss, by OpenCV": lambda pixels: cv2.imencode(".webp", pixels)[1].tobytes(),
    "WebP without loss, by Pillow": lambda pixels: encoded("WEBP", pixels, lossless=True),
    "WebP": lambda pixels: encoded("WEBP", pixels, quality=99),
    "TIFF by deflate": lambda pixels: tiff(pixels, compression="zlib", rowsperstrip=16),
    "TIFF by deflate, in tiles": lambda pixels: tiff(pixels, compression="zlib", tile=(64, 64)),
}


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("kind", ENCODERS)
def test_a_copy_that_broke_off_is_named_though_it_has_its_full_length(tmp_path: Path, kind: str, share: float) -> None:
    path, content = tmp_path / "a.jpg", ENCODERS[kind](SMOOTH)
    kept = int(len(content) * share) // 4096 * 4096 or 4096
    path.write_bytes(content[:kept] + bytes(len(content) - kept))
    assert cut_off_fault(path) == whole_fault(path)
    assert cut_off_fault(path).startswith(f"{path}: ") and cut_off_fault(path).endswith("; replace or remove it")


def test_the_zeros_are_named_where_a_decoder_takes_them_for_pixels(tmp_path: Path) -> None:
    path, content = tmp_path / "a.jpg", ENCODERS["JPEG by OpenCV"](SMOOTH)
    path.write_bytes(content[:8192].rstrip(b"\0") + bytes(7000))
    reason = "its last 7000 bytes are zeros, as of a copy that broke off; replace or remove it"
    assert broken_off_fault(path) == f"{path}: cannot be read as an image: {reason}"


@pytest.mark.parametrize("pixels", [SMOOTH, DARK, np.zeros_like(SMOOTH), np.zeros((1500, 1500, 3), np.uint8)])
@pytest.mark.parametrize("kind", [*ENCODERS, "BMP", "TIFF", "a second image that broke off"])
def test_a_dark_image_and_what_follows_an_image_are_no_fault(tmp_path: Path, kind: str, pixels: np.ndarray) -> None:
    """Of a second image (MPO, motion photographs) nothing is used."""
    others = {
        "BMP": lambda: cv2.imencode(".bmp", pixels)[1].tobytes(),
        "TIFF": lambda: tiff(pixels),
        "a second image that broke off": lambda: JPEG + JPEG[: len(JPEG) // 2] + bytes(8192),
    }
    path = tmp_path / "a.jpg"
    path.write_bytes(others[kind]() if kind in others else ENCODERS[kind](pixels))
    assert cut_off_fault(path) == whole_fault(path) == ""


def test_a_copy_that_ended_early_is_named_though_its_size_is_known(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(JPEG[:-2000])
    assert image_size(path) == (90, 120)
    assert "image file is truncated" in cut_off_fault(path) and "replace or remove it" in cut_off_fault(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"text", b"II", b"BM", b"RIFF", b"\xff\xd8", b"\xff\xd8\xff\xe1\0", b"II*\0" + struct.pack("<I", 99)],
)
def test_what_is_no_image_has_no_fault_but_that_of_its_header(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert cut_off_fault(path) in ("", pixels_fault(path))
    path.unlink()
    assert cut_off_fault(path) == cut_off_fault(tmp_path) == ""
